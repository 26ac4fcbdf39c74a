"""Setting, listing and deleting reminders, on a real database."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode, parse
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    contents,
    execute,
    guard,
    make_member,
    make_staff,
    operation,
)

SET, DELETE, SETTINGS = operation("SetReminder"), operation("DeleteReminder"), operation("Settings")
NEXT = "{ me { nextReminder { id title nextFireAt } } }"
PAGE = """query ($first: Int, $after: String) { me { reminders(first: $first, after: $after) {
  edges { cursor node { id title } } pageInfo { hasNextPage hasPreviousPage endCursor } } } }"""
FETCH = "query ($id: ID!) { node(id: $id) { id ... on Reminder { title nextFireAt } } }"


def wanted(**changes):
    base = {
        "requestId": str(uuid4()),
        "title": "Take a walk",
        "kind": "TASK",
        "localTime": "19:30",
        "recurrence": "FREQ=DAILY",
        "startsOn": "2026-03-01",
    }
    return {**base, **changes}


async def set_reminder(db, member, *, now=NOON, request=None, **changes):
    context = as_member(db, member, now=now)
    data = await execute(SET, {"input": request or wanted(**changes)}, context=context)
    return data["setReminder"]


async def delete(db, member, id, *, request=None, now=NOON):
    variables = {"input": {"requestId": str(request or uuid4()), "reminderId": id}}
    data = await execute(DELETE, variables, context=as_member(db, member, now=now))
    return data["deleteReminder"]


async def settings(db, member, *, now=NOON):
    return (await execute(SETTINGS, context=as_member(db, member, now=now)))["me"]


async def fired(db, id, day):
    """As the worker leaves it when it has fired on this local day."""
    async with db.transaction() as session:
        await session.execute(
            text("update reminders set last_on = :day where id = :id"),
            {"day": day, "id": parse(id).key},
        )


async def test_a_reminder_fires_next_at_its_local_time(db: Database) -> None:
    member = await make_member(db)

    made = await set_reminder(db, member, endsOn="2026-12-31")

    assert made["replayed"] is False
    reminder = made["reminder"]
    assert reminder == {
        "id": reminder["id"],
        "title": "Take a walk",
        "kind": "TASK",
        "localTime": "19:30",
        "recurrence": "FREQ=DAILY",
        "nextFireAt": datetime(2026, 3, 2, 11, 30, tzinfo=UTC),
    }
    listed = (await settings(db, member))["reminders"]
    assert [edge["node"] for edge in listed["edges"]] == [
        reminder | {"startsOn": date(2026, 3, 1), "endsOn": date(2026, 12, 31)}
    ]


async def test_the_next_reminder_is_the_one_that_fires_first(db: Database) -> None:
    member = await make_member(db)
    assert (await execute(NEXT, context=as_member(db, member)))["me"]["nextReminder"] is None
    await set_reminder(db, member, title="Later", localTime="20:00")
    sooner = await set_reminder(db, member, title="Sooner", localTime="13:00")
    await set_reminder(db, member, title="Tomorrow", localTime="11:00")
    assert (await execute(NEXT, context=as_member(db, member)))["me"]["nextReminder"] == {
        "id": sooner["reminder"]["id"],
        "title": "Sooner",
        "nextFireAt": (NOON + timedelta(hours=1)).isoformat(),
    }
    gone = await delete(db, member, sooner["reminder"]["id"])
    assert gone["member"]["nextReminder"]["title"] == "Later"


async def test_a_slot_that_is_past_today_fires_tomorrow(db: Database) -> None:
    member = await make_member(db)
    made = await set_reminder(db, member, localTime="11:59")
    assert made["reminder"]["nextFireAt"] == NOON + timedelta(hours=23, minutes=59)


async def test_a_repeated_request_returns_the_reminder_as_it_is_now(db: Database) -> None:
    member = await make_member(db)
    request = wanted()
    first = await set_reminder(db, member, request=request)
    id = first["reminder"]["id"]
    await set_reminder(db, member, reminderId=id, title="Run")
    before = await contents(db)

    again = await set_reminder(db, member, request=request)

    assert again == {**first, "replayed": True, "reminder": first["reminder"] | {"title": "Run"}}
    await delete(db, member, id)
    last = await set_reminder(db, member, request=request)
    assert (last["replayed"], last["reminder"]["nextFireAt"]) == (True, None)
    assert len((await contents(db, "reminders"))["reminders"]) == len(before["reminders"]) == 1


async def test_the_same_request_eight_times_at_once_makes_one_reminder(db: Database) -> None:
    member = await make_member(db)
    request = wanted()
    answers = await asyncio.gather(*(set_reminder(db, member, request=request) for _ in range(8)))
    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 7
    assert len({answer["reminder"]["id"] for answer in answers}) == 1
    assert len((await contents(db, "reminders"))["reminders"]) == 1


async def test_eight_requests_at_once_make_eight_reminders(db: Database) -> None:
    member = await make_member(db)
    answers = await asyncio.gather(*(set_reminder(db, member) for _ in range(8)))
    assert len({answer["reminder"]["id"] for answer in answers}) == 8


async def test_a_request_id_with_another_input_is_refused(db: Database) -> None:
    member = await make_member(db)
    request = wanted()
    await set_reminder(db, member, request=request)
    before = await contents(db)
    refused = await set_reminder(db, member, request=request | {"title": "Run"})
    assert (refused["code"], refused["field"]) == ("REQUEST_REUSED", "requestId")
    assert await contents(db) == before


@pytest.mark.parametrize(
    ("changes", "code", "field", "said"),
    [
        ({"recurrence": "FREQ=HOURLY"}, "RECURRENCE_INVALID", "recurrence", "FREQ must be"),
        ({"recurrence": ""}, "RECURRENCE_INVALID", "recurrence", "at most once"),
        (
            {"recurrence": "FREQ=WEEKLY;BYDAY=XX"},
            "RECURRENCE_INVALID",
            "recurrence",
            "BYDAY takes MO to SU",
        ),
        ({"recurrence": "FREQ=DAILY;INTERVAL=0"}, "RECURRENCE_INVALID", "recurrence", "INTERVAL"),
        ({"recurrence": "FREQ=DAILY;" * 40}, "RECURRENCE_INVALID", "recurrence", "200"),
        (
            {"recurrence": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"},
            "NEVER_FIRES",
            "recurrence",
            "not fire",
        ),
        ({"recurrence": "FREQ=DAILY;COUNT=1"}, "NEVER_FIRES", "recurrence", "not fire"),
        ({"endsOn": "2026-03-01"}, "NEVER_FIRES", "recurrence", "not fire"),
        ({"endsOn": "2026-02-28"}, "NEVER_FIRES", "endsOn", "not be before"),
        ({"startsOn": "2040-01-01"}, "NEVER_FIRES", "startsOn", "ten years"),
        ({"title": ""}, "VALUE_OUT_OF_RANGE", "title", "1 to 80"),
        ({"title": " \u3000 "}, "VALUE_OUT_OF_RANGE", "title", "1 to 80"),
        ({"title": "x" * 81}, "VALUE_OUT_OF_RANGE", "title", "1 to 80"),
        ({"title": "a\nb"}, "VALUE_OUT_OF_RANGE", "title", "one line"),
        ({"title": "a\0b"}, "VALUE_OUT_OF_RANGE", "title", "one line"),
        ({"title": "\u200b"}, "VALUE_OUT_OF_RANGE", "title", "can be seen"),
        ({"title": "\u200d \u2060\ufe0f"}, "VALUE_OUT_OF_RANGE", "title", "can be seen"),
        ({"title": "\u3164\u2800"}, "VALUE_OUT_OF_RANGE", "title", "can be seen"),
        ({"title": "\u0301"}, "VALUE_OUT_OF_RANGE", "title", "can be seen"),
        ({"title": "Walk \u202eklaw"}, "VALUE_OUT_OF_RANGE", "title", "controls how"),
        ({"title": "\u2066Walk\u2069"}, "VALUE_OUT_OF_RANGE", "title", "controls how"),
        ({"title": "Walk\x1b[2J"}, "VALUE_OUT_OF_RANGE", "title", "controls how"),
    ],
)
async def test_what_no_reminder_can_be_is_refused_and_changes_nothing(
    db: Database, changes: dict[str, str], code: str, field: str, said: str
) -> None:
    member = await make_member(db)
    standing = (await set_reminder(db, member, title="Stays"))["reminder"]["id"]
    before = await contents(db)

    for reminder in (None, standing):
        refused = await set_reminder(db, member, reminderId=reminder, **changes)
        assert (refused["code"], refused["field"]) == (code, field)
        assert said in refused["message"]

    assert await contents(db) == before


async def test_titles_of_eighty_letters_are_kept_without_the_space_around(db: Database) -> None:
    member = await make_member(db)
    made = await set_reminder(db, member, title="  " + "药" * 80 + " ")
    assert made["reminder"]["title"] == "药" * 80


@pytest.mark.parametrize(
    "title", ["👨\u200d👩\u200d👧", "می\u200cروم", "\u200fלרוץ", "Lauf ❤\ufe0f", "?", "e\u0301"]
)
async def test_titles_of_every_script_are_kept_as_they_are(db: Database, title: str) -> None:
    made = await set_reminder(db, await make_member(db), title=title)
    assert made["reminder"]["title"] == title


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("freq=daily", "FREQ=DAILY"),
        ("RRULE:FREQ=DAILY", "FREQ=DAILY"),
        ("rrule:freq=weekly;byday=mo,th", "FREQ=WEEKLY;BYDAY=MO,TH"),
    ],
)
async def test_a_recurrence_has_one_spelling(db: Database, sent: str, kept: str) -> None:
    member = await make_member(db)
    request = wanted(recurrence=sent)

    made = await set_reminder(db, member, request=request)

    assert made["reminder"]["recurrence"] == kept
    # A request is what was sent, letter by letter.
    again = await set_reminder(db, member, request=request)
    assert again == made | {"replayed": True}
    other = await set_reminder(db, member, request=request | {"recurrence": kept})
    assert other["code"] == "REQUEST_REUSED"
    # The same rule in another spelling is no other schedule: the slot due just now stays.
    id = made["reminder"]["id"]
    replaced = await set_reminder(db, member, reminderId=id, recurrence=sent)
    assert replaced["reminder"]["recurrence"] == kept
    async with db.transaction() as session:
        stored = await session.execute(text("select recurrence from reminders"))
        assert stored.scalars().all() == [kept]


async def test_refusals_speak_the_members_language(db: Database) -> None:
    member = await make_member(db)
    context = as_member(db, member, locale="zh-CN")
    data = await execute(SET, {"input": wanted(recurrence="FREQ=HOURLY")}, context=context)
    assert data["setReminder"]["message"] == "FREQ 必须是 DAILY、WEEKLY、MONTHLY 或 YEARLY。"


async def test_a_replaced_reminder_does_not_fire_twice_on_a_day(db: Database) -> None:
    member = await make_member(db)
    id = (await set_reminder(db, member, localTime="12:00"))["reminder"]["id"]
    await fired(db, id, NOON.date())
    replaced = await set_reminder(db, member, reminderId=id, localTime="18:00")
    assert replaced["reminder"]["id"] == id
    assert replaced["reminder"]["nextFireAt"] == datetime(2026, 3, 3, 10, tzinfo=UTC)


async def test_a_reminder_that_is_firing_just_now_is_replaced_after_it_has_fired(
    db: Database,
) -> None:
    member = await make_member(db)
    id = (await set_reminder(db, member, localTime="12:00"))["reminder"]["id"]
    async with db.transaction() as worker:
        await worker.execute(text("update reminders set last_on = '2026-03-02'"))
        replacing = asyncio.create_task(set_reminder(db, member, reminderId=id, localTime="18:00"))
        await asyncio.sleep(0.2)
        assert not replacing.done()
    replaced = await replacing
    assert replaced["reminder"]["nextFireAt"] == datetime(2026, 3, 3, 10, tzinfo=UTC)


async def test_a_new_title_does_not_lose_the_slot_that_is_due_now(db: Database) -> None:
    member = await make_member(db)
    request = wanted(localTime="12:00", requestId=str(uuid4()))
    id = (await set_reminder(db, member, request=request))["reminder"]["id"]
    seconds_late = NOON + timedelta(seconds=20)
    renamed = await set_reminder(
        db, member, now=seconds_late, reminderId=id, localTime="12:00", title="Run"
    )
    assert renamed["reminder"]["nextFireAt"] == NOON
    moved = await set_reminder(db, member, now=seconds_late, reminderId=id, localTime="11:59")
    assert moved["reminder"]["nextFireAt"] == NOON + timedelta(hours=23, minutes=59)


async def test_there_is_room_for_fifty_and_of_four_rivals_one_gets_the_last_place(
    db: Database,
) -> None:
    member = await make_member(db)
    # Eight at once, so that every connection is open when the rivals come.
    for _ in range(6):
        await asyncio.gather(*(set_reminder(db, member) for _ in range(8)))
    last = (await set_reminder(db, member))["reminder"]["id"]

    answers = await asyncio.gather(*(set_reminder(db, member) for _ in range(4)))

    refused = [answer for answer in answers if answer["__typename"] == "UserError"]
    assert [(answer["code"], answer["field"]) for answer in refused] == [
        ("LIMIT_REACHED", None)
    ] * 3
    replaced = await set_reminder(db, member, reminderId=last, title="Run")
    assert replaced["reminder"]["title"] == "Run"
    await delete(db, member, last)
    assert (await set_reminder(db, member))["__typename"] == "SetReminderPayload"
    assert len((await settings(db, member))["reminders"]["edges"]) == 50


async def test_ended_reminders_take_no_room_until_they_are_revived(db: Database) -> None:
    member = await make_member(db)
    ended = (await set_reminder(db, member))["reminder"]["id"]
    async with db.transaction() as session:
        await session.execute(text("update reminders set next_on = null, next_at = null"))
    for _ in range(50):
        assert (await set_reminder(db, member))["__typename"] == "SetReminderPayload"
    assert (await set_reminder(db, member, reminderId=ended))["code"] == "LIMIT_REACHED"


async def test_a_deleted_reminder_is_gone_for_good(db: Database) -> None:
    member = await make_member(db)
    id = (await set_reminder(db, member))["reminder"]["id"]
    request = uuid4()

    gone = await delete(db, member, id, request=request)

    assert gone == {
        "__typename": "DeleteReminderPayload",
        "replayed": False,
        "deletedReminderId": id,
        "member": {"id": encode(Kind.MEMBER, member), "nextReminder": None},
    }
    before = await contents(db)
    assert await delete(db, member, id, request=request) == gone | {"replayed": True}
    for refused in (
        await delete(db, member, id),
        await set_reminder(db, member, reminderId=id),
    ):
        assert (refused["code"], refused["field"]) == ("NOT_FOUND", "reminderId")
    assert (await settings(db, member))["reminders"]["edges"] == []
    assert (await execute(FETCH, {"id": id}, context=as_member(db, member)))["node"] is None
    assert await contents(db) == before


async def test_deleting_eight_times_at_once_deletes_once(db: Database) -> None:
    member = await make_member(db)
    id = (await set_reminder(db, member))["reminder"]["id"]
    request = uuid4()
    answers = await asyncio.gather(*(delete(db, member, id, request=request) for _ in range(8)))
    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 7
    other = (await set_reminder(db, member))["reminder"]["id"]
    answers = await asyncio.gather(*(delete(db, member, other) for _ in range(8)))
    assert [answer.get("code") for answer in answers].count("NOT_FOUND") == 7


async def test_another_members_reminder_looks_like_none(db: Database) -> None:
    member, other = await make_member(db), await make_member(db)
    theirs = (await set_reminder(db, other))["reminder"]["id"]
    disguised = encode(Kind.REMINDER, member, parse(theirs).key)
    before = await contents(db)
    for id in (theirs, disguised, encode(Kind.PAUSE, member, parse(theirs).key), "", "x", "é"):
        for refused in (
            await delete(db, member, id),
            await set_reminder(db, member, reminderId=id),
        ):
            assert (refused["code"], refused["field"]) == ("NOT_FOUND", "reminderId")
        assert (await execute(FETCH, {"id": id}, context=as_member(db, member)))["node"] is None
    assert (await settings(db, member))["reminders"]["edges"] == []
    assert await contents(db) == before


async def test_a_health_manager_sees_the_reminders_of_assigned_members_only(db: Database) -> None:
    member, staff = await make_member(db), await make_staff(db)
    id = (await set_reminder(db, member))["reminder"]["id"]
    assert (await execute(FETCH, {"id": id}, context=as_staff(db, staff)))["node"] is None
    await assign(db, staff, member)
    found = await execute(FETCH, {"id": id}, context=as_staff(db, staff))
    assert found["node"]["title"] == "Take a walk"


async def test_a_guardian_sets_the_childs_reminder(db: Database) -> None:
    parent, child = await make_member(db), await make_member(db)
    await guard(db, child_id=child, guardian_id=parent)
    context = as_member(db, parent, acting_for=child)
    made = (await execute(SET, {"input": wanted()}, context=context))["setReminder"]
    assert parse(made["reminder"]["id"]).owner_id == child
    assert (await settings(db, parent))["reminders"]["edges"] == []


async def test_pages_hold_every_reminder_once_in_order_of_creation(db: Database) -> None:
    member, other = await make_member(db), await make_member(db)
    await set_reminder(db, other, title="Not yours")
    for number in range(7):
        now = NOON + timedelta(seconds=number)
        await set_reminder(db, member, now=now, title=f"{number}")
    titles, after, pages = [], None, []
    while True:
        variables = {"first": 3, "after": after}
        with StatementCount(db) as statements:
            data = await execute(PAGE, variables, context=as_member(db, member))
        assert len(statements) == 2  # the member, and a page
        page = data["me"]["reminders"]
        titles += [edge["node"]["title"] for edge in page["edges"]]
        pages.append((page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]))
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert titles == [str(number) for number in range(7)]
    assert pages == [(True, False), (True, True), (False, True)]


async def test_the_settings_screen_costs_two_statements(db: Database) -> None:
    member = await make_member(db)
    for _ in range(5):
        await set_reminder(db, member)
    with StatementCount(db) as statements:
        await settings(db, member)
    assert len(statements) == 2


async def test_setting_a_reminder_costs_as_much_with_one_as_with_many(db: Database) -> None:
    member = await make_member(db)
    with StatementCount(db) as first:
        await set_reminder(db, member)
    for _ in range(10):
        await set_reminder(db, member)
    with StatementCount(db) as later:
        await set_reminder(db, member)
    assert len(later) == len(first) <= 4
