"""Deliveries as they are queued: one row a push, SMS or e-mail, one job a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Uuid
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
_SERVICES = text(
    "SELECT installation_id, provider FROM push_tokens WHERE installation_id = ANY(:installations)"
).bindparams(bindparam("installations", type_=ARRAY(Uuid)))


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
    """Those to be sent in batches with one job each; what is held back needs no job. All of a
    batch go by one service, so that one that hangs holds up its own."""
    if not deliveries:
        return
    connection = await session.connection()
    nobody = new_id(now)
    rows = [(it, nobody) for it in deliveries if it.reason is not None]
    batches: list[UUID] = []
    for wanted in await _by_service(connection, [it for it in deliveries if it.reason is None]):
        for start in range(0, len(wanted), BATCH_MAX):
            batches.append(new_id(now))
            rows += [(it, batches[-1]) for it in wanted[start : start + BATCH_MAX]]
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


async def _by_service(
    connection: AsyncConnection, deliveries: Sequence[Delivery]
) -> Sequence[Sequence[Delivery]]:
    phones = [it.place for it in deliveries if it.channel is gate.Channel.PUSH]
    services: Mapping[UUID, str] = {}
    if phones:
        known = await connection.execute(_SERVICES, {"installations": phones})
        services = {installation: service for installation, service in known}
    found: dict[str, list[Delivery]] = {}
    for it in deliveries:
        # Without a token there is no service any more, and nothing is sent.
        found.setdefault(services.get(it.place, it.channel), []).append(it)
    return list(found.values())


def dispatch_job(batch_id: UUID) -> queue.NewJob:
    """Have a batch sent. At most one job a batch waits; a second one is the same one."""
    return queue.NewJob({"batch": str(batch_id)}, dedupe_key=f"push-batch:{batch_id}")
