"""What if: the facts of the coming renewal with some of them changed. Pure.

A measurement is changed from what it is today, the average of its newest month with readings,
to that and the change in the last months that a rule looks at. Months of the ending term that
lie ahead, and that a rule compares the end with, stay as today. What has been is never changed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from app.errors import RequestFailed
from app.measurements import catalogue
from app.measurements.catalogue import Unit
from app.premiums import windows
from app.premiums.facts import (
    Assessed,
    Facts,
    MonthOfReadings,
    Participated,
    Series,
)
from app.premiums.pricing_rules import MildConditionImprovement, WindowImprovement, Worsening
from app.premiums.product import Product
from app.risk.rulesets import Tier

CHANGES_MAX = 20
_HUNDRED = Decimal(100)
_DAYS_OF_MONTH = 28
"""Of the shortest."""


class ScenarioInvalid(RequestFailed):
    """Names the field, its value and what is allowed."""

    code = "VALUE_OUT_OF_RANGE"

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"`scenario.{field}` is {value}; it must be {allowed}.")


@dataclass(frozen=True, slots=True)
class Change:
    code: str
    by: Decimal
    """Signed, in `unit`."""
    unit: str | None = None
    """UCUM; the code's canonical one when left out."""


@dataclass(frozen=True, slots=True)
class Scenario:
    changes: Sequence[Change] = ()
    tier: Tier | None = None
    participation_months: int | None = None


def changed(facts: Facts, product: Product, scenario: Scenario) -> Facts:
    """The facts as they would be; those that are not named stay. Raises ScenarioInvalid."""
    by_code = _checked(scenario.changes)
    if scenario.tier is not None:
        facts = replace(facts, tier=Assessed(scenario.tier, facts.as_of))
    if scenario.participation_months is not None:
        facts = replace(facts, participation=_months(facts, scenario.participation_months))
    if by_code:
        series = tuple(
            _series(it, by_code[it.code], facts, product) if it.code in by_code else it
            for it in facts.series
        )
        facts = replace(facts, series=series)
    return facts


def _checked(changes: Sequence[Change]) -> dict[str, Decimal]:
    """By code, in its canonical unit."""
    if len(changes) > CHANGES_MAX:
        raise ScenarioInvalid("measurements", f"{len(changes)} long", f"at most {CHANGES_MAX} long")
    found: dict[str, Decimal] = {}
    for place, change in enumerate(changes):
        path = f"measurements.{place}"
        quantity = catalogue.quantities()[change.code]
        if change.code in found:
            raise ScenarioInvalid(f"{path}.code", change.code, "another code than those before")
        unit = quantity.unit(change.unit) if change.unit is not None else quantity.canonical
        if unit is None:
            allowed = "one of " + ", ".join(it.ucum for it in quantity.units)
            raise ScenarioInvalid(f"{path}.unit", repr((change.unit or "")[:40]), allowed)
        widest = _widest(unit)
        if widest is not None and abs(change.by) > widest:
            allowed = f"from -{widest} to {widest} {unit.ucum}"
            raise ScenarioInvalid(f"{path}.change", change.by, allowed)
        # A difference: what is added in a conversion falls out.
        found[change.code] = change.by * unit.multiply / unit.divide
    return found


def _widest(unit: Unit) -> Decimal | None:
    """No average can move by more than the plausible range is wide."""
    if unit.minimum is None or unit.maximum is None:
        return None
    return unit.maximum - unit.minimum


def _months(facts: Facts, count: int) -> tuple[Participated, ...]:
    """As many months with all tasks done, the newest ones; nothing was done in the others, but
    where something was left out it stays so."""
    assert facts.ending is not None, "a renewal ends a term"
    all_months = [windows.first_day(it) for it in windows.closing_in(facts.ending)]
    if not 0 <= count <= len(all_months):
        raise ScenarioInvalid("participationMonths", count, f"from 0 to {len(all_months)}")
    known = {it.month: it for it in facts.participation}
    done = set(all_months[len(all_months) - count :])
    found = []
    for month in all_months:
        it = known.get(month)
        if month in done:
            found.append(Participated(month, _HUNDRED))
        elif it is not None and it.percent is None:
            found.append(it)
        else:
            found.append(Participated(month, Decimal(0)))
    return tuple(found)


def _series(series: Series, by: Decimal, facts: Facts, product: Product) -> Series:
    today = windows.month_number(facts.as_of.date())
    months = {windows.month_number(it.month): it for it in series.months}
    if not months:
        return series
    newest = months[max(months)]
    average = newest.total / newest.readings
    ends, starts, enough = _looked_at(series.code, facts, product)
    assert facts.ending is not None, "a renewal ends a term"
    # When the whole term has been, its end is changed all the same: it is what is asked about.
    ahead = min(today, max(windows.closing_in(facts.ending), default=today))
    for month in sorted(it for it in starts | ends if it >= ahead):
        if month in ends:
            known = months.get(month)
            months[month] = _shifted(known, by) if known else _made(month, average + by, enough)
        elif month not in months:
            months[month] = _made(month, average, enough)
    _check_plausible(series.code, average + by)
    return replace(series, months=tuple(months[it] for it in sorted(months)))


def _looked_at(code: str, facts: Facts, product: Product) -> tuple[set[int], set[int], int]:
    """Months at the ends and at the beginnings of all windows of the rules that look at a code,
    and how many readings and days they ask for."""
    assert facts.ending is not None, "a renewal ends a term"
    ends: set[int] = set()
    starts: set[int] = set()
    enough = 1
    for rule in product.rules:
        if not isinstance(rule, WindowImprovement | Worsening | MildConditionImprovement):
            continue
        if all(metric.measurement != code for metric in rule.metrics):
            continue
        enough = max(enough, rule.readings_min, rule.days_min)
        for window in _windows(rule, facts):
            ends |= set(window.end)
            starts |= set(window.start)
    return ends, starts, enough


def _windows(
    rule: WindowImprovement | Worsening | MildConditionImprovement, facts: Facts
) -> Iterator[windows.Window]:
    assert facts.ending is not None, "a renewal ends a term"
    if isinstance(rule, MildConditionImprovement):
        for it in facts.mild_conditions:
            yield windows.since(it.triggered_on, months=rule.months, end_months=rule.end_months)
        return
    found = windows.last_of(facts.ending, months=rule.months, end_months=rule.end_months)
    if found is not None:
        yield found


def _made(month: int, average: Decimal, enough: int) -> MonthOfReadings:
    """So many readings, each on a day of its own while the month has days."""
    first = windows.first_day(month)
    days = min(enough, _DAYS_OF_MONTH)
    return MonthOfReadings(first, enough, days, average * enough, first, first.replace(day=days))


def _shifted(month: MonthOfReadings, by: Decimal) -> MonthOfReadings:
    return replace(month, total=month.total + by * month.readings)


def _check_plausible(code: str, average: Decimal) -> None:
    """Raises ScenarioInvalid. The average itself is not said: errors name no health fact."""
    unit = catalogue.quantities()[code].canonical
    if unit.minimum is None or unit.maximum is None:
        return
    if not unit.minimum <= average <= unit.maximum:
        raise ScenarioInvalid(
            f"measurements ({code})",
            "more than is possible",
            f"a change after which the average lies from {unit.minimum} to {unit.maximum} "
            f"{unit.ucum}",
        )
