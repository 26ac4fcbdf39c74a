"""Check-ins sent many times at once count once, and everybody is answered."""

import asyncio
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from app.health_tasks import closing, jobs
from app.members import requests
from tests.factories import NOON
from tests.tasks_at_work import check_in, earned, make_tasked, rows, tick

MONDAY = date(2026, 3, 2)


def effects(answers: list[dict[str, Any]]) -> tuple[int, set[str]]:
    """How many had an effect, and the check-ins that were answered with."""
    assert {answer["__typename"] for answer in answers} == {"CheckInPayload"}, answers
    fresh = sum(not answer["replayed"] for answer in answers)
    return fresh, {answer["checkIn"]["id"] for answer in answers}


@pytest.mark.parametrize("times", [8, 100])
async def test_the_same_request_counts_once(db: Database, times: int) -> None:
    member, tasks = await make_tasked(db, "medication")
    request = uuid4()

    answers = await asyncio.gather(
        *(check_in(db, member, tasks["medication"], request_id=request) for _ in range(times))
    )

    fresh, ids = effects(answers)
    assert (fresh, len(ids)) == (1, 1)
    assert await earned(db, member) == (10, 1)
    assert await rows(db, "select count(*), max(slot) from checkins") == [(1, 0)]
    assert await rows(db, "select count(*) from requests") == [(1,)]
    assert await rows(db, "select version, seq from wallets") == [(1, 1)]


@pytest.mark.parametrize("times", [8, 100])
async def test_as_many_requests_for_one_slot_count_once(db: Database, times: int) -> None:
    member, tasks = await make_tasked(db, "medication")

    answers = await asyncio.gather(
        *(
            check_in(db, member, tasks["medication"], occurred_at=NOON - timedelta(seconds=index))
            for index in range(times)
        )
    )

    fresh, ids = effects(answers)
    assert (fresh, len(ids)) == (1, 1)
    assert {answer["points"]["available"] for answer in answers} == {10}
    assert await earned(db, member) == (10, 1)
    assert await rows(db, "select count(*) from checkins") == [(1,)]
    # Each request is remembered: sent again, it gives the same answer.
    assert await rows(db, "select count(*), count(distinct result) from requests") == [(times, 1)]


async def test_a_request_that_came_second_is_remembered(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    first = await check_in(db, member, tasks["medication"])
    request = uuid4()
    second = await check_in(db, member, tasks["medication"], request_id=request)
    third = await check_in(db, member, tasks["medication"], request_id=request)
    other = await check_in(db, member, tasks["medication"], request_id=request, note="other")

    assert [it["replayed"] for it in (first, second, third)] == [False, True, True]
    assert second["checkIn"] == third["checkIn"] == first["checkIn"]
    assert other["code"] == "REQUEST_REUSED"


async def test_one_id_with_other_inputs_at_once_belongs_to_one_of_them(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await check_in(db, member, tasks["medication"])
    request = uuid4()

    answers = await asyncio.gather(
        *(
            check_in(db, member, tasks["medication"], request_id=request, note=str(number))
            for number in range(8)
        )
    )

    codes = [answer.get("code") for answer in answers]
    assert (codes.count(None), codes.count("REQUEST_REUSED")) == (1, 7)


async def test_rivals_fill_the_slots_of_a_day_and_no_more(db: Database) -> None:
    member, tasks = await make_tasked(db, "walk")
    start = NOON - timedelta(hours=1)

    answers = await asyncio.gather(
        *(
            check_in(
                db,
                member,
                tasks["walk"],
                value="400",
                # In no rhythm: nobody looks at them.
                occurred_at=start + timedelta(seconds=index * index),
            )
            for index in range(40)
        )
    )

    assert effects(answers)[0] == 24
    slots = await rows(db, "select array_agg(slot order by slot), sum(value) from checkins")
    assert slots == [(list(range(24)), 9600)]
    assert await rows(db, "select done, state, points_awarded from tasks") == [(9600, "DONE", 10)]
    assert await earned(db, member) == (10, 1)


async def test_two_rivals_for_the_last_step_pay_once(db: Database) -> None:
    member, tasks = await make_tasked(db, "measure-blood-pressure")
    assignment = tasks["measure-blood-pressure"]
    await tick(db, member, assignment, MONDAY, at=NOON)
    days = [NOON + timedelta(days=1), NOON + timedelta(days=2)]

    answers = await asyncio.gather(
        *(check_in(db, member, assignment, now=days[1], occurred_at=day) for day in days)
    )

    assert effects(answers) == (2, {answer["checkIn"]["id"] for answer in answers})
    assert sorted(answer["checkIn"]["pointsAwarded"] for answer in answers) == [0, 10]
    assert await earned(db, member) == (10, 1)
    assert await rows(db, "select done from tasks") == [(3,)]


async def test_many_tasks_of_one_member_at_once_all_count(db: Database) -> None:
    codes = ["medication", "stretch", "article", "exercise", "lecture", "measure-blood-pressure"]
    member, tasks = await make_tasked(db, *codes)

    answers = await asyncio.gather(
        *(check_in(db, member, tasks[code]) for code in codes for _ in range(5))
    )

    assert effects(answers)[0] == len(codes)
    assert await rows(db, "select count(*) from checkins") == [(len(codes),)]
    assert await earned(db, member) == (40, 4)


@pytest.mark.parametrize("counted_before", [False, True])
async def test_a_rival_with_the_request_id_of_another_operation_is_refused(
    db: Database, counted_before: bool
) -> None:
    member, tasks = await make_tasked(db, "medication")
    if counted_before:
        await check_in(db, member, tasks["medication"])
    before = await earned(db, member)
    request = uuid4()

    async def other() -> None:
        async with db.transaction() as session:
            await requests.claim(
                session, owner=member, request_id=request, operation="pauseProgramme",
                values={}, result=member, now=NOON,
            )  # fmt: skip
            await session.execute(text("select pg_sleep(0.2)"))

    async def sent() -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return await check_in(db, member, tasks["medication"], request_id=request)

    _, answer = await asyncio.gather(other(), sent())

    assert answer["code"] == "REQUEST_REUSED"
    assert await earned(db, member) == before
    assert await rows(db, "select count(*) from checkins") == [(int(counted_before),)]


async def test_check_ins_that_race_with_the_closing_clock_are_all_counted(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "walk", "stretch")
    midnight = NOON + timedelta(hours=12)
    sent = [
        check_in(db, member, assignment, now=midnight, occurred_at=NOON)
        for assignment in tasks.values()
        for _ in range(4)
    ]

    *answers, _, _ = await asyncio.gather(
        *sent,
        jobs.close_periods(db, now=midnight),
        jobs.close_periods(db, now=midnight),
    )

    assert effects(list(answers))[0] == 3
    await jobs.close_periods(db, now=midnight)
    states = await rows(
        db, "select state, done, closed_at is not null from tasks where starts_on = '2026-03-02'"
    )
    assert sorted(states) == [("DONE", 1, True), ("DONE", 1, True), ("MISSED", 1, True)]
    assert await earned(db, member) == (20, 2)


async def test_days_of_one_task_sent_at_once_are_all_in_its_progress(db: Database) -> None:
    member, tasks = await make_tasked(db, "exercise")
    now = NOON + timedelta(days=12)

    answers = await asyncio.gather(
        *(
            check_in(db, member, tasks["exercise"], now=now, occurred_at=NOON + timedelta(days=day))
            for day in range(12)
        )
    )

    assert effects(answers)[0] == 12
    assert await rows(db, "select done from tasks") == [(12,)]
    assert sorted(int(answer["task"]["done"]) for answer in answers) == list(range(1, 13))
    assert await rows(db, "select version from wallets") == [(12,)]


async def test_a_check_in_decided_before_the_close_is_decided_again_after_it(
    db: Database,
) -> None:
    member, tasks = await make_tasked(db, "medication")
    midnight = NOON + timedelta(hours=12)
    async with db.transaction() as session:
        await closing.close_batch(session, members=10, now=midnight)
        # It has looked, and waits for the wallet that the clock holds.
        sent = asyncio.create_task(
            check_in(db, member, tasks["medication"], now=midnight, occurred_at=NOON)
        )
        await asyncio.sleep(0.3)
        assert not sent.done()
    answer = await sent

    assert (answer["task"]["state"], answer["checkIn"]["pointsAwarded"]) == ("DONE", 10)
    assert "arrived late" in answer["checkIn"]["explanation"]
    jobs_waiting = await rows(db, "select entrypoint from pgqueuer")
    assert jobs_waiting == [("health_tasks.restate_month",)]


async def test_after_three_lost_rounds_the_wallet_is_locked(db: Database) -> None:
    """A rival that raises the version between every look and write cannot starve anybody."""
    member, tasks = await make_tasked(db, "medication")
    stop = asyncio.Event()

    async def rival() -> None:
        async with db.write() as connection:
            while not stop.is_set():
                await connection.execute(text("update wallets set version = version + 1"))

    spoiler = [asyncio.create_task(rival()) for _ in range(3)]
    try:
        answers = [await check_in(db, member, tasks["medication"]) for _ in range(5)]
    finally:
        stop.set()
        await asyncio.gather(*spoiler)

    assert effects(answers) == (1, {answers[0]["checkIn"]["id"]})
