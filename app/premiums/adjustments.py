"""Adjustments of the rated base, the fee, and credits. One function a kind."""

from collections.abc import Iterator
from decimal import Decimal

from app.premiums import rules, sentences, windows
from app.premiums.documents import Words
from app.premiums.facts import Credit, MildChoice
from app.premiums.judging import (
    Applied,
    Case,
    Met,
    Passed,
    Unmet,
    Verdict,
    mild_change,
    within,
)
from app.premiums.pricing_rules import (
    BenefitFromPoints,
    Exit,
    MildConditionImprovement,
    NonParticipation,
    ParticipationRule,
    TierChange,
    WindowImprovement,
    Worsening,
)
from app.premiums.quote import Evidence, ParticipationEvidence, ProfileEvidence, TierEvidence

_NONE = Decimal(0)


def participation(rule: ParticipationRule, case: Case) -> Verdict:
    months = case.months_from(rule.month_counts_from_percent)
    if not months:
        return Passed(
            lambda: sentences.no_months(
                case.participation, rule.month_counts_from_percent, has_term=has_term(case)
            )
        )
    terms = rules.Participation(
        rule.month_counts_from_percent, rule.percent_per_month, rule.percent_at_most
    )
    percent = rules.participation_percent(len(months), terms)
    return Applied(
        percent,
        lambda: sentences.participation(len(months), rule, percent),
        lambda: (ParticipationEvidence(months),),
    )


def improvement(rule: WindowImprovement, case: Case) -> Verdict:
    """PRM-6, PRM-7: a term more of improvement, or what earlier terms have brought."""
    assert rule.percent is not None
    if rule.percent_at_most is None:
        return _once(rule, case, rule.percent)
    carried = within(case.carried(rule.code) or _NONE, rule.percent_at_most)
    remover = case.worsened_by
    if remover is not None:
        return Passed(lambda: sentences.removed_by(remover.code, carried), carry=_NONE)
    change = case.change(rule)
    if isinstance(change, Met):
        met, percent = change, case.further(carried, rule.percent, rule.percent_at_most)
        return Applied(
            percent,
            lambda: sentences.improved(met.moved, percent, before=carried),
            met.evidence,
            carry=percent,
        )
    return _kept(change, carried)


def _once(rule: WindowImprovement, case: Case, percent: Decimal) -> Verdict:
    """An improvement that brings its percentage for one term only."""
    change = case.change(rule)
    if not isinstance(change, Met):
        return Passed(change.reason)
    met = change
    return Applied(
        percent, lambda: sentences.improved(met.moved, percent, before=_NONE), met.evidence
    )


def _kept(unmet: Unmet, carried: Decimal) -> Verdict:
    """A term that adds nothing keeps what was carried into it."""
    if carried == 0:
        return Passed(unmet.reason, carry=_NONE)
    return Applied(carried, lambda: sentences.kept(carried, unmet.reason()), carry=carried)


def worsening(rule: Worsening, case: Case) -> Verdict:
    """PRM-8, PRM-9: removes what was accumulated (see `improvement`), then its surcharge."""
    change = case.change(rule)
    if rule.percent is None or rule.percent_at_most is None:
        if not isinstance(change, Met):
            return Passed(change.reason)
        met, percent = change, rule.percent or _NONE
        return Applied(percent, lambda: _worse(rule, case, met, percent), met.evidence)
    carried = within(case.carried(rule.code) or _NONE, rule.percent_at_most)
    if isinstance(change, Met):
        met, percent = change, case.further(carried, rule.percent, rule.percent_at_most)
        return Applied(
            percent, lambda: _worse(rule, case, met, percent), met.evidence, carry=percent
        )
    if carried != 0 and case.improved:
        return Passed(lambda: sentences.surcharge_taken_away(carried), carry=_NONE)
    return _kept(change, carried)


def _worse(rule: Worsening, case: Case, met: Met, percent: Decimal) -> Words:
    lost = [
        (it.code, case.carried(it.code) or _NONE)
        for it in case.product.rules
        if isinstance(it, WindowImprovement) and it.percent_at_most is not None
    ]
    removed = [(code, carried) for code, carried in lost if carried != 0]
    return sentences.worsened(
        met.moved, met.diagnoses, percent, removed if rule.removes_discounts else []
    )


def tier_change(rule: TierChange, case: Case) -> Verdict:
    """PRM-4: months of participation, and a lower tier than the ending term was priced with."""
    facts = case.facts
    before, now = facts.tier_at_start, facts.tier
    if facts.ending is None:
        return Passed(sentences.no_term_yet)
    if before is None:
        return Passed(sentences.no_assessment_at_start)
    if now is None:
        return Passed(lambda: sentences.no_assessment(refuses=facts.refuses_upload))
    if rule.health and not facts.health_at_start.intersection(rule.health):
        return Passed(lambda: sentences.other_health(rule.health))
    if now.tier.rank >= before.tier.rank:
        return Passed(lambda: sentences.tier_not_lower(before.tier, now.tier))
    months = case.months_from(rule.month_counts_from_percent)
    if len(months) < rule.participation_months:
        return Passed(
            lambda: sentences.too_few_months(
                len(months),
                rule.participation_months,
                case.participation,
                rule.month_counts_from_percent,
            )
        )

    def evidence() -> tuple[Evidence, ...]:
        tiers = (TierEvidence(it.tier, it.assessed_at, it.assessment_id) for it in (before, now))
        return (*tiers, ParticipationEvidence(months))

    return Applied(
        rule.percent,
        lambda: sentences.tier_changed(before.tier, now.tier, len(months), rule.percent),
        evidence,
    )


def mild_condition(rule: MildConditionImprovement, case: Case) -> Verdict:
    """PRM-5: the first case whose window closed in the ending term and shows improvement. It
    counts in that term only."""
    facts = case.facts
    if facts.ending is None or not facts.mild_conditions:
        return Passed(sentences.no_mild_condition)
    demand = windows.Demand(rule.readings_min, rule.days_min, consecutive=False)
    closing = windows.closing_in(facts.ending)
    unmet = Unmet(lambda: sentences.mild_condition_not_over(rule.months))
    for it in sorted(facts.mild_conditions, key=lambda it: (it.triggered_on, it.code)):
        window = windows.since(it.triggered_on, months=rule.months, end_months=rule.end_months)
        if window.months[-1] not in closing:
            continue
        found = [windows.judge(metric, case.readings, window, demand) for metric in rule.metrics]
        change = mild_change(found, case, demand)
        if isinstance(change, Met):
            return _mild(rule, it.choice, change)
        unmet = change
    return Passed(unmet.reason)


def _mild(rule: MildConditionImprovement, choice: MildChoice, met: Met) -> Verdict:
    if choice is MildChoice.COVER:
        uplift = rule.cover_uplift_percent
        return Applied(
            _NONE,
            lambda: sentences.mild_cover(met.moved, uplift),
            met.evidence,
            cover_uplift=uplift,
        )
    return Applied(
        rule.percent, lambda: sentences.mild_premium(met.moved, rule.percent), met.evidence
    )


def left(rule: Exit, case: Case) -> Verdict:
    """PRM-9: says what leaving has cost; `Case.carried` is empty."""
    left_on = case.facts.left_on
    if left_on is None:
        return Passed(sentences.never_left)
    carried = {code: it for code, it in case.facts.carried.items() if it != 0}
    return Applied(
        _NONE,
        lambda: sentences.left(left_on, carried),
        lambda: (ProfileEvidence(sentences.LEFT, sentences.on_day(left_on)),),
    )


def level(rule: BenefitFromPoints, case: Case) -> Verdict:
    """PTS-4: begins with `initial_percent`; each later term moves by the step of its level, in
    percentage points, whatever the product's stacking."""
    before = case.carried(rule.code)
    name = case.facts.level
    step = _NONE
    if before is None:
        percent = rule.initial_percent or _NONE
    else:
        step = rule.step_by_level.get(name, _NONE) if name is not None else _NONE
        percent = before + step
    if rule.percent_min is not None:
        percent = max(percent, rule.percent_min)
    if rule.percent_max is not None:
        percent = min(percent, rule.percent_max)
    return Applied(
        percent,
        lambda: sentences.level(name, before, step, percent),
        lambda: (ProfileEvidence(sentences.LEVEL, sentences.level_name(name)),) if name else (),
        carry=percent,
    )


def fee(rule: NonParticipation, case: Case) -> Verdict:
    """PRM-10: a fee of the rated base, outside of the bounds."""
    months = case.absence(rule)
    if months is None:
        return Passed(lambda: sentences.no_absence(rule.months))
    return Applied(
        rule.fee_percent,
        lambda: sentences.fee(months, rule.fee_percent),
        lambda: (ParticipationEvidence(months),) if months else (),
    )


def pay(credits: tuple[Credit, ...], due: int) -> Iterator[tuple[Credit, int]]:
    """What each credit pays of what is due, the oldest first, in minor units; never more."""
    for credit in sorted(credits, key=lambda it: (it.redeemed_on, it.redemption_id)):
        used = min(credit.amount, due)
        if used > 0:
            due -= used
            yield credit, used


def has_term(case: Case) -> bool:
    return case.facts.ending is not None
