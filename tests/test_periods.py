"""Periods are opened, settled and closed by the clock, once each, for members who never come."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from app import civil_time
from app.config import Settings
from app.db import Database, StatementCount
from app.events import Events
from app.health_tasks import jobs, rules
from app.jobs import clock, queue
from app.members.models import Pause
from tests.factories import NOON, as_member, consent, counts, execute, make_member
from tests.figures import record_figure
from tests.tasks_at_work import about_noon, check_in, earned, give_tasks, make_tasked, rows, tick

MONDAY = date(2026, 3, 2)
SHANGHAI = ZoneInfo("Asia/Shanghai")


async def run_worker(db: Database, now: datetime) -> None:
    """What a worker does at `now`: the clock enqueues, the queue runs."""
    context = queue.JobContext(
        db=db, now=lambda: now, events=Events("postgresql:///"), push=None, settings=Settings()
    )
    names = ["health_tasks.close_periods", "health_tasks.restate_month"]
    async with db.transaction() as session:
        await queue.enqueue(session, names[0], {}, now=now)
    await queue.run_due(db, context, names)


async def closed(db: Database, assignment: UUID) -> list[tuple[date, date]]:
    found = await rows(
        db,
        "select starts_on, ends_on from tasks where assignment_id = :id and closed_at is not null"
        " order by starts_on",
        id=assignment,
    )
    return [tuple(row) for row in found]


async def causes(db: Database, member: UUID, *, now: datetime) -> list[tuple[int, str]]:
    """What the check-ins that the entries of the points name say of themselves."""
    document = """{ me { points { entries { edges { node {
      cause { ... on CheckIn { pointsAwarded explanation } } } } } } } }"""
    data = await execute(document, context=as_member(db, member, now=now))
    edges = data["me"]["points"]["entries"]["edges"]
    found = [edge["node"]["cause"] for edge in edges]
    return [(it["pointsAwarded"], it["explanation"]) for it in found]


def days_of(first: date, last: date) -> list[tuple[date, date]]:
    found = (first + timedelta(days=offset) for offset in range((last - first).days + 1))
    return [(day, day) for day in found]


@pytest.mark.parametrize(
    "zone", ["Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "Pacific/Kiritimati"]
)
async def test_a_year_of_a_member_who_never_comes(db: Database, zone: str) -> None:
    """Worker up each half day, but down for three days over a month's end and over a DST day."""
    member, tasks = await make_tasked(
        db, "medication", "article", "exercise", "annual-examination",
        time_zone=zone, starts_on=date(2026, 1, 1), now=datetime(2025, 12, 31, 8, tzinfo=UTC),
    )  # fmt: skip
    end = datetime(2027, 1, 1, 12, tzinfo=UTC)
    downtimes = [(date(2026, 3, 6), date(2026, 3, 9)), (date(2026, 6, 29), date(2026, 7, 2))]
    now = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    while now <= end:
        if not any(first <= now.date() < last for first, last in downtimes):
            await run_worker(db, now)
        now += timedelta(hours=12)
    await run_worker(db, end)

    last = civil_time.local_date(end, ZoneInfo(zone)) - timedelta(days=1)
    assert await closed(db, tasks["medication"]) == days_of(date(2026, 1, 1), last)
    weeks = await closed(db, tasks["article"])
    assert weeks[0] == (date(2026, 1, 1), date(2026, 1, 4))
    assert weeks[1:] == [
        (date(2026, 1, 5) + timedelta(weeks=number), date(2026, 1, 11) + timedelta(weeks=number))
        for number in range(51)
    ]
    months = await closed(db, tasks["exercise"])
    assert [starts_on for starts_on, _ in months] == [
        date(2026, number, 1) for number in range(1, 13)
    ]
    assert all((ends_on + timedelta(days=1)).day == 1 for _, ends_on in months)
    assert await closed(db, tasks["annual-examination"]) == [(date(2026, 1, 1), date(2026, 12, 31))]
    # Each period is due at the member's own midnight, and its successor begins there.
    gaps = await rows(
        db,
        "select count(*) from (select starts_at, lag(due_at) over (partition by assignment_id"
        " order by starts_on) as before from tasks) t where before <> starts_at",
    )
    assert gaps == [(0,)]
    states = await rows(db, "select distinct state from tasks where closed_at is not null")
    assert states == [("MISSED",)]
    shares = await rows(
        db,
        "select month, due, done, percent from participation_months where closed_at is not null"
        " order by month",
    )
    assert [share.month for share in shares] == [date(2026, number, 1) for number in range(1, 13)]
    assert all((share.done, share.percent) == (0, 0) for share in shares)
    missed = await rows(
        db, "select count(*) from tasks where closed_at is not null and ends_on < '2027-01-01'"
    )
    assert sum(share.due for share in shares) == missed[0][0]
    assert await earned(db, member) == (0, 0)
    record_figure("periods of a year closed, each once", missed[0][0])


async def test_the_clock_is_registered_for_each_minute() -> None:
    schedule = clock.SCHEDULES["health_tasks.close_periods"]

    assert schedule.every == timedelta(minutes=1)
    assert {"health_tasks.close_periods", "health_tasks.restate_month"} <= set(queue.HANDLERS)


async def test_a_tick_of_the_real_clock_closes_what_is_due(db: Database) -> None:
    _, tasks = await make_tasked(db, "medication")
    now = NOON + timedelta(hours=12)
    await clock.tick(db, now)
    context = queue.JobContext(
        db=db, now=lambda: now, events=Events("postgresql:///"), push=None, settings=Settings()
    )
    await queue.run_due(db, context, ["health_tasks.close_periods"])

    assert await closed(db, tasks["medication"]) == [(MONDAY, MONDAY)]


async def test_closing_is_at_midnight_and_repeats_change_nothing(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    midnight = datetime(2026, 3, 2, 16, tzinfo=UTC)

    assert await jobs.close_periods(db, now=midnight - timedelta(microseconds=1)) == 0
    assert await closed(db, tasks["medication"]) == []
    assert await jobs.close_periods(db, now=midnight) == 1
    after = await rows(db, "select * from tasks order by starts_on")
    assert await jobs.close_periods(db, now=midnight + timedelta(hours=1)) == 0
    assert await rows(db, "select * from tasks order by starts_on") == after
    assert [row.state for row in after] == ["MISSED", "OPEN"]
    assert [row.closed_at for row in after] == [midnight, None]
    assert await earned(db, member) == (0, 0)


async def test_statements_do_not_grow_with_members(db: Database) -> None:
    sent = []
    for number in (1, 12):
        for _ in range(number):
            await make_tasked(db, "medication", "walk", "article")
        with StatementCount(db) as statements:
            await jobs.close_periods(db, now=NOON + timedelta(days=40 * number))
        sent.append(len(statements))

    assert sent[0] == sent[1]


async def test_what_was_done_stays_done_and_is_the_share_of_the_month(db: Database) -> None:
    member, tasks = await make_tasked(
        db, "medication", "article", starts_on=date(2026, 3, 1), now=NOON - timedelta(days=2)
    )
    for offset in range(20):
        at = about_noon(offset)
        await tick(db, member, tasks["medication"], at.astimezone(SHANGHAI).date(), at=at)
    await jobs.close_periods(db, now=datetime(2026, 4, 1, tzinfo=UTC))

    [share] = await rows(
        db, "select due, done, percent, paused, closed_at from participation_months"
        " where month = '2026-03-01'"
    )  # fmt: skip
    # 31 days of medication and the weeks that end in March.
    assert (share.due, share.done, share.paused) == (31 + 5, 20, 0)
    assert str(share.percent) == "55.556"
    assert await earned(db, member) == (200, 20)


async def test_a_pause_and_consents_leave_tasks_out_and_keep_the_kinds_apart(
    db: Database,
) -> None:
    silent, silent_tasks = await make_tasked(db, "medication")
    paused, paused_tasks = await make_tasked(db, "medication")
    refused, refused_tasks = await make_tasked(db, "medication", consents=False)
    withdrew, withdrew_tasks = await make_tasked(db, "medication")
    unasked, unasked_tasks = await make_tasked(db, "medication", consents=False)
    async with db.transaction() as session:
        session.add(
            Pause(
                member_id=paused,
                id=UUID(int=1),
                reason="ILLNESS",
                starts_on=MONDAY,
                ends_on=MONDAY,
                created_at=NOON,
            )
        )
        session.add(consent(refused, "HEALTH_DATA", "REFUSED"))
        session.add(consent(withdrew, "HEALTH_DATA", "WITHDRAWN", version=2, now=NOON))
        # Granted again only after the day was over: the clock comes late, the day does not.
        late = NOON + timedelta(days=1)
        session.add(consent(withdrew, "HEALTH_DATA", "GRANTED", version=3, now=late))
    await jobs.close_periods(db, now=datetime(2026, 4, 1, tzinfo=UTC))

    async def first_state(member: UUID, tasks: dict[str, UUID]) -> tuple[Any, ...]:
        [row] = await rows(
            db,
            "select t.state, p.due, p.paused from tasks t join participation_months p"
            " on p.member_id = t.member_id and p.month = '2026-03-01'"
            " where t.member_id = :member and t.starts_on = '2026-03-02'",
            member=member,
        )
        return tuple(row)

    assert await first_state(silent, silent_tasks) == ("MISSED", 30, 0)
    assert await first_state(paused, paused_tasks) == ("PAUSED", 29, 1)
    assert await first_state(refused, refused_tasks) == ("CONSENT_REFUSED", 0, 0)
    assert await first_state(withdrew, withdrew_tasks) == ("CONSENT_WITHDRAWN", 29, 0)
    assert await first_state(unasked, unasked_tasks) == ("MISSED", 30, 0)


async def test_abstaining_is_paid_at_the_close_and_once(db: Database) -> None:
    member, tasks = await make_tasked(
        db, "smoke-free", starts_on=date(2026, 3, 1), now=NOON - timedelta(days=2), points_each=80
    )
    assignment = tasks["smoke-free"]
    for offset in range(20):
        done = await tick(db, member, assignment, date(2026, 3, 1), at=about_noon(offset))
    assert (done.task.state, done.check_in.points_awarded) == ("OPEN", 0)
    assert await earned(db, member) == (0, 0)
    end = datetime(2026, 3, 31, 16, tzinfo=UTC)

    await jobs.close_periods(db, now=end)
    await jobs.close_periods(db, now=end + timedelta(minutes=1))

    assert await earned(db, member) == (80, 1)
    [row] = await rows(
        db, "select state, points_awarded, participated, completed_at from tasks"
        " where starts_on = '2026-03-01'"
    )  # fmt: skip
    assert row == ("DONE", 80, True, end)
    [transfer] = await rows(
        db, "select cause_key, cause_kind, cause_id, local_date, rule_code from points_transfers"
    )
    assert transfer == (
        f"{assignment}:2026-03-01:0", "CHECK_IN", done.check_in.id, date(2026, 3, 31), "smoke-free",
    )  # fmt: skip
    assert await rows(db, "select due, done from participation_months where done = 1") == [(1, 1)]
    told = "Counted. This task is settled when its period is over."
    assert await causes(db, member, now=end) == [(80, "Task done: 80 points.")]
    others = await rows(db, "select distinct points_awarded, reason_code from checkins"
        " where id <> :id", id=done.check_in.id)  # fmt: skip
    assert others == [(0, "SETTLED_AT_END")]
    assert rules.explanation(rules.Reason.SETTLED_AT_END, points=0).en == told


async def test_too_few_confirmations_are_a_miss_until_the_last_comes_late(db: Database) -> None:
    member, tasks = await make_tasked(
        db, "smoke-free", starts_on=date(2026, 3, 1), now=NOON - timedelta(days=2), points_each=80
    )
    for offset in range(19):
        await tick(db, member, tasks["smoke-free"], date(2026, 3, 1), at=about_noon(offset))
    await jobs.close_periods(db, now=datetime(2026, 4, 2, tzinfo=UTC))
    assert await earned(db, member) == (0, 0)

    done = await check_in(
        db, member, tasks["smoke-free"], date(2026, 3, 1),
        occurred_at=NOON + timedelta(days=25), now=datetime(2026, 4, 3, tzinfo=UTC),
    )  # fmt: skip

    assert (done["task"]["state"], done["checkIn"]["pointsAwarded"]) == ("DONE", 80)
    await run_worker(db, datetime(2026, 4, 3, 1, tzinfo=UTC))
    assert await earned(db, member) == (80, 1)
    [share] = await rows(
        db, "select due, done, changed_at from participation_months where month = '2026-03-01'"
    )
    assert share == (1, 1, datetime(2026, 4, 3, 1, tzinfo=UTC))


async def test_a_late_check_in_restates_the_closed_month(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    closed_at = datetime(2026, 4, 1, tzinfo=UTC)
    await jobs.close_periods(db, now=closed_at)
    before = await rows(db, "select due, done, percent from participation_months order by month")
    assert before[0] == (30, 0, 0)
    sent_at = datetime(2026, 4, 1, 3, tzinfo=UTC)
    occurred = datetime(2026, 3, 20, 3, tzinfo=UTC)

    done = await check_in(
        db, member, tasks["medication"], date(2026, 3, 20), occurred_at=occurred, now=sent_at
    )
    assert (done["task"]["state"], done["checkIn"]["pointsAwarded"]) == ("DONE", 10)
    assert "arrived late" in done["checkIn"]["explanation"]
    assert [row[0] for row in await rows(db, "select entrypoint from pgqueuer")] == [
        "health_tasks.restate_month"
    ]
    await run_worker(db, sent_at + timedelta(seconds=1))

    [share] = await rows(
        db, "select due, done, percent, closed_at, changed_at from participation_months"
        " where month = '2026-03-01'"
    )  # fmt: skip
    assert (share.due, share.done, str(share.percent)) == (30, 1, "3.333")
    assert (share.closed_at, share.changed_at) == (closed_at, sent_at + timedelta(seconds=1))
    # Restated again it stays as it is, and so does its mark.
    async with db.transaction() as session:
        payload = {"member_id": str(member), "month": "2026-03-01"}
        await queue.enqueue(session, "health_tasks.restate_month", payload, now=sent_at)
    await run_worker(db, sent_at + timedelta(hours=1))
    again = await rows(db, "select changed_at from participation_months order by month limit 1")
    assert again == [(sent_at + timedelta(seconds=1),)]


async def test_a_template_that_is_not_published_is_refused(db: Database) -> None:
    member = await make_member(db)
    before = await counts(db)
    with pytest.raises(LookupError, match="no-such"):
        await give_tasks(db, member, "no-such")
    assert (await counts(db)) == before


async def test_a_changed_template_is_refused(db: Database) -> None:
    from app.health_tasks import templates

    async with db.transaction() as session:
        added = await templates.load_templates(session)
        assert added in (0, len(templates.published()))
        assert await templates.load_templates(session) == 0
        walk = templates.published()["walk", 1]
        changed = walk.model_copy(update={"target": walk.target + 1})
        with pytest.raises(templates.TemplateChanged, match="'walk' version 1"):
            await templates.load_templates(session, [changed])
        newer = changed.model_copy(update={"version": 9})
        assert await templates.load_templates(session, [newer]) == 1
        stored = await session.execute(text("select version from task_templates where code='walk'"))
        assert sorted(stored.scalars()) == [1, 2, 9]
