"""The worklist: one ranked list, and what employees do with it."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.ids import new_id
from app.worklist.models import WorklistItem
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    counts,
    execute,
    make_member,
    make_staff,
    operation,
    refused,
)

WORKLIST = operation("Worklist", "console")
_FOLLOW_UPS = operation("FollowUps", "console")


def document(name: str) -> str:
    """One operation of FollowUps.graphql with its fragments."""
    from graphql import parse, print_ast
    from graphql.utilities import separate_operations

    return print_ast(separate_operations(parse(_FOLLOW_UPS))[name])


async def send(db: Database, staff: UUID, name: str, *, roles=(), now=NOON, request=None, **values):
    variables = {"input": {"requestId": str(request or uuid4()), **values}}
    context = as_staff(db, staff, *roles, now=now)
    data = await execute(document(name), variables, context=context)
    return data[name[0].lower() + name[1:]]


async def open_follow_up(db: Database, staff: UUID, member: UUID, **values):
    defaults = {"reason": "Call back", "dueAt": (NOON + timedelta(days=1)).isoformat()}
    return await send(
        db,
        staff,
        "OpenFollowUp",
        memberId=encode(Kind.MEMBER, member),
        **{**defaults, **values},
    )


async def worklist(db: Database, staff: UUID, *roles: str, now=NOON, **variables):
    context = as_staff(db, staff, *roles, now=now)
    data = await execute(WORKLIST, variables, context=context)
    return data["staff"]["worklist"]


def ids(page) -> list[str]:
    return [edge["node"]["id"] for edge in page["edges"]]


def kinds(item) -> list[str]:
    return [edge["node"]["kind"] for edge in item["events"]["edges"]]


async def make_item(db: Database, member: UUID, **values) -> str:
    """An item as a domain opens it."""
    id = new_id(NOON)
    defaults = {
        "kind": "EXAMINATION_DUE",
        "reason_zh": "该体检了",
        "reason_en": "Examination due",
        "priority": 50,
        "due_at": NOON + timedelta(days=1),
        "opened_at": NOON,
        "cause_key": f"test:{id}",
    }
    async with db.transaction() as session:
        session.add(WorklistItem(member_id=member, id=id, **{**defaults, **values}))
    return encode(Kind.WORKLIST_ITEM, member, id)


async def manager_of(db: Database, *members: UUID, **values) -> UUID:
    staff = await make_staff(db, **values)
    await assign(db, staff, *members)
    return staff


async def audited(db: Database) -> list[UUID]:
    async with db.read() as connection:
        rows = await connection.execute(text("select member_id from audit_reads"))
        return sorted(rows.scalars())


# The list


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


# Follow-ups


async def test_a_follow_up_from_opening_to_done(db: Database):
    member = await make_member(db)
    manager = await manager_of(db, member, display_name="Zhou")
    opened = await open_follow_up(db, manager, member, reason="  Ask about the drug ", priority=80)
    item = opened["item"]
    assert opened["replayed"] is False
    assert (item["kind"], item["reason"], item["priority"]) == (
        "FOLLOW_UP", "Ask about the drug", 80
    )  # fmt: skip
    assert (item["openedAt"], item["closedAt"], item["assignee"]) == (NOON, None, None)
    assert ids(await worklist(db, manager)) == [item["id"]]

    noted = await send(db, manager, "NoteWorklistItem", itemId=item["id"], note="没有接听")
    assert kinds(noted["item"]) == ["NOTED", "OPENED"]
    event = noted["item"]["events"]["edges"][0]["node"]
    assert (event["note"], event["by"]["displayName"]) == ("没有接听", "Zhou")

    until = NOON + timedelta(days=3)
    put_off = await send(
        db, manager, "SnoozeWorklistItem", itemId=item["id"], until=until.isoformat()
    )
    assert put_off["item"]["snoozedUntil"] == until
    assert ids(await worklist(db, manager)) == []
    assert ids(await worklist(db, manager, now=until)) == [item["id"]]

    done = await send(
        db, manager, "CompleteWorklistItem", now=until, itemId=item["id"], note="Doses agreed"
    )
    assert (done["item"]["closedAt"], done["item"]["closedReason"]) == (until, "DONE")
    assert kinds(done["item"]) == ["DONE", "SNOOZED", "NOTED", "OPENED"]
    assert ids(await worklist(db, manager, now=until)) == []

    again = await execute(
        document("WorklistItem"), {"id": item["id"]}, context=as_staff(db, manager)
    )
    assert again["node"]["member"]["id"] == encode(Kind.MEMBER, member)
    assert again["node"]["closedAt"] == until


async def test_an_event_is_found_by_its_id(db: Database):
    member = await make_member(db)
    manager = await manager_of(db, member)
    opened = await open_follow_up(db, manager, member)
    event = opened["item"]["events"]["edges"][0]["node"]["id"]
    node = "query ($id: ID!) { node(id: $id) { __typename id } }"
    data = await execute(node, {"id": event}, context=as_staff(db, manager))
    assert data["node"] == {"__typename": "WorklistEvent", "id": event}
    for context in (as_member(db, member), as_staff(db, await make_staff(db))):
        assert (await execute(node, {"id": event}, context=context))["node"] is None


async def test_events_are_paged(db: Database):
    member = await make_member(db)
    manager = await manager_of(db, member)
    item = (await open_follow_up(db, manager, member))["item"]["id"]
    for i in range(4):
        later = NOON + timedelta(seconds=i + 1)
        await send(db, manager, "NoteWorklistItem", now=later, itemId=item, note=f"{i}")
    query = """query ($id: ID!, $after: String) { node(id: $id) { id ... on WorklistItem {
      events(first: 2, after: $after) { edges { node { note } } pageInfo { hasNextPage endCursor } }
      } } }"""
    found, after = [], None
    while True:
        data = await execute(query, {"id": item, "after": after}, context=as_staff(db, manager))
        page = data["node"]["events"]
        found += [edge["node"]["note"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert found == ["3", "2", "1", "0", None]


async def test_a_hand_over_moves_item_and_sight(db: Database):
    member = await make_member(db, display_name="王芳")
    manager = await manager_of(db, member)
    colleague, third = await make_staff(db, display_name="Wu"), await make_staff(db)
    item = await make_item(db, member, snoozed_until=NOON + timedelta(days=1))
    page = "query ($id: ID!) { member(id: $id) { displayName } }"
    variables = {"id": encode(Kind.MEMBER, member)}
    assert (await execute(page, variables, context=as_staff(db, colleague)))["member"] is None

    given = await send(
        db, manager, "HandOverWorklistItem", itemId=item, note="On leave",
        toStaffId=encode(Kind.STAFF, colleague),
    )  # fmt: skip
    assert given["item"]["assignee"]["displayName"] == "Wu"
    assert given["item"]["snoozedUntil"] is None
    event = given["item"]["events"]["edges"][0]["node"]
    assert (event["kind"], event["note"]) == ("HANDED_OVER", "On leave")
    assert event["handedOverTo"]["displayName"] == "Wu"
    assert ids(await worklist(db, manager)) == []
    found = await worklist(db, colleague)
    assert (ids(found), found["totalCount"]) == ([item], 1)
    assert found["edges"][0]["node"]["member"]["displayName"] == "王芳"
    assert (await execute(page, variables, context=as_staff(db, colleague)))["member"]
    members = "{ members { edges { node { displayName } } } }"
    data = await execute(members, context=as_staff(db, colleague))
    assert len(data["members"]["edges"]) == 1
    data = await execute(members, context=as_staff(db, third))
    assert data["members"]["edges"] == []

    # Sight ends with the item.
    done = await send(db, colleague, "CompleteWorklistItem", itemId=item)
    assert done["item"]["closedReason"] == "DONE"
    assert (await execute(page, variables, context=as_staff(db, colleague)))["member"] is None


async def test_an_item_comes_back_when_the_colleague_leaves(db: Database):
    member = await make_member(db)
    manager, colleague = await manager_of(db, member), await make_staff(db)
    item = await make_item(db, member, assignee_id=colleague)
    assert ids(await worklist(db, manager)) == []
    async with db.write() as connection:
        await connection.execute(
            text("update staff set active = false where staff_id = :id"), {"id": colleague}
        )
    assert ids(await worklist(db, manager)) == [item]


async def test_an_item_of_an_own_member_that_was_handed_back_is_shown_once(db: Database):
    member = await make_member(db)
    manager = await manager_of(db, member)
    item = await make_item(db, member, assignee_id=manager)
    page = await worklist(db, manager)
    assert (ids(page), page["totalCount"]) == ([item], 1)


# Refusals


ACTIONS = {
    "NoteWorklistItem": {"note": "Called"},
    "SnoozeWorklistItem": {"until": (NOON + timedelta(days=1)).isoformat()},
    "CompleteWorklistItem": {},
    "HandOverWorklistItem": {"toStaffId": "colleague"},
}


async def act(db: Database, staff: UUID, name: str, item: str, *, roles=(), request=None, to=None):
    values = dict(ACTIONS[name])
    if "toStaffId" in values:
        values["toStaffId"] = encode(Kind.STAFF, to or await make_staff(db))
    return await send(db, staff, name, roles=roles, request=request, itemId=item, **values)


@pytest.mark.parametrize("name", ACTIONS)
async def test_a_closed_item_takes_nothing_more(db: Database, name):
    member = await make_member(db)
    manager, colleague = await manager_of(db, member), await make_staff(db)
    item = await make_item(db, member, closed_at=NOON, closed_reason="DONE")
    before = await counts(db)
    answer = await act(db, manager, name, item, to=colleague)
    assert (answer["code"], answer["field"]) == ("STATE_INVALID", "itemId")
    assert await moved(db, before) == {"audit_reads": 1}


async def moved(db: Database, before: dict[str, int]) -> dict[str, int]:
    """How many rows each table has more."""
    after = await counts(db)
    return {name: after[name] - count for name, count in before.items() if after[name] != count}


@pytest.mark.parametrize("name", ACTIONS)
async def test_an_item_of_somebody_elses_member_does_not_exist(db: Database, name):
    member, mine = await make_member(db), await make_member(db)
    manager, colleague = await manager_of(db, mine), await make_staff(db)
    item = await make_item(db, member)
    forged = encode(Kind.WORKLIST_ITEM, mine, uuid4())
    before = await counts(db)
    for id in (item, encode(Kind.MEMBER, mine), "nonsense", ""):
        answer = await act(db, manager, name, id, to=colleague)
        assert (answer["code"], answer["field"]) == ("NOT_FOUND", "itemId")
    assert await moved(db, before) == {}
    answer = await act(db, manager, name, forged, to=colleague)
    assert (answer["code"], answer["field"]) == ("NOT_FOUND", "itemId")
    assert await moved(db, before) == {"audit_reads": 1}


@pytest.mark.parametrize("role", ["AUDITOR", "ACTUARY", "CAMPAIGN_MANAGER"])
async def test_only_health_managers_and_administrators_act(db: Database, role):
    member = await make_member(db)
    item, employee = await make_item(db, member), await make_staff(db, role)
    admin = await make_staff(db, "ADMIN")
    before = await counts(db)
    variables = {"input": {"requestId": str(uuid4()), "itemId": item}}
    code = await refused(
        document("CompleteWorklistItem"), variables, context=as_staff(db, employee, role)
    )
    assert code == "FORBIDDEN"
    code = await refused(document("CompleteWorklistItem"), variables, context=as_member(db, member))
    assert code == "FORBIDDEN"
    assert await moved(db, before) == {}
    assert (await act(db, admin, "CompleteWorklistItem", item, roles=("ADMIN",)))["item"]


@pytest.mark.parametrize("kind", ["left", "other role", "unknown", "nonsense", "member"])
async def test_only_an_active_health_manager_takes_over(db: Database, kind):
    member = await make_member(db)
    manager, item = await manager_of(db, member), await make_item(db, member)
    to = {
        "left": encode(Kind.STAFF, await make_staff(db, active=False)),
        "other role": encode(Kind.STAFF, await make_staff(db, "ADMIN")),
        "unknown": encode(Kind.STAFF, uuid4()),
        "nonsense": "nonsense",
        "member": encode(Kind.MEMBER, member),
    }[kind]
    before = await counts(db)
    answer = await send(db, manager, "HandOverWorklistItem", itemId=item, toStaffId=to)
    assert (answer["code"], answer["field"]) == ("NOT_FOUND", "toStaffId")
    assert (await moved(db, before)).keys() <= {"audit_reads"}
    assert ids(await worklist(db, manager)) == [item]


async def test_who_has_an_item_is_not_given_it_again(db: Database):
    member = await make_member(db)
    manager, colleague = await manager_of(db, member), await make_staff(db)
    item = await make_item(db, member, assignee_id=colleague)
    answer = await act(db, manager, "HandOverWorklistItem", item, to=colleague)
    assert (answer["code"], answer["field"]) == ("STATE_INVALID", "toStaffId")
    assert (await counts(db))["worklist_events"] == 0


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"dueAt": NOON.isoformat()}, "PERIOD_INVALID", "dueAt"),
        ({"dueAt": (NOON + timedelta(days=366, seconds=1)).isoformat()}, "PERIOD_INVALID", "dueAt"),
        ({"reason": ""}, "VALUE_OUT_OF_RANGE", "reason"),
        ({"reason": " \n "}, "VALUE_OUT_OF_RANGE", "reason"),
        ({"reason": "x" * 501}, "VALUE_OUT_OF_RANGE", "reason"),
        ({"reason": "a\0b"}, "VALUE_OUT_OF_RANGE", "reason"),
        ({"priority": -1}, "VALUE_OUT_OF_RANGE", "priority"),
        ({"priority": 101}, "VALUE_OUT_OF_RANGE", "priority"),
    ],
)
async def test_an_impossible_follow_up_changes_nothing(db: Database, changes, code, field):
    member = await make_member(db)
    manager = await manager_of(db, member)
    before = await counts(db)
    answer = await open_follow_up(db, manager, member, **changes)
    assert (answer["code"], answer["field"]) == (code, field)
    assert await moved(db, before) == {"audit_reads": 1}


@pytest.mark.parametrize(
    "until", [NOON, NOON - timedelta(days=1), NOON + timedelta(days=90, seconds=1)]
)
async def test_an_impossible_snooze_changes_nothing(db: Database, until):
    member = await make_member(db)
    manager, item = await manager_of(db, member), await make_item(db, member)
    before = await counts(db)
    answer = await send(db, manager, "SnoozeWorklistItem", itemId=item, until=until.isoformat())
    assert (answer["code"], answer["field"]) == ("PERIOD_INVALID", "until")
    assert await moved(db, before) == {"audit_reads": 1}
    assert ids(await worklist(db, manager)) == [item]


@pytest.mark.parametrize("name", ["NoteWorklistItem", "CompleteWorklistItem"])
async def test_a_note_that_says_nothing_or_too_much_is_refused(db: Database, name):
    member = await make_member(db)
    manager, item = await manager_of(db, member), await make_item(db, member)
    before = await counts(db)
    for note in ("", " ", "x" * 2001, "\0"):
        answer = await send(db, manager, name, itemId=item, note=note)
        assert (answer["code"], answer["field"]) == ("VALUE_OUT_OF_RANGE", "note")
    assert await moved(db, before) == {"audit_reads": 4}


async def test_a_follow_up_for_a_member_not_seen_does_not_exist(db: Database):
    stranger, manager = await make_member(db), await make_staff(db)
    before = await counts(db)
    answer = await open_follow_up(db, manager, stranger)
    assert (answer["code"], answer["field"]) == ("NOT_FOUND", "memberId")
    assert await moved(db, before) == {}


# Once, whatever the client retries


async def test_opening_eight_times_at_once_opens_one(db: Database):
    member, request = await make_member(db), uuid4()
    manager = await manager_of(db, member)
    answers = await asyncio.gather(
        *(open_follow_up(db, manager, member, request=request) for _ in range(8))
    )
    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 7
    assert len({answer["item"]["id"] for answer in answers}) == 1
    found = await counts(db)
    assert (found["worklist_items"], found["worklist_events"], found["requests"]) == (1, 1, 1)


@pytest.mark.parametrize("name", ACTIONS)
async def test_an_action_sent_eight_times_at_once_happens_once(db: Database, name):
    member, request = await make_member(db), uuid4()
    manager, colleague = await manager_of(db, member), await make_staff(db)
    item = await make_item(db, member)
    answers = await asyncio.gather(
        *(act(db, manager, name, item, request=request, to=colleague) for _ in range(8))
    )
    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 7
    found = await counts(db)
    assert (found["worklist_events"], found["requests"]) == (1, 1)


@pytest.mark.parametrize("name", ACTIONS)
async def test_a_request_id_with_another_input_is_refused(db: Database, name):
    member, request = await make_member(db), uuid4()
    manager, colleague = await manager_of(db, member), await make_staff(db)
    first, second = await make_item(db, member), await make_item(db, member)
    await act(db, manager, name, first, request=request, to=colleague)
    before = await counts(db)
    answer = await act(db, manager, name, second, request=request, to=colleague)
    assert (answer["code"], answer["field"]) == ("REQUEST_REUSED", "requestId")
    assert await moved(db, before) == {"audit_reads": 1}


async def test_of_eight_employees_who_finish_it_one_does(db: Database):
    member = await make_member(db)
    managers = [await manager_of(db, member, display_name=f"Nr. {i}") for i in range(8)]
    item = await make_item(db, member)
    answers = await asyncio.gather(
        *(act(db, manager, "CompleteWorklistItem", item) for manager in managers)
    )
    won = [answer for answer in answers if "item" in answer]
    assert len(won) == 1
    assert [a["code"] for a in answers if "code" in a] == ["STATE_INVALID"] * 7
    assert kinds(won[0]["item"]) == ["DONE"]
    found = await counts(db)
    assert (found["worklist_events"], found["requests"]) == (1, 1)


async def test_finishing_and_handing_over_at_once_agree(db: Database):
    for _ in range(4):
        member = await make_member(db)
        manager, colleague = await manager_of(db, member), await make_staff(db)
        item = await make_item(db, member)
        done, given = await asyncio.gather(
            act(db, manager, "CompleteWorklistItem", item),
            act(db, manager, "HandOverWorklistItem", item, to=colleague),
        )
        assert done["item"]["closedReason"] == "DONE"
        assert given.get("code") in (None, "STATE_INVALID")
        assert ids(await worklist(db, colleague)) == []


async def test_rival_notes_all_stand(db: Database):
    member = await make_member(db)
    manager, item = await manager_of(db, member), await make_item(db, member)
    await asyncio.gather(*(act(db, manager, "NoteWorklistItem", item) for _ in range(8)))
    assert (await counts(db))["worklist_events"] == 8


async def test_history_cannot_be_rewritten(db: Database):
    member = await make_member(db)
    manager = await manager_of(db, member)
    await open_follow_up(db, manager, member)
    for statement in ("update worklist_events set note = 'x'", "delete from worklist_events"):
        with pytest.raises(Exception, match="permission denied"):
            async with db.write() as connection:
                await connection.execute(text(statement))


def test_the_documents_are_the_clients():
    folder = Path(__file__).parent.parent / "schema" / "operations" / "console"
    assert {path.stem for path in folder.glob("*.graphql")} >= {
        "FollowUps", "MemberPage", "Members", "Worklist"
    }  # fmt: skip
