"""Jobs in PostgreSQL: enqueued inside the caller's transaction, run at least once.

pgqueuer runs them (`app/jobs/runner.py`); the insert is ours. pgqueuer's own enqueue counts
`execute_after` from the server's clock, so a replayed year could not use it, and on a raw
connection it would commit by itself before SQLAlchemy's adapter has sent BEGIN.

A payload holds ids and dates, never health data. What a failed job leaves in the queue's log
is the class of the exception and a correlation id; the process log has the stack.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import structlog
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.adapters.payments import PaymentProvider
from app.adapters.push import PushProvider
from app.config import Settings
from app.db import Database
from app.events import Events

BACKOFF_MIN = timedelta(seconds=2)
BACKOFF_MAX = timedelta(minutes=10)
ATTEMPTS_MAX = 10
"""With the backoff above, the last attempt comes about a quarter of an hour after the first."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a handler may use. `now` is read anew whenever it is asked: a job may take long."""

    db: Database
    now: Callable[[], datetime]
    events: Events
    push: PushProvider | None
    settings: Settings
    payments: PaymentProvider | None = None
    """None: nobody is told now, and nothing is forgotten."""


Handler = Callable[[JobContext, dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Registration:
    name: str
    handler: Handler
    concurrency: int
    attempts_max: int


HANDLERS: dict[str, Registration] = {}


def job(
    name: str, *, concurrency: int = 0, attempts_max: int = ATTEMPTS_MAX
) -> Callable[[Handler], Handler]:
    """Register the handler of the jobs called `name`.

    A handler is idempotent: a job whose worker dies, or is frozen for longer than its lease,
    is run again. It opens its own transactions. `concurrency` bounds how many run at a time
    over all workers; 0 is no bound. After `attempts_max` attempts the job is held as a dead
    letter.
    """
    assert concurrency >= 0 and attempts_max >= 1

    def register(handler: Handler) -> Handler:
        assert name not in HANDLERS, f"two handlers for {name}"
        HANDLERS[name] = Registration(name, handler, concurrency, attempts_max)
        return handler

    return register


# Enqueue


def insert_sql(select: str) -> str:
    """A statement that enqueues the rows of `select`, for use inside a data-modifying CTE.

    `select` gives five columns in this order: name text, payload (text or jsonb: one JSON
    object), run_at timestamptz, priority integer, dedupe_key text or null. The statement has
    no RETURNING; the caller may add one (the row is called `job`). No two of the rows may
    have the same `dedupe_key`. For what the key means, see `enqueue`.

    The table's trigger notifies the workers even when `select` has no rows, and committing a
    notification takes a lock of the whole server: leave the insert out of a hot statement
    that has nothing to enqueue.
    """
    return f"""
    INSERT INTO pgqueuer AS job
           (entrypoint, payload, execute_after, priority, dedupe_key, status)
    SELECT wanted.name, convert_to(CAST(wanted.payload AS text), 'UTF8'), wanted.run_at,
           wanted.priority, wanted.dedupe_key, CAST('queued' AS pgqueuer_status)
      FROM ({select}) AS wanted (name, payload, run_at, priority, dedupe_key)
    ON CONFLICT (dedupe_key)
     WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL
        DO UPDATE SET execute_after = LEAST(job.execute_after, EXCLUDED.execute_after),
                      priority = GREATEST(job.priority, EXCLUDED.priority),
                      payload = EXCLUDED.payload"""


_INSERT = text(
    insert_sql(
        """SELECT CAST(:name AS text), payload, CAST(:run_at AS timestamptz),
                  CAST(:priority AS integer), dedupe_key
             FROM unnest(CAST(:payloads AS text[]), CAST(:dedupe_keys AS text[]))
               AS given (payload, dedupe_key)"""
    )
)


@dataclass(frozen=True, slots=True)
class NewJob:
    payload: Mapping[str, Any]
    dedupe_key: str | None = None


async def enqueue(
    session: AsyncSession,
    name: str,
    payload: Mapping[str, Any],
    *,
    now: datetime,
    run_at: datetime | None = None,
    priority: int = 0,
    dedupe_key: str | None = None,
) -> None:
    """Have `name` run once this transaction has committed, not before `run_at`.

    Higher `priority` goes first. Of the jobs with one `dedupe_key`, at most one waits: a
    second one brings the first forward and replaces its payload. A job gives up its key
    before its handler starts, and not before whoever just asked for it has committed, so
    the handler always sees what every request for it has changed.
    """
    await enqueue_many(
        session, name, [NewJob(payload, dedupe_key)], now=now, run_at=run_at, priority=priority
    )


async def enqueue_many(
    session: AsyncSession,
    name: str,
    jobs: Iterable[NewJob],
    *,
    now: datetime,
    run_at: datetime | None = None,
    priority: int = 0,
) -> None:
    """`enqueue`, in one statement; of those with one `dedupe_key` the last one counts."""
    distinct: dict[object, NewJob] = {}
    for new in jobs:
        distinct[new.dedupe_key or object()] = new
    if not distinct:
        return
    # Keys in one order everywhere, so that two transactions cannot wait for each other.
    ordered = sorted(distinct.values(), key=lambda new: new.dedupe_key or "")
    connection = await session.connection()
    await connection.execute(
        _INSERT,
        {
            "name": name,
            "payloads": [orjson.dumps(new.payload).decode() for new in ordered],
            "dedupe_keys": [new.dedupe_key for new in ordered],
            "run_at": run_at or now,
            "priority": priority,
        },
    )


# Run


@dataclass(frozen=True, slots=True)
class Failed:
    """How an attempt ended that did not succeed. `reason` is safe to store."""

    reason: str
    retry_in: timedelta | None
    """None: never again; the job becomes a dead letter."""
    error: Exception | None = None


def backoff(attempt: int) -> timedelta:
    """How long to wait after failed attempt number `attempt` (1, 2, ...); half of it is
    left to chance, so that what failed together does not return together."""
    longest: timedelta = min(BACKOFF_MIN * 2 ** min(attempt - 1, 30), BACKOFF_MAX)
    return longest * random.uniform(0.5, 1)


_BEGIN = text(
    """
    WITH released AS (
        UPDATE pgqueuer SET dedupe_key = NULL
         WHERE id = :id AND dedupe_key IS NOT NULL
        RETURNING payload)
    SELECT (SELECT payload FROM released),
           (SELECT count(*) FROM pgqueuer_log WHERE job_id = :id AND status = 'picked')
    """
)


async def attempt(
    context: JobContext, name: str, job_id: int, payload: bytes | None, *, attempts: int
) -> Failed | None:
    """Run a picked job once; None when it succeeded.

    `attempts` is how often it failed before. A worker that a job killed has recorded no
    failure, so what counts is how often the queue's log says that it was picked.
    """
    registered = HANDLERS[name]
    number = attempts + 1
    correlation = uuid4().hex
    try:
        async with context.db.write() as connection:
            newest, picked = (await connection.execute(_BEGIN, {"id": job_id})).one()
        number = max(number, picked)
        if number > registered.attempts_max:
            _log.error("job_given_up", job=name, job_id=job_id, correlation_id=correlation)
            return Failed(f"WorkerLost {correlation}", None)
        found = newest if newest is not None else payload
        await registered.handler(context, orjson.loads(found or b"{}"))
        return None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # A task inside the handler was cancelled, not the job.
        error: Exception = RuntimeError("cancelled inside")
    except Exception as caught:  # noqa: BLE001 - a handler may fail in any way
        error = caught
    last = number >= registered.attempts_max
    _log.error(
        "job_failed",
        job=name,
        job_id=job_id,
        attempt=number,
        dead_letter=last,
        correlation_id=correlation,
        exc_info=error,
    )
    reason = f"{type(error).__name__} {correlation}"
    return Failed(reason, None if last else backoff(number), error)


_PICK = text(
    """
    WITH next AS (
        SELECT id FROM pgqueuer
         WHERE status = 'queued' AND execute_after <= :now AND entrypoint = ANY(:names)
         ORDER BY priority DESC, execute_after, id
         LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE pgqueuer SET status = 'picked', updated = now(), heartbeat = now()
      FROM next WHERE pgqueuer.id = next.id
    RETURNING pgqueuer.id, entrypoint, payload, attempts
    """
)
_FORGET = text("DELETE FROM pgqueuer WHERE id = :id")
_RETRY = text(
    """
    UPDATE pgqueuer SET status = 'queued', execute_after = :run_at, attempts = attempts + 1,
           updated = now(), queue_manager_id = NULL
     WHERE id = :id
    """
)
_HOLD = text(
    """
    WITH held AS (
        UPDATE pgqueuer SET status = 'failed', updated = now(), queue_manager_id = NULL
         WHERE id = :id RETURNING id, entrypoint, priority)
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority, traceback)
    SELECT id, 'failed', entrypoint, priority,
           jsonb_build_object('exception_message', CAST(:reason AS text))
      FROM held
    """
)


async def run_due(
    db: Database,
    context: JobContext,
    names: Collection[str] | None = None,
    *,
    strict: bool = True,
) -> int:
    """Run here, one after the other, what is due at `context.now()`, until nothing is; how
    many jobs succeeded. For replays under an injected clock, and tests.

    The error of a handler is recorded as in a worker and, when `strict`, raised. Jobs taken
    here send no heartbeat: do not use it beside workers for handlers that run for long.
    """
    wanted = list(HANDLERS if names is None else names)
    assert HANDLERS.keys() >= set(wanted), wanted
    succeeded = 0
    while True:
        async with db.write() as connection:
            found = await connection.execute(_PICK, {"now": context.now(), "names": wanted})
            picked = found.one_or_none()
        if picked is None:
            return succeeded
        failed = await attempt(
            context, picked.entrypoint, picked.id, picked.payload, attempts=picked.attempts
        )
        async with db.write() as connection:
            if failed is None:
                await connection.execute(_FORGET, {"id": picked.id})
                succeeded += 1
            elif failed.retry_in is None:
                await connection.execute(_HOLD, {"id": picked.id, "reason": failed.reason})
            else:
                run_at = context.now() + failed.retry_in
                await connection.execute(_RETRY, {"id": picked.id, "run_at": run_at})
        if strict and failed is not None and failed.error is not None:
            raise failed.error


# Look


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs of one name are in one state: `queued`, `picked` (running) or `failed`
    (held as dead letters)."""

    name: str
    state: str
    jobs: int


async def depth(db: Database) -> Sequence[Depth]:
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                """SELECT entrypoint, CAST(status AS text), count(*) FROM pgqueuer
                    GROUP BY 1, 2 ORDER BY 1, 2"""
            )
        )
        return [Depth(*row) for row in rows]


async def late(db: Database, *, now: datetime) -> timedelta:
    """How long the job that is due the longest has waited; zero when none is."""
    async with db.read() as connection:
        oldest: datetime | None = await connection.scalar(
            text("SELECT min(execute_after) FROM pgqueuer WHERE status = 'queued'")
        )
    return timedelta(0) if oldest is None else max(now - oldest, timedelta(0))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    job_id: int
    name: str
    reason: str | None
    """Class of the exception and the correlation id of the log line."""
    failed_at: datetime


async def dead_letters(db: Database, *, limit: int = 100) -> Sequence[DeadLetter]:
    """Jobs that ran out of attempts, newest first."""
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                """SELECT job.id, job.entrypoint, last.traceback ->> 'exception_message',
                          job.updated
                     FROM pgqueuer AS job
                     LEFT JOIN LATERAL (
                          SELECT traceback FROM pgqueuer_log
                           WHERE job_id = job.id AND status = 'failed'
                           ORDER BY id DESC LIMIT 1) AS last ON true
                    WHERE job.status = 'failed'
                    ORDER BY job.updated DESC, job.id DESC LIMIT :limit"""
            ),
            {"limit": limit},
        )
        return [DeadLetter(*row) for row in rows]
