"""How many a group had (PRM-13) is what was known then, whatever becomes of its members."""

from datetime import timedelta
from uuid import UUID

from app.db import Database
from app.premiums import enrolment, groups
from app.premiums.contract_terms import Payer
from tests.factories import make_member, make_staff
from tests.policy_holders import do
from tests.premium_world import BEGIN, START
from tests.test_premium_pricing import amounts, by_owner, premiums, verified

DAY = timedelta(days=1)
CODE = "WEAVERS"


async def a_group(db: Database) -> None:
    await do(
        db, groups.add, staff_id=await make_staff(db), code=CODE, name="Weavers",
        product_code="chronic-care", payer=Payer.EMPLOYER, people=10, now=BEGIN - DAY,
    )  # fmt: skip


async def taken_in(db: Database, *, now=BEGIN) -> UUID:
    member = await make_member(db, now=BEGIN - DAY)
    given = {"member_id": member, "product_code": "chronic-care", "starts_on": START}
    await do(db, enrolment.enrol, **given, group_code=CODE, now=now)
    return member


async def size_of(db: Database, member: UUID) -> int:
    [row] = await premiums(db, member)
    return row.facts["group_members"]


async def test_the_tenth_makes_it_a_group_of_ten(db: Database):
    await a_group(db)
    members = [await taken_in(db, now=BEGIN + timedelta(minutes=n)) for n in range(10)]
    assert [await size_of(db, it) for it in members] == list(range(1, 11))
    lines = [amounts((await premiums(db, it))[0]) for it in members]
    assert ["PRM-13" in it for it in lines] == [False] * 9 + [True]
    assert await verified(db) == 10


async def test_who_joins_at_one_instant_and_who_leaves_later_changes_nothing(
    db: Database, owner_url: str
):
    await a_group(db)
    together = [await taken_in(db) for _ in range(3)]
    later = await taken_in(db, now=BEGIN + DAY)
    assert [await size_of(db, it) for it in (*together, later)] == [1, 1, 1, 4]
    assert await verified(db) == 4
    await by_owner(
        owner_url,
        "update policies set state = 'CANCELLED', ended_on = started_on - 1 where member_id = $1",
        together[0],
    )
    assert await verified(db) == 4
