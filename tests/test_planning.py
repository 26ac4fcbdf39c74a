import asyncio
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.adapters.embedded_postgres import APP_ROLE
from app.civil_time import zone
from app.config import Settings
from app.db import Database, StatementCount
from app.events import Events
from app.graphql.ids import Kind, encode
from app.jobs import queue
from app.members import service as members
from app.nudges import jobs as nudges_jobs
from app.nudges import reminders
from app.nudges.planning import plan_due
from tests.factories import NOON, consent, make_member
from tests.nudges import (
    deliveries,
    jobs,
    make_member_with_phone,
    make_phone,
    make_reminder,
    messages,
    plan_all,
    rows,
    run,
)

TODAY = date(2026, 3, 2)
DAY = timedelta(days=1)


# What a due reminder becomes


async def test_a_due_reminder_reaches_the_inbox_and_waits_for_the_phone(db: Database) -> None:
    member = await make_member_with_phone(db, "ok:1", locale="zh-CN")

    planned = await plan_all(db)

    assert planned.reminders == 1
    (message,) = await rows(
        db,
        "SELECT member_id, id, topic, template, title, body, local_date, planned_at, sent_at,"
        " in_inbox, suppressed_reason, read_at FROM messages",
    )
    assert message[0] == member
    assert message[2:] == (
        *("REMINDERS", "reminder.MEDICATION", "Metformin 500 mg", "你设置的 12:00 的提醒。"),
        *(TODAY, NOON, NOON, True, None, None),
    )
    assert [(it.member_id, it.kind, it.key) for it in planned.arrived] == [
        (member, "message", encode(Kind.MESSAGE, member, message[1]))
    ]
    assert await deliveries(db) == [("QUEUED", None)]
    assert await jobs(db) == 1
    assert await rows(db, "SELECT last_on, next_on, next_at FROM reminders") == [
        (TODAY, TODAY + DAY, NOON + DAY)
    ]


async def test_nothing_is_planned_twice(db: Database) -> None:
    await make_member_with_phone(db, "ok:1")
    await plan_all(db)

    assert (await plan_all(db, NOON + timedelta(hours=11))).reminders == 0
    # Even when somebody has lost the note that it fired.
    await run(
        db,
        "UPDATE reminders SET last_on = NULL, next_on = :day, next_at = :now",
        day=TODAY,
        now=NOON,
    )
    again = await plan_all(db)

    assert (again.reminders, again.arrived) == (1, [])
    assert len(await messages(db)) == len(await deliveries(db)) == await jobs(db) == 1


async def test_a_reminder_that_is_not_due_or_deleted_is_left_alone(db: Database) -> None:
    member = await make_member(db)
    await make_reminder(db, member, at=time(12, 1))
    deleted = await make_reminder(db, member)
    await run(db, "UPDATE reminders SET deleted_at = :now WHERE id = :id", now=NOON, id=deleted)

    assert (await plan_all(db)).reminders == 0
    assert await messages(db) == []


async def test_two_phones_get_one_message_with_a_push_each(db: Database) -> None:
    member = await make_member_with_phone(db, "ok:1")
    await make_phone(db, member, "ok:2")

    await plan_all(db)

    assert len(await messages(db)) == 1
    assert await deliveries(db) == [("QUEUED", None)] * 2
    assert await jobs(db) == 1


async def test_without_a_phone_the_inbox_has_it(db: Database) -> None:
    member = await make_member(db)
    await make_reminder(db, member)

    await plan_all(db)

    assert await messages(db) == [(TODAY, True, None)]
    assert await deliveries(db) == []
    assert await jobs(db) == 0


async def test_the_last_reminder_of_a_series_will_not_fire_again(db: Database) -> None:
    member = await make_member(db)
    await make_reminder(db, member, ends_on=TODAY)

    await plan_all(db)

    assert await rows(db, "SELECT last_on, next_on, next_at FROM reminders") == [
        (TODAY, None, None)
    ]


async def test_a_reminder_that_cannot_be_read_does_not_stop_the_others(db: Database) -> None:
    broken = await make_member_with_phone(db, "ok:1")
    await run(db, "UPDATE reminders SET recurrence = 'FREQ=HOURLY'")
    nowhere = await make_member_with_phone(db, "ok:2")
    await run(db, "UPDATE members SET time_zone = 'Mars/Olympus' WHERE member_id = :id", id=nowhere)
    fine = await make_member_with_phone(db, "ok:3")

    planned = await plan_all(db)

    assert planned.reminders == 3
    assert await rows(db, "SELECT member_id FROM messages") == [(fine,)]
    assert (await plan_all(db)).reminders == 0
    waiting = await rows(
        db, "SELECT next_at FROM reminders WHERE member_id = ANY(:ids)", ids=[broken, nowhere]
    )
    assert waiting == [(NOON + DAY,)] * 2


# The gate


async def preferences(db: Database, **chosen: Any) -> None:
    row: dict[str, Any] = {"quiet_from": None, "quiet_to": None, "topics": "{}", "paused": None}
    await run(
        db,
        "INSERT INTO notification_preferences"
        " (member_id, quiet_from, quiet_to, topics, paused_until, changed_at)"
        " SELECT member_id, CAST(:quiet_from AS time), CAST(:quiet_to AS time),"
        " CAST(:topics AS jsonb), CAST(:paused AS timestamptz), now() FROM members",
        **(row | chosen),
    )


async def pause(db: Database, first: date, last: date | None) -> None:
    await run(
        db,
        "INSERT INTO pauses (member_id, id, reason, starts_on, ends_on, created_at)"
        " SELECT member_id, gen_random_uuid(), 'ILLNESS', :first, CAST(:last AS date), now()"
        " FROM members",
        first=first,
        last=last,
    )


@pytest.mark.parametrize(
    ("first", "last"), [(TODAY, TODAY), (TODAY - DAY, None), (TODAY - DAY, TODAY)]
)
async def test_a_paused_programme_is_silent_and_says_why(
    db: Database, first: date, last: date | None
) -> None:
    await make_member_with_phone(db, "ok:1")
    await pause(db, first, last)

    planned = await plan_all(db)

    assert planned.arrived == []
    assert await messages(db) == [(TODAY, False, "PROGRAMME_PAUSED")]
    assert await rows(db, "SELECT sent_at FROM messages") == [(None,)]
    assert await deliveries(db) == [("SUPPRESSED", "PROGRAMME_PAUSED")]
    assert await jobs(db) == 0
    assert await rows(db, "SELECT next_at FROM reminders") == [(NOON + DAY,)]


@pytest.mark.parametrize(
    ("first", "last"), [(TODAY + DAY, None), (TODAY - DAY, TODAY - DAY), (TODAY, TODAY - DAY)]
)
async def test_a_pause_of_other_days_is_none(db: Database, first: date, last: date | None) -> None:
    await make_member_with_phone(db, "ok:1")
    await pause(db, first, last)

    await plan_all(db)

    assert await messages(db) == [(TODAY, True, None)]
    assert await deliveries(db) == [("QUEUED", None)]


@pytest.mark.parametrize(
    ("topics", "message", "push"),
    [
        ('{"REMINDERS": []}', (False, "OPTED_OUT"), ("SUPPRESSED", "OPTED_OUT")),
        ('{"REMINDERS": ["IN_APP"]}', (True, None), ("SUPPRESSED", "OPTED_OUT")),
        ('{"REMINDERS": ["PUSH"]}', (False, None), ("QUEUED", None)),
        ('{"MARKETING": []}', (True, None), ("QUEUED", None)),
    ],
)
async def test_the_member_chooses_the_channels(
    db: Database, topics: str, message: tuple[bool, str | None], push: tuple[str, str | None]
) -> None:
    await make_member_with_phone(db, "ok:1")
    await preferences(db, topics=topics)

    planned = await plan_all(db)

    assert await messages(db) == [(TODAY, *message)]
    assert len(planned.arrived) == (1 if message[0] else 0)
    assert await deliveries(db) == [push]


async def test_a_push_only_member_without_a_phone_cannot_be_reached(db: Database) -> None:
    member = await make_member(db)
    await make_reminder(db, member)
    await preferences(db, topics='{"REMINDERS": ["PUSH"]}')

    await plan_all(db)

    assert await messages(db) == [(TODAY, False, "NO_ADDRESS")]


@pytest.mark.parametrize(
    ("paused_until", "silent"), [(NOON + timedelta(seconds=1), True), (NOON, False)]
)
async def test_no_message_before_the_time_that_the_member_named(
    db: Database, paused_until: datetime, silent: bool
) -> None:
    await make_member_with_phone(db, "ok:1")
    await preferences(db, paused=paused_until)

    await plan_all(db)

    reason = "MESSAGES_PAUSED" if silent else None
    assert await messages(db) == [(TODAY, not silent, reason)]


@pytest.mark.parametrize(
    ("start", "end", "quiet"),
    [
        (time(12), time(13), True),
        (time(11), time(12), False),
        (time(22), time(12, 1), True),
        (time(22), time(7), False),
    ],
)
async def test_quiet_hours_hold_back_the_push_and_not_the_inbox(
    db: Database, start: time, end: time, quiet: bool
) -> None:
    await make_member_with_phone(db, "ok:1")
    await preferences(db, quiet_from=start, quiet_to=end)

    await plan_all(db)

    assert await messages(db) == [(TODAY, True, None)]
    expected = ("SUPPRESSED", "QUIET_HOURS") if quiet else ("QUEUED", None)
    assert await deliveries(db) == [expected]


async def test_quiet_hours_are_those_of_the_members_clock(db: Database) -> None:
    """At 04:00 UTC it is noon in Shanghai and 23:00 in New York."""
    member = await make_member(db, time_zone="America/New_York")
    await make_phone(db, member, "ok:1")
    await make_reminder(db, member, at=time(23))
    await preferences(db, quiet_from=time(22), quiet_to=time(7))

    await plan_all(db)

    assert await messages(db) == [(TODAY - DAY, True, None)]
    assert await deliveries(db) == [("SUPPRESSED", "QUIET_HOURS")]


@pytest.mark.parametrize("state", ["REFUSED", "WITHDRAWN"])
async def test_without_consent_there_is_no_reminder_and_the_reason_is_exact(
    db: Database, state: str
) -> None:
    member = await make_member_with_phone(db, "ok:1")
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", state, version=2))
        session.add(consent(member, "MARKETING", "GRANTED"))

    await plan_all(db)

    assert await messages(db) == [(TODAY, False, f"CONSENT_{state}")]
    assert await deliveries(db) == [("SUPPRESSED", f"CONSENT_{state}")]


async def test_who_was_never_asked_has_not_refused(db: Database) -> None:
    await make_member_with_phone(db, "ok:1", consents=False)

    await plan_all(db)

    assert await deliveries(db) == [("QUEUED", None)]


# Time


async def replay(db: Database, start: datetime, end: datetime, *, step: timedelta) -> None:
    """A worker that runs all the time."""
    now = start
    while now < end:
        await plan_all(db, now)
        now += step


@pytest.mark.parametrize(
    ("time_zone", "start"),
    [
        ("America/New_York", datetime(2026, 3, 6, 12, tzinfo=UTC)),  # forward on the 8th
        ("America/New_York", datetime(2026, 10, 30, 12, tzinfo=UTC)),  # back on November 1st
        ("Africa/Cairo", datetime(2026, 4, 22, 12, tzinfo=UTC)),  # no midnight on the 24th
        ("Australia/Lord_Howe", datetime(2026, 4, 3, 12, tzinfo=UTC)),  # half an hour back
    ],
)
@pytest.mark.parametrize("at", [time(0), time(1, 30), time(2, 30)])
async def test_a_daily_reminder_fires_once_a_local_day_over_dst(
    db: Database, time_zone: str, start: datetime, at: time
) -> None:
    member = await make_member(db, time_zone=time_zone)
    await make_reminder(db, member, at=at, seen_at=start, set_at=start)

    await replay(db, start, start + 5 * DAY, step=timedelta(minutes=30))

    days = [day for day, *_ in await messages(db)]
    assert days == [start.date() + number * DAY for number in range(1, 6)]


async def travel(db: Database, member_id: UUID, time_zone: str, *, now: datetime) -> None:
    async with db.transaction() as session:
        member = await members.lock(session, member_id)
        member.time_zone = time_zone
        await reminders.rezone(session, member_id=member_id, zone=zone(time_zone), now=now)


async def test_a_reminder_that_was_not_moved_to_the_new_zone_waits_for_its_time(
    db: Database,
) -> None:
    """Flown west, it is planned for an instant at which it is still morning."""
    member = await make_member_with_phone(db, "ok:1", time_zone="Asia/Shanghai")
    await run(db, "UPDATE members SET time_zone = 'Europe/Berlin' WHERE member_id = :id", id=member)

    await plan_all(db)

    assert await messages(db) == []
    assert await rows(db, "SELECT last_on, next_on, next_at FROM reminders") == [
        (None, TODAY, datetime(2026, 3, 2, 11, tzinfo=UTC))
    ]


async def test_a_traveller_gets_each_local_day_once(db: Database) -> None:
    """Shanghai, then 13 hours west: the same evening comes again. Then back east."""
    member = await make_member(db)
    await make_reminder(db, member, at=time(20))
    start = datetime(2026, 3, 2, 6, tzinfo=UTC)

    await replay(db, start, start + timedelta(hours=8), step=timedelta(minutes=30))
    await travel(db, member, "America/New_York", now=start + timedelta(hours=8))
    await replay(
        db, start + timedelta(hours=8), start + timedelta(hours=48), step=timedelta(minutes=30)
    )
    await travel(db, member, "Asia/Shanghai", now=start + timedelta(hours=48))
    await replay(
        db, start + timedelta(hours=48), start + timedelta(hours=90), step=timedelta(minutes=30)
    )

    days = [day for day, *_ in await messages(db)]
    assert len(days) == len(set(days))
    assert days == [TODAY, TODAY + DAY, TODAY + 2 * DAY, TODAY + 3 * DAY]
    fired = [at for (at,) in await rows(db, "SELECT planned_at FROM messages ORDER BY planned_at")]
    # 20:00 in Shanghai, 20:00 in New York, 20:00 in Shanghai twice.
    assert fired == [
        datetime(2026, 3, 2, 12, tzinfo=UTC),
        datetime(2026, 3, 4, 1, tzinfo=UTC),
        datetime(2026, 3, 4, 12, tzinfo=UTC),
        datetime(2026, 3, 5, 12, tzinfo=UTC),
    ]


async def test_after_three_days_without_a_worker_only_today_is_made_up_for(db: Database) -> None:
    member = await make_member_with_phone(db, "ok:1")
    await make_reminder(db, member, at=time(23), title="not yet today")
    now = NOON + 3 * DAY + timedelta(minutes=30)

    await plan_all(db, now)

    assert await messages(db) == [(TODAY + 3 * DAY, True, None)]
    assert await rows(db, "SELECT last_on, next_at FROM reminders ORDER BY next_at") == [
        (None, NOON + 3 * DAY + timedelta(hours=11)),
        (TODAY + 3 * DAY, NOON + 4 * DAY),
    ]


async def test_one_minute_to_midnight_is_not_lost_to_a_look_after_it(db: Database) -> None:
    member = await make_member(db)
    await make_reminder(db, member, at=time(23, 59))

    await plan_all(db, datetime(2026, 3, 2, 16, 0, 5, tzinfo=UTC))

    assert await messages(db) == [(TODAY, True, None)]


# Many


MANY = (
    """INSERT INTO members (member_id, display_name, birth_date, sex, time_zone, locale, created_at)
       SELECT gen_random_uuid(), 'many', '1980-01-01', 'UNKNOWN', 'Asia/Shanghai', 'en', :now
         FROM generate_series(1, :count)""",
    """INSERT INTO push_tokens (token, provider, member_id, installation_id, registered_at)
       SELECT 'ok:' || member_id, 'FCM', member_id, member_id, :now
         FROM members WHERE display_name = 'many' LIMIT :count""",
    """INSERT INTO reminders (member_id, id, title, kind, local_time, recurrence, starts_on, next_on,
                              next_at, created_at, changed_at)
       SELECT member_id, gen_random_uuid(), 'T', 'TASK', '12:00', 'FREQ=DAILY', '2026-01-01',
              '2026-03-02', :now, '2026-02-01', '2026-02-01'
         FROM members WHERE display_name = 'many' LIMIT :count""",
)


async def make_many(db: Database, count: int) -> None:
    """`count` members with one phone and one reminder each, due at NOON."""
    parameters = {"now": NOON, "count": count}
    for statement in MANY:
        await run(db, statement, **parameters)


async def test_several_planners_at_once_plan_everything_once(db: Database) -> None:
    await make_many(db, 300)

    planned = await asyncio.gather(*(plan_due(db, now=NOON, limit=60) for _ in range(8)))
    while (more := await plan_due(db, now=NOON, limit=60)).reminders:
        planned.append(more)

    # Nobody looked at what another one had in hand.
    assert sum(it.reminders for it in planned) == 300
    assert len(await messages(db)) == 300
    assert await deliveries(db) == [("QUEUED", None)] * 300
    assert await rows(db, "SELECT count(*) FROM reminders WHERE last_on = :day", day=TODAY) == [
        (300,)
    ]


async def test_five_hundred_cost_no_more_statements_than_one(db: Database) -> None:
    await make_member_with_phone(db, "ok:1")
    with StatementCount(db) as for_one:
        await plan_all(db)
    await make_many(db, 600)
    with StatementCount(db) as for_many:
        assert (await plan_due(db, now=NOON, limit=500)).reminders == 500

    assert len(for_many) == len(for_one)
    assert await jobs(db) == 2


async def test_more_phones_than_a_batch_takes_make_more_batches(db: Database) -> None:
    await make_many(db, 499)
    member = await make_member_with_phone(db, "ok:a")
    await make_phone(db, member, "ok:b")

    assert (await plan_due(db, now=NOON, limit=500)).reminders == 500

    sizes = await rows(db, "SELECT count(*) FROM push_deliveries GROUP BY batch_id ORDER BY 1")
    assert sizes == [(1,), (500,)]
    assert await jobs(db) == 2


async def test_without_its_job_nothing_is_planned(db: Database, owner_url: str) -> None:
    """Reminder, message, push and job commit together or not at all."""
    await make_member_with_phone(db, "ok:1")
    before = await rows(db, "SELECT * FROM reminders")
    owner = await asyncpg.connect(owner_url)
    await owner.execute(f"REVOKE INSERT ON pgqueuer FROM {APP_ROLE}")

    with pytest.raises(DBAPIError):
        await plan_due(db, now=NOON)

    assert await rows(db, "SELECT * FROM reminders") == before
    assert (await messages(db), await deliveries(db), await jobs(db)) == ([], [], 0)
    await owner.execute(f"GRANT INSERT ON pgqueuer TO {APP_ROLE}")
    await owner.close()
    assert (await plan_all(db)).reminders == 1
    assert await jobs(db) == 1


async def test_the_job_plans_all_that_is_due_and_tells_the_app(
    db: Database, database_url: str
) -> None:
    await make_many(db, 700)
    (first,) = await rows(db, "SELECT member_id FROM members LIMIT 1")
    events = Events(database_url)
    context = queue.JobContext(db, lambda: NOON, events, None, Settings())
    await events.start()
    try:
        async with events.subscribe(first[0]) as subscription:
            await nudges_jobs.plan(context, {})
            event = await asyncio.wait_for(anext(subscription), 30)
    finally:
        await events.close()

    (key,) = await rows(db, "SELECT id FROM messages WHERE member_id = :id", id=first[0])
    assert (event.kind, event.key) == ("message", encode(Kind.MESSAGE, first[0], key[0]))
    assert len(await messages(db)) == 700
