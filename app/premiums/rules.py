"""What a term costs. Money is integer minor units; one rounding a line, half up."""

from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True, slots=True)
class MonthOfParticipation:
    """A closed month: the share of its due tasks that was done, in percent; None when
    nothing was due (paused, or without consent), which neither counts nor costs."""

    month: date
    percent: Decimal | None


@dataclass(frozen=True, slots=True)
class Participation:
    """The terms of the rule, all in percent (see `product.ParticipationRule`)."""

    counts_from: Decimal
    per_month: Decimal
    at_most: Decimal


@dataclass(frozen=True, slots=True)
class Term:
    starts_on: date
    ends_on: date
    """Last day of cover."""


def add_months(day: date, months: int) -> date:
    """The same day of a later month, or that month's last."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def add_days(day: date, days: int) -> date:
    return day + timedelta(days=days)


def term(started_on: date, number: int, *, months: int) -> Term:
    """The `number`th term, from 0, of a policy that began on `started_on`: reckoned from the
    beginning each time, so that a policy begun on the 31st does not drift."""
    starts_on = add_months(started_on, number * months)
    return Term(starts_on, add_months(started_on, (number + 1) * months) - timedelta(days=1))


def following(started_on: date, current: Term, *, months: int) -> Term:
    """The term of so many months after this one, which may have been longer or shorter: it is
    reckoned from the beginning of the policy, as in `term`."""
    starts_on = current.ends_on + timedelta(days=1)
    since = (starts_on.year - started_on.year) * 12 + starts_on.month - started_on.month
    return Term(starts_on, add_months(started_on, since + months) - timedelta(days=1))


def months_counted(months: Iterable[MonthOfParticipation], rule: Participation) -> int:
    return sum(1 for it in months if it.percent is not None and it.percent >= rule.counts_from)


def participation_percent(months: int, rule: Participation) -> Decimal:
    """Of base, signed: so much a month, but never beyond the bound."""
    earned = rule.per_month * months
    return max(earned, rule.at_most) if rule.at_most < 0 else min(earned, rule.at_most)


def bounded(percent: Decimal, *, low: Decimal, high: Decimal) -> Decimal:
    return min(max(percent, low), high)


def counts_for(month: date, covered: Term) -> bool:
    """A month counts for the term in which it closes: that of its last day, so that the
    month in which a term begins is not lost to either."""
    last_day = date(month.year, month.month, monthrange(month.year, month.month)[1])
    return covered.starts_on <= last_day <= covered.ends_on


def line(base: int, percent: Decimal) -> int:
    """An adjustment of `base` minor units in minor units, rounded half away from zero."""
    exact = Decimal(base) * percent / 100
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))
