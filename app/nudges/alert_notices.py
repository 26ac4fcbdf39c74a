"""Tells members that there is an alert, never what it says: the app shows that to whoever has
unlocked it. A few a day; what is urgent is always told."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.civil_time import end_of_day, local_date
from app.db import Database
from app.events import Event
from app.ids import new_id
from app.measurements import alerts_data
from app.measurements.alerts_rules import AlertKind, AlertSeverity
from app.nudges import gate, messages
from app.nudges.rules import ALERT
from app.nudges.standing import standings
from app.texts import Text

BATCH = 500

_INSTANT = DateTime(timezone=True)
_DUE = text("""
select member_id, id, kind, severity from alerts
where told_at is null and closed_at is null and tell_at <= :now
order by tell_at limit :limit for update skip locked
""").bindparams(bindparam("now", type_=_INSTANT))
_TOLD = text("""
select member_id, told_at from alerts
where member_id = any(:members) and told_at > :since and severity <> 'URGENT'
and exists (select from messages m where m.member_id = alerts.member_id
  and m.cause_key = 'alert:' || alerts.id and m.suppressed_reason is null)
""").bindparams(bindparam("members", type_=ARRAY(Uuid)), bindparam("since", type_=_INSTANT))
_DONE = text("""
update alerts a set told_at = w.told_at, tell_at = coalesce(w.tell_at, a.tell_at)
from unnest(:members, :ids, :told_at, :tell_at) as w (member_id, id, told_at, tell_at)
where a.member_id = w.member_id and a.id = w.id
""").bindparams(
    bindparam("members", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("told_at", type_=ARRAY(_INSTANT)),
    bindparam("tell_at", type_=ARRAY(_INSTANT)),
)
_TITLES: Mapping[AlertKind, Text] = {
    AlertKind.THRESHOLD: Text(
        zh="有一条提醒需要你查看", en="There is something for you to look at"
    ),
    AlertKind.TREND: Text(zh="有一条提醒需要你查看", en="There is something for you to look at"),
    AlertKind.SILENCE: Text(zh="有一台设备没有同步", en="A device has not synced"),
}
_BODY = Text(zh="打开应用查看详情。", en="Open the app to see it.")


@dataclass(frozen=True, slots=True)
class Told:
    looked_at: int
    arrived: Sequence[Event] = ()
    """To publish after the commit."""


class _Due(NamedTuple):
    member_id: UUID
    id: UUID
    kind: str
    severity: str


@dataclass(frozen=True, slots=True)
class _Step:
    due: _Due
    tell_at: datetime | None
    """Another day: enough was told today."""
    message: messages.Planned | None = None


async def tell(db: Database, *, now: datetime, limit: int = BATCH) -> Told:
    """Write the messages of up to `limit` alerts that are due, each once, in one transaction.
    One that the gate holds back is kept with its reason; one that is over is not told."""
    async with db.transaction() as session:
        found = await session.execute(_DUE, {"now": now, "limit": limit})
        due = [_Due(*row) for row in found]
        if not due:
            return Told(0)
        members = {it.member_id for it in due}
        standing = await standings(session, members, now=now)
        reach = await messages.reach(session, members)
        told = await _told_today(session, standing, now=now)
        steps = [_decide(it, standing.get(it.member_id), told, reach, now=now) for it in due]
        await _done(session, steps, now=now)
        planned = [step.message for step in steps if step.message is not None]
        arrived = await messages.write(session, planned, reach, now=now)
    return Told(len(due), arrived)


async def _told_today(
    session: AsyncSession, standing: Mapping[UUID, gate.Standing], *, now: datetime
) -> Counter[UUID]:
    """How many each member was told of on this local day; what is urgent does not count."""
    rows = await session.execute(
        _TOLD, {"members": list(standing), "since": now - timedelta(days=2)}
    )
    found = Counter[UUID]()
    for member_id, told_at in rows:
        zone = standing[member_id].zone
        if local_date(told_at, zone) == local_date(now, zone):
            found[member_id] += 1
    return found


def _decide(
    due: _Due,
    standing: gate.Standing | None,
    told: Counter[UUID],
    reach: Mapping[UUID, messages.Reach],
    *,
    now: datetime,
) -> _Step:
    """Counts what it tells in `told`."""
    if standing is None:
        # A row that this program cannot read must not stop everybody's messages.
        return _Step(due, now + timedelta(days=1))
    today = local_date(now, standing.zone)
    is_urgent = due.severity == AlertSeverity.URGENT
    if not is_urgent and told[due.member_id] >= alerts_data.in_force().per_day_max:
        return _Step(due, end_of_day(today, standing.zone))
    topic = gate.Topic.MEASUREMENTS
    priority = gate.Priority.CRITICAL if is_urgent else gate.Priority.HIGH
    way = messages.way(
        standing,
        topic,
        reach=reach.get(due.member_id),
        priority=gate.Priority.CRITICAL if is_urgent else gate.Priority.OWN,
        now=now,
    )
    if way.in_inbox and not is_urgent:
        told[due.member_id] += 1
    message = messages.Planned(
        member_id=due.member_id,
        id=new_id(now),
        cause_key=f"alert:{due.id}",
        topic=topic,
        template=ALERT,
        title=_TITLES[AlertKind(due.kind)].to(standing.locale),
        body=_BODY.to(standing.locale),
        local_date=today,
        way=way,
        priority=priority,
    )
    return _Step(due, None, message)


async def _done(session: AsyncSession, steps: Sequence[_Step], *, now: datetime) -> None:
    columns = {
        "members": [step.due.member_id for step in steps],
        "ids": [step.due.id for step in steps],
        "told_at": [now if step.tell_at is None else None for step in steps],
        "tell_at": [step.tell_at for step in steps],
    }
    await session.execute(_DONE, columns)
