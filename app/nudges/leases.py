"""Push batches and who has them in hand.

A batch belongs to whoever holds its lease, and every step proves that first, so a worker that
was frozen cannot go on with what another one has taken over. What the next holder finds in the
middle of an attempt may have been delivered: it becomes UNKNOWN and is never sent again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.jobs import queue
from app.nudges.queued import DISPATCH_JOB, dispatch_job

LEASE = timedelta(seconds=15)
"""Extended while its holder lives; a batch of a dead one waits no longer than this."""
_ABANDONED_MAX = 1000


@dataclass(frozen=True, slots=True)
class Lease:
    batch_id: UUID
    holder: UUID
    """Of one run of one job, never used again."""


_TAKE = text(
    """
    UPDATE push_batches SET leased_until = :until, leased_by = :holder
     WHERE id = :batch AND finished_at IS NULL
       AND (leased_until IS NULL OR leased_until <= :now)
    """
)
_LEFT_BEHIND = text(
    """
    UPDATE push_deliveries
       SET state = 'UNKNOWN', reason = 'WORKER_LOST', changed_at = :now
     WHERE batch_id = :batch AND state = 'ATTEMPTING'
    """
)
_EXTEND = text(
    """UPDATE push_batches SET leased_until = :until
        WHERE id = :batch AND leased_by = :holder AND leased_until > :now"""
)


async def take(db: Database, lease: Lease, *, now: datetime) -> bool:
    """Lease the batch; False when it is finished, or somebody else's."""
    async with db.write() as connection:
        taken = await connection.execute(_TAKE, _parameters(lease, now))
        if taken.rowcount == 0:
            return False
        # Ours has attempted nothing yet.
        await connection.execute(_LEFT_BEHIND, {"batch": lease.batch_id, "now": now})
    return True


async def extend(connection: AsyncConnection, lease: Lease, *, now: datetime) -> bool:
    """Prove that the batch is still ours, and keep it so; False when it was lost. In a
    transaction nobody can take it over before the commit."""
    kept = await connection.execute(_EXTEND, _parameters(lease, now))
    return kept.rowcount > 0


def _parameters(lease: Lease, now: datetime) -> dict[str, Any]:
    until = now + LEASE
    return {"batch": lease.batch_id, "holder": lease.holder, "now": now, "until": until}


_POSTPONE = text(
    """
    UPDATE push_deliveries SET next_attempt_at = :not_before, changed_at = :now
     WHERE batch_id = :batch AND state = 'QUEUED' AND next_attempt_at < :not_before
    """
)
_RELEASE = text(
    """
    WITH open AS (
        SELECT min(next_attempt_at) AS next_at FROM push_deliveries
         WHERE batch_id = :batch AND state IN ('QUEUED', 'ATTEMPTING'))
    UPDATE push_batches
       SET leased_until = NULL, leased_by = NULL,
           finished_at = CASE WHEN open.next_at IS NULL THEN CAST(:now AS timestamptz) END
      FROM open WHERE id = :batch AND leased_by = :holder
    RETURNING open.next_at
    """
)


async def release(
    db: Database, lease: Lease, *, not_before: datetime | None = None, now: datetime
) -> None:
    """Give the batch back: finished, or with a job for when its next push is due, not earlier
    than `not_before`. Nothing happens when somebody else has it."""
    async with db.transaction() as session:
        connection = await session.connection()
        if not await extend(connection, lease, now=now):
            return
        if not_before is not None:
            await connection.execute(
                _POSTPONE, {"batch": lease.batch_id, "not_before": not_before, "now": now}
            )
        released = await connection.execute(
            _RELEASE, {"batch": lease.batch_id, "holder": lease.holder, "now": now}
        )
        next_at = released.scalar_one()
        if next_at is not None:
            await _enqueue(session, [lease.batch_id], run_at=max(next_at, now), now=now)


_ABANDONED = text(
    """
    SELECT batch.id FROM push_batches AS batch
     WHERE finished_at IS NULL AND (leased_until IS NULL OR leased_until <= :now)
       AND coalesce((SELECT min(next_attempt_at) FROM push_deliveries
                      WHERE batch_id = batch.id AND state IN ('QUEUED', 'ATTEMPTING')),
                    '-infinity') <= :now
     ORDER BY created_at LIMIT :limit
    """
)


async def recover(db: Database, *, now: datetime) -> int:
    """Enqueue what is due and nobody has in hand: its job died with a worker, or gave way to a
    lease that has run out since. How many batches."""
    async with db.transaction() as session:
        connection = await session.connection()
        found = await connection.execute(_ABANDONED, {"now": now, "limit": _ABANDONED_MAX})
        batches = list(found.scalars())
        await _enqueue(session, batches, run_at=now, now=now)
    return len(batches)


async def _enqueue(
    session: AsyncSession, batches: Sequence[UUID], *, run_at: datetime, now: datetime
) -> None:
    jobs = [dispatch_job(batch) for batch in batches]
    await queue.enqueue_many(session, DISPATCH_JOB, jobs, run_at=run_at, now=now)
