"""What a rule says of one member: applied with a percentage, or passed over with a reason.

`Case` holds what several rules ask about: whether the term was one of worsening or of
improvement, and what is still carried. A sentence or a piece of evidence is made only when
somebody reads it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

from app.premiums import sentences, windows
from app.premiums.documents import Words
from app.premiums.facts import Diagnosed, Facts, MidTerm, NoData, Participated
from app.premiums.pricing_rules import (
    Exit,
    NonParticipation,
    WindowImprovement,
    Worsening,
)
from app.premiums.product import Product, Stacking
from app.premiums.quote import DiagnosisEvidence, Evidence, ReadingsEvidence
from app.premiums.rules import Term, bounded
from app.risk.rulesets import Tier

Said = Callable[[], Words]
Shown = Callable[[], tuple[Evidence, ...]]

_THOUSANDTH = Decimal("0.001")
_CARRIED = Decimal("1E-10")
_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Applied:
    percent: Decimal
    said: Said
    evidence: Shown = tuple
    carry: Decimal | None = None
    """What the rule brings into the next term; None when it carries nothing."""
    cover_uplift: Decimal = Decimal(0)
    effective_on: date | None = None
    """Left out: from the first day of the term."""


@dataclass(frozen=True, slots=True)
class Passed:
    reason: Said
    carry: Decimal | None = None


Verdict = Applied | Passed


@dataclass(frozen=True, slots=True)
class Met:
    moved: tuple[windows.Moved, ...] = ()
    diagnoses: tuple[Diagnosed, ...] = ()

    def evidence(self) -> tuple[Evidence, ...]:
        readings = tuple(readings_evidence(it) for it in self.moved)
        return readings + tuple(
            DiagnosisEvidence(it.icd10, it.diagnosed_on) for it in self.diagnoses
        )


@dataclass(frozen=True, slots=True)
class Unmet:
    reason: Said


@dataclass(slots=True)
class Case:
    """One pricing: product, facts, and what follows from both together."""

    product: Product
    facts: Facts
    readings: windows.Readings = field(init=False)
    participation: tuple[Participated, ...] = field(init=False)
    """Months that close within the ending term, the oldest first."""
    worsened_by: Worsening | None = field(init=False)
    """The rule that removes what has been accumulated, when there was worsening."""
    improved: bool = field(init=False)
    """The term was one of improvement that an accumulating rule has seen."""
    stripped_by: NonParticipation | None = field(init=False)
    """The rule that removes every discount."""
    loading: Decimal = Decimal(0)
    """Percentage of the tier line that is not taken back yet."""
    _changes: dict[str, Met | Unmet] = field(default_factory=dict)

    def __post_init__(self) -> None:
        facts, rules = self.facts, self.product.rules
        self.readings = windows.Readings(facts.series)
        closing = windows.closing_in(facts.ending) if facts.ending else range(0)
        self.participation = tuple(
            sorted(
                (it for it in facts.participation if windows.month_number(it.month) in closing),
                key=lambda it: it.month,
            )
        )
        self.worsened_by = next(
            (
                it
                for it in rules
                if isinstance(it, Worsening)
                and it.removes_discounts
                and isinstance(self.change(it), Met)
            ),
            None,
        )
        self.improved = self.worsened_by is None and any(
            isinstance(it, WindowImprovement)
            and it.percent_at_most is not None
            and isinstance(self.change(it), Met)
            for it in rules
        )
        self.stripped_by = next(
            (
                it
                for it in rules
                if isinstance(it, NonParticipation) and self.absence(it) is not None
            ),
            None,
        )

    @property
    def has_left(self) -> bool:
        return self.facts.left_on is not None and any(
            isinstance(it, Exit) for it in self.product.rules
        )

    def carried(self, code: str) -> Decimal | None:
        """None when the rule brought nothing into the ending term, or it was lost by leaving."""
        return None if self.has_left else self.facts.carried.get(code)

    def further(self, carried: Decimal, step: Decimal, at_most: Decimal) -> Decimal:
        """What is carried and one term more, as the product stacks, down or up to the bound."""
        if self.product.stacking is Stacking.COMPOUND:
            exact = (_HUNDRED + carried) * (_HUNDRED + step) / _HUNDRED - _HUNDRED
            percent = exact.quantize(_CARRIED, rounding=ROUND_HALF_UP)
        else:
            percent = carried + step
        return within(percent, at_most)

    def change(self, rule: WindowImprovement | Worsening) -> Met | Unmet:
        """Whether the ending term has shown what the rule asks about."""
        if rule.code not in self._changes:
            self._changes[rule.code] = self._change(rule)
        return self._changes[rule.code]

    def _change(self, rule: WindowImprovement | Worsening) -> Met | Unmet:
        facts = self.facts
        if facts.ending is None:
            return Unmet(sentences.no_term_yet)
        if isinstance(rule, Worsening):
            return _worsening(rule, self, facts.ending)
        start = facts.tier_at_start.tier if facts.tier_at_start else None
        return _improvement(rule, self, self.readings, facts.ending, start, facts.participation)

    def during(self, rule: WindowImprovement, mid_term: MidTerm) -> Met | Unmet:
        """Whether the running term has shown it, in the months that are over."""
        until = min(mid_term.running.ends_on, mid_term.effective_on - timedelta(days=1))
        return _improvement(
            rule,
            self,
            windows.Readings(mid_term.series),
            Term(mid_term.running.starts_on, until),
            self.facts.tier.tier if self.facts.tier else None,
            mid_term.participation,
        )

    def absence(self, rule: NonParticipation) -> tuple[date, ...] | None:
        """Months of the first run in which something was due and nothing was done; none of
        them for a refusal that counts; None for neither."""
        run: list[date] = []
        for it in self.participation:
            follows = run and windows.month_number(it.month) == windows.month_number(run[-1]) + 1
            if it.percent is None or it.percent > 0:
                run = []
            else:
                run = [*run, it.month] if follows else [it.month]
            if len(run) == rule.months:
                return tuple(run)
        return () if rule.counts_refusal and self.facts.refuses_upload else None

    def months_from(self, percent: Decimal) -> tuple[date, ...]:
        """Months of the ending term with at least this share of their due tasks done."""
        return tuple(
            it.month
            for it in self.participation
            if it.percent is not None and it.percent >= percent
        )


def within(percent: Decimal, at_most: Decimal) -> Decimal:
    """Not beyond the bound, nor beyond 0 on the other side: a discount that an earlier version
    carried under this code is never a surcharge, and the other way round."""
    low, high = sorted((Decimal(0), at_most))
    return bounded(percent, low=low, high=high)


def readings_evidence(moved: windows.Moved) -> ReadingsEvidence:
    start, end = moved.start, moved.end
    assert start.first_on and start.last_on and end.first_on and end.last_on
    return ReadingsEvidence(
        code=moved.series.code,
        context=moved.series.context,
        unit=moved.series.unit,
        from_average=start.exact.quantize(_THOUSANDTH, rounding=ROUND_HALF_UP),
        to_average=end.exact.quantize(_THOUSANDTH, rounding=ROUND_HALF_UP),
        from_first=start.first_on,
        from_last=start.last_on,
        to_first=end.first_on,
        to_last=end.last_on,
        readings=start.readings + end.readings,
    )


def why_silent(
    missed: windows.Missed, months: tuple[Participated, ...], *, refuses: bool
) -> tuple[NoData, ...]:
    """What the months of the end without enough readings are known for, each kind once."""
    if missed.miss > windows.Miss.TOO_FEW_AT_END:
        return ()
    end = missed.window.end if missed.miss is windows.Miss.TOO_FEW_AT_END else missed.window.start
    known = {it.no_data for it in months if windows.month_number(it.month) in end}
    kinds = tuple(it for it in NoData if it in known and it is not NoData.NOTHING_DUE)
    return kinds or ((NoData.REFUSED,) if refuses else ())


def _improvement(
    rule: WindowImprovement,
    case: Case,
    readings: windows.Readings,
    covered: Term,
    tier: Tier | None,
    months: tuple[Participated, ...],
) -> Met | Unmet:
    if rule.tiers:
        if tier is None:
            return Unmet(sentences.no_assessment_at_start)
        if tier not in rule.tiers:
            return Unmet(lambda: sentences.other_tier(tier, rule.tiers))
    window = windows.last_of(covered, months=rule.months, end_months=rule.end_months)
    if window is None:
        have = len(windows.closing_in(covered))
        return Unmet(lambda: sentences.not_enough_months(have, rule.months))
    demand = windows.Demand(rule.readings_min, rule.days_min, rule.consecutive)
    found = [windows.judge(it, readings, window, demand) for it in rule.metrics]
    return _together(found, months, case, demand, all_needed=rule.needs == "all")


def _worsening(rule: Worsening, case: Case, covered: Term) -> Met | Unmet:
    diagnoses = new_diagnoses(rule, case.facts.diagnoses, covered)
    window = windows.last_of(covered, months=rule.months, end_months=rule.end_months)
    if window is None:
        have = len(windows.closing_in(covered))
        unmet: Met | Unmet = Unmet(lambda: sentences.not_enough_months(have, rule.months))
        return Met(diagnoses=diagnoses) if diagnoses else unmet
    demand = windows.Demand(rule.readings_min, rule.days_min, consecutive=False)
    found = [windows.judge(it, case.readings, window, demand) for it in rule.metrics]
    moved = tuple(it for it in found if isinstance(it, windows.Moved))
    if moved or diagnoses:
        return Met(moved, diagnoses)
    if not found:
        return Unmet(sentences.no_new_diagnosis)
    return _together(found, case.facts.participation, case, demand, all_needed=False)


def _together(
    found: list[windows.Moved | windows.Missed],
    months: tuple[Participated, ...],
    case: Case,
    demand: windows.Demand,
    *,
    all_needed: bool,
) -> Met | Unmet:
    moved = tuple(it for it in found if isinstance(it, windows.Moved))
    missed = [it for it in found if isinstance(it, windows.Missed)]
    if moved and not (all_needed and missed):
        return Met(moved)
    closest = max(missed, key=lambda it: it.miss)
    refuses = case.facts.refuses_upload
    return Unmet(
        lambda: sentences.missed(closest, demand, why_silent(closest, months, refuses=refuses))
    )


def new_diagnoses(
    rule: Worsening, known: tuple[Diagnosed, ...], covered: Term
) -> tuple[Diagnosed, ...]:
    """Those of the term, by day and code, when none of the rule's codes was made before it: the
    codes of a rule name one illness, and another code for a known one is nothing new."""
    made = sorted(
        (
            it
            for it in known
            if any(it.icd10 == code or it.icd10.startswith(code + ".") for code in rule.diagnoses)
        ),
        key=lambda it: (it.diagnosed_on, it.icd10),
    )
    if not made or made[0].diagnosed_on < covered.starts_on:
        return ()
    return tuple(it for it in made if it.diagnosed_on <= covered.ends_on)


def mild_change(
    found: list[windows.Moved | windows.Missed], case: Case, demand: windows.Demand
) -> Met | Unmet:
    """Any metric of a case of a mild condition."""
    return _together(found, case.facts.participation, case, demand, all_needed=False)
