"""What was fulfilled is reversed: once, with the points of it, and without its code."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db import Database
from app.graphql.ids import Kind, encode
from app.points import expiry
from app.points import service as points
from app.rewards import fulfilment, jobs
from tests.factories import (
    NOON,
    as_staff,
    assign,
    contents,
    execute,
    make_staff,
    operation,
    refused,
)
from tests.points_ledger import balances, sound
from tests.shoppers import (
    CREDIT,
    UPLIFT,
    VOUCHER,
    assert_sound,
    cancel,
    context_of,
    fulfil_due,
    make_reward,
    make_shopper,
    one,
    redeem,
    rows,
    show,
    states,
    stock,
    wallet,
)

FULFIL, _, REVERSE = operation("Redemptions", "console").split("\n\n")
HAND = {"kind": "GIFT", "fulfilment": "MANUAL"}
DAY = timedelta(days=1)


async def reverse(
    db: Database,
    staff_id: UUID,
    redemption_id: str,
    *,
    request_id: UUID | None = None,
    reason: str = "It never came.",
    now: datetime = NOON,
    **sent: Any,
) -> dict[str, Any]:
    sent |= {
        "requestId": str(request_id or uuid4()),
        "redemptionId": redemption_id,
        "reason": reason,
    }
    context = as_staff(db, staff_id, now=now)
    found: dict[str, Any] = (await execute(REVERSE, {"input": sent}, context=context))[
        "reverseRedemption"
    ]
    return found


@dataclass(frozen=True)
class Bought:
    """A member who has what they redeemed, and an employee who looks after them."""

    member: UUID
    staff: UUID
    reward: UUID
    id: str


async def buy(db: Database, *, balance: int = 250, **reward: Any) -> Bought:
    member, staff = await make_shopper(db, balance), await make_staff(db)
    await assign(db, staff, member)
    reward_id = await make_reward(db, **reward)
    id = (await redeem(db, member, reward_id))["redemption"]["id"]
    await fulfil_due(db)
    if reward["fulfilment"] == "MANUAL":
        sent = {"requestId": str(uuid4()), "redemptionId": id, "note": "SF 1234"}
        data = await execute(FULFIL, {"input": sent}, context=as_staff(db, staff))
        assert data["fulfilRedemption"]["__typename"] == "FulfilRedemptionPayload"
    return Bought(member, staff, reward_id, id)


async def show_bought(db: Database, bought: Bought, *, now: datetime = NOON) -> Any:
    return await show(context_of(db, bought.member, now=now), bought.id)


async def unaudited(db: Database) -> Any:
    """All rows but the notes of who looked at whom."""
    found = await contents(db)
    return {table: found[table] for table in found if table != "audit_reads"}


async def test_points_come_back_and_a_seen_code_does_not_go_to_anybody_else(db: Database) -> None:
    bought = await buy(db, code="spa", **VOUCHER, voucher_codes=2)
    # Of one import's codes any may be first.
    seen = (await show_bought(db, bought))["voucherCode"]
    left = {"spa-0": "spa-1", "spa-1": "spa-0"}[seen]
    later = NOON + 3 * DAY

    answer = await reverse(db, bought.staff, bought.id, reason=" Wrong city. ", now=later)

    assert answer["__typename"] == "ReverseRedemptionPayload"
    assert answer["replayed"] is False
    assert answer["points"] | {"id": ""} == {"id": "", "available": 250, "owed": 0, "spent": 0}
    assert answer["redemption"]["reward"]["stock"] == 1
    shown = await show_bought(db, bought, now=later)
    assert (shown["state"], shown["voucherCode"]) == ("REVERSED", None)
    assert (shown["endedAt"], shown["reversedAt"]) == (NOON, later)
    assert shown["reversalReason"] == "Wrong city."
    assert await wallet(db, bought.member) == (250, 0, 0)
    assert await stock(db, bought.reward) == 1
    assert await one(db, "select reversed_by from redemptions") == (bought.staff,)
    # The next one gets the other code, and then there is none.
    again = await redeem(db, bought.member, bought.reward)
    await fulfil_due(db)
    found = await show(context_of(db, bought.member), again["redemption"]["id"])
    assert found["voucherCode"] == left
    assert (await redeem(db, bought.member, bought.reward))["code"] == "OUT_OF_STOCK"
    await assert_sound(db)
    assert await sound(db)


async def test_a_code_that_was_given_counts_though_its_points_came_back(db: Database) -> None:
    bought = await buy(db, **VOUCHER, voucher_codes=3, limit_per_member=1)
    await reverse(db, bought.staff, bought.id)
    assert (await redeem(db, bought.member, bought.reward))["code"] == "LIMIT_REACHED"
    assert await stock(db, bought.reward) == 2


async def test_nobody_gives_vouchers_away_again_and_again_alone(db: Database) -> None:
    bought = await buy(db, **VOUCHER, voucher_codes=3)
    await reverse(db, bought.staff, bought.id)
    second = (await redeem(db, bought.member, bought.reward))["redemption"]["id"]
    await fulfil_due(db)
    before = await unaudited(db)
    assert (await reverse(db, bought.staff, second))["code"] == "STATE_INVALID"
    assert await unaudited(db) == before
    colleague = await make_staff(db)
    await assign(db, colleague, bought.member)
    assert (await reverse(db, colleague, second))["redemption"]["state"] == "REVERSED"
    await assert_sound(db)


async def test_what_never_came_does_not_count(db: Database) -> None:
    bought = await buy(db, **HAND, stock=3, limit_per_member=1)
    assert (await redeem(db, bought.member, bought.reward))["code"] == "LIMIT_REACHED"
    await reverse(db, bought.staff, bought.id)
    again = await redeem(db, bought.member, bought.reward)
    assert again["redemption"]["state"] == "RESERVED"


@pytest.mark.parametrize(("restock", "left"), [(False, 2), (True, 3)])
async def test_what_came_back_can_be_given_again(db: Database, restock: bool, left: int) -> None:
    bought = await buy(db, **HAND, stock=3)
    await reverse(db, bought.staff, bought.id, restock=restock)
    assert await stock(db, bought.reward) == left
    assert (await show_bought(db, bought))["note"] == "SF 1234"
    await assert_sound(db)


@pytest.mark.parametrize("benefit", [UPLIFT, CREDIT])
async def test_a_benefit_is_taken_from_the_premium_unless_it_was_applied(
    db: Database, benefit: dict[str, Any]
) -> None:
    applied = await buy(db, **benefit, stock=5)
    async with db.write() as connection:
        await connection.exec_driver_sql("update pending_benefits set applied_at = now()")
    open_ = await buy(db, **benefit, stock=5)

    assert "redemption" in await reverse(db, open_.staff, open_.id)
    assert await one(db, "select member_id from pending_benefits") == (applied.member,)
    assert await stock(db, open_.reward) == 5
    before = await unaudited(db)
    refusal = await reverse(db, applied.staff, applied.id)

    assert (refusal["code"], refusal["field"]) == ("STATE_INVALID", "redemptionId")
    assert "applied to the policy" in refusal["message"]
    assert await unaudited(db) == before
    await assert_sound(db)


async def test_points_whose_lots_have_ended_last_thirty_days(db: Database) -> None:
    bought = await buy(db, **HAND, balance=100)
    # Midnight in Shanghai after the second of March, a year later, and two months.
    later = datetime(2027, 5, 2, 4, tzinfo=UTC)
    await expiry.announce(db, now=later)
    assert await expiry.expire_due(db, now=later) is None

    await reverse(db, bought.staff, bought.id, now=later)

    assert await balances(db, bought.member) == {"available": 100, "earned_total": 100}
    assert await one(db, "select expires_on from points_lots where is_grace") == (
        (later + 30 * DAY).date(),
    )
    await expiry.announce(db, now=later + DAY)
    assert await expiry.expire_due(db, now=later + 30 * DAY) is None
    expired = await expiry.expire_due(db, now=later + 31 * DAY)
    assert expired is not None and expired.points == 100
    assert await sound(db)


async def test_who_owes_points_pays_with_what_comes_back(db: Database) -> None:
    bought = await buy(db, **HAND, balance=100)
    [(earned,)] = await rows(db, "select id from points_transfers where kind = 'EARNED'")
    async with db.transaction() as session:
        await points.reverse(session, member_id=bought.member, transfer_id=earned, now=NOON)
    assert await balances(db, bought.member) == {"owed": 100, "spent": 100}

    await reverse(db, bought.staff, bought.id)

    assert await balances(db, bought.member) == {}
    assert await sound(db)


async def test_a_reversed_redemption_does_not_count_for_the_limit(db: Database) -> None:
    bought = await buy(db, **HAND, limit_per_member=1)
    assert (await redeem(db, bought.member, bought.reward))["code"] == "LIMIT_REACHED"
    await reverse(db, bought.staff, bought.id)
    assert "redemption" in await redeem(db, bought.member, bought.reward)


async def test_why_says_that_the_points_came_back(db: Database) -> None:
    bought = await buy(db, **HAND)
    await reverse(db, bought.staff, bought.id)
    context = context_of(db, bought.member)
    data = await execute(operation("Why"), {"id": bought.id}, context=context)
    in_chinese = context_of(db, bought.member, locale="zh-CN")
    data_zh = await execute(operation("Why"), {"id": bought.id}, context=in_chinese)
    assert data_zh["why"]["summary"].endswith("已撤回，积分已退回。")
    assert any(
        "reversed; the points came back." in it["detail"] or it["title"]
        for it in data["why"]["steps"]
    )


# Refusals


@pytest.mark.parametrize("state", ["RESERVED", "CANCELLED", "EXPIRED", "REVERSED"])
async def test_only_what_was_fulfilled_can_be_reversed(db: Database, state: str) -> None:
    member, staff = await make_shopper(db), await make_staff(db)
    await assign(db, staff, member)
    reward = await make_reward(db, **VOUCHER, voucher_codes=1, reserved_days=1)
    id = (await redeem(db, member, reward))["redemption"]["id"]
    if state == "CANCELLED":
        await cancel(db, id, context_of(db, member))
    elif state == "EXPIRED":
        await jobs.expire_due(db, now=NOON + DAY)
    elif state == "REVERSED":
        await fulfil_due(db)
        await reverse(db, staff, id)
    assert await states(db) == {state: 1}
    before = await unaudited(db)

    refusal = await reverse(db, staff, id)

    assert (refusal["code"], refusal["field"]) == ("STATE_INVALID", "redemptionId")
    assert await unaudited(db) == before


@pytest.mark.parametrize(
    ("sent", "code", "field"),
    [
        ({"reason": " "}, "VALUE_OUT_OF_RANGE", "reason"),
        ({"reason": "x" * 501}, "VALUE_OUT_OF_RANGE", "reason"),
        ({"reason": "a\0b"}, "VALUE_OUT_OF_RANGE", "reason"),
        ({"restock": True}, "STATE_INVALID", "restock"),
    ],
)
async def test_refuses_what_cannot_be(
    db: Database, sent: dict[str, Any], code: str, field: str
) -> None:
    bought = await buy(db, **VOUCHER, voucher_codes=1)
    before = await unaudited(db)
    refusal = await reverse(db, bought.staff, bought.id, **sent)
    assert (refusal["code"], refusal["field"]) == (code, field)
    assert await unaudited(db) == before


async def test_only_employees_who_look_after_the_member_may(db: Database) -> None:
    bought = await buy(db, **HAND)
    elsewhere, campaigner = await make_staff(db), await make_staff(db, "CAMPAIGN_MANAGER")
    sent = {"requestId": str(uuid4()), "redemptionId": bought.id, "reason": "x"}
    before = await unaudited(db)

    assert (await reverse(db, elsewhere, bought.id))["code"] == "NOT_FOUND"
    own = context_of(db, bought.member)
    refusal = (await execute(REVERSE, {"input": sent}, context=own))["reverseRedemption"]
    assert refusal["code"] == "NOT_FOUND"
    of_campaigner = as_staff(db, campaigner, "CAMPAIGN_MANAGER")
    assert await refused(REVERSE, {"input": sent}, context=of_campaigner) == "FORBIDDEN"
    of_nobody = encode(Kind.REDEMPTION, bought.member, uuid4())
    assert (await reverse(db, bought.staff, of_nobody))["code"] == "NOT_FOUND"

    assert await unaudited(db) == before


async def test_a_request_repeated_is_answered_and_another_input_is_refused(db: Database) -> None:
    bought = await buy(db, **HAND)
    request = uuid4()
    first = await reverse(db, bought.staff, bought.id, request_id=request)
    before = await one(db, "select count(*) from points_transfers")
    again = await reverse(db, bought.staff, bought.id, request_id=request)
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert again["redemption"] == first["redemption"]
    for changed in ({"reason": "Other"}, {"restock": True}):
        reused = await reverse(db, bought.staff, bought.id, request_id=request, **changed)
        assert reused["code"] == "REQUEST_REUSED"
    assert await one(db, "select count(*) from points_transfers") == before


# At once


@pytest.mark.parametrize("same", [True, False], ids=["one request", "eight requests"])
async def test_eight_at_once_give_the_points_back_once(db: Database, same: bool) -> None:
    bought = await buy(db, **HAND, stock=3)
    requests = [uuid4()] * 8 if same else [uuid4() for _ in range(8)]

    answers = await asyncio.gather(
        *(
            reverse(db, bought.staff, bought.id, request_id=request, restock=True)
            for request in requests
        )
    )

    if same:
        assert Counter(answer["replayed"] for answer in answers) == {False: 1, True: 7}
    else:
        codes = Counter(answer.get("code", "done") for answer in answers)
        assert codes == {"done": 1, "STATE_INVALID": 7}
    assert await wallet(db, bought.member) == (250, 0, 0)
    assert await stock(db, bought.reward) == 3
    reversals = "select count(*) from points_transfers where kind = 'REVERSED'"
    assert await one(db, reversals) == (1,)
    await assert_sound(db)
    assert await sound(db)


async def test_fulfilling_cancelling_and_reversing_at_once_end_in_one_way(db: Database) -> None:
    staff = await make_staff(db)
    reward = await make_reward(db, **VOUCHER, voucher_codes=15)
    seen: Counter[str] = Counter()
    for _ in range(15):
        member = await make_shopper(db, 100)
        await assign(db, staff, member)
        id = (await redeem(db, member, reward))["redemption"]["id"]
        [(key,)] = await rows(db, "select id from redemptions where member_id = :id", id=member)

        async def fulfil(member: UUID = member, key: UUID = key) -> None:
            async with db.transaction() as session:
                await fulfilment.fulfil(session, member_id=member, redemption_id=key, now=NOON)

        await asyncio.gather(
            *(fulfil() for _ in range(2)),
            cancel(db, id, context_of(db, member)),
            *(reverse(db, staff, id) for _ in range(3)),
        )

        seen[(await show(context_of(db, member), id))["state"]] += 1
        await assert_sound(db)
    assert set(seen) <= {"FULFILLED", "CANCELLED", "REVERSED"}
    # A code that somebody may have seen stays out of the stock.
    given = await one(db, "select count(*) from voucher_codes where redemption_id is not null")
    assert given == (seen["FULFILLED"] + seen["REVERSED"],)
    assert await stock(db, reward) == 15 - given[0]
    assert await sound(db)
