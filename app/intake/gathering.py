"""Portions in order of time become totals of local days, source by source. No I/O, no clock."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from app import civil_time
from app.intake.spool import Portion
from app.measurements.catalogue import quantities

INTERVALS_MAX = 288
_KEPT = Decimal("0.001")
_SLEEP = "SLEEP_DURATION"
_NIGHT_MS = 6 * 3_600_000
"""A night belongs to the day on which it ends: a day of sleep begins at 18:00 the day before."""
_PER_MS = {"h": Decimal(3_600_000), "min": Decimal(60_000)}


class Interval(NamedTuple):
    start: int
    end: int
    """Milliseconds since 1970; later than `start`."""
    value: Decimal


class DayTotal(NamedTuple):
    """What one source counted on one local day, in the canonical unit of its code."""

    code: str
    local_date: date
    source: str
    value: Decimal
    unit: str
    method: str
    intervals: tuple[Interval, ...]
    """Not overlapping, in order, at most INTERVALS_MAX."""
    where: int
    """Place of its first portion."""


@dataclass(slots=True)
class _Day:
    method: str
    where: int
    intervals: list[Interval] = field(default_factory=list)


def by_day(portions: Iterable[Portion], zone: ZoneInfo) -> Iterator[DayTotal]:
    """Totals in order of days. `portions` are in order of their start."""
    open_days: dict[tuple[date, str, str], _Day] = {}
    midnights = _Midnights(zone)
    latest = date.min
    for portion in portions:
        shift = _NIGHT_MS if portion.code == _SLEEP else 0
        for day, piece in _split(portion, midnights, shift):
            key = (day, portion.code, portion.source)
            found = open_days.get(key)
            if found is None:
                found = open_days[key] = _Day(portion.method, portion.where)
            found.intervals.append(piece)
        # Nothing that starts later belongs to a day before this one.
        today = midnights.day_of(portion.start)
        if today > latest:
            latest = today
            for key in sorted(it for it in open_days if it[0] < today):
                yield _total(key, open_days.pop(key))
    for key in sorted(open_days):
        yield _total(key, open_days[key])


class _Midnights:
    """The local day of instants; it remembers the last one, since they come in order."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._day = date.min
        self._start = self._end = 0

    def day_of(self, ms: int) -> date:
        self._seek(ms)
        return self._day

    def end_of_day(self, ms: int) -> int:
        self._seek(ms)
        return self._end

    def _seek(self, ms: int) -> None:
        if self._start <= ms < self._end:
            return
        self._day = civil_time.local_date(_instant(ms), self._zone)
        self._start = _ms(civil_time.start_of_day(self._day, self._zone))
        self._end = _ms(civil_time.end_of_day(self._day, self._zone))


def _instant(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def _ms(instant: datetime) -> int:
    return int(instant.timestamp()) * 1000


def _split(portion: Portion, midnights: _Midnights, shift: int) -> Iterator[tuple[date, Interval]]:
    """The pieces of each local day, the value in proportion to their length."""
    quantity = quantities()[portion.code]
    start, end = portion.start + shift, portion.end + shift
    length = end - start
    if portion.value:
        unit = quantity.unit(portion.unit)
        assert unit is not None, portion.unit
        value = Decimal(portion.value) * unit.multiply / unit.divide + unit.add
    else:
        value = length / _PER_MS[quantity.canonical.ucum]
    if length == 0:
        yield midnights.day_of(start), Interval(start - shift, start - shift + 1000, value)
        return
    while start < end:
        day, until = midnights.day_of(start), min(midnights.end_of_day(start), end)
        yield day, Interval(start - shift, until - shift, value * (until - start) / length)
        start = until


def _total(key: tuple[date, str, str], day: _Day) -> DayTotal:
    local_date, code, source = key
    lasting = code in (_SLEEP, "MINDFUL_MINUTES")
    intervals = bounded(_disjoint(sorted(day.intervals), lasting=lasting))
    rounded = tuple(it._replace(value=_round(it.value)) for it in intervals)
    return DayTotal(
        code,
        local_date,
        source,
        # The sum of what is said of the parts, so that the two agree to the last digit.
        sum((it.value for it in rounded), Decimal(0)),
        quantities()[code].canonical.ucum,
        day.method,
        rounded,
        day.where,
    )


def _round(value: Decimal) -> Decimal:
    return value.quantize(_KEPT, rounding=ROUND_HALF_UP)


def _disjoint(intervals: Iterable[Interval], *, lasting: bool) -> list[Interval]:
    """Overlapping ones of one source become one. What counts by its length is counted once,
    other values add up: a phone records what it counted since it last did."""
    found: list[Interval] = []
    for it in intervals:
        if not found or it.start >= found[-1].end:
            found.append(it)
            continue
        last = found[-1]
        value = last.value + it.value
        if lasting:
            new = max(0, it.end - last.end)
            value = last.value + it.value * new / (it.end - it.start)
        found[-1] = Interval(last.start, max(last.end, it.end), value)
    return found


def bounded(intervals: list[Interval]) -> list[Interval]:
    """At most INTERVALS_MAX, by joining those that are closest to each other."""
    gap = 0
    while len(intervals) > INTERVALS_MAX:
        found = intervals[:1]
        for it in intervals[1:]:
            last = found[-1]
            if it.start - last.end <= gap and it.end - last.start <= max(gap, 300_000):
                found[-1] = Interval(last.start, it.end, last.value + it.value)
            else:
                found.append(it)
        intervals = found
        gap = gap * 2 or 15_000
    return intervals
