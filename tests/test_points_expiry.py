"""Points expire when their day is over: announced before, oldest first, once."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import text

from app.civil_time import local_date
from app.db import Database, StatementCount
from app.nudges import points_notices
from app.points import expiry, service
from app.points.rules import CauseKind, Expiry
from tests.factories import NOON, as_member, contents, execute, operation
from tests.ledger_machine import Subject, new_hold
from tests.ledger_oracle import Op, Oracle
from tests.points_ledger import (
    SHANGHAI,
    balances,
    do,
    earn,
    hold,
    make_wallet,
    moved,
    sound,
    spend,
)
from tests.processes import FULL_COUNTS, PROJECT, environment

HISTORIES = 500 if FULL_COUNTS else 50
STEPS = 10
KILLS = 20 if FULL_COUNTS else 3
DAY = timedelta(days=1)
SOON = date(2026, 3, 4)
OVER = datetime.fromisoformat("2026-03-05T00:00:00+08:00")


async def run(db: Database, now: datetime, *, limit: int = 500) -> int:
    """The job; how many transfers it wrote."""
    transfers = 0
    while (done := await expiry.expire_due(db, now=now, limit=limit)) is not None:
        transfers += done.transfers
    return transfers


async def notices(db: Database) -> list[tuple[date, int, int, int]]:
    """Last day, days before, points, revision."""
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                """select expires_on, days_before, amount, revision from points_expiry_notices
                    order by expires_on, days_before desc"""
            )
        )
        return [tuple(row) for row in rows]


async def test_points_expire_at_the_midnight_after_their_last_day(db: Database) -> None:
    member_id = await make_wallet(db)
    for key, last in (("a", SOON), ("b", SOON), ("c", SOON + DAY)):
        await earn(db, member_id, 10, key=key, expires_on=last)

    assert await run(db, OVER - timedelta(microseconds=1)) == 0
    assert await run(db, OVER) == 1
    assert await balances(db, member_id) == {"available": 10, "earned_total": 30, "expired": 20}
    # One line for one day.
    assert (await moved(db, member_id))[3:] == [("EXPIRED", "available", "expired", 20)]
    before = await contents(db)
    assert await run(db, OVER) == 0
    assert await contents(db) == before
    assert await sound(db)


async def test_after_a_downtime_each_day_is_a_line_of_its_own(db: Database) -> None:
    member_id = await make_wallet(db)
    for number in range(5):
        await earn(db, member_id, 10, key=str(number), expires_on=SOON + number * DAY)
    assert await run(db, OVER + 3 * DAY) == 4
    assert await balances(db, member_id) == {"available": 10, "earned_total": 50, "expired": 40}
    assert await sound(db)


async def test_what_is_held_or_waits_does_not_expire(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, key="a", expires_on=SOON)
    await earn(db, member_id, 5, key="b", expires_on=SOON, pending=True)
    await hold(db, member_id, 8, hours=999)
    await run(db, OVER)
    assert await balances(db, member_id) == {
        "pending": 5, "held": 8, "earned_total": 10, "expired": 2,
    }  # fmt: skip
    assert await sound(db)


async def test_one_last_day_that_ends_at_two_moments_expires_in_two_steps(db: Database) -> None:
    """A member who moved: what was earned in Shanghai ends there, the rest an hour later."""
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, key="shanghai", expires_on=SOON)
    async with db.transaction() as session:
        await service.earn(
            session,
            member_id=member_id,
            amount=7,
            cause=service.Cause(CauseKind.CHECK_IN, UUID(int=9), "bangkok:0"),
            rule=service.Rule(None, "walk"),
            local_date=SOON,
            expires=Expiry(SOON, OVER + timedelta(hours=1)),
            now=NOON,
        )
    assert await run(db, OVER) == 1
    assert await balances(db, member_id) == {"available": 7, "earned_total": 17, "expired": 10}
    assert await sound(db)
    assert await run(db, OVER + timedelta(hours=1)) == 1
    assert await balances(db, member_id) == {"earned_total": 17, "expired": 17}
    assert await sound(db)


async def test_many_members_are_a_few_statements(db: Database) -> None:
    for _ in range(40):
        await earn(db, await make_wallet(db), 10, expires_on=SOON)
    with StatementCount(db) as count:
        assert await run(db, OVER) == 40
    assert len(count) <= 6


async def test_what_was_announced_is_what_expires(db: Database) -> None:
    member_id = await make_wallet(db)
    last = date(2026, 4, 30)
    over = datetime.fromisoformat("2026-05-01T00:00:00+08:00")
    await earn(db, member_id, 30, key="a", expires_on=last)
    await earn(db, member_id, 12, key="b", expires_on=last)
    await earn(db, member_id, 99, key="c")

    assert await expiry.announce(db, now=over - 31 * DAY) == 0
    assert await expiry.announce(db, now=over - 30 * DAY) == 1
    assert await expiry.announce(db, now=over - 29 * DAY) == 0
    assert await notices(db) == [(last, 30, 42, 0)]
    assert await expiry.announce(db, now=over - 7 * DAY) == 1
    assert await notices(db) == [(last, 30, 42, 0), (last, 7, 42, 0)]

    await run(db, over)

    assert await balances(db, member_id) == {"available": 99, "earned_total": 141, "expired": 42}


async def test_what_is_spent_meanwhile_does_not_expire_and_what_returns_is_announced(
    db: Database,
) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30, expires_on=SOON)
    held = await hold(db, member_id, 10, hours=999)
    await expiry.announce(db, now=NOON)
    assert await notices(db) == [(SOON, 7, 20, 0)]

    await spend(db, member_id, 5)
    assert await expiry.announce(db, now=NOON + timedelta(hours=1)) == 0
    await do(db, service.release, member_id=member_id, hold_id=held)
    assert await expiry.announce(db, now=NOON + timedelta(hours=2)) == 1
    assert await notices(db) == [(SOON, 7, 25, 1)]

    await run(db, OVER)
    assert await balances(db, member_id) == {"earned_total": 30, "spent": 5, "expired": 25}


# What was not announced in time

LAST = date(2026, 4, 10)
"""More than 30 days after NOON, so that two notices come before it."""
END = datetime.fromisoformat("2026-04-11T00:00:00+08:00")


async def work(db: Database, now: datetime) -> int:
    """What the clock has a worker do; how many transfers it wrote."""
    await expiry.announce(db, now=now)
    return await run(db, now)


async def next_expiry(db: Database, member_id: UUID, now: datetime) -> tuple[int, date] | None:
    data = await execute(
        "{ me { points { nextExpiry { amount expiresOn } } } }",
        context=as_member(db, member_id, now=now),
    )
    found = data["me"]["points"]["nextExpiry"]
    return (found["amount"], found["expiresOn"]) if found else None


async def entries(db: Database, member_id: UUID, now: datetime) -> list[dict]:
    data = await execute(
        "{ me { points { entries { edges { node { id amount expiresOn } } } } } }",
        context=as_member(db, member_id, now=now),
    )
    return [edge["node"] for edge in data["me"]["points"]["entries"]["edges"]]


async def test_after_forty_days_without_a_worker_nothing_is_gone_unannounced(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30, key="a", expires_on=LAST)
    await earn(db, member_id, 12, key="b", expires_on=LAST + DAY)
    await earn(db, member_id, 99, key="c")
    back = NOON + 40 * DAY

    assert await work(db, back) == 0

    assert await balances(db, member_id) == {"available": 141, "earned_total": 141}
    later = date(2026, 4, 18)
    async with db.read() as connection:
        found = await connection.execute(
            text("select expires_on, days_before, amount, ends_on from points_expiry_notices")
        )
        assert sorted(tuple(row) for row in found) == [
            (LAST, 7, 30, later),
            (LAST + DAY, 7, 12, later),
        ]
    assert await next_expiry(db, member_id, back) == (42, later)
    assert (await entries(db, member_id, back))[-1]["expiresOn"] == later.isoformat()
    # It works on as if nothing had been: each is announced once, and told with its new day.
    for hours in range(1, 7 * 24, 24):
        assert await work(db, back + timedelta(hours=hours)) == 0
    told = await points_notices.tell(db, now=back)
    async with db.read() as connection:
        bodies = await connection.execute(text("select body from messages order by body"))
        assert [body for (body,) in bodies] == [
            "12 points can be spent up to and including 2026-04-18.",
            "30 points can be spent up to and including 2026-04-18.",
        ]
    assert told.notices == 2
    over = datetime.fromisoformat("2026-04-19T00:00:00+08:00")
    assert await work(db, over - timedelta(microseconds=1)) == 0
    assert await work(db, over) == 2
    assert await balances(db, member_id) == {"available": 99, "earned_total": 141, "expired": 42}
    assert await work(db, over + DAY) == 0
    assert await sound(db)
    [expired] = [it for it in await entries(db, member_id, over) if it["amount"] == -30]
    context = as_member(db, member_id, now=over)
    why = (await execute(operation("Why"), {"id": expired["id"]}, context=context))["why"]
    assert why["summary"] == "30 points could be spent until 2026-04-18, and expired after it."


async def test_meanwhile_they_are_spent_first_and_come_back_to_be_spent(db: Database) -> None:
    """No worker runs: what a member does must not have the points expire either."""
    member_id = await make_wallet(db)
    await earn(db, member_id, 30, key="a", expires_on=LAST)
    await earn(db, member_id, 50, key="b")
    late = END + 10 * DAY

    spent = await spend(db, member_id, 10, now=late)
    held = await hold(db, member_id, 5, now=late)
    assert await balances(db, member_id) == {
        "available": 65, "held": 5, "earned_total": 80, "spent": 10,
    }  # fmt: skip
    await do(db, service.release, member_id=member_id, hold_id=held, now=late)
    await do(db, service.reverse, member_id=member_id, transfer_id=spent, now=late)

    assert await balances(db, member_id) == {"available": 80, "earned_total": 80}
    assert await work(db, late) == 0
    await work(db, late + DAY)
    await work(db, late + 31 * DAY)
    assert await balances(db, member_id) == {"available": 50, "earned_total": 80, "expired": 30}
    assert await sound(db)


async def test_one_notice_in_time_is_enough(db: Database) -> None:
    """The worker was there 30 days before, and was away 7 days before."""
    member_id = await make_wallet(db)
    await earn(db, member_id, 30, expires_on=LAST)
    await work(db, END - 29 * DAY)
    assert await work(db, END) == 1
    assert await balances(db, member_id) == {"earned_total": 30, "expired": 30}


@pytest.mark.parametrize(
    ("before", "expires"),
    [
        (timedelta(days=7), END),
        (timedelta(days=6, hours=23), END),
        (timedelta(days=6, hours=22, minutes=59), END + DAY),
        (timedelta(days=3), END + 5 * DAY),
        (timedelta(minutes=1), END + 7 * DAY),
        (timedelta(0), END + 8 * DAY),
    ],
)
async def test_seven_days_remain_from_the_first_notice_on(
    db: Database, before: timedelta, expires: datetime
) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30, expires_on=LAST)
    assert await work(db, END - before) == 0
    assert await work(db, expires - timedelta(microseconds=1)) == 0
    assert await work(db, expires) == 1
    assert expires >= END - before + 7 * DAY - timedelta(hours=1)


async def test_points_given_for_less_than_seven_days_need_no_notice(db: Database) -> None:
    member_id = await make_wallet(db)
    given = END - 7 * DAY
    for seconds in (0, 1):
        now = given + timedelta(seconds=seconds)
        await earn(db, member_id, 1, key=f"{seconds}", expires_on=LAST + seconds * DAY, now=now)
    await earn(db, member_id, 5, key="short", expires_on=LAST - DAY, now=given)

    # Only the one that lasts 7 days or longer stays, and the one that ends later still.
    assert await run(db, END + DAY) == 1
    assert await balances(db, member_id) == {"available": 2, "earned_total": 7, "expired": 5}


async def test_workers_at_once_announce_late_ones_once_and_all_of_them(db: Database) -> None:
    for _ in range(30):
        await earn(db, await make_wallet(db), 30, expires_on=LAST)
    noted = await asyncio.gather(*(expiry.announce(db, now=END + DAY, limit=7) for _ in range(8)))
    assert max(noted) > 0
    assert len(await notices(db)) == 30
    assert await run(db, END + DAY) == 0


async def test_a_member_who_is_being_written_is_left_for_the_next_run(db: Database) -> None:
    busy, idle = await make_wallet(db), await make_wallet(db)
    for member_id in (busy, idle):
        await earn(db, member_id, 10, expires_on=SOON)
    async with db.transaction() as session:
        await session.execute(
            text("select 1 from wallets where member_id = :id for update"), {"id": busy}
        )
        assert await asyncio.wait_for(run(db, OVER), 30) == 1
    assert await balances(db, idle) == {"earned_total": 10, "expired": 10}
    assert await balances(db, busy) == {"available": 10, "earned_total": 10}
    assert await run(db, OVER) == 1


# Random histories through the job


def history(rng: Random) -> list[tuple[int, str, int, int]]:
    """Hours since the start, what, how much (percent of what is there, to spend), and how long
    it lasts in days."""
    hours = 0
    steps = []
    for _ in range(STEPS):
        hours += rng.choice([0, 5, 24, 24 * 9])
        what = rng.choice(["earn", "earn", "spend", "expire"])
        steps.append((hours, what, rng.randint(1, 100), rng.choice([0, 1, 6, 30])))
    return steps


async def live(db: Database, number: int) -> tuple[Subject, Oracle]:
    rng = Random(number)
    member_id = await make_wallet(db)
    subject, oracle = Subject(db, member_id, SHANGHAI), Oracle(SHANGHAI)
    for place, (hours, what, amount, days) in enumerate(history(rng)):
        now = NOON + timedelta(hours=hours)
        available = oracle.balances["available"]
        op = Op(
            what,
            now,
            key=place,
            hold=new_hold(now),
            amount=amount if what == "earn" else max(1, available * amount // 100),
            expires_on=local_date(now, SHANGHAI) + timedelta(days=days),
        )
        if what == "expire":
            # The job takes whoever is due: only this member lives at this moment.
            async with db.transaction() as session:
                connection = await session.connection()
                await connection.execute(_LOCK, {"id": member_id})
                await expiry.expire_locked(connection, [member_id], now=now)
            # Nobody announces meanwhile: what lasts 30 days stays until it was announced.
            oracle.sweep(op)
        else:
            assert await subject.do(op) == oracle.do(op)
    return subject, oracle


_LOCK = text("select 1 from wallets where member_id = :id for update")


@pytest.mark.timeout(3600 if FULL_COUNTS else 300)
async def test_random_histories_expire_as_the_oracle_says(db: Database) -> None:
    lives: Sequence[tuple[Subject, Oracle]] = []
    for first in range(0, HISTORIES, 8):
        numbers = range(first, min(first + 8, HISTORIES))
        lives = [*lives, *await asyncio.gather(*(live(db, number) for number in numbers))]
    end = NOON + timedelta(hours=STEPS * 24 * 9) + 60 * DAY
    for now in (NOON + 20 * DAY, end, end + 8 * DAY):
        await expiry.announce(db, now=now, limit=7)
        await run(db, now, limit=7)
        for subject, oracle in lives:
            oracle.do(Op("announce", now))
            oracle.do(Op("expire", now))
            seen = await subject.look()
            seen.check()
            assert seen.equals(oracle)
    assert all(oracle.balances["available"] == 0 for _, oracle in lives)
    assert any(oracle.balances["expired"] for _, oracle in lives)
    assert await sound(db)


# Killed, and several at once

_JOB = """
import asyncio, sys
from datetime import datetime
from app.db import Database
from app.points import expiry

async def main():
    db = Database.open(sys.argv[1], pool_size=1)
    async with db.read():
        print("ready", flush=True)
    while await expiry.expire_due(db, now=datetime.fromisoformat(sys.argv[2]), limit=3) is not None:
        pass
    await db.close()

asyncio.run(main())
"""


def job(url: str, now: datetime) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", _JOB, url, now.isoformat()],
        cwd=PROJECT,
        env=environment(PYTHONPATH=str(PROJECT)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.timeout(3600 if FULL_COUNTS else 300)
async def test_killed_at_random_and_three_at_once_is_as_if_it_ran_once(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    rng = Random(7)
    expected: dict[UUID, int] = {}
    for number in range(60):
        member_id = await make_wallet(db)
        for place in range(4):
            amount = rng.randint(1, 9)
            last = SOON + rng.randint(0, 5) * DAY
            await earn(db, member_id, amount, key=str(place), expires_on=last)
            expected[member_id] = expected.get(member_id, 0) + amount * (last < SOON + 4 * DAY)
        if number % 3 == 0:
            held = await hold(db, member_id, 2, hours=1)
            await do(db, service.release, member_id=member_id, hold_id=held)
    now = OVER + 3 * DAY

    async def done() -> int:
        async with db.read() as connection:
            found = await connection.scalar(text("select count(*) from wallets where expired > 0"))
            return int(found or 0)

    progress = []
    for _ in range(KILLS):
        process = job(database_url, now)
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(rng.uniform(0, 0.08))
        process.kill()
        await asyncio.to_thread(process.communicate)
        progress.append(await done())
        assert await sound(db)
    processes = [job(database_url, now) for _ in range(3)]
    for process in processes:
        await asyncio.to_thread(process.communicate)
        assert process.returncode == 0
    # Each left to the others what they were writing.
    await run(db, now)

    assert progress[0] < await done()
    for member_id, amount in expected.items():
        assert (await balances(db, member_id)).get("expired", 0) == amount
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                """select member_id, local_date, count(*) from points_transfers
                    where kind = 'EXPIRED' group by 1, 2 having count(*) > 1"""
            )
        )
        assert rows.all() == []
    assert await sound(db)
