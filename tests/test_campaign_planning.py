"""What changes between assigning, planning and sending: zones, conversions, pauses, erasure."""

from datetime import timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from app.campaigns import planning
from app.db import Database
from tests.campaigns import (
    DAY,
    by_key,
    check_in,
    engage,
    enrolled,
    key,
    make_members,
    manager,
    pass_time,
    report,
    rows,
    run,
    started,
    told,
    variants,
)
from tests.factories import NOON, make_member

HELD_BACK = "select distinct suppressed_reason from messages where not in_inbox"


async def test_who_moves_to_another_zone_makes_nobody_be_told_twice(db: Database):
    """The same instant is another day there: each is planned for the day they were given."""
    stays = await make_members(db, 3)
    moves = await make_member(db, time_zone="America/Los_Angeles")
    id = await started(db, startsAt=(NOON + timedelta(hours=1)).isoformat())
    await run(db, "update members set time_zone = 'Asia/Shanghai' where member_id = :m", m=moves)
    assert await pass_time(db, id, NOON + timedelta(hours=1)) == 4
    assert await told(db, id) == dict.fromkeys([*stays, moves], 1)


async def test_what_was_done_before_it_starts_is_no_conversion(db: Database):
    before, early, after = await enrolled(db, 3)
    id = await started(db, startsAt=(NOON + 2 * DAY).isoformat())
    for member in (before, early):
        await check_in(db, member, at=NOON + DAY)
    await check_in(db, after, at=NOON + 15 * DAY)  # within 14 days of the start
    await pass_time(db, id, NOON + 2 * DAY)
    found = await report(await manager(db), id)
    assert by_key(found)["a"]["converted"] == 1


async def test_to_look_at_a_message_is_not_what_it_asks_for(db: Database):
    """The holdout has nothing to look at: it would count for those only who were told."""
    looks, uses = await make_members(db, 2)
    id = await started(db, goal="USE")
    await pass_time(db, id)
    await engage(db, looks, "EXPOSED", "OPENED")
    await run(
        db,
        "insert into requests values (:m, :m, 'setReminder', '', :m, :at)",
        m=uses,
        at=NOON + DAY,
    )
    found = await report(await manager(db), id)
    assert by_key(found)["a"]["converted"] == 1


async def test_who_leaves_after_a_step_was_planned_does_not_get_it(db: Database):
    converts, stays = await enrolled(db, 2)
    id = await started(
        db,
        steps=[{"waitHours": 24, "exits": ["CONVERTED"]}],
        variants=variants("a") + variants("a", step=1),
    )
    await pass_time(db, id)
    await planning.plan(db, key(id), now=NOON + DAY)
    await check_in(db, converts, at=NOON + DAY)
    await pass_time(db, id, NOON + DAY + timedelta(minutes=1))
    assert await told(db, id) == {converts: 1, stays: 2}
    assert await rows(db, HELD_BACK) == [("NOT_RELEVANT",)]


async def test_what_is_planned_too_late_is_not_said_and_why_is_kept(db: Database):
    await make_members(db, 3)
    id = await started(db)
    await pass_time(db, id, NOON + 25 * timedelta(hours=1))
    assert await told(db, id) == {}
    assert await rows(db, HELD_BACK) == [("EXPIRED",)]
    [arm] = (await report(await manager(db), id))["arms"]
    assert arm["suppressed"] == [{"reason": "EXPIRED", "count": 3}]


async def test_who_is_erased_meanwhile_is_told_nothing(db: Database):
    erased, stays = await make_members(db, 2)
    id = await started(db)
    await planning.plan(db, key(id), now=NOON)
    await run(db, "update members set erased_at = :at where member_id = :m", at=NOON, m=erased)
    await pass_time(db, id)
    assert await told(db, id) == {stays: 1}


PLANNED = (
    "select send_at, local_date from planned_messages where member_id = :m order by local_date"
)
NEXT = "select min(next_at) from campaign_members where next_at is not null"


async def until_over(db: Database, id: str, moves: dict[str, UUID]) -> None:
    """Plan whenever something is due; on their day these members go to another zone."""
    while (at := (await rows(db, NEXT))[0][0]) is not None:
        for day, member in moves.items():
            if at.isoformat() >= day:
                zone = "update members set time_zone = 'Asia/Shanghai' where member_id = :m"
                await run(db, zone, m=member)
        await planning.plan(db, key(id), now=at)


async def test_what_recurs_comes_once_a_day_over_summer_time_and_travel(db: Database):
    """02:30 of 8 March 2026 is not there in Los Angeles: what comes next is."""
    stays, goes = [await make_member(db, time_zone="America/Los_Angeles") for _ in range(2)]
    id = await started(
        db,
        localTime="02:30",
        recurrence="FREQ=DAILY",
        startsAt=(NOON + 4 * DAY).isoformat(),
        endsAt=(NOON + 9 * DAY).isoformat(),
    )
    await until_over(db, id, {"2026-03-08": goes})
    zone = ZoneInfo("America/Los_Angeles")
    told = await rows(db, PLANNED, m=stays)
    assert [day.day for _, day in told] == [6, 7, 8, 9, 10]
    assert [f"{at.astimezone(zone):%d %H:%M}" for at, _ in told] == [
        "06 02:30", "07 02:30", "08 03:00", "09 02:30", "10 02:30",
    ]  # fmt: skip
    days = [day for _, day in await rows(db, PLANNED, m=goes)]
    assert len(set(days)) == len(days) >= 4 and days == sorted(days)


async def test_steps_of_whole_days_keep_the_time_of_the_day_over_summer_time(db: Database):
    member = await make_member(db, time_zone="America/Los_Angeles")
    id = await started(
        db,
        localTime="09:00",
        startsAt=(NOON + 4 * DAY).isoformat(),
        steps=[{"waitHours": 48, "exits": []}, {"waitHours": 25, "exits": []}],
        variants=[*variants("a"), *variants("a", step=1), *variants("a", step=2)],
    )
    await until_over(db, id, {})
    zone = ZoneInfo("America/Los_Angeles")
    told = [f"{at.astimezone(zone):%d %H:%M}" for at, _ in await rows(db, PLANNED, m=member)]
    assert told == ["06 09:00", "08 09:00", "09 10:00"]
