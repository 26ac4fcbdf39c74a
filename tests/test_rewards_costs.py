"""What each reward has cost, for those who answer for it."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.rewards import service
from app.rewards.terms import Terms
from tests.factories import NOON, as_member, as_staff, assign, execute, make_staff, operation
from tests.shoppers import (
    CREDIT,
    VOUCHER,
    cancel,
    context_of,
    fulfil_due,
    make_reward,
    make_shopper,
    redeem,
    rows,
    terms,
)

_, COSTS = operation("Liability", "console").split("\n\n")
NOTHING = {
    "fulfilled": 0, "points": "0", "reserved": 0, "reservedPoints": "0",
    "reversed": 0, "unpriced": 0, "money": [],
}  # fmt: skip


async def look(db: Database, role: str = "ACTUARY") -> dict[str, Any]:
    """Cost by the id of the reward."""
    context = as_staff(db, await make_staff(db, role), role)
    found = (await execute(COSTS, context=context))["rewardCatalogue"]["edges"]
    return {edge["node"]["id"]: edge["node"]["cost"] for edge in found}


def money(amount: int, currency: str = "CNY") -> list[dict[str, Any]]:
    return [{"amountMinor": str(amount), "currency": currency}]


async def reverse(db: Database, member: UUID, staff: UUID, reward: UUID) -> None:
    [*_, (id,)] = await rows(
        db, "select id from redemptions where reward_id = :id order by id", id=reward
    )
    async with db.transaction() as session:
        await service.reverse(
            session,
            staff_id=staff,
            request_id=uuid4(),
            member_id=member,
            redemption_id=id,
            reason="Broken.",
            restock=False,
            now=NOON,
        )


async def test_points_and_money_by_reward(db: Database) -> None:
    member, staff = await make_shopper(db, 10_000), await make_staff(db)
    await assign(db, staff, member)
    voucher = await make_reward(
        db, **VOUCHER, voucher_codes=9, price=70, unit_cost={"amount": 1500, "currency": "CNY"}
    )
    credit = await make_reward(db, **CREDIT, price=200)
    gift = await make_reward(db, price=30)
    unused = await make_reward(db)
    for reward in (voucher, voucher, voucher, credit):
        await redeem(db, member, reward)
    await fulfil_due(db)
    await reverse(db, member, staff, voucher)
    await redeem(db, member, gift)
    cancelled = await redeem(db, member, gift)
    await cancel(db, cancelled["redemption"]["id"], context_of(db, member))

    found = await look(db)

    # The code of the reversed one was seen, and is lost.
    assert found[encode(Kind.REWARD, voucher)] == {
        **NOTHING, "fulfilled": 2, "points": "140", "reversed": 1, "money": money(4500),
    }  # fmt: skip
    assert found[encode(Kind.REWARD, credit)] == {
        **NOTHING, "fulfilled": 1, "points": "200", "money": money(10_000),
    }  # fmt: skip
    assert found[encode(Kind.REWARD, gift)] == {**NOTHING, "reserved": 1, "reservedPoints": "30"}
    assert found[encode(Kind.REWARD, unused)] == NOTHING


async def test_each_redemption_costs_what_its_terms_said(db: Database) -> None:
    member = await make_shopper(db, 10_000)
    unknown = {**VOUCHER, "code": "spa", "price": 10}
    reward = await make_reward(db, **unknown, voucher_codes=5)
    await redeem(db, member, reward)
    dear = {"unit_cost": {"amount": 300, "currency": "CNY"}, "version": 2}
    await make_reward(db, **unknown, **dear)
    await redeem(db, member, reward)
    abroad = {"unit_cost": {"amount": 50, "currency": "EUR"}, "version": 3}
    await make_reward(db, **unknown, **abroad)
    await redeem(db, member, reward)
    await fulfil_due(db)

    cost = (await look(db))[encode(Kind.REWARD, reward)]

    assert cost == {
        **NOTHING, "fulfilled": 3, "points": "30", "unpriced": 1,
        "money": money(300) + money(50, "EUR"),
    }  # fmt: skip


@pytest.mark.parametrize("role", ["ACTUARY", "AUDITOR", "ADMIN", "CAMPAIGN_MANAGER"])
async def test_who_may_see_it(db: Database, role: str) -> None:
    reward = await make_reward(db)
    assert (await look(db, role))[encode(Kind.REWARD, reward)] == NOTHING


async def test_who_may_not(db: Database) -> None:
    reward = await make_reward(db)
    member = await make_shopper(db)
    assert (await look(db, "HEALTH_MANAGER"))[encode(Kind.REWARD, reward)] is None
    document = "{ rewards { edges { node { cost { points } } } } }"
    data = await execute(document, context=as_member(db, member))
    edges = data["rewards"]["edges"]
    assert edges and all(edge["node"]["cost"] is None for edge in edges)


async def test_all_rewards_of_a_page_cost_one_statement_more(db: Database) -> None:
    for _ in range(12):
        await make_reward(db)
    staff = await make_staff(db, "ADMIN")
    with StatementCount(db) as counted:
        await execute(COSTS, context=as_staff(db, staff, "ADMIN"))
    assert len(counted) == 2


def test_terms_that_say_no_cost_are_the_same_as_before_there_was_one() -> None:
    assert "unit_cost" not in Terms.model_validate(terms()).definition
    priced = terms(unit_cost={"amount": 5, "currency": "CNY"})
    assert Terms.model_validate(priced).definition["unit_cost"] == {"amount": 5, "currency": "CNY"}
    with pytest.raises(ValueError, match="is the credit itself"):
        Terms.model_validate(terms(**CREDIT, unit_cost={"amount": 5, "currency": "CNY"}))
