"""Households: by code, once, with one spouse, seen by its members alone."""

import asyncio
from datetime import date, timedelta
from uuid import UUID, uuid4

from app.db import Database
from app.errors import ErrorCode
from app.graphql.ids import Kind, encode
from app.members import households
from app.members.households import HouseholdRole
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    execute,
    make_member,
    make_staff,
    operation,
)
from tests.policy_holders import PLAIN, do, insured, publish, refused, rows, variant

DAY = timedelta(days=1)


async def invited(db: Database, holder: UUID, role: HouseholdRole = HouseholdRole.SPOUSE) -> str:
    code = households.new_code()
    await do(db, households.invite, member_id=holder, role=role, code=code)
    return code


async def joined(db: Database, member: UUID, code: str, **more) -> bool:
    return await do(db, households.join, member_id=member, code=code, **more)


async def spouse(db: Database, member: UUID, on: date) -> UUID | None:
    async with db.read() as connection:
        return await households.spouse_of(connection, member, on=on)


async def test_a_spouse_joins_with_the_code_and_both_see_it(db: Database):
    holder, other = await make_member(db), await make_member(db, display_name="李强")
    sent = {"input": {"requestId": str(uuid4()), "role": "SPOUSE"}}
    first, again = [
        (await execute(operation("InviteToHousehold"), sent, context=as_member(db, holder)))[
            "inviteToHousehold"
        ]
        for _ in range(2)
    ]
    assert (again["replayed"], again["invitationCode"]) == (True, None)
    sent = {"input": {"requestId": str(uuid4()), "code": first["invitationCode"].lower()}}
    done = await execute(operation("JoinHousehold"), sent, context=as_member(db, other))
    people = done["joinHousehold"]["household"]["members"]
    assert [(it["role"], it["isMe"]) for it in people] == [("HOLDER", False), ("SPOUSE", True)]
    today = NOON.date()
    assert await spouse(db, holder, today) == other
    assert await spouse(db, other, today) == holder
    assert await spouse(db, other, today - DAY) is None
    staff = await make_staff(db)
    await assign(db, staff, holder)

    seen = await execute(
        "query ($id: ID!) { member(id: $id) { household { members { displayName } } } }",
        {"id": encode(Kind.MEMBER, holder)},
        context=as_staff(db, staff),
    )
    assert seen["member"]["household"] is None
    await do(db, households.leave, member_id=other, now=NOON + DAY)
    assert await spouse(db, holder, today) == other
    assert await spouse(db, holder, today + DAY) is None


async def test_a_code_works_once_and_for_a_week(db: Database):
    holder = await make_member(db)
    rivals = [await make_member(db) for _ in range(6)]
    code = await invited(db, holder)
    done = await asyncio.gather(*(joined(db, it, code) for it in rivals), return_exceptions=True)
    assert sum(it is False for it in done) == 1
    stale = await invited(db, holder, HouseholdRole.CHILD)
    late = await make_member(db)
    await refused(db, ErrorCode.NOT_FOUND, joined, db, late, stale, now=NOON + 7 * DAY)
    await refused(db, ErrorCode.NOT_FOUND, joined, db, late, "AAAA")
    request = uuid4()
    done = await asyncio.gather(*(joined(db, late, stale, request_id=request) for _ in range(8)))
    assert done.count(False) == 1
    assert await rows(db, "select count(*) from household_members") == [(3,)]


async def test_one_household_one_spouse_and_no_more_than_there_is_room_for(db: Database):
    holder, wife, friend = [await make_member(db) for _ in range(3)]
    first, second = await invited(db, holder), await invited(db, holder)
    await joined(db, wife, first)
    await refused(db, ErrorCode.STATE_INVALID, joined, db, friend, second)
    await refused(db, ErrorCode.STATE_INVALID, invited, db, wife, HouseholdRole.CHILD)
    await refused(db, ErrorCode.STATE_INVALID, invited, db, holder, HouseholdRole.HOLDER)
    codes = [await invited(db, holder, HouseholdRole.CHILD) for _ in range(6)]
    children = [await make_member(db) for _ in codes]
    done = await asyncio.gather(
        *(joined(db, it, code) for it, code in zip(children, codes, strict=True)),
        return_exceptions=True,
    )
    assert sum(it is False for it in done) == households.MEMBERS_MAX - 2
    other = await make_member(db)
    code = await invited(db, other, HouseholdRole.OTHER)
    await refused(db, ErrorCode.STATE_INVALID, joined, db, wife, code)


async def test_without_its_holder_a_household_is_none(db: Database):
    holder, wife = await make_member(db), await make_member(db)
    await joined(db, wife, await invited(db, holder))
    code = await invited(db, holder, HouseholdRole.CHILD)
    await do(db, households.leave, member_id=holder, now=NOON + DAY)
    await refused(db, ErrorCode.NOT_FOUND, do, db, households.leave, member_id=wife)
    await refused(db, ErrorCode.NOT_FOUND, joined, db, await make_member(db), code)
    assert await spouse(db, wife, NOON.date() + DAY) is None


async def send(db: Database, member: UUID, name: str, **given):
    sent = {"input": {"requestId": str(uuid4()), **given}}
    [found] = (await execute(operation(name), sent, context=as_member(db, member))).values()
    return found


async def test_a_household_is_as_large_as_the_product_of_its_holder_says(db: Database):
    await publish(db, variant("small", households={"members_max": 2}, **PLAIN))
    holder = (await insured(db, code="small")).member_id
    codes = [
        (await send(db, holder, "InviteToHousehold", role=role))["invitationCode"]
        for role in ("SPOUSE", "CHILD")
    ]
    first, second = await make_member(db), await make_member(db)
    joined = await send(db, first, "JoinHousehold", code=codes[0])
    assert len(joined["household"]["members"]) == 2
    for refusal in (
        await send(db, second, "JoinHousehold", code=codes[1]),
        await send(db, holder, "InviteToHousehold", role="OTHER"),
    ):
        assert refusal["code"] == "STATE_INVALID"
        assert "2" in refusal["message"]
    assert (await send(db, second, "JoinHousehold", code="NONE"))["code"] == "NOT_FOUND"
    # Who has no cover has the programme's size.
    other = await make_member(db)
    assert (await send(db, other, "InviteToHousehold", role="CHILD"))["invitationCode"]
