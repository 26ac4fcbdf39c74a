"""Publishing rewards from the data file and by employees: versions, stock, who did it."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import yaml
from pydantic import ValidationError

from app.db import Database
from app.errors import ConfigurationError
from app.graphql.ids import Kind, decode, encode
from app.rewards import catalogue
from app.rewards.terms import DataReward, Terms, of_definition, read_rewards
from app.schema import schema
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    contents,
    execute,
    make_staff,
    operation,
    refused,
)
from tests.shoppers import (
    CREDIT,
    UPLIFT,
    VOUCHER,
    make_reward,
    make_shopper,
    one,
    redeem,
    rows,
    stock,
    terms,
    wallet,
)

DOCUMENT = operation("Rewards", "console")
SENT_TERMS = {
    "kind": "GIFT",
    "fulfilment": "MANUAL",
    "title": {"zh": "瑜伽垫", "en": "Yoga mat"},
    "description": {"zh": "一张瑜伽垫。", "en": "A mat."},
    "price": 800,
}


async def send(
    db: Database, staff_id: UUID, name: str, *, request_id: UUID | None = None, **sent: Any
) -> dict[str, Any]:
    """A mutation of the console's document."""
    result = await schema.execute(
        DOCUMENT,
        {"input": {"requestId": str(request_id or uuid4()), **sent}},
        context_value=as_staff(db, staff_id, "CAMPAIGN_MANAGER"),
        operation_name=name,
    )
    assert result.errors is None and result.data is not None, result.errors
    [answer] = result.data.values()
    return answer  # type: ignore[no-any-return]


async def keeper(db: Database) -> UUID:
    return await make_staff(db, "CAMPAIGN_MANAGER")


async def published(db: Database, reward: UUID) -> list[Any]:
    sql = """select version, price from reward_versions where reward_id = :id order by version"""
    return [tuple(row) for row in await rows(db, sql, id=reward)]


async def events(db: Database, reward: UUID) -> list[Any]:
    sql = """select kind, staff_id, version, stock_change from reward_events
              where reward_id = :id order by place"""
    return [tuple(row) for row in await rows(db, sql, id=reward)]


def key(answer: dict[str, Any]) -> UUID:
    return decode(answer["reward"]["id"], Kind.REWARD, field="id").owner_id


# Data


async def load(db: Database, *given: dict[str, Any]) -> int:
    rewards = [DataReward.model_validate(it) for it in given]
    async with db.transaction() as session:
        return await catalogue.load_rewards(session, rewards=rewards, now=NOON)


def versioned(version: int, **changes: Any) -> dict[str, Any]:
    return {"code": "rope", "version": version, "stock": 10, "terms": terms(**changes)}


async def test_the_programmes_own_file_is_published_once(db: Database) -> None:
    shipped = read_rewards()
    assert len(shipped) == await _count(db) >= 6
    async with db.transaction() as session:
        assert await catalogue.load_rewards(session, now=NOON) == 0
    assert await _count(db) == len(shipped)


async def _count(db: Database) -> int:
    return int((await one(db, "select count(*) from reward_versions"))[0])


async def test_a_later_version_is_in_force_and_leaves_the_stock(db: Database) -> None:
    assert await load(db, versioned(1)) == 1
    reward = (await one(db, "select id from rewards where code = 'rope'"))[0]
    await redeem(db, await make_shopper(db), reward)
    assert await load(db, versioned(1), versioned(2, price=150)) == 1
    assert await published(db, reward) == [(1, 100), (2, 150)]
    assert await one(db, "select version, stock from rewards where code = 'rope'") == (2, 9)
    assert await events(db, reward) == [("CREATED", None, 1, 10), ("CHANGED", None, 2, 0)]


async def test_a_published_version_never_changes(db: Database) -> None:
    await load(db, versioned(1))
    before = await contents(db)
    with pytest.raises(catalogue.RewardChanged, match="'rope' version 1"):
        await load(db, versioned(1, price=101))
    assert await contents(db) == before


async def test_versions_of_employees_are_not_overtaken(db: Database) -> None:
    await load(db, versioned(1))
    reward = (await one(db, "select id from rewards where code = 'rope'"))[0]
    sent = {"rewardId": encode(Kind.REWARD, reward), "version": 1, "terms": SENT_TERMS}
    assert (await send(db, await keeper(db), "UpdateReward", **sent))["replayed"] is False
    with pytest.raises(catalogue.RewardChanged):
        await load(db, versioned(1), versioned(2))
    assert await load(db, versioned(1), versioned(3)) == 1
    assert [version for version, _ in await published(db, reward)] == [1, 2, 3]


async def test_the_application_cannot_rewrite_what_was_published(
    db: Database, database_url: str
) -> None:
    await make_reward(db)
    connection = await asyncpg.connect(database_url)
    try:
        for table in ("reward_versions", "reward_events"):
            for statement in (f"delete from {table}", f"update {table} set version = 9"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"price": 0}, "price"),
        ({"price": 10_000_001}, "price"),
        ({"title": {"zh": "绳"}}, "en"),
        ({"title": {"zh": "", "en": "x"}}, "zh"),
        ({"limit_per_member": 0}, "limit"),
        ({"reserved_days": 0}, "reserved"),
        ({"image_url": "http://img.example/x.jpg"}, "image"),
        ({"tiers": ["GOLD"]}, "tiers"),
        ({"unknown": 1}, "unknown"),
        ({"visible_from": NOON, "visible_to": NOON}, "visible_from"),
        (
            {
                "active_from": datetime(2026, 1, 2, tzinfo=UTC),
                "active_to": datetime(2026, 1, 1, tzinfo=UTC),
            },
            "active_from",
        ),
        ({"title": {"zh": "绳\0", "en": "x"}}, "zh"),
        ({"description": {"zh": "绳", "en": " \n "}}, "en"),
        ({"image_url": "https://img.example/\0"}, "image"),
        ({"visible_from": datetime(2026, 1, 2)}, "timezone"),  # noqa: DTZ001
        (UPLIFT | {"fulfilment": "MANUAL"}, "not fulfilled"),
        ({"fulfilment": "BENEFIT"}, "not fulfilled"),
        (UPLIFT | {"cover_uplift_percent": None}, "cover_uplift_percent"),
        (UPLIFT | {"cover_uplift_percent": "0"}, "cover_uplift_percent"),
        (CREDIT | {"premium_credit": None}, "premium_credit"),
        (CREDIT | {"premium_credit": {"amount": 1, "currency": "yuan"}}, "currency"),
        ({"cover_uplift_percent": "5"}, "cover_uplift_percent"),
    ],
)
def test_impossible_terms_are_refused(changes: dict[str, Any], message: str) -> None:
    Terms.model_validate(terms())
    with pytest.raises(ValidationError, match=message):
        Terms.model_validate(terms(**changes))


@pytest.mark.parametrize(
    "changes", [{"code": "A"}, {"stock": -1}, {"version": 0}, {"terms": terms(**VOUCHER)}]
)
def test_impossible_rewards_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataReward.model_validate(versioned(1) | changes)


def test_a_file_that_names_a_version_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rewards.yaml"
    path.write_text(yaml.safe_dump({"rewards": [versioned(1), versioned(1)]}))
    with pytest.raises(ConfigurationError, match="twice"):
        read_rewards(path)


# Employees


async def test_an_employee_creates_a_reward_once(db: Database) -> None:
    staff, request = await keeper(db), uuid4()
    sent = {"code": "yoga-mat", "stock": 5, "terms": SENT_TERMS}

    first = await send(db, staff, "CreateReward", request_id=request, **sent)
    again = await send(db, staff, "CreateReward", request_id=request, **sent)
    other = await send(db, staff, "CreateReward", request_id=request, **sent | {"stock": 6})
    taken = await send(db, staff, "CreateReward", **sent)

    assert (first["replayed"], again["replayed"]) == (False, True)
    assert first["reward"] == again["reward"]
    assert first["reward"]["terms"]["version"] == 1
    assert first["reward"]["terms"]["title"] == {"zh": "瑜伽垫", "en": "Yoga mat"}
    assert other["code"] == "REQUEST_REUSED"
    assert (taken["code"], taken["field"]) == ("STATE_INVALID", "code")
    assert await events(db, key(first)) == [("CREATED", staff, 1, 5)]
    member = await make_shopper(db, 800)
    assert "redemption" in await redeem(db, member, key(first))


async def test_every_term_comes_back_as_it_was_sent(db: Database) -> None:
    staff = await keeper(db)
    sent = SENT_TERMS | {
        "kind": "PREMIUM_CREDIT",
        "fulfilment": "BENEFIT",
        "conditions": {"zh": "一次。", "en": "Once."},
        "imageUrl": "https://img.example/mat.jpg",
        "limitPerMember": 2,
        "visibleFrom": "2026-03-01T08:00:00+08:00",
        "visibleTo": "2026-05-01T00:00:00+08:00",
        "activeFrom": "2026-03-02T00:00:00+08:00",
        "activeTo": "2026-04-01T00:00:00+08:00",
        "tiers": ["LOW", "HIGH"],
        "segments": ["ELDERLY", "CHILD"],
        "reservedDays": 3,
        "premiumCredit": {"amountMinor": 5000, "currency": "CNY"},
    }
    answer = await send(db, staff, "CreateReward", code="all-terms", stock=None, terms=sent)
    found = answer["reward"] | answer["reward"].pop("terms")
    for name, value in sent.items():
        if name.endswith(("From", "To")):
            value = datetime.fromisoformat(str(value))
        assert found[name] == value, name
    assert (found["stock"], found["code"], found["coverUpliftPercent"]) == (None, "all-terms", None)


async def test_a_new_price_is_a_new_version_and_leaves_what_was_redeemed(db: Database) -> None:
    staff, reward = await keeper(db), await make_reward(db, stock=5, price=100)
    member = await make_shopper(db, 300)
    await redeem(db, member, reward)
    sent = {"rewardId": encode(Kind.REWARD, reward), "version": 1, "terms": SENT_TERMS}

    answer = await send(db, staff, "UpdateReward", **sent | {"terms": SENT_TERMS | {"price": 150}})
    stale = await send(db, staff, "UpdateReward", **sent)

    assert (answer["reward"]["price"], answer["reward"]["terms"]["version"]) == (150, 2)
    assert (stale["code"], stale["field"]) == ("VERSION_OUTDATED", "version")
    await redeem(db, member, reward)
    assert await wallet(db, member) == (50, 250, 0)
    redeemed = "select reward_version, points from redemptions order by 1"
    assert [tuple(it) for it in await rows(db, redeemed)] == [(1, 100), (2, 150)]
    assert (await events(db, reward))[-1] == ("CHANGED", staff, 2, 0)


async def test_of_eight_changes_at_once_one_is_published(db: Database) -> None:
    staff, reward = await keeper(db), await make_reward(db)
    sent = {"rewardId": encode(Kind.REWARD, reward), "version": 1}
    answers = await asyncio.gather(
        *(
            send(db, staff, "UpdateReward", **sent, terms=SENT_TERMS | {"price": 200 + number})
            for number in range(8)
        )
    )
    assert Counter(it.get("code") for it in answers) == {None: 1, "VERSION_OUTDATED": 7}
    assert len(await published(db, reward)) == 2


async def test_the_kind_and_its_fulfilment_stay(db: Database) -> None:
    reward = await make_reward(db)
    sent = {"rewardId": encode(Kind.REWARD, reward), "version": 1}
    before = await contents(db, "rewards", "reward_versions", "reward_events", "requests")
    staff = await keeper(db)
    for change in ({"kind": "EXAMINATION"}, {"kind": "VOUCHER", "fulfilment": "VOUCHER_CODE"}):
        answer = await send(db, staff, "UpdateReward", **sent, terms=SENT_TERMS | change)
        assert answer["code"] == "STATE_INVALID"
    assert before == await contents(db, *before)


async def test_stock_is_added_and_taken_never_below_zero(db: Database) -> None:
    staff, reward = await keeper(db), await make_reward(db, stock=5)
    request, id = uuid4(), encode(Kind.REWARD, reward)
    added = await send(db, staff, "ChangeRewardStock", request_id=request, rewardId=id, change=10)
    await send(db, staff, "ChangeRewardStock", request_id=request, rewardId=id, change=10)
    assert added["reward"]["stock"] == await stock(db, reward) == 15
    too_many = await send(db, staff, "ChangeRewardStock", rewardId=id, change=-16)
    assert (too_many["code"], too_many["field"]) == ("VALUE_OUT_OF_RANGE", "change")
    await send(db, staff, "ChangeRewardStock", rewardId=id, change=-15)
    assert await stock(db, reward) == 0
    assert [it[3] for it in await events(db, reward)] == [5, 10, -15]


async def test_stock_of_what_is_not_counted_stays(db: Database) -> None:
    staff = await keeper(db)
    for reward in (await make_reward(db), await make_reward(db, **VOUCHER, voucher_codes=2)):
        answer = await send(
            db, staff, "ChangeRewardStock", rewardId=encode(Kind.REWARD, reward), change=1
        )
        assert answer["code"] == "STATE_INVALID"


async def test_stock_changes_and_redemptions_at_once_add_up(db: Database) -> None:
    staff, reward = await keeper(db), await make_reward(db, stock=10)
    members = [await make_shopper(db) for _ in range(8)]
    id = encode(Kind.REWARD, reward)
    await asyncio.gather(
        *(redeem(db, member, reward) for member in members),
        *(send(db, staff, "ChangeRewardStock", rewardId=id, change=3) for _ in range(8)),
    )
    assert await stock(db, reward) == 10 - 8 + 24
    places = await one(
        db, "select count(*), max(place) from reward_events where reward_id = :id", id=reward
    )
    assert places == (9, 9)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"price": 0}, "terms.price"),
        ({"title": {"zh": "", "en": "x"}}, "terms.title.zh"),
        ({"reservedDays": 366}, "terms.reservedDays"),
        ({"premiumCredit": {"amountMinor": 0, "currency": "CNY"}}, "terms.premiumCredit.amount"),
        ({"kind": "COVER_UPLIFT"}, "terms"),
        ({"title": {"zh": "\0", "en": "x"}}, "terms.title.zh"),
        ({"description": {"zh": "x", "en": " "}}, "terms.description.en"),
        ({"imageUrl": "https://x/\0"}, "terms.imageUrl"),
    ],
)
async def test_impossible_terms_name_the_field(
    db: Database, change: dict[str, Any], field: str
) -> None:
    staff, reward = await keeper(db), await make_reward(db)
    before = await contents(db)
    sent = {"rewardId": encode(Kind.REWARD, reward), "version": 1, "terms": SENT_TERMS | change}
    answer = await send(db, staff, "UpdateReward", **sent)
    assert (answer["code"], answer["field"]) == ("VALUE_OUT_OF_RANGE", field)
    created = await send(db, staff, "CreateReward", code="new", stock=1, terms=SENT_TERMS | change)
    assert (created["code"], created["field"]) == ("VALUE_OUT_OF_RANGE", field)
    assert await contents(db) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"price": 0}, "条款无效：不能小于 1。"),
        ({"title": {"zh": "", "en": "x"}}, "条款无效：至少 1 个字符。"),
        ({"imageUrl": "http://x"}, "条款无效：格式不符。"),
        ({"coverUpliftPercent": "0.001"}, "条款无效：最多 2 位小数。"),
        ({"title": {"zh": " ", "en": "x"}}, "条款无效：请填写可以显示的文字。"),
        ({"fulfilment": "BENEFIT"}, "条款无效：GIFT 不能以 BENEFIT 方式履行。"),
    ],
)
async def test_what_is_wrong_with_terms_is_said_in_the_language_of_who_asks(
    db: Database, change: dict[str, Any], said: str
) -> None:
    sent = {"requestId": str(uuid4()), "code": "new", "stock": 1, "terms": SENT_TERMS | change}
    context = as_staff(db, await keeper(db), "CAMPAIGN_MANAGER", locale="zh-CN")
    mutation = """mutation ($input: CreateRewardInput!) {
      createReward(input: $input) { ... on UserError { message } } }"""
    answer = await execute(mutation, {"input": sent}, context=context)
    assert answer["createReward"] == {"message": said}


def test_blank_terms_that_were_published_can_still_be_read() -> None:
    blank = terms(title={"zh": " ", "en": " "})
    assert of_definition(blank).title.zh == " "


async def test_a_data_file_does_not_change_what_a_reward_is(db: Database) -> None:
    reward = await make_reward(db, code="rope", stock=3)
    before = await contents(db)
    for change in ({"kind": "EXAMINATION"}, VOUCHER):
        with pytest.raises(catalogue.RewardFixed, match="another code"):
            await make_reward(db, code="rope", version=2, stock=3, **change)
    assert await contents(db) == before
    assert await make_reward(db, code="rope", version=2, price=5) == reward


async def test_unknown_rewards_are_not_found(db: Database) -> None:
    staff = await keeper(db)
    member = encode(Kind.MEMBER, await make_shopper(db))
    for id in (encode(Kind.REWARD, uuid4()), member, "x"):
        sent = {"rewardId": id, "version": 1, "terms": SENT_TERMS}
        assert (await send(db, staff, "UpdateReward", **sent))["code"] == "NOT_FOUND"
        answer = await send(db, staff, "ChangeRewardStock", rewardId=id, change=1)
        assert answer["code"] == "NOT_FOUND"


async def test_the_catalogue_is_kept_by_some_roles_only(db: Database) -> None:
    staff, member = await make_staff(db), await make_shopper(db)
    change = """mutation ($id: ID!, $request: UUID!) { changeRewardStock(
      input: {requestId: $request, rewardId: $id, change: 1}) { __typename } }"""
    sent = {"id": encode(Kind.REWARD, await make_reward(db, stock=1)), "request": str(uuid4())}
    looking = "{ rewardCatalogue { edges { node { id } } } }"
    before = await contents(db)
    for role in ("HEALTH_MANAGER", "ACTUARY", "AUDITOR"):
        assert await refused(change, sent, context=as_staff(db, staff, role)) == "FORBIDDEN"
        assert await execute(looking, context=as_staff(db, staff, role))
    for document in (change, looking):
        variables = sent if document is change else {}
        assert await refused(document, variables, context=as_member(db, member)) == "FORBIDDEN"
    assert await contents(db) == before


async def test_the_catalogue_shows_what_is_hidden(db: Database) -> None:
    hidden = await make_reward(db, visible_from=NOON + timedelta(days=3), price=1)
    document = "{ rewardCatalogue(first: 1) { edges { node { id terms { visibleFrom } } } } }"
    staff = as_staff(db, await keeper(db), "CAMPAIGN_MANAGER")
    [edge] = (await execute(document, context=staff))["rewardCatalogue"]["edges"]
    assert edge["node"]["id"] == encode(Kind.REWARD, hidden)
    assert edge["node"]["terms"]["visibleFrom"] == NOON + timedelta(days=3)
