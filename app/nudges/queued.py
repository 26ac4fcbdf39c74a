"""Deliveries as they are queued: one row a push, SMS or e-mail, one job a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ids import new_id
from app.jobs import queue
from app.nudges import gate

BATCH_MAX = 500
"""Deliveries that one job sends."""
DISPATCH_JOB = "nudges.dispatch"
PLACE: Mapping[gate.Channel, UUID] = {
    gate.Channel.SMS: UUID(int=1),
    gate.Channel.EMAIL: UUID(int=2),
}
"""In the place of an installation: a member has one number and one address."""

_INSERT_BATCHES = text(
    """INSERT INTO push_batches (id, created_at)
       SELECT id, :now FROM unnest(CAST(:ids AS uuid[])) AS planned (id)"""
)
_INSERT_DELIVERIES = text(
    """
    INSERT INTO push_deliveries (member_id, message_id, installation_id, batch_id, state, reason,
                                 channel, attempts, next_attempt_at, changed_at)
    SELECT member_id, message_id, installation_id, batch_id,
           CASE WHEN reason IS NULL THEN 'QUEUED' ELSE 'SUPPRESSED' END, reason, channel, 0, :now,
           :now
      FROM unnest(CAST(:members AS uuid[]), CAST(:messages AS uuid[]),
                  CAST(:installations AS uuid[]), CAST(:batches AS uuid[]),
                  CAST(:reasons AS text[]), CAST(:channels AS text[]))
        AS planned (member_id, message_id, installation_id, batch_id, reason, channel)
    """
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """`reason` is why it is held back, null when it is to be sent."""

    member_id: UUID
    message_id: UUID
    place: UUID
    """The installation, or `PLACE`."""
    channel: gate.Channel
    reason: gate.Refusal | None


async def write(session: AsyncSession, deliveries: Sequence[Delivery], *, now: datetime) -> None:
    """Those to be sent in batches with one job each; what is held back needs no job."""
    if not deliveries:
        return
    wanted = [it for it in deliveries if it.reason is None]
    held_back = [it for it in deliveries if it.reason is not None]
    batches = [new_id(now) for _ in range(0, len(wanted), BATCH_MAX)]
    nobody = new_id(now)
    rows = [(it, batches[place // BATCH_MAX]) for place, it in enumerate(wanted)]
    rows += [(it, nobody) for it in held_back]
    connection = await session.connection()
    await connection.execute(_INSERT_BATCHES, {"ids": batches, "now": now})
    await connection.execute(
        _INSERT_DELIVERIES,
        {
            "now": now,
            "members": [it.member_id for it, _ in rows],
            "messages": [it.message_id for it, _ in rows],
            "installations": [it.place for it, _ in rows],
            "batches": [batch for _, batch in rows],
            "reasons": [it.reason for it, _ in rows],
            "channels": [it.channel for it, _ in rows],
        },
    )
    await queue.enqueue_many(
        session, DISPATCH_JOB, [dispatch_job(batch) for batch in batches], now=now
    )


def dispatch_job(batch_id: UUID) -> queue.NewJob:
    """Have a batch sent. At most one job a batch waits; a second one is the same one."""
    return queue.NewJob({"batch": str(batch_id)}, dedupe_key=f"push-batch:{batch_id}")
