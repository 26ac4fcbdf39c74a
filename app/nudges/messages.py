"""Messages as they are planned: asked of the gate once for each channel, written with their
pushes, one job a batch. Whatever a member is told goes through here, hundreds at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Uuid
from sqlmodel.ext.asyncio.session import AsyncSession

from app.events import Event
from app.graphql.ids import Kind, encode
from app.ids import new_id
from app.jobs import queue
from app.nudges import gate

BATCH_MAX = 500
"""Pushes that one job sends."""
DISPATCH_JOB = "nudges.dispatch"

Installations = Mapping[UUID, Sequence[UUID]]
"""Those with a token, by member."""


@dataclass(frozen=True, slots=True)
class Way:
    """`push` is why the push is held back, null when it is to be sent; `reason` is why the
    message goes nowhere."""

    in_inbox: bool
    push: gate.Refusal | None
    reason: gate.Refusal | None


@dataclass(frozen=True, slots=True)
class Planned:
    """A message with the way it goes; `cause_key` is unique for a member."""

    member_id: UUID
    id: UUID
    cause_key: str
    topic: gate.Topic
    template: str
    title: str
    body: str
    local_date: date
    way: Way


NOT_RELEVANT = Way(in_inbox=False, push=gate.Refusal.NOT_RELEVANT, reason=gate.Refusal.NOT_RELEVANT)
"""Of what is over before anybody was told."""


def way(standing: gate.Standing, topic: gate.Topic, *, has_phone: bool, now: datetime) -> Way:
    """Where a message of this topic goes at `now`, by the gate."""
    inbox = gate.refusal(standing, topic=topic, channel=gate.Channel.IN_APP, now=now)
    push = gate.refusal(standing, topic=topic, channel=gate.Channel.PUSH, now=now)
    if push is None and not has_phone:
        push = gate.Refusal.NO_ADDRESS
    # A channel that the member has switched off is not why the other one failed.
    nowhere = inbox if push is gate.Refusal.OPTED_OUT else push
    return Way(inbox is None, push, nowhere if inbox is not None else None)


_INSTALLATIONS = text(
    """
    SELECT member_id, array_agg(installation_id ORDER BY installation_id)
      FROM push_tokens WHERE member_id = ANY(:members) GROUP BY member_id
    """
).bindparams(bindparam("members", type_=ARRAY(Uuid)))
_INSERT_MESSAGES = text(
    """
    INSERT INTO messages (member_id, id, cause_key, topic, template, title, body, local_date,
                          planned_at, sent_at, in_inbox, suppressed_reason)
    SELECT member_id, id, cause_key, topic, template, title, body, local_date,
           :now, CASE WHEN in_inbox THEN CAST(:now AS timestamptz) END, in_inbox, reason
      FROM unnest(CAST(:members AS uuid[]), CAST(:ids AS uuid[]), CAST(:cause_keys AS text[]),
                  CAST(:topics AS text[]), CAST(:templates AS text[]), CAST(:titles AS text[]),
                  CAST(:bodies AS text[]), CAST(:local_dates AS date[]),
                  CAST(:in_inbox AS boolean[]), CAST(:reasons AS text[]))
        AS planned (member_id, id, cause_key, topic, template, title, body, local_date, in_inbox,
                    reason)
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


async def installations(session: AsyncSession, member_ids: Iterable[UUID]) -> Installations:
    connection = await session.connection()
    rows = await connection.execute(_INSTALLATIONS, {"members": list(member_ids)})
    return {member_id: found for member_id, found in rows}


async def write(
    session: AsyncSession,
    planned: Sequence[Planned],
    installations: Installations,
    *,
    now: datetime,
) -> list[Event]:
    """The messages that are new, their pushes and the jobs that send them; what to publish
    after the commit, of those that reached the inbox."""
    if not planned:
        return []
    connection = await session.connection()
    inserted = await connection.execute(_INSERT_MESSAGES, _columns(planned) | {"now": now})
    new = set(inserted.scalars())
    pushes = [
        _Push(message.member_id, message.id, installation, message.way.push)
        for message in planned
        if message.id in new
        for installation in installations.get(message.member_id, ())
    ]
    await _write_pushes(session, pushes, now=now)
    return [
        Event(it.member_id, "message", encode(Kind.MESSAGE, it.member_id, it.id))
        for it in planned
        if it.id in new and it.way.in_inbox
    ]


def _columns(planned: Sequence[Planned]) -> dict[str, Any]:
    return {
        "members": [it.member_id for it in planned],
        "ids": [it.id for it in planned],
        "cause_keys": [it.cause_key for it in planned],
        "topics": [it.topic for it in planned],
        "templates": [it.template for it in planned],
        "titles": [it.title for it in planned],
        "bodies": [it.body for it in planned],
        "local_dates": [it.local_date for it in planned],
        "in_inbox": [it.way.in_inbox for it in planned],
        "reasons": [it.way.reason for it in planned],
    }


@dataclass(frozen=True, slots=True)
class _Push:
    member_id: UUID
    message_id: UUID
    installation_id: UUID
    reason: gate.Refusal | None


async def _write_pushes(session: AsyncSession, pushes: Sequence[_Push], *, now: datetime) -> None:
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
