"""Blood pressure by a guideline: pairs, their average, and its level. No I/O, no clock."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal

from app.records.readings import Reading
from app.records.thresholds import Level, PressureSet

Pair = tuple[Reading, Reading]


def grade(thresholds: PressureSet, systolic: Decimal, diastolic: Decimal) -> Level:
    """The higher of the two levels."""
    return [
        level
        for level in thresholds.levels
        if systolic >= level.systolic or diastolic >= level.diastolic
    ][-1]


def is_isolated_systolic(thresholds: PressureSet, systolic: Decimal, diastolic: Decimal) -> bool:
    level = thresholds.isolated_systolic
    return level is not None and systolic >= level.systolic and diastolic < level.diastolic


def pairs(systolic: Sequence[Reading], diastolic: Sequence[Reading]) -> Iterator[Pair]:
    """Of one instant, source and method, newest first."""
    others = {(it.measured_at, it.source_id, it.method): it for it in diastolic}
    for reading in systolic:
        other = others.get((reading.measured_at, reading.source_id, reading.method))
        if other is not None:
            yield reading, other


def within(thresholds: PressureSet, pairs: Sequence[Pair]) -> list[Pair]:
    """Those of the days up to the newest that are looked at together."""
    first = pairs[0][0].local_date - timedelta(days=thresholds.days_measured - 1)
    return [pair for pair in pairs if pair[0].local_date >= first]


def averaged(thresholds: PressureSet, pairs: Sequence[Pair]) -> list[Pair]:
    found = within(thresholds, pairs)
    days = {pair[0].local_date for pair in found}
    if thresholds.leaves_out_first_day and len(days) >= thresholds.days_enough:
        return [pair for pair in found if pair[0].local_date > min(days)]
    return found


def mean(pairs: Sequence[Pair]) -> tuple[Decimal, Decimal]:
    """Exact: a mean of 139.9 is below 140, however it is shown."""
    systolic = sum((pair[0].value for pair in pairs), Decimal(0)) / len(pairs)
    diastolic = sum((pair[1].value for pair in pairs), Decimal(0)) / len(pairs)
    return systolic, diastolic


def is_high(thresholds: PressureSet, pairs: Sequence[Pair], day: date) -> bool:
    return grade(thresholds, *mean([it for it in pairs if it[0].local_date == day])).hypertension
