"""The periods of a task: from the first to the last local day, both included."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

_DAY = timedelta(days=1)


class Period(StrEnum):
    DAY = "day"
    WEEK = "week"
    """Monday to Sunday."""
    MONTH = "month"
    ONCE = "once"
    """From the first to the last day of the assignment."""


period_by_value = {it.value: it for it in Period}.__getitem__


@dataclass(frozen=True, slots=True)
class Span:
    """Local days, both included."""

    starts_on: date
    ends_on: date

    def __contains__(self, day: date) -> bool:
        return self.starts_on <= day <= self.ends_on

    @property
    def days(self) -> int:
        return (self.ends_on - self.starts_on).days + 1


def period_of(
    period: Period, day: date, *, assigned_from: date, assigned_to: date | None
) -> Span | None:
    """The period that holds `day`, cut to the days of the assignment (both included); null on
    a day outside of it. Raises ValueError for a one-off assignment without a last day."""
    if period is Period.ONCE and assigned_to is None:
        raise ValueError("A one-off assignment needs its last day.")
    if day < assigned_from or (assigned_to is not None and day > assigned_to):
        return None
    whole = _whole(period, day)
    starts_on = max(whole.starts_on, assigned_from)
    ends_on = whole.ends_on if assigned_to is None else min(whole.ends_on, assigned_to)
    return Span(starts_on, ends_on)


def next_period(
    period: Period, after: Span, *, assigned_from: date, assigned_to: date | None
) -> Span | None:
    """The period that follows; null when the assignment is over."""
    if period is Period.ONCE:
        return None
    day = after.ends_on + _DAY
    return period_of(period, day, assigned_from=assigned_from, assigned_to=assigned_to)


def periods_touching(
    period: Period, days: Span, *, assigned_from: date, assigned_to: date | None
) -> list[Span]:
    """Every period that has a day in common with `days`, in order. The caller bounds `days`."""
    found: list[Span] = []
    day = max(days.starts_on, assigned_from)
    while day <= days.ends_on:
        span = period_of(period, day, assigned_from=assigned_from, assigned_to=assigned_to)
        if span is None:
            break
        found.append(span)
        day = span.ends_on + _DAY
    return found


def whole_days(period: Period, span: Span) -> int:
    """How many days the period of `span` has before the assignment cuts it."""
    return span.days if period is Period.ONCE else _whole(period, span.starts_on).days


def _whole(period: Period, day: date) -> Span:
    match period:
        case Period.DAY:
            return Span(day, day)
        case Period.WEEK:
            monday = day - timedelta(days=day.weekday())
            return Span(monday, monday + timedelta(days=6))
        case Period.MONTH:
            first = day.replace(day=1)
            # Day 28 and four more days lie in the next month, whatever the month.
            following = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
            return Span(first, following - _DAY)
        case Period.ONCE:
            return Span(date.min, date.max)
