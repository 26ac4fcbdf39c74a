"""Push batches in the database: lease, mark as attempting, record, hand on.

A batch belongs to whoever holds its lease, and every step proves that first, so a worker that
was frozen cannot go on with what another one has taken over. A row is ATTEMPTING from just
before its request until its result is written; found by the next holder of the lease, it may
have been delivered: it becomes UNKNOWN and is never sent again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.jobs import queue
from app.nudges import gate
from app.nudges.planning import DISPATCH_JOB, dispatch_job
from app.nudges.standing import standings

LEASE = timedelta(seconds=15)
"""Extended while its holder lives; a batch of a dead one waits no longer than this."""
RELEVANT_FOR = timedelta(hours=1)
"""From planning on: a reminder that comes later than this does more harm than good."""
_ABANDONED_MAX = 1000


@dataclass(frozen=True, slots=True)
class Lease:
    batch_id: UUID
    holder: UUID
    """Of one run of one job, never used again."""


@dataclass(frozen=True, slots=True)
class Push:
    """A delivery that is marked as attempting. The token goes nowhere but to the provider."""

    member_id: UUID
    message_id: UUID
    installation_id: UUID
    token: str
    token_provider: str
    token_registered_at: datetime
    template: str
    locale: str
    attempts: int
    """With this one."""
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Group:
    looked_at: int
    """0: nothing of the batch is due any more."""
    pushes: Sequence[Push]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one attempt leaves behind."""

    state: str
    reason: str | None = None
    next_attempt_at: datetime | None = None
    provider_message_id: str | None = None
    is_counted: bool = True
    """Whether it was one of the attempts that a push has."""


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


async def extend(db: Database, lease: Lease, *, now: datetime) -> None:
    """Whether it is still ours shows when the next group is asked for."""
    async with db.write() as connection:
        await connection.execute(_EXTEND, _parameters(lease, now))


def _parameters(lease: Lease, now: datetime) -> dict[str, Any]:
    return {
        "batch": lease.batch_id,
        "holder": lease.holder,
        "now": now,
        "until": now + LEASE,
    }


_DUE = text(
    """
    SELECT delivery.member_id, delivery.message_id, delivery.installation_id, delivery.attempts,
           message.topic, message.template, message.planned_at,
           token.token, token.provider, token.registered_at,
           message.template LIKE 'reminder.%'
             AND NOT coalesce(reminder.deleted_at IS NULL
                              AND reminder.changed_at <= message.planned_at
                              AND reminder.id IS NOT NULL, false) AS is_stale
      FROM push_deliveries AS delivery
      JOIN messages AS message
        ON message.member_id = delivery.member_id AND message.id = delivery.message_id
      LEFT JOIN push_tokens AS token
        ON token.installation_id = delivery.installation_id
       AND token.member_id = delivery.member_id
      LEFT JOIN reminders AS reminder
        ON reminder.member_id = delivery.member_id
       AND reminder.id = CASE WHEN message.cause_key LIKE 'reminder:%'
                              THEN CAST(split_part(message.cause_key, ':', 2) AS uuid) END
     WHERE delivery.batch_id = :batch AND delivery.state = 'QUEUED'
       AND delivery.next_attempt_at <= :now
     ORDER BY delivery.next_attempt_at, delivery.message_id, delivery.installation_id
     LIMIT :limit
    """
)
_MARK = text(
    """
    UPDATE push_deliveries AS delivery
       SET state = CASE WHEN looked_at.reason IS NULL THEN 'ATTEMPTING' ELSE 'SUPPRESSED' END,
           reason = looked_at.reason,
           attempts = attempts + CASE WHEN looked_at.reason IS NULL THEN 1 ELSE 0 END,
           attempting_since = CASE WHEN looked_at.reason IS NULL
                                   THEN CAST(:now AS timestamptz) END,
           changed_at = :now
      FROM unnest(CAST(:members AS uuid[]), CAST(:messages AS uuid[]),
                  CAST(:installations AS uuid[]), CAST(:reasons AS text[]))
        AS looked_at (member_id, message_id, installation_id, reason)
     WHERE delivery.member_id = looked_at.member_id
       AND delivery.message_id = looked_at.message_id
       AND delivery.installation_id = looked_at.installation_id
    """
)
_WENT_NOWHERE = text(
    """
    UPDATE messages AS message SET suppressed_reason = held_back.reason
      FROM unnest(CAST(:members AS uuid[]), CAST(:messages AS uuid[]), CAST(:reasons AS text[]))
        AS held_back (member_id, id, reason)
     WHERE message.member_id = held_back.member_id AND message.id = held_back.id
       AND held_back.reason IS NOT NULL AND NOT message.in_inbox
       AND NOT EXISTS (
           SELECT FROM push_deliveries AS other
            WHERE other.member_id = message.member_id AND other.message_id = message.id
              AND other.state <> 'SUPPRESSED')
    """
)


async def next_group(
    db: Database, lease: Lease, *, provider: str | None, limit: int, now: datetime
) -> Group | None:
    """Ask the gate again about the next `limit` due pushes and commit as attempting those
    that may go out now; None when the lease was lost.

    `provider` is the name of who sends here.
    """
    async with db.transaction() as session:
        connection = await session.connection()
        # Also keeps the batch from being taken over before this has committed.
        kept = await connection.execute(_EXTEND, _parameters(lease, now))
        if kept.rowcount == 0:
            return None
        found = await connection.execute(
            _DUE, {"batch": lease.batch_id, "limit": limit, "now": now}
        )
        due = found.all()
        if not due:
            return Group(0, ())
        standing = await standings(session, {row.member_id for row in due}, now=now)
        reasons = [
            _refusal(row, standing.get(row.member_id), provider=provider, now=now) for row in due
        ]
        marked = {
            "members": [row.member_id for row in due],
            "messages": [row.message_id for row in due],
            "installations": [row.installation_id for row in due],
            "reasons": reasons,
            "now": now,
        }
        await connection.execute(_MARK, marked)
        if any(reasons):
            await connection.execute(_WENT_NOWHERE, marked)
    pushes = [
        Push(
            member_id=row.member_id,
            message_id=row.message_id,
            installation_id=row.installation_id,
            token=row.token,
            token_provider=row.provider,
            token_registered_at=row.registered_at,
            template=row.template,
            locale=standing[row.member_id].locale,
            attempts=row.attempts + 1,
            expires_at=row.planned_at + RELEVANT_FOR,
        )
        for row, reason in zip(due, reasons, strict=True)
        if reason is None
    ]
    return Group(len(due), pushes)


def _refusal(
    row: Any, standing: gate.Standing | None, *, provider: str | None, now: datetime
) -> gate.Refusal | None:
    if row.token is None:
        return gate.Refusal.NO_ADDRESS
    if standing is None or row.is_stale:
        return gate.Refusal.NOT_RELEVANT
    if now >= row.planned_at + RELEVANT_FOR:
        return gate.Refusal.EXPIRED
    # The log stands in for every provider.
    if provider is None or provider not in ("log", row.provider.lower()):
        return gate.Refusal.NO_PROVIDER
    topic = gate.Topic(row.topic)
    return gate.refusal(standing, topic=topic, channel=gate.Channel.PUSH, now=now)


_RECORD = text(
    """
    WITH ended AS (
        SELECT * FROM unnest(
            CAST(:members AS uuid[]), CAST(:messages AS uuid[]), CAST(:installations AS uuid[]),
            CAST(:states AS text[]), CAST(:reasons AS text[]),
            CAST(:next_attempts AS timestamptz[]), CAST(:provider_ids AS text[]),
            CAST(:is_counted AS boolean[]), CAST(:tokens AS text[]),
            CAST(:token_providers AS text[]), CAST(:tokens_registered AS timestamptz[]))
            AS ended (member_id, message_id, installation_id, state, reason, next_attempt_at,
                      provider_id, is_counted, token, token_provider, token_registered_at)),
    forgotten AS (
        DELETE FROM push_tokens AS token USING ended
         WHERE ended.state = 'TOKEN_REMOVED' AND token.token = ended.token
           AND token.provider = ended.token_provider AND token.member_id = ended.member_id
           AND token.installation_id = ended.installation_id
           AND token.registered_at = ended.token_registered_at)
    UPDATE push_deliveries AS delivery
       SET state = ended.state, reason = ended.reason,
           next_attempt_at = coalesce(ended.next_attempt_at, delivery.next_attempt_at),
           attempts = delivery.attempts - CASE WHEN ended.is_counted THEN 0 ELSE 1 END,
           attempting_since = NULL, provider_message_id = ended.provider_id, changed_at = :now
      FROM ended
     WHERE delivery.member_id = ended.member_id AND delivery.message_id = ended.message_id
       AND delivery.installation_id = ended.installation_id AND delivery.state = 'ATTEMPTING'
    """
)


async def record(db: Database, results: Sequence[tuple[Push, Recorded]], *, now: datetime) -> None:
    """Write how a group ended, in one statement. A token that the provider does not know any
    more is forgotten, unless it was registered anew meanwhile. What another worker has given
    up as UNKNOWN stays so."""
    parameters: Mapping[str, Any] = {
        "now": now,
        "members": [push.member_id for push, _ in results],
        "messages": [push.message_id for push, _ in results],
        "installations": [push.installation_id for push, _ in results],
        "states": [recorded.state for _, recorded in results],
        "reasons": [recorded.reason for _, recorded in results],
        "next_attempts": [recorded.next_attempt_at for _, recorded in results],
        "provider_ids": [recorded.provider_message_id for _, recorded in results],
        "is_counted": [recorded.is_counted for _, recorded in results],
        "tokens": [push.token for push, _ in results],
        "token_providers": [push.token_provider for push, _ in results],
        "tokens_registered": [push.token_registered_at for push, _ in results],
    }
    async with db.write() as connection:
        await connection.execute(_RECORD, parameters)


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
        kept = await connection.execute(_EXTEND, _parameters(lease, now))
        if kept.rowcount == 0:
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


_COUNTS = text(
    """
    SELECT CASE WHEN state = 'QUEUED' AND reason = 'UNAUTHORISED' THEN 'unauthorised'
                ELSE lower(state) END, count(*)
      FROM push_deliveries WHERE changed_at > :since GROUP BY 1
    """
)


async def push_counts(connection: AsyncConnection, *, now: datetime) -> Mapping[str, int]:
    """Pushes of the last day by result, for the metrics. `unauthorised` ones wait for somebody
    to mend the provider's set-up."""
    rows = await connection.execute(_COUNTS, {"since": now - timedelta(days=1)})
    return {result: count for result, count in rows}
