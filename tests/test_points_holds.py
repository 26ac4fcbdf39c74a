"""Holds: two phases, once, over several lots, and the hard cases of lots that end meanwhile."""

import asyncio
from datetime import date, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.errors import NotFound
from app.points import due_holds, expiry, service
from app.points.rules import CauseKind, HoldState
from app.points.service import HoldResolved, InsufficientPoints
from tests.factories import NOON, contents
from tests.points_ledger import balances, do, earn, hold, make_wallet, moved, sound, spend

DAY = timedelta(days=1)
SOON = date(2026, 3, 4)
LATER = date(2026, 9, 1)


async def test_a_hold_takes_the_oldest_points_over_several_lots(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, key="later", expires_on=LATER)
    await earn(db, member_id, 10, key="soon", expires_on=SOON)

    held = await hold(db, member_id, 14)

    assert await balances(db, member_id) == {"available": 6, "held": 14, "earned_total": 20}
    done = await do(db, service.capture, member_id=member_id, hold_id=held, amount=12)
    assert (done.state, done.captured, done.released) == (HoldState.CAPTURED, 12, 2)
    # What was captured were the oldest: with the first lot over, all the rest is still there.
    assert await balances(db, member_id) == {"available": 8, "earned_total": 20, "spent": 12}
    async with db.transaction() as session:
        again = await service.hold(
            session,
            member_id=member_id,
            hold_id=(other := uuid4()),
            amount=8,
            expires_at=NOON + 9 * DAY,
            cause=service.Cause(CauseKind.REDEMPTION, other, "other"),
            now=NOON + 7 * DAY,
        )
    assert again.amount == 8
    assert await sound(db)


async def test_without_enough_points_nothing_changes(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=SOON)
    before = await contents(db)

    # Some of them are over by then: they would expire, but a refusal moves nothing.
    for now in (NOON, NOON + 7 * DAY):
        for take in (hold, spend):
            with pytest.raises(InsufficientPoints):
                await take(db, member_id, 11, now=now)
    with pytest.raises(InsufficientPoints) as refused:
        await hold(db, member_id, 1, now=NOON + 7 * DAY)
    assert refused.value.text.en == "You have 0 points; this needs 1."
    assert await contents(db) == before


async def test_a_hold_resolves_once(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30)
    captured, released = [await hold(db, member_id, 10) for _ in range(2)]
    of_first = {"member_id": member_id, "hold_id": captured}
    of_second = {"member_id": member_id, "hold_id": released}
    first = await do(db, service.capture, **of_first)
    second = await do(db, service.release, **of_second)
    before = await contents(db)

    assert await do(db, service.capture, **of_first) == first
    assert await do(db, service.release, **of_second) == second
    for what, which in ((service.release, of_first), (service.capture, of_second)):
        with pytest.raises(HoldResolved):
            await do(db, what, **which)
    for what, which in ((service.time_out, of_first), (service.time_out, of_second)):
        with pytest.raises(HoldResolved):
            await do(db, what, now=NOON + 9 * DAY, **which)
    with pytest.raises(HoldResolved):
        await do(db, service.capture, amount=4, **of_first)
    with pytest.raises(NotFound):
        await do(db, service.capture, member_id=member_id, hold_id=uuid4())
    assert await contents(db) == before
    assert await balances(db, member_id) == {"available": 20, "earned_total": 30, "spent": 10}


async def test_a_hold_of_somebody_else_is_none(db: Database) -> None:
    owner, other = await make_wallet(db), await make_wallet(db)
    await earn(db, owner, 10)
    held = await hold(db, owner, 10)
    for what in (service.capture, service.release):
        with pytest.raises(NotFound):
            await do(db, what, member_id=other, hold_id=held)
    assert await balances(db, owner) == {"held": 10, "earned_total": 10}


async def test_one_cause_holds_once_even_with_another_id(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30)
    cause = service.Cause(CauseKind.REDEMPTION, UUID(int=1), "redemption:1")

    async def once(hold_id: UUID) -> service.HoldView:
        async with db.transaction() as session:
            return await service.hold(
                session,
                member_id=member_id,
                hold_id=hold_id,
                amount=10,
                expires_at=NOON + DAY,
                cause=cause,
                now=NOON,
            )

    same = uuid4()
    found = await asyncio.gather(*(once(id) for id in [same] * 4 + [uuid4() for _ in range(4)]))
    assert len({it.id for it in found}) == 1
    assert await balances(db, member_id) == {"available": 20, "held": 10, "earned_total": 30}


async def test_spending_is_one_entry(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30)
    with StatementCount(db) as count:
        held = await spend(db, member_id, 20)
    assert len(count) <= 6
    assert await moved(db, member_id) == [
        ("EARNED", "issued", "available", 30),
        ("REDEEMED", "available", "redeemed", 20),
    ]
    assert await balances(db, member_id) == {"available": 10, "earned_total": 30, "spent": 20}
    again = await do(db, service.capture, member_id=member_id, hold_id=held)
    assert again.state is HoldState.CAPTURED
    assert await sound(db)


async def test_a_hold_that_cannot_be_released_does_not_keep_the_others(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_holds, "BATCH", 1)
    members = [await make_wallet(db) for _ in range(3)]
    for hours, member_id in enumerate(members, start=1):
        await earn(db, member_id, 10)
        await hold(db, member_id, 10, hours=hours)
    async with db.write() as connection:
        # The wallet of the hold that is due first has lost it.
        await connection.execute(
            text("update wallets set held = 0 where member_id = :member_id"),
            {"member_id": members[0]},
        )

    with pytest.raises(AssertionError, match="overdraws"):
        await due_holds.time_out_due(db, now=NOON + DAY)

    for member_id in members[1:]:
        assert (await balances(db, member_id))["available"] == 10
    failures: list[Exception] = []
    assert await due_holds.time_out_due(db, now=NOON + DAY, failures=failures) == set()
    assert len(failures) == 1


async def test_the_clock_releases_holds_whose_time_is_over(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30)
    over, running = await hold(db, member_id, 10, hours=1), await hold(db, member_id, 10, hours=9)
    captured = await hold(db, member_id, 10, hours=1)
    await do(db, service.capture, member_id=member_id, hold_id=captured)
    now = NOON + timedelta(hours=1)

    told = await asyncio.gather(*(due_holds.time_out_due(db, now=now) for _ in range(3)))

    assert set().union(*told) == {member_id}
    assert await due_holds.time_out_due(db, now=now) == set()
    assert await balances(db, member_id) == {
        "available": 10, "held": 10, "earned_total": 30, "spent": 10,
    }  # fmt: skip
    with pytest.raises(HoldResolved):
        await do(db, service.release, member_id=member_id, hold_id=over, now=now)
    # Late, but nobody had released it yet.
    late = await do(db, service.capture, member_id=member_id, hold_id=running, now=NOON + 2 * DAY)
    assert late.state is HoldState.CAPTURED
    assert await sound(db)


async def test_a_hold_that_outlives_its_lot_can_be_captured(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=SOON)
    held = await hold(db, member_id, 10, hours=24 * 90)

    done = await do(db, service.capture, member_id=member_id, hold_id=held, now=NOON + 60 * DAY)

    assert done.captured == 10
    assert await balances(db, member_id) == {"earned_total": 10, "spent": 10}
    assert await sound(db)


@pytest.mark.parametrize(
    ("after", "left"),
    [
        (2 * DAY, {"available": 10}),  # its last day
        (3 * DAY, {"available": 10}),  # within the days of grace
        (32 * DAY, {"available": 10}),  # the last of them
        (33 * DAY, {"expired": 10}),
    ],
)
async def test_what_a_release_gives_back_when_the_lot_has_ended(
    db: Database, after: timedelta, left: dict[str, int]
) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=SOON)
    held = await hold(db, member_id, 10, hours=24 * 90)

    await do(db, service.release, member_id=member_id, hold_id=held, now=NOON + after)

    assert await balances(db, member_id) == {**left, "earned_total": 10}
    assert await sound(db)


async def test_grace_ends_thirty_days_after_the_lot_and_is_not_given_twice(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=SOON)
    held = await hold(db, member_id, 10, hours=24 * 90)
    await do(db, service.release, member_id=member_id, hold_id=held, now=NOON + 20 * DAY)
    await expiry.announce(db, now=NOON + 21 * DAY)

    again = await hold(db, member_id, 6, now=NOON + 21 * DAY, hours=24 * 90)
    with pytest.raises(InsufficientPoints):
        await hold(db, member_id, 4, now=NOON + 33 * DAY)
    await do(db, service.release, member_id=member_id, hold_id=again, now=NOON + 33 * DAY)

    # Six at once with the release; the other four when somebody looks.
    assert await balances(db, member_id) == {"available": 4, "earned_total": 10, "expired": 6}
    with pytest.raises(InsufficientPoints):
        await spend(db, member_id, 1, now=NOON + 33 * DAY)
    assert await sound(db)


async def test_each_part_of_a_hold_goes_its_own_way(db: Database) -> None:
    """Points given with grace before expire at once, though a younger lot is still in grace,
    and what is not over simply comes back."""
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, key="grace", expires_on=SOON)
    held = await hold(db, member_id, 10, hours=24 * 90)
    await do(db, service.release, member_id=member_id, hold_id=held, now=NOON + 3 * DAY)
    await earn(db, member_id, 7, key="older", expires_on=date(2026, 3, 25))
    await earn(db, member_id, 5, key="live", expires_on=LATER)
    mixed = await hold(db, member_id, 20, now=NOON + 20 * DAY, hours=24 * 90)

    # The grace ended on 3 April, the older lot on 25 March.
    released = date(2026, 4, 5)
    now = NOON + (released - date(2026, 3, 2))
    await do(db, service.release, member_id=member_id, hold_id=mixed, now=now)

    assert await balances(db, member_id) == {"available": 12, "earned_total": 22, "expired": 10}
    assert (await moved(db, member_id))[-3:] == [
        ("RELEASED", "held", "available", 7),
        ("EXPIRED", "held", "expired", 10),
        ("RELEASED", "held", "available", 3),
    ]
    assert await sound(db)
