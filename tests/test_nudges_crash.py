"""A worker is killed in the middle of a thousand reminders: clock, queue, worker process, FCM.

Nothing is called by hand: reminders are rows that are due, the worker is
`python -m app.worker`, and the sandbox is the judge of what was sent.
"""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db import Database
from tests.fcm_server import RunningSandbox, running_sandbox
from tests.figures import record_figure
from tests.job_worker import eventually
from tests.nudges import rows, run

PROVING = bool(os.environ.get("WELLWARD_PROVE"))
REMINDERS = 100_000 if PROVING else 1000
KILLS, WORKERS = (50, 4) if PROVING else (5, 1)
UNKNOWN_MAX = 50
"""A killed worker leaves so many; of each kill."""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path, latency_seconds=0.05) as running:
        yield running


@contextmanager
def worker(url: str, sandbox: RunningSandbox, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {
        **os.environ,
        "WELLWARD_DATABASE_URL": url,
        "WELLWARD_FCM_CREDENTIALS": str(sandbox.credentials),
        "WELLWARD_FCM_BASE_URL": sandbox.url,
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.worker"], env=environment, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def make_due_reminders(db: Database, count: int, now: datetime) -> None:
    async with db.transaction() as session:
        connection = await session.connection()
        for statement in (
            """INSERT INTO members (member_id, display_name, birth_date, sex, time_zone, locale,
                                    created_at)
               SELECT gen_random_uuid(), 'many', '1980-01-01', 'UNKNOWN', 'Asia/Shanghai', 'zh-CN',
                      now() FROM generate_series(1, :count)""",
            """INSERT INTO push_tokens (token, provider, member_id, installation_id, registered_at)
               SELECT 'ok:' || member_id, 'FCM', member_id, member_id, now()
                 FROM members LIMIT :count""",
            """INSERT INTO reminders (member_id, id, title, kind, local_time, recurrence, starts_on,
                                      next_on, next_at, created_at, changed_at)
               SELECT member_id, gen_random_uuid(), 'Metformin', 'MEDICATION',
                      CAST(CAST(:now AS timestamptz) AT TIME ZONE 'Asia/Shanghai' AS time),
                      'FREQ=DAILY', '2026-01-01',
                      CAST(CAST(:now AS timestamptz) AT TIME ZONE 'Asia/Shanghai' AS date), :now,
                      CAST(:now AS timestamptz) - interval '1 day',
                      CAST(:now AS timestamptz) - interval '1 day'
                 FROM members LIMIT :count""",
        ):
            await connection.execute(text(statement), {"count": count, "now": now})


async def results(db: Database) -> Counter[str]:
    """What became of each reminder: `due`, or the state of its push."""
    found: Counter[str] = Counter()
    for state, count in await rows(
        db,
        """SELECT coalesce(delivery.state, 'due'), count(*)
             FROM reminders LEFT JOIN push_deliveries AS delivery USING (member_id) GROUP BY 1""",
    ):
        found[state] = count
    return found


async def test_nothing_is_sent_twice_and_little_is_unknown_after_many_kills(
    db: Database, database_url: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)  # noqa: TID251 - the worker's clock
    await make_due_reminders(db, REMINDERS, now)
    log = tmp_path / "worker.log"
    step = REMINDERS // (KILLS + 2)

    for kill in range(KILLS):

        async def so_many_accepted(wanted: int = (kill + 1) * step) -> bool:
            return sandbox.sandbox.counts["accepted"] >= wanted

        with ExitStack() as running:
            started = [
                running.enter_context(worker(database_url, sandbox, log)) for _ in range(WORKERS)
            ]
            await eventually(so_many_accepted, seconds=300, every=0.005)
            started[0].kill()
            started[0].wait()
        # All are dead: nobody need wait for what a lease protects.
        await run(db, "UPDATE push_batches SET leased_until = now() WHERE finished_at IS NULL")
    await eventually(partial(is_quiet, sandbox), seconds=60)
    after_kills = await results(db)
    assert after_kills.total() == REMINDERS
    assert after_kills["QUEUED"] + after_kills["due"] > 0, "it was killed too late"

    async def drained() -> bool:
        states = await results(db)
        return not (states["QUEUED"] or states["ATTEMPTING"] or states["due"])

    with worker(database_url, sandbox, log):
        await eventually(drained, seconds=600, every=0.2)
    final = await results(db)
    stats = sandbox.stats()

    record_figure(f"sent, of {REMINDERS:,}, over {KILLS} kills", final["SENT"])
    record_figure("unknown", final["UNKNOWN"])
    record_figure("sent twice", len(stats["duplicates"]))
    assert final["SENT"] + final["UNKNOWN"] == REMINDERS
    assert final["UNKNOWN"] <= UNKNOWN_MAX * KILLS * WORKERS
    assert stats["duplicates"] == {}
    # Everything known to be sent arrived; of the unknown ones at most those few more.
    assert final["SENT"] <= stats["accepted"] <= REMINDERS
    assert (await rows(db, "SELECT count(*) FROM messages WHERE in_inbox")) == [(REMINDERS,)]
    assert "Metformin" not in log.read_text() and "ok:" not in log.read_text()


async def is_quiet(sandbox: RunningSandbox) -> bool:
    """Nothing is on its way any more: half a second without a request."""
    before = sandbox.sandbox.counts["requests"]
    await asyncio.sleep(0.5)
    return sandbox.sandbox.counts["requests"] == before
