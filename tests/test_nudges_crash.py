"""Workers are killed while thousands of reminders go out: clock, queue, worker processes, FCM.

Nothing is called by hand: reminders are rows that are due, the workers run `app.worker`, and the
sandbox, which also refuses, hangs, resets and takes what it says it has not taken, is the judge of
what was sent.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db import Database
from app.nudges import policies
from tests.fcm_server import RunningSandbox, running_sandbox
from tests.figures import record_figure
from tests.forked_workers import Workers, forked_workers
from tests.job_worker import eventually
from tests.nudges import rows, run

PROVING = bool(os.environ.get("WELLWARD_PROVE"))
REMINDERS = 100_000 if PROVING else 5_000
KILLS, WORKERS = (50, 4) if PROVING else (5, 1)
UNKNOWN_MAX = 50
"""A killed worker leaves so many."""

# One in so many answers so; the others are accepted.
ONE_IN = {
    "unreg": 200, "invalid": 250, "sender": 300, "html": 350, "drop": 400, "reset": 450,
    "flaky": 220, "twice": 230, "quota": 1000, "unavail": 1100, "internal": 1200, "apns": 1300,
    "slow": 2200,
}  # fmt: skip
ENDS = {
    "ok": ("SENT", None),
    "flaky": ("SENT", None),
    "twice": ("SENT", None),
    "unreg": ("TOKEN_REMOVED", "UNREGISTERED"),
    "invalid": ("FAILED", "INVALID_ARGUMENT"),
    "sender": ("FAILED", "SENDER_ID_MISMATCH"),
    "html": ("UNKNOWN", "HTTP_502"),
    "drop": ("UNKNOWN", "CONNECTION"),
    "reset": ("UNKNOWN", "CONNECTION"),
    "slow": ("UNKNOWN", "TIMEOUT"),
}
AGAIN = {
    "quota": "QUOTA_EXCEEDED",
    "unavail": "UNAVAILABLE",
    "internal": "INTERNAL",
    "apns": "UNAUTHORISED",
}
"""These are tried again, longer than anybody wants to watch."""
ARRIVE = {"ok", "flaky", "twice", "drop", "reset", "slow"}
LOST = ("UNKNOWN", "WORKER_LOST")


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path, latency_seconds=0.05, slow_seconds=15) as running:
        yield running


async def make_due_reminders(db: Database, count: int, now: datetime) -> None:
    kinds = " ".join(f"WHEN n % {one_in} = 1 THEN '{kind}'" for kind, one_in in ONE_IN.items())
    async with db.transaction() as session:
        connection = await session.connection()
        for statement in (
            """INSERT INTO members (member_id, display_name, birth_date, sex, time_zone, locale,
                                    created_at)
               SELECT gen_random_uuid(), 'many', '1980-01-01', 'UNKNOWN', 'Asia/Shanghai', 'zh-CN',
                      now() FROM generate_series(1, :count)""",
            # At some hours of the day they have something to say to everybody.
            """INSERT INTO message_sources (id, kind, name, state, changed_at)
               SELECT id, 'NUDGE', 'halted', 'HALTED', :now
                 FROM unnest(CAST(:policies AS uuid[])) AS id WHERE :count > 0""",
            f"""INSERT INTO push_tokens (token, provider, member_id, installation_id,
                                         registered_at)
               SELECT CASE {kinds} ELSE 'ok' END || ':' || member_id, 'FCM', member_id, member_id,
                      now()
                 FROM (SELECT member_id, row_number() OVER () AS n FROM members) m LIMIT :count""",
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
            wanted = {"count": count, "now": now, "policies": list(policies.in_force())}
            await connection.execute(text(statement), wanted)


@pytest.mark.timeout(3000 if PROVING else 300)
async def test_nothing_is_sent_twice_and_little_is_unknown_after_many_kills(
    db: Database, database_url: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)  # noqa: TID251 - the worker's clock
    await make_due_reminders(db, REMINDERS, now)
    tokens = {
        member_id: token
        for member_id, token in await rows(db, "SELECT member_id, token FROM push_tokens")
    }
    log = tmp_path / "worker.log"
    settings = {
        "WELLWARD_DATABASE_URL": database_url,
        "WELLWARD_FCM_CREDENTIALS": str(sandbox.credentials),
        "WELLWARD_FCM_BASE_URL": sandbox.url,
    }
    with forked_workers(log) as workers:
        for _ in range(WORKERS):
            workers.start(settings)
        for kill in range(KILLS):
            wanted = (kill + 1) * REMINDERS // (KILLS + 2)
            await eventually(partial(_accepted, sandbox, wanted), seconds=300, every=0.005)
            await _kill_one(db, workers)
            workers.start(settings)
        left = await _unfinished(db)
        assert left > 0, "they were killed too late"
        await eventually(partial(_drained, db), seconds=900, every=1)
    await eventually(partial(_is_quiet, sandbox), seconds=60, every=0)

    ended = {
        member_id: (state, reason, attempts)
        for member_id, state, reason, attempts in await rows(
            db, "SELECT member_id, state, reason, attempts FROM push_deliveries"
        )
    }
    _check(tokens, ended, sandbox)
    assert (await rows(db, "SELECT count(*) FROM messages WHERE in_inbox")) == [(REMINDERS,)]
    said = log.read_text()
    assert "Metformin" not in said and not any(f"{kind}:" in said for kind in ("ok", *ONE_IN))


async def _kill_one(db: Database, workers: Workers) -> None:
    workers.kill(random.choice(workers.alive))
    if not workers.alive:
        # Nobody need wait for what a lease protects.
        await run(db, "UPDATE push_batches SET leased_until = now() WHERE finished_at IS NULL")
        await run(db, "UPDATE pgqueuer SET heartbeat = now() - interval '1 hour'")


def _check(
    tokens: Mapping[object, str],
    ended: Mapping[object, tuple[str, str | None, int]],
    sandbox: RunningSandbox,
) -> None:
    lost: Counter[str] = Counter()
    found: Counter[str] = Counter()
    assert ended.keys() == tokens.keys()
    for member_id, token in tokens.items():
        kind = token.partition(":")[0]
        state, reason, attempts = ended[member_id]
        requests = sandbox.sandbox.requests_of[token]
        if (state, reason) == LOST:
            lost[kind] += 1
            # Of the last attempt nobody knows whether it was made.
            assert attempts - 1 <= requests <= attempts, (token, attempts, requests)
            continue
        found[kind] += 1
        if kind in AGAIN:
            assert (state, reason) in {("QUEUED", AGAIN[kind]), ("FAILED", AGAIN[kind])}, token
        else:
            assert (state, reason) == ENDS[kind], token
        # An attempt that our set-up spoils is none of the attempts that a push has.
        assert requests == attempts or kind == "apns", (token, attempts, requests)

    arrivals = Counter(seen["token"] for seen in sandbox.sandbox.messages)
    twice = {token for token, count in arrivals.items() if count > 1}
    record_figure(f"sent, of {REMINDERS:,}, over {KILLS} kills", found["ok"] + found["flaky"])
    record_figure("unknown, of killed workers", lost.total())
    record_figure("sent twice", sum(not it.startswith("twice:") for it in twice))
    record_figure("taken after all by FCM that answered 503", len(twice))
    assert lost.total() <= UNKNOWN_MAX * KILLS
    # Only what FCM itself had said that it did not take.
    assert all(token.startswith("twice:") and arrivals[token] == 2 for token in twice)
    keys = {
        (seen["token"], seen["message"]["android"]["collapse_key"])
        for seen in sandbox.sandbox.messages
        if seen["token"] in twice
    }
    assert len(keys) == len(twice), "the second one replaces the first"
    # Everything known to be sent arrived; of the lost ones at most those few more.
    known = sum(count for kind, count in found.items() if kind in ARRIVE)
    assert known <= len(arrivals) <= known + lost.total()


async def _accepted(sandbox: RunningSandbox, wanted: int) -> bool:
    return sandbox.sandbox.counts["accepted"] >= wanted


async def _unfinished(db: Database) -> int:
    """Reminders that are still due, and pushes that are neither sent nor tried again later."""
    again = ", ".join(f"'{it}'" for it in AGAIN.values())
    ((due, open_),) = await rows(
        db,
        "SELECT (SELECT count(*) FROM reminders WHERE next_at <= now()),"
        " (SELECT count(*) FROM push_deliveries WHERE state = 'ATTEMPTING'"
        f"    OR state = 'QUEUED' AND (reason IS NULL OR reason NOT IN ({again})"
        "     OR reason = 'UNAVAILABLE' AND EXISTS (SELECT FROM push_tokens token"
        "      WHERE token.member_id = push_deliveries.member_id"
        "        AND token.token NOT LIKE 'unavail:%')))",
    )
    return int(due) + int(open_)


async def _drained(db: Database) -> bool:
    return await _unfinished(db) == 0


async def _is_quiet(sandbox: RunningSandbox) -> bool:
    """Nothing is on its way any more: half a second without a request."""
    before = sandbox.sandbox.counts["requests"]
    await asyncio.sleep(0.5)
    return sandbox.sandbox.counts["requests"] == before
