"""The rated base (PRM-16): what moves the table before any adjustment. One function a kind."""

from app.premiums import rated_sentences as words
from app.premiums import sentences
from app.premiums.judging import Applied, Case, Met, Passed, Verdict
from app.premiums.pricing_rules import (
    GroupRule,
    LossRatioRule,
    RegionRule,
    TierRule,
    Timing,
    WindowImprovement,
)
from app.premiums.quote import LossRatioEvidence, ProfileEvidence, TierEvidence


def loss_ratio(rule: LossRatioRule, case: Case) -> Verdict:
    """PRM-14: strictly above, strictly below; of the published table, each year on its own."""
    known = case.facts.loss_ratio
    if known is None:
        return Passed(words.no_loss_ratio)
    if known.percent > rule.above_percent:
        percent, limit, above = rule.above_change, rule.above_percent, True
    elif known.percent < rule.below_percent:
        percent, limit, above = rule.below_change, rule.below_percent, False
    else:
        return Passed(lambda: words.loss_ratio_between(known, rule))
    return Applied(
        percent,
        lambda: words.loss_ratio(known, limit, percent, above=above),
        lambda: (LossRatioEvidence(known.percent, known.year),),
    )


def group(rule: GroupRule, case: Case) -> Verdict:
    """PRM-13: the largest size that the group reaches."""
    members = case.facts.group_members
    if members is None:
        return Passed(words.no_group)
    reached = [size for size in rule.percent_by_members_from if size <= members]
    if not reached:
        least = min(rule.percent_by_members_from)
        return Passed(lambda: words.group_too_small(members, least))
    size = max(reached)
    percent = rule.percent_by_members_from[size]
    return Applied(
        percent,
        lambda: words.group(members, size, percent),
        lambda: (ProfileEvidence(words.GROUP, words.people(members)),),
    )


def region(rule: RegionRule, case: Case) -> Verdict:
    """PRM-12: the most exact code that holds the member's region."""
    where = case.facts.region
    if where is None:
        return Passed(words.no_region)
    code = where
    while code not in rule.percent_by_region:
        code, hyphen, _ = code.rpartition("-")
        if not hyphen:
            return Passed(lambda: words.other_region(where))
    percent = rule.percent_by_region[code]
    return Applied(
        percent,
        lambda: words.region(where, code, percent),
        lambda: (ProfileEvidence(words.REGION, sentences.plain(where)),),
    )


def tier(rule: TierRule, case: Case) -> Verdict:
    """PRM-1. Nobody who was not assessed is multiplied."""
    assessed = case.facts.tier
    if assessed is None:
        return Passed(lambda: sentences.no_assessment(refuses=case.facts.refuses_upload))
    multiplier = rule.multipliers[assessed.tier]
    return Applied(
        (multiplier - 1) * 100,
        lambda: words.tier(assessed.tier, multiplier),
        lambda: (TierEvidence(assessed.tier, assessed.assessed_at, assessed.assessment_id),),
    )


def return_to_base(rule: WindowImprovement, case: Case) -> Verdict:
    """PRM-3: takes the loading of the tier away, all of it."""
    if case.loading <= 0:
        return Passed(words.no_loading)
    change, effective_on = case.change(rule), None
    mid_term = case.facts.mid_term
    if not isinstance(change, Met) and mid_term and rule.timing is Timing.MID_TERM:
        change, effective_on = case.during(rule, mid_term), mid_term.effective_on
    if not isinstance(change, Met):
        return Passed(change.reason)
    met, loading = change, case.loading
    return Applied(
        -loading,
        lambda: words.returned(met.moved, loading),
        met.evidence,
        effective_on=effective_on,
    )
