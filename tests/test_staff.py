"""Employees: who they are, whom they find, and that each of their reads is written down."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.context import ANONYMOUS
from app.graphql.ids import Kind, encode
from app.ids import new_id
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    context,
    counts,
    execute,
    make_member,
    make_staff,
    refused,
)

STAFF = "{ staff { __typename id displayName roles } }"
MEMBERS = """
query ($search: String, $filter: MemberFilter, $first: Int = 20, $after: String) {
  members(search: $search, filter: $filter, first: $first, after: $after) {
    edges { cursor node { id displayName login phone } }
    pageInfo { hasNextPage hasPreviousPage endCursor } } }
"""
# Every field of `Member` that is a facet, as a console may show them in its list.
WIDE = """
query ($first: Int) { members(first: $first) { edges { node {
  id displayName birthDate sex timeZone locale today login phone segment { code }
  lifecycle { stage } risk { tier } pause { id } consents { id state } tasksToday { id title }
  points { id available nextExpiry { amount } } premium { adjustmentPercent }
  policy { id product { code } } nextReminder { id } unreadCount
  notificationPreferences { id }
  measurements(code: WEIGHT, first: 3) { edges { node { id value } } } } } } }
"""


def member_id(id: UUID) -> str:
    return encode(Kind.MEMBER, id)


async def find(db: Database, staff: UUID, *roles: str, **variables) -> list[str]:
    data = await execute(MEMBERS, variables, context=as_staff(db, staff, *roles))
    return [edge["node"]["id"] for edge in data["members"]["edges"]]


async def reads(db: Database) -> list[tuple]:
    async with db.read() as connection:
        rows = await connection.execute(
            text("select member_id, staff_id, operation, request_id from audit_reads")
        )
        return sorted(tuple(row) for row in rows)


async def test_the_signed_in_employee(db: Database):
    manager = await make_staff(db, "HEALTH_MANAGER", "AUDITOR", display_name="周敏")
    data = await execute(STAFF, context=as_staff(db, manager))
    assert data["staff"] == {
        "__typename": "Staff",
        "id": encode(Kind.STAFF, manager),
        "displayName": "周敏",
        "roles": ["HEALTH_MANAGER", "AUDITOR"],
    }
    assert await reads(db) == []


@pytest.mark.parametrize(
    "field", ["staff { id }", "healthManagers { edges { cursor } }", "members { edges { cursor } }"]
)
async def test_the_console_is_for_employees(db: Database, field):
    member = await make_member(db)
    before = await counts(db)
    assert await refused(f"{{ {field} }}", context=as_member(db, member)) == "FORBIDDEN"
    assert await refused(f"{{ {field} }}", context=context(db, ANONYMOUS)) == "UNAUTHENTICATED"
    assert await counts(db) == before


async def test_a_health_manager_finds_the_members_they_look_after(db: Database):
    manager, colleague = await make_staff(db), await make_staff(db)
    mine = [await make_member(db) for _ in range(3)]
    theirs, nobodys = await make_member(db), await make_member(db)
    await assign(db, manager, *mine)
    await assign(db, colleague, theirs)

    assert await find(db, manager) == [member_id(id) for id in sorted(mine, reverse=True)]
    assert await reads(db) == sorted((id, manager, "Test", "test") for id in mine)
    for role in ("ADMIN", "AUDITOR"):
        assert len(await find(db, await make_staff(db, role), role)) == 5
    assert member_id(nobodys) not in await find(db, colleague)


async def test_an_assignment_that_has_ended_shows_nobody(db: Database):
    manager, member = await make_staff(db), await make_member(db)
    await assign(db, manager, member)
    async with db.write() as connection:
        await connection.execute(text("update care_assignments set ended_at = now()"))
    assert await find(db, manager) == []
    page = "query ($id: ID!) { member(id: $id) { id } node(id: $id) { id } }"
    data = await execute(page, {"id": member_id(member)}, context=as_staff(db, manager))
    assert data == {"member": None, "node": None}
    assert await reads(db) == []


@pytest.mark.parametrize("role", ["CAMPAIGN_MANAGER", "ACTUARY"])
async def test_other_roles_find_nobody(db: Database, role):
    employee, member = await make_staff(db, role), await make_member(db)
    await assign(db, employee, member)
    assert await refused(MEMBERS, context=as_staff(db, employee, role)) == "FORBIDDEN"
    data = await execute(
        "query ($id: ID!) { member(id: $id) { id } node(id: $id) { id } }",
        {"id": member_id(member)},
        context=as_staff(db, employee, role),
    )
    assert data == {"member": None, "node": None}
    assert await reads(db) == []


async def test_nobody_is_recorded_who_does_not_exist(db: Database):
    admin = await make_staff(db, "ADMIN")
    page = "query ($id: ID!) { member(id: $id) { id } }"
    data = await execute(page, {"id": member_id(uuid4())}, context=as_staff(db, admin, "ADMIN"))
    assert data == {"member": None}
    assert await reads(db) == []


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("王", ["wang"]),
        ("芳", ["wang"]),
        ("LI", ["li"]),
        ("li.qiang", ["li"]),
        ("iang", ["li"]),
        ("138 0000-1111", ["wang"]),
        ("+86 138", ["wang"]),
        ("0000", ["li", "wang"]),
        ("  qiang ", ["li"]),
        ("%", []),
        ("_", []),
        ("100%", []),
        ("li 0000", []),
        ("\\", []),
        ("", ["li", "wang"]),
    ],
)
async def test_a_search_is_a_part_of_name_login_or_number(db: Database, search, found):
    manager = await make_staff(db)
    people = {
        "wang": await make_member(db, login="w.fang", display_name="王芳", phone="+8613800001111"),
        "li": await make_member(db, login="Li.Qiang", display_name="Li Qiang", phone="+15550000"),
    }
    await assign(db, manager, *people.values())
    wanted = [member_id(people[name]) for name in found]
    assert sorted(await find(db, manager, search=search)) == sorted(wanted)


async def test_a_search_reaches_no_further_than_assignments(db: Database):
    manager = await make_staff(db)
    await make_member(db, login="hidden", display_name="Hidden", phone="+8613800001111")
    for search in ("Hidden", "hidden", "138"):
        assert await find(db, manager, search=search) == []


async def test_an_erased_member_is_not_found(db: Database):
    admin, member = await make_staff(db, "ADMIN"), await make_member(db)
    async with db.write() as connection:
        await connection.execute(text("update members set erased_at = now()"))
    assert await find(db, admin, "ADMIN") == []
    assert member is not None


async def test_login_and_number_are_shown(db: Database):
    manager = await make_staff(db)
    member = await make_member(db, login="fang", phone="+8613800001111")
    await assign(db, manager, member)
    data = await execute(MEMBERS, context=as_staff(db, manager))
    node = data["members"]["edges"][0]["node"]
    assert (node["login"], node["phone"]) == ("fang", "+8613800001111")
    # A member may see what is kept about themselves.
    me = (await execute("{ me { login phone } }", context=as_member(db, member)))["me"]
    assert me == {"login": "fang", "phone": "+8613800001111"}


async def test_pages_are_complete_and_without_gaps(db: Database):
    manager = await make_staff(db)
    people = [await make_member(db) for _ in range(7)]
    await assign(db, manager, *people)
    found, after, pages = [], None, 0
    while True:
        data = await execute(MEMBERS, {"first": 3, "after": after}, context=as_staff(db, manager))
        page = data["members"]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        found += [edge["node"]["id"] for edge in page["edges"]]
        pages += 1
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert pages == 3
    assert found == [member_id(id) for id in sorted(people, reverse=True)]
    # Each page recorded whom it showed, and nobody further.
    assert sorted(row[0] for row in await reads(db)) == sorted(people)


async def statements_for(db: Database, number: int) -> int:
    manager = await make_staff(db)
    await assign(db, manager, *[await make_member(db) for _ in range(number)])
    with StatementCount(db) as sent:
        data = await execute(WIDE, {"first": 100}, context=as_staff(db, manager))
    assert len(data["members"]["edges"]) == number
    return len(sent)


async def test_the_number_of_statements_does_not_grow(db: Database):
    few, many = await statements_for(db, 3), await statements_for(db, 60)
    # Find, record, load the facets, load the readings.
    assert few == many == 4


async def test_one_request_records_a_member_once(db: Database):
    manager, member = await make_staff(db), await make_member(db)
    await assign(db, manager, member)
    query = """query ($id: ID!) {
      member(id: $id) { id } node(id: $id) { id } members { edges { node { id } } }
      again: members(search: "王") { edges { node { id displayName } } }
      staff { worklist { totalCount } } }"""
    for turn in (1, 2):
        data = await execute(query, {"id": member_id(member)}, context=as_staff(db, manager))
        assert data["member"] and data["node"]
        assert len(data["members"]["edges"]) == len(data["again"]["edges"]) == 1
        assert len(await reads(db)) == turn


async def test_a_member_assigned_in_the_middle_of_a_request_is_recorded(db: Database):
    manager, member = await make_staff(db), await make_member(db)
    context = as_staff(db, manager)
    assert await context.may_see(member) is False
    await assign(db, manager, member)
    for _ in range(2):
        data = await execute(MEMBERS, context=context)
        assert len(data["members"]["edges"]) == 1
        assert len(await reads(db)) == 1


@pytest.mark.parametrize(
    "query",
    [
        "query ($id: ID!) { member(id: $id) { displayName } }",
        "query ($id: ID!) { node(id: $id) { id ... on Member { displayName } } }",
        "query ($id: ID!) { members { edges { node { displayName } } } x: node(id: $id) { id } }",
    ],
)
async def test_a_read_that_cannot_be_recorded_does_not_happen(db, owner_url, query):
    manager, member = await make_staff(db), await make_member(db)
    await assign(db, manager, member)
    owner = Database.open(owner_url)
    async with owner.write() as connection:
        await connection.execute(text("alter table audit_reads add check (false) not valid"))
    await owner.close()

    from app.schema import schema

    result = await schema.execute(
        query, {"id": member_id(member)}, context_value=as_staff(db, manager)
    )
    assert result.errors
    assert not result.data or not any(result.data.values())
    assert await reads(db) == []


async def test_colleagues_see_each_other(db: Database):
    manager, colleague = await make_staff(db), await make_staff(db, "ACTUARY", display_name="Wu")
    node = "query ($id: ID!) { node(id: $id) { __typename id ... on Staff { displayName roles } } }"
    variables = {"id": encode(Kind.STAFF, colleague)}
    data = await execute(node, variables, context=as_staff(db, manager))
    assert data["node"]["displayName"] == "Wu"
    member = await make_member(db)
    assert (await execute(node, variables, context=as_member(db, member)))["node"] is None


async def test_health_managers_by_name(db: Database):
    names = ["Chen", "An|na", "Bo", "Bo", "Dai"]
    managers = [await make_staff(db, display_name=name) for name in names]
    await make_staff(db, "ADMIN", display_name="Eve")
    await make_staff(db, display_name="Gone", active=False)
    query = """query ($after: String) { healthManagers(first: 2, after: $after) {
      edges { node { id displayName } } pageInfo { hasNextPage endCursor } } }"""
    found, after = [], None
    while True:
        data = await execute(query, {"after": after}, context=as_staff(db, managers[0]))
        found += [edge["node"]["displayName"] for edge in data["healthManagers"]["edges"]]
        after = data["healthManagers"]["pageInfo"]["endCursor"]
        if not data["healthManagers"]["pageInfo"]["hasNextPage"]:
            break
    assert found == ["An|na", "Bo", "Bo", "Chen", "Dai"]


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"search": "x" * 101}, "BAD_REQUEST"),
        ({"first": 101}, "BAD_REQUEST"),
        ({"first": -1}, "BAD_REQUEST"),
        ({"after": "nonsense"}, "BAD_REQUEST"),
    ],
)
async def test_impossible_arguments_are_refused(db: Database, variables, code):
    admin = await make_staff(db, "ADMIN")
    assert await refused(MEMBERS, variables, context=as_staff(db, admin, "ADMIN")) == code


async def test_members_made_later_come_first(db: Database):
    admin = await make_staff(db, "ADMIN")
    early = await make_member(db, now=datetime(2025, 1, 1, tzinfo=UTC))
    late = await make_member(db, now=NOON + timedelta(days=1))
    assert new_id(NOON) > early
    assert await find(db, admin, "ADMIN") == [member_id(late), member_id(early)]
