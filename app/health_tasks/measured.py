"""What the readings and totals of a local day mean for a task. No I/O, no clock."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from app.health_tasks.kinds import TaskKind

SLOT = 1000
"""Of the one check-in that the data of a local day make; a tick has a smaller one."""


class DataRule(NamedTuple):
    """Which data complete a task without a tick. The columns of `DATA_COLUMNS`, in their
    order."""

    code: str
    """Of the measurement catalogue; both bounds are in its canonical unit, and included."""
    at_least: Decimal | None
    at_most: Decimal | None
    self_reported: bool
    """Whether what the member types counts as well; else only what is trusted MEDIUM or HIGH."""


DATA_COLUMNS = "a.data_code, a.data_at_least, a.data_at_most, a.data_self_reported"
"""Of the table `task_assignments`, as `a`."""


class Readings(NamedTuple):
    """Those of one code on one local day."""

    n: int
    lowest: Decimal | None
    highest: Decimal | None
    sum: Decimal | None
    last_at: datetime | None


class DataOfDay(NamedTuple):
    """What is known of one code on one local day."""

    total: Decimal | None
    """Over all sources, overlaps counted once."""
    trusted_total: Decimal | None
    """The same over sources that are trusted MEDIUM or HIGH."""
    readings: Readings
    trusted: Readings
    """Those that are trusted MEDIUM or HIGH."""


class Added(NamedTuple):
    """What is new of one code on one local day, where nothing but readings was added."""

    lowest: Decimal
    highest: Decimal


@dataclass(frozen=True, slots=True)
class Measured:
    """What the data of a day say."""

    qualifies: bool
    value: Decimal | None
    """In the task's unit; null where a day counts as one."""
    at: datetime | None
    """Of the last reading; null for a total."""


def measured(kind: TaskKind, rule: DataRule, day: DataOfDay, *, adds_up: bool) -> Measured | None:
    """What the data of a local day say about a task; None when there are none that may.

    Of what adds up over a day (`adds_up`: hours of sleep, cigarettes) the amount counts: that of
    the total or that of the readings, whichever is more, so that no source hides another. Of
    anything else each reading must lie within the bounds.
    """
    total = day.total if rule.self_reported else day.trusted_total
    found = day.readings if rule.self_reported else day.trusted
    if total is None and found.n == 0:
        return None
    lowest, highest = found.lowest, found.highest
    if adds_up or lowest is None or highest is None:
        lowest = highest = max(it for it in (total, found.sum) if it is not None)
    value = highest if kind is TaskKind.REACH_TOTAL else None
    return Measured(_within(rule, lowest, highest), value, found.last_at)


def stays(kind: TaskKind, rule: DataRule, added: Added, *, adds_up: bool) -> bool:
    """Whether a day that qualified still does, with the same value, whatever its earlier readings
    were: what was added need only lie within the bounds, trusted or not."""
    return (
        not adds_up
        and kind is not TaskKind.REACH_TOTAL
        and _within(rule, added.lowest, added.highest)
    )


def _within(rule: DataRule, lowest: Decimal, highest: Decimal) -> bool:
    above = rule.at_least is None or lowest >= rule.at_least
    return above and (rule.at_most is None or highest <= rule.at_most)
