"""Caps: of a day, a month, a year, a rule and a member, on the whole way from the product."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from app.db import Database, StatementCount
from app.health_tasks import caps
from app.health_tasks.caps import Limits
from app.health_tasks.closing import close_batch
from app.points import service as points
from app.points.caps import Cap, CapKind, within
from app.points.rules import CauseKind, Expiry
from app.points.verify import verify
from tests.factories import NOON
from tests.points_ledger import earn
from tests.reviewing import appeal_check_in, balances, decide, review_of, verified_by
from tests.tasks_at_work import check_in, earned, make_tasked, rows, tick
from tests.worklist import manager_of

MONDAY = date(2026, 3, 2)


async def cap(db: Database, member_id: UUID, **columns: Any) -> None:
    """Give every task of the member these caps."""
    changes = ", ".join(f"{name} = :{name}" for name in columns)
    async with db.transaction() as session:
        await session.execute(
            text(f"update task_assignments set {changes} where member_id = :member_id"),
            {"member_id": member_id, **columns},
        )


async def paid(db: Database, member_id: UUID, assignment_id: UUID, day: date, **more: Any) -> Any:
    """Points and explanation of a check-in at noon of a day."""
    at = NOON + timedelta(days=(day - MONDAY).days)
    done = await check_in(db, member_id, assignment_id, day, now=more.pop("now", at), **more)
    return done["checkIn"]["pointsAwarded"], done["checkIn"]["explanation"]


CASES = {
    "day": ({"points_per_day_max": 15}, [10, 5, 0, 10], "CAPPED_DAY", "daily limit"),
    "month": ({"points_per_month_max": 25}, [10, 10, 5, 0], "CAPPED_MONTH", "monthly limit"),
    "year": ({"points_per_year_max": 12}, [10, 2, 0, 0], "CAPPED_YEAR", "yearly limit"),
    "member": ({"points_per_member_max": 31}, [10, 10, 10, 1], "CAPPED_MEMBER", "whole programme"),
    "rule": (
        {"points_of_rule_max": 6, "points_of_rule_per": "month"},
        [6, 6, 6, 0],
        "CAPPED_RULE",
        "of this task",
    ),
    "rule, each day": (
        {"points_of_rule_max": 6, "points_of_rule_per": "day"},
        [6, 6, 6, 6],
        "CAPPED_RULE",
        "of this task",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_cap_leaves_what_there_is_room_for_and_is_named(db: Database, case: str) -> None:
    columns, expected, code, words = CASES[case]
    member, tasks = await make_tasked(db, "medication", "stretch", "article")
    await cap(db, member, **columns)

    found = [await paid(db, member, tasks[code], MONDAY) for code in tasks]
    tuesday = MONDAY + timedelta(days=1)
    found.append(await paid(db, member, tasks["medication"], tuesday))

    assert [amount for amount, _ in found] == expected
    assert [words in said for _, said in found] == [amount < 10 for amount in expected]
    stored = await rows(
        db,
        "select t.points_awarded, t.capped_by, c.reason_code, t.state from tasks t"
        " join checkins c on c.id = t.latest_check_in_id order by c.received_at, c.id",
    )
    kind = code.removeprefix("CAPPED_")
    assert sorted(stored) == sorted(
        (amount, None if amount == 10 else kind, "COMPLETED" if amount == 10 else code, "DONE")
        for amount in expected
    )
    assert (await earned(db, member))[0] == sum(expected)


async def test_a_capped_check_in_takes_two_statements_and_keeps_the_ledger_whole(
    db: Database,
) -> None:
    member, tasks = await make_tasked(db, "medication", "stretch")
    await cap(db, member, points_per_day_max=12, points_per_year_max=100, points_per_member_max=50)
    for code in tasks:
        with StatementCount(db) as sent:
            await check_in(db, member, tasks[code])
        assert len(sent) == 2, sent.statements
    [report] = [report async for report in verify(db, roots_path=None) if report.done]
    assert report.first_bad is None


async def test_who_is_at_a_cap_is_tallied_too(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "stretch")
    for number in range(21):
        await earn(db, member, 1, key=str(number))
    await cap(db, member, points_per_member_max=21)
    state = "select tally_seq, seq from wallets"
    assert await rows(db, state) == [(0, 21)]

    assert (await paid(db, member, tasks["medication"], MONDAY))[0] == 0
    assert await rows(db, state) == [(21, 21)]

    await cap(db, member, points_per_member_max=1000, points_per_year_max=25)
    assert (await paid(db, member, tasks["stretch"], MONDAY))[0] == 4
    [report] = [report async for report in verify(db, roots_path=None) if report.done]
    assert report.first_bad is None


async def test_a_day_before_the_newest_that_was_tallied_has_its_own_room(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "stretch", "article")
    await cap(
        db, member, points_per_day_max=12, points_of_rule_max=16, points_of_rule_per="month"
    )  # fmt: skip
    monday, tuesday = MONDAY, MONDAY + timedelta(days=1)
    later = NOON + timedelta(days=1)
    found = [
        await paid(
            db,
            member,
            tasks[code],
            day,
            now=later,
            occurred_at=NOON + (day - MONDAY),
        )
        for code, day in (
            ("medication", tuesday),
            ("stretch", monday),
            ("stretch", tuesday),
            ("medication", monday),
            ("article", monday),
        )
    ]
    # Of Monday 10 and 2, of Tuesday 10 and 2; what is left is another day's.
    assert [amount for amount, _ in found] == [10, 10, 2, 2, 0]
    [report] = [report async for report in verify(db, roots_path=None) if report.done]
    assert report.first_bad is None
    [(seq, tally_seq)] = await rows(db, "select seq, tally_seq from wallets")
    assert (seq, tally_seq) == (4, 4)


async def test_what_others_post_counts_beside_the_tally(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "stretch", "article")
    await cap(db, member, points_per_day_max=25, points_per_year_max=100)
    assert (await paid(db, member, tasks["medication"], MONDAY))[0] == 10
    async with db.transaction() as session:
        await points.earn(
            session,
            member_id=member,
            amount=9,
            cause=points.Cause(CauseKind.STAFF, UUID(int=1), "gift:0"),
            rule=points.Rule(None, "gift"),
            local_date=MONDAY,
            expires=Expiry(MONDAY, NOON + timedelta(days=1)),
            now=NOON,
        )
    assert await rows(db, "select seq, tally_seq from wallets") == [(2, 1)]
    assert (await paid(db, member, tasks["stretch"], MONDAY))[0] == 6
    assert await rows(db, "select seq, tally_seq from wallets") == [(3, 3)]
    assert (await paid(db, member, tasks["article"], MONDAY))[0] == 0


async def test_a_new_day_month_and_year_have_room_again(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication")
    await cap(
        db, member, points_per_day_max=8, points_per_month_max=13, points_per_year_max=25
    )  # fmt: skip
    days = [
        MONDAY,
        date(2026, 3, 3),
        date(2026, 3, 31),
        date(2026, 4, 1),
        date(2026, 12, 31),
        date(2027, 1, 1),
    ]
    found = [await paid(db, member, tasks["medication"], day) for day in days]
    assert [amount for amount, _ in found] == [8, 5, 0, 8, 4, 8]
    named = ["daily", "monthly", "monthly", "daily", "yearly", "daily"]
    assert all(name in said for name, (_, said) in zip(named, found, strict=True))


@pytest.mark.parametrize(
    ("zone", "at", "day"),
    [
        ("Pacific/Kiritimati", datetime(2026, 3, 31, 10, tzinfo=UTC), date(2026, 4, 1)),
        ("Pacific/Pago_Pago", datetime(2026, 4, 1, 10, tzinfo=UTC), date(2026, 3, 31)),
    ],
)
async def test_the_day_and_month_are_the_members_own(
    db: Database, zone: str, at: datetime, day: date
) -> None:
    """On either side of midnight in UTC: what was earned on the local day counts, and what on
    the UTC day does not."""
    member, tasks = await make_tasked(db, "medication", "stretch", time_zone=zone)
    await cap(db, member, points_per_day_max=15, points_per_month_max=15)
    other = at.date()
    await paid(db, member, tasks["medication"], other, now=at + timedelta(days=2),
               occurred_at=at + (timedelta(days=1) if other > day else -timedelta(days=1)))  # fmt: skip

    first = await paid(db, member, tasks["medication"], day, now=at)
    second = await paid(db, member, tasks["stretch"], day, now=at)

    assert (first[0], second[0]) == (10, 5)


async def test_late_check_ins_count_in_the_month_in_which_they_were_done(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", starts_on=MONDAY)
    await cap(db, member, points_per_month_max=15)
    april = datetime(2026, 4, 2, 4, tzinfo=UTC)
    await paid(db, member, tasks["medication"], date(2026, 4, 1), now=april, occurred_at=april - timedelta(days=1))  # fmt: skip

    late = [
        await paid(db, member, tasks["medication"], day, now=april, occurred_at=noon(day))
        for day in (date(2026, 3, 20), date(2026, 3, 10), date(2026, 3, 21))
    ]

    assert [amount for amount, _ in late] == [10, 5, 0]
    assert (await paid(db, member, tasks["medication"], date(2026, 4, 2)))[0] == 5


def noon(day: date) -> datetime:
    """About noon: at equal intervals nobody would believe it."""
    return NOON + timedelta(days=(day - MONDAY).days, minutes=day.day**2 % 47)


async def test_what_is_taken_back_makes_room_and_what_is_spent_does_not(db: Database) -> None:
    member, tasks = await make_tasked(db, "medication", "stretch", "article", "lecture")
    await cap(db, member, points_per_day_max=20, points_per_member_max=20)
    await paid(db, member, tasks["medication"], MONDAY)
    await paid(db, member, tasks["stretch"], MONDAY)
    [(first,)] = await rows(db, "select id from points_transfers where seq = 1")
    async with db.transaction() as session:
        await points.reverse(session, member_id=member, transfer_id=first, now=NOON)

    assert (await paid(db, member, tasks["article"], MONDAY))[0] == 10
    async with db.transaction() as session:
        await points.spend(
            session,
            member_id=member,
            hold_id=UUID(int=5),
            amount=20,
            cause=points.Cause(points_kind(), UUID(int=6), "redemption:6"),
            now=NOON,
        )
    assert (await paid(db, member, tasks["lecture"], MONDAY))[0] == 0


def points_kind() -> Any:
    from app.points.rules import CauseKind

    return CauseKind.REDEMPTION


@pytest.mark.parametrize("decision", ["ACCEPT", "REJECT"])
@pytest.mark.parametrize("left", [0, 4])
async def test_what_a_cap_left_no_decision_adds_to(db: Database, decision: str, left: int) -> None:
    member, tasks = await make_tasked(db, "measure-blood-pressure", "medication")
    manager, pressure = await manager_of(db, member), tasks["measure-blood-pressure"]
    await cap(db, member, points_per_day_max=10 + left)
    await check_in(db, member, pressure)
    tuesday, wednesday = (MONDAY + timedelta(days=days) for days in (1, 2))
    assert (await paid(db, member, tasks["medication"], tuesday))[0] == 10
    done = await check_in(db, member, pressure, now=noon(tuesday))
    assert (done["task"]["state"], done["checkIn"]["pointsAwarded"]) == ("DONE", left)
    await verified_by(db, member, "STAFF")
    await check_in(db, member, pressure, now=noon(wednesday))

    review = await review_of(db, member)
    await decide(db, manager, review, decision, now=noon(wednesday))

    assert await balances(db, member) == (10 + left, 0)
    [row] = await rows(
        db, "select points_awarded, capped_by from tasks where assignment_id = :id", id=pressure
    )
    assert tuple(row) == (left, "DAY")


async def test_what_a_decision_pays_counts_on_the_local_day_of_the_check_in(db: Database) -> None:
    """Not on the last day of the week."""
    member, tasks = await make_tasked(db, "measure-blood-pressure", "medication")
    manager, colleague = await manager_of(db, member), await manager_of(db, member)
    pressure = tasks["measure-blood-pressure"]
    await cap(db, member, points_per_day_max=14)
    await verified_by(db, member, "STAFF")
    await check_in(db, member, pressure)
    await decide(db, manager, await review_of(db, member), "REJECT")
    [(rejected,)] = await rows(db, "select id from checkins")
    await verified_by(db, member, "NONE")
    assert (await paid(db, member, tasks["medication"], MONDAY))[0] == 10
    tuesday = noon(MONDAY + timedelta(days=1))
    await check_in(db, member, pressure, now=tuesday)

    sent = await appeal_check_in(db, member, rejected, now=tuesday)
    await decide(db, colleague, sent["review"]["id"], now=tuesday)

    # It is done with the one of Monday, which had four points left.
    [row] = await rows(
        db, "select points_awarded, capped_by from tasks where assignment_id = :id", id=pressure
    )
    assert tuple(row) == (4, "DAY")
    assert await rows(db, "select distinct local_date from points_transfers") == [(MONDAY,)]
    assert await balances(db, member) == (14, 0)


async def test_rivals_never_exceed_a_cap_together(db: Database) -> None:
    codes = ("medication", "stretch", "article", "lecture", "exercise", "walk")
    member, tasks = await make_tasked(db, *codes)
    await cap(db, member, points_per_day_max=35, target=1)

    await asyncio.gather(
        *(
            check_in(db, member, assignment, task_start(code), value="1")
            for code, assignment in tasks.items()
            for _ in range(3)
        )
    )

    assert (await earned(db, member))[0] == 35
    amounts = await rows(db, "select points_awarded from tasks order by 1 desc")
    assert sorted(amount for (amount,) in amounts if amount) == [5, 10, 10, 10]
    [report] = [report async for report in verify(db, roots_path=None) if report.done]
    assert report.first_bad is None


def task_start(code: str) -> date:
    return MONDAY


# The clock


async def close(db: Database, now: datetime) -> None:
    closed = 1
    while closed:
        async with db.transaction() as session:
            closed = (await close_batch(session, members=50, now=now)).members


async def test_abstaining_is_capped_when_the_month_closes(db: Database) -> None:
    member, tasks = await make_tasked(db, "smoke-free", "medication", starts_on=date(2026, 3, 1))
    await cap(db, member, points_per_day_max=14)
    for number in range(1, 32):
        await tick(
            db, member, tasks["smoke-free"], date(2026, 3, 1), at=noon(date(2026, 3, number))
        )
    await tick(db, member, tasks["medication"], date(2026, 3, 31), at=noon(date(2026, 3, 31)))

    await close(db, datetime(2026, 4, 1, 1, tzinfo=UTC))
    await close(db, datetime(2026, 4, 1, 2, tzinfo=UTC))

    [settled] = await rows(
        db,
        "select state, points, points_awarded, capped_by from tasks"
        " where assignment_id = :id and starts_on = '2026-03-01'",
        id=tasks["smoke-free"],
    )
    assert settled == ("DONE", 10, 4, "DAY")
    assert await earned(db, member) == (14, 2)


async def test_of_two_that_close_together_the_first_leaves_the_second_the_rest(
    db: Database,
) -> None:
    member, tasks = await make_tasked(db, "smoke-free", starts_on=date(2026, 3, 1))
    other, others = await make_tasked(db, "smoke-free", starts_on=date(2026, 3, 1))
    again = await give_again(db, member)
    for each, assignment in ((member, tasks["smoke-free"]), (member, again), (other, others["smoke-free"])):  # fmt: skip
        await cap(db, each, points_per_year_max=13)
        for number in range(1, 32):
            await tick(db, each, assignment, date(2026, 3, 1), at=noon(date(2026, 3, number)))

    await close(db, datetime(2026, 4, 1, 1, tzinfo=UTC))

    found = await rows(
        db,
        "select member_id, points_awarded, capped_by from tasks where starts_on = '2026-03-01'"
        " and state = 'DONE'",
    )
    assert sorted(row[1:] for row in found if row[0] == member) == [(3, "YEAR"), (10, None)]
    assert [row[1:] for row in found if row[0] == other] == [(10, None)]


async def give_again(db: Database, member_id: UUID) -> UUID:
    from tests.tasks_at_work import give_tasks

    found = await give_tasks(db, member_id, "smoke-free", starts_on=date(2026, 3, 1))
    return found["smoke-free"]


async def test_a_cap_that_leaves_nothing_still_closes_the_task(db: Database) -> None:
    member, tasks = await make_tasked(db, "smoke-free", starts_on=date(2026, 3, 1))
    await cap(db, member, points_of_rule_max=0, points_of_rule_per="year")
    for number in range(1, 32):
        await tick(
            db, member, tasks["smoke-free"], date(2026, 3, 1), at=noon(date(2026, 3, number))
        )

    await close(db, datetime(2026, 4, 1, 1, tzinfo=UTC))

    [settled] = await rows(
        db, "select state, points_awarded, capped_by from tasks where starts_on = '2026-03-01'"
    )
    assert settled == ("DONE", 0, "RULE")
    assert await earned(db, member) == (0, 0)


# The rules


@given(
    st.integers(0, 1000),
    st.lists(
        st.builds(Cap, st.sampled_from(CapKind), st.integers(0, 1000), st.integers(-50, 1200)),
        max_size=5,
    ),
)
def test_no_cap_is_ever_exceeded_and_nothing_is_wasted(amount: int, found: list[Cap]) -> None:
    allowed = within(amount, found)

    assert 0 <= allowed.points <= amount
    assert all(allowed.points <= cap.room for cap in found)
    assert allowed.points == min([amount, *(cap.room for cap in found)])
    assert (allowed.cap is None) == (allowed.points == amount)
    assert allowed.cap is None or allowed.cap.room == allowed.points


def test_each_cap_counts_its_own_period_and_rule() -> None:
    known = [
        (date(2026, 3, 5), True, 1),
        (date(2026, 3, 5), False, 2),
        (date(2026, 3, 4), True, 4),
        (date(2026, 3, 31), True, 8),
        (date(2026, 2, 28), True, 16),
        (date(2025, 12, 31), True, 32),
        (date(2025, 3, 5), True, 64),
    ]
    limits = Limits(100, 200, 300, 400, 500, "year")
    found = caps.caps(limits, known, day=date(2026, 3, 5), earned_ever=99)
    assert {cap.kind: (cap.limit, cap.earned) for cap in found} == {
        CapKind.RULE: (500, 1 + 4 + 8 + 16),
        CapKind.DAY: (100, 3),
        CapKind.MONTH: (200, 1 + 2 + 4 + 8),
        CapKind.YEAR: (300, 1 + 2 + 4 + 8 + 16),
        CapKind.MEMBER: (400, 99),
    }
    assert list(caps.caps(caps.NO_LIMITS, known, day=date(2026, 3, 1), earned_ever=99)) == []
