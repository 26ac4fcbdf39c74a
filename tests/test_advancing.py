"""Tasks that readings and totals complete, without a tap."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from app.checkins.advancing import Advanced, advance
from app.checkins.examine import EvidenceMissing
from app.db import Database
from app.health_tasks import jobs, rules
from app.health_tasks.kinds import CheckInState, TaskKind
from app.health_tasks.measured import (
    SLOT,
    Added,
    DataOfDay,
    DataRule,
    Measured,
    Readings,
    measured,
    stays,
)
from app.health_tasks.periods import Span
from app.ids import new_id
from app.points import service as points
from tests.factories import NOON
from tests.reviewing import assert_sound
from tests.tasks_at_work import earned, make_tasked, rows, tick

DAY = date(2026, 3, 2)
WALK = "walk 2"


async def set_total(
    db: Database, member_id: UUID, code: str, value: int, *, day: date = DAY, trusted: bool = True
) -> None:
    """What the union of all sources comes to."""
    statement = text(
        "insert into daily_total_days (member_id, id, code, local_date, value, unit,"
        " trusted_value, changed_at) values (:member_id, :id, :code, :day, :value, '1', :trusted,"
        " :now) on conflict (member_id, code, local_date) do update set value = excluded.value,"
        " trusted_value = excluded.trusted_value"
    )
    async with db.transaction() as session:
        values = {"member_id": member_id, "id": uuid4(), "code": code, "day": day, "now": NOON}
        amounts = {"value": value, "trusted": value if trusted else None}
        await session.execute(statement, values | amounts)


async def add_reading(
    db: Database,
    member_id: UUID,
    code: str,
    at: datetime,
    *,
    value: int = 120,
    trust: str = "LOW",
    source: str = "",
) -> None:
    statement = text(
        "insert into measurements (member_id, id, code, value, unit, sent_value, sent_unit,"
        " measured_at, local_date, recorded_at, channel, method, source_id, trust)"
        " values (:member_id, :id, :code, :value, '1', :sent, '1', :at,"
        " (:at at time zone 'Asia/Shanghai')::date, :at, 'APP', 'SELF_REPORTED', :source, :trust)"
    )
    values = {"member_id": member_id, "id": new_id(at), "code": code, "trust": trust}
    values["source"] = source
    async with db.transaction() as session:
        await session.execute(statement, values | {"value": value, "sent": str(value), "at": at})


async def follow(
    db: Database, member_id: UUID, code: str, *days: date, now: datetime = NOON
) -> Advanced:
    async with db.transaction() as session:
        return await advance(
            session,
            member_id=member_id,
            touched=[(code, day) for day in days or (DAY,)],
            request_id=uuid4(),
            acted_by=member_id,
            now=now,
        )


async def task_row(
    db: Database, member_id: UUID, starts_on: date = DAY
) -> tuple[str, Decimal, int]:
    [found] = await rows(
        db,
        "select state, done, points_awarded from tasks where member_id = :m and starts_on = :s",
        m=member_id,
        s=starts_on,
    )
    return tuple(found)


async def test_a_total_completes_the_task_and_pays_once(db: Database) -> None:
    member_id, tasks = await make_tasked(db, WALK)
    await set_total(db, member_id, "STEPS", 5000)
    assert await follow(db, member_id, "STEPS") == Advanced([(tasks["walk"], DAY)], False)
    assert await task_row(db, member_id) == ("OPEN", 5000, 0)
    await set_total(db, member_id, "STEPS", 8000)
    assert await follow(db, member_id, "STEPS") == Advanced([(tasks["walk"], DAY)], True)
    assert await task_row(db, member_id) == ("DONE", 8000, 10)
    assert await follow(db, member_id, "STEPS") == Advanced()
    await set_total(db, member_id, "STEPS", 9500)
    assert await follow(db, member_id, "STEPS") == Advanced([(tasks["walk"], DAY)], False)
    assert await earned(db, member_id) == (10, 1)
    [check_in] = await rows(
        db, "select slot, value, state, points_awarded, reason_code from checkins"
    )
    assert tuple(check_in) == (SLOT, 9500, "ACCEPTED", 10, "COMPLETED")
    await assert_sound(db)


async def test_a_restated_day_moves_the_points_by_the_difference_each_time(db: Database) -> None:
    member_id, _ = await make_tasked(db, WALK)
    balances = []
    for steps in (9000, 7000, 12000, 0, 8000):
        await set_total(db, member_id, "STEPS", steps)
        await follow(db, member_id, "STEPS")
        balances.append((await earned(db, member_id))[0])
        await assert_sound(db)
    assert balances == [10, 0, 10, 0, 10]
    amounts = await rows(db, "select debit, credit, amount from points_transfers order by seq")
    assert [tuple(it) for it in amounts] == [
        ("issued", "available", 10),
        ("available", "reversed", 10),
        ("issued", "available", 10),
        ("available", "reversed", 10),
        ("issued", "available", 10),
    ]
    assert await task_row(db, member_id) == ("DONE", 8000, 10)


async def test_points_that_were_spent_are_owed_when_the_day_is_restated(db: Database) -> None:
    member_id, _ = await make_tasked(db, WALK)
    await set_total(db, member_id, "STEPS", 9000)
    await follow(db, member_id, "STEPS")
    async with db.transaction() as session:
        await points.spend(
            session,
            member_id=member_id,
            hold_id=uuid4(),
            amount=10,
            cause=points.Cause("REDEMPTION", uuid4(), "redemption:1"),
            now=NOON,
        )
    await set_total(db, member_id, "STEPS", 10)
    await follow(db, member_id, "STEPS")
    [wallet] = await rows(db, "select available, owed from wallets")
    assert tuple(wallet) == (0, 10)
    await assert_sound(db)


async def test_a_tick_and_the_total_of_a_day_count_as_the_greater(db: Database) -> None:
    member_id, tasks = await make_tasked(db, WALK)
    await tick(db, member_id, tasks["walk"], DAY, at=NOON, value=Decimal(3000))
    await set_total(db, member_id, "STEPS", 5500)
    await follow(db, member_id, "STEPS")
    assert await task_row(db, member_id) == ("OPEN", 5500, 0)
    await tick(db, member_id, tasks["walk"], DAY, at=NOON + timedelta(hours=1), value=Decimal(3000))
    assert (await task_row(db, member_id))[1] == 6000


async def test_a_day_that_was_measured_is_not_ticked_a_second_time(db: Database) -> None:
    member_id, tasks = await make_tasked(db, "measure-blood-pressure 2")
    await add_pressure(db, member_id, NOON)
    await follow(db, member_id, "SYSTOLIC_BP")
    answer = await tick(db, member_id, tasks["measure-blood-pressure"], DAY, at=NOON)
    assert answer.check_in.slot == SLOT
    assert (await task_row(db, member_id))[:2] == ("OPEN", 1)
    assert await rows(db, "select count(*) from checkins") == [(1,)]


async def test_half_a_blood_pressure_is_none(db: Database) -> None:
    member_id, _ = await make_tasked(db, "measure-blood-pressure 2")
    await add_reading(db, member_id, "SYSTOLIC_BP", NOON)
    assert await follow(db, member_id, "SYSTOLIC_BP") == Advanced()
    await add_reading(db, member_id, "DIASTOLIC_BP", NOON, value=80)
    assert len((await follow(db, member_id, "DIASTOLIC_BP")).tasks) == 1


async def test_an_answer_about_a_habit_says_nothing_of_the_day(db: Database) -> None:
    member_id, tasks = await make_tasked(db, "smoke-free 2")
    await tick(db, member_id, tasks["smoke-free"], DAY, at=NOON)
    await add_reading(db, member_id, "CIGARETTES", NOON, value=12, source="questionnaire:smoking")
    assert await follow(db, member_id, "CIGARETTES") == Advanced()
    assert (await task_row(db, member_id))[1] == 1


async def add_pressure(db: Database, member_id: UUID, at: datetime) -> None:
    await add_reading(db, member_id, "SYSTOLIC_BP", at)
    await add_reading(db, member_id, "DIASTOLIC_BP", at, value=80)


async def test_measuring_on_two_days_is_measuring_regularly(db: Database) -> None:
    member_id, _ = await make_tasked(db, "measure-blood-pressure 2")
    for hours in (0, 1, 2):
        await add_pressure(db, member_id, NOON + timedelta(hours=hours))
    await follow(db, member_id, "SYSTOLIC_BP")
    assert (await task_row(db, member_id))[:2] == ("OPEN", 1)
    later = NOON + timedelta(days=2)
    await add_pressure(db, member_id, later)
    await follow(db, member_id, "SYSTOLIC_BP", DAY + timedelta(days=2), now=later)
    assert await task_row(db, member_id) == ("DONE", 2, 10)


async def test_what_is_typed_completes_nothing_that_must_be_measured(db: Database) -> None:
    member_id, _ = await make_tasked(db, WALK, "measure-glucose 1")
    await set_total(db, member_id, "STEPS", 9000, trusted=False)
    await add_reading(db, member_id, "FASTING_GLUCOSE_METER", NOON, value=5)
    assert await follow(db, member_id, "STEPS") == Advanced()
    assert await follow(db, member_id, "FASTING_GLUCOSE_METER") == Advanced()
    assert await rows(db, "select count(*) from checkins") == [(0,)]
    await add_reading(
        db, member_id, "FASTING_GLUCOSE_METER", NOON + timedelta(hours=1), value=5, trust="MEDIUM"
    )
    assert len((await follow(db, member_id, "FASTING_GLUCOSE_METER")).tasks) == 1


async def test_no_tick_completes_what_only_a_device_does(db: Database) -> None:
    member_id, tasks = await make_tasked(db, "sleep-hours 1")
    with pytest.raises(EvidenceMissing):
        await tick(db, member_id, tasks["sleep-hours"], DAY, at=NOON)
    await add_reading(db, member_id, "SLEEP_DURATION", NOON, value=8, trust="MEDIUM")
    await follow(db, member_id, "SLEEP_DURATION")
    assert (await task_row(db, member_id))[1] == 1


async def test_a_cigarette_denies_the_day_that_was_ticked(db: Database) -> None:
    member_id, tasks = await make_tasked(db, "smoke-free 2")
    await tick(db, member_id, tasks["smoke-free"], DAY, at=NOON)
    assert (await task_row(db, member_id))[1] == 1
    await set_total(db, member_id, "CIGARETTES", 3)
    await follow(db, member_id, "CIGARETTES")
    assert (await task_row(db, member_id))[1] == 0
    await set_total(db, member_id, "CIGARETTES", 0)
    await follow(db, member_id, "CIGARETTES")
    assert (await task_row(db, member_id))[1] == 1


async def test_a_smoke_free_month_is_paid_at_its_end(db: Database) -> None:
    member_id, _ = await make_tasked(db, "smoke-free 2")
    days = [DAY + timedelta(days=n) for n in range(20)]
    for day in days:
        await set_total(db, member_id, "CIGARETTES", 0, day=day)
    now = NOON + timedelta(days=20)
    await jobs.close_periods(db, now=now)
    await follow(db, member_id, "CIGARETTES", *days, now=now)
    assert await task_row(db, member_id) == ("OPEN", 20, 0)
    april = datetime.fromisoformat("2026-04-01T00:00:00+08:00")
    await jobs.close_periods(db, now=april)
    assert await task_row(db, member_id) == ("DONE", 20, 10)
    # One of the days is corrected afterwards.
    await set_total(db, member_id, "CIGARETTES", 1, day=days[-1])
    await follow(db, member_id, "CIGARETTES", days[-1], now=april)
    assert (await task_row(db, member_id))[1:] == (19, 0)
    assert (await earned(db, member_id))[0] == 0
    await assert_sound(db)


async def test_a_late_total_pays_for_a_closed_day_within_the_late_data_days(db: Database) -> None:
    member_id, _ = await make_tasked(db, WALK)
    for days in (30, 31):
        now = NOON + timedelta(days=days)
        await jobs.close_periods(db, now=now)
        await set_total(db, member_id, "STEPS", 9000 + days)
        found = await follow(db, member_id, "STEPS", now=now)
        assert bool(found.tasks) == (days == 30)
    assert await task_row(db, member_id) == ("DONE", 9030, 10)
    queued = "select count(*) from pgqueuer where entrypoint = 'health_tasks.restate_month'"
    assert await rows(db, queued) == [(1,)]


async def test_what_came_before_the_task_was_asked_changes_nothing(db: Database) -> None:
    member_id, _ = await make_tasked(db, WALK)
    before = DAY - timedelta(days=1)
    await set_total(db, member_id, "STEPS", 9000, day=before)
    assert await follow(db, member_id, "STEPS", before) == Advanced()


ANY = DataRule("STEPS", None, None, False)
NONE = Readings(0, None, None, None, None)
NOTHING = DataOfDay(None, None, NONE, NONE)


def of_total(total: int | None, trusted: int | None) -> DataOfDay:
    as_number = [None if it is None else Decimal(it) for it in (total, trusted)]
    return NOTHING._replace(total=as_number[0], trusted_total=as_number[1])


def of_readings(*values: str, trusted: bool = True) -> DataOfDay:
    numbers = [Decimal(it) for it in values]
    found = Readings(len(numbers), min(numbers), max(numbers), sum(numbers, Decimal(0)), NOON)
    return NOTHING._replace(readings=found, trusted=found if trusted else NONE)


ASLEEP = DataRule("SLEEP_DURATION", Decimal(7), None, False)
SMOKE_FREE = DataRule("CIGARETTES", None, Decimal(0), True)


@pytest.mark.parametrize(
    ("kind", "rule", "day", "expected"),
    [
        ("REACH_TOTAL", ANY, NOTHING, None),
        ("REACH_TOTAL", ANY, of_total(9, 7), Measured(True, Decimal(7), None)),
        (
            "REACH_TOTAL",
            ANY._replace(self_reported=True),
            of_total(9, 7),
            Measured(True, Decimal(9), None),
        ),
        (
            "TIMES_IN_PERIOD",
            ANY._replace(at_least=Decimal(30)),
            of_total(30, 30),
            Measured(True, None, None),
        ),
        (
            "TIMES_IN_PERIOD",
            ANY._replace(at_least=Decimal(30)),
            of_total(31, 29),
            Measured(False, None, None),
        ),
        # A nap adds to the night; a phone that saw less hides neither.
        ("TIMES_IN_PERIOD", ASLEEP, of_readings("7.5", "0.4"), Measured(True, None, NOON)),
        (
            "TIMES_IN_PERIOD",
            ASLEEP,
            of_readings("7.5")._replace(total=Decimal(5), trusted_total=Decimal(5)),
            Measured(True, None, NOON),
        ),
        ("TIMES_IN_PERIOD", ASLEEP, of_readings("6.5"), Measured(False, None, NOON)),
        ("TIMES_IN_PERIOD", ASLEEP, of_readings("8", trusted=False), None),
        ("ABSTAIN", SMOKE_FREE, of_total(0, 0), Measured(True, None, None)),
        (
            "ABSTAIN",
            SMOKE_FREE,
            of_readings("9")._replace(total=Decimal(0), trusted_total=Decimal(0)),
            Measured(False, None, NOON),
        ),
    ],
)
def test_what_a_day_says(
    kind: str, rule: DataRule, day: DataOfDay, expected: Measured | None
) -> None:
    assert measured(TaskKind(kind), rule, day, adds_up=True) == expected


@pytest.mark.parametrize(
    ("values", "qualifies"), [(("5", "7"), True), (("5", "7.1"), False), (("3.9", "5"), False)]
)
def test_of_what_does_not_add_up_each_reading_counts(
    values: tuple[str, ...], qualifies: bool
) -> None:
    rule = DataRule("FASTING_GLUCOSE", Decimal(4), Decimal(7), True)
    found = measured(TaskKind.MEASURE_REGULARLY, rule, of_readings(*values), adds_up=False)
    assert found == Measured(qualifies, None, NOON)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(1, 9)), max_size=12))
def test_a_total_is_the_greater_of_ticks_and_data_for_each_day(
    found: list[tuple[int, bool, int]],
) -> None:
    check_ins = [
        rules.Counted(
            DAY + timedelta(days=day),
            Decimal(value),
            True,
            SLOT if data else number,
            NOON,
            CheckInState.ACCEPTED,
        )
        for number, (day, data, value) in enumerate(found)
    ]
    expected = 0
    for offset in range(4):
        ticks = sum(value for day, data, value in found if day == offset and not data)
        data = sum(value for day, is_data, value in found if day == offset and is_data)
        expected += max(ticks, data)
    span = Span(DAY, DAY + timedelta(days=6))
    assert rules.progress(TaskKind.REACH_TOTAL, check_ins, span=span, paused_days=()) == expected


_VALUES = st.decimals(0, 10, places=1)


@given(
    st.lists(st.tuples(_VALUES, st.booleans()), min_size=1),
    st.lists(st.tuples(_VALUES, st.booleans()), min_size=1),
    st.sampled_from(TaskKind),
    st.tuples(st.none() | _VALUES, st.none() | _VALUES, st.booleans()),
)
def test_what_stays_would_be_measured_alike(
    known: list[tuple[Decimal, bool]],
    new: list[tuple[Decimal, bool]],
    kind: TaskKind,
    bounds: tuple[Decimal | None, Decimal | None, bool],
) -> None:
    """So that the day's other readings need not be read."""
    rule = DataRule("WEIGHT", *bounds)

    def found(readings: list[tuple[Decimal, bool]]) -> Measured | None:
        both = (_readings([it for it, _ in readings]), _readings([it for it, ok in readings if ok]))
        return measured(kind, rule, DataOfDay(None, None, *both), adds_up=False)

    before = found(known)
    values = [value for value, _ in new]
    added = Added(min(values), max(values))
    if before and before.qualifies and stays(kind, rule, added, adds_up=False):
        after = found(known + new)
        assert after is not None and after.qualifies
        assert before.value is after.value is None


def _readings(values: list[Decimal]) -> Readings:
    if not values:
        return Readings(0, None, None, None, None)
    return Readings(len(values), min(values), max(values), sum(values, Decimal(0)), NOON)
