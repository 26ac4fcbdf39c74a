"""From due reminders to messages and push batches, hundreds in one transaction.

Lock what is due, look at the members' standing, decide in Python (zones are converted nowhere
else), write everything set-based: the messages, their pushes, one job a batch, and when each
reminder fires next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Uuid
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.events import Event
from app.graphql.ids import Kind, encode
from app.ids import new_id
from app.jobs import queue
from app.nudges import gate, rules
from app.nudges.recurrence import InvalidRecurrence, parse_recurrence
from app.nudges.standing import standings
from app.texts import Text

PLANNED_MAX = 500
BATCH_MAX = 500
"""Pushes that one job sends."""
PLAN_JOB = "nudges.plan"
DISPATCH_JOB = "nudges.dispatch"
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
    message: "_Message | None" = None


@dataclass(frozen=True, slots=True)
class _Message:
    """`push` is why the push is held back, null when it is to be sent; `reason` is why the
    message goes nowhere."""

    id: UUID
    cause_key: str
    title: str
    body: str
    template: str
    local_date: date
    in_inbox: bool
    push: gate.Refusal | None
    reason: gate.Refusal | None


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
        installations = await installations_of(session, members)
        steps = [
            _decide(it, standing.get(it.member_id), installations.get(it.member_id, ()), now=now)
            for it in due
        ]
        arrived = await _write(session, steps, installations, now=now)
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
_INSTALLATIONS = text(
    """
    SELECT member_id, array_agg(installation_id ORDER BY installation_id)
      FROM push_tokens WHERE member_id = ANY(:members) GROUP BY member_id
    """
).bindparams(bindparam("members", type_=ARRAY(Uuid)))


async def _lock_due(session: AsyncSession, *, limit: int, now: datetime) -> list[_Due]:
    connection = await session.connection()
    rows = await connection.execute(_LOCK_DUE, {"now": now, "limit": limit})
    return [_Due(*row) for row in rows]


async def installations_of(
    session: AsyncSession, members: set[UUID]
) -> Mapping[UUID, Sequence[UUID]]:
    """Those with a token, by member."""
    connection = await session.connection()
    rows = await connection.execute(_INSTALLATIONS, {"members": list(members)})
    return {member_id: found for member_id, found in rows}


def _decide(
    due: _Due, standing: gate.Standing | None, installations: Sequence[UUID], *, now: datetime
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
        _message(due, fire.local_date, standing, has_phone=bool(installations), now=now),
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
    due: _Due, local_date: date, standing: gate.Standing, *, has_phone: bool, now: datetime
) -> _Message:
    topic = gate.Topic.REMINDERS
    inbox = gate.refusal(standing, topic=topic, channel=gate.Channel.IN_APP, now=now)
    push = gate.refusal(standing, topic=topic, channel=gate.Channel.PUSH, now=now)
    if push is None and not has_phone:
        push = gate.Refusal.NO_ADDRESS
    # A channel that the member has switched off is not why the other one failed.
    nowhere = inbox if push is gate.Refusal.OPTED_OUT else push
    return _Message(
        id=new_id(now),
        cause_key=f"reminder:{due.id}:{local_date.isoformat()}",
        title=due.title,
        body=_inbox_text(due.local_time).to(standing.locale),
        template=f"reminder.{due.kind}",
        local_date=local_date,
        in_inbox=inbox is None,
        push=push,
        reason=nowhere if inbox is not None else None,
    )


def _inbox_text(at: time) -> Text:
    """What the inbox says below the reminder's title."""
    return Text(zh=f"你设置的 {at:%H:%M} 的提醒。", en=f"The reminder you set for {at:%H:%M}.")


_INSERT_MESSAGES = text(
    """
    INSERT INTO messages (member_id, id, cause_key, topic, template, title, body, local_date,
                          planned_at, sent_at, in_inbox, suppressed_reason)
    SELECT member_id, id, cause_key, 'REMINDERS', template, title, body, local_date,
           :now, CASE WHEN in_inbox THEN CAST(:now AS timestamptz) END, in_inbox, reason
      FROM unnest(CAST(:members AS uuid[]), CAST(:ids AS uuid[]), CAST(:cause_keys AS text[]),
                  CAST(:templates AS text[]), CAST(:titles AS text[]), CAST(:bodies AS text[]),
                  CAST(:local_dates AS date[]), CAST(:in_inbox AS boolean[]),
                  CAST(:reasons AS text[]))
        AS planned (member_id, id, cause_key, template, title, body, local_date, in_inbox, reason)
    ON CONFLICT (member_id, cause_key) DO NOTHING
    RETURNING id
    """
)
_INSERT_BATCHES = text(
    """INSERT INTO push_batches (id, created_at)
       SELECT id, :now FROM unnest(CAST(:ids AS uuid[])) AS planned (id)"""
)
_INSERT_DELIVERIES = text(
    """
    INSERT INTO push_deliveries (member_id, message_id, installation_id, batch_id, state, reason,
                                 attempts, next_attempt_at, changed_at)
    SELECT member_id, message_id, installation_id, batch_id,
           CASE WHEN reason IS NULL THEN 'QUEUED' ELSE 'SUPPRESSED' END, reason, 0, :now, :now
      FROM unnest(CAST(:members AS uuid[]), CAST(:messages AS uuid[]),
                  CAST(:installations AS uuid[]), CAST(:batches AS uuid[]),
                  CAST(:reasons AS text[]))
        AS planned (member_id, message_id, installation_id, batch_id, reason)
    """
)
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


@dataclass(frozen=True, slots=True)
class PlannedPush:
    member_id: UUID
    message_id: UUID
    installation_id: UUID
    reason: gate.Refusal | None


async def _write(
    session: AsyncSession,
    steps: Sequence[_Step],
    installations: Mapping[UUID, Sequence[UUID]],
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
    planned = [(step.due.member_id, step.message) for step in steps if step.message is not None]
    if not planned:
        return []
    inserted = await connection.execute(
        _INSERT_MESSAGES,
        {"now": now, "members": [member for member, _ in planned]}
        | _columns([message for _, message in planned]),
    )
    new = set(inserted.scalars())
    pushes = [
        PlannedPush(member, message.id, installation, message.push)
        for member, message in planned
        if message.id in new
        for installation in installations.get(member, ())
    ]
    await write_pushes(session, pushes, now=now)
    return [
        Event(member, "message", encode(Kind.MESSAGE, member, message.id))
        for member, message in planned
        if message.id in new and message.in_inbox
    ]


def _columns(messages: Sequence[_Message]) -> dict[str, Any]:
    return {
        "ids": [it.id for it in messages],
        "cause_keys": [it.cause_key for it in messages],
        "templates": [it.template for it in messages],
        "titles": [it.title for it in messages],
        "bodies": [it.body for it in messages],
        "local_dates": [it.local_date for it in messages],
        "in_inbox": [it.in_inbox for it in messages],
        "reasons": [it.reason for it in messages],
    }


async def write_pushes(
    session: AsyncSession, pushes: Sequence[PlannedPush], *, now: datetime
) -> None:
    """Those to be sent in batches with one job each; what is held back needs no job."""
    if not pushes:
        return
    wanted = [push for push in pushes if push.reason is None]
    held_back = [push for push in pushes if push.reason is not None]
    batches = [new_id(now) for _ in range(0, len(wanted), BATCH_MAX)]
    nobody = new_id(now)
    rows = [(push, batches[place // BATCH_MAX]) for place, push in enumerate(wanted)]
    rows += [(push, nobody) for push in held_back]
    connection = await session.connection()
    await connection.execute(_INSERT_BATCHES, {"ids": batches, "now": now})
    await connection.execute(
        _INSERT_DELIVERIES,
        {
            "now": now,
            "members": [push.member_id for push, _ in rows],
            "messages": [push.message_id for push, _ in rows],
            "installations": [push.installation_id for push, _ in rows],
            "batches": [batch for _, batch in rows],
            "reasons": [push.reason for push, _ in rows],
        },
    )
    await queue.enqueue_many(
        session, DISPATCH_JOB, [dispatch_job(batch) for batch in batches], now=now
    )


def dispatch_job(batch_id: UUID) -> queue.NewJob:
    """Have a batch sent. At most one job a batch waits; a second one is the same one."""
    return queue.NewJob({"batch": str(batch_id)}, dedupe_key=f"push-batch:{batch_id}")
