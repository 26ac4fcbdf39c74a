"""Many at once: each redemption once, each point once, each unit once, each code once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db import Database
from app.jobs import queue
from app.rewards import fulfilment, jobs
from tests.factories import NOON, as_staff, assign, make_staff
from tests.processes import FULL_COUNTS
from tests.shoppers import (
    VOUCHER,
    assert_sound,
    cancel,
    context_of,
    fulfil_due,
    job_context,
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

ROUNDS = 200 if FULL_COUNTS else 10


def outcomes(answers: Sequence[dict[str, Any]]) -> Counter[str]:
    return Counter(answer.get("code", "done") for answer in answers)


@pytest.mark.parametrize("limited", [True, False])
async def test_the_same_request_eight_times_at_once_redeems_once(
    db: Database, limited: bool
) -> None:
    member = await make_shopper(db, 1000)
    reward = await make_reward(db, stock=8 if limited else None)
    request = uuid4()

    answers = await asyncio.gather(
        *(redeem(db, member, reward, request_id=request) for _ in range(8))
    )

    assert Counter(answer["replayed"] for answer in answers) == {False: 1, True: 7}
    assert len({answer["redemption"]["id"] for answer in answers}) == 1
    assert await states(db) == {"RESERVED": 1}
    assert await wallet(db, member) == (900, 100, 0)
    assert await stock(db, reward) == (7 if limited else None)
    assert await one(db, "select count(*) from requests") == (1,)
    assert await fulfil_due(db) == 1
    await assert_sound(db)


async def test_the_last_unit_has_one_winner(db: Database) -> None:
    members = [await make_shopper(db, 100) for _ in range(24)]
    reward = await make_reward(db, stock=1)

    answers = await asyncio.gather(*(redeem(db, member, reward) for member in members))

    assert outcomes(answers) == {"done": 1, "OUT_OF_STOCK": 23}
    assert await stock(db, reward) == 0
    assert await states(db) == {"RESERVED": 1}
    assert await one(db, "select sum(available), sum(held) from wallets") == (2300, 100)
    await assert_sound(db)


async def test_one_member_has_no_more_than_the_limit(db: Database) -> None:
    member = await make_shopper(db, 5000)
    reward = await make_reward(db, limit_per_member=3)

    answers = await asyncio.gather(*(redeem(db, member, reward) for _ in range(20)))

    assert outcomes(answers) == {"done": 3, "LIMIT_REACHED": 17}
    assert await wallet(db, member) == (4700, 300, 0)
    await assert_sound(db)


@pytest.mark.timeout(3600 if FULL_COUNTS else 300)
@pytest.mark.parametrize("shared", [True, False], ids=["one reward", "ten rewards"])
async def test_fifty_at_once_on_a_balance_for_ten_are_ten(db: Database, shared: bool) -> None:
    count = 1 if shared else 10
    rewards = [await make_reward(db, stock=1000 * ROUNDS) for _ in range(count)]
    for number in range(ROUNDS):
        member = await make_shopper(db, 1000)

        answers = await asyncio.gather(
            *(redeem(db, member, rewards[index % count]) for index in range(50))
        )

        assert outcomes(answers) == {"done": 10, "INSUFFICIENT_POINTS": 40}, number
        assert await wallet(db, member) == (0, 1000, 0)
    assert await states(db) == {"RESERVED": 10 * ROUNDS}
    sold = 0
    for reward in rewards:
        left = await stock(db, reward)
        assert left is not None
        sold += 1000 * ROUNDS - left
    assert sold == 10 * ROUNDS
    await assert_sound(db)


@pytest.mark.parametrize("same", [True, False], ids=["one request", "eight requests"])
async def test_eight_cancellations_at_once_give_back_once(db: Database, same: bool) -> None:
    member, reward = await make_shopper(db, 100), await make_reward(db, stock=5)
    redemption_id = (await redeem(db, member, reward))["redemption"]["id"]
    requests = [uuid4()] * 8 if same else [uuid4() for _ in range(8)]

    answers = await asyncio.gather(
        *(
            cancel(db, redemption_id, context_of(db, member), request_id=request)
            for request in requests
        )
    )

    if same:
        assert Counter(answer["replayed"] for answer in answers) == {False: 1, True: 7}
    else:
        assert outcomes(answers) == {"done": 1, "STATE_INVALID": 7}
    assert await wallet(db, member) == (100, 0, 0)
    assert await stock(db, reward) == 5
    await assert_sound(db)


async def test_fulfilling_cancelling_and_expiring_at_once_have_one_winner(db: Database) -> None:
    manager = await make_staff(db)
    voucher = await make_reward(db, **VOUCHER, voucher_codes=20, reserved_days=1)
    seen: Counter[str] = Counter()
    for _ in range(20):
        member = await make_shopper(db, 100)
        await assign(db, manager, member)
        id = (await redeem(db, member, voucher))["redemption"]["id"]
        [(redemption_id,)] = await rows(
            db, "select id from redemptions where member_id = :member_id", member_id=member
        )

        await asyncio.gather(
            fulfil(db, member, redemption_id),
            fulfil(db, member, redemption_id),
            cancel(db, id, context_of(db, member)),
            cancel(db, id, as_staff(db, manager), reason="Gone"),
            jobs.expire_due(db, now=NOON + timedelta(days=1)),
            jobs.expire_due(db, now=NOON + timedelta(days=1)),
        )

        seen[(await show(context_of(db, member), id))["state"]] += 1
        await assert_sound(db)
    assert sum(seen.values()) == 20
    assert await stock(db, voucher) == 20 - seen["FULFILLED"]
    left = await one(db, "select count(*) from voucher_codes where redemption_id is null")
    assert left == (20 - seen["FULFILLED"],)


async def fulfil(db: Database, member_id: UUID, redemption_id: UUID) -> bool:
    async with db.transaction() as session:
        return await fulfilment.fulfil(
            session, member_id=member_id, redemption_id=redemption_id, now=NOON
        )


async def test_a_code_goes_to_one_redemption_only(db: Database) -> None:
    members = [await make_shopper(db, 100) for _ in range(30)]
    reward = await make_reward(db, code="bus", **VOUCHER, voucher_codes=20)
    answers = await asyncio.gather(*(redeem(db, member, reward) for member in members))
    assert outcomes(answers) == {"done": 20, "OUT_OF_STOCK": 10}

    workers = [queue.run_due(db, job_context(db), ["rewards.fulfil"]) for _ in range(8)]
    assert sum(await asyncio.gather(*workers)) == 20

    found = []
    for member, answer in zip(members, answers, strict=True):
        if "redemption" in answer:
            shown = await show(context_of(db, member), answer["redemption"]["id"])
            assert shown["state"] == "FULFILLED"
            found.append(shown["voucherCode"])
    assert sorted(found) == sorted(f"bus-{number}" for number in range(20))
    assert await states(db) == {"FULFILLED": 20}
    await assert_sound(db)


async def test_what_is_given_back_can_be_had_by_the_next(db: Database) -> None:
    """Redeeming and cancelling without a pause: no unit is lost or made."""
    reward = await make_reward(db, stock=3)
    members = [await make_shopper(db, 100) for _ in range(12)]

    async def live(member: UUID) -> None:
        for _ in range(6):
            answer = await redeem(db, member, reward)
            if "redemption" in answer:
                await cancel(db, answer["redemption"]["id"], context_of(db, member))

    await asyncio.gather(*(live(member) for member in members))

    assert await stock(db, reward) == 3
    assert set(await states(db)) == {"CANCELLED"}
    assert await one(db, "select sum(available), sum(held) from wallets") == (1200, 0)
    await assert_sound(db)
