"""What employees do with items: open, note, snooze, finish, hand over; each once."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from app.graphql.ids import Kind, encode
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    counts,
    execute,
    make_member,
    make_staff,
    refused,
)
from tests.worklist import (
    ACTIONS,
    act,
    document,
    ids,
    kinds,
    make_item,
    manager_of,
    moved,
    open_follow_up,
    send,
    worklist,
)


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


@pytest.mark.parametrize("name", ACTIONS)
async def test_a_closed_item_takes_nothing_more(db: Database, name):
    member = await make_member(db)
    manager, colleague = await manager_of(db, member), await make_staff(db)
    item = await make_item(db, member, closed_at=NOON, closed_reason="DONE")
    before = await counts(db)
    answer = await act(db, manager, name, item, to=colleague)
    assert (answer["code"], answer["field"]) == ("STATE_INVALID", "itemId")
    assert await moved(db, before) == {"audit_reads": 1}


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


INSTEAD = {
    "REVIEW": (
        "Decide about the review; that closes the item.",
        "请对审核作出决定，事项会随之结束。",
    ),
    "APPEAL": (
        "Decide about the review; that closes the item.",
        "请对审核作出决定，事项会随之结束。",
    ),
    "FULFILMENT": (
        "Fulfil the redemption, or cancel it; that closes the item.",
        "请履行或取消这次兑换，事项会随之结束。",
    ),
}


@pytest.mark.parametrize("kind", INSTEAD)
async def test_what_a_member_waits_for_is_not_closed_by_hand(db: Database, kind: str) -> None:
    """Eight at once do not get it closed either; it may be noted, put off and handed over."""
    member = await make_member(db)
    manager = await manager_of(db, member)
    item = await make_item(db, member, kind=kind)
    before = await counts(db)

    answers = await asyncio.gather(
        *(act(db, manager, "CompleteWorklistItem", item) for _ in range(8))
    )

    for answer in answers:
        assert (answer["code"], answer["field"]) == ("STATE_INVALID", "itemId")
        assert answer["message"] == INSTEAD[kind][0]
    assert set(await moved(db, before)) <= {"audit_reads"}
    in_chinese = as_staff(db, manager)
    in_chinese.viewer = replace(in_chinese.viewer, locale="zh-CN")
    sent = {"input": {"requestId": str(uuid4()), "itemId": item}}
    data = await execute(document("CompleteWorklistItem"), sent, context=in_chinese)
    assert data["completeWorklistItem"]["message"] == INSTEAD[kind][1]
    for name in ("NoteWorklistItem", "SnoozeWorklistItem", "HandOverWorklistItem"):
        assert (await act(db, manager, name, item))["__typename"] == f"{name}Payload"
