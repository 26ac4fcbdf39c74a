"""What changes between assigning, planning and sending: zones, conversions, pauses, erasure."""

from datetime import timedelta

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
