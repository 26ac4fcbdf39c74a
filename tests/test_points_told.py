"""No more expires than the member was told, nor before the day that was told last."""

import asyncio
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import Database
from app.points import expiry, service
from app.points.rules import CauseKind, Expiry
from tests.factories import NOON, as_member, execute
from tests.ledger_machine import Subject, new_hold, run_step
from tests.ledger_oracle import Op, Oracle
from tests.points_ledger import SHANGHAI, balances, do, earn, hold, make_wallet, sound
from tests.processes import FULL_COUNTS

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
LAST = date(2026, 4, 10)
END = datetime.fromisoformat("2026-04-11T00:00:00+08:00")


async def work(db: Database, now: datetime) -> int:
    """What the clock has a worker do; how many points expired."""
    await expiry.announce(db, now=now)
    return sum([done.points async for done in expiry.expire_all(db, now=now)])


async def notices(db: Database) -> list[tuple[int, int, int, date | None]]:
    """Days before, points, revision and the later last day, the first told first."""
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                """select days_before, amount, revision, ends_on from points_expiry_notices
                    order by expires_on, days_before desc"""
            )
        )
        return [tuple(row) for row in rows]


async def next_expiry(db: Database, member_id: UUID, now: datetime) -> tuple[int, date] | None:
    data = await execute(
        "{ me { points { nextExpiry { amount expiresOn } } } }",
        context=as_member(db, member_id, now=now),
    )
    found = data["me"]["points"]["nextExpiry"]
    return (found["amount"], found["expiresOn"]) if found else None


async def earn_elsewhere(db: Database, member_id: UUID, amount: int, ends_at: datetime) -> None:
    """With the same last day, which ends at another moment: the member had moved."""
    await do(
        db,
        service.earn,
        member_id=member_id,
        amount=amount,
        cause=service.Cause(CauseKind.CHECK_IN, UUID(int=9), "elsewhere:0"),
        rule=service.Rule(None, "walk"),
        local_date=date(2026, 3, 2),
        expires=Expiry(LAST, ends_at),
    )


# How much


@pytest.mark.parametrize("waits", [False, True])
async def test_what_comes_back_after_the_last_notice_puts_the_day_off(
    db: Database, waits: bool
) -> None:
    """A redemption that was cancelled, or an earning that was accepted, minutes before midnight:
    10 were told and 110 are there."""
    member_id = await make_wallet(db)
    earning = await earn(db, member_id, 100, key="a", expires_on=LAST, pending=waits)
    held = None if waits else await hold(db, member_id, 100, hours=24 * 60)
    await earn(db, member_id, 10, key="b", expires_on=LAST)
    assert await work(db, END - 30 * DAY) == 0
    assert await work(db, END - 7 * DAY) == 0
    back = END - 5 * MINUTE
    if held is None:
        await do(
            db, service.settle, member_id=member_id, transfer_id=earning.id, accept=True, now=back
        )
    else:
        await do(db, service.release, member_id=member_id, hold_id=held, now=back)

    # Also when it is the member who comes before the clock.
    await hold(db, member_id, 1, now=END)
    assert await balances(db, member_id) == {"available": 109, "held": 1, "earned_total": 110}
    assert await work(db, END) == 0

    later = date(2026, 4, 18)
    assert await notices(db) == [(30, 10, 0, None), (7, 109, 1, later)]
    over = datetime.fromisoformat("2026-04-19T00:00:00+08:00")
    assert await work(db, over - MINUTE) == 0
    assert await work(db, over) == 109
    assert await work(db, over + DAY) == 0
    assert await sound(db)


async def test_what_comes_back_before_the_last_notice_is_told_with_it(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 110, expires_on=LAST)
    held = await hold(db, member_id, 100, hours=24 * 60)
    await work(db, END - 30 * DAY)
    await do(db, service.release, member_id=member_id, hold_id=held, now=END - 8 * DAY)
    await work(db, END - 7 * DAY)
    assert await notices(db) == [(30, 10, 0, None), (7, 110, 0, None)]
    assert await work(db, END) == 110


async def test_it_is_the_newest_notice_that_counts(db: Database) -> None:
    """110 were told first, then 10: so 110 are more than the member thinks."""
    member_id = await make_wallet(db)
    await earn(db, member_id, 110, expires_on=LAST)
    await work(db, END - 30 * DAY)
    held = await hold(db, member_id, 100, hours=24 * 60)
    await work(db, END - 7 * DAY)
    await do(db, service.release, member_id=member_id, hold_id=held, now=END - DAY)
    assert await work(db, END) == 0
    assert await notices(db) == [(30, 110, 0, None), (7, 110, 1, date(2026, 4, 18))]


async def test_the_day_is_put_off_once_more_when_it_becomes_more_again(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30, expires_on=LAST)
    held = [await hold(db, member_id, 10, hours=24 * 60) for _ in range(2)]
    for days, hold_id in ((3, held[0]), (1, held[1])):
        await work(db, END - days * DAY)
        await do(db, service.release, member_id=member_id, hold_id=hold_id, now=END - days * DAY)
    await work(db, END - MINUTE)
    assert await notices(db) == [(7, 30, 2, date(2026, 4, 17))]
    # It is not for ever: no more than all of it comes back.
    again = await hold(db, member_id, 30, now=END + DAY)
    await do(db, service.release, member_id=member_id, hold_id=again, now=END + DAY)
    assert await work(db, END + 6 * DAY) == 0
    await work(db, END + 60 * DAY)
    await work(db, END + 75 * DAY)
    assert await balances(db, member_id) == {"earned_total": 30, "expired": 30}
    assert await sound(db)


# What a hold took


async def released_at_once(db: Database, member_id: UUID, amount: int, now: datetime) -> None:
    """A redemption that is cancelled after a minute."""
    held = await hold(db, member_id, amount, now=now)
    await do(db, service.release, member_id=member_id, hold_id=held, now=now + MINUTE)
    assert (await balances(db, member_id))["available"] == amount
    assert await sound(db)


async def last_days(db: Database) -> list[tuple[date, int]]:
    async with db.read() as connection:
        rows = await connection.execute(
            text(
                """select expires_on, remaining from points_lots where remaining > 0
                    order by expires_on"""
            )
        )
        return [tuple(row) for row in rows]


async def test_points_promised_for_longer_come_back_from_a_redemption(db: Database) -> None:
    """The last day was long ago, and the notice came late."""
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=LAST)
    await work(db, END + 40 * DAY)
    assert (await notices(db))[0][3] == (promised := date(2026, 5, 28))
    await released_at_once(db, member_id, 10, END + 41 * DAY)
    assert await last_days(db) == [(promised, 10)]


async def test_a_grace_lot_promised_for_longer_comes_back(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=date(2026, 3, 8))
    held = await hold(db, member_id, 10, hours=24 * 90)
    grace_end = datetime.fromisoformat("2026-04-08T00:00:00+08:00")
    released = grace_end - 20 * DAY
    await do(db, service.release, member_id=member_id, hold_id=held, now=released)
    assert await last_days(db) == [(date(2026, 4, 7), 10)]
    # Held when its day ends; the notice had come a day before.
    await work(db, grace_end - DAY)
    held = await hold(db, member_id, 10, now=grace_end - MINUTE)
    await do(db, service.release, member_id=member_id, hold_id=held, now=grace_end + 2 * DAY)
    assert await last_days(db) == [(promised := date(2026, 4, 14), 10)]
    # And no further than promised: what comes back later is gone.
    held = await hold(db, member_id, 10, now=grace_end + 3 * DAY)
    late = datetime.fromisoformat("2026-04-15T00:00:00+08:00")
    await do(db, service.release, member_id=member_id, hold_id=held, now=late)
    assert promised < date(2026, 4, 15)
    assert await balances(db, member_id) == {"earned_total": 10, "expired": 10}
    assert await sound(db)


async def test_what_nobody_has_announced_comes_back_for_seven_days(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=LAST)
    await released_at_once(db, member_id, 10, END + 40 * DAY)
    assert await last_days(db) == [(date(2026, 5, 28), 10)]
    assert await work(db, END + 40 * DAY + 2 * MINUTE) == 0
    assert await work(db, END + 48 * DAY) == 10


# What expires next


async def test_next_is_what_expires_first_not_what_was_to_expire_first(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, key="late", expires_on=LAST)
    await earn(db, member_id, 20, key="b", expires_on=date(2026, 5, 4))
    await earn(db, member_id, 5, key="c", expires_on=date(2026, 5, 8))
    await earn(db, member_id, 99, key="d", expires_on=date(2026, 6, 1))
    now = datetime.fromisoformat("2026-05-01T12:00:00+08:00")
    async with db.write() as connection:
        await connection.execute(
            text(
                """insert into points_expiry_notices
                     values (:id, '2026-05-04', 30, 20, 0, now(), null, null)"""
            ),
            {"id": member_id},
        )
    await expiry.announce(db, now=now)
    assert await next_expiry(db, member_id, now) == (20, date(2026, 5, 4))
    await work(db, datetime.fromisoformat("2026-05-05T00:00:00+08:00"))
    # Two last days that are now one.
    assert await next_expiry(db, member_id, now + 4 * DAY) == (15, date(2026, 5, 8))
    await work(db, now + 8 * DAY)
    assert await next_expiry(db, member_id, now + 8 * DAY) == (99, date(2026, 6, 1))


async def test_a_day_of_two_ends_that_is_late_ends_when_it_was_told(db: Database) -> None:
    """Its second end is far enough away for the first notice, which must not undo the late one."""
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=LAST)
    await earn_elsewhere(db, member_id, 7, END + timedelta(hours=15))
    assert await work(db, END - 7 * DAY + timedelta(hours=2)) == 0
    assert await notices(db) == [(7, 17, 0, date(2026, 4, 11))]
    assert await work(db, END) == 0
    assert await work(db, END + 15 * timedelta(hours=1)) == 0
    assert await work(db, END + DAY) == 17
    assert await sound(db)


# Side by side


async def test_who_announces_waits_for_nobody_who_writes_a_wallet(db: Database) -> None:
    busy, idle = await make_wallet(db), await make_wallet(db)
    for member_id in (busy, idle):
        await earn(db, member_id, 10, key="a", expires_on=date(2026, 3, 20))
        await earn(db, member_id, 10, key="b", expires_on=LAST)
    async with db.transaction() as session:
        await service.hold(
            session,
            member_id=busy,
            hold_id=(hold_id := UUID(int=7)),
            amount=5,
            expires_at=NOON + DAY,
            cause=service.Cause(CauseKind.REDEMPTION, hold_id, "redemption:7"),
            now=NOON,
        )
        # Late ones among them.
        noted = await asyncio.wait_for(expiry.announce(db, now=END - 3 * DAY), 30)
    assert noted == 4


async def test_what_was_announced_is_not_written_again(db: Database) -> None:
    """Many batches; then none, and no row is so much as locked."""
    for _ in range(8):
        await earn(db, await make_wallet(db), 10, expires_on=LAST)

    async def rows() -> list[tuple[str, str, str]]:
        async with db.read() as connection:
            found = await connection.execute(
                text(
                    """select ctid::text, xmin::text, xmax::text from points_expiry_notices
                        order by 1"""
                )
            )
            return [tuple(row) for row in found]

    assert await expiry.announce(db, now=END - 30 * DAY, limit=3) == 8
    before = await rows()
    assert len({xmin for _, xmin, _ in before}) == 3
    assert await expiry.announce(db, now=END - 29 * DAY) == 0
    assert await rows() == before


async def test_one_wallet_that_has_drifted_does_not_stop_the_others(db: Database) -> None:
    member_ids = [await make_wallet(db) for _ in range(4)]
    for number, member_id in enumerate(member_ids):
        await earn(db, member_id, 10, expires_on=date(2026, 3, 4) + number * DAY)
    drifted = member_ids[0]
    async with db.write() as connection:
        await connection.execute(
            text("update wallets set available = 3 where member_id = :id"), {"id": drifted}
        )
    now = NOON + 9 * DAY

    for expected in (30, 0):
        points = 0
        with pytest.raises(expiry.Drifted, match=r"^1 wallets"):
            async for done in expiry.expire_all(db, now=now):
                points += done.points
        assert points == expected

    for member_id in member_ids[1:]:
        assert await balances(db, member_id) == {"earned_total": 10, "expired": 10}
    assert await balances(db, drifted) == {"available": 3, "earned_total": 10}


async def test_somebody_who_is_busy_does_not_keep_the_others_waiting(db: Database) -> None:
    busy, idle = await make_wallet(db), await make_wallet(db)
    for number in range(3):
        await earn(db, busy, 10, key=f"{number}", expires_on=date(2026, 3, 3))
    await earn(db, idle, 10, expires_on=date(2026, 3, 4))
    async with db.transaction() as session:
        await session.execute(
            text("select 1 from wallets where member_id = :id for no key update"), {"id": busy}
        )
        done = await expiry.expire_due(db, now=NOON + 9 * DAY, limit=3)
    assert done is not None and done.members == {idle}


# Random lives around one last day

LIVES = 500 if FULL_COUNTS else 60
AROUND = [
    timedelta(hours=hours)
    for hours in (-31 * 24, -30 * 24, -20 * 24, -8 * 24, -7 * 24, -6 * 24 - 23, -6 * 24, -24, -1)
] + [
    timedelta(0), MINUTE, DAY, 6 * DAY, 7 * DAY, 8 * DAY, 9 * DAY, 30 * DAY, 31 * DAY, 33 * DAY, 35 * DAY, 37 * DAY, 40 * DAY,
]  # fmt: skip
WHAT = ["hold", "hold", "spend", "resolve", "resolve", "resolve", "settle", "refund"]
CLOCK = ["announce", "announce", "expire"]


def around(rng: Random) -> Iterator[Op]:
    """What somebody does, and the clock when it is there, around the last day."""
    pending = rng.random() < 0.5
    for key, amount, days in ((0, 10, 0), (1, 20, 0), (2, 5, 25), (3, 7, 60)):
        last = LAST + timedelta(days=days)
        waits = pending and key == 1
        yield Op("earn", NOON, key=key, amount=amount, pending=waits, expires_on=last)
    holds: list[Op] = []
    moments = sorted(rng.choice(AROUND) for _ in range(14))
    for place, moment in enumerate(moments):
        now = END + moment + place * timedelta(seconds=1)
        what = rng.choice(WHAT + CLOCK)
        if what in ("hold", "spend"):
            until = now + rng.choice([DAY, 90 * DAY])
            op = Op(what, now, hold=new_hold(now), amount=rng.randint(1, 25), until=until)
            holds.append(op)
            yield op
        elif what == "resolve" and holds:
            name = rng.choice(["release", "release", "capture"])
            made = rng.choice(holds)
            yield Op(name, now, hold=made.hold, amount=rng.randint(1, made.amount))
        elif what == "settle" and pending:
            yield Op("settle", now, key=1, accept=rng.random() < 0.8)
        elif what == "refund" and holds:
            yield Op("refund", now, hold=rng.choice(holds).hold)
        elif what in CLOCK:
            yield Op(what, now)
    for days in (60, 70, 80, 90, 120):
        yield Op("announce", END + days * DAY)
        yield Op("expire", END + days * DAY)


@pytest.mark.timeout(3600 if FULL_COUNTS else 300)
async def test_random_lives_around_a_last_day_are_as_the_oracle_says(db: Database) -> None:
    seen_late = seen_again = 0
    for number in range(LIVES):
        member_id = await make_wallet(db)
        subject = Subject(db, member_id, SHANGHAI)
        oracles, seen = [Oracle(SHANGHAI)], await subject.look()
        for op in around(Random(number)):
            captured = oracles[0].holds.get(op.hold, ("", 0))[0] == "CAPTURED"
            if op.name != "refund" or captured:
                oracles, seen = await run_step(subject, oracles, seen, [op])
        [oracle] = oracles
        assert oracle.balances["available"] == 0
        seen_late += bool(oracle.put_off)
        seen_again += any(point.grace for point in oracle.points)
    assert seen_late >= LIVES // 4 and seen_again >= LIVES // 4
    assert await sound(db)
