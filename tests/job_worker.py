"""A real worker process with handlers of the tests: `python -m tests.job_worker URL`.

Each handler writes down, in the table `runs` of the test, when it began and ended.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import text

from app import worker
from app.adapters.embedded_postgres import APP_ROLE
from app.clock import wall_clock
from app.config import Settings
from app.db import Database
from app.events import Event
from app.jobs import clock, queue
from app.observability import configure_logging

RUNS = """
CREATE TABLE IF NOT EXISTS runs (
  id bigint GENERATED ALWAYS AS IDENTITY, job text, key text, pid integer,
  began timestamptz DEFAULT clock_timestamp(), ended timestamptz)
"""
JOB_LEASE = timedelta(seconds=2)
CLOCK_LEASE = timedelta(seconds=2)


async def _note(
    context: queue.JobContext, job: str, payload: dict[str, Any], *, sleep: float = 0
) -> None:
    async with context.db.write() as connection:
        run = await connection.scalar(
            text("INSERT INTO runs (job, key, pid) VALUES (:job, :key, :pid) RETURNING id"),
            {"job": job, "key": str(payload.get("key") or payload.get("slot")), "pid": os.getpid()},
        )
    await asyncio.sleep(sleep)
    async with context.db.write() as connection:
        await connection.execute(
            text("UPDATE runs SET ended = clock_timestamp() WHERE id = :id"), {"id": run}
        )


@queue.job("test.note")
async def note(context: queue.JobContext, payload: dict[str, Any]) -> None:
    await _note(context, "test.note", payload)


@queue.job("test.slow")
async def slow(context: queue.JobContext, payload: dict[str, Any]) -> None:
    await _note(context, "test.slow", payload, sleep=payload.get("seconds", 1))


@queue.job("test.alone", concurrency=1)
async def alone(context: queue.JobContext, payload: dict[str, Any]) -> None:
    await _note(context, "test.alone", payload, sleep=0.05)


@queue.job("test.fails", attempts_max=3)
async def fails(context: queue.JobContext, payload: dict[str, Any]) -> None:
    await _note(context, "test.fails", payload)
    raise ValueError("systolic 181 of member Wang Fang")


@queue.job("test.kills", attempts_max=2)
async def kills(context: queue.JobContext, payload: dict[str, Any]) -> None:
    await _note(context, "test.kills", payload)
    os.kill(os.getpid(), signal.SIGKILL)


@queue.job("test.stubborn")
async def stubborn(context: queue.JobContext, payload: dict[str, Any]) -> None:
    """Will not be interrupted for longer than the worker waits."""
    await _note(context, "test.stubborn", payload)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(10)


@queue.job("test.publishes")
async def publishes(context: queue.JobContext, payload: dict[str, Any]) -> None:
    context.events.publish(Event(UUID(payload["member"]), "task", "t1"))


@clock.clock("test.every_second", every=timedelta(seconds=1), catch_up="all")
async def every_second(context: queue.JobContext, payload: dict[str, Any]) -> None:
    await _note(context, "test.every_second", payload)


@clock.clock("test.latest", every=timedelta(minutes=1))
async def latest(context: queue.JobContext, payload: dict[str, Any]) -> None:
    await _note(context, "test.latest", payload)


class Worker:
    """One worker process."""

    def __init__(self, url: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.job_worker"],
            env={
                **os.environ,
                "WELLWARD_DATABASE_URL": url,
                "WELLWARD_POOL_SIZE": "4",
                **environment,
            },
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = 20) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout)


@asynccontextmanager
async def workers(url: str, count: int = 1, **environment: str) -> AsyncIterator[list[Worker]]:
    """Processes that are killed at the end, if they still run."""
    started = [Worker(url, **environment) for _ in range(count)]
    try:
        yield started
    finally:
        for each in started:
            each.process.send_signal(signal.SIGCONT)
            each.kill()


async def eventually(look: Callable[[], Any], *, seconds: float = 20, every: float = 0.05) -> Any:
    """What `look` (a coroutine function) answers once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {look}"
        await asyncio.sleep(every)


async def rows(db: Database, statement: str, **parameters: Any) -> list[Any]:
    async with db.read() as connection:
        return list(await connection.execute(text(statement), parameters))


async def make_runs(owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    await connection.execute(f"{RUNS}; GRANT ALL ON runs TO {APP_ROLE}")
    await connection.close()


async def enqueue(db: Database, name: str, *payloads: dict[str, Any]) -> None:
    async with db.transaction() as session:
        for payload in payloads:
            await queue.enqueue(session, name, payload, now=wall_clock())


if __name__ == "__main__":
    configure_logging("INFO", messages=False)
    # Handlers were registered by this very module, under the name __main__.
    asyncio.run(
        worker.run(
            Settings(),  # type: ignore[call-arg]
            modules=(),
            job_lease=JOB_LEASE,
            clock_lease=CLOCK_LEASE,
        )
    )
