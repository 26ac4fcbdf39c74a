"""What becomes of SMS and e-mails after they were taken: arrived, came back, complained about.

What is told a second time changes nothing: a delivery is moved once. An address is dead only when
it is still the one that the message went to, which is so when it was confirmed before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Uuid, bindparam, text
from sqlalchemy import Text as SqlText
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.nudges import links, preferences
from app.nudges.gate import Channel, Topic
from app.nudges.links import Purpose
from app.nudges.queued import PLACE

SOFT_BOUNCES_MAX = 5
"""E-mails in a row that came back for now (a full mailbox, a server that is away): then nobody
reads there any more."""
_KEPT = (Topic.SERVICE_NOTICE,)
"""What a complaint does not end: it concerns the contract or safety."""


_ARRIVED = "ARRIVED"


class Fate(StrEnum):
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    """For now."""
    GONE = "GONE"
    """For good: nobody is there."""
    COMPLAINED = "COMPLAINED"


class Taken(StrEnum):
    RECORDED = "recorded"
    KNOWN = "known"
    IGNORED = "ignored"
    """It names nothing that we have sent, or not of late."""
    EARLY = "early"
    """The sending has not been written down yet: it is to be told again."""


_LOOK = text("""
select state, reason, awaits_receipt, changed_at from push_deliveries
where member_id = :member_id and message_id = :message_id and installation_id = :place
for update
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("message_id", type_=Uuid),
    bindparam("place", type_=Uuid),
)
_MOVE = text("""
update push_deliveries
   set state = :state, reason = :reason, awaits_receipt = false, changed_at = :now
 where member_id = :member_id and message_id = :message_id and installation_id = :place
""").bindparams(
    bindparam("state", type_=SqlText),
    bindparam("reason", type_=SqlText),
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("member_id", type_=Uuid),
    bindparam("message_id", type_=Uuid),
    bindparam("place", type_=Uuid),
)
_DEAD = {
    channel: text(f"""
update members set {contact}_dead_at = :now
 where member_id = :member_id and {contact} is not null and {contact}_dead_at is null
   and {contact}_verified_at <= :sent_at
""").bindparams(
        bindparam("now", type_=DateTime(timezone=True)),
        bindparam("sent_at", type_=DateTime(timezone=True)),
        bindparam("member_id", type_=Uuid),
    )
    for channel, contact in ((Channel.SMS, "phone"), (Channel.EMAIL, "email"))
}
# The ids of messages are in the order in which they were written.
_SOFT = text("""
select count(*) from (
  select state, reason from push_deliveries
  where member_id = :member_id and installation_id = :place and state in ('SENT', 'FAILED')
  order by message_id desc limit :most) last
where state = 'FAILED' and reason = 'SOFT_BOUNCE'
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("place", type_=Uuid))


@dataclass(frozen=True, slots=True)
class Told:
    """`message_id` is as the outside names it: nobody has looked yet whether it is ours."""

    channel: Channel
    message_id: UUID
    fate: Fate


async def record(db: Database, told: Told, *, now: datetime) -> Taken:
    """Once however often it is told. From the commit of a complaint on nothing leaves that it
    forbids."""
    reference = links.reference_of(told.channel, told.message_id)
    async with db.transaction() as session:
        connection = await session.connection()
        found = await links.find(connection, Purpose.RECEIPT, reference, now=now)
        if found is None:
            return Taken.IGNORED
        if told.fate is Fate.COMPLAINED:
            topics = {Topic.MARKETING, found.topic}.difference(_KEPT)
            is_new = await preferences.opt_out(
                session,
                member_id=found.member_id,
                topics=topics,
                channel=told.channel,
                now=now,
            )
            return Taken.RECORDED if is_new else Taken.KNOWN
        return await _moved(session, found, told.fate, now=now)


async def _moved(session: AsyncSession, found: links.Found, fate: Fate, *, now: datetime) -> Taken:
    place = PLACE[found.channel]
    named: dict[str, Any] = {
        "member_id": found.member_id,
        "message_id": found.message_id,
        "place": place,
    }
    row = (await session.execute(_LOOK, named)).one_or_none()
    if row is None:
        return Taken.IGNORED
    if row.state in ("QUEUED", "ATTEMPTING"):
        return Taken.EARLY
    if not _is_open(row, found.channel, fate):
        return Taken.KNOWN
    state, reason = _became(found.channel, fate)
    await session.execute(_MOVE, {**named, "state": state, "reason": reason, "now": now})
    if fate is Fate.GONE or await _is_deserted(session, found, fate):
        dead = {"member_id": found.member_id, "sent_at": row.changed_at, "now": now}
        await session.execute(_DEAD[found.channel], dead)
    return Taken.RECORDED


def _is_open(row: Any, channel: Channel, fate: Fate) -> bool:
    """Whether it may still become so. What a phone has got it keeps; an e-mail that one server
    has taken may come back from the next."""
    if row.state != "SENT":
        return bool(row.state == "UNKNOWN")
    if channel is Channel.SMS and row.reason == _ARRIVED:
        return False
    return row.awaits_receipt or fate is not Fate.DELIVERED


def _became(channel: Channel, fate: Fate) -> tuple[str, str | None]:
    """State and reason."""
    if fate is Fate.DELIVERED:
        return "SENT", _ARRIVED
    if channel is Channel.SMS:
        return "FAILED", "NUMBER_GONE" if fate is Fate.GONE else "UNDELIVERED"
    return "FAILED", "HARD_BOUNCE" if fate is Fate.GONE else "SOFT_BOUNCE"


async def _is_deserted(session: AsyncSession, found: links.Found, fate: Fate) -> bool:
    """Whether the last e-mails all came back. A phone that is off is no reason."""
    if found.channel is not Channel.EMAIL or fate is not Fate.FAILED:
        return False
    asked = {
        "member_id": found.member_id,
        "place": PLACE[Channel.EMAIL],
        "most": SOFT_BOUNCES_MAX,
    }
    soft = (await session.execute(_SOFT, asked)).scalar_one()
    return bool(soft >= SOFT_BOUNCES_MAX)


_OF_PHONE = text(
    "select member_id from members where phone = :phone order by member_id limit :most"
)
_MEMBERS_MAX = 50
"""With one number."""


async def refuse_sms(db: Database, phone: str, *, now: datetime) -> Taken:
    """Whoever has this number gets no advertising by SMS any more."""
    async with db.read() as reading:
        rows = await reading.execute(_OF_PHONE, {"phone": phone, "most": _MEMBERS_MAX})
        members: Sequence[UUID] = list(rows.scalars())
    is_new = False
    for member_id in members:
        # Each by itself: whoever opts out waits for what is on its way.
        async with db.transaction() as session:
            is_new |= await preferences.opt_out(
                session,
                member_id=member_id,
                topics=[Topic.MARKETING],
                channel=Channel.SMS,
                now=now,
            )
    if not members:
        return Taken.IGNORED
    return Taken.RECORDED if is_new else Taken.KNOWN
