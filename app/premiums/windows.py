"""Windows of whole calendar months, and averages at their two ends (PRM-18).

Months are counted as one number (`month_number`), so that a window is a range. Averages are
compared exactly, as fractions; nothing is rounded before a rule has decided.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import IntEnum

from app.premiums.facts import MonthOfReadings, Series
from app.premiums.pricing_rules import MetricChange
from app.premiums.rules import Term


def month_number(day: date) -> int:
    """Of its calendar month, counted without gaps."""
    return day.year * 12 + day.month - 1


def first_day(month: int) -> date:
    return date(month // 12, month % 12 + 1, 1)


def closing_in(covered: Term) -> range:
    """Months that close within a term: those whose last day lies in it."""
    after = covered.ends_on + timedelta(days=1)
    return range(month_number(covered.starts_on), month_number(after))


@dataclass(frozen=True, slots=True)
class Window:
    months: range
    end_months: int

    @property
    def start(self) -> range:
        return self.months[: self.end_months]

    @property
    def end(self) -> range:
        return self.months[len(self.months) - self.end_months :]

    @property
    def between(self) -> range:
        return self.months[self.end_months : len(self.months) - self.end_months]


def last_of(covered: Term, *, months: int, end_months: int) -> Window | None:
    """The last `months` months that close within a term; None when fewer do."""
    closing = closing_in(covered)
    return Window(closing[-months:], end_months) if len(closing) >= months else None


def since(day: date, *, months: int, end_months: int) -> Window:
    """From the month of `day` to the one that lies `months` months later."""
    first = month_number(day)
    return Window(range(first, first + months + 1), end_months)


@dataclass(frozen=True, slots=True)
class Average:
    """What is known of one end of a window."""

    total: Decimal
    readings: int
    days: int
    first_on: date | None
    last_on: date | None

    @property
    def exact(self) -> Decimal:
        return self.total / self.readings


class Miss(IntEnum):
    """Why a series shows no change; the later ones say more."""

    NO_READINGS = 0
    TOO_FEW_AT_START = 1
    TOO_FEW_AT_END = 2
    NOT_ENOUGH = 3
    BROKEN = 4


@dataclass(frozen=True, slots=True)
class Missed:
    miss: Miss
    metric: MetricChange
    window: Window
    context: str | None = None
    start: Average | None = None
    end: Average | None = None
    worse: date | None = None
    """First day of the month that was worse than the beginning."""


@dataclass(frozen=True, slots=True)
class Moved:
    series: Series
    start: Average
    end: Average


@dataclass(frozen=True, slots=True)
class Demand:
    """What a rule asks of both ends (PRM-18), and of the months between them."""

    readings_min: int
    days_min: int
    consecutive: bool


Months = Mapping[int, MonthOfReadings]


class Readings:
    """Series by their code; of one code those without a context first, then by its name."""

    __slots__ = ("_by_code",)

    def __init__(self, series: Iterable[Series]) -> None:
        self._by_code: dict[str, list[tuple[Series, Months]]] = {}
        for it in sorted(series, key=lambda it: it.context or ""):
            months = {month_number(month.month): month for month in it.months}
            self._by_code.setdefault(it.code, []).append((it, months))

    def of(self, metric: MetricChange) -> Iterator[tuple[Series, Months]]:
        """Raises ValueError for readings in another unit than the rule's."""
        for series, months in self._by_code.get(metric.measurement, ()):
            if metric.context is None or series.context == metric.context:
                if series.unit != metric.unit:
                    raise ValueError(
                        f"{series.code} is in {series.unit}; the rule asks for {metric.unit}"
                    )
                yield series, months


def judge(
    metric: MetricChange, readings: Readings, window: Window, demand: Demand
) -> Moved | Missed:
    """The first context that shows the change, or what came closest to it."""
    closest = Missed(Miss.NO_READINGS, metric, window)
    for series, months in readings.of(metric):
        found = _judge(metric, series, months, window, demand)
        if isinstance(found, Moved):
            return found
        if found.miss > closest.miss:
            closest = found
    return closest


def _judge(
    metric: MetricChange, series: Series, months: Months, window: Window, demand: Demand
) -> Moved | Missed:
    start, end = _average(months, window.start), _average(months, window.end)

    def missed(miss: Miss, worse: date | None = None) -> Missed:
        return Missed(miss, metric, window, series.context, start, end, worse)

    if not start.readings and not end.readings:
        return missed(Miss.NO_READINGS)
    if start.readings < demand.readings_min or start.days < demand.days_min:
        return missed(Miss.TOO_FEW_AT_START)
    if end.readings < demand.readings_min or end.days < demand.days_min:
        return missed(Miss.TOO_FEW_AT_END)
    # end - start against `by`, both multiplied by both counts.
    difference = end.total * start.readings - start.total * end.readings
    limit = metric.by * (start.readings * end.readings)
    if not (difference <= limit if metric.by < 0 else difference >= limit):
        return missed(Miss.NOT_ENOUGH)
    if demand.consecutive:
        for number in window.between:
            month = months.get(number)
            if month is not None and _is_worse(month, start, metric, demand):
                return missed(Miss.BROKEN, first_day(number))
    return Moved(series, start, end)


def _is_worse(month: MonthOfReadings, start: Average, metric: MetricChange, demand: Demand) -> bool:
    """Only a month that is itself an average of enough readings can be."""
    if month.readings < demand.readings_min or month.days < demand.days_min:
        return False
    difference = month.total * start.readings - start.total * month.readings
    return difference > 0 if metric.by < 0 else difference < 0


def _average(months: Months, numbers: range) -> Average:
    total, readings, days = Decimal(0), 0, 0
    first_on = last_on = None
    for number in numbers:
        month = months.get(number)
        if month is not None:
            total += month.total
            readings += month.readings
            days += month.days
            first_on = first_on or month.first_on
            last_on = month.last_on
    return Average(total, readings, days, first_on, last_on)
