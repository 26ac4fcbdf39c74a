"""Reviews, reversals and restatements: each once, never below zero, debts paid first."""

import asyncio
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from app.errors import NotFound
from app.points import expiry, service
from app.points.service import AlreadySettled, NotReversible
from tests.factories import NOON, contents
from tests.points_ledger import (
    balances,
    do,
    earn,
    hold,
    make_wallet,
    moved,
    restate,
    sound,
    spend,
    until,
)

DAY = timedelta(days=1)
SOON = date(2026, 3, 4)


async def expire(db: Database, now) -> None:
    """As the clock does, which announces first."""
    await expiry.announce(db, now=now)
    while await expiry.expire_due(db, now=now) is not None:
        pass


# Reviews


@pytest.mark.parametrize("accept", [True, False])
async def test_an_earning_that_waits_is_decided_once(db: Database, accept: bool) -> None:
    member_id = await make_wallet(db)
    waiting = await earn(db, member_id, 10, pending=True)
    of = {"member_id": member_id, "transfer_id": waiting.id}
    assert await balances(db, member_id) == {"pending": 10}

    done = await do(db, service.settle, accept=accept, **of)

    assert await balances(db, member_id) == (
        {"available": 10, "earned_total": 10} if accept else {}
    )
    before = await contents(db)
    assert await do(db, service.settle, accept=accept, **of) == done
    with pytest.raises(AlreadySettled):
        await do(db, service.settle, accept=not accept, **of)
    assert await contents(db) == before
    assert await sound(db)


async def test_an_earning_that_never_waited_cannot_be_decided(db: Database) -> None:
    member_id = await make_wallet(db)
    posted = await earn(db, member_id, 10)
    with pytest.raises(AlreadySettled):
        await do(db, service.settle, member_id=member_id, transfer_id=posted.id, accept=False)
    with pytest.raises(NotFound):
        await do(db, service.settle, member_id=member_id, transfer_id=uuid4(), accept=True)


async def test_what_is_accepted_pays_a_debt_first(db: Database) -> None:
    member_id = await make_wallet(db)
    gone = await earn(db, member_id, 10, key="gone")
    await spend(db, member_id, 10)
    await do(db, service.reverse, member_id=member_id, transfer_id=gone.id)
    waiting = await earn(db, member_id, 15, key="waiting", pending=True)
    assert await balances(db, member_id) == {"pending": 15, "owed": 10, "spent": 10}

    await do(db, service.settle, member_id=member_id, transfer_id=waiting.id, accept=True)

    assert await balances(db, member_id) == {"available": 5, "earned_total": 15, "spent": 10}
    assert await sound(db)


async def test_a_review_that_outlasts_the_lot_gives_thirty_days_from_then_on(db: Database) -> None:
    member_id = await make_wallet(db)
    waiting = await earn(db, member_id, 10, expires_on=SOON, pending=True)
    decided = NOON + 90 * DAY

    await do(
        db, service.settle, member_id=member_id, transfer_id=waiting.id, accept=True, now=decided
    )

    await expire(db, decided + DAY)
    await expire(db, decided + 30 * DAY)
    assert await balances(db, member_id) == {"available": 10, "earned_total": 10}
    await expire(db, decided + 31 * DAY)
    assert await balances(db, member_id) == {"earned_total": 10, "expired": 10}
    assert await sound(db)


# Reversals of earnings


async def test_an_earning_that_is_spent_is_owed_and_repaid_by_the_next(db: Database) -> None:
    member_id = await make_wallet(db)
    taken = await earn(db, member_id, 10, key="taken")
    await earn(db, member_id, 5, key="other")
    await spend(db, member_id, 12)

    await do(db, service.reverse, member_id=member_id, transfer_id=taken.id)

    # Three were left, of the other earning: they go first, the wallet never goes below zero.
    assert await balances(db, member_id) == {"owed": 7, "earned_total": 5, "spent": 12}
    await earn(db, member_id, 4, key="first")
    assert await balances(db, member_id) == {"owed": 3, "earned_total": 9, "spent": 12}
    second = await earn(db, member_id, 8, key="second")
    assert await balances(db, member_id) == {"available": 5, "earned_total": 17, "spent": 12}
    # An earning in two parts, one of which paid a debt, is taken back as one.
    await do(db, service.reverse, member_id=member_id, transfer_id=second.id)
    assert await balances(db, member_id) == {"owed": 3, "earned_total": 9, "spent": 12}
    assert await sound(db)


async def test_an_earning_is_reversed_once_whoever_asks(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 50, key="other")
    taken = await earn(db, member_id, 10)
    of = {"member_id": member_id, "transfer_id": taken.id}
    found = await asyncio.gather(*(do(db, service.reverse, **of) for _ in range(8)))
    assert len({tuple(transfers) for transfers in found}) == 1
    assert await balances(db, member_id) == {"available": 50, "earned_total": 50}


async def test_its_own_points_are_taken_before_others(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, key="soon", expires_on=SOON)
    taken = await earn(db, member_id, 10, key="taken", expires_on=date(2026, 6, 1))
    await do(db, service.reverse, member_id=member_id, transfer_id=taken.id)
    await expire(db, NOON + 4 * DAY)
    assert await balances(db, member_id) == {"earned_total": 10, "expired": 10}


async def test_what_has_expired_is_not_taken_again(db: Database) -> None:
    member_id = await make_wallet(db)
    taken = await earn(db, member_id, 10, expires_on=SOON)
    await spend(db, member_id, 4)
    await expire(db, NOON + 4 * DAY)

    await do(db, service.reverse, member_id=member_id, transfer_id=taken.id, now=NOON + 5 * DAY)

    assert await balances(db, member_id) == {
        "owed": 4, "earned_total": 6, "spent": 4, "expired": 6,
    }  # fmt: skip
    assert await sound(db)


async def test_points_that_are_held_stay_held(db: Database) -> None:
    member_id = await make_wallet(db)
    taken = await earn(db, member_id, 10)
    held = await hold(db, member_id, 8)
    await do(db, service.reverse, member_id=member_id, transfer_id=taken.id)
    assert await balances(db, member_id) == {"held": 8, "owed": 8}
    await do(db, service.capture, member_id=member_id, hold_id=held, amount=3)
    # The five that come back pay the debt.
    assert await balances(db, member_id) == {"owed": 3, "spent": 3}
    assert await sound(db)


async def test_only_earnings_and_redemptions_can_be_reversed(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10)
    held = await hold(db, member_id, 4)
    before = await contents(db)
    with pytest.raises(NotReversible):
        await do(db, service.reverse, member_id=member_id, transfer_id=held)
    with pytest.raises(NotFound):
        await do(db, service.reverse, member_id=member_id, transfer_id=uuid4())
    assert await contents(db) == before


# Reversals of redemptions


async def test_a_redemption_is_given_back_to_the_lots_it_came_from(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, key="soon", expires_on=SOON)
    await earn(db, member_id, 10, key="later")
    redeemed = await spend(db, member_id, 15)

    await do(db, service.reverse, member_id=member_id, transfer_id=redeemed)
    await do(db, service.reverse, member_id=member_id, transfer_id=redeemed)

    assert await balances(db, member_id) == {"available": 20, "earned_total": 20}
    await expire(db, NOON + 4 * DAY)
    assert await balances(db, member_id) == {"available": 10, "earned_total": 20, "expired": 10}
    assert await sound(db)


async def test_a_redemption_whose_lots_have_ended_gives_thirty_days(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, key="soon", expires_on=SOON)
    await earn(db, member_id, 10, key="later")
    redeemed = await spend(db, member_id, 15)
    given_back = NOON + 60 * DAY

    await do(db, service.reverse, member_id=member_id, transfer_id=redeemed, now=given_back)

    assert await balances(db, member_id) == {"available": 20, "earned_total": 20}
    await expire(db, given_back + DAY)
    await expire(db, given_back + 30 * DAY)
    assert await balances(db, member_id) == {"available": 20, "earned_total": 20}
    await expire(db, given_back + 31 * DAY)
    assert await balances(db, member_id) == {"available": 10, "earned_total": 20, "expired": 10}
    assert await sound(db)


# Restatements


async def test_a_restatement_posts_the_difference_only(db: Database) -> None:
    member_id = await make_wallet(db)
    for amount in (10, 16, 16, 4, 0, 7):
        await restate(db, member_id, amount)
    assert await moved(db, member_id) == [
        ("EARNED", "issued", "available", 10),
        ("RESTATED", "issued", "available", 6),
        ("RESTATED", "available", "reversed", 12),
        ("RESTATED", "available", "reversed", 4),
        ("RESTATED", "issued", "available", 7),
    ]
    assert await balances(db, member_id) == {"available": 7, "earned_total": 7}
    assert await sound(db)


async def test_nothing_is_made_of_nothing(db: Database) -> None:
    member_id = await make_wallet(db)
    assert await restate(db, member_id, 0) == ()
    assert await moved(db, member_id) == []


async def test_what_waits_is_restated_as_it_waits(db: Database) -> None:
    member_id = await make_wallet(db)
    waiting = await earn(db, member_id, 10, pending=True)
    for amount in (0, 12, 9):
        await restate(db, member_id, amount)
    assert await balances(db, member_id) == {"pending": 9}
    await do(db, service.settle, member_id=member_id, transfer_id=waiting.id, accept=True)
    assert await balances(db, member_id) == {"available": 9, "earned_total": 9}
    assert await sound(db)


@pytest.mark.parametrize("how", ["refused", "reversed"])
async def test_what_was_taken_back_stays_so(db: Database, how: str) -> None:
    member_id = await make_wallet(db)
    earned = await earn(db, member_id, 10, pending=how == "refused")
    of = {"member_id": member_id, "transfer_id": earned.id}
    if how == "refused":
        await do(db, service.settle, accept=False, **of)
    else:
        await do(db, service.reverse, **of)
    before = await contents(db)
    assert await restate(db, member_id, 40) == ()
    assert await contents(db) == before


@pytest.mark.parametrize("how", ["restated to nothing", "expired"])
async def test_what_was_reversed_when_nothing_was_left_stays_so(db: Database, how: str) -> None:
    member_id = await make_wallet(db)
    earned = await earn(db, member_id, 10, expires_on=SOON)
    now = NOON + 4 * DAY
    if how == "expired":
        await expire(db, now)
    else:
        await restate(db, member_id, 0)
    of = {"member_id": member_id, "transfer_id": earned.id, "now": now}
    assert await do(db, service.reverse, **of) == ()
    before = await contents(db)

    assert await do(db, service.reverse, **of) == ()
    assert await restate(db, member_id, 15, now=now) == ()

    assert await contents(db) == before
    assert await sound(db)


@pytest.mark.parametrize("accept", [True, False])
async def test_a_decision_about_nothing_is_one(db: Database, accept: bool) -> None:
    member_id = await make_wallet(db)
    waiting = await earn(db, member_id, 10, pending=True)
    await restate(db, member_id, 0)
    of = {"member_id": member_id, "transfer_id": waiting.id}
    assert await do(db, service.settle, accept=accept, **of) == ()

    assert await do(db, service.settle, accept=accept, **of) == ()
    with pytest.raises(AlreadySettled):
        await do(db, service.settle, accept=not accept, **of)
    await restate(db, member_id, 10)

    assert await balances(db, member_id) == (
        {"available": 10, "earned_total": 10} if accept else {}
    )
    assert await sound(db)


async def test_what_was_reversed_before_its_review_is_not_decided(db: Database) -> None:
    member_id = await make_wallet(db)
    waiting = await earn(db, member_id, 10, pending=True)
    await restate(db, member_id, 0)
    of = {"member_id": member_id, "transfer_id": waiting.id}
    await do(db, service.reverse, **of)
    with pytest.raises(AlreadySettled):
        await do(db, service.settle, accept=True, **of)


async def test_less_than_was_spent_of_it_is_owed_and_expired_points_are_not_taken(
    db: Database,
) -> None:
    member_id = await make_wallet(db)
    await restate(db, member_id, 20, expires_on=SOON)
    await spend(db, member_id, 8)
    await expire(db, NOON + 4 * DAY)
    # Of 20, 8 were spent and 12 have expired; 10 would have covered the 8.
    await restate(db, member_id, 10, now=NOON + 5 * DAY)
    assert await balances(db, member_id) == {"earned_total": 20, "spent": 8, "expired": 12}
    await restate(db, member_id, 5, now=NOON + 5 * DAY)
    assert await balances(db, member_id) == {
        "owed": 3, "earned_total": 17, "spent": 8, "expired": 12,
    }  # fmt: skip
    assert await sound(db)


async def test_what_is_restated_after_its_last_day_can_be_spent_for_thirty_days(
    db: Database,
) -> None:
    member_id = await make_wallet(db)
    await restate(db, member_id, 10, expires_on=SOON)
    now = NOON + 4 * DAY  # the 6th of March
    await expire(db, now)
    [posted] = await restate(db, member_id, 15, expires_on=SOON, now=now)
    assert (posted.amount, posted.expires_on) == (5, date(2026, 4, 5))

    await expire(db, now + 20 * DAY)  # it is announced
    await spend(db, member_id, 2, now=now + 29 * DAY)
    await expire(db, now + 31 * DAY)

    assert await balances(db, member_id) == {"earned_total": 15, "spent": 2, "expired": 13}
    assert await sound(db)


# What has expired is given back


async def expired(db: Database, member_id: UUID, now: datetime) -> dict[str, Any]:
    """What gives it back."""
    async with db.read() as connection:
        found = await connection.execute(
            text("select id from points_transfers where member_id = :id and kind = 'EXPIRED'"),
            {"id": member_id},
        )
        return {
            "member_id": member_id,
            "transfer_id": found.scalar_one(),
            "expires": until(date(2027, 3, 6)),
            "now": now,
        }


async def test_what_has_expired_is_given_back_once_and_never_more_of_it(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=SOON)
    now = NOON + 4 * DAY
    await expire(db, now)
    of = await expired(db, member_id, now)

    given = [
        await do(db, service.restore_expired, amount=amount, key=key, **of)
        for key, amount in (("appeal:a", 4), ("appeal:a", 4), ("appeal:b", 100), ("appeal:c", 1))
    ]

    assert given == [4, 4, 6, 0]
    # Earned once, as before.
    assert await balances(db, member_id) == {"available": 10, "earned_total": 10}
    assert (await moved(db, member_id))[2:] == [
        ("ADJUSTED", "expired", "available", 4),
        ("ADJUSTED", "expired", "available", 6),
    ]
    await spend(db, member_id, 10, now=now)
    assert await sound(db)


async def test_what_has_expired_and_comes_back_pays_a_debt_first(db: Database) -> None:
    member_id = await make_wallet(db)
    spent = await earn(db, member_id, 3, key="swim", expires_on=SOON)
    await spend(db, member_id, 3)
    await earn(db, member_id, 10, expires_on=SOON)
    now = NOON + 4 * DAY
    await expire(db, now)
    await do(db, service.reverse, member_id=member_id, transfer_id=spent.id, now=now)
    assert (await balances(db, member_id))["owed"] == 3
    of = await expired(db, member_id, now)

    assert await do(db, service.restore_expired, amount=10, key="appeal:a", **of) == 10

    assert await balances(db, member_id) == {"available": 7, "earned_total": 10, "spent": 3}
    assert await sound(db)


async def test_only_what_has_expired_is_given_back(db: Database) -> None:
    member_id = await make_wallet(db)
    earned = await earn(db, member_id)
    of = {"member_id": member_id, "expires": until(SOON), "amount": 1, "key": "appeal:a"}
    for transfer_id in (earned.id, uuid4()):
        with pytest.raises(NotFound):
            await do(db, service.restore_expired, transfer_id=transfer_id, **of)
