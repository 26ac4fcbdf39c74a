import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from sqlalchemy import text

from app import migrate
from app.adapters.embedded_postgres import APP_ROLE, OWNER_ROLE, EmbeddedPostgres
from app.config import Settings
from app.db import Database
from app.events import Events
from app.jobs import queue
from tests.job_worker import enqueue, eventually, make_runs, rows, workers

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest_asyncio.fixture
async def jobs_db(db: Database, owner_url: str) -> AsyncIterator[Database]:
    """With the table in which the handlers of the tests note their runs."""
    await make_runs(owner_url)
    yield db


def context_at(db: Database, clock: list[datetime]) -> queue.JobContext:
    return queue.JobContext(db, lambda: clock[0], Events("postgresql://unused"), None, Settings())


async def queued(db: Database) -> list[tuple[Any, ...]]:
    found = await rows(db, "SELECT entrypoint, payload, execute_after FROM pgqueuer ORDER BY id")
    return [(name, orjson.loads(payload), at) for name, payload, at in found]


async def ran(db: Database, job: str) -> list[str]:
    return [key for (key,) in await rows(db, "SELECT key FROM runs WHERE job = :job", job=job)]


# Enqueue


async def test_a_rollback_leaves_no_job_even_of_the_first_statement(db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as session:
            await queue.enqueue(session, "test.note", {"key": "a"}, now=NOW)
            raise ZeroDivisionError

    assert await queued(db) == []


async def test_a_commit_leaves_one_job_due_at_the_given_instant(db: Database) -> None:
    async with db.transaction() as session:
        await queue.enqueue(session, "test.note", {"key": "a"}, now=NOW)
        await queue.enqueue(
            session, "test.note", {"key": "b"}, now=NOW, run_at=NOW + timedelta(days=400)
        )

    assert await queued(db) == [
        ("test.note", {"key": "a"}, NOW),
        ("test.note", {"key": "b"}, NOW + timedelta(days=400)),
    ]


async def test_one_job_waits_for_a_dedupe_key_with_the_newest_payload(db: Database) -> None:
    later = NOW + timedelta(hours=1)
    async with db.transaction() as session:
        await queue.enqueue(
            session, "test.note", {"key": "1"}, now=NOW, run_at=later, dedupe_key="m"
        )
    async with db.transaction() as session:
        await queue.enqueue(session, "test.note", {"key": "2"}, now=NOW, priority=3, dedupe_key="m")
        await queue.enqueue_many(
            session,
            "test.note",
            [queue.NewJob({"key": str(n)}, key) for n, key in enumerate(["n", "n", None, None])],
            now=later,
        )

    assert await queued(db) == [
        ("test.note", {"key": "2"}, NOW),
        ("test.note", {"key": "2"}, later),
        ("test.note", {"key": "3"}, later),
        ("test.note", {"key": "1"}, later),
    ]


async def test_a_deduplicated_job_sees_what_the_one_who_asked_commits_later(
    jobs_db: Database,
) -> None:
    """The job waits for the transaction that asked for it a second time."""
    clock = [NOW]
    async with jobs_db.transaction() as session:
        await queue.enqueue(session, "test.note", {"key": "old"}, now=NOW, dedupe_key="m")
    async with jobs_db.transaction() as session:
        await queue.enqueue(session, "test.note", {"key": "new"}, now=NOW, dedupe_key="m")
        # Another worker finds the row locked, and leaves it.
        assert await queue.run_due(jobs_db, context_at(jobs_db, clock), ["test.note"]) == 0
    assert await queue.run_due(jobs_db, context_at(jobs_db, clock), ["test.note"]) == 1

    assert await ran(jobs_db, "test.note") == ["new"]


async def test_a_job_that_runs_has_given_up_its_dedupe_key(jobs_db: Database) -> None:
    async def enqueue_one(key: str) -> None:
        async with jobs_db.transaction() as session:
            await queue.enqueue(
                session, "test.slow", {"key": key, "seconds": 0.3}, now=NOW, dedupe_key="m"
            )

    context = context_at(jobs_db, [NOW])
    await enqueue_one("first")
    running = asyncio.create_task(queue.run_due(jobs_db, context, ["test.slow"]))
    await eventually(lambda: ran(jobs_db, "test.slow"))
    await enqueue_one("second")
    assert await running == 2

    assert await ran(jobs_db, "test.slow") == ["first", "second"]


async def test_a_data_modifying_statement_enqueues_by_itself(
    jobs_db: Database, database_url: str
) -> None:
    statement = text(
        f"""WITH done AS (SELECT CAST('cte' AS text) AS key),
        job AS ({
            queue.insert_sql(
                '''SELECT 'test.note', jsonb_build_object('key', key),
                          CAST(:now AS timestamptz), 0, NULL FROM done'''
            )
        } RETURNING id)
        SELECT key FROM done"""
    )
    async with jobs_db.write() as connection:
        assert await connection.scalar(statement, {"now": NOW}) == "cte"

    async with workers(database_url):
        await eventually(lambda: ran(jobs_db, "test.note"))
    assert await ran(jobs_db, "test.note") == ["cte"]


# Run here, under an injected clock


async def test_run_due_follows_the_injected_clock(jobs_db: Database) -> None:
    clock = [NOW]
    async with jobs_db.transaction() as session:
        for days in (2, 0, 1):
            await queue.enqueue(
                session,
                "test.note",
                {"key": str(days)},
                now=NOW,
                run_at=NOW + timedelta(days=days),
            )
    seen = []
    for days in range(4):
        clock[0] = NOW + timedelta(days=days)
        seen.append(await queue.run_due(jobs_db, context_at(jobs_db, clock), ["test.note"]))

    assert seen == [1, 1, 1, 0]
    assert await ran(jobs_db, "test.note") == ["0", "1", "2"]
    assert await queued(jobs_db) == []


async def test_a_failing_job_is_retried_then_held_without_its_message(jobs_db: Database) -> None:
    clock = [NOW]
    context = context_at(jobs_db, clock)
    async with jobs_db.transaction() as session:
        await queue.enqueue(session, "test.fails", {"key": "x"}, now=NOW)

    with pytest.raises(ValueError, match="systolic"):
        await queue.run_due(jobs_db, context)
    waited = []
    for _ in range(2):
        ((_, _, at),) = await queued(jobs_db)
        waited.append(at - clock[0])
        clock[0] = at - timedelta(microseconds=1)
        assert await queue.run_due(jobs_db, context, strict=False) == 0
        clock[0] = at
        assert await queue.run_due(jobs_db, context, strict=False) == 0

    assert await ran(jobs_db, "test.fails") == ["x", "x", "x"]
    assert timedelta(seconds=1) <= waited[0] <= timedelta(seconds=2)
    assert timedelta(seconds=2) <= waited[1] <= timedelta(seconds=4)
    assert await queue.depth(jobs_db) == [queue.Depth("test.fails", "failed", 1)]
    (letter,) = await queue.dead_letters(jobs_db)
    assert letter.name == "test.fails"
    assert (letter.reason or "").startswith("ValueError ")
    await no_health_data(jobs_db)


def test_backoff_grows_to_its_bound_and_spreads() -> None:
    for number, longest in ((1, 2), (2, 4), (5, 32), (9, 512), (10, 600), (5000, 600)):
        found = {queue.backoff(number).total_seconds() for _ in range(50)}
        assert longest / 2 <= min(found) < max(found) <= longest


async def no_health_data(db: Database) -> None:
    log = await rows(db, "SELECT log::text FROM pgqueuer_log AS log")
    assert log and not [row for (row,) in log if "systolic" in row or "Wang" in row]


# Real workers


async def test_a_worker_retries_then_holds(jobs_db: Database, database_url: str) -> None:
    await enqueue(jobs_db, "test.fails", {"key": "x"})

    async with workers(database_url):
        (letter,) = await eventually(lambda: queue.dead_letters(jobs_db))
    assert await ran(jobs_db, "test.fails") == ["x", "x", "x"]
    assert letter.name == "test.fails"
    assert (letter.reason or "").startswith("ValueError ")
    await no_health_data(jobs_db)


async def test_a_job_whose_worker_is_killed_is_run_again(
    jobs_db: Database, database_url: str
) -> None:
    await enqueue(jobs_db, "test.slow", {"key": "s", "seconds": 2})

    async with workers(database_url) as (first,):
        await eventually(lambda: ran(jobs_db, "test.slow"))
        first.kill()
    async with workers(database_url):
        await eventually(lambda: rows(jobs_db, "SELECT 1 FROM runs WHERE ended IS NOT NULL"))
        await eventually(lambda: nothing_queued(jobs_db, "test.slow"))
    assert await ran(jobs_db, "test.slow") == ["s", "s"]


async def nothing_queued(db: Database, name: str) -> bool:
    return not await rows(db, "SELECT 1 FROM pgqueuer WHERE entrypoint = :name", name=name)


async def test_a_job_that_kills_its_worker_is_held_in_the_end(
    jobs_db: Database, database_url: str
) -> None:
    await enqueue(jobs_db, "test.kills", {"key": "k"})

    for lives in (1, 2):
        async with workers(database_url) as (worker,):
            await asyncio.to_thread(worker.process.wait, 30)
        assert len(await ran(jobs_db, "test.kills")) == lives
    async with workers(database_url) as (worker,):
        (letter,) = await eventually(lambda: queue.dead_letters(jobs_db))
        assert worker.process.poll() is None
    assert (letter.reason or "").startswith("WorkerLost ")
    assert len(await ran(jobs_db, "test.kills")) == 2


async def test_two_workers_run_each_job_once_and_keep_the_bound(
    jobs_db: Database, database_url: str
) -> None:
    keys = [{"key": str(number)} for number in range(30)]
    async with workers(database_url, 2):
        await eventually(lambda: two_listeners(jobs_db))
        await enqueue(jobs_db, "test.alone", *keys)
        await enqueue(jobs_db, "test.slow", *[{**key, "seconds": 0.5} for key in keys])
        for name in ("test.alone", "test.slow"):
            await eventually(lambda name=name: nothing_queued(jobs_db, name), seconds=60)
    for name in ("test.alone", "test.slow"):
        assert sorted(await ran(jobs_db, name)) == sorted(key["key"] for key in keys)
    overlapping = await rows(
        jobs_db,
        """SELECT 1 FROM runs a JOIN runs b ON a.id < b.id AND b.began < a.ended
            WHERE a.job = 'test.alone' AND b.job = 'test.alone'""",
    )
    assert overlapping == []
    assert len(await rows(jobs_db, "SELECT DISTINCT pid FROM runs WHERE job = 'test.slow'")) == 2


async def two_listeners(db: Database) -> bool:
    found = await rows(
        db, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'wellward-queue'"
    )
    return len(found) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_worker_finishes_its_job_and_takes_no_other(
    jobs_db: Database, database_url: str, number: signal.Signals
) -> None:
    await enqueue(jobs_db, "test.slow", {"key": "running", "seconds": 1})
    async with workers(database_url) as (worker,):
        await eventually(lambda: ran(jobs_db, "test.slow"))
        worker.process.send_signal(number)
        await asyncio.sleep(0.3)
        await enqueue(jobs_db, "test.note", {"key": "later"})
        assert await asyncio.to_thread(worker.process.wait, 15) == 0

    assert await rows(
        jobs_db, "SELECT key, ended IS NOT NULL FROM runs WHERE job = 'test.slow'"
    ) == [("running", True)]
    assert await ran(jobs_db, "test.note") == []
    assert await nothing_queued(jobs_db, "test.slow")
    assert not await nothing_queued(jobs_db, "test.note")


async def test_a_job_longer_than_the_stop_goes_back_to_the_queue(
    jobs_db: Database, database_url: str
) -> None:
    await enqueue(jobs_db, "test.slow", {"key": "long", "seconds": 60})
    async with workers(database_url, WELLWARD_SHUTDOWN_TIMEOUT_SECONDS="0.5") as (worker,):
        await eventually(lambda: ran(jobs_db, "test.slow"))
        assert await asyncio.to_thread(worker.stop) == 0

    assert await rows(
        jobs_db, "SELECT status::text, attempts FROM pgqueuer WHERE entrypoint = 'test.slow'"
    ) == [("queued", 1)]


async def test_a_job_that_will_not_be_interrupted_is_not_lost(
    jobs_db: Database, database_url: str
) -> None:
    """pgqueuer would delete it as cancelled."""
    await enqueue(jobs_db, "test.stubborn", {"key": "s"})
    async with workers(database_url, WELLWARD_SHUTDOWN_TIMEOUT_SECONDS="0.5") as (worker,):
        await eventually(lambda: ran(jobs_db, "test.stubborn"))
        assert await asyncio.to_thread(worker.stop) == 0

    found = await rows(
        jobs_db, "SELECT status::text FROM pgqueuer WHERE entrypoint = 'test.stubborn'"
    )
    assert found == [("picked",)]  # until its lease runs out


async def test_a_worker_goes_on_after_the_database_was_killed(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "pg")
    try:
        await asyncio.to_thread(postgres.start)
        url, owner = postgres.dsn(user=APP_ROLE), postgres.dsn(user=OWNER_ROLE)
        await migrate.migrate(owner, APP_ROLE)
        await make_runs(owner)
        async with workers(url) as (worker,):
            before = Database.open(url)
            await enqueue(before, "test.note", {"key": "before"})
            await eventually(lambda: nothing_queued(before, "test.note"))
            await enqueue(before, "test.slow", {"key": "during", "seconds": 1})
            await eventually(lambda: ran(before, "test.slow"))
            await before.close()
            postgres_pid = postgres.running_pid()
            assert postgres_pid is not None
            await asyncio.to_thread(kill_and_wait, postgres, postgres_pid)
            await asyncio.to_thread(postgres.start)

            after = Database.open(url)
            await enqueue(after, "test.note", {"key": "after"})
            for name in ("test.note", "test.slow"):
                await eventually(lambda name=name: nothing_queued(after, name), seconds=40)
            ticked = await rows(after, "SELECT count(*) FROM clock_slots")
            await eventually(lambda: more_slots(after, ticked[0][0]))
            assert worker.process.poll() is None
            assert await ran(after, "test.note") == ["before", "after"]
            assert await ran(after, "test.slow") == ["during", "during"]
            assert await asyncio.to_thread(worker.stop) == 0
            await after.close()
    finally:
        await asyncio.to_thread(postgres.remove)


async def more_slots(db: Database, than: int) -> bool:
    return (await rows(db, "SELECT count(*) FROM clock_slots"))[0][0] > than


def kill_and_wait(postgres: EmbeddedPostgres, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    postgres.stop()


async def test_a_worker_without_a_database_says_what_to_do() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WELLWARD_DATABASE")}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "app.worker"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "Set WELLWARD_DATABASE_URL, or start everything with `wellward up`."
    )
