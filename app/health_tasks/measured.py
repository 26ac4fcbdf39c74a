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


class DataOfDay(NamedTuple):
    """What is known of one code on one local day."""

    total: Decimal | None
    """Over all sources, overlaps counted once."""
    trusted_total: Decimal | None
    """The same over sources that are trusted MEDIUM or HIGH."""
    readings: int
    lowest: Decimal | None
    highest: Decimal | None
    last_at: datetime | None
    trusted_readings: int
    trusted_lowest: Decimal | None
    trusted_highest: Decimal | None
    trusted_last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Measured:
    """What the data of a day say."""

    qualifies: bool
    value: Decimal | None
    """In the task's unit; null where a day counts as one."""
    at: datetime | None
    """Of the last reading; null for a total."""


def measured(kind: TaskKind, rule: DataRule, day: DataOfDay) -> Measured | None:
    """What the data of a local day say about a task; None when there are none that may.

    A total is reached by the day's total. Of readings, all must lie within the bounds.
    """
    total = day.total if rule.self_reported else day.trusted_total
    if total is not None:
        value = total if kind is TaskKind.REACH_TOTAL else None
        return Measured(_within(rule, total, total), value, None)
    if rule.self_reported:
        count, lowest, highest, at = day.readings, day.lowest, day.highest, day.last_at
    else:
        count, lowest, highest = day.trusted_readings, day.trusted_lowest, day.trusted_highest
        at = day.trusted_last_at
    if count == 0 or lowest is None or highest is None:
        return None
    value = highest if kind is TaskKind.REACH_TOTAL else None
    return Measured(_within(rule, lowest, highest), value, at)


def _within(rule: DataRule, lowest: Decimal, highest: Decimal) -> bool:
    above = rule.at_least is None or lowest >= rule.at_least
    return above and (rule.at_most is None or highest <= rule.at_most)
