"""The list of rewards with the eyes of a member, and who may open one."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from graphql import GraphQLError

from app.db import Database, StatementCount
from app.graphql.context import ANONYMOUS
from app.graphql.ids import Kind, decode, encode
from app.graphql.paging import write_cursor
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    context,
    execute,
    make_member,
    make_staff,
    operation,
    refused,
)
from tests.shoppers import make_reward, make_shopper, redeem

REWARDS = operation("Rewards")
NODE = """query ($id: ID!) { node(id: $id) { id ... on Reward { title price affordable
  unavailableReason terms { code version fulfilment } } } }"""


async def listed(
    db: Database, member_id: UUID, *, first: int = 100, after: str | None = None, **options: Any
) -> Any:
    me = as_member(db, member_id, **options)
    return (await execute(REWARDS, {"first": first, "after": after}, context=me))["rewards"]


def nodes(found: Any) -> list[Any]:
    return [edge["node"] for edge in found["edges"]]


def of(found: Any, reward: UUID) -> Any:
    [node] = [it for it in nodes(found) if it["id"] == encode(Kind.REWARD, reward)]
    return node


@pytest.fixture
async def only(owner_url: str, db: Database) -> None:
    """Nothing but what the test makes."""
    connection = await asyncpg.connect(owner_url)
    await connection.execute("truncate rewards, reward_versions, reward_events cascade")
    await connection.close()


async def test_the_shipped_rewards_are_listed_the_cheapest_first(db: Database) -> None:
    found = nodes(await listed(db, await make_shopper(db, 5000)))

    assert [it["price"] for it in found] == [400, 600, 1200, 2500, 3000, 4000, 5000]
    assert {it["kind"] for it in found} == {
        *("EXAMINATION", "HEALTH_SERVICE", "GIFT", "VOUCHER", "COVER_UPLIFT", "PREMIUM_CREDIT")
    }
    assert [it["affordable"] for it in found] == [False, *[True] * 6]
    # No code was imported yet.
    assert (found[0]["stock"], found[0]["unavailableReason"]) == (0, "OUT_OF_STOCK")


async def test_a_reward_speaks_the_members_language(db: Database) -> None:
    words = {"zh": "每人一根。", "en": "One each."}
    reward = await make_reward(db, conditions=words, image_url="https://img.example/rope.jpg")
    member = await make_shopper(db)
    document = "query ($id: ID!) { node(id: $id) { ... on Reward { title conditions imageUrl } } }"
    found = {}
    for locale in ("zh-CN", "en"):
        me = as_member(db, member, locale=locale)
        node = (await execute(document, {"id": encode(Kind.REWARD, reward)}, context=me))["node"]
        found[locale] = (node["title"], node["conditions"], node["imageUrl"])
    image = "https://img.example/rope.jpg"
    assert found == {
        "zh-CN": ("跳绳", "每人一根。", image),
        "en": ("Skipping rope", "One each.", image),
    }


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"price": 101}, "INSUFFICIENT_POINTS"),
        ({"stock": 0}, "OUT_OF_STOCK"),
        ({"active_from": NOON + timedelta(seconds=1)}, "NOT_YET"),
        ({"active_to": NOON}, "ENDED"),
        ({"tiers": ["LOW"]}, "NOT_ELIGIBLE"),
        ({"segments": ["RURAL_RESIDENT"]}, "NOT_ELIGIBLE"),
        ({}, None),
        ({"active_from": NOON, "active_to": NOON + timedelta(seconds=1)}, None),
        ({"stock": 1, "price": 100}, None),
    ],
)
async def test_a_member_sees_why_not(db: Database, made: dict[str, Any], reason: str) -> None:
    member, reward = await make_shopper(db, 100), await make_reward(db, **made)
    found = of(await listed(db, member), reward)
    assert (found["affordable"], found["unavailableReason"]) == (reason is None, reason)


async def test_what_is_seen_is_what_happens(db: Database) -> None:
    """The list and the mutation agree on every reward."""
    member = await make_shopper(db, 150)
    for made in (
        {"price": 151},
        {"stock": 0},
        {"active_to": NOON},
        {"tiers": ["LOW"]},
        {"limit_per_member": 1},
        {},
    ):
        await make_reward(db, **made)
    codes = {"NOT_YET": "NOT_ELIGIBLE", "ENDED": "NOT_ELIGIBLE"}
    for node in nodes(await listed(db, member)):
        shown = of(await listed(db, member), _key(node["id"]))
        answer = await redeem(db, member, _key(node["id"]))
        reason = shown["unavailableReason"]
        assert answer.get("code") == codes.get(reason, reason), node


def _key(id: str) -> UUID:
    return decode(id, Kind.REWARD, field="id").owner_id


async def test_the_limit_is_each_members_own(db: Database) -> None:
    reward = await make_reward(db, limit_per_member=1)
    had, other = await make_shopper(db, 300), await make_shopper(db, 300)
    await redeem(db, had, reward)
    assert of(await listed(db, had), reward)["unavailableReason"] == "LIMIT_REACHED"
    assert of(await listed(db, other), reward)["affordable"] is True


async def test_hidden_rewards_are_listed_for_nobody(db: Database) -> None:
    hidden = [
        await make_reward(db, visible_from=NOON + timedelta(seconds=1)),
        await make_reward(db, visible_to=NOON),
    ]
    shown = await make_reward(db, visible_from=NOON, visible_to=NOON + timedelta(seconds=1))
    found = {node["id"] for node in nodes(await listed(db, await make_shopper(db)))}
    assert encode(Kind.REWARD, shown) in found
    assert found.isdisjoint(encode(Kind.REWARD, it) for it in hidden)


async def test_pages_meet_without_gap_or_overlap(db: Database, only: None) -> None:
    prices = [5, 3, 3, 3, 1, 9, 3, 2]
    made = {await make_reward(db, price=price): price for price in prices}
    member = await make_shopper(db)
    seen: list[Any] = []
    after = None
    while True:
        found = await listed(db, member, first=3, after=after)
        seen += nodes(found)
        after = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            break
    assert [it["price"] for it in seen] == sorted(prices)
    assert {it["id"] for it in seen} == {encode(Kind.REWARD, it) for it in made}
    assert len(seen) == len(made)
    # Equal prices stand in the order of their ids, so that pages meet.
    threes = [it["id"] for it in seen if it["price"] == 3]
    assert threes == sorted(threes, key=lambda id: _key(id).bytes)


@pytest.mark.parametrize("after", ["x", write_cursor(0, UUID(int=1)), write_cursor(1), "", "§"])
async def test_a_cursor_that_is_not_ours_is_refused(db: Database, after: str) -> None:
    me = as_member(db, await make_shopper(db))
    with pytest.raises((AssertionError, GraphQLError)):
        await execute(REWARDS, {"after": after}, context=me)


async def test_the_list_is_one_statement_however_long(db: Database) -> None:
    member = await make_shopper(db)
    counts = []
    for _ in range(2):
        with StatementCount(db) as counted:
            await listed(db, member)
        counts.append(len(counted))
        for _ in range(40):
            await make_reward(db, stock=2, limit_per_member=1)
    assert counts == [1, 1]


async def test_a_member_without_a_wallet_has_no_points(db: Database) -> None:
    member, reward = await make_member(db), await make_reward(db)
    found = of(await listed(db, member), reward)
    assert found["unavailableReason"] == "INSUFFICIENT_POINTS"


async def test_the_list_is_for_whoever_is_signed_in(db: Database) -> None:
    assert await refused(REWARDS, context=context(db, ANONYMOUS)) == "UNAUTHENTICATED"
    reward = await make_reward(db)
    staff = as_staff(db, await make_staff(db))
    found = of((await execute(REWARDS, {"first": 100}, context=staff))["rewards"], reward)
    assert (found["affordable"], found["unavailableReason"]) == (False, "NOT_ELIGIBLE")


async def seen_by(db: Database, reward: UUID, *contexts: Any) -> Sequence[Any]:
    id = encode(Kind.REWARD, reward)
    return [(await execute(NODE, {"id": id}, context=it))["node"] for it in contexts]


async def test_a_reward_is_opened_by_its_id(db: Database) -> None:
    member, other = await make_shopper(db), await make_shopper(db)
    staff = as_staff(db, await make_staff(db))
    nobody = context(db, ANONYMOUS)
    reward = await make_reward(db, code="rope")
    await redeem(db, member, reward)
    later = NOON + timedelta(days=1)
    await make_reward(db, code="rope", version=2, visible_to=later, price=120)

    mine, theirs, employees, nobodys = await seen_by(
        db, reward, as_member(db, member), as_member(db, other), staff, nobody
    )
    assert (mine["price"], mine["terms"]) == (120, None)
    assert theirs["price"] == 120
    assert employees["terms"] == {"code": "rope", "version": 2, "fulfilment": "MANUAL"}
    assert nobodys is None

    # Out of the list, it is there for those who had it, and for employees.
    hidden = await seen_by(
        db, reward, as_member(db, member, now=later), as_member(db, other, now=later)
    )
    assert [it is None for it in hidden] == [False, True]
    assert (await seen_by(db, uuid4(), staff)) == [None]
