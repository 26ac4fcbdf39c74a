"""The periods of a task, and what an assignment cuts of them."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.health_tasks import rules
from app.health_tasks.rules import Period, Span

MARCH = Span(date(2026, 3, 1), date(2026, 3, 31))


def march(number: int) -> date:
    return date(2026, 3, number)


@pytest.mark.parametrize(
    ("period", "day", "starts_on", "ends_on"),
    [
        (Period.DAY, "2026-03-18", "2026-03-18", "2026-03-18"),
        (Period.WEEK, "2026-03-18", "2026-03-16", "2026-03-22"),
        (Period.WEEK, "2026-03-16", "2026-03-16", "2026-03-22"),
        (Period.WEEK, "2026-03-22", "2026-03-16", "2026-03-22"),
        (Period.WEEK, "2026-01-01", "2025-12-29", "2026-01-04"),
        (Period.MONTH, "2026-02-28", "2026-02-01", "2026-02-28"),
        (Period.MONTH, "2028-02-01", "2028-02-01", "2028-02-29"),
        (Period.MONTH, "2026-12-31", "2026-12-01", "2026-12-31"),
        (Period.ONCE, "2026-03-18", "2025-11-05", "2028-12-20"),
    ],
)
def test_the_period_of_a_day(period: Period, day: str, starts_on: str, ends_on: str) -> None:
    span = rules.period_of(
        period,
        date.fromisoformat(day),
        assigned_from=date(2025, 11, 5),
        assigned_to=date(2028, 12, 20),
    )
    assert span == Span(date.fromisoformat(starts_on), date.fromisoformat(ends_on))


def test_an_assignment_cuts_its_first_and_last_period() -> None:
    weeks = rules.periods_touching(
        Period.WEEK, MARCH, assigned_from=march(18), assigned_to=march(24)
    )
    assert weeks == [Span(march(18), march(22)), Span(march(23), march(24))]
    assert rules.period_of(Period.DAY, march(17), assigned_from=march(18), assigned_to=None) is None
    assert (
        rules.next_period(Period.WEEK, weeks[1], assigned_from=march(18), assigned_to=march(24))
        is None
    )


def test_what_is_asked_in_a_cut_period_is_its_share_rounded_up() -> None:
    asked = [
        rules.target_in(Decimal(5), Period.WEEK, Span(march(number), march(22)))
        for number in (16, 17, 18, 21, 22)
    ]
    assert asked == [5, 5, 4, 2, 1]
    assert rules.target_in(Decimal(1), Period.ONCE, Span(march(1), march(2))) == 1


def test_a_one_off_needs_its_last_day() -> None:
    with pytest.raises(ValueError, match="last day"):
        rules.period_of(Period.ONCE, march(1), assigned_from=march(1), assigned_to=None)
    span = Span(march(1), march(9))
    assert (
        rules.next_period(Period.ONCE, span, assigned_from=march(1), assigned_to=march(9)) is None
    )


@settings(max_examples=200)
@given(
    st.sampled_from([Period.DAY, Period.WEEK, Period.MONTH]),
    st.dates(date(2020, 1, 1), date(2035, 1, 1)),
    st.integers(0, 120),
    st.integers(0, 60),
)
def test_periods_cover_an_assignment_without_hole_or_overlap(
    period: Period, assigned_from: date, length: int, margin: int
) -> None:
    assigned_to = assigned_from + timedelta(days=length)
    asked = Span(assigned_from - timedelta(days=margin), assigned_to + timedelta(days=margin))
    spans = rules.periods_touching(
        period, asked, assigned_from=assigned_from, assigned_to=assigned_to
    )
    assert (spans[0].starts_on, spans[-1].ends_on) == (assigned_from, assigned_to)
    for span, following in zip(spans, [*spans[1:], None], strict=True):
        for day in (span.starts_on, span.ends_on):
            assert span == rules.period_of(
                period, day, assigned_from=assigned_from, assigned_to=assigned_to
            )
        assert following == rules.next_period(
            period, span, assigned_from=assigned_from, assigned_to=assigned_to
        )
        if following is not None:
            assert following.starts_on == span.ends_on + timedelta(days=1)
