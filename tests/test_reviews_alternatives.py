"""Another task in place of one that a member cannot do, at the same reward."""

import asyncio
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from app.health_tasks import jobs
from app.health_tasks.rules import Period
from app.health_tasks.templates import published
from app.schema import schema
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    consent,
    contents,
    execute,
    make_member,
    make_staff,
    operation,
)
from tests.reviewing import balances, decide, review_of, verified_by
from tests.tasks_at_work import about_noon, check_in, make_tasked, rows, task_id
from tests.worklist import manager_of

OFFER = operation("OfferAlternativeTask", "console")
CHOICES = operation("AlternativeTasks", "console")
MONDAY = date(2026, 3, 2)


async def offer(
    db: Database,
    staff: UUID,
    task: str,
    template: str = "breathing",
    *,
    reason: str = "Hurts the knee.",
    request_id: UUID | None = None,
    now: datetime = NOON,
    roles: tuple[str, ...] = (),
) -> dict[str, Any]:
    sent = {
        "requestId": str(request_id or uuid4()),
        "taskId": task,
        "templateCode": template,
        "reason": reason,
    }
    context = as_staff(db, staff, *roles, now=now)
    result: dict[str, Any] = (await execute(OFFER, {"input": sent}, context=context))[
        "offerAlternativeTask"
    ]
    return result


async def titles(db: Database, member: UUID, now: datetime = NOON) -> list[str]:
    query = "{ me { tasksToday { title } } }"
    data = await execute(query, context=as_member(db, member, now=now))
    return sorted(it["title"] for it in data["me"]["tasksToday"])


async def make_asked(db: Database, *codes: str) -> tuple[UUID, dict[str, UUID], UUID]:
    member, tasks = await make_tasked(db, *codes)
    return member, tasks, await manager_of(db, member)


async def test_an_untouched_task_is_replaced_at_once_at_the_same_reward(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "walk", "article")
    request = uuid4()

    offered = await offer(db, manager, task_id(member, tasks["walk"]), request_id=request)

    assert offered["replayed"] is False
    task = offered["task"]
    assert (task["title"], task["points"], task["startsOn"]) == (
        "Five minutes of deep breathing today", 10, MONDAY,
    )  # fmt: skip
    assert await titles(db, member) == [task["title"], "Read one health article this week"]
    [row] = await rows(
        db, "select n.replaces, n.offered_by, n.offer_reason, o.ends_on, o.ended_at"
        " from task_assignments n join task_assignments o on o.id = n.replaces"
    )  # fmt: skip
    assert tuple(row) == (
        tasks["walk"], manager, "Hurts the knee.", MONDAY - timedelta(days=1), NOON,
    )  # fmt: skip
    gone = await check_in(db, member, tasks["walk"], value="8000")
    assert (gone["code"], gone["field"]) == ("NOT_FOUND", "taskId")
    done = await check_in(db, member, tasks["walk"], taskId=task["id"])
    assert (done["task"]["state"], done["checkIn"]["pointsAwarded"]) == ("DONE", 10)
    again = await offer(
        db, manager, task_id(member, tasks["walk"]), request_id=request, now=about_noon(1)
    )
    assert (again["replayed"], again["task"]["id"]) == (True, task["id"])


async def test_what_was_begun_is_finished_and_the_other_comes_next(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "walk")
    await check_in(db, member, tasks["walk"], value="100")

    offered = await offer(db, manager, task_id(member, tasks["walk"]))

    assert offered["task"]["startsOn"] == MONDAY + timedelta(days=1)
    assert await titles(db, member) == ["Walk 8000 steps today"]
    done = await check_in(db, member, tasks["walk"], value="7900", now=NOON + timedelta(hours=1))
    assert done["task"]["state"] == "DONE"
    tomorrow = about_noon(1)
    await jobs.close_periods(db, now=tomorrow)
    assert await titles(db, member, tomorrow) == ["Five minutes of deep breathing today"]
    other = await check_in(db, member, tasks["walk"], taskId=offered["task"]["id"], now=tomorrow)
    assert other["task"]["state"] == "DONE"
    assert await balances(db, member) == (20, 0)


async def test_a_month_begins_anew_with_the_other_task(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "lecture")
    offered = await offer(db, manager, task_id(member, tasks["lecture"]), "exercise")
    # The assignment begins on Monday the 2nd, and the month is cut to that.
    assert (offered["task"]["startsOn"], offered["task"]["target"]) == (MONDAY, "20")
    late = await offer(db, manager, offered["task"]["id"], "lecture", now=about_noon(20))
    assert (late["task"]["startsOn"], late["task"]["verification"]) == (MONDAY, "PLACE")


async def test_what_comes_once_is_not_replaced_by_what_comes_daily(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "annual-examination", "article")
    answer = await offer(db, manager, task_id(member, tasks["annual-examination"]))
    assert answer["code"] == "NOT_ELIGIBLE"


REFUSALS = {
    "an unknown template": ({"template": "flying"}, "NOT_FOUND", "templateCode"),
    "another period": ({"template": "article"}, "NOT_ELIGIBLE", "templateCode"),
    "the same": ({"template": "walk"}, "NOT_ELIGIBLE", "templateCode"),
    "asked already": ({"template": "stretch"}, "NOT_ELIGIBLE", "templateCode"),
    "no reason": ({"reason": "  "}, "VALUE_OUT_OF_RANGE", "reason"),
    "a long reason": ({"reason": "x" * 501}, "VALUE_OUT_OF_RANGE", "reason"),
    "not begun": ({"now": NOON - timedelta(days=1)}, "STATE_INVALID", "taskId"),
    "over": ({"now": NOON + timedelta(days=1)}, "STATE_INVALID", "taskId"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_refusals_move_nothing(db: Database, case: str) -> None:
    changes, code, field = REFUSALS[case]
    member, tasks, manager = await make_asked(db, "walk", "stretch")
    before = await contents(db)

    answer = await offer(db, manager, task_id(member, tasks["walk"]), **changes)

    assert (answer["code"], answer["field"]) == (code, field)
    after = await contents(db)
    before.pop("audit_reads"), after.pop("audit_reads")
    assert after == before


async def test_ids_that_are_no_task_of_a_member_one_may_see(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "walk")
    other, others = await make_tasked(db, "walk")
    before = await contents(db)
    for id in (
        task_id(member, uuid4()),
        task_id(other, others["walk"]),
        task_id(member, tasks["walk"], date(2026, 3, 1)),
        encode(Kind.MEMBER, member),
        "nonsense",
    ):
        answer = await offer(db, manager, id)
        assert (answer["code"], answer["field"]) == ("NOT_FOUND", "taskId")
    stranger = await make_staff(db)
    answer = await offer(db, stranger, task_id(member, tasks["walk"]))
    assert answer["code"] == "NOT_FOUND"
    after = await contents(db)
    for name in ("audit_reads", "staff", "staff_sign_ins"):
        before.pop(name), after.pop(name)
    assert after == before
    sent = {"requestId": str(uuid4()), "taskId": task_id(member, tasks["walk"]),
            "templateCode": "breathing", "reason": "x"}  # fmt: skip
    from app.schema import schema

    for context in (as_member(db, member), as_staff(db, manager, "AUDITOR")):
        result = await schema.execute(OFFER, {"input": sent}, context_value=context)
        assert result.errors[0].original_error.code == "FORBIDDEN"


async def test_eight_at_once_replace_once(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "walk")
    colleagues = [await manager_of(db, member) for _ in range(7)]
    request = uuid4()
    task = task_id(member, tasks["walk"])

    same = await asyncio.gather(*(offer(db, manager, task, request_id=request) for _ in range(8)))
    assert sorted(it["replayed"] for it in same) == [False] + [True] * 7
    assert len({it["task"]["id"] for it in same}) == 1
    rivals = await asyncio.gather(*(offer(db, it, task) for it in colleagues))
    assert {it["code"] for it in rivals} <= {"NOT_FOUND", "STATE_INVALID"}
    assert await rows(db, "select count(*) from task_assignments") == [(2,)]
    other = await offer(db, manager, task, request_id=request, reason="Another.")
    assert other["code"] == "REQUEST_REUSED"


async def test_a_check_in_that_races_with_it_is_counted_or_refused(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "medication")
    task = task_id(member, tasks["medication"])

    offered, *ticked = await asyncio.gather(
        offer(db, manager, task),
        *(check_in(db, member, tasks["medication"]) for _ in range(4)),
    )

    codes = {it.get("code") for it in ticked}
    if offered["task"]["startsOn"] == MONDAY:
        assert codes == {"NOT_FOUND"}
        assert await balances(db, member) == (0, 0)
    else:
        assert codes == {None}
        assert await balances(db, member) == (10, 0)


async def test_what_waits_for_a_decision_is_decided_as_before(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "medication")
    await verified_by(db, member, "STAFF")
    await check_in(db, member, tasks["medication"])
    offered = await offer(db, manager, task_id(member, tasks["medication"]))
    assert offered["task"]["startsOn"] == MONDAY + timedelta(days=1)
    await decide(db, manager, await review_of(db, member))
    assert await balances(db, member) == (10, 0)


async def test_nobody_elses_task(db: Database) -> None:
    manager = await manager_of(db, await make_member(db))
    member, tasks = await make_tasked(db, "walk")
    answer = await offer(db, manager, task_id(member, tasks["walk"]))
    assert answer["code"] == "NOT_FOUND"


# What is offered to choose from


async def choose(
    db: Database, staff: UUID, task: str, *, now: datetime = NOON, locale: str = "en"
) -> list[dict[str, Any]] | None:
    context = as_staff(db, staff, now=now)
    context.viewer = replace(context.viewer, locale=locale)
    found: list[dict[str, Any]] | None = (
        await execute(CHOICES, {"taskId": task}, context=context)
    )["alternativeTasks"]
    return found


@pytest.mark.parametrize("code", sorted({code for code, version in published() if version == 1}))
async def test_what_can_be_chosen_is_what_is_accepted(db: Database, code: str) -> None:
    """For a task of each template: a choice is accepted, and what is no choice is not."""
    member, tasks, manager = await make_asked(db, code)
    period = published()[code, 1].period
    starts_on = {"week": MONDAY, "month": MONDAY.replace(day=1)}.get(period, MONDAY)
    [(first,)] = await rows(db, "select starts_on from task_assignments")
    task = task_id(member, tasks[code], max(starts_on, first))

    found = await choose(db, manager, task)

    assert found is not None
    offered = {it["templateCode"] for it in found}
    assert code not in offered
    for other in sorted({other for other, _ in published()} - offered):
        answer = await offer(db, manager, task, other)
        assert answer["code"] == "NOT_ELIGIBLE", other
    if offered:
        wanted = found[-1]
        answer = await offer(db, manager, task, wanted["templateCode"])
        assert (answer["task"]["title"], answer["task"]["startsOn"]) == (
            wanted["title"],
            wanted["startsOn"],
        )
        # In this period the task was never there.
        assert await choose(db, manager, task) is None


async def test_choices_are_shown_in_the_language_of_the_employee(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "walk")
    task = task_id(member, tasks["walk"])
    [english] = [
        it for it in await choose(db, manager, task) or () if it["templateCode"] == "breathing"
    ]
    [chinese] = [
        it
        for it in await choose(db, manager, task, locale="zh-CN") or ()
        if it["templateCode"] == "breathing"
    ]
    assert english == {
        "templateCode": "breathing",
        "title": "Five minutes of deep breathing today",
        "kind": english["kind"],
        "verification": "NONE",
        "target": english["target"],
        "unit": english["unit"],
        "startsOn": MONDAY,
    }
    assert chinese["title"] != english["title"]
    assert {**chinese, "title": ""} == {**english, "title": ""}


async def test_after_a_check_in_the_other_task_would_begin_with_the_next_period(
    db: Database,
) -> None:
    member, tasks, manager = await make_asked(db, "walk", "article")
    await check_in(db, member, tasks["walk"])
    found = await choose(db, manager, task_id(member, tasks["walk"]))
    assert found and {it["startsOn"] for it in found} == {MONDAY + timedelta(days=1)}
    assert "article" not in {it["templateCode"] for it in found}
    tomorrow = task_id(member, tasks["walk"], MONDAY + timedelta(days=1))
    assert await choose(db, manager, tomorrow) == []
    assert (await offer(db, manager, tomorrow))["code"] == "STATE_INVALID"


async def test_without_the_members_consent_there_is_nothing_to_choose(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "walk")
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    assert await choose(db, manager, task_id(member, tasks["walk"])) is None


async def test_it_costs_few_statements_and_is_for_acting_staff_alone(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "walk", "article", "medication")
    task = task_id(member, tasks["walk"])
    with StatementCount(db) as counted:
        assert await choose(db, manager, task)
    assert len(counted) <= 3
    variables = {"taskId": task}
    for role in ("ACTUARY", "CAMPAIGN_MANAGER"):
        looking = as_staff(db, await make_staff(db, role), role)
        assert (await failed(CHOICES, variables, context=looking)) == "FORBIDDEN"
    assert await failed(CHOICES, variables, context=as_member(db, member)) == "FORBIDDEN"
    assert await choose(db, await manager_of(db, await make_member(db)), task) is None
    for none in ("nonsense", encode(Kind.MEMBER, member), task_id(member, uuid4())):
        assert await choose(db, manager, none) is None


async def failed(document: str, variables: dict[str, Any], *, context: Any) -> str:
    """The code of a nullable field that was refused."""
    result = await schema.execute(document, variables, context_value=context)
    assert result.data == {"alternativeTasks": None} and result.errors
    return str(getattr(result.errors[0].original_error, "code", None))


async def test_an_alternative_shares_the_cap_of_the_rule_it_stands_for(db: Database) -> None:
    member, tasks, manager = await make_asked(db, "walk")
    async with db.write() as connection:
        await connection.execute(
            text(
                "update task_assignments set points_of_rule_max = 15, points_of_rule_per = 'month'"
            )
        )
    await check_in(db, member, tasks["walk"], value="8000")
    later = about_noon(1)
    day = date(2026, 3, 3)
    offered = await offer(db, manager, task_id(member, tasks["walk"], day), now=later)

    done = await check_in(db, member, tasks["walk"], now=later, taskId=offered["task"]["id"])

    assert done["checkIn"]["pointsAwarded"] == 5
    assert (await balances(db, member))[0] == 15
    # The statement names what was done.
    statement = "{ me { points { entries(first: 2) { edges { node { title } } } } } }"
    data = await execute(statement, context=as_member(db, member, now=later))
    found = [it["node"]["title"] for it in data["me"]["points"]["entries"]["edges"]]
    assert "breathing" in found[0] and "Walk" in found[1]
    # Replaced once more it is still the same rule.
    day = date(2026, 3, 4)
    [(second,)] = await rows(db, "select id from task_assignments where ended_at is null")
    again = await offer(db, manager, task_id(member, second, day), "stretch", now=about_noon(2))
    done = await check_in(db, member, second, now=about_noon(2), taskId=again["task"]["id"])
    assert done["task"]["state"] == "DONE"
    assert done["checkIn"]["pointsAwarded"] == 0


async def test_what_comes_once_is_not_done_for_yesterday_after_it_was_replaced(
    db: Database,
) -> None:
    once = {code for (code, _), it in published().items() if it.period == Period.ONCE}
    old_code, new_code = "recheck-blood-pressure", "annual-examination"
    assert {old_code, new_code} <= once
    member, tasks, manager = await make_asked(db, old_code)
    await verified_by(db, member, "NONE")
    later = about_noon(3)
    offered = await offer(db, manager, task_id(member, tasks[old_code]), new_code, now=later)

    yesterday = later - timedelta(days=1)
    old = await check_in(db, member, tasks[old_code], now=later, occurred_at=yesterday)
    assert old["code"] == "NOT_FOUND"
    done = await check_in(db, member, tasks[old_code], now=later, taskId=offered["task"]["id"])
    assert done["checkIn"]["state"] == "IN_REVIEW"
    assert await balances(db, member) == (0, 10)
