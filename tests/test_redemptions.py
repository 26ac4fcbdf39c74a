"""Redeeming, fulfilling, cancelling and expiring; and what a refusal leaves as it was."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.errors import ErrorCode
from app.graphql.ids import Kind, encode
from app.jobs import queue
from app.rewards import jobs, redemptions
from app.rewards.service import FULFIL_JOB
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    contents,
    execute,
    guard,
    make_member,
    make_staff,
    operation,
    refused,
)
from tests.shoppers import (
    CANCEL,
    CREDIT,
    REDEEM,
    SEALER,
    UPLIFT,
    VOUCHER,
    assert_sound,
    cancel,
    context_of,
    fulfil_due,
    give,
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
from tests.worklist import send, worklist

FULFIL, CANCEL_BY_STAFF, REVERSE = operation("Redemptions", "console").split("\n\n")
WORKLIST = operation("Worklist", "console")


async def fulfil(
    db: Database, staff_id: UUID, redemption_id: str, *, request_id: UUID | None = None, **sent: Any
) -> dict[str, Any]:
    sent |= {"requestId": str(request_id or uuid4()), "redemptionId": redemption_id}
    context = as_staff(db, staff_id)
    found: dict[str, Any] = (await execute(FULFIL, {"input": sent}, context=context))[
        "fulfilRedemption"
    ]
    return found


async def make_manager(db: Database, *member_ids: UUID) -> UUID:
    manager = await make_staff(db)
    await assign(db, manager, *member_ids)
    return manager


# Redeeming


async def test_a_redemption_reserves_points_and_stock(db: Database) -> None:
    member = await make_shopper(db, 250)
    reward = await make_reward(db, price=100, stock=3)

    answer = await redeem(db, member, reward)

    assert answer["__typename"] == "RedeemRewardPayload"
    assert answer["replayed"] is False
    redemption = answer["redemption"]
    assert (redemption["state"], redemption["points"]) == ("RESERVED", 100)
    assert redemption["voucherCode"] is None
    assert redemption["reward"] == {
        "id": encode(Kind.REWARD, reward),
        "title": "Skipping rope",
        "stock": 2,
        "affordable": True,
        "unavailableReason": None,
    }
    assert answer["points"]["available"] == 150
    assert await wallet(db, member) == (150, 100, 0)
    assert await stock(db, reward) == 2
    await assert_sound(db)


async def test_points_are_spent_when_the_member_has_the_code(db: Database) -> None:
    member = await make_shopper(db, 100)
    reward = await make_reward(db, code="cinema", **VOUCHER, voucher_codes=1)
    context = context_of(db, member)

    answer = await redeem(db, member, reward)
    assert await fulfil_due(db) == 1

    found = await show(context, answer["redemption"]["id"])
    assert (found["state"], found["voucherCode"]) == ("FULFILLED", "cinema-0")
    assert found["endedAt"] == NOON
    assert await wallet(db, member) == (0, 0, 100)
    assert await stock(db, reward) == 0
    await assert_sound(db)


@pytest.mark.parametrize(
    ("kind", "worth"),
    [
        (UPLIFT, ("COVER_UPLIFT", Decimal("5.00"), None, None)),
        (CREDIT, ("PREMIUM_CREDIT", None, 10_000, "CNY")),
    ],
)
async def test_a_benefit_waits_for_the_premium(
    db: Database, kind: dict[str, Any], worth: tuple[Any, ...]
) -> None:
    member = await make_shopper(db)
    await redeem(db, member, await make_reward(db, **kind))

    assert await fulfil_due(db) == 1

    [benefit] = await rows(db, "select * from pending_benefits")
    assert (benefit.member_id, benefit.applied_at) == (member, None)
    assert (benefit.kind, benefit.percent, benefit.amount, benefit.currency) == worth
    assert await states(db) == {"FULFILLED": 1}
    await assert_sound(db)


async def test_an_employee_is_asked_once_and_the_item_settles_itself(db: Database) -> None:
    member = await make_shopper(db)
    manager = await make_manager(db, member)
    redemption_id = (await redeem(db, member, await make_reward(db)))["redemption"]["id"]
    assert await fulfil_due(db) == 1

    [edge] = (await execute(WORKLIST, context=as_staff(db, manager)))["staff"]["worklist"]["edges"]
    assert edge["node"]["kind"] == "FULFILMENT"
    assert edge["node"]["reason"] == "To be fulfilled: Skipping rope"
    assert edge["node"]["subject"] == {"__typename": "Redemption", "id": redemption_id}

    answer = await fulfil(db, manager, redemption_id, note=" SF 1234 ")

    assert answer["redemption"]["state"] == "FULFILLED"
    assert (await show(context_of(db, member), redemption_id))["note"] == "SF 1234"
    worklist = (await execute(WORKLIST, context=as_staff(db, manager)))["staff"]["worklist"]
    assert worklist["edges"] == []
    [item] = await rows(db, "select closed_reason, events from worklist_items")
    assert tuple(item) == ("SETTLED", 2)
    [redemption] = await rows(db, "select staff_id from redemptions")
    assert redemption.staff_id == manager
    await assert_sound(db)


async def test_the_item_closes_with_the_redemption_and_not_before(db: Database) -> None:
    member = await make_shopper(db, 200)
    manager = await make_manager(db, member)
    for way in ("fulfilled", "cancelled"):
        id = (await redeem(db, member, await make_reward(db)))["redemption"]["id"]
        await fulfil_due(db)
        [edge] = (await worklist(db, manager))["edges"]
        item = edge["node"]["id"]

        refusal = await send(db, manager, "CompleteWorklistItem", itemId=item)

        assert (refusal["code"], refusal["field"]) == ("STATE_INVALID", "itemId")
        assert refusal["message"].startswith("Fulfil the redemption, or cancel it")
        if way == "fulfilled":
            await fulfil(db, manager, id)
        else:
            await cancel(db, id, as_staff(db, manager), reason="None left")
        closed = await send(db, manager, "CompleteWorklistItem", itemId=item)
        assert (closed["code"], closed["message"]) == (
            "STATE_INVALID",
            "This item is closed already.",
        )
        assert (await worklist(db, manager))["edges"] == []
    assert await states(db) == {"FULFILLED": 1, "CANCELLED": 1}


async def test_a_job_that_runs_again_changes_nothing(db: Database) -> None:
    member = await make_shopper(db, 300)
    kinds: list[dict[str, Any]] = [VOUCHER | {"voucher_codes": 2}, UPLIFT, {}]
    for kind in kinds:
        await redeem(db, member, await make_reward(db, **kind))
    jobs_of = "select payload from pgqueuer where entrypoint = 'rewards.fulfil'"
    payloads = [row.payload for row in await rows(db, jobs_of)]
    assert await fulfil_due(db) == len(payloads) == 3
    before = await contents(db)
    async with db.transaction() as session:
        for payload in payloads:
            await queue.enqueue(session, FULFIL_JOB, orjson.loads(payload), now=NOON)

    assert await fulfil_due(db) == 3

    assert await contents(db) == before


# Refusals, with nothing moved


async def refusal(db: Database, member: UUID, reward: UUID, **options: Any) -> str:
    before = await contents(db)
    answer = await redeem(db, member, reward, **options)
    assert answer["__typename"] == "UserError", answer
    assert await contents(db) == before
    assert answer["code"] in set(ErrorCode) and answer["message"]
    return str(answer["code"])


async def test_refuses_without_enough_points(db: Database) -> None:
    member, reward = await make_shopper(db, 99), await make_reward(db, stock=1)
    assert await refusal(db, member, reward) == "INSUFFICIENT_POINTS"


async def test_refuses_a_member_without_a_wallet(db: Database) -> None:
    assert await refusal(db, await make_member(db), await make_reward(db)) == "INSUFFICIENT_POINTS"


async def test_refuses_what_is_out_of_stock(db: Database) -> None:
    assert await refusal(db, await make_shopper(db), await make_reward(db, stock=0)) == (
        "OUT_OF_STOCK"
    )


async def test_refuses_more_than_one_member_may_have(db: Database) -> None:
    member, reward = await make_shopper(db, 300), await make_reward(db, limit_per_member=2)
    for _ in range(2):
        assert (await redeem(db, member, reward))["__typename"] == "RedeemRewardPayload"
    assert await refusal(db, member, reward) == "LIMIT_REACHED"


async def test_what_was_cancelled_or_expired_does_not_count_for_the_limit(db: Database) -> None:
    member, reward = await make_shopper(db, 300), await make_reward(db, limit_per_member=1)
    first = await redeem(db, member, reward)
    await cancel(db, first["redemption"]["id"], context_of(db, member))
    assert (await redeem(db, member, reward))["__typename"] == "RedeemRewardPayload"
    assert await refusal(db, member, reward) == "LIMIT_REACHED"
    later = NOON + timedelta(days=31)
    assert await jobs.expire_due(db, now=later) == 1
    assert (await redeem(db, member, reward, now=later))["__typename"] == "RedeemRewardPayload"


@pytest.mark.parametrize(
    "window",
    [
        {"active_from": NOON + timedelta(seconds=1)},
        {"active_to": NOON},
        {"tiers": ["HIGH"]},
        {"segments": ["ELDERLY"]},
    ],
)
async def test_refuses_what_is_not_for_this_member_now(
    db: Database, window: dict[str, Any]
) -> None:
    member, reward = await make_shopper(db), await make_reward(db, **window)
    assert await refusal(db, member, reward) == "NOT_ELIGIBLE"


@pytest.mark.parametrize(
    "window", [{"visible_from": NOON + timedelta(seconds=1)}, {"visible_to": NOON}]
)
async def test_a_hidden_reward_does_not_exist(db: Database, window: dict[str, Any]) -> None:
    member, reward = await make_shopper(db), await make_reward(db, **window)
    assert await refusal(db, member, reward) == "NOT_FOUND"
    assert await refusal(db, member, uuid4()) == "NOT_FOUND"


async def test_refuses_an_id_of_another_kind(db: Database) -> None:
    member = await make_shopper(db)
    before = await contents(db)
    for id in (encode(Kind.MEMBER, member), encode(Kind.REDEMPTION, member, uuid4()), "x", ""):
        sent = {"input": {"requestId": str(uuid4()), "rewardId": id}}
        answer = (await execute(REDEEM, sent, context=as_member(db, member)))["redeemReward"]
        assert (answer["code"], answer["field"]) == ("NOT_FOUND", "rewardId")
    assert await contents(db) == before


async def test_refuses_nobody_and_employees(db: Database) -> None:
    sent = {"input": {"requestId": str(uuid4()), "rewardId": encode(Kind.REWARD, uuid4())}}
    staff = await make_staff(db)
    assert await refused(REDEEM, sent, context=as_staff(db, staff)) == "FORBIDDEN"
    assert await refused(REDEEM, sent, context=as_member(db, None)) == "UNAUTHENTICATED"


async def test_a_request_repeated_is_answered_with_the_first_redemption(db: Database) -> None:
    member, reward = await make_shopper(db, 300), await make_reward(db, stock=5)
    request = uuid4()
    first = await redeem(db, member, reward, request_id=request)
    before = await contents(db)

    again = await redeem(db, member, reward, request_id=request)

    assert (first["replayed"], again["replayed"]) == (False, True)
    assert again["redemption"] == first["redemption"]
    assert await contents(db) == before
    other = await make_reward(db)
    before = await contents(db)
    reused = await redeem(db, member, other, request_id=request)
    assert reused["code"] == "REQUEST_REUSED"
    assert await contents(db) == before


async def test_a_refusal_is_not_remembered(db: Database) -> None:
    member, reward = await make_shopper(db, 50), await make_reward(db)
    request = uuid4()
    assert await refusal(db, member, reward, request_id=request) == "INSUFFICIENT_POINTS"
    await give(db, member, 50)
    assert (await redeem(db, member, reward, request_id=request))["replayed"] is False


async def test_a_guardian_spends_the_childs_points(db: Database) -> None:
    guardian, child = await make_shopper(db, 0), await make_shopper(db, 100)
    await guard(db, child_id=child, guardian_id=guardian)
    reward = await make_reward(db, **VOUCHER, voucher_codes=1)
    answer = await redeem(db, guardian, reward, acting_for=child)
    await fulfil_due(db)
    assert await wallet(db, child) == (0, 0, 100)
    assert await wallet(db, guardian) == (0, 0, 0)
    id = answer["redemption"]["id"]
    assert (await show(context_of(db, guardian, acting_for=child), id))["voucherCode"]
    assert await show(context_of(db, guardian), id) is None


# Cancelling


async def test_cancelling_gives_points_and_stock_back(db: Database) -> None:
    member, reward = await make_shopper(db, 150), await make_reward(db, stock=2)
    redemption_id = (await redeem(db, member, reward))["redemption"]["id"]

    answer = await cancel(db, redemption_id, context_of(db, member))

    assert answer["__typename"] == "CancelRedemptionPayload"
    assert answer["redemption"]["state"] == "CANCELLED"
    assert answer["redemption"]["reward"]["stock"] == 2
    assert (answer["points"]["available"], answer["points"]["held"]) == (150, 0)
    assert await stock(db, reward) == 2
    assert await fulfil_due(db) == 1
    assert await states(db) == {"CANCELLED": 1}
    assert await rows(db, "select * from worklist_items") == []
    await assert_sound(db)


async def test_cancelling_again_is_the_same_or_refused(db: Database) -> None:
    member, reward = await make_shopper(db), await make_reward(db, stock=1)
    redemption_id = (await redeem(db, member, reward))["redemption"]["id"]
    request, me = uuid4(), context_of(db, member)
    await cancel(db, redemption_id, me, request_id=request)
    before = await contents(db)

    again = await cancel(db, redemption_id, me, request_id=request)
    another = await cancel(db, redemption_id, me)

    assert (again["replayed"], again["redemption"]["state"]) == (True, "CANCELLED")
    assert another["code"] == "STATE_INVALID"
    assert await contents(db) == before


async def test_what_the_member_has_cannot_be_cancelled(db: Database) -> None:
    member, reward = await make_shopper(db), await make_reward(db, **VOUCHER, voucher_codes=1)
    redemption_id = (await redeem(db, member, reward))["redemption"]["id"]
    await fulfil_due(db)
    before = await contents(db)
    assert (await cancel(db, redemption_id, context_of(db, member)))["code"] == "STATE_INVALID"
    assert await contents(db) == before


async def test_an_employee_cancels_with_a_reason_that_the_member_reads(db: Database) -> None:
    member, reward = await make_shopper(db), await make_reward(db, stock=1)
    manager = await make_manager(db, member)
    redemption_id = (await redeem(db, member, reward))["redemption"]["id"]
    await fulfil_due(db)
    for reason in (None, "", "   ", "x" * 501, "\0"):
        refusal_ = await cancel(db, redemption_id, as_staff(db, manager), reason=reason)
        assert (refusal_["code"], refusal_["field"]) == ("VALUE_OUT_OF_RANGE", "reason")
    assert await states(db) == {"RESERVED": 1}

    answer = await cancel(db, redemption_id, as_staff(db, manager), reason="Sold out at the shop")

    assert answer["redemption"]["state"] == "CANCELLED"
    found = await show(context_of(db, member), redemption_id)
    assert (found["state"], found["note"]) == ("CANCELLED", "Sold out at the shop")
    assert await one(db, "select closed_reason from worklist_items") == ("SETTLED",)
    assert await wallet(db, member) == (100, 0, 0)
    assert await stock(db, reward) == 1
    await assert_sound(db)


async def test_employees_act_for_members_they_look_after_only(db: Database) -> None:
    member, stranger = await make_shopper(db), await make_shopper(db)
    elsewhere = await make_manager(db, stranger)
    campaigner = await make_staff(db, "CAMPAIGN_MANAGER")
    redemption_id = (await redeem(db, member, await make_reward(db)))["redemption"]["id"]
    sent = {"input": {"requestId": str(uuid4()), "redemptionId": redemption_id, "reason": "x"}}
    before = await contents(db)

    assert (await fulfil(db, elsewhere, redemption_id))["code"] == "NOT_FOUND"
    assert (await cancel(db, redemption_id, as_staff(db, elsewhere), reason="x"))["code"] == (
        "NOT_FOUND"
    )
    assert (await cancel(db, redemption_id, context_of(db, stranger)))["code"] == "NOT_FOUND"
    of_campaigner = as_staff(db, campaigner, "CAMPAIGN_MANAGER")
    assert await refused(CANCEL, sent, context=of_campaigner) == "FORBIDDEN"

    assert await contents(db) == before


async def test_only_what_is_fulfilled_by_hand_is(db: Database) -> None:
    member = await make_shopper(db, 300)
    manager = await make_manager(db, member)
    by_code = await redeem(db, member, await make_reward(db, **VOUCHER, voucher_codes=1))
    by_hand = await redeem(db, member, await make_reward(db))
    answer = await fulfil(db, manager, by_code["redemption"]["id"])
    assert answer["code"] == "STATE_INVALID"
    request, id = uuid4(), by_hand["redemption"]["id"]
    assert (await fulfil(db, manager, id, request_id=request))["replayed"] is False
    assert (await fulfil(db, manager, id, request_id=request))["replayed"] is True
    assert (await fulfil(db, manager, id))["code"] == "STATE_INVALID"
    await assert_sound(db)


# Expiry


async def test_what_nobody_fulfils_in_time_goes_back(db: Database) -> None:
    member, reward = await make_shopper(db), await make_reward(db, stock=1, reserved_days=7)
    redemption_id = (await redeem(db, member, reward))["redemption"]["id"]
    await fulfil_due(db)
    over = NOON + timedelta(days=7)

    assert await jobs.expire_due(db, now=over - timedelta(seconds=1)) == 0
    [(id,)] = await rows(db, "select id from redemptions")
    async with db.transaction() as session:
        early = over - timedelta(seconds=1)
        assert not await redemptions.expire(session, member_id=member, redemption_id=id, now=early)
    before = await contents(db)
    late = await cancel(db, redemption_id, context_of(db, member, now=over))
    assert late["code"] == "STATE_INVALID"
    assert await contents(db) == before

    assert await jobs.expire_due(db, now=over) == 1
    assert await jobs.expire_due(db, now=over) == 0

    assert await states(db) == {"EXPIRED": 1}
    assert await wallet(db, member) == (100, 0, 0)
    assert await stock(db, reward) == 1
    assert await one(db, "select closed_reason from worklist_items") == ("SETTLED",)
    await assert_sound(db)


async def test_one_that_cannot_be_given_back_does_not_keep_the_others(
    db: Database,
) -> None:
    first, second = await make_shopper(db), await make_shopper(db)
    reward = await make_reward(db, reserved_days=1)
    await redeem(db, first, reward)
    await redeem(db, second, reward, now=NOON + timedelta(minutes=1))
    async with db.write() as connection:
        # A hold that was released behind our back.
        await connection.execute(
            text(
                "update points_holds set state = 'RELEASED', released = amount, resolved_at = now()"
                " where member_id = :member_id"
            ),
            {"member_id": first},
        )

    with pytest.raises(Exception, match="dealt with"):
        await jobs.expire_due(db, now=NOON + timedelta(days=2))

    assert await states(db) == {"RESERVED": 1, "EXPIRED": 1}
    assert await wallet(db, second) == (100, 0, 0)


# What members and employees see


async def test_the_statement_names_the_redemption(db: Database) -> None:
    member = await make_shopper(db)
    redemption_id = (await redeem(db, member, await make_reward(db)))["redemption"]["id"]
    document = """{ me { points { entries { edges { node { kind amount balanceAfter cause {
      __typename id ... on Redemption { state points reward { title } } } } } } } } }"""

    with StatementCount(db) as counted:
        data = await execute(document, context=context_of(db, member))

    held, earned = [edge["node"] for edge in data["me"]["points"]["entries"]["edges"]]
    assert (held["kind"], held["amount"], held["balanceAfter"]) == ("HELD", -100, 0)
    assert held["cause"] == {
        "__typename": "Redemption",
        "id": redemption_id,
        "state": "RESERVED",
        "points": 100,
        "reward": {"title": "Skipping rope"},
    }
    assert earned["kind"] == "EARNED"
    assert len(counted) <= 5


async def test_the_statements_of_a_redemption_are_few_and_do_not_grow(db: Database) -> None:
    found = []
    for balance, rewards in ((100, 1), (100_000, 30)):
        member = await make_shopper(db, 100)
        for _ in range(rewards - 1):
            await give(db, member, balance)
            await make_reward(db, stock=3)
        reward = await make_reward(db, stock=3)
        with StatementCount(db) as counted:
            assert "redemption" in await redeem(db, member, reward)
        found.append(len(counted))
    assert found[0] == found[1] <= 22


async def test_a_code_is_for_its_owner_alone(db: Database) -> None:
    member = await make_shopper(db)
    manager, admin = await make_manager(db, member), await make_staff(db, "ADMIN")
    reward = await make_reward(db, code="spa", **VOUCHER, voucher_codes=1)
    redemption_id = (await redeem(db, member, reward))["redemption"]["id"]
    me = context_of(db, member)
    assert (await show(me, redemption_id))["voucherCode"] is None
    await fulfil_due(db)

    assert (await show(context_of(db, member), redemption_id))["voucherCode"] == "spa-0"
    for staff, role in ((manager, "HEALTH_MANAGER"), (admin, "ADMIN")):
        looking = as_staff(db, staff, role)
        looking.sealer = SEALER
        found = await show(looking, redemption_id)
        assert (found["state"], found["voucherCode"]) == ("FULFILLED", None)
    stranger = await make_shopper(db)
    assert await show(context_of(db, stranger), redemption_id) is None
