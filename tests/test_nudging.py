"""Policies at work: planned by zone and hour, held out, still true when they are released."""

import asyncio
import itertools
from datetime import date, datetime, time, timedelta
from uuid import UUID, uuid4

import pytest

from app.db import Database
from app.members import ranges
from app.nudges import nudging, policies, policy_content, releasing, rhythms, sources
from app.nudges.policies import HOLDOUT
from tests.factories import NOON, make_member
from tests.nudges import make_phone, rows, run
from tests.nudging import (
    EVENING,
    LONG_AGO,
    agree,
    arm_of,
    make_walker,
    plan,
    planned_of,
    policy,
    release,
    told,
    walk,
)
from tests.tasks_at_work import give_tasks

MINUTE = timedelta(minutes=1)


async def test_steps_are_short_in_the_evening_and_the_phone_says_nothing(db: Database) -> None:
    member = await make_walker(db, locale="zh-CN")
    await make_phone(db, member, "ok:1")
    await walk(db, member, 4000)

    assert await plan(db, EVENING - MINUTE) == 0
    assert await plan(db, EVENING + MINUTE) == 1
    assert await release(db, EVENING + MINUTE) == 1

    arm = arm_of("steps-short", member)
    ((who, template, title, body, in_inbox, reason),) = await told(db)
    assert (who, template, in_inbox, reason) == (member, "nudge.steps-short", True, None)
    assert ("4000" in body) == (arm == "number")
    assert title
    assert await rows(
        db, "SELECT source_id, arm, priority, local_date, expires_at FROM messages"
    ) == [(policy("steps-short").id, arm, "NORMAL", NOON.date(), EVENING + timedelta(hours=3))]
    assert await rows(db, "SELECT channel, state FROM push_deliveries") == [("PUSH", "QUEUED")]
    assert await planned_of(db, "steps-short") == [
        (member, "nudge:steps-short:2026-03-02", arm, "RELEASED")
    ]


async def test_who_has_walked_enough_is_not_told_and_who_has_since_neither(db: Database) -> None:
    enough, since = await make_walker(db), await make_walker(db)
    await walk(db, enough, 4800)
    await walk(db, since, 4799)
    await plan(db, EVENING)
    assert [it[0] for it in await planned_of(db, "steps-short")] == [since]

    await walk(db, since, 5000)
    await release(db, EVENING)

    assert [it[4:] for it in await told(db)] == [(False, "NOT_RELEVANT")]
    assert await rows(db, "SELECT title, body FROM messages") == [("", "")]


async def test_the_total_of_the_day_counts_before_the_task_knows_it(db: Database) -> None:
    member = await make_walker(db)
    await run(
        db,
        """INSERT INTO daily_total_days (member_id, id, code, local_date, value, unit, changed_at)
           VALUES (:id, :id, 'STEPS', :day, 7000, '{steps}', :now)""",
        id=member,
        day=NOON.date(),
        now=NOON,
    )
    assert await plan(db, EVENING) == 0


async def test_planning_again_changes_nothing(db: Database) -> None:
    await make_walker(db)
    assert await plan(db, EVENING) == 1
    assert await plan(db, EVENING + MINUTE) == 0
    await run(db, "UPDATE nudge_runs SET finished_at = NULL, after = :first", first=policy_zero())
    assert await plan(db, EVENING + MINUTE) == 0
    assert await release(db, EVENING) == 1
    assert await release(db, EVENING) == 0
    assert len(await told(db)) == 1


def policy_zero() -> object:
    return ranges.FIRST


async def test_eight_planners_and_eight_releases_at_once_tell_once(db: Database) -> None:
    for _ in range(5):
        await make_walker(db)
    await asyncio.gather(*(plan(db, EVENING, size=2) for _ in range(8)))
    assert len(await planned_of(db, "steps-short")) == 5
    released = await asyncio.gather(*(release(db, EVENING) for _ in range(8)))
    assert sum(released) == 5
    assert len(await told(db)) == 5


async def test_a_run_that_was_cut_short_goes_on(db: Database) -> None:
    walkers = {await make_walker(db) for _ in range(5)}
    await nudging.begin(db, now=EVENING)
    id = policy("steps-short").id
    await run(
        db, "DELETE FROM nudge_runs WHERE planned_for <> :at OR source_id <> :id", at=EVENING, id=id
    )
    first = await nudging.plan_range(db, now=EVENING, size=2)
    ((after, planned),) = await rows(
        db,
        "SELECT after, planned FROM nudge_runs",
    )
    members = sorted(it[0] for it in await rows(db, "SELECT member_id FROM members"))
    # Those whom the policy holds out are members, too, and do not walk.
    assert first == planned == len(walkers.intersection(members[:2]))
    assert after == members[1]
    assert await plan(db, EVENING, size=2) == 5 - planned


async def test_the_holdout_is_drawn_by_hash_kept_and_never_told(db: Database) -> None:
    held = told_ones = 0
    while not (held and told_ones):
        member = await make_member(db, now=LONG_AGO)
        await agree(db, member, "DEVICE_DATA")
        await give_tasks(db, member, "walk 2")
        is_held = arm_of("steps-short", member) == HOLDOUT
        held, told_ones = held + is_held, told_ones + (not is_held)
    await plan(db, EVENING)
    await release(db, EVENING)

    drawn = await rows(db, "SELECT member_id, arm, propensity, state FROM planned_messages")
    assert len(drawn) == held + told_ones
    for member, arm, propensity, state in drawn:
        assert arm == arm_of("steps-short", member)
        assert float(propensity) == (0.1 if arm == HOLDOUT else 0.45)
        assert state == ("HOLDOUT" if arm == HOLDOUT else "RELEASED")
    assert len(await told(db)) == told_ones
    reached = {it[0] for it in await told(db)}
    assert reached.isdisjoint(it[0] for it in drawn if it[1] == HOLDOUT)


@pytest.mark.parametrize("purpose", ["HEALTH_DATA", "DEVICE_DATA"])
@pytest.mark.parametrize("state", ["WITHDRAWN", "REFUSED"])
async def test_without_a_consent_nothing_is_even_planned(
    db: Database, purpose: str, state: str
) -> None:
    member = await make_walker(db)
    await agree(db, member, purpose, state)
    assert await plan(db, EVENING) == 0


async def test_who_consents_again_is_planned_again(db: Database) -> None:
    member = await make_walker(db)
    for state in ("WITHDRAWN", "GRANTED"):
        await agree(db, member, "DEVICE_DATA", state)
    assert await plan(db, EVENING) == 1


async def test_two_tasks_to_walk_are_one_occasion(db: Database) -> None:
    member = await make_walker(db)
    await run(
        db,
        "INSERT INTO task_assignments SELECT (jsonb_populate_record(it, CAST(:id AS jsonb))).*"
        " FROM task_assignments it",
        id=f'{{"id": "{UUID(int=1)}", "rule_code": "walk-too"}}',
    )
    await run(
        db,
        "INSERT INTO tasks SELECT (jsonb_populate_record(it, CAST(:id AS jsonb))).* FROM tasks it",
        id=f'{{"assignment_id": "{UUID(int=1)}"}}',
    )
    assert await plan(db, EVENING) == 1
    assert [it[0] for it in await planned_of(db, "steps-short")] == [member]


async def test_each_zone_has_its_own_evening(db: Database) -> None:
    shanghai, urumqi, lisbon = [
        await make_walker(db, time_zone=zone)
        for zone in ("Asia/Shanghai", "Asia/Urumqi", "Europe/Lisbon")
    ]
    await plan(db, EVENING)
    assert [it[0] for it in await planned_of(db, "steps-short")] == [shanghai]
    await plan(db, EVENING + timedelta(hours=2))
    assert {it[0] for it in await planned_of(db, "steps-short")} == {shanghai, urumqi}
    await plan(db, EVENING + timedelta(hours=8))
    assert {it[0] for it in await planned_of(db, "steps-short")} == {shanghai, urumqi, lisbon}


async def test_a_worker_that_comes_hours_late_leaves_it(db: Database) -> None:
    await make_walker(db)
    assert await plan(db, EVENING + nudging.LATE_MAX) == 0


async def test_the_cooldown_holds_between_days_and_not_longer(db: Database) -> None:
    member = await make_walker(db, code="task-due")
    await run(db, "UPDATE tasks SET ends_on = :day", day=NOON.date() + timedelta(days=3))
    await run(db, "UPDATE task_assignments SET period = 'week'")
    days = [
        day
        for day in range(4)
        if await plan(db, NOON.replace(hour=2) + timedelta(days=day)) and member
    ]
    assert days == [2]
    await run(db, "UPDATE tasks SET ends_on = :day", day=NOON.date() + timedelta(days=7))
    ((causes,),) = await rows(db, "SELECT array_agg(cause_key) FROM planned_messages")
    assert causes == ["nudge:task-due:2026-03-04"]


async def test_it_is_sent_at_the_members_own_hour_between_floor_and_ceiling(db: Database) -> None:
    hours = {"none": None, "early": 4 * 4, "own": 15 * 4 + 1, "late": 23 * 4}
    found = {}
    for name, quarter in hours.items():
        member = await make_walker(db, code="task-due")
        await run(db, "UPDATE task_assignments SET period = 'week' WHERE member_id = :m", m=member)
        if quarter is not None:
            await run(
                db,
                "INSERT INTO member_rhythms VALUES (:m, :q, 9, :now)",
                m=member,
                q=quarter,
                now=NOON,
            )
        found[member] = name
    await plan(db, NOON.replace(hour=2))

    planned = await rows(
        db,
        "SELECT member_id, (send_at AT TIME ZONE 'Asia/Shanghai')::time FROM planned_messages"
        " WHERE source_id = :id",
        id=policy("task-due").id,
    )
    assert {found[member]: at for member, at in planned} == {
        "none": time(10),
        "early": time(10),
        "own": time(15, 15),
        "late": time(20),
    }


async def test_a_rhythm_is_learnt_from_check_ins_and_opened_messages(db: Database) -> None:
    busy, seldom = await make_walker(db), await make_walker(db)
    for member, count in ((busy, 6), (seldom, 4)):
        for day in range(count):
            await run(
                db,
                """INSERT INTO checkins (member_id, id, assignment_id, starts_on, local_date, slot,
                       occurred_at, received_at, state, counts, points_awarded, reason_code,
                       request_id, acted_by)
                   SELECT member_id, :id, assignment_id, starts_on, :day, 0, :at, :at, 'ACCEPTED',
                       true, 0, 'X', :id, member_id FROM tasks WHERE member_id = :member LIMIT 1""",
                member=member,
                id=uuid4(),
                day=NOON.date() - timedelta(days=day),
                at=NOON - timedelta(days=day, minutes=7 * day),
            )
    for _ in range(2):
        await rhythms.learn(db, now=NOON, size=1)
    assert await rows(db, "SELECT member_id, quarter, signs FROM member_rhythms") == [
        (busy, 46, 6)  # 11:30, between 11:25 and 12:00
    ]
    # Who stays away, or takes the consent to health data back, has none.
    at = NOON + timedelta(days=61)
    for state, now, left in (
        ("GRANTED", NOON, 1),
        ("GRANTED", at, 0),
        ("GRANTED", NOON, 1),
        ("WITHDRAWN", at, 0),
        ("WITHDRAWN", NOON, 0),
    ):
        await agree(db, busy, "HEALTH_DATA", state)
        await rhythms.learn(db, now=now)
        assert await rows(db, "SELECT count(*) FROM member_rhythms") == [(left,)]


def test_a_habit_is_where_most_signs_are() -> None:
    assert rhythms.habit({40: 4}) is None
    assert rhythms.habit({10: 3, 80: 2}) == rhythms.Rhythm(10, 5)
    assert rhythms.habit({10: 4, 80: 3, 81: 3}) == rhythms.Rhythm(80, 10)
    assert rhythms.habit({95: 3, 0: 3, 40: 5}) == rhythms.Rhythm(0, 11)


async def test_quiet_hours_postpone_it_and_the_end_of_its_worth_ends_it(db: Database) -> None:
    member, never = await make_walker(db), await make_walker(db)
    for who, until in ((member, time(19)), (never, time(23))):
        await run(
            db,
            """INSERT INTO notification_preferences (member_id, quiet_from, quiet_to, topics,
                   changed_at) VALUES (:id, '17:00', :until, '{}', :now)""",
            id=who,
            until=until,
            now=NOON,
        )
    await plan(db, EVENING)
    await release(db, EVENING)

    later = await rows(
        db, "SELECT member_id, send_at FROM planned_messages WHERE state = 'PLANNED'"
    )
    assert later == [(member, EVENING + timedelta(hours=1))]
    assert await told(db) == [
        (never, "nudge.steps-short", *(await told(db))[0][2:4], True, None)
    ]  # the inbox is silent
    await release(db, EVENING + timedelta(hours=1))
    assert {it[0] for it in await told(db)} == {member, never}


async def test_halted_it_waits_resumed_it_goes_cancelled_it_never_does(db: Database) -> None:
    members = [await make_walker(db) for _ in range(2)]
    await plan(db, EVENING)
    id = policy("steps-short").id
    async with db.transaction() as session:
        assert await sources.halt(session, id, now=EVENING)
        assert not await sources.halt(session, id, now=EVENING)
    assert await release(db, EVENING) == 0
    assert await plan(db, EVENING + timedelta(days=1)) == 0
    async with db.transaction() as session:
        assert await sources.resume(session, id, now=EVENING)
    assert (await releasing.release(db, now=EVENING, limit=1)).looked_at == 1
    async with db.transaction() as session:
        assert await sources.cancel(session, id, now=EVENING)
    assert await release(db, EVENING) == 0
    assert await releasing.drop_cancelled(db) == 1
    assert sorted(it[3] for it in await planned_of(db, "steps-short")) == ["CANCELLED", "RELEASED"]
    assert len(await told(db)) == 1
    assert len(members) == 2


def test_each_hour_of_a_policy_comes_once_a_day_in_every_zone() -> None:
    steps, welcome = policy("steps-short"), policy("welcome-claims-guide")
    begin = datetime(2026, 3, 27, tzinfo=NOON.tzinfo)
    seen: dict[tuple[str, date], int] = {}
    for hour in range(5 * 24):
        at = begin + timedelta(hours=hour)
        for found in nudging.hours(steps, since=at - timedelta(hours=1), until=at):
            for zone in found.zones:
                seen[zone, found.local_date] = seen.get((zone, found.local_date), 0) + 1
    assert set(seen.values()) == {1}
    full = [date(2026, 3, 28) + timedelta(days=it) for it in range(3)]
    assert all((zone, day) in seen for zone in ("Asia/Shanghai", "Europe/Berlin") for day in full)
    assert len(welcome.trigger.hours()) == 12
    assert policy("lecture").trigger.is_on(date(2026, 3, 3))
    assert not policy("lecture").trigger.is_on(date(2026, 3, 4))


def test_an_arm_is_as_probable_as_it_says() -> None:
    for it in policies.in_force().values():
        draw = it.draw()
        ends = [0, *draw.ends, 2**32]
        shares = [(b - a) / 2**32 for a, b in itertools.pairwise(ends)]
        assert shares == pytest.approx([float(p) for p in draw.propensities], abs=1e-8)
        assert draw.arms[0] == HOLDOUT and shares[0] >= 0.0499


async def test_an_arm_that_few_draw_is_planned_with_its_chance(db: Database) -> None:
    arms = {"few": 1, "a": 1000, "b": 1000, "c": 1000}
    rare = policy("steps-short").model_copy(update={"arms": arms, "holdout": 50})
    chance = dict(zip(rare.draw().arms, rare.draw().propensities, strict=True))["few"]
    assert float(chance) == pytest.approx(0.5 / 3001)
    await run(
        db,
        "INSERT INTO planned_messages (member_id, cause_key, source_id, arm, propensity, state,"
        " local_date, send_at, expires_at, planned_at)"
        " VALUES (:id, 'c', :id, 'few', :chance, 'PLANNED', :day, :now, :now, :now)",
        id=uuid4(),
        chance=chance,
        day=NOON.date(),
        now=NOON,
    )
    assert await rows(db, "SELECT propensity FROM planned_messages") == [(chance,)]


async def test_a_zone_that_nobody_knows_keeps_nobody_else_waiting(db: Database) -> None:
    lost, fine = await make_walker(db), await make_walker(db)
    await run(db, "UPDATE members SET time_zone = 'Mars/Olympus' WHERE member_id = :id", id=lost)
    async with db.transaction() as session:
        remaining = await policy_content.remaining(
            session, policy("steps-short").id, [(lost, "cause"), (fine, "cause")], EVENING
        )
    assert remaining == {(fine, "cause")}


async def test_who_was_erased_is_told_nothing_that_was_planned_before(db: Database) -> None:
    gone = await make_walker(db)
    assert await plan(db, EVENING) == 1
    await run(db, "UPDATE members SET erased_at = :now", now=EVENING)
    await release(db, EVENING)
    assert [(row[4], row[5]) for row in await told(db)] == [(False, "NOT_RELEVANT")], gone
