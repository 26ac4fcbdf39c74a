import asyncio
import signal
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import text

from app.config import Settings
from app.db import Database
from app.events import Events
from app.jobs import clock, queue
from tests.job_worker import eventually, make_runs, rows, workers

NOW = datetime(2026, 3, 1, 8, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def slots(db: Database, job: str) -> list[datetime]:
    found = await rows(db, "SELECT slot FROM clock_slots WHERE job = :job ORDER BY slot", job=job)
    return [slot for (slot,) in found]


async def waiting(db: Database, job: str) -> list[str]:
    found = await rows(
        db,
        "SELECT convert_from(payload, 'UTF8') FROM pgqueuer WHERE entrypoint = :job ORDER BY id",
        job=job,
    )
    return [payload for (payload,) in found]


@pytest.mark.parametrize(
    ("last", "now", "latest", "every"),
    [
        (None, "08:00:30", ["08:00"], ["08:00"]),
        ("08:00", "08:00:59", [], []),
        ("08:00", "08:01:00", ["08:01"], ["08:01"]),
        ("08:00", "08:03:10", ["08:03"], ["08:01", "08:02", "08:03"]),
        ("08:03", "08:01:10", [], []),
    ],
)
def test_due_slots(last: str | None, now: str, latest: list[str], every: list[str]) -> None:
    def at(time: str) -> datetime:
        return datetime.fromisoformat(f"2026-03-01T{time}+00:00")

    for catch_up, expected in (("latest", latest), ("all", every)):
        schedule = clock.Schedule("x", MINUTE, timedelta(0), catch_up)  # type: ignore[arg-type]
        found = clock.due_slots(schedule, last=at(last) if last else None, now=at(now))
        assert found == [at(slot) for slot in expected]


def test_slots_of_another_period_continue_on_the_new_grid() -> None:
    schedule = clock.Schedule("x", timedelta(hours=1), timedelta(minutes=20), "all")
    found = clock.due_slots(schedule, last=NOW, now=NOW + timedelta(hours=2))
    assert found == [NOW.replace(hour=8 + hour, minute=20, second=0) for hour in (0, 1)]


def test_no_tick_catches_up_without_bound() -> None:
    schedule = clock.Schedule("x", MINUTE, timedelta(0), "all")
    found = clock.due_slots(schedule, last=NOW - timedelta(days=60), now=NOW)
    assert len(found) == clock.SLOTS_MAX
    assert found[0] == NOW.replace(second=0) - timedelta(days=60) + MINUTE


async def test_a_tick_enqueues_each_due_slot_once(db: Database) -> None:
    assert await clock.tick(db, NOW) == len(clock.SCHEDULES)
    assert await clock.tick(db, NOW) == 0

    assert await slots(db, "test.latest") == [NOW.replace(second=0)]
    assert await waiting(db, "test.latest") == ['{"slot":"2026-03-01T08:00:00+00:00"}']


async def test_after_downtime_the_latest_slot_or_all_of_them(db: Database) -> None:
    await clock.tick(db, NOW)
    later = NOW + 3 * MINUTE
    await clock.tick(db, later)

    assert await slots(db, "test.latest") == [
        NOW.replace(second=0),
        later.replace(second=0),
    ]
    # One waits, whatever was missed.
    assert await waiting(db, "test.latest") == ['{"slot":"2026-03-01T08:03:00+00:00"}']
    seconds = [NOW + timedelta(seconds=second) for second in range(181)]
    assert await slots(db, "test.every_second") == seconds
    assert len(await waiting(db, "test.every_second")) == 181


async def test_eight_leaders_at_once_enqueue_each_slot_once(db: Database) -> None:
    await clock.tick(db, NOW)
    taken = await asyncio.gather(*[clock.tick(db, NOW + 10 * MINUTE) for _ in range(8)])

    assert await slots(db, "test.every_second") == [
        NOW + timedelta(seconds=second) for second in range(601)
    ]
    assert len(await waiting(db, "test.every_second")) == 601
    late = [name for name in clock.SCHEDULES if len(await slots(db, name)) == 2]
    assert sum(taken) == 600 + len(late)


async def test_a_leader_that_wakes_up_brings_no_past_slot_back(db: Database) -> None:
    await clock.tick(db, NOW)
    await clock.tick(db, NOW + 20 * MINUTE)
    assert await clock.tick(db, NOW + 5 * MINUTE) == 0
    # It had looked before it was frozen, so it still believes that the slot is due.
    stale = {
        "jobs": ["test.latest"],
        "slots": [NOW.replace(second=0) + 5 * MINUTE],
        "payloads": ["{}"],
        "dedupe_keys": [None],
    }
    async with db.write() as connection:
        assert await connection.scalar(clock._ENQUEUE, stale) == 0

    assert len(await slots(db, "test.latest")) == 2
    assert len(await waiting(db, "test.latest")) == 1


async def test_pruning_keeps_what_the_clock_and_waiting_jobs_need(db: Database) -> None:
    past = [NOW, NOW + timedelta(weeks=8)]
    async with db.transaction() as session:
        await queue.enqueue(session, "test.latest", {}, now=NOW)
        connection = await session.connection()
        await connection.execute(
            text("INSERT INTO clock_slots SELECT 'test.latest', unnest(CAST(:a AS timestamptz[]))"),
            {"a": past},
        )
        await connection.execute(
            text(
                """INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint)
                SELECT CAST(:at AS timestamptz), job_id, 'picked', 0, 'test.latest'
                  FROM (SELECT id FROM pgqueuer UNION ALL SELECT -1) AS of (job_id)"""
            ),
            {"at": NOW},
        )
        await queue.enqueue(session, "jobs.prune", {}, now=NOW)
    context = queue.JobContext(
        db,
        lambda: NOW + timedelta(weeks=30),
        Events("postgresql://unused"),
        None,
        Settings(),  # type: ignore[call-arg]
    )
    assert await queue.run_due(db, context, ["jobs.prune"]) == 1

    assert await slots(db, "test.latest") == past[1:]
    assert await rows(db, "SELECT job_id > 0 FROM pgqueuer_log") == [(True,)]


# Several workers


async def leaders(db: Database) -> list[int]:
    """Server processes that hold the leader's lock."""
    found = await rows(
        db,
        """SELECT locks.pid FROM pg_locks AS locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND granted AND application_name = 'wellward-clock'
              AND locks.database = (SELECT oid FROM pg_database
                                     WHERE datname = current_database())""",
    )
    return [pid for (pid,) in found]


async def wait_for_slots(db: Database, more: int) -> None:
    before = len(await slots(db, "test.every_second"))

    async def enough() -> bool:
        return len(await slots(db, "test.every_second")) >= before + more

    await eventually(enough, seconds=30)


async def assert_no_slot_lost_or_doubled(db: Database, *, worker_lost: bool = False) -> None:
    """Every second from the first on is there, as one job that ran once; a job that was
    running in a worker that was lost may have run again."""
    found = await slots(db, "test.every_second")
    whole = int((found[-1] - found[0]).total_seconds()) + 1
    assert found == [found[0] + timedelta(seconds=second) for second in range(whole)]

    async def keys_of_runs() -> list[datetime]:
        ran = await rows(
            db,
            "SELECT key FROM runs WHERE job = 'test.every_second' AND key <= :last",
            last=found[-1].isoformat(),
        )
        return [datetime.fromisoformat(key) for (key,) in ran]

    async def all_ran() -> bool:
        return set(await keys_of_runs()) == set(found)

    await eventually(all_ran)
    # In one statement, for the clock goes on.
    ((of_clock, jobs),) = await rows(
        db,
        """SELECT (SELECT count(*) FROM clock_slots WHERE job = 'test.every_second'),
                  (SELECT count(*) FROM (
                     SELECT job_id FROM pgqueuer_log WHERE entrypoint = 'test.every_second'
                     UNION
                     SELECT id FROM pgqueuer WHERE entrypoint = 'test.every_second') AS jobs)""",
    )
    assert jobs == of_clock >= len(found)
    if not worker_lost:
        assert sorted(await keys_of_runs()) == found


async def leader_of(db: Database, database_url: str) -> int:
    (pid,) = await eventually(lambda: leaders(db))
    return int(pid)


async def test_when_the_leader_is_killed_another_takes_over(
    db: Database, database_url: str, owner_url: str
) -> None:
    await make_runs(owner_url)
    async with workers(database_url) as (first,):
        old = await leader_of(db, database_url)
        async with workers(database_url):
            await wait_for_slots(db, 3)
            assert await leaders(db) == [old]
            first.kill()
            await eventually(lambda: another_leads(db, old))
            await wait_for_slots(db, 3)
            assert len(await leaders(db)) == 1
            await assert_no_slot_lost_or_doubled(db, worker_lost=True)


async def another_leads(db: Database, than: int) -> bool:
    found = await leaders(db)
    return bool(found) and than not in found


async def test_a_frozen_leader_is_replaced_and_doubles_nothing_when_it_wakes(
    db: Database, database_url: str, owner_url: str
) -> None:
    await make_runs(owner_url)
    async with workers(database_url) as (first,):
        old = await leader_of(db, database_url)
        async with workers(database_url):
            await wait_for_slots(db, 2)
            first.process.send_signal(signal.SIGSTOP)
            await eventually(lambda: another_leads(db, old))
            await wait_for_slots(db, 2)
            new = await leaders(db)
            first.process.send_signal(signal.SIGCONT)
            await wait_for_slots(db, 4)
            assert await leaders(db) == new
            assert first.process.poll() is None
            await assert_no_slot_lost_or_doubled(db, worker_lost=True)


async def test_a_leader_whose_session_ends_stops_leading_and_may_lead_again(
    db: Database, database_url: str, owner_url: str
) -> None:
    await make_runs(owner_url)
    async with workers(database_url):
        old = await leader_of(db, database_url)
        await wait_for_slots(db, 2)
        connection = await asyncpg.connect(owner_url.replace("wellward_owner", "wellward_app"))
        assert await connection.fetchval("SELECT pg_terminate_backend($1)", old)
        await connection.close()
        await eventually(lambda: another_leads(db, old))
        await wait_for_slots(db, 3)
        await assert_no_slot_lost_or_doubled(db)


async def test_missed_slots_are_caught_up_by_the_next_worker(
    db: Database, database_url: str, owner_url: str
) -> None:
    await make_runs(owner_url)
    async with workers(database_url) as (first,):
        await wait_for_slots(db, 2)
        assert await asyncio.to_thread(first.stop) == 0
    assert await leaders(db) == []
    await asyncio.sleep(3)
    async with workers(database_url):
        await wait_for_slots(db, 5)
        await assert_no_slot_lost_or_doubled(db)
