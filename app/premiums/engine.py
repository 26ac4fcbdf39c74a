"""What a year costs: a product version and the facts of one member make a premium in lines.

Pure: it prices enrolments, renewals, running terms, simulations and back-tests. The order is
that of `Stage`; within a stage, that of the document. Each line is rounded once, half away from
zero. The exact meaning of every rule is in docs/premium-engine.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from enum import IntEnum
from functools import partial
from typing import Any

from app.premiums import adjustments, money, rated, rules, sentences
from app.premiums.documents import Words
from app.premiums.facts import Facts
from app.premiums.judging import Applied, Case, Passed, Verdict
from app.premiums.pricing_rules import (
    BenefitFromPoints,
    Exit,
    GroupRule,
    LossRatioRule,
    MildConditionImprovement,
    NonParticipation,
    ParticipationRule,
    RegionRule,
    Rule,
    TierChange,
    TierRule,
    WindowImprovement,
    Worsening,
)
from app.premiums.product import Product, Stacking
from app.premiums.quote import Line, NotApplied, Priced, Section

BOUNDS = "BOUNDS"
"""Code of the line that brings the adjustments back to their bounds."""
OFFER = "OFFER"
"""Code of the line that brings a premium back to what it was offered for."""

_HUNDREDTH = Decimal("0.01")


class NoPremium(ValueError):
    """The table has no row for the member's age."""

    def __init__(self, product: Product, age: int) -> None:
        super().__init__(f"age {age} has no base premium in product {product.code!r}")


class Stage(IntEnum):
    """The order in which rules act."""

    LOSS_RATIO = 1
    GROUP = 2
    REGION = 3
    TIER = 4
    RETURN = 5
    ADJUSTMENT = 6
    FEE = 7
    CREDIT = 8


@dataclass(frozen=True, slots=True)
class _Kind:
    stage: Stage
    judge: Callable[[Any, Case], Verdict]


_KINDS: Mapping[type, _Kind] = {
    LossRatioRule: _Kind(Stage.LOSS_RATIO, rated.loss_ratio),
    GroupRule: _Kind(Stage.GROUP, rated.group),
    RegionRule: _Kind(Stage.REGION, rated.region),
    TierRule: _Kind(Stage.TIER, rated.tier),
    WindowImprovement: _Kind(Stage.ADJUSTMENT, adjustments.improvement),
    ParticipationRule: _Kind(Stage.ADJUSTMENT, adjustments.participation),
    TierChange: _Kind(Stage.ADJUSTMENT, adjustments.tier_change),
    Worsening: _Kind(Stage.ADJUSTMENT, adjustments.worsening),
    MildConditionImprovement: _Kind(Stage.ADJUSTMENT, adjustments.mild_condition),
    Exit: _Kind(Stage.ADJUSTMENT, adjustments.left),
    BenefitFromPoints: _Kind(Stage.ADJUSTMENT, adjustments.level),
    NonParticipation: _Kind(Stage.FEE, adjustments.fee),
}
_RETURN = _Kind(Stage.RETURN, rated.return_to_base)


def price(product: Product, facts: Facts, *, words: bool = True) -> Priced:
    """A year's premium in lines that add up to it, in minor units of the product's currency.

    Without `words` (back-tests) lines have no explanation and no evidence, and what was not
    applied is left out; every amount is the same. Raises NoPremium.
    """
    row = product.base_premium.row(age=facts.age, sex=facts.sex, health=facts.health)
    if row is None:
        raise NoPremium(product, facts.age)
    reckoning = _Reckoning(
        Case(product, facts), money.minor(row.amount, product.currency), words=words
    )
    return reckoning.result()


def _staged(product: Product) -> dict[Stage, list[tuple[Rule, _Kind | None]]]:
    """Rules by the stage in which they act. To pay with credits is no judgement; a rule of
    points may do so beside its levels."""
    staged: dict[Stage, list[tuple[Rule, _Kind | None]]] = {stage: [] for stage in Stage}
    for rule in product.rules:
        if isinstance(rule, BenefitFromPoints) and rule.credit:
            staged[Stage.CREDIT].append((rule, None))
            if not rule.step_by_level:
                continue
        returns = isinstance(rule, WindowImprovement) and rule.returns_to_base
        kind = _RETURN if returns else _KINDS[type(rule)]
        staged[kind.stage].append((rule, kind))
    return staged


@dataclass(slots=True)
class _Reckoning:
    """The lines of one premium while they are being made."""

    case: Case
    base: int
    words: bool
    running: int = 0
    """`base` and all lines so far."""
    before_tier: int = 0
    effective_on: date = date.min
    lines: list[Line] = field(default_factory=list)
    not_applied: list[NotApplied] = field(default_factory=list)
    carry: dict[str, Decimal] = field(default_factory=dict)
    cover_uplift: Decimal = Decimal(0)
    credits_used: dict[str, int] = field(default_factory=dict)

    def result(self) -> Priced:
        product = self.case.product
        staged = _staged(product)
        self.running = self.base
        self.effective_on = self.case.facts.effective_on
        for stage in (Stage.LOSS_RATIO, Stage.GROUP, Stage.REGION, Stage.TIER, Stage.RETURN):
            self._rate(stage, staged[stage])
        rated_base = self.running
        self._adjust(staged[Stage.ADJUSTMENT], rated_base)
        self._bound(rated_base)
        for rule, applied in self._applied(staged[Stage.FEE]):
            self._add(Section.FEE, rule, applied, of=rated_base)
        self._keep_offer()
        for rule, _ in staged[Stage.CREDIT]:
            self._pay(rule)
        return Priced(
            base=self.base,
            rated_base=rated_base,
            lines=tuple(self.lines),
            total=self.running,
            currency=product.currency,
            adjustment_percent=_against(self.base, self.running),
            carry=self.carry,
            cover_uplift_percent=self.cover_uplift,
            credits_used=self.credits_used,
            not_applied=tuple(self.not_applied),
        )

    def _rate(self, stage: Stage, rules_of_stage: list[tuple[Rule, _Kind | None]]) -> None:
        for rule, applied in self._applied(rules_of_stage):
            if stage is Stage.TIER:
                self.before_tier, self.case.loading = self.running, applied.percent
            # What is taken back is what the tier line was, to the cent.
            of = self.before_tier if stage is Stage.RETURN else self.running
            self._add(Section.RATED_BASE, rule, applied, of=of)
            if stage is Stage.RETURN:
                self.case.loading = Decimal(0)

    def _adjust(self, adjusting: list[tuple[Rule, _Kind | None]], rated_base: int) -> None:
        is_compound = self.case.product.stacking is Stacking.COMPOUND
        stripped_by = self.case.stripped_by
        for rule, applied in self._applied(adjusting):
            if stripped_by is not None and applied.percent < 0:
                percent, code = applied.percent, stripped_by.code
                self._pass(rule, partial(sentences.stripped, code, percent))
                continue
            self.cover_uplift += applied.cover_uplift
            of = self.running if is_compound else rated_base
            self._add(Section.ADJUSTMENT, rule, applied, of=of)

    def _bound(self, rated_base: int) -> None:
        bounds = self.case.product.bounds
        low = rules.line(rated_base, bounds.percent_min)
        high = rules.line(rated_base, bounds.percent_max)
        adjusted = self.running - rated_base
        limit = min(max(adjusted, low), high)
        if limit != adjusted:
            percent = bounds.percent_min if limit == low else bounds.percent_max
            currency = self.case.product.currency
            self._append(
                Section.BOUNDS,
                BOUNDS,
                sentences.BOUNDS,
                None,
                of=rated_base,
                amount=limit - adjusted,
                said=lambda: sentences.bounded(adjusted, limit, percent, currency),
            )

    def _keep_offer(self) -> None:
        """Before credits: one that is redeemed or reversed after the offer changes nothing of it."""
        offered, was = self.case.facts.offered, self.running
        if offered is not None and was > offered:
            currency = self.case.product.currency
            self._append(
                Section.OFFER,
                OFFER,
                sentences.OFFER,
                None,
                of=was,
                amount=offered - was,
                said=lambda: sentences.offered(was, offered, currency),
            )

    def _pay(self, rule: Rule) -> None:
        facts, currency = self.case.facts, self.case.product.currency
        paid = list(adjustments.pay(facts.credits, self.running))
        if not paid:
            self._pass(rule, sentences.nothing_due if facts.credits else sentences.no_credit)
        for credit, used in paid:
            self.credits_used[credit.redemption_id] = used
            self._append(
                Section.CREDIT,
                rule.code,
                rule.label,
                None,
                of=self.running,
                amount=-used,
                said=partial(sentences.credit, credit, used, currency),
            )

    def _applied(self, judged: list[tuple[Rule, _Kind | None]]) -> Iterator[tuple[Rule, Applied]]:
        """Those that apply, one after the other; each may look at the lines before it."""
        for rule, kind in judged:
            assert kind is not None
            verdict = kind.judge(rule, self.case)
            if verdict.carry is not None:
                self.carry[rule.code] = verdict.carry
            if isinstance(verdict, Passed):
                self._pass(rule, verdict.reason)
            else:
                yield rule, verdict

    def _pass(self, rule: Rule, reason: Callable[[], Words]) -> None:
        if self.words:
            self.not_applied.append(NotApplied(rule.code, rule.label, reason()))

    def _add(self, section: Section, rule: Rule, applied: Applied, *, of: int) -> None:
        if applied.effective_on is not None:
            # What is reckoned of a changed amount is changed as well, and from the same day.
            self.effective_on = applied.effective_on
        self._append(
            section,
            rule.code,
            rule.label,
            applied.percent,
            of=of,
            amount=rules.line(of, applied.percent),
            said=applied.said,
            evidence=applied.evidence,
        )

    def _append(
        self,
        section: Section,
        code: str,
        label: Words,
        percent: Decimal | None,
        *,
        of: int,
        amount: int,
        said: Callable[[], Words],
        evidence: Callable[[], tuple[Any, ...]] = tuple,
    ) -> None:
        self.running += amount
        self.lines.append(
            Line(
                section=section,
                rule=code,
                label=label,
                percent=percent,
                of=of,
                amount=amount,
                effective_on=self.effective_on,
                explanation=said() if self.words else sentences.SILENT,
                evidence=evidence() if self.words else (),
            )
        )


def _against(base: int, total: int) -> Decimal:
    """`total` against `base` in percent, two decimals, half away from zero."""
    return (Decimal(total - base) * 100 / base).quantize(_HUNDREDTH, rounding=ROUND_HALF_UP)
