"""A worker is killed in the middle of a thousand reminders: clock, queue, worker process, FCM.

Nothing is called by hand: reminders are rows that are due, the worker is
`python -m app.worker`, and the sandbox is the judge of what was sent.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db import Database
from tests.fcm_server import RunningSandbox, running_sandbox
from tests.figures import record_figure
from tests.job_worker import eventually
from tests.nudges import rows

REMINDERS = 1000
UNKNOWN_MAX = 50
DRAINED_WITHIN_SECONDS = 60


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


async def test_nothing_is_sent_twice_and_little_is_unknown_after_a_kill(
    db: Database, database_url: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)  # noqa: TID251 - the worker's clock
    await make_due_reminders(db, REMINDERS, now)
    log = tmp_path / "worker.log"

    async def two_hundred_accepted() -> bool:
        return sandbox.sandbox.counts["accepted"] >= 200

    with worker(database_url, sandbox, log) as first:
        await eventually(two_hundred_accepted, seconds=60, every=0.005)
        first.kill()
        first.wait()
    await asyncio.sleep(0.5)  # what was on its way arrives
    after_kill = await results(db)
    accepted_before = sandbox.sandbox.counts["accepted"]

    assert after_kill.total() == REMINDERS
    assert after_kill["ATTEMPTING"] <= UNKNOWN_MAX
    assert after_kill["SENT"] + after_kill["ATTEMPTING"] >= accepted_before >= 200
    assert after_kill["QUEUED"] + after_kill["due"] >= REMINDERS / 4, "it was killed too late"

    async def drained() -> bool:
        states = await results(db)
        return not (states["QUEUED"] or states["ATTEMPTING"] or states["due"])

    restarted_at = time.monotonic()
    with worker(database_url, sandbox, log):
        await eventually(drained, seconds=DRAINED_WITHIN_SECONDS)
        drained_after = time.monotonic() - restarted_at
    final = await results(db)

    record_figure("sent, of 1,000", final["SENT"])
    record_figure("unknown, of 1,000", final["UNKNOWN"])
    record_figure("sent twice", len(sandbox.stats()["duplicates"]))
    record_figure("drained after the restart within", round(drained_after, 1), "s")
    assert final["SENT"] + final["UNKNOWN"] == REMINDERS
    assert final["UNKNOWN"] == after_kill["ATTEMPTING"] <= UNKNOWN_MAX
    stats = sandbox.stats()
    assert stats["duplicates"] == {}
    assert len({seen["token"] for seen in stats["messages"]}) == stats["accepted"]
    # Everything known to be sent arrived; of the unknown ones at most those few more.
    assert final["SENT"] <= stats["accepted"] <= REMINDERS
    assert (await rows(db, "SELECT count(*) FROM messages WHERE in_inbox")) == [(REMINDERS,)]
    assert "Metformin" not in log.read_text() and "ok:" not in log.read_text()
