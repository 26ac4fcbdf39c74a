"""Two people decide when much hangs on a decision, whenever and by whatever it came to hang."""

from datetime import UTC, date, datetime, timedelta

import pytest

from app.db import Database
from app.health_tasks import jobs
from tests.factories import NOON, as_staff, execute, operation
from tests.reviewing import (
    appeal_check_in,
    assert_sound,
    balances,
    decide,
    review_of,
    standing,
    verified_by,
)
from tests.tasks_at_work import about_noon, check_in, make_tasked, rows
from tests.worklist import manager_of

PRESSURE = "measure-blood-pressure"
WAITS = "AWAITING_SECOND_PERSON"


@pytest.mark.parametrize("decision", ["ACCEPT", "REJECT"])
async def test_an_early_check_in_on_which_later_points_hang(db: Database, decision: str) -> None:
    member, tasks = await make_tasked(db, PRESSURE, points_each=1000)
    first, second = await manager_of(db, member), await manager_of(db, member)
    await verified_by(db, member, "STAFF", second_person_above=500)
    await check_in(db, member, tasks[PRESSURE])
    review = await review_of(db, member)
    shown = await execute(
        operation("Review", "console"), {"id": review}, context=as_staff(db, first)
    )
    assert (shown["node"]["points"], shown["node"]["needsSecondPerson"]) == (1000, True)
    await verified_by(db, member, "NONE")
    now = about_noon(1)
    await check_in(db, member, tasks[PRESSURE], now=now)
    assert await balances(db, member) == (0, 1000)

    assert (await decide(db, first, review, decision, now=now))["review"]["state"] == WAITS
    assert await balances(db, member) == (0, 1000)
    final = await decide(db, second, review, decision, now=now)

    assert final["review"]["state"] == f"{decision}ED"
    assert await balances(db, member) == (1000 if decision == "ACCEPT" else 0, 0)
    await assert_sound(db)


async def test_what_abstaining_pays_after_the_close(db: Database) -> None:
    begins = date(2026, 3, 1)
    member, tasks = await make_tasked(
        db, "smoke-free", starts_on=begins, now=NOON - timedelta(days=2), points_each=1000
    )
    first, second = await manager_of(db, member), await manager_of(db, member)
    for day in range(19):
        await check_in(db, member, tasks["smoke-free"], begins, now=about_noon(day))
    await verified_by(db, member, "STAFF")
    await check_in(db, member, tasks["smoke-free"], begins, now=about_noon(19))
    end = datetime(2026, 4, 1, tzinfo=UTC)
    await jobs.close_periods(db, now=end)
    review = await review_of(db, member)

    assert (await decide(db, first, review, now=end))["review"]["state"] == WAITS
    assert await balances(db, member) == (0, 0)
    await decide(db, second, review, now=end)

    assert await balances(db, member) == (1000, 0)
    assert (await standing(db, member))[0][:2] == ("DONE", 1000)


async def test_an_appeal_of_a_check_in_that_others_wait_with(db: Database) -> None:
    member, tasks = await make_tasked(db, PRESSURE, points_each=1000)
    staff = [await manager_of(db, member) for _ in range(4)]
    await verified_by(db, member, "STAFF")
    await check_in(db, member, tasks[PRESSURE])
    review = await review_of(db, member)
    for each in staff[:2]:
        await decide(db, each, review, "REJECT")
    [(rejected,)] = await rows(db, "select id from checkins")
    await verified_by(db, member, "NONE")
    now = about_noon(1)
    await check_in(db, member, tasks[PRESSURE], now=now)
    sent = await appeal_check_in(db, member, rejected, now=now)

    one = await decide(db, staff[2], sent["review"]["id"], now=now)
    assert one["review"]["state"] == WAITS
    assert await balances(db, member) == (0, 0)
    await decide(db, staff[3], sent["review"]["id"], now=now)
    assert await balances(db, member) == (1000, 0)


async def test_one_more_of_a_task_that_is_paid_needs_one_person(db: Database) -> None:
    member, tasks = await make_tasked(db, PRESSURE, points_each=1000)
    manager = await manager_of(db, member)
    for day in range(2):
        await check_in(db, member, tasks[PRESSURE], now=about_noon(day))
    await verified_by(db, member, "STAFF")
    now = about_noon(2)
    await check_in(db, member, tasks[PRESSURE], now=now)

    decided = await decide(db, manager, await review_of(db, member), "REJECT", now=now)

    assert decided["review"]["state"] == "REJECTED"
    assert await standing(db, member) == [("DONE", 1000, 2)]
    assert await balances(db, member) == (1000, 0)


async def test_what_says_that_it_waits_no_longer_does_after_the_decision(db: Database) -> None:
    member, tasks = await make_tasked(db, PRESSURE)
    manager = await manager_of(db, member)
    await verified_by(db, member, "STAFF")
    await check_in(db, member, tasks[PRESSURE])
    review = await review_of(db, member)
    await verified_by(db, member, "NONE")
    for day in (1, 2):
        await check_in(db, member, tasks[PRESSURE], now=about_noon(day))

    await decide(db, manager, review, now=about_noon(2))

    found = await rows(db, "select reason_code from checkins order by occurred_at")
    assert [code for (code,) in found] == ["ACCEPTED_BY_REVIEW", "COMPLETED", "ALREADY_COMPLETE"]
