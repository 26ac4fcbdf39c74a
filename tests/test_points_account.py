"""What the member and the staff see of the ledger, through the API."""

import asyncio
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.db import Database, StatementCount
from app.points import expiry, service
from app.points.liability import breakage_rates, liability, rate
from tests.factories import NOON, as_member, as_staff, execute, make_staff, refused
from tests.points_ledger import TODAY, do, earn, hold, make_wallet, restate, sound, spend

DAY = timedelta(days=1)
ACCOUNT = """{ me { points { available pending held owed spent expired earnedTotal
  level { code name since until earnedThisYear pointsToNext next { code name pointsNeeded by } }
  entries(first: 50) { edges { node { kind state amount balanceAfter title } } } } } }"""
LIABILITY = """{ pointsLiability { asOf outstanding available pending held owed expectedBreakage
  history byExpiryMonth { month points expectedBreakage } } }"""


async def account(db: Database, member_id: UUID, *, now: datetime = NOON) -> Any:
    return (await execute(ACCOUNT, context=as_member(db, member_id, now=now)))["me"]["points"]


def entries(points: Any) -> list[tuple[str, str, int]]:
    """Kind, state and amount, oldest first; they add up to what is shown."""
    nodes = [edge["node"] for edge in points["entries"]["edges"]][::-1]
    running = 0
    for node in nodes:
        running += node["amount"]
        assert node["balanceAfter"] == running
    assert running == points["available"] + points["pending"]
    return [(node["kind"], node["state"], node["amount"]) for node in nodes]


async def test_a_hold_and_what_becomes_of_it_add_up(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 100)
    captured, released = await hold(db, member_id, 30), await hold(db, member_id, 20)
    await do(db, service.capture, member_id=member_id, hold_id=captured, amount=25)
    await do(db, service.release, member_id=member_id, hold_id=released)
    redeemed = await spend(db, member_id, 10)
    await do(db, service.reverse, member_id=member_id, transfer_id=redeemed)
    await hold(db, member_id, 7)

    points = await account(db, member_id)

    # A capture moves nothing that the member could still spend: it is no entry.
    assert entries(points) == [
        ("EARNED", "POSTED", 100),
        ("HELD", "POSTED", -30),
        ("HELD", "POSTED", -20),
        ("RELEASED", "POSTED", 5),
        ("RELEASED", "POSTED", 20),
        ("REDEEMED", "POSTED", -10),
        ("REVERSED", "POSTED", 10),
        ("HELD", "POSTED", -7),
    ]
    assert points["entries"]["edges"][1]["node"]["title"] == "Given back"
    shown = {name: points[name] for name in ("available", "held", "spent", "earnedTotal", "owed")}
    assert shown == {"available": 68, "held": 7, "spent": 25, "earnedTotal": 100, "owed": 0}


async def test_entries_say_what_became_of_points_that_waited(db: Database) -> None:
    member_id = await make_wallet(db)
    waiting = [await earn(db, member_id, 10, key=key, pending=True) for key in "abc"]
    await restate(db, member_id, 8, key="c")
    for transfer, accept in zip(waiting, (True, False), strict=False):
        await do(db, service.settle, member_id=member_id, transfer_id=transfer.id, accept=accept)
    assert entries(await account(db, member_id)) == [
        ("EARNED", "POSTED", 10),
        ("EARNED", "REJECTED", 10),
        ("EARNED", "PENDING", 10),
        ("RESTATED", "POSTED", -2),
        ("REVERSED", "POSTED", -10),
    ]


async def test_owed_and_expired_points_are_shown(db: Database) -> None:
    member_id = await make_wallet(db)
    first = await earn(db, member_id, 10, key="a", expires_on=date(2026, 3, 4))
    await spend(db, member_id, 6)
    await expiry.expire_due(db, now=NOON + 4 * DAY)
    await do(db, service.reverse, member_id=member_id, transfer_id=first.id)
    points = await account(db, member_id)
    assert (points["available"], points["owed"], points["expired"]) == (0, 6, 4)
    assert entries(points) == [
        ("EARNED", "POSTED", 10), ("REDEEMED", "POSTED", -6), ("EXPIRED", "POSTED", -4),
    ]  # fmt: skip


async def test_a_level_is_what_was_earned_not_what_is_left(db: Database) -> None:
    member_id = await make_wallet(db)
    last_year = date(2025, 11, 5)
    await earn(db, member_id, 1600, key="a", on=last_year)
    await earn(db, member_id, 900, key="b")
    await earn(db, member_id, 500, key="c", pending=True)
    await spend(db, member_id, 2400)

    level = (await account(db, member_id))["level"]

    assert level == {
        "code": "silver", "name": "Silver", "since": last_year, "until": date(2026, 12, 31),
        "earnedThisYear": 900, "pointsToNext": 3100,
        "next": {"code": "gold", "name": "Gold", "pointsNeeded": 4000, "by": date(2026, 12, 31)},
    }  # fmt: skip
    next_year = await account(db, member_id, now=datetime.fromisoformat("2027-01-01T00:00+08:00"))
    assert next_year["level"]["code"] == "bronze"
    assert (next_year["level"]["since"], next_year["level"]["until"]) == (None, None)


async def test_what_is_taken_back_does_not_count_and_what_is_accepted_does(db: Database) -> None:
    member_id = await make_wallet(db)
    taken = await earn(db, member_id, 1500, key="a")
    waiting = await earn(db, member_id, 1700, key="b", pending=True)
    assert (await account(db, member_id))["level"]["earnedThisYear"] == 1500
    await do(db, service.reverse, member_id=member_id, transfer_id=taken.id)
    assert (await account(db, member_id))["level"]["code"] == "bronze"
    await do(db, service.settle, member_id=member_id, transfer_id=waiting.id, accept=True)
    found = await account(db, member_id)
    assert (found["level"]["code"], found["level"]["since"]) == ("silver", TODAY)
    assert found["earnedTotal"] == found["level"]["earnedThisYear"] == 1700


async def test_a_level_is_read_only_when_it_is_asked_for(db: Database) -> None:
    member_id = await make_wallet(db)
    with StatementCount(db) as without:
        await execute("{ me { points { available } } }", context=as_member(db, member_id))
    with StatementCount(db) as with_level:
        await execute("{ me { points { level { code } } } }", context=as_member(db, member_id))
    assert (len(without), len(with_level)) == (1, 3)


# Liability


@pytest.mark.parametrize("role", ["ACTUARY", "AUDITOR", "ADMIN"])
async def test_actuaries_see_what_is_owed_to_members(db: Database, role: str) -> None:
    staff_id = await make_staff(db, role)
    found = (await execute(LIABILITY, context=as_staff(db, staff_id, role)))["pointsLiability"]
    assert (found["outstanding"], found["byExpiryMonth"]) == ("0", [])


async def test_nobody_else_does(db: Database) -> None:
    member_id = await make_wallet(db)
    staff_id = await make_staff(db, "HEALTH_MANAGER")
    assert await refused(LIABILITY, context=as_member(db, member_id)) == "FORBIDDEN"
    assert await refused(LIABILITY, context=as_staff(db, staff_id)) == "FORBIDDEN"


async def test_breakage_is_expected_as_points_have_expired_before(db: Database) -> None:
    past = await make_wallet(db)
    await earn(db, past, 100, key="a", expires_on=date(2026, 3, 4))
    await earn(db, past, 100, key="b", expires_on=date(2026, 3, 4))
    await spend(db, past, 120)  # with less than a month to go
    now = NOON + 4 * DAY
    while await expiry.expire_due(db, now=now) is not None:
        pass
    live = await make_wallet(db)
    await earn(db, live, 50, key="a", expires_on=date(2026, 4, 4))
    await earn(db, live, 30, key="b", expires_on=date(2027, 3, 2), pending=True)
    await hold(db, live, 10, now=now)

    actuary = as_staff(db, await make_staff(db, "ACTUARY"), "ACTUARY", now=now)
    found = (await execute(LIABILITY, context=actuary))["pointsLiability"]

    # Of 200 points that were there to the last month 80 have expired: 40 %.
    assert {name: found[name] for name in ("outstanding", "pending", "held", "history")} == {
        "outstanding": "80", "pending": "30", "held": "10", "history": "200",
    }  # fmt: skip
    assert found["byExpiryMonth"] == [
        {"month": date(2026, 4, 1), "points": "50", "expectedBreakage": "20"},
        {"month": date(2027, 3, 1), "points": "30", "expectedBreakage": "12"},
    ]
    assert found["expectedBreakage"] == "32"
    assert await sound(db)


async def test_liability_is_of_one_moment_while_others_earn(db: Database, owner_url: str) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 50)
    owner = await asyncpg.connect(owner_url)
    async with db.read() as connection:
        async with owner.transaction():
            # Between the balances and the lots: the first are read, the others wait.
            await owner.execute("lock table points_lots")
            asked = asyncio.create_task(liability(connection, now=NOON))
            while not await owner.fetchval(  # noqa: ASYNC110 - the server knows
                "select exists (select from pg_locks where not granted"
                " and relation = 'points_lots'::regclass)"
            ):
                await asyncio.sleep(0.01)
            await owner.execute("update points_lots set remaining = 10, used = 40")
        found = await asked
    await owner.close()

    assert found.outstanding == sum(month.points for month in found.by_month) == 50


@pytest.mark.parametrize(
    ("expired", "used", "expected"),
    [
        (0, {}, {0: Decimal(0), 9: Decimal(0)}),
        (0, {2: 50}, {0: Decimal(0), 9: Decimal(0)}),
        (50, {}, {0: Decimal(1), 9: Decimal(1)}),
        (50, {0: 50, 3: 100}, {0: Decimal("0.5"), 2: Decimal("0.5"), 3: Decimal("0.25")}),
        (50, {0: 50, 3: 100}, {99: Decimal("0.25")}),
    ],
)
def test_the_longer_there_is_to_go_the_less_expires(
    expired: int, used: dict[int, int], expected: dict[int, Decimal]
) -> None:
    rates = breakage_rates(expired, used)
    assert {months: rate(rates, months) for months in expected} == expected


def test_a_rate_never_exceeds_one() -> None:
    rates = breakage_rates(7, {0: 3, 1: 0, 5: 9})
    assert all(0 < it <= 1 for it in rates)
    assert sorted(rates, reverse=True) == list(rates)
