"""Consents, pauses and a member's place: lock the member, look, decide, write."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from uuid import UUID

import yaml
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests, rules
from app.members.models import ConsentRecord, Member, Pause
from app.texts import Text


class ConsentTextOutdated(UserError):
    def __init__(self, *, sent: str, current: str) -> None:
        super().__init__(
            ErrorCode.VERSION_OUTDATED,
            Text(
                zh=f"文本版本 {sent!r} 已失效，现行版本为 {current!r}，请重新阅读后再确认。",
                en=f"Text version {sent!r} is not in force; read version {current!r} and ask again.",
            ),
            field="textVersion",
        )


class AlreadyPaused(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.ALREADY_PAUSED,
            Text(
                zh="这段时间内已有暂停，请先恢复。",
                en="There is a pause in this time already; resume it first.",
            ),
            field="startsOn",
        )


class PausePeriodInvalid(UserError):
    def __init__(self, *, field: str) -> None:
        text = {
            "startsOn": Text(
                zh="暂停的首日须在今天至一年之内。",
                en="The first paused day must be from today to one year ahead.",
            ),
            "endsOn": Text(
                zh="暂停的末日不能早于首日。",
                en="The last paused day must not be before the first.",
            ),
        }[field]
        super().__init__(ErrorCode.PERIOD_INVALID, text, field=field)


class TimeZoneUnknown(UserError):
    def __init__(self, name: str) -> None:
        shown = name[:40]
        super().__init__(
            ErrorCode.TIME_ZONE_UNKNOWN,
            Text(
                zh=f"{shown!r} 不是 IANA 时区，例如 Asia/Shanghai。",
                en=f"{shown!r} is no IANA time zone, as Asia/Shanghai.",
            ),
            field="timeZone",
        )


class LocaleUnknown(UserError):
    def __init__(self, tag: str) -> None:
        shown = tag[:40]
        super().__init__(
            ErrorCode.LOCALE_UNKNOWN,
            Text(
                zh=f"{shown!r} 不是 BCP 47 语言标签，例如 zh-CN。",
                en=f"{shown!r} is no BCP 47 language tag, as zh-CN.",
            ),
            field="locale",
        )


@cache
def consent_text_versions() -> Mapping[str, str]:
    """Purpose to the version of the text in force."""
    text = Path(__file__).with_name("consent_texts.yaml").read_text(encoding="utf-8")
    versions: dict[str, str] = yaml.safe_load(text)
    assert versions.keys() == set(rules.ConsentPurpose)
    return versions


async def lock(session: AsyncSession, member_id: UUID) -> Member:
    """The member as they are now; settings of one member change one after the other."""
    return (
        await session.exec(
            select(Member)
            .where(Member.member_id == member_id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).one()


ON_CONSENT: list[Callable[[AsyncSession, ConsentRecord, datetime], Awaitable[None]]] = []
"""What else follows an answer about a consent, in its transaction; the wiring adds what upper
domains do."""


async def set_consent(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    purpose: rules.ConsentPurpose,
    granted: bool,
    text_version: str,
    recorded_by: UUID,
    now: datetime,
) -> bool:
    """Record one answer; True when this request was answered before.

    Raises ConsentTextOutdated, RequestReused.
    """
    await lock(session, member_id)
    values = {"purpose": purpose, "granted": granted, "textVersion": text_version}
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="setConsent",
        values=values,
        result=member_id,
        now=now,
    )
    if earlier is not None:
        return True
    current = consent_text_versions()[purpose]
    # A "no" is taken whatever text was seen: it can always be said.
    if granted and text_version != current:
        raise ConsentTextOutdated(sent=text_version[:40], current=current)
    latest = await _latest_consent(session, member_id, purpose)
    before = rules.ConsentState(latest.state) if latest else rules.ConsentState.NOT_ASKED
    after = rules.answer(before, granted=granted)
    if latest and (latest.state, latest.text_version) == (after, text_version[:40]):
        return False  # said again, which changes nothing
    answered = ConsentRecord(
        member_id=member_id,
        purpose=purpose,
        version=latest.version + 1 if latest else 1,
        state=after,
        text_version=text_version[:40],
        recorded_at=now,
        recorded_by=recorded_by,
    )
    session.add(answered)
    await session.flush()
    for follow in ON_CONSENT:
        await follow(session, answered, now)
    return False


async def _latest_consent(
    session: AsyncSession, member_id: UUID, purpose: str
) -> ConsentRecord | None:
    return (
        await session.exec(
            select(ConsentRecord)
            .where(ConsentRecord.member_id == member_id, ConsentRecord.purpose == purpose)
            .order_by(col(ConsentRecord.version).desc())
            .limit(1)
        )
    ).one_or_none()


ON_PAUSE: list[Callable[[AsyncSession, UUID, datetime], Awaitable[None]]] = []
"""What else follows when a member pauses, in its transaction; the wiring adds what upper
domains do."""


async def pause(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    reason: rules.PauseReason,
    days: rules.PausedDays,
    now: datetime,
) -> tuple[Pause, bool]:
    """Stop streaks, penalties and nudges for these local days; the pause, and whether this
    request was answered before. Raises AlreadyPaused, PausePeriodInvalid, RequestReused.
    """
    member = await lock(session, member_id)
    pause_id = new_id(now)
    values = {"reason": reason, "startsOn": days.starts_on, "endsOn": days.ends_on}
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="pauseProgramme",
        values=values,
        result=pause_id,
        now=now,
    )
    if earlier is not None:
        return await _pause(session, member_id, earlier), True
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    fault = rules.pause_fault(days, today=today)
    if fault is not None:
        raise PausePeriodInvalid(field=fault)
    others = (await session.exec(select(Pause).where(Pause.member_id == member_id))).all()
    if any(days.overlaps(rules.PausedDays(it.starts_on, it.ends_on)) for it in others):
        raise AlreadyPaused
    made = Pause(
        member_id=member_id,
        id=pause_id,
        reason=reason,
        starts_on=days.starts_on,
        ends_on=days.ends_on,
        created_at=now,
    )
    session.add(made)
    await session.flush()
    for follow in ON_PAUSE:
        await follow(session, member_id, now)
    return made, False


ON_RESUME: list[Callable[[AsyncSession, UUID, datetime], Awaitable[None]]] = []
"""What else follows when a member's pause ends, in its transaction; the wiring adds what upper
domains do."""


async def resume(
    session: AsyncSession, *, member_id: UUID, request_id: UUID, pause_id: UUID, now: datetime
) -> tuple[Pause, bool]:
    """End a pause, so that today is no paused day; the pause, and whether this request was
    answered before. Raises NotFound (unknown, or over already), RequestReused."""
    member = await lock(session, member_id)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="resumeProgramme",
        values={"pauseId": pause_id},
        result=pause_id,
        now=now,
    )
    if earlier is not None:
        return await _pause(session, member_id, earlier), True
    found = await session.get(Pause, (member_id, pause_id))
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    if found is None or rules.is_over(
        rules.PausedDays(found.starts_on, found.ends_on), today=today
    ):
        raise NotFound(field="pauseId")
    ended = rules.resumed(rules.PausedDays(found.starts_on, found.ends_on), today=today)
    found.ends_on = ended.ends_on
    found.resumed_at = now
    await session.flush()
    for follow in ON_RESUME:
        await follow(session, member_id, now)
    return found, False


async def _pause(session: AsyncSession, member_id: UUID, pause_id: UUID) -> Pause:
    found = await session.get(Pause, (member_id, pause_id))
    assert found is not None
    return found


async def settle_in(session: AsyncSession, member: Member, *, time_zone: str, locale: str) -> bool:
    """Take over the zone and locale of the member's phone; whether the zone changed.

    The member is locked by the caller. Raises TimeZoneUnknown, LocaleUnknown.
    """
    try:
        civil_time.zone(time_zone)
    except civil_time.UnknownZone as error:
        raise TimeZoneUnknown(time_zone) from error
    if not civil_time.is_locale(locale):
        raise LocaleUnknown(locale)
    moved = member.time_zone != time_zone
    member.time_zone = time_zone
    member.locale = locale
    return moved
