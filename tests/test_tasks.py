"""Today's tasks in one statement, the coming days in a constant number, and any by its id."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.health_tasks import jobs
from app.members.models import Pause
from app.schema import schema
from tests.factories import (
    NOON,
    as_json,
    as_member,
    as_staff,
    assign,
    consent,
    execute,
    guard,
    make_member,
    make_staff,
    operation,
)
from tests.tasks_at_work import check_in, make_tasked, rows, task_id, tick
from tests.worklist import make_item, worklist

MONDAY = date(2026, 3, 2)
FIELDS = """id title kind verification unit target done points state startsOn endsOn dueAt
  latestCheckIn { id occurredAt state localDate value pointsAwarded explanation }"""
TODAY = f"query ($first: Int = 20) {{ me {{ id tasksToday(first: $first) {{ {FIELDS} }} }} }}"
UPCOMING = f"""
query ($fromDate: Date!, $toDate: Date!, $first: Int = 100, $after: String) {{ me {{ id
  tasks(fromDate: $fromDate, toDate: $toDate, first: $first, after: $after) {{
    edges {{ cursor node {{ {FIELDS} }} }} pageInfo {{ hasNextPage endCursor }} }} }} }}"""
ALL = (
    "walk", "stretch", "medication", "measure-blood-pressure", "article", "exercise",
    "streak-week", "lecture", "smoke-free", "annual-examination",
)  # fmt: skip


async def today(db: Database, member: UUID, *, now: datetime = NOON, **variables: Any) -> list[Any]:
    data = await execute(TODAY, variables, context=as_member(db, member, now=now))
    found: list[Any] = as_json(data["me"]["tasksToday"])
    return found


async def upcoming(
    db: Database,
    member: UUID,
    first_day: date,
    last_day: date,
    *,
    now: datetime = NOON,
    **more: Any,
) -> dict[str, Any]:
    variables = {"fromDate": first_day.isoformat(), "toDate": last_day.isoformat(), **more}
    data = await execute(UPCOMING, variables, context=as_member(db, member, now=now))
    found: dict[str, Any] = data["me"]["tasks"]
    return found


async def test_today_is_one_statement_however_many_tasks(db: Database) -> None:
    member, _ = await make_tasked(db, *ALL)

    with StatementCount(db) as sent:
        found = await today(db, member)

    assert len(found) == len(ALL)
    assert len(sent) == 1, sent.statements


async def test_a_task_says_what_is_asked(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk", points_each=7)

    [task] = await today(db, member)

    assert task == {
        "id": task_id(member, tasks["walk"]),
        "title": "Walk 8000 steps today",
        "kind": "REACH_TOTAL",
        "verification": "NONE",
        "unit": "{steps}",
        "target": "8000",
        "done": "0",
        "points": 7,
        "state": "OPEN",
        "startsOn": "2026-03-02",
        "endsOn": "2026-03-02",
        "dueAt": "2026-03-02T16:00:00+00:00",
        "latestCheckIn": None,
    }


async def test_most_urgent_first_and_what_is_done_goes_last(db: Database) -> None:
    member, tasks = await make_tasked(db, *ALL)
    await check_in(db, member, tasks["medication"])
    await check_in(db, member, tasks["article"])

    found = await today(db, member)
    named = {assignment: code for code, assignment in tasks.items()}
    codes = [named[next(a for a in named if task_id(member, a) == it["id"])] for it in found]

    # Only today: walking and stretching. Then the week, the month, the year; done ones last.
    assert set(codes[:2]) == {"walk", "stretch"}
    assert codes.index("measure-blood-pressure") < codes.index("lecture")
    assert codes.index("lecture") < codes.index("annual-examination")
    assert set(codes[-2:]) == {"medication", "article"}
    assert [it["state"] for it in found] == ["OPEN"] * 8 + ["DONE"] * 2
    assert [it["id"] for it in await today(db, member, first=3)] == [it["id"] for it in found[:3]]
    assert await today(db, member, first=0) == []


async def test_what_was_ticked_today_gives_way_to_what_was_not(db: Database) -> None:
    member, tasks = await make_tasked(db, "measure-blood-pressure", "lecture")
    before = [it["id"] for it in await today(db, member)]
    await check_in(db, member, tasks["measure-blood-pressure"])

    after = await today(db, member)

    assert [it["id"] for it in after] == before[::-1]
    assert after[1]["latestCheckIn"]["state"] == "ACCEPTED"
    tomorrow = await today(db, member, now=NOON + timedelta(days=1))
    assert [it["id"] for it in tomorrow] == before


async def test_first_above_the_cap_is_an_error(db: Database) -> None:
    member, _ = await make_tasked(db, "walk")
    result = await schema.execute(TODAY, {"first": 101}, context_value=as_member(db, member))

    assert result.errors is not None
    assert result.errors[0].extensions == {"code": "BAD_REQUEST"}


async def test_today_is_the_members_own_and_needs_no_row(db: Database) -> None:
    """At 04:00 UTC on Monday it is Sunday in Honolulu and Monday on Kiritimati."""
    west, west_tasks = await make_tasked(
        db, "medication", time_zone="Pacific/Honolulu", starts_on=date(2026, 2, 20)
    )
    east, _ = await make_tasked(db, "medication", time_zone="Pacific/Kiritimati")

    [sunday] = await today(db, west)
    [monday] = await today(db, east)

    assert (sunday["startsOn"], sunday["dueAt"]) == (
        "2026-03-01", "2026-03-02T10:00:00+00:00",
    )  # fmt: skip
    assert sunday["id"] == task_id(west, west_tasks["medication"], date(2026, 3, 1))
    assert (monday["startsOn"], monday["dueAt"]) == ("2026-03-02", "2026-03-02T10:00:00+00:00")
    assert (await rows(db, "select count(*) from tasks where starts_on = '2026-03-01'")) == [(0,)]


async def test_a_one_off_task_that_was_done_is_not_for_another_day(db: Database) -> None:
    member, tasks = await make_tasked(db, "annual-examination")
    await check_in(db, member, tasks["annual-examination"])

    assert [it["state"] for it in await today(db, member)] == ["DONE"]
    assert await today(db, member, now=NOON + timedelta(days=1)) == []


async def test_what_stands_in_the_way_is_shown(db: Database) -> None:
    paused, _ = await make_tasked(db, "medication")
    refused, _ = await make_tasked(db, "medication", consents=False)
    withdrew, _ = await make_tasked(db, "medication")
    never, _ = await make_tasked(db, "medication", consents=False)
    async with db.transaction() as session:
        session.add(
            Pause(
                member_id=paused,
                id=uuid4(),
                reason="TRAVEL",
                starts_on=MONDAY,
                ends_on=None,
                created_at=NOON,
            )
        )
        session.add(consent(refused, "HEALTH_DATA", "REFUSED"))
        session.add(consent(withdrew, "HEALTH_DATA", "WITHDRAWN", version=2))

    states = [(await today(db, it))[0]["state"] for it in (paused, refused, withdrew, never)]

    assert states == ["PAUSED", "CONSENT_REFUSED", "CONSENT_WITHDRAWN", "OPEN"]


async def test_the_coming_days_have_the_ids_that_they_will_have(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "article", "exercise")

    with StatementCount(db) as sent:
        found = await upcoming(db, member, MONDAY, date(2026, 3, 16))

    nodes = [edge["node"] for edge in found["edges"]]
    assert len(nodes) == 15 + 3 + 1
    assert found["pageInfo"] == {
        "hasNextPage": False,
        "endCursor": found["edges"][-1]["cursor"],
    }
    assert [node["startsOn"] for node in nodes] == sorted(node["startsOn"] for node in nodes)
    few = len(sent)
    tomorrow = NOON + timedelta(days=1)
    await jobs.close_periods(db, now=tomorrow)
    later = {it["id"] for it in await today(db, member, now=tomorrow)}
    assert later <= {node["id"] for node in nodes}
    assert task_id(member, tasks["medication"], date(2026, 3, 3)) in later
    with StatementCount(db) as sent:
        await upcoming(db, member, MONDAY, date(2026, 3, 2))
    assert len(sent) == few <= 3


async def test_pages_join_without_gap_or_repeat(db: Database) -> None:
    member, tasks = await make_tasked(db, *ALL)
    await check_in(db, member, tasks["walk"], value="100")
    whole = await upcoming(db, member, MONDAY, date(2026, 3, 12))
    pages: list[Any] = []
    after = None
    while True:
        page = await upcoming(db, member, MONDAY, date(2026, 3, 12), first=7, after=after)
        pages += page["edges"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break

    assert pages == whole["edges"]
    assert any(edge["node"]["done"] == "100" for edge in pages)


async def test_history_shows_how_it_was_closed(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await check_in(db, member, tasks["medication"])
    now = NOON + timedelta(days=3)
    await jobs.close_periods(db, now=now)

    found = await upcoming(db, member, date(2026, 1, 1), date(2026, 3, 5), now=now)

    states = [(edge["node"]["startsOn"].day, edge["node"]["state"]) for edge in found["edges"]]
    assert states == [(2, "DONE"), (3, "MISSED"), (4, "MISSED"), (5, "OPEN")]


@pytest.mark.parametrize(
    ("first_day", "last_day", "argument"),
    [
        (MONDAY, date(2026, 3, 17), "toDate"),
        (date(2026, 3, 4), date(2026, 3, 3), "fromDate"),
    ],
)
async def test_days_that_cannot_be_asked_for(
    db: Database, first_day: date, last_day: date, argument: str
) -> None:
    member, _ = await make_tasked(db, "medication")
    variables = {"fromDate": first_day.isoformat(), "toDate": last_day.isoformat()}

    result = await schema.execute(UPCOMING, variables, context_value=as_member(db, member))

    assert result.errors is not None
    assert result.errors[0].extensions == {"code": "BAD_REQUEST"}
    assert argument in result.errors[0].message


NODE = f"""query ($id: ID!) {{ node(id: $id) {{ __typename id
  ... on HealthTask {{ {FIELDS} }} ... on CheckIn {{ localDate pointsAwarded explanation }} }} }}"""


async def node(context: Any, id: str) -> Any:
    return (await execute(NODE, {"id": id}, context=context))["node"]


async def test_any_task_and_check_in_by_its_id(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    done = await check_in(db, member, tasks["medication"])
    me = as_member(db, member)

    [shown] = await today(db, member)
    again = await node(me, shown["id"])
    assert as_json(again) == {"__typename": "HealthTask", **shown}
    tomorrow = await node(me, task_id(member, tasks["medication"], date(2026, 3, 3)))
    assert (tomorrow["state"], tomorrow["startsOn"]) == ("OPEN", date(2026, 3, 3))
    ticked = await node(me, done["checkIn"]["id"])
    assert ticked == {
        "__typename": "CheckIn",
        "id": done["checkIn"]["id"],
        "localDate": MONDAY,
        "pointsAwarded": 10,
        "explanation": "Task done: 10 points.",
    }


async def test_today_shows_each_task_as_it_is_by_its_id(db: Database) -> None:
    """Today is read as text, a node is not."""
    member, tasks = await make_tasked(db, *ALL)
    for code in ("medication", "exercise", "article", "streak-week"):
        at = NOON - timedelta(hours=3, microseconds=len(code) * 10)
        await check_in(db, member, tasks[code], occurred_at=at)

    for now in (NOON, NOON + timedelta(days=1)):
        me = as_member(db, member, now=now)
        for shown in await today(db, member, now=now):
            again = await node(me, shown["id"])
            assert as_json(again) == {"__typename": "HealthTask", **shown}


async def test_ids_that_name_nothing_or_are_not_yours_are_null(db: Database) -> None:
    member, tasks = await make_tasked(db, "article")
    stranger, theirs = await make_tasked(db, "article")
    done = await check_in(db, stranger, theirs["article"])
    manager = await make_staff(db)
    me = as_member(db, member)

    assert await node(me, task_id(member, tasks["article"], date(2026, 3, 3))) is None
    assert await node(me, task_id(member, tasks["article"], date(2026, 3, 23))) is None
    assert await node(me, task_id(member, tasks["article"], date(2026, 3, 16))) is not None
    assert await node(me, task_id(member, uuid4())) is None
    assert await node(me, task_id(member, tasks["article"], date.max)) is None
    assert await node(me, task_id(member, tasks["article"], date.min)) is None
    assert await node(me, task_id(stranger, theirs["article"])) is None
    assert await node(me, done["checkIn"]["id"]) is None
    assert await node(me, encode(Kind.CHECK_IN, member, uuid4())) is None
    assert await node(as_staff(db, manager), task_id(stranger, theirs["article"])) is None
    await assign(db, manager, stranger)
    seen = await node(as_staff(db, manager), task_id(stranger, theirs["article"]))
    assert seen["latestCheckIn"]["id"] == done["checkIn"]["id"]


async def test_texts_are_in_the_members_language(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", locale="zh-CN")
    await tick(db, member, tasks["medication"], MONDAY, at=NOON)

    context = as_member(db, member)
    [task] = (await execute(TODAY, {}, context=context))["me"]["tasksToday"]

    assert task["title"] == "今天按时服药"
    assert task["latestCheckIn"]["explanation"] == "任务完成，获得 10 积分。"


async def test_the_entry_of_the_points_names_the_task_and_leads_to_the_check_in(
    db: Database,
) -> None:
    member, tasks = await make_tasked(db, "medication")
    done = await check_in(db, member, tasks["medication"])
    document = """{ me { points { entries { edges { node { title
      cause { __typename id ... on CheckIn { localDate } } } } } } } }"""

    data = await execute(document, context=as_member(db, member))

    [edge] = data["me"]["points"]["entries"]["edges"]
    assert edge["node"] == {
        "title": "Take today's medication",
        "cause": {"__typename": "CheckIn", "id": done["checkIn"]["id"], "localDate": MONDAY},
    }


PAGE = operation("MemberPage", "console")
ENTRIES = """query ($id: ID!) { member(id: $id) { points { entries { edges { node {
  cause { ... on CheckIn { localDate } } } } } }
  tasks(fromDate: "2026-03-01", toDate: "2026-03-08") { edges { node { id } } } } }"""


@pytest.mark.parametrize("answer", ["WITHDRAWN", "REFUSED"])
async def test_employees_see_tasks_and_check_ins_under_consent_only(
    db: Database, answer: str
) -> None:
    member, tasks = await make_tasked(db, "medication", "streak-week")
    done = await check_in(db, member, tasks["medication"])
    manager = await make_staff(db)
    await assign(db, manager, member)
    ids = [task_id(member, tasks["medication"]), done["checkIn"]["id"]]
    page = {"id": encode(Kind.MEMBER, member), "since": "2026-03-01T00:00:00Z"}

    async def seen(viewer: Any) -> list[Any]:
        today = (await execute(PAGE, page, context=viewer))["member"]["tasksToday"]
        rest = (await execute(ENTRIES, {"id": page["id"]}, context=viewer))["member"]
        causes = [edge["node"]["cause"] for edge in rest["points"]["entries"]["edges"]]
        nodes = [await node(viewer, id) for id in ids]
        return [len(today), len(rest["tasks"]["edges"]), causes, [it and it["id"] for it in nodes]]

    assert await seen(as_staff(db, manager)) == [2, 8, [{"localDate": MONDAY}], ids]
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", answer, version=2))

    assert await seen(as_staff(db, manager)) == [0, 0, [None], [None, None]]
    # The member sees what is theirs, and so does a guardian who acts for them.
    guardian = await make_member(db)
    await guard(db, child_id=member, guardian_id=guardian)
    for own in (as_member(db, member), as_member(db, guardian, acting_for=member)):
        assert len((await execute(TODAY, {}, context=own))["me"]["tasksToday"]) == 2
        assert [(await node(own, id))["id"] for id in ids] == ids
    # A guardian who does not act for them is a stranger.
    assert [await node(as_member(db, guardian), id) for id in ids] == [None, None]
    unasked, theirs = await make_tasked(db, "medication", consents=False)
    await assign(db, manager, unasked)
    assert await node(as_staff(db, manager), task_id(unasked, theirs["medication"])) is None
    assert await node(as_member(db, unasked), task_id(unasked, theirs["medication"])) is not None


async def test_an_item_about_a_task_shows_the_task_under_consent_only(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    manager = await make_staff(db)
    await assign(db, manager, member)
    await make_item(
        db,
        member,
        subject_kind="TASK",
        subject_id=tasks["medication"],
        subject_on=MONDAY,
    )

    [before] = (await worklist(db, manager))["edges"]
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    [after] = (await worklist(db, manager))["edges"]

    assert before["node"]["subject"] is not None
    assert after["node"] == before["node"] | {"subject": None}
