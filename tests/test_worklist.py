"""The worklist: one ranked list of the members an employee looks after."""

from datetime import date, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from tests.factories import (
    NOON,
    as_json,
    as_member,
    as_staff,
    execute,
    make_member,
    make_staff,
    refused,
)
from tests.tasks_at_work import make_tasked, task_id, tick
from tests.worklist import WORKLIST, audited, ids, make_item, manager_of, open_follow_up, worklist


async def test_the_most_pressing_comes_first(db: Database):
    member = await make_member(db, display_name="李强")
    manager = await manager_of(db, member)
    later, sooner = NOON + timedelta(days=2), NOON + timedelta(days=1)
    low = await make_item(db, member, priority=10, due_at=sooner)
    late = await make_item(db, member, priority=90, due_at=later)
    early = await make_item(db, member, priority=90, due_at=sooner)
    top = await make_item(db, member, priority=100, due_at=later)

    page = await worklist(db, manager)
    assert ids(page) == [top, early, late, low]
    assert page["totalCount"] == 4
    node = page["edges"][0]["node"]
    assert node == {
        "id": top,
        "kind": "EXAMINATION_DUE",
        "member": {"id": encode(Kind.MEMBER, member), "displayName": "李强", "risk": None},
        "reason": "Examination due",
        "priority": 100,
        "dueAt": later,
        "openedAt": NOON,
        "subject": None,
    }
    assert await audited(db) == [member]


async def test_the_list_is_about_members_looked_after(db: Database):
    mine, theirs = await make_member(db), await make_member(db)
    manager, colleague = await manager_of(db, mine), await manager_of(db, theirs)
    item, other = await make_item(db, mine), await make_item(db, theirs)
    assert ids(await worklist(db, manager)) == [item]
    assert ids(await worklist(db, colleague)) == [other]
    assert await audited(db) == sorted([mine, theirs])
    node = "query ($id: ID!) { node(id: $id) { id } }"
    for id, seen in ((item, {"id": item}), (other, None)):
        data = await execute(node, {"id": id}, context=as_staff(db, manager))
        assert data["node"] == seen
    # The member sees nothing of it, and an administrator has no list of their own.
    assert (await execute(node, {"id": item}, context=as_member(db, mine)))["node"] is None
    admin = await make_staff(db, "ADMIN")
    assert ids(await worklist(db, admin, "ADMIN")) == []


async def test_the_list_is_the_employees_own(db: Database):
    member = await make_member(db)
    manager, colleague = await manager_of(db, member), await make_staff(db)
    await make_item(db, member)
    query = """query ($id: ID!) { node(id: $id) { id ... on Staff {
      worklist { edges { node { id } } totalCount } } } }"""
    result = {"id": encode(Kind.STAFF, manager)}
    from app.schema import schema

    answer = await schema.execute(query, result, context_value=as_staff(db, colleague))
    assert answer.data == {"node": None}
    assert answer.errors[0].original_error.code == "FORBIDDEN"
    for role in ("AUDITOR", "ACTUARY", "CAMPAIGN_MANAGER"):
        other = await make_staff(db, role)
        assert await refused(WORKLIST, context=as_staff(db, other, role)) == "FORBIDDEN"
    assert await audited(db) == []


async def test_what_sleeps_or_is_closed_is_left_out(db: Database):
    member = await make_member(db)
    manager = await manager_of(db, member)
    wakes = NOON + timedelta(hours=2)
    asleep = await make_item(db, member, snoozed_until=wakes)
    await make_item(db, member, closed_at=NOON, closed_reason="DONE")
    page = await worklist(db, manager)
    assert (ids(page), page["totalCount"]) == ([], 0)
    assert ids(await worklist(db, manager, now=wakes - timedelta(microseconds=1))) == []
    assert ids(await worklist(db, manager, now=wakes)) == [asleep]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "a b c"),
        ({"kinds": ["ALERT"]}, "b"),
        ({"kinds": ["ALERT", "EXAMINATION_DUE"]}, "a b c"),
        ({"kinds": []}, ""),
        ({"dueBefore": "2026-03-04T04:00:00Z"}, "a b"),
        ({"dueBefore": "2026-03-04T04:00:01Z"}, "a b c"),
        ({"memberId": "second"}, "c"),
        ({"memberId": "first", "kinds": ["ALERT"]}, "b"),
        ({"memberId": "stranger"}, ""),
        ({"memberId": "nonsense"}, ""),
    ],
)
async def test_a_filter_finds(db: Database, wanted, found):
    first, second, stranger = [await make_member(db) for _ in range(3)]
    manager = await manager_of(db, first, second)
    names = {
        await make_item(db, first): "a",
        await make_item(db, first, kind="ALERT"): "b",
        await make_item(db, second, due_at=NOON + timedelta(days=2)): "c",
    }
    await make_item(db, stranger)
    people = {"first": first, "second": second, "stranger": stranger}
    if wanted.get("memberId") in people:
        wanted = {**wanted, "memberId": encode(Kind.MEMBER, people[wanted["memberId"]])}
    page = await worklist(db, manager, filter=wanted)
    assert sorted(names[id] for id in ids(page)) == found.split()
    assert page["totalCount"] == len(found.split())


async def test_pages_are_complete_and_without_gaps(db: Database):
    members = [await make_member(db) for _ in range(3)]
    manager = await manager_of(db, *members)
    # Ties in every part of the key but the last.
    made = [
        await make_item(
            db,
            members[i % 3],
            priority=(10, 90)[i % 2],
            due_at=NOON + timedelta(days=1, microseconds=i % 3),
        )
        for i in range(17)
    ]
    found, after = [], None
    while True:
        page = await worklist(db, manager, first=4, after=after)
        found += [edge["node"] for edge in page["edges"]]
        assert page["totalCount"] == 17
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert sorted(node["id"] for node in found) == sorted(made)
    order = [(-node["priority"], node["dueAt"]) for node in found]
    assert order == sorted(order)


@pytest.mark.parametrize(
    "key", ["-101|2026-03-02T04:00:00+00:00", "1|2026-03-02T04:00:00+00:00", "-9|2026-03-02T04:00:00",
            "-9|0001-01-01T00:00:00+10:00", "-99999999999999|x"]
)  # fmt: skip
async def test_a_forged_cursor_is_refused(db: Database, key):
    from base64 import urlsafe_b64encode

    manager = await make_staff(db)
    cursor = urlsafe_b64encode(f"{key}|{uuid4()}".encode()).decode().rstrip("=")
    context = as_staff(db, manager)
    assert await refused(WORKLIST, {"after": cursor}, context=context) == "BAD_REQUEST"


async def statements_for(db: Database, number: int) -> int:
    members = [await make_member(db) for _ in range(number)]
    manager = await manager_of(db, *members)
    for member in members:
        await open_follow_up(db, manager, member)
    query = """{ staff { worklist(first: 100) { totalCount edges { node { id reason
      assignee { id displayName }
      member { id displayName points { available } measurements(code: WEIGHT) { edges { cursor } } }
      events { edges { node { id kind note by { id displayName } handedOverTo { id } } } }
      subject { id } } } } } }"""
    with StatementCount(db) as sent:
        data = await execute(query, context=as_staff(db, manager))
    assert len(data["staff"]["worklist"]["edges"]) == number
    assert data["staff"]["worklist"]["edges"][-1]["node"]["events"]["edges"]
    return len(sent)


async def test_the_number_of_statements_does_not_grow(db: Database):
    few, many = await statements_for(db, 3), await statements_for(db, 60)
    # The employee, who also did the events; page, record, count, members, readings, events.
    assert few == many == 7


async def test_a_list_that_cannot_be_recorded_is_not_shown(db: Database, owner_url):
    member = await make_member(db)
    manager = await manager_of(db, member)
    await make_item(db, member)
    owner = Database.open(owner_url)
    async with owner.write() as connection:
        await connection.execute(text("alter table audit_reads add check (false) not valid"))
    await owner.close()
    from app.schema import schema

    answer = await schema.execute(WORKLIST, context_value=as_staff(db, manager))
    assert answer.errors and answer.data is None


async def test_a_cause_opens_one_item(db: Database):
    member, other = await make_member(db), await make_member(db)
    await make_item(db, member, cause_key="silent:1")
    await make_item(db, other, cause_key="silent:1")
    with pytest.raises(IntegrityError):
        await make_item(db, member, cause_key="silent:1")


async def test_an_item_leads_to_its_task(db: Database):
    member, assigned = await make_tasked(db, "walk")
    manager = await manager_of(db, member)
    (steps,) = assigned.values()
    await tick(db, member, steps, date(2026, 3, 2), at=NOON)
    about = {"subject_kind": "TASK", "subject_id": steps, "subject_on": date(2026, 3, 2)}
    await make_item(db, member, priority=90, **about)
    await make_item(db, member, priority=80, **{**about, "subject_on": date(2026, 3, 9)})
    await make_item(db, member, priority=70, **{**about, "subject_kind": "NOT_KNOWN_YET"})
    page = await worklist(db, manager)
    subjects = [edge["node"]["subject"] for edge in page["edges"]]
    assert subjects == [
        {"__typename": "HealthTask", "id": task_id(member, steps), "title": subjects[0]["title"]},
        None,  # nothing is stored of it yet
        None,
    ]
    assert subjects[0]["title"]


async def test_a_subject_is_the_task_as_the_member_sees_it(db: Database):
    members = []
    for _ in range(5):
        member, assigned = await make_tasked(db, "walk")
        (steps,) = assigned.values()
        await tick(db, member, steps, date(2026, 3, 2), at=NOON)
        about = {"subject_kind": "TASK", "subject_id": steps, "subject_on": date(2026, 3, 2)}
        await make_item(db, member, **about)
        members.append(member)
    manager = await manager_of(db, *members)
    task = "__typename id title kind target done state startsOn endsOn dueAt latestCheckIn { id value }"
    query = f"""{{ staff {{ worklist {{ edges {{ node {{
      subject {{ ... on HealthTask {{ {task} }} }} member {{ tasksToday {{ {task} }} }}
      }} }} }} }} }}"""
    with StatementCount(db) as sent:
        data = await execute(query, context=as_staff(db, manager))
    assert len(sent) == 5  # the employee, page, record, members, tasks
    for edge in data["staff"]["worklist"]["edges"]:
        node = as_json(edge["node"])
        assert node["member"]["tasksToday"] == [node["subject"]]
