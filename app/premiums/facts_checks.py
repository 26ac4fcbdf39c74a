"""Facts that nobody can have: every fault with its path, and what is allowed there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

from app.measurements import catalogue
from app.measurements.kinds import Context
from app.premiums import rules
from app.premiums.benefit_terms import MildConditionKind
from app.premiums.documents import HealthGroup
from app.premiums.facts import Facts, Moment, MonthOfReadings, Participated, Series
from app.premiums.rules import Term
from app.records import health

_AGE_MAX = 130
_PERCENT_MAX = 100
_LOSS_RATIO_MAX = 100_000
_TOTAL_MAX = 10**9
_READINGS_MAX = 1_000_000
_DECIMALS_MAX = 10
"""Of a product of such a total and such a count every digit is exact (28 of them)."""
_YEARS = range(1900, 2200)

Fault = tuple[str, str]
"""Path, and what is allowed there."""


def faults(facts: Facts) -> list[Fault]:
    return [
        *_of_values("", facts),
        *_of_member(facts),
        *_of_health(facts),
        *_of_term(facts),
        *_of_participation("participation", facts.participation, facts.ending),
        *_of_all_series("series", facts.series),
        *_of_mid_term(facts),
        *_of_credits(facts),
    ]


def _of_member(facts: Facts) -> Iterator[Fault]:
    if not 0 <= facts.age <= _AGE_MAX:
        yield "age", f"0 to {_AGE_MAX} completed years"
    for rule, percent in facts.carried.items():
        if abs(percent) > _PERCENT_MAX:
            yield f"carried.{rule}", f"-{_PERCENT_MAX} to {_PERCENT_MAX} percent"
    if facts.loss_ratio is not None and not 0 <= facts.loss_ratio.percent <= _LOSS_RATIO_MAX:
        yield "loss_ratio.percent", f"0 to {_LOSS_RATIO_MAX}"
    if facts.offered is not None and facts.offered < 0:
        yield "offered", "0 or more minor units"
    if facts.group_members is not None and facts.group_members < 1:
        yield "group_members", "at least 1"


def _of_health(facts: Facts) -> Iterator[Fault]:
    for name in ("health", "health_at_start"):
        groups = getattr(facts, name)
        unknown = sorted(groups - set(HealthGroup))
        if unknown:
            yield name, f"{', '.join(unknown)}: must be of {', '.join(HealthGroup)}"
        if HealthGroup.HEALTHY in groups and len(groups) > 1:
            yield name, f"{HealthGroup.HEALTHY} is in none of the others"
    for place, known in enumerate(facts.diagnoses):
        if health.icd10(known.icd10) != known.icd10:
            yield f"diagnoses.{place}.icd10", "an ICD-10 code, as E11.9"
    for place, it in enumerate(facts.mild_conditions):
        if it.code not in set(MildConditionKind):
            yield f"mild_conditions.{place}.code", f"{' or '.join(MildConditionKind)}"


def _of_credits(facts: Facts) -> Iterator[Fault]:
    for place, credit in enumerate(facts.credits):
        if credit.amount <= 0:
            yield f"credits.{place}.amount", "minor units, above 0"
    named = [it.redemption_id for it in facts.credits]
    if len(set(named)) < len(named):
        yield "credits", "each redemption once"


def _of_term(facts: Facts) -> Iterator[Fault]:
    if facts.as_of.tzinfo is None:
        yield "as_of", "an instant with its offset, as 2026-12-01T00:00:00Z"
    if facts.moment is Moment.RENEWAL and facts.ending is None:
        yield "ending", "the term that ends: given at RENEWAL"
    if facts.moment is Moment.ENROLMENT and facts.ending is not None:
        yield "ending", "no term ends at ENROLMENT"
    if facts.ending is not None and facts.ending.starts_on > facts.ending.ends_on:
        yield "ending", "starts_on must not be after ends_on"
    elif facts.ending is not None and facts.ending.ends_on >= facts.effective_on:
        yield "ending.ends_on", "before effective_on"
    if facts.left_on is not None and facts.left_on >= facts.effective_on:
        yield "left_on", "before effective_on"


def _of_mid_term(facts: Facts) -> Iterator[Fault]:
    known = facts.mid_term
    if (known is None) != (facts.moment is not Moment.MID_TERM):
        yield "mid_term", "given at MID_TERM, and only then"
    if known is None:
        return
    running = known.running
    if not running.starts_on <= known.effective_on <= running.ends_on:
        yield "mid_term.effective_on", "a day of the running term"
    yield from _of_participation("mid_term.participation", known.participation, running)
    yield from _of_all_series("mid_term.series", known.series)


def _of_participation(
    path: str, months: Sequence[Participated], term: Term | None
) -> Iterator[Fault]:
    yield from _ascending(path, [it.month for it in months])
    for place, month in enumerate(months):
        of_month = f"{path}.{place}"
        if month.percent is not None and not 0 <= month.percent <= 100:
            yield f"{of_month}.percent", "0 to 100"
        if (month.percent is None) != (month.no_data is not None):
            yield f"{of_month}.no_data", "given when percent is null, and only then"
        yield from _first_day(f"{of_month}.month", month.month)
        if term is None:
            yield f"{of_month}.month", "there is no term that it could belong to"
        elif not rules.counts_for(month.month, term):
            yield f"{of_month}.month", "a month that closes within the term"


def _of_all_series(path: str, known: Sequence[Series]) -> Iterator[Fault]:
    keys = [(it.code, it.context) for it in known]
    if len(set(keys)) < len(keys):
        yield path, "one series for each code and context"
    for place, series in enumerate(known):
        yield from _of_series(f"{path}.{place}", series)


def _of_series(path: str, series: Series) -> Iterator[Fault]:
    quantity = catalogue.quantities().get(series.code)
    if quantity is None:
        yield f"{path}.code", f"{series.code} is not of the measurement catalogue"
        return
    if series.unit != quantity.canonical.ucum:
        yield f"{path}.unit", f"{quantity.canonical.ucum}, the canonical one"
    if series.context is not None and series.context not in quantity.contexts:
        allowed = ", ".join(it for it in Context if it in quantity.contexts) or "none"
        yield f"{path}.context", f"of {series.code}: {allowed}"
    yield from _ascending(f"{path}.months", [it.month for it in series.months])
    for place, month in enumerate(series.months):
        yield from _of_month(f"{path}.months.{place}", month)


def _of_month(path: str, month: MonthOfReadings) -> Iterator[Fault]:
    yield from _first_day(f"{path}.month", month.month)
    if month.readings > _READINGS_MAX:
        yield f"{path}.readings", f"at most {_READINGS_MAX}"
    if not 1 <= month.days <= month.readings:
        yield f"{path}.days", "at least 1, and no more than readings"
    if abs(month.total) > _TOTAL_MAX:
        yield f"{path}.total", "the sum of a month's readings"
    if month.first_on > month.last_on or any(
        day.replace(day=1) != month.month for day in (month.first_on, month.last_on)
    ):
        yield f"{path}.first_on", "first_on and last_on, in order, in the month"
    elif month.days > (month.last_on - month.first_on).days + 1:
        yield f"{path}.days", "no more than from first_on to last_on"


def _first_day(path: str, month: date) -> Iterator[Fault]:
    if month.day != 1:
        yield path, "the first day of a month"


def _ascending(path: str, months: list[date]) -> Iterator[Fault]:
    if any(earlier >= later for earlier, later in pairwise(months)):
        yield path, "each month once, the oldest first"


def _of_values(path: str, value: Any) -> Iterator[Fault]:
    """Dates that can be reckoned with, and numbers that can be written down."""
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -_DECIMALS_MAX:
            yield path, f"at most {_DECIMALS_MAX} decimals"
    elif isinstance(value, date):
        if value.year not in _YEARS:
            yield path, f"{_YEARS[0]} to {_YEARS[-1]}"
    else:
        for name, part in _parts(value):
            yield from _of_values(f"{path}.{name}".removeprefix("."), part)


def _parts(value: Any) -> Iterator[tuple[object, Any]]:
    if is_dataclass(value):
        yield from ((it.name, getattr(value, it.name)) for it in fields(value))
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, tuple):
        yield from enumerate(value)
