"""`me.redemptions`: what was bought with points, newest first."""

from datetime import timedelta
from uuid import UUID

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from tests.factories import (
    NOON,
    as_staff,
    assign,
    execute,
    guard,
    make_staff,
    operation,
)
from tests.shoppers import (
    SEALER,
    VOUCHER,
    cancel,
    context_of,
    fulfil_due,
    make_reward,
    make_shopper,
    redeem,
)

HISTORY = operation("Redemptions")
CODES = "{ me { redemptions { edges { node { id voucherCode } } } } }"
OF_MEMBER = """query ($id: ID!) { member(id: $id) {
  redemptions { edges { node { id state points voucherCode reward { title } } } } } }"""


async def history(db: Database, member: UUID, **variables: object) -> dict:
    data = await execute(HISTORY, variables, context=context_of(db, member))
    return data["me"]["redemptions"]


async def test_the_newest_is_first_with_state_reward_and_cost(db: Database) -> None:
    member, other = await make_shopper(db, 500), await make_shopper(db, 500)
    gift = await make_reward(db, price=30)
    voucher = await make_reward(db, **VOUCHER, voucher_codes=2, price=70)
    first = (await redeem(db, member, gift))["redemption"]["id"]
    await redeem(db, other, gift)
    later = NOON + timedelta(minutes=1)
    second = (await redeem(db, member, voucher, now=later))["redemption"]["id"]
    await cancel(db, first, context_of(db, member))
    await fulfil_due(db, now=later)

    found = await history(db, member)

    nodes = [edge["node"] for edge in found["edges"]]
    assert [(it["id"], it["state"], it["points"]) for it in nodes] == [
        (second, "FULFILLED", 70),
        (first, "CANCELLED", 30),
    ]
    assert nodes[0]["reward"] == {
        "id": encode(Kind.REWARD, voucher),
        "title": "Skipping rope",
        "imageUrl": None,
        "kind": "VOUCHER",
    }
    assert (nodes[0]["reservedAt"], nodes[0]["endedAt"]) == (later, later)
    assert nodes[1]["endedAt"] == NOON
    assert found["pageInfo"]["hasNextPage"] is False


async def test_who_has_bought_nothing_has_an_empty_list(db: Database) -> None:
    found = await history(db, await make_shopper(db))
    assert found == {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}


async def test_pages_hold_every_redemption_once_whatever_comes_meanwhile(db: Database) -> None:
    member = await make_shopper(db, 1000)
    reward = await make_reward(db, price=1)
    made = [
        (await redeem(db, member, reward, now=NOON + timedelta(seconds=number)))["redemption"]["id"]
        for number in range(7)
    ]
    seen: list[str] = []
    after = None
    while True:
        found = await history(db, member, first=3, after=after)
        seen += [edge["node"]["id"] for edge in found["edges"]]
        await redeem(db, member, reward, now=NOON + timedelta(minutes=1))
        if not found["pageInfo"]["hasNextPage"]:
            break
        after = found["pageInfo"]["endCursor"]
    assert seen == made[::-1]


async def test_the_statements_do_not_grow_with_the_redemptions(db: Database) -> None:
    counts = []
    for number in (1, 12):
        member = await make_shopper(db, 1000)
        for _ in range(number):
            await redeem(db, member, await make_reward(db, price=1))
        with StatementCount(db) as counted:
            assert len((await history(db, member))["edges"]) == number
        counts.append(len(counted))
    assert counts[0] == counts[1] <= 3


async def test_codes_are_for_their_owner_and_their_guardian_alone(db: Database) -> None:
    member, guardian = await make_shopper(db), await make_shopper(db)
    await guard(db, child_id=member, guardian_id=guardian)
    manager, admin = await make_staff(db), await make_staff(db, "ADMIN")
    await assign(db, manager, member)
    reward = await make_reward(db, code="spa", **VOUCHER, voucher_codes=1)
    id = (await redeem(db, member, reward))["redemption"]["id"]
    await fulfil_due(db)
    for context in (
        context_of(db, member),
        context_of(db, guardian, acting_for=member),
    ):
        data = await execute(CODES, context=context)
        [edge] = data["me"]["redemptions"]["edges"]
        assert edge["node"] == {"id": id, "voucherCode": "spa-0"}

    alone = await execute(CODES, context=context_of(db, guardian))
    assert alone["me"]["redemptions"]["edges"] == []
    variables = {"id": encode(Kind.MEMBER, member)}
    for staff, role in ((manager, "HEALTH_MANAGER"), (admin, "ADMIN")):
        looking = as_staff(db, staff, role)
        looking.sealer = SEALER
        [edge] = (await execute(OF_MEMBER, variables, context=looking))["member"]["redemptions"][
            "edges"
        ]
        assert edge["node"] == {
            "id": id,
            "state": "FULFILLED",
            "points": 100,
            "voucherCode": None,
            "reward": {"title": "Skipping rope"},
        }
