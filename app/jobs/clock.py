"""What happens by the clock: each due slot of a clock job becomes one queued job, once.

APScheduler only ticks. What is due follows from the last slot in the database, so nothing is
lost while no worker runs or a leader is frozen, and the slot's primary key makes it happen
once, whoever believes to be leader. Slots are multiples of a period in UTC; local times are
the business of the jobs.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import asyncpg
import orjson
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy import text

from app.db import Database, driver_url
from app.jobs import queue

CatchUp = Literal["latest", "all"]

LEASE = timedelta(seconds=10)
"""A leader that is silent for so long (frozen, cut off) loses its session and with it the
lock; it would keep both for ever otherwise, since its kernel answers for it."""
TICK = timedelta(seconds=1)
SLOTS_MAX = 10_000
"""Missed slots that one tick catches up; the next tick goes on."""
KEPT = timedelta(days=14)
_LOCK = (7_305_421, 3)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Schedule:
    name: str
    every: timedelta
    offset: timedelta
    catch_up: CatchUp


SCHEDULES: dict[str, Schedule] = {}


def clock(
    name: str,
    *,
    every: timedelta,
    offset: timedelta = timedelta(0),
    catch_up: CatchUp = "latest",
    concurrency: int = 1,
) -> Callable[[queue.Handler], queue.Handler]:
    """Register a job that runs at each multiple of `every` since 1970-01-01 UTC + `offset`.

    Its payload is `{"slot": "<ISO 8601>"}`. Of several missed slots, `latest` runs the last
    one only, and never lets more than one wait: for jobs that do whatever is due by
    `context.now()`. `all` runs each: for jobs that depend on their slot.
    """
    assert every >= TICK and timedelta(0) <= offset < every
    register = queue.job(name, concurrency=concurrency)

    def registered(handler: queue.Handler) -> queue.Handler:
        SCHEDULES[name] = Schedule(name, every, offset, catch_up)
        return register(handler)

    return registered


def due_slots(schedule: Schedule, *, last: datetime | None, now: datetime) -> list[datetime]:
    """The slots after `last` up to and including `now`, oldest first; a job that has never
    run starts with the present slot."""
    start = _EPOCH + schedule.offset
    latest = start + (now - start) // schedule.every * schedule.every
    if last is None or schedule.catch_up == "latest":
        return [latest] if last is None or latest > last else []
    # From the grid, not from `last`: the period may have been another one then.
    first = start + ((last - start) // schedule.every + 1) * schedule.every
    count = (latest - first) // schedule.every + 1
    return [first + index * schedule.every for index in range(min(count, SLOTS_MAX))]


_LAST = text(
    """
    SELECT job, (SELECT max(slot) FROM clock_slots WHERE clock_slots.job = known.job)
      FROM unnest(CAST(:jobs AS text[])) AS known (job)
    """
)
# The comparison with the last slot is repeated here: a leader that was frozen after it had
# looked must not bring back a slot that is past.
_ENQUEUE = text(
    f"""
    WITH due AS (
        SELECT * FROM unnest(CAST(:jobs AS text[]), CAST(:slots AS timestamptz[]),
                             CAST(:payloads AS text[]), CAST(:dedupe_keys AS text[]))
                   AS due (job, slot, payload, dedupe_key)),
    taken AS (
        INSERT INTO clock_slots (job, slot)
        SELECT job, slot FROM due
         WHERE slot > coalesce((SELECT max(slot) FROM clock_slots WHERE clock_slots.job = due.job),
                               '-infinity')
        ON CONFLICT DO NOTHING RETURNING job, slot),
    enqueued AS ({
        queue.insert_sql('''
        SELECT job, payload, slot, 0, dedupe_key FROM taken JOIN due USING (job, slot)
         ORDER BY job, slot''')
    }
        RETURNING 1)
    SELECT count(*) FROM taken
    """
)


async def tick(db: Database, now: datetime) -> int:
    """Enqueue what is due at `now`, each slot with its job in one statement; how many slots."""
    async with db.read() as connection:
        found = await connection.execute(_LAST, {"jobs": list(SCHEDULES)})
        last: Mapping[str, datetime | None] = {job: slot for job, slot in found}
    due = [
        (schedule, slot)
        for schedule in SCHEDULES.values()
        for slot in due_slots(schedule, last=last[schedule.name], now=now)
    ]
    if not due:
        return 0
    parameters = {
        "jobs": [schedule.name for schedule, _ in due],
        "slots": [slot for _, slot in due],
        "payloads": [orjson.dumps({"slot": slot}).decode() for _, slot in due],
        "dedupe_keys": [
            f"clock:{schedule.name}" if schedule.catch_up == "latest" else None
            for schedule, _ in due
        ],
    }
    async with db.write() as connection:
        taken: int = (await connection.execute(_ENQUEUE, parameters)).scalar_one()
    return taken


async def last_slot(db: Database, job: str) -> datetime | None:
    """The newest slot that the clock gave out for `job`; None before the first."""
    async with db.read() as connection:
        found: datetime | None = await connection.scalar(
            text("SELECT max(slot) FROM clock_slots WHERE job = :job"), {"job": job}
        )
    return found


async def keep(
    db: Database,
    url: str,
    *,
    now: Callable[[], datetime],
    stopping: asyncio.Event,
    lease: timedelta = LEASE,
) -> None:
    """Until `stopping`: wait to become the one leader of all workers, then tick each second.

    `url` must lead to a session of its own: the leader's lock lives as long as the session.
    """
    while not stopping.is_set():
        try:
            connection = await _connect(url, lease)
        except Exception as error:  # noqa: BLE001 - whatever it is, try again
            _log.warning("clock_disconnected", error=type(error).__name__)
            await _wait(stopping, TICK)
            continue
        try:
            if await _become_leader(connection, stopping):
                _log.info("clock_leader")
                await _lead(connection, db, now=now, stopping=stopping)
        except Exception as error:  # noqa: BLE001 - whatever it is, try again
            _log.warning("clock_disconnected", error=type(error).__name__)
            await _wait(stopping, TICK)
        finally:
            # The server gives the lock to somebody else as soon as it sees the session end.
            connection.terminate()


async def _connect(url: str, lease: timedelta) -> "asyncpg.Connection[Any]":
    settings = {
        "application_name": "wellward-clock",
        "idle_session_timeout": str(int(lease.total_seconds() * 1000)),
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
    }
    return await asyncpg.connect(
        driver_url(url), timeout=5, command_timeout=5, server_settings=settings
    )


async def _become_leader(connection: "asyncpg.Connection[Any]", stopping: asyncio.Event) -> bool:
    while not stopping.is_set():
        if await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *_LOCK):
            return True
        await _wait(stopping, TICK)
    return False


async def _is_leader(connection: "asyncpg.Connection[Any]") -> bool:
    """Proof from the server, not from memory. Raises when the session is gone."""
    held: bool = await connection.fetchval(
        """SELECT EXISTS (SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
              AND classid = $1::int::oid AND objid = $2::int::oid AND objsubid = 2)""",
        *_LOCK,
    )
    return held


async def _lead(
    connection: "asyncpg.Connection[Any]",
    db: Database,
    *,
    now: Callable[[], datetime],
    stopping: asyncio.Event,
) -> None:
    lost = asyncio.Event()

    async def tick_once() -> None:
        try:
            async with asyncio.timeout(LEASE.total_seconds()):
                if await _is_leader(connection):
                    await tick(db, now())
                    return
        except Exception as error:  # noqa: BLE001 - it ends this leadership, not the worker
            _log.warning("tick_failed", error=type(error).__name__, exc_info=error)
        lost.set()

    scheduler = AsyncIOScheduler(timezone=UTC)
    scheduler.add_job(
        tick_once,
        "interval",
        seconds=TICK.total_seconds(),
        next_run_time=now(),
        max_instances=1,
        coalesce=True,
        misfire_grace_time=None,
    )
    scheduler.start()
    waits = {asyncio.create_task(lost.wait()), asyncio.create_task(stopping.wait())}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        scheduler.shutdown(wait=False)
        for wait in waits:
            wait.cancel()


async def _wait(stopping: asyncio.Event, longest: timedelta) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), longest.total_seconds())


@clock("jobs.prune", every=timedelta(hours=1))
async def prune(context: queue.JobContext, _payload: dict[str, Any]) -> None:
    """Forget old slots (never the last of a job) and the queue's log of jobs that ended."""
    before = {"before": context.now() - KEPT}
    async with context.db.transaction() as session:
        connection = await session.connection()
        await connection.execute(
            text(
                """DELETE FROM clock_slots WHERE slot < :before AND slot < (
                     SELECT max(slot) FROM clock_slots AS newer WHERE newer.job = clock_slots.job)"""
            ),
            before,
        )
        await connection.execute(
            text(
                """DELETE FROM pgqueuer_log WHERE created < :before AND NOT EXISTS (
                     SELECT FROM pgqueuer WHERE pgqueuer.id = pgqueuer_log.job_id)"""
            ),
            before,
        )
        await connection.execute(
            text("DELETE FROM pgqueuer_statistics WHERE created < :before"), before
        )
