"""From due reminders to messages and push batches, hundreds in one transaction.

Lock what is due, look at the members' standing, decide in Python (zones are converted nowhere
else), write everything set-based: the messages, their pushes, one job a batch, and when each
reminder fires next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.events import Event
from app.ids import new_id
from app.nudges import gate, messages, rules
from app.nudges.recurrence import InvalidRecurrence, parse_recurrence
from app.nudges.standing import standings
from app.texts import Text

PLANNED_MAX = 500
PLAN_JOB = "nudges.plan"
_UNREADABLE_AGAIN = timedelta(days=1)

_log = structlog.get_logger(__name__)
_parse = lru_cache(maxsize=4096)(parse_recurrence)


@dataclass(frozen=True, slots=True)
class Planned:
    reminders: int
    """How many were due; as many as the limit means that more may be."""
    arrived: Sequence[Event]
    """To publish after the commit: messages that are in the inbox now."""


@dataclass(frozen=True, slots=True)
class _Due:
    """A locked reminder whose `next_at` has come."""

    member_id: UUID
    id: UUID
    title: str
    kind: str
    local_time: time
    recurrence: str
    starts_on: date
    ends_on: date | None
    last_on: date | None
    next_on: date | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class _Step:
    """What becomes of one due reminder."""

    due: _Due
    last_on: date | None
    next_on: date | None
    next_at: datetime | None
    message: messages.Planned | None = None


async def plan_due(db: Database, *, now: datetime, limit: int = PLANNED_MAX) -> Planned:
    """Plan what is due at `now`, at most `limit` reminders, in one transaction.

    Several planners may run at once: what another one holds is skipped. A reminder fires
    once a local day, whatever happens: its message is keyed by it.
    """
    async with db.transaction() as session:
        due = await _lock_due(session, limit=limit, now=now)
        if not due:
            return Planned(0, ())
        members = {it.member_id for it in due}
        standing = await standings(session, members, now=now)
        reach = await messages.reach(session, members)
        steps = [
            _decide(it, standing.get(it.member_id), reach.get(it.member_id), now=now) for it in due
        ]
        arrived = await _write(session, steps, reach, now=now)
    return Planned(len(due), arrived)


_LOCK_DUE = text(
    """
    SELECT member_id, id, title, kind, local_time, recurrence, starts_on, ends_on, last_on,
           next_on, changed_at
      FROM reminders
     WHERE next_at <= :now AND deleted_at IS NULL
     ORDER BY next_at LIMIT :limit
       FOR UPDATE SKIP LOCKED
    """
)


async def _lock_due(session: AsyncSession, *, limit: int, now: datetime) -> list[_Due]:
    connection = await session.connection()
    rows = await connection.execute(_LOCK_DUE, {"now": now, "limit": limit})
    return [_Due(*row) for row in rows]


def _decide(
    due: _Due, standing: gate.Standing | None, reach: messages.Reach | None, *, now: datetime
) -> _Step:
    try:
        schedule = _schedule(due)
    except InvalidRecurrence:
        schedule = None
    if schedule is None or standing is None:
        # Rows that this program cannot read must not stop everybody's reminders.
        _log.error("reminder_unreadable", reminder_id=str(due.id))
        return _Step(due, due.last_on, due.next_on, now + _UNREADABLE_AGAIN)
    fire = rules.next_fire(schedule, zone=standing.zone, last_fired=due.last_on, now=now)
    if fire is None:
        return _Step(due, due.last_on, None, None)
    if fire.at > now:  # The member has travelled since `next_at` was set.
        return _Step(due, due.last_on, fire.local_date, fire.at)
    after = rules.next_fire(schedule, zone=standing.zone, last_fired=fire.local_date, now=now)
    return _Step(
        due,
        fire.local_date,
        after.local_date if after else None,
        after.at if after else None,
        _message(due, fire.local_date, standing, reach, now=now),
    )


def _schedule(due: _Due) -> rules.Schedule:
    return rules.Schedule(
        recurrence=_parse(due.recurrence),
        local_time=due.local_time,
        starts_on=due.starts_on,
        ends_on=due.ends_on,
        set_at=due.changed_at,
    )


def _message(
    due: _Due,
    local_date: date,
    standing: gate.Standing,
    reach: messages.Reach | None,
    *,
    now: datetime,
) -> messages.Planned:
    topic = gate.Topic.REMINDERS
    return messages.Planned(
        member_id=due.member_id,
        id=new_id(now),
        cause_key=f"reminder:{due.id}:{local_date.isoformat()}",
        topic=topic,
        template=f"reminder.{due.kind}",
        title=due.title,
        body=_inbox_text(due.local_time).to(standing.locale),
        local_date=local_date,
        way=messages.way(standing, topic, reach=reach, now=now),
        priority=gate.Priority.OWN,
    )


def _inbox_text(at: time) -> Text:
    """What the inbox says below the reminder's title."""
    return Text(zh=f"你设置的 {at:%H:%M} 的提醒。", en=f"The reminder you set for {at:%H:%M}.")


_ADVANCE = text(
    """
    UPDATE reminders
       SET last_on = step.last_on, next_on = step.next_on, next_at = step.next_at
      FROM unnest(CAST(:members AS uuid[]), CAST(:ids AS uuid[]), CAST(:last_on AS date[]),
                  CAST(:next_on AS date[]), CAST(:next_at AS timestamptz[]))
        AS step (member_id, id, last_on, next_on, next_at)
     WHERE reminders.member_id = step.member_id AND reminders.id = step.id
    """
)


async def _write(
    session: AsyncSession,
    steps: Sequence[_Step],
    reach: Mapping[UUID, messages.Reach],
    *,
    now: datetime,
) -> list[Event]:
    """Everything that follows from `steps`; the messages that reached the inbox."""
    connection = await session.connection()
    await connection.execute(
        _ADVANCE,
        {
            "members": [step.due.member_id for step in steps],
            "ids": [step.due.id for step in steps],
            "last_on": [step.last_on for step in steps],
            "next_on": [step.next_on for step in steps],
            "next_at": [step.next_at for step in steps],
        },
    )
    planned = [step.message for step in steps if step.message is not None]
    return await messages.write(session, planned, reach, now=now)
