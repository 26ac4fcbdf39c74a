"""A member's raw history for the premium oracle, with the little arithmetic it needs. Imports
nothing of the programme."""

from calendar import monthrange
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

Document = dict[str, Any]


@dataclass
class Reading:
    day: date
    code: str
    context: str | None
    value: Fraction
    trusted: bool = True


@dataclass
class Year:
    """What was known when the term of this number was priced."""

    tier: str | None = None
    health: frozenset[str] = frozenset()
    level: str | None = None
    loss_ratio: Fraction | None = None
    group: int | None = None
    left: bool = False
    refuses: bool = False
    offered: int | None = None
    """Minor units a year, before credits."""


@dataclass
class History:
    born: date
    sex: str
    region: str | None
    started: date
    years: list[Year]
    readings: list[Reading] = field(default_factory=list)
    shares: dict[date, Fraction | None] = field(default_factory=dict)
    """By the first day of a month; None: paused, silent and so on."""
    diagnoses: list[tuple[str, date]] = field(default_factory=list)
    cases: list[tuple[str, date, str]] = field(default_factory=list)
    """Condition, day, PREMIUM or COVER."""
    credits: list[tuple[date, str, int]] = field(default_factory=list)
    """Day, id, minor units."""


@dataclass
class Answer:
    base: int
    lines: list[tuple[str, int]]
    """In the order of the document's section "Order"."""
    total: int
    cover: Fraction


def half_away(exact: Fraction) -> int:
    whole, rest = divmod(abs(exact), 1)
    whole += 1 if rest * 2 >= 1 else 0
    return int(whole) if exact >= 0 else -int(whole)


def share_of(amount: int, percent: Fraction) -> int:
    return half_away(Fraction(amount) * percent / 100)


def number(text: Any) -> Fraction:
    return Fraction(str(text))


def plus_months(day: date, months: int) -> date:
    for _ in range(months):
        year, month = (day.year + 1, 1) if day.month == 12 else (day.year, day.month + 1)
        day = date(year, month, 1)
    return day


def same_day_later(day: date, months: int) -> date:
    first = plus_months(day.replace(day=1), months)
    return first.replace(day=min(day.day, monthrange(first.year, first.month)[1]))


def term_of(history: History, document: Document, place: int) -> tuple[date, date]:
    length = document["term_months"]
    first = same_day_later(history.started, place * length)
    return first, same_day_later(history.started, (place + 1) * length) - timedelta(days=1)


def last_of(month: date) -> date:
    return month.replace(day=monthrange(month.year, month.month)[1])


def months_closing(first: date, last: date) -> list[date]:
    found, month = [], first.replace(day=1)
    while month <= last:
        if first <= last_of(month) <= last:
            found.append(month)
        month = plus_months(month, 1)
    return found
