"""What a back-test counts: sums by group that can be added up in any order. Pure.

Amounts are integer minor units of the draft's currency. Nobody is named: groups of people,
and single terms of which only what moved the price is kept.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from heapq import nlargest
from typing import Self

from app.premiums.rules import Term
from app.risk.rulesets import Tier

EXTREMES = 20
"""Of those who pay more, and as many of those who pay less."""
EXAMPLES = 5
"""Of each reason why the draft has no price."""
_AGES = ((0, 17), (18, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 130))
_LIMITS = (Decimal(-30), Decimal(-20), Decimal(-10), Decimal(-5), Decimal(0))
BANDS = (
    "< -30", "-30 to -20", "-20 to -10", "-10 to -5", "-5 to 0", "0",
    "0 to 5", "5 to 10", "10 to 20", "20 to 30", "> 30",
)  # fmt: skip
"""Of the change in percent; a limit belongs to the band nearer to 0."""
NO_TIER = "NONE"


@dataclass(frozen=True, slots=True)
class Compared:
    """One term: what was charged, and what the draft would have."""

    member: str
    """Opaque; for the order of equals, and shown only when asked for."""
    term: Term
    covered_days: int
    months: int
    """Of the whole term."""
    age: int
    tier: Tier | None
    region: str | None
    segment: str
    charged: int
    """A year's premium, as priced when the term began."""
    draft: int
    charged_lines: Sequence[tuple[str, int]]
    """Rule and amount."""
    draft_lines: Sequence[tuple[str, int]]
    lowered: int = 0
    """By how much a year's premium was lower in the end, after changes during the term."""
    claims: int = 0

    @property
    def change(self) -> int:
        return self.draft - self.charged

    def earned(self, yearly: int) -> int:
        """For the days of cover, rounded half up."""
        days = (self.term.ends_on - self.term.starts_on).days + 1
        whole = yearly * self.months * self.covered_days
        return (whole * 2 + 12 * days) // (24 * days)


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A term that the draft has no price for."""

    reason: str
    member: str
    starts_on: date
    age: int | None
    charged: int
    claims: int = 0


@dataclass(slots=True)
class Cell:
    """Sums over the terms of a group."""

    terms: int = 0
    days: int = 0
    charged: int = 0
    """Earned by days of cover, as `draft`."""
    draft: int = 0
    dearer: int = 0
    cheaper: int = 0
    more: int = 0
    """A year's premium: what those who pay more pay more in sum; `less` likewise."""
    less: int = 0
    claims: int = 0

    def add(self, it: Compared) -> None:
        self.terms += 1
        self.days += it.covered_days
        self.charged += it.earned(it.charged)
        self.draft += it.earned(it.draft)
        self.dearer += it.change > 0
        self.cheaper += it.change < 0
        self.more += max(it.change, 0)
        self.less += max(-it.change, 0)
        self.claims += it.claims

    def merge(self, other: Self) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class RuleCell:
    """What a rule does: how many terms it has a line in, and their sum."""

    charged_terms: int = 0
    charged: int = 0
    draft_terms: int = 0
    draft: int = 0

    def merge(self, other: Self) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Tally:
    """Of any part of the portfolio; parts add up with `merge`."""

    cells: defaultdict[tuple[str, str], Cell] = field(default_factory=lambda: defaultdict(Cell))
    """By dimension and group; ("all", "all") is everybody."""
    bands: Counter[str] = field(default_factory=Counter)
    rules: defaultdict[str, RuleCell] = field(default_factory=lambda: defaultdict(RuleCell))
    dearest: list[Compared] = field(default_factory=list)
    cheapest: list[Compared] = field(default_factory=list)
    unpriced: Counter[str] = field(default_factory=Counter)
    examples: list[Unpriced] = field(default_factory=list)
    unpriced_charged: int = 0
    unpriced_claims: int = 0
    """In no group: there is nothing to compare them with."""
    lowered_terms: int = 0
    lowered: int = 0
    outside: int = 0
    """Terms before the period, priced only for what they carry on."""
    claim_lines: set[int] = field(default_factory=set)
    """Lines of the claims file that belong to no term."""

    def add(self, it: Compared) -> None:
        for key in _groups(it):
            self.cells[key].add(it)
        self.bands[band(it.charged, it.draft)] += 1
        for rule, amount in it.charged_lines:
            self.rules[rule].charged_terms += 1
            self.rules[rule].charged += amount
        for rule, amount in it.draft_lines:
            self.rules[rule].draft_terms += 1
            self.rules[rule].draft += amount
        self.lowered_terms += it.lowered > 0
        self.lowered += it.lowered
        if it.change > 0:
            self.dearest.append(it)
        elif it.change < 0:
            self.cheapest.append(it)
        if max(len(self.dearest), len(self.cheapest)) > 50 * EXTREMES:
            self._cut()

    def refuse(self, it: Unpriced) -> None:
        self.unpriced[it.reason] += 1
        self.unpriced_charged += it.charged
        self.unpriced_claims += it.claims
        self.examples = _first([*self.examples, it])

    def merge(self, other: Self) -> None:
        for key, cell in other.cells.items():
            self.cells[key].merge(cell)
        for code, rule in other.rules.items():
            self.rules[code].merge(rule)
        self.bands += other.bands
        self.unpriced += other.unpriced
        self.dearest += other.dearest
        self.cheapest += other.cheapest
        self.examples = _first([*self.examples, *other.examples])
        self.unpriced_charged += other.unpriced_charged
        self.unpriced_claims += other.unpriced_claims
        self.lowered_terms += other.lowered_terms
        self.lowered += other.lowered
        self.outside += other.outside
        self.claim_lines |= other.claim_lines
        self._cut()

    def settled(self) -> Self:
        """With no more than the extremes that are shown."""
        self._cut()
        return self

    def _cut(self) -> None:
        self.dearest = nlargest(EXTREMES, self.dearest, key=lambda it: (it.change, *_order(it)))
        self.cheapest = nlargest(EXTREMES, self.cheapest, key=lambda it: (-it.change, *_order(it)))


def band(charged: int, draft: int) -> str:
    """In which of BANDS a change is; whoever paid nothing and pays something is beyond all."""
    change = draft - charged
    if change == 0:
        return "0"
    if charged == 0:
        return BANDS[-1]
    percent = Decimal(100 * change) / charged
    place = sum(1 for limit in _LIMITS if abs(percent) > -limit) - 1
    return BANDS[4 - place] if change < 0 else BANDS[6 + place]


def age_band(age: int) -> str:
    low, high = next(it for it in _AGES if it[0] <= age <= it[1])
    return f"{low}-{high}" if high < 130 else f"{low}+"


AGE_BANDS = tuple(age_band(low) for low, _ in _AGES)


def _groups(it: Compared) -> Iterator[tuple[str, str]]:
    yield "all", "all"
    yield "year", str(it.term.starts_on.year)
    yield "tier", it.tier.value if it.tier is not None else NO_TIER
    yield "segment", it.segment
    yield "age", age_band(it.age)
    yield "region", it.region or "-"


def _order(it: Compared) -> tuple[int, int, int, str]:
    return it.draft, it.charged, it.term.starts_on.toordinal(), it.member


def _first(found: Iterable[Unpriced]) -> list[Unpriced]:
    """The first few of each reason, whatever order they came in."""
    kept: list[Unpriced] = []
    of: Counter[str] = Counter()
    for it in sorted(found, key=lambda it: (it.reason, it.starts_on, it.member)):
        of[it.reason] += 1
        if of[it.reason] <= EXAMPLES:
            kept.append(it)
    return kept
