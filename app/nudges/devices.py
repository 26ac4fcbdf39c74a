"""Which phone is whose: installations of the app, and the push token of each."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Row, and_, bindparam, or_, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, UserError
from app.health_tasks import service as health_tasks
from app.members import service as members
from app.nudges import reminders
from app.nudges.models import Installation, PushToken
from app.texts import Text

TOKENS_MAX = 10
"""Phones of one member that get pushes: those that were refreshed last."""
# A token is part of a key: beyond 2,700 bytes no index of PostgreSQL would take it.
_TOKEN = re.compile(r"[!-~]{1,2048}")
_APP_VERSION = re.compile(r"[ -~]{1,50}")


class Platform(StrEnum):
    IOS = "IOS"
    ANDROID = "ANDROID"
    WEB = "WEB"


class PushService(StrEnum):
    FCM = "FCM"
    JPUSH = "JPUSH"


class Forgotten(StrEnum):
    """Why the queued pushes of an installation are not sent."""

    TOKEN_MOVED = "TOKEN_MOVED"
    """The phone is another member's now, or another installation's."""
    TOKEN_FORGOTTEN = "TOKEN_FORGOTTEN"
    """Pushes are not allowed any more, or the member has signed out, or has enough newer phones."""


class DeviceInvalid(UserError):
    def __init__(self, *, field: str) -> None:
        text = {
            "pushToken": Text(
                zh="推送令牌须为 1 到 2048 个可见 ASCII 字符。",
                en="A push token has 1 to 2048 visible ASCII characters.",
            ),
            "appVersion": Text(
                zh="应用版本须为 1 到 50 个可见 ASCII 字符。",
                en="An app version has 1 to 50 visible ASCII characters.",
            ),
        }[field]
        super().__init__(ErrorCode.VALUE_OUT_OF_RANGE, text, field=field)


@dataclass(frozen=True, slots=True)
class Device:
    """What an installation says of itself. Without a token it gets no pushes."""

    installation_id: UUID
    platform: Platform
    push_token: str | None
    push_service: PushService
    app_version: str
    locale: str
    time_zone: str


async def register(
    session: AsyncSession, *, member_id: UUID, device: Device, now: datetime
) -> Installation:
    """Create or refresh the member's installation, and take over its zone and locale.

    Its token, and the installation itself, are nobody else's from now on. Of the member's
    tokens the TOKENS_MAX that were refreshed last stay; older ones are forgotten.
    Raises DeviceInvalid, members.TimeZoneUnknown, members.LocaleUnknown.
    """
    if device.push_token is not None and not _TOKEN.fullmatch(device.push_token):
        raise DeviceInvalid(field="pushToken")
    if not _APP_VERSION.fullmatch(device.app_version):
        raise DeviceInvalid(field="appVersion")
    # Tokens before members, always: two members who swap phones do not wait for each other.
    former = await _lock_tokens(session, device)
    member = await members.lock(session, member_id)
    moved = await members.settle_in(
        session, member, time_zone=device.time_zone, locale=device.locale
    )
    await session.flush()
    await _move_token(session, member_id, device, former, now=now)
    await _forget_oldest(session, member_id, device, now=now)
    if moved:
        zone = civil_time.zone(device.time_zone)
        await reminders.rezone(session, member_id=member_id, zone=zone, now=now)
        await health_tasks.rezone(session, member_id=member_id, zone=zone, now=now)
    return await _note_installation(session, member_id, device, now=now)


_LOCK_KEYS = text(
    "select pg_advisory_xact_lock(key) from unnest(:keys) with ordinality as k(key, place)"
).bindparams(bindparam("keys", type_=ARRAY(BigInteger)))


async def _lock_tokens(session: AsyncSession, device: Device) -> list[PushToken]:
    """The rows that have this token or this installation, locked.

    A row that is not there yet cannot be locked: the two names are, before any row, so that
    nobody else inserts either.
    """
    names = [f"installation {device.installation_id}"]
    same = col(PushToken.installation_id) == device.installation_id
    if device.push_token is not None:
        names.append(f"token {device.push_service} {device.push_token}")
        same = or_(
            same,
            and_(
                col(PushToken.token) == device.push_token,
                col(PushToken.provider) == device.push_service,
            ),
        )
    await session.execute(_LOCK_KEYS, {"keys": sorted(map(_lock_key, names))})
    rows = await session.exec(
        select(PushToken)
        .where(same)
        .order_by(col(PushToken.token), col(PushToken.provider))
        .with_for_update()
    )
    return list(rows)


def _lock_key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


async def _move_token(
    session: AsyncSession,
    member_id: UUID,
    device: Device,
    former: list[PushToken],
    *,
    now: datetime,
) -> None:
    """The token belongs to this installation alone, and the installation has no other.
    What was queued for whoever had either is not sent."""
    here = (member_id, device.installation_id)
    for row in former:
        stays = (row.token, row.provider) == (device.push_token, device.push_service)
        if stays and (row.member_id, row.installation_id) == here:
            row.stale_since = None
            return
        await session.exec(
            delete(PushToken).where(
                col(PushToken.token) == row.token, col(PushToken.provider) == row.provider
            )
        )
        if (row.member_id, row.installation_id) != here:
            await _suppress(session, row, Forgotten.TOKEN_MOVED, now=now)
        elif device.push_token is None:
            await _suppress(session, row, Forgotten.TOKEN_FORGOTTEN, now=now)
    if device.push_token is not None:
        await session.execute(
            insert(PushToken).values(
                token=device.push_token,
                provider=device.push_service,
                member_id=member_id,
                installation_id=device.installation_id,
                registered_at=now,
            )
        )


# A row that is locked is being registered by somebody else just now. It is skipped, because they
# may wait for this member: if it stays this member's, they will come here after this.
_FORGET = text("""
delete from push_tokens where (token, provider) in (
  select token, provider from push_tokens where member_id = :member_id
  and installation_id not in (
    select t.installation_id from push_tokens t
    left join installations i on i.member_id = t.member_id and i.id = t.installation_id
    where t.member_id = :member_id
    order by t.installation_id = :here desc, coalesce(i.refreshed_at, t.registered_at) desc
    limit :limit)
  for update skip locked)
returning member_id, installation_id
""")


async def _forget_oldest(
    session: AsyncSession, member_id: UUID, device: Device, *, now: datetime
) -> None:
    """The member is locked, so that rivals count one after the other."""
    if device.push_token is None:
        return
    wanted = {"member_id": member_id, "here": device.installation_id, "limit": TOKENS_MAX}
    for row in (await session.execute(_FORGET, wanted)).all():
        await _suppress(session, row, Forgotten.TOKEN_FORGOTTEN, now=now)


# A push that a worker has in hand is skipped: it asks for the token just before it sends.
_SUPPRESS = text("""
update push_deliveries d set state = 'SUPPRESSED', reason = :reason, changed_at = :now
from (select member_id, message_id, installation_id from push_deliveries
  where member_id = :member_id and installation_id = :installation_id and state = 'QUEUED'
  for update skip locked) queued
where (d.member_id, d.message_id, d.installation_id)
  = (queued.member_id, queued.message_id, queued.installation_id)
""")


async def _suppress(
    session: AsyncSession, row: PushToken | Row[Any], reason: Forgotten, *, now: datetime
) -> None:
    await session.execute(
        _SUPPRESS,
        {
            "member_id": row.member_id,
            "installation_id": row.installation_id,
            "reason": reason,
            "now": now,
        },
    )


async def _note_installation(
    session: AsyncSession, member_id: UUID, device: Device, *, now: datetime
) -> Installation:
    latest = {
        "platform": device.platform,
        "push_provider": device.push_service,
        "app_version": device.app_version,
        "locale": device.locale,
        "refreshed_at": now,
    }
    statement = (
        insert(Installation)
        .values(member_id=member_id, id=device.installation_id, registered_at=now, **latest)
        .on_conflict_do_update(index_elements=["member_id", "id"], set_=latest)
        .returning(Installation)
    )
    return (await session.scalars(statement)).one()
