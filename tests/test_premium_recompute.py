"""`wellward premium recompute` as it is typed; and a credit that an offer used for nothing."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import Database
from app.points import service as points
from app.premiums import applications, recompute
from app.premiums.history import Actor
from app.premiums.models import Policy
from tests import shoppers
from tests.factories import NOON, make_member
from tests.policy_holders import PLAIN, accepted, applied, do, publish, rows, tick, variant
from tests.premium_world import BEGIN, diagnosed, insured, renew, year_closed
from tests.processes import command
from tests.test_premium_pricing import amounts, by_owner, premiums, verified

DAY = timedelta(days=1)


async def test_every_premium_is_the_same_to_the_cent_or_named_by_its_place(
    db: Database, database_url: str, owner_url: str
):
    members = [await insured(db), await insured(db)]
    await year_closed(db, members[0])
    await renew(db)
    at = {"WELLWARD_DATABASE_URL": database_url}
    code, said, _ = await command("premium", "recompute", **at)
    assert (code, said) == (0, "3 premiums, all the same to the cent.\n")
    one = ("premium", "recompute", "--member", str(members[0]))
    assert (await command(*one, **at))[:2] == (0, "2 premiums, all the same to the cent.\n")

    await diagnosed(db, members[0], "I10", None, at=BEGIN - DAY)  # as if it had been known
    await by_owner(
        owner_url, "update premiums set total = total + 1 where member_id = $1", members[0]
    )
    code, said, _ = await command(*one, **at)
    first, second, *known_then, last = said.splitlines()
    assert code == 1 and last == "2 premiums, 4 differ."
    assert first == f"member {members[0]}, premium 1 (stored facts): total"
    assert second == f"member {members[0]}, premium 2 (stored facts): total"
    assert len(known_then) == 2 and all("(known then): facts." in it for it in known_then)
    assert "I10" not in said and "300001" not in said, "places, never what was there"
    other = ("premium", "recompute", "--member", str(members[1]))
    assert (await command(*other, **at))[0] == 0

    code, _, complained = await command("premium", "recompute", "--member", "nobody", **at)
    assert code != 0 and "'nobody'" in complained and "Traceback" not in complained


async def test_progress_goes_from_nothing_to_all_of_them(db: Database, monkeypatch):
    for _ in range(3):
        await insured(db)
    monkeypatch.setattr(recompute, "BATCH", 2)
    told: list[tuple[int, int]] = []
    found = await recompute.recompute(db, progress=lambda done, of: told.append((done, of)))
    assert found.premiums == 3
    assert told == [(0, 3), (2, 3), (3, 3)]


async def with_credit(db: Database) -> UUID:
    """Somebody without cover who has redeemed a premium credit of 100."""
    member = await make_member(db)
    async with db.transaction() as session:
        await points.open_wallet(session, member)
    await shoppers.give(db, member, 100, now=NOON - 9 * DAY)
    reward = await shoppers.make_reward(
        db, **(shoppers.CREDIT | {"premium_credit": {"amount": 10_000, "currency": "CNY"}})
    )
    await shoppers.redeem(db, member, reward, now=NOON - 5 * DAY)
    assert await shoppers.fulfil_due(db, now=NOON - 5 * DAY) == 1
    return member


async def withdrawn(db: Database, policy: Policy) -> None:
    given = {"member_id": policy.member_id, "policy_id": policy.id}
    await do(db, applications.withdraw, **given, by=Actor.member(policy.member_id))


async def expired(db: Database, policy: Policy) -> None:
    assert policy.due_at is not None
    assert await tick(db, applications.close_due, now=policy.due_at) == 1


@pytest.mark.parametrize("ends", [withdrawn, expired])
async def test_a_credit_that_an_offer_used_for_nothing_is_there_again(db: Database, ends):
    await publish(db, variant(**PLAIN))
    member = await with_credit(db)
    offered = await applied(db, member, declared=None)
    [first] = await premiums(db, member)
    assert amounts(first)["PTS-4"] == -10_000
    await ends(db, offered)
    later = NOON + 90 * DAY
    again = await applied(db, member, declared=None, now=later)
    _, second = await premiums(db, member)
    assert (second.policy_id, amounts(second)["PTS-4"]) == (again.id, -10_000)
    await accepted(db, again, now=later + DAY)  # priced anew for its first day
    used = "select count(distinct premium_id), sum(amount) from premium_credit_uses"
    assert await rows(db, used) == [(3, 30_000)], "each use is kept"
    assert await verified(db) >= 2
    async with db.read() as reading:
        kept = await reading.execute(text("select facts -> 'credits' from premiums"))
        assert all(len(it) == 1 for it in kept.scalars())


async def test_a_credit_that_a_cover_used_is_used(db: Database):
    await publish(db, variant(**PLAIN))
    member = await with_credit(db)
    policy = await accepted(db, await applied(db, member, declared=None))
    async with db.transaction() as session:
        found = await session.get_one(Policy, (member, policy.id))
        assert found.state == "IN_FORCE"
    async with db.read() as reading:
        left = await reading.execute(text("select applied_at from pending_benefits"))
        assert left.scalar_one() == NOON
