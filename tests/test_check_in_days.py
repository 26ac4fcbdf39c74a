"""Which local day a check-in is of: offline phones, DST, travel, pauses."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from app.db import Database
from app.health_tasks import jobs, service
from app.members.models import Member, Pause
from tests.factories import NOON, as_member, execute, operation
from tests.tasks_at_work import check_in, earned, make_tasked, rows, task_id, tick

MONDAY = date(2026, 3, 2)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (29 * DAY, None),
        (30 * DAY, None),
        (30 * DAY + timedelta(seconds=1), "TOO_OLD"),
        (31 * DAY, "TOO_OLD"),
    ],
)
@pytest.mark.parametrize("worker_runs", [True, False])
async def test_an_offline_phone_has_thirty_days(
    db: Database, age: timedelta, code: str | None, worker_runs: bool
) -> None:
    member, tasks = await make_tasked(db, "medication")
    now = NOON + age
    if worker_runs:
        await jobs.close_periods(db, now=now)

    answer = await check_in(db, member, tasks["medication"], occurred_at=NOON, now=now)

    assert answer.get("code") == code
    if code is None:
        assert answer["checkIn"]["localDate"] == MONDAY
        assert answer["checkIn"]["pointsAwarded"] == 10
        assert answer["task"]["state"] == "DONE"
    assert await earned(db, member) == ((10, 1) if code is None else (0, 0))


async def test_the_product_says_how_late_data_may_be(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", late_data_days=2)

    answer = await check_in(db, member, tasks["medication"], occurred_at=NOON, now=NOON + 3 * DAY)

    assert (answer["code"], answer["message"]) == ("TOO_OLD", "A check-in is at most 2 days old.")


async def test_offline_days_of_a_streak_are_joined_in_whatever_order_they_come(
    db: Database,
) -> None:
    member, tasks = await make_tasked(db, "streak-week", points_each=50)
    now = NOON + 8 * DAY
    done = []
    for offset in (0, 1, 2, 4, 5, 6, 3):
        done.append(
            await tick(db, member, tasks["streak-week"], MONDAY, at=NOON + offset * DAY, now=now)
        )

    assert [it.task.done for it in done] == [1, 2, 3, 3, 3, 3, 7]
    assert [it.check_in.points_awarded for it in done] == [0] * 6 + [50]
    assert done[-1].task.latest is not None
    assert done[-1].task.latest.occurred_at == NOON + 6 * DAY


@pytest.mark.parametrize(
    ("zone", "day", "inside", "before", "after"),
    [
        # 23 hours: the clock goes from 02:00 to 03:00.
        ("America/New_York", date(2026, 3, 8), "05:00", "2026-03-08T04:59", "2026-03-09T04:00"),
        # 25 hours: it goes from 02:00 back to 01:00.
        ("America/New_York", date(2026, 11, 1), "04:00", "2026-11-01T03:59", "2026-11-02T05:00"),
        # No midnight: the day begins at 01:00.
        ("Africa/Cairo", date(2026, 4, 24), "00:00", "2026-04-23T21:59", "2026-04-24T21:00"),
    ],
)
async def test_a_day_of_a_dst_change_is_one_day(
    db: Database, zone: str, day: date, inside: str, before: str, after: str
) -> None:
    start = day - 3 * DAY
    member, tasks = await make_tasked(
        db, "walk", time_zone=zone, starts_on=start,
        now=datetime.combine(start, datetime.min.time(), UTC),
    )  # fmt: skip
    end = datetime.fromisoformat(after).replace(tzinfo=UTC)
    too_early = datetime.fromisoformat(before).replace(tzinfo=UTC)
    last = end - timedelta(seconds=1)

    for at in (too_early + timedelta(minutes=1), last):
        answer = await check_in(db, member, tasks["walk"], day, now=last, occurred_at=at, value="1")
        assert answer["__typename"] == "CheckInPayload", (at, answer)
        assert answer["checkIn"]["localDate"] == day
    for at, code in ((too_early, "TASK_NOT_DUE"), (end, "EVIDENCE_MISSING")):
        answer = await check_in(db, member, tasks["walk"], day, now=end, occurred_at=at, value="1")
        assert answer["code"] == code
    await jobs.close_periods(db, now=last)
    assert await rows(
        db, "select due_at, closed_at from tasks where starts_on = :day", day=day
    ) == [(end, None)]


async def move(db: Database, member_id: object, zone: str, now: datetime) -> None:
    async with db.transaction() as session:
        member = await session.get_one(Member, member_id)
        member.time_zone = zone
        await service.rezone(session, member_id=member.member_id, zone=ZoneInfo(zone), now=now)


async def test_flying_west_does_not_double_a_day(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    assignment = tasks["medication"]
    await check_in(db, member, assignment)
    landed = datetime(2026, 3, 2, 22, tzinfo=UTC)
    await jobs.close_periods(db, now=landed)
    await move(db, member, "Pacific/Honolulu", landed)

    again = await check_in(db, member, assignment, now=landed)

    assert (again["replayed"], again["checkIn"]["localDate"]) == (True, MONDAY)
    assert await earned(db, member) == (10, 1)
    too_soon = await check_in(db, member, assignment, date(2026, 3, 3), now=landed)
    assert too_soon["code"] == "TASK_NOT_DUE"
    tomorrow = landed + DAY
    await check_in(db, member, assignment, date(2026, 3, 3), now=tomorrow)
    await jobs.close_periods(db, now=landed + 3 * DAY)
    assert await rows(
        db, "select starts_on, state, due_at from tasks where closed_at is not null order by 1"
    ) == [
        (MONDAY, "DONE", datetime(2026, 3, 2, 16, tzinfo=UTC)),
        (date(2026, 3, 3), "DONE", datetime(2026, 3, 4, 10, tzinfo=UTC)),
        (date(2026, 3, 4), "MISSED", datetime(2026, 3, 5, 10, tzinfo=UTC)),
    ]


async def test_a_day_that_was_closed_and_comes_back_can_still_be_done(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    landed = datetime(2026, 3, 2, 22, tzinfo=UTC)
    await jobs.close_periods(db, now=landed)
    await move(db, member, "Pacific/Honolulu", landed)

    document = "{ me { tasksToday { id state dueAt } } }"
    data = await execute(document, context=as_member(db, member, now=landed))
    assert data["me"]["tasksToday"] == [
        {
            "id": task_id(member, tasks["medication"]),
            "state": "OPEN",
            # The end of Monday in Honolulu, not of the one that is over in Shanghai.
            "dueAt": datetime(2026, 3, 3, 10, tzinfo=UTC),
        }
    ]
    done = await check_in(db, member, tasks["medication"], now=landed)

    assert (done["replayed"], done["task"]["state"]) == (False, "DONE")
    assert await earned(db, member) == (10, 1)
    later = landed + timedelta(days=3)
    document = "query ($id: ID!) { node(id: $id) { ... on HealthTask { dueAt } } }"
    data = await execute(
        document,
        {"id": task_id(member, tasks["medication"])},
        context=as_member(db, member, now=later),
    )
    assert data["node"]["dueAt"] == datetime(2026, 3, 2, 16, tzinfo=UTC)


async def test_flying_east_does_not_lose_a_day(db: Database) -> None:
    """From Sunday evening in Honolulu to Monday evening in Shanghai at one blow."""
    member, tasks = await make_tasked(
        db, "medication", "exercise", time_zone="Pacific/Honolulu", starts_on=date(2026, 2, 27),
        now=datetime(2026, 2, 27, 20, tzinfo=UTC),
    )  # fmt: skip
    took_off = datetime(2026, 3, 2, 6, tzinfo=UTC)
    await jobs.close_periods(db, now=took_off)
    await check_in(db, member, tasks["medication"], date(2026, 3, 1), now=took_off)
    landed = datetime(2026, 3, 2, 12, tzinfo=UTC)
    await move(db, member, "Asia/Shanghai", landed)
    await jobs.close_periods(db, now=landed)

    done = await check_in(db, member, tasks["medication"], MONDAY, now=landed)

    assert done["checkIn"]["localDate"] == MONDAY
    states = await rows(
        db, "select starts_on, state, closed_at is not null from tasks"
        " where assignment_id = :id order by 1", id=tasks["medication"],
    )  # fmt: skip
    assert states == [
        (date(2026, 2, 27), "MISSED", True),
        (date(2026, 2, 28), "MISSED", True),
        (date(2026, 3, 1), "DONE", True),
        (MONDAY, "DONE", False),
    ]
    months = await rows(
        db, "select month, closes_at, closed_at is not null from participation_months order by 1"
    )
    assert months == [
        (date(2026, 2, 1), datetime(2026, 3, 1, 10, tzinfo=UTC), True),
        (date(2026, 3, 1), datetime(2026, 3, 31, 16, tzinfo=UTC), False),
    ]
    # The local day stays what it was when it arrived.
    assert await rows(db, "select local_date from checkins order by occurred_at") == [
        (date(2026, 3, 1),),
        (MONDAY,),
    ]


async def test_while_paused_it_is_paid_but_is_no_participation(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    async with db.transaction() as session:
        session.add(
            Pause(
                member_id=member,
                id=uuid4(),
                reason="ILLNESS",
                starts_on=MONDAY,
                ends_on=MONDAY,
                created_at=NOON,
            )
        )

    done = await check_in(db, member, tasks["medication"])
    await tick(db, member, tasks["medication"], date(2026, 3, 3), at=NOON + DAY)
    await jobs.close_periods(db, now=datetime(2026, 4, 1, tzinfo=UTC))

    assert (done["checkIn"]["pointsAwarded"], done["task"]["state"]) == (10, "DONE")
    assert await rows(db, "select counts from checkins order by local_date") == [(False,), (True,)]
    shares = await rows(
        db, "select due, done, paused from participation_months where month = '2026-03-01'"
    )
    assert shares == [(29, 1, 1)]
    assert await earned(db, member) == (20, 2)


async def test_a_pause_neither_breaks_nor_adds_to_a_streak(db: Database) -> None:
    member, tasks = await make_tasked(db, "streak-week")
    async with db.transaction() as session:
        session.add(
            Pause(
                member_id=member,
                id=uuid4(),
                reason="TRAVEL",
                starts_on=date(2026, 3, 5),
                ends_on=date(2026, 3, 7),
                created_at=NOON,
            )
        )
    done = []
    for offset in (0, 1, 2, 4, 6, 7, 8, 9):
        done.append(await tick(db, member, tasks["streak-week"], MONDAY, at=NOON + offset * DAY))

    assert [it.task.done for it in done] == [1, 2, 3, 3, 4, 5, 6, 7]
    assert done[-1].task.state == "DONE"


PAUSE, RESUME = operation("PauseProgramme"), operation("ResumeProgramme")


async def pause(db: Database, member: UUID, *, now: datetime) -> str:
    sent = {"requestId": str(uuid4()), "reason": "ILLNESS", "startsOn": str(local_day(now))}
    data = await execute(PAUSE, {"input": sent}, context=as_member(db, member, now=now))
    id: str = data["pauseProgramme"]["pause"]["id"]
    return id


async def resume(db: Database, member: UUID, id: str, *, now: datetime) -> None:
    sent = {"requestId": str(uuid4()), "pauseId": id}
    data = await execute(RESUME, {"input": sent}, context=as_member(db, member, now=now))
    assert data["resumeProgramme"]["__typename"] == "ResumeProgrammePayload", data


def local_day(now: datetime) -> date:
    return now.astimezone(ZoneInfo("Asia/Shanghai")).date()


async def shown(db: Database, member: UUID, *, now: datetime) -> tuple[str, str]:
    """Of the only task of today: how far it is, and its state."""
    document = "{ me { tasksToday { done state } } }"
    data = await execute(document, context=as_member(db, member, now=now))
    [task] = data["me"]["tasksToday"]
    return task["done"], task["state"]


HOUR = timedelta(hours=1)


async def test_a_day_that_was_paused_and_resumed_costs_no_streak(db: Database) -> None:
    member, tasks = await make_tasked(db, "streak-week", points_each=50)
    streak = tasks["streak-week"]
    for offset in range(3):
        await tick(db, member, streak, MONDAY, at=NOON + offset * DAY)
    now = NOON + 3 * DAY
    id = await pause(db, member, now=now)

    paused = await tick(db, member, streak, MONDAY, at=now + HOUR)
    assert (paused.task.done, paused.task.state) == (3, "PAUSED")
    await resume(db, member, id, now=now + 2 * HOUR)

    assert await shown(db, member, now=now + 2 * HOUR) == ("4", "OPEN")
    again = await tick(db, member, streak, MONDAY, at=now + 3 * HOUR)
    assert (again.replayed, again.task.done) == (True, 4)
    done = [await tick(db, member, streak, MONDAY, at=NOON + n * DAY) for n in (4, 5, 6)]
    assert [it.task.done for it in done] == [5, 6, 7]
    assert await earned(db, member) == (50, 1)


async def test_a_streak_that_is_complete_by_resuming_is_paid_at_the_close(db: Database) -> None:
    member, tasks = await make_tasked(db, "streak-week", points_each=50)
    for offset in range(6):
        await tick(db, member, tasks["streak-week"], MONDAY, at=NOON + offset * DAY)
    now = NOON + 6 * DAY
    id = await pause(db, member, now=now)
    await tick(db, member, tasks["streak-week"], MONDAY, at=now + HOUR)
    await resume(db, member, id, now=now + 2 * HOUR)

    assert await shown(db, member, now=now + 2 * HOUR) == ("7", "OPEN")
    await jobs.close_periods(db, now=datetime(2026, 4, 1, tzinfo=UTC))

    assert await earned(db, member) == (50, 1)
    states = await rows(
        db, "select state, participated from tasks where starts_on = :day", day=MONDAY
    )
    assert states == [("DONE", True)]


async def test_what_is_done_on_a_day_that_was_resumed_is_participation(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    id = await pause(db, member, now=NOON)
    await tick(db, member, tasks["medication"], MONDAY, at=NOON + HOUR)
    await resume(db, member, id, now=NOON + 2 * HOUR)

    await jobs.close_periods(db, now=datetime(2026, 4, 1, tzinfo=UTC))

    share = "select due, done, paused from participation_months where month = '2026-03-01'"
    assert await rows(db, share) == [(30, 1, 0)]


async def test_a_pause_takes_nothing_back_of_the_day_on_which_it_begins(db: Database) -> None:
    member, tasks = await make_tasked(db, "streak-week", "medication")
    for offset in range(3):
        await tick(db, member, tasks["streak-week"], MONDAY, at=NOON + offset * DAY)
    last = NOON + 2 * DAY
    await tick(db, member, tasks["medication"], local_day(last), at=last)
    id = await pause(db, member, now=last + HOUR)
    await resume(db, member, id, now=NOON + 5 * DAY)

    next_one = await tick(db, member, tasks["streak-week"], MONDAY, at=NOON + 5 * DAY)
    await jobs.close_periods(db, now=datetime(2026, 4, 1, tzinfo=UTC))

    assert next_one.task.done == 4
    states = await rows(
        db, "select state, participated from tasks where assignment_id = :id"
        " and starts_on between :first and :last order by starts_on",
        id=tasks["medication"], first=local_day(last), last=local_day(last) + 3 * DAY,
    )  # fmt: skip
    assert states == [("DONE", True), ("PAUSED", False), ("PAUSED", False), ("MISSED", False)]
