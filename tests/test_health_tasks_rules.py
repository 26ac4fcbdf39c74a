"""Progress, check-in decisions, closing and participation."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import ErrorCode
from app.health_tasks import rules
from app.health_tasks.rules import ClosedTask, Counted, Reason, Span, TaskFacts
from app.health_tasks.rules import TaskKind as Kind
from app.health_tasks.rules import TaskState as State
from app.members.rules import ConsentState, PausedDays
from app.points.caps import Cap, CapKind

MARCH = Span(date(2026, 3, 1), date(2026, 3, 31))
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
LIKE_TIMES = [Kind.TIMES_IN_PERIOD, Kind.TAKE_MEDICATION, Kind.READ, Kind.ATTEND, Kind.ONE_OFF]


def march(number: int) -> date:
    return date(2026, 3, number)


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def ticks(*numbers: int, counts: bool = True, value: str | None = None) -> list[Counted]:
    amount = None if value is None else Decimal(value)
    return [Counted(march(n), amount, counts, 0, noon(march(n))) for n in numbers]


def task(
    kind: Kind = Kind.TIMES_IN_PERIOD,
    *,
    target: int = 2,
    check_ins: Sequence[Counted] = (),
    state: State = State.OPEN,
    per_day: int = 1,
    span: Span = MARCH,
    value_max: str = "1",
    paused: Sequence[int] = (),
) -> TaskFacts:
    return TaskFacts(
        kind=kind,
        span=span,
        state=state,
        target=Decimal(target),
        unit="{steps}" if kind is Kind.REACH_TOTAL else "{times}",
        value_min=Decimal(1),
        value_max=Decimal(value_max),
        per_day=per_day,
        points=50,
        late_data_days=30,
        check_ins=check_ins,
        paused_days=frozenset(march(number) for number in paused),
    )


def check_in(
    facts: TaskFacts,
    day: int = 20,
    *,
    value: str | None = None,
    now: datetime = NOW,
    occurred_at: datetime | None = None,
    consent: ConsentState = ConsentState.GRANTED,
    caps: Sequence[Cap] = (),
) -> rules.Accepted | rules.Repeated | rules.Refused:
    return rules.decide(
        facts,
        occurred_at=occurred_at or noon(march(day)),
        local_date=march(day),
        value=None if value is None else Decimal(value),
        now=now,
        consent=consent,
        caps=caps,
    )


def accepted(
    answer: rules.Accepted | rules.Repeated | rules.Refused,
) -> tuple[str, str, int, Reason]:
    assert isinstance(answer, rules.Accepted)
    return str(answer.done_after), answer.state_after, answer.points_awarded, answer.reason


# ── Progress ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", LIKE_TIMES)
def test_times_are_counted_whatever_their_value(kind: Kind) -> None:
    found = rules.progress(kind, ticks(1, 1, 5, value="30"), span=MARCH, paused_days=())
    assert found == 3


def test_totals_add_up_and_a_tick_is_one() -> None:
    check_ins = [*ticks(1, 2, value="2500.5"), *ticks(3)]
    found = rules.progress(Kind.REACH_TOTAL, check_ins, span=MARCH, paused_days=())
    assert found == Decimal("5002.0")


@pytest.mark.parametrize(
    ("counted", "paused", "longest"),
    [
        ([], [], 0),
        ([1, 2, 3], [], 3),
        ([3, 1, 2, 2], [], 3),
        ([1, 2, 4, 5, 6], [], 3),
        ([1, 2, 5, 6], [3, 4], 4),
        ([1, 2, 5, 6], [3], 2),
        ([5, 6], [1, 2, 3, 4], 2),
    ],
)
def test_a_streak_is_the_longest_run_and_a_pause_does_not_break_it(
    counted: list[int], paused: list[int], longest: int
) -> None:
    facts = task(Kind.DAYS_IN_A_ROW, paused=paused)
    found = rules.progress(facts.kind, ticks(*counted), span=MARCH, paused_days=facts.paused_days)
    assert found == longest


@settings(max_examples=200)
@given(st.sets(st.integers(1, 31)), st.sets(st.integers(1, 31)))
def test_a_streak_is_the_one_of_a_calendar_without_the_paused_days(
    counted: set[int], paused: set[int]
) -> None:
    days = frozenset(march(number) for number in paused)
    check_ins = [*ticks(*(counted - paused)), *ticks(*(counted & paused), counts=False)]
    row = "".join("x" if n in counted else " " for n in range(1, 32) if n not in paused)
    found = rules.progress(Kind.DAYS_IN_A_ROW, check_ins, span=MARCH, paused_days=days)
    assert found == max(map(len, row.split()), default=0)


def test_paused_days_are_those_of_the_period() -> None:
    pauses = [PausedDays(date(2026, 2, 20), march(2)), PausedDays(march(30), None)]
    assert sorted(rules.paused_days(pauses, MARCH)) == [march(n) for n in (1, 2, 30, 31)]


# ── Check-ins ────────────────────────────────────────────────────────────────────────────────


def test_the_check_in_that_completes_a_task_pays_it_and_no_other_does() -> None:
    first = check_in(task(), 18)
    assert accepted(first) == ("1", State.OPEN, 0, Reason.COUNTED)
    second = check_in(task(check_ins=ticks(18)), 19)
    assert accepted(second) == ("2", State.DONE, 50, Reason.COMPLETED)
    third = check_in(task(check_ins=ticks(18, 19), state=State.DONE), 20)
    assert accepted(third) == ("3", State.DONE, 0, Reason.ALREADY_COMPLETE)


@pytest.mark.parametrize("state", sorted(rules.CLOSED_UNDONE))
def test_a_late_check_in_inside_its_period_is_paid_after_the_close(state: State) -> None:
    facts = task(check_ins=ticks(18), state=state)
    late = check_in(facts, 21, now=datetime(2026, 4, 20, 11, tzinfo=UTC))
    assert accepted(late) == ("2", State.DONE, 50, Reason.COMPLETED_LATE)
    assert isinstance(late, rules.Accepted) and late.late
    short = check_in(replace(facts, check_ins=()), 21, now=datetime(2026, 4, 20, tzinfo=UTC))
    assert accepted(short) == ("1", state, 0, Reason.COUNTED)


def test_a_late_day_joins_two_runs() -> None:
    facts = task(Kind.DAYS_IN_A_ROW, target=5, check_ins=ticks(10, 11, 13, 14))
    assert accepted(check_in(facts, 12)) == ("5", State.DONE, 50, Reason.COMPLETED)


def test_abstaining_is_confirmed_now_and_paid_by_the_clock() -> None:
    facts = task(Kind.ABSTAIN, target=1)
    assert accepted(check_in(facts)) == ("1", State.OPEN, 0, Reason.SETTLED_AT_END)
    missed = replace(facts, state=State.MISSED)
    late = check_in(missed, now=datetime(2026, 4, 2, tzinfo=UTC))
    assert accepted(late) == ("1", State.DONE, 50, Reason.COMPLETED_LATE)


def test_a_check_in_while_paused_is_paid_but_counts_for_no_streak() -> None:
    times = check_in(task(target=1, paused=[20]))
    assert accepted(times) == ("1", State.DONE, 50, Reason.COMPLETED)
    assert isinstance(times, rules.Accepted) and not times.counts
    streak = check_in(task(Kind.DAYS_IN_A_ROW, check_ins=ticks(18, 19), target=3, paused=[20]))
    assert accepted(streak) == ("2", State.OPEN, 0, Reason.COUNTED_WHILE_PAUSED)


@pytest.mark.parametrize(
    ("caps", "paid", "named"),
    [
        ([Cap(CapKind.DAY, 50, 0)], 50, None),
        ([Cap(CapKind.DAY, 60, 20)], 40, "CAPPED_DAY"),
        ([Cap(CapKind.MONTH, 100, 100)], 0, "CAPPED_MONTH"),
        ([Cap(CapKind.MONTH, 100, 130)], 0, "CAPPED_MONTH"),
        ([Cap(CapKind.DAY, 60, 20), Cap(CapKind.YEAR, 100, 90)], 10, "CAPPED_YEAR"),
        ([Cap(CapKind.MEMBER, 10, 0), Cap(CapKind.RULE, 10, 0)], 10, "CAPPED_RULE"),
        ([Cap(CapKind.MEMBER, 1000, 999)], 1, "CAPPED_MEMBER"),
    ],
)
def test_caps_leave_what_there_is_room_for(caps: list[Cap], paid: int, named: str | None) -> None:
    answer = check_in(task(target=1), caps=caps)
    assert accepted(answer) == ("1", State.DONE, paid, named or Reason.COMPLETED)
    assert isinstance(answer, rules.Accepted)
    assert answer.capped_by == (named and named.removeprefix("CAPPED_"))


def test_no_cap_is_named_when_nothing_would_be_paid_anyway() -> None:
    full = [Cap(CapKind.DAY, 0, 0)]
    assert accepted(check_in(task(target=2), caps=full))[2:] == (0, Reason.COUNTED)
    done = task(state=State.DONE, check_ins=ticks(19), target=1)
    assert accepted(check_in(done, caps=full))[2:] == (0, Reason.ALREADY_COMPLETE)


def test_the_same_instant_or_a_full_day_is_a_repetition() -> None:
    once = task(check_ins=ticks(20))
    assert check_in(once) == rules.Repeated(0)
    later = noon(march(20)) - timedelta(hours=3)
    assert check_in(once, occurred_at=later) == rules.Repeated(0)
    twice = replace(once, per_day=2)
    assert check_in(twice) == rules.Repeated(0)
    second = check_in(twice, occurred_at=later)
    assert isinstance(second, rules.Accepted) and second.slot == 1


@pytest.mark.parametrize(
    ("changes", "code", "field", "words"),
    [
        ({"occurred_at": NOW + timedelta(minutes=5, seconds=1)}, "IN_FUTURE", "occurredAt", ""),
        ({"now": NOW + timedelta(days=30, seconds=1)}, "TOO_OLD", "occurredAt", "30 days"),
        ({"span": Span(march(21), march(31))}, "TASK_NOT_DUE", "occurredAt", "2026-03-21"),
        (
            {"span": Span(march(1), march(19))},
            "EVIDENCE_MISSING",
            "evidence.photoKey",
            "2026-03-19",
        ),
        ({"consent": ConsentState.NOT_ASKED}, "CONSENT_MISSING", "taskId", "needs your consent"),
        ({"consent": ConsentState.REFUSED}, "CONSENT_MISSING", "taskId", "refused"),
        ({"consent": ConsentState.WITHDRAWN}, "CONSENT_MISSING", "taskId", "withdrew"),
        ({"value": "0.999"}, "VALUE_OUT_OF_RANGE", "value", "from 1 to 30000 (steps)"),
        ({"value": "30000.001"}, "VALUE_OUT_OF_RANGE", "value", "from 1 to 30000 (steps)"),
        ({"value": "-1"}, "VALUE_OUT_OF_RANGE", "value", ""),
        ({"value": "NaN"}, "VALUE_OUT_OF_RANGE", "value", ""),
        ({"value": "sNaN"}, "VALUE_OUT_OF_RANGE", "value", ""),
        ({"value": "Infinity"}, "VALUE_OUT_OF_RANGE", "value", ""),
        ({"value": "1E+999999"}, "VALUE_OUT_OF_RANGE", "value", ""),
    ],
)
def test_refuses_and_says_why(changes: dict, code: str, field: str, words: str) -> None:
    facts = task(Kind.REACH_TOTAL, value_max="30000", span=changes.pop("span", MARCH))
    refused = check_in(facts, **changes)
    assert isinstance(refused, rules.Refused)
    assert (refused.code, refused.field) == (ErrorCode(code), field)
    assert words in refused.text.en and refused.text.zh


@pytest.mark.parametrize(
    "changes",
    [
        {"occurred_at": NOW + timedelta(minutes=5)},
        {"now": NOW + timedelta(days=30)},
        {"value": "1"},
        {"value": "30000"},
        {"value": "1.23456"},
    ],
)
def test_accepts_up_to_the_limit(changes: dict) -> None:
    answer = check_in(task(Kind.REACH_TOTAL, value_max="30000"), **changes)
    assert isinstance(answer, rules.Accepted)
    assert answer.value is None or answer.value == answer.value.quantize(Decimal("0.001"))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([Kind.TIMES_IN_PERIOD, Kind.DAYS_IN_A_ROW, Kind.REACH_TOTAL, Kind.ABSTAIN]),
    st.integers(1, 6),
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 23)), max_size=25),
    st.sets(st.integers(1, 20), max_size=4),
    st.integers(0, 25),
)
def test_a_task_pays_at_most_once_and_exactly_when_it_is_done(
    kind: Kind,
    target: int,
    per_day: int,
    sent: list[tuple[int, int]],
    paused: set[int],
    closes_after: int,
) -> None:
    facts = task(kind, target=target, per_day=per_day, paused=sorted(paused))
    paid = 0

    def close(before: TaskFacts) -> TaskFacts:
        nonlocal paid
        settled = rules.settle(before, consent=ConsentState.GRANTED)
        paid += settled.points
        return replace(before, state=settled.state)

    for number, (day, hour) in enumerate(sent):
        if number == closes_after:
            facts = close(facts)
        at = noon(march(day)).replace(hour=hour)
        answer = check_in(facts, day, occurred_at=at, now=datetime(2026, 3, 30, tzinfo=UTC))
        if isinstance(answer, rules.Accepted):
            new = Counted(march(day), answer.value, answer.counts, answer.slot, at)
            paid += answer.points_awarded
            facts = replace(facts, check_ins=[*facts.check_ins, new], state=answer.state_after)
    facts = close(facts)
    keys = [(check.local_date, check.slot) for check in facts.check_ins]
    assert len(keys) == len(set(keys))
    assert all(check.slot < per_day for check in facts.check_ins)
    done = rules.progress(kind, facts.check_ins, span=MARCH, paused_days=facts.paused_days)
    assert (facts.state is State.DONE) == (done >= target)
    assert paid == (50 if facts.state is State.DONE else 0)


# ── Closing and participation ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("facts", "consent", "state", "points"),
    [
        (task(), ConsentState.GRANTED, State.MISSED, 0),
        (task(check_ins=ticks(1)), ConsentState.GRANTED, State.MISSED, 0),
        (task(paused=[5]), ConsentState.GRANTED, State.PAUSED, 0),
        (task(), ConsentState.NOT_ASKED, State.MISSED, 0),
        (task(), ConsentState.REFUSED, State.CONSENT_REFUSED, 0),
        (task(paused=[5]), ConsentState.WITHDRAWN, State.CONSENT_WITHDRAWN, 0),
        (task(state=State.DONE), ConsentState.WITHDRAWN, State.DONE, 0),
        (task(state=State.IN_REVIEW), ConsentState.GRANTED, State.IN_REVIEW, 0),
        (task(Kind.ABSTAIN, check_ins=ticks(3, 4)), ConsentState.GRANTED, State.DONE, 50),
        (task(Kind.ABSTAIN, check_ins=ticks(3)), ConsentState.GRANTED, State.MISSED, 0),
    ],
)
def test_the_clock_closes_a_period(
    facts: TaskFacts, consent: ConsentState, state: State, points: int
) -> None:
    settled = rules.settle(facts, consent=consent)
    assert settled == rules.Settled(state, points)
    again = rules.settle(replace(facts, state=settled.state), consent=consent)
    assert again == rules.Settled(state, 0)


def test_participation_leaves_out_what_is_no_fault() -> None:
    closed = [
        *[ClosedTask(State.DONE, True)] * 5,
        *[ClosedTask(State.MISSED, False)] * 2,
        ClosedTask(State.DONE, False),
        *[ClosedTask(state, False) for state in sorted(rules.CLOSED_UNDONE - {State.MISSED})],
        ClosedTask(State.OPEN, False),
        ClosedTask(State.IN_REVIEW, True),
    ]
    month = rules.participation(closed)
    assert month == rules.Participation(due=7, done=5, paused=2, silent=1, refused=1, withdrawn=1)
    assert month.percent == Decimal("71.429")


def test_what_only_paused_days_completed_is_no_participation() -> None:
    check_ins = [*ticks(1), *ticks(2, counts=False)]
    for target, expected in [(1, True), (2, False)]:
        assert expected is rules.participated(
            Kind.TIMES_IN_PERIOD,
            check_ins,
            target=Decimal(target),
            span=MARCH,
            paused_days={march(2)},
        )


@pytest.mark.parametrize(
    ("due", "done", "counts"), [(5, 4, True), (5, 3, False), (0, 0, False), (1, 1, True)]
)
def test_a_month_counts_from_its_threshold_on(due: int, done: int, counts: bool) -> None:
    month = rules.Participation(due=due, done=done, paused=0)
    assert rules.counts_as_participation(month, threshold=Decimal(80)) is counts


def test_a_threshold_is_never_reached_by_rounding() -> None:
    month = rules.Participation(due=3, done=2, paused=0)
    assert month.percent == Decimal("66.667")
    assert not rules.counts_as_participation(month, threshold=Decimal("66.667"))


def test_todays_tasks_are_ordered_by_what_can_least_wait() -> None:
    today, week = march(20), Span(march(16), march(22))
    one_day = Span(today, today)
    tasks = {
        "medicine": (task(target=1, span=one_day), 0, 0),
        "three left in three days": (task(target=3, span=week), 0, 0),
        "one left in three days": (task(target=3, span=week), 2, 0),
        "month": (task(target=2), 0, 0),
        "ticked today": (task(target=3, span=week), 1, 1),
        "in review": (task(state=State.IN_REVIEW, span=one_day), 0, 0),
        "done": (task(state=State.DONE, span=one_day), 1, 1),
    }

    def key(name: str) -> tuple[Any, ...]:
        facts, done, checked_in_today = tasks[name]
        most = int(facts.value_max * 1000) if facts.kind is Kind.REACH_TOTAL else 1000
        return *rules.urgency(
            facts.state,
            checked_in_today >= facts.per_day,
            int(facts.target * 1000) - done * 1000,
            facts.per_day * most,
            (facts.span.ends_on - today).days + 1,
        ), facts.span.ends_on

    order = sorted(tasks, key=key)
    assert order == list(tasks)


def test_every_reason_is_explained_in_both_languages() -> None:
    texts = [rules.explanation(reason, points=37) for reason in Reason]
    assert len({text.zh for text in texts}) == len({text.en for text in texts}) == len(texts)
    for reason in (Reason.COMPLETED, Reason.COMPLETED_LATE, Reason.CAPPED_DAY):
        text = rules.explanation(reason, points=37)
        assert "37" in text.zh and "37" in text.en
