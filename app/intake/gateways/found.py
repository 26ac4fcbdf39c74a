"""What an event holds, before it is recorded; and how to read text that others wrote."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from app.intake.gathering import DayTotal, Interval
from app.intake.numbers import YEARS, number_fault, read_number
from app.intake.report import Reason, Report
from app.intake.spool import Portion, Sample
from app.measurements.catalogue import quantities
from app.measurements.kinds import Method


@dataclass(slots=True)
class Found:
    source: str
    report: Report
    samples: list[Sample] = field(default_factory=list)
    totals: list[DayTotal] = field(default_factory=list)
    """What the gateway says a whole day comes to."""
    portions: list[Portion] = field(default_factory=list)
    """Parts of a day, to be added to those that came before."""

    def add(self, code: str, at: Any, value: Any, unit: str, where: str) -> None:
        """A reading; nothing when the gateway has no value."""
        number = number_of(value)
        if number is None:
            if value is not None:
                self.report.reject(fault_of(value), where)
            return
        instant = instant_of(at)
        if instant is None:
            self.report.reject(Reason.TIME_UNREADABLE, where)
            return
        self.samples.append(
            Sample(
                ms_of(instant), code, self.source, str(number), unit, Method.SENSED, None,
                len(self.samples) + 1,
            )
        )  # fmt: skip

    def add_total(
        self,
        code: str,
        day: date,
        value: Any,
        where: str,
        *,
        unit: str | None = None,
        intervals: tuple[Interval, ...] = (),
    ) -> None:
        """A day's total, in the canonical unit unless said; nothing without a value."""
        number = number_of(value)
        if number is None:
            if value is not None:
                self.report.reject(fault_of(value), where)
            return
        total = max(number, sum((it.value for it in intervals), Decimal(0)))
        self.totals.append(
            DayTotal(
                code, day, self.source, total, unit or quantities()[code].canonical.ucum,
                Method.SENSED, intervals, len(self.totals) + 1,
            )
        )  # fmt: skip


def number_of(value: Any) -> Decimal | None:
    """Of a JSON number that somebody may have meant."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return read_number(repr(value))


def fault_of(value: Any) -> Reason:
    """Why `number_of` is None."""
    is_number = isinstance(value, int | float)
    return (number_fault(repr(value)) if is_number else None) or Reason.VALUE_UNREADABLE


def instant_of(text: Any) -> datetime | None:
    """With an offset, of a year that can be meant; None for anything else."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None and found.year in YEARS else None


def ms_of(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def parts(of: Any, *names: str) -> Mapping[str, Any]:
    """The object at the end of these names; an empty one when it is not there."""
    for name in names:
        of = of.get(name) if isinstance(of, dict) else None
    return of if isinstance(of, dict) else {}


def items(of: Any, *names: str) -> Iterator[Mapping[str, Any]]:
    """The objects of the list at the end of these names."""
    found = parts(of, *names[:-1]).get(names[-1])
    for it in found if isinstance(found, list) else ():
        if isinstance(it, dict):
            yield it
