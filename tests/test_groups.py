"""Groups: made with enough people, listed, closed; who joins counts when covered."""

import asyncio
from uuid import uuid4

import pytest

from app.db import Database, StatementCount
from app.errors import ErrorCode
from app.premiums import groups
from app.premiums.contract_terms import Payer
from tests.factories import (
    as_member,
    as_staff,
    contents,
    execute,
    make_member,
    make_staff,
    operation,
)
from tests.factories import refused as refused_operation
from tests.policy_holders import CARE, PLAIN, accepted, applied, do, publish, refused, rows, variant

LEAST = 10
"""`groups.members_min` of the product."""
GIVEN = {"code": "acme", "name": "Acme", "productCode": CARE, "payer": "EMPLOYER", "people": LEAST}


@pytest.fixture(autouse=True)
async def products(db: Database) -> None:
    await publish(db, variant(**PLAIN))


async def send(name: str, context, /, **given):
    sent = {"input": {"requestId": str(uuid4()), **given}}
    [found] = (await execute(operation(name, "console"), sent, context=context)).values()
    return found


async def made(db: Database, staff, code: str = "acme", **more):
    given = {
        "staff_id": staff, "code": code, "name": "Acme", "product_code": CARE,
        "payer": Payer.EMPLOYER, "people": LEAST, **more,
    }  # fmt: skip
    return await do(db, groups.add, **given)


async def test_groups_are_made_by_administrators(db: Database):
    admin, manager = await make_staff(db, "ADMIN"), await make_staff(db)
    made = await send("AddInsuredGroup", as_staff(db, admin, "ADMIN"), **GIVEN)
    group = made["group"]
    assert group.pop("createdAt")
    assert group == {**GIVEN, "code": "ACME", "members": 0, "active": True, "closedAt": None}
    sent = {"input": {"requestId": str(uuid4()), **GIVEN}}
    for name in ("AddInsuredGroup", "CloseInsuredGroup"):
        if name.startswith("Close"):
            sent = {"input": {"requestId": str(uuid4()), "code": "acme"}}
        code = await refused_operation(
            operation(name, "console"), sent, context=as_staff(db, manager)
        )
        assert code == "FORBIDDEN"
    listing = operation("InsuredGroups", "console")
    assert await refused_operation(listing, {}, context=as_staff(db, manager)) == "FORBIDDEN"
    member = as_member(db, await make_member(db))
    assert await refused_operation(listing, {}, context=member) == "FORBIDDEN"


async def test_a_group_is_as_large_as_the_product_asks(db: Database):
    staff = await make_staff(db, "ADMIN")
    for people in (LEAST - 1, 0, groups.PEOPLE_MAX + 1):
        refusal = await refused(db, ErrorCode.VALUE_OUT_OF_RANGE, made, db, staff, people=people)
        assert refusal.field == "people"
        assert "at least 10 people" in refusal.text.en and "10 人" in refusal.text.zh
    await made(db, staff)
    await refused(db, ErrorCode.CODE_INVALID, made, db, staff, code="Acme")


async def test_nobody_new_joins_a_closed_group_and_who_is_insured_stays(db: Database):
    staff = await make_staff(db, "ADMIN")
    await made(db, staff)
    first, late = await make_member(db), await make_member(db)
    inside = await accepted(db, await applied(db, first, declared=None, group_code="Acme"))
    request = uuid4()
    answers = await asyncio.gather(
        *(do(db, groups.close, staff_id=staff, request_id=request, code="acme") for _ in range(8))
    )
    assert sum(not replayed for _, replayed in answers) == 1
    refusal = await refused(
        db, ErrorCode.NOT_FOUND, applied, db, late, declared=None, group_code="acme"
    )
    assert refusal.field == "groupCode"
    [found] = await rows(db, "select state, payer from policies where id = :id", id=inside.id)
    assert found == ("IN_FORCE", "EMPLOYER")
    again = {"staff_id": staff, "code": "acme"}
    await refused(db, ErrorCode.ALREADY_DECIDED, do, db, groups.close, **again)
    await refused(db, ErrorCode.NOT_FOUND, do, db, groups.close, staff_id=staff, code="none")


async def test_closing_and_joining_at_once_leave_one_after_the_other(db: Database):
    staff, member = await make_staff(db, "ADMIN"), await make_member(db)
    await made(db, staff)
    joining = applied(db, member, declared=None, group_code="acme")
    closing = do(db, groups.close, staff_id=staff, code="acme")
    joined, _ = await asyncio.gather(joining, closing, return_exceptions=True)
    of_group = await rows(db, "select count(*) from policies where group_id is not null")
    assert of_group == [(0 if isinstance(joined, Exception) else 1,)]
    assert await rows(db, "select active from insured_groups") == [(False,)]


async def test_groups_are_listed_by_code_with_who_is_covered(db: Database):
    staff = await make_staff(db, "ADMIN")
    for code in ("c", "a", "b"):
        await made(db, staff, code=code)
    await do(db, groups.close, staff_id=staff, code="b")
    member = await make_member(db)
    await accepted(db, await applied(db, member, declared=None, group_code="a"))

    async def page(**given):
        context = as_staff(db, staff, "ADMIN")
        with StatementCount(db) as counted:
            answer = await execute(operation("InsuredGroups", "console"), given, context=context)
        edges = answer["insuredGroups"]["edges"]
        listed = [(it["node"]["code"], it["node"]["members"]) for it in edges]
        return listed, answer["insuredGroups"]["pageInfo"], len(counted)

    before = await contents(db)
    everything, _, statements = await page()
    assert everything == [("A", 1), ("B", 0), ("C", 0)]
    one, info, fewer = await page(first=1)
    assert (one, info["hasNextPage"], fewer) == ([("A", 1)], True, statements)
    rest, info, _ = await page(first=2, after=info["endCursor"])
    assert ([code for code, _ in rest], info["hasNextPage"]) == (["B", "C"], False)
    assert [code for code, _ in (await page(active=True))[0]] == ["A", "C"]
    assert [code for code, _ in (await page(active=False))[0]] == ["B"]
    assert await contents(db) == before
