"""What a benefit pays, to whom and until when. No I/O, no clock; money is minor units."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

from app.premiums import rules
from app.premiums.benefit_terms import ComplicationCover, MildConditionBenefit, MildConditionKind
from app.records import clinical
from app.records.clinical import Found
from app.records.thresholds import Area, Group

MILD_CONDITION = "mild_condition"
"""The product's group that triggers the benefit: see `records/product_thresholds.yaml`."""
NOTE_LENGTH_MAX = 500
COST_MINOR_MAX = 10**9
COSTS_MAX = 200
"""Of one case."""
_KINDS: Mapping[Area, MildConditionKind] = {
    Area.FASTING_GLUCOSE: MildConditionKind.FASTING_GLUCOSE,
    Area.BLOOD_PRESSURE_OFFICE: MildConditionKind.GRADE_1_HYPERTENSION,
}


class CaseState(StrEnum):
    OPEN = "OPEN"
    CLOSED = "CLOSED"
    """Its months are over."""
    NOT_COVERED = "NOT_COVERED"
    """It was found within the waiting period (COV-13)."""


class ClosedBecause(StrEnum):
    TIME_OVER = "TIME_OVER"
    READING_CORRECTED = "READING_CORRECTED"
    """What triggered it was never so."""
    POLICY_ENDED = "POLICY_ENDED"


class CostFault(StrEnum):
    """Why nothing is paid of a cost."""

    DRUG_NOT_COVERED = "DRUG_NOT_COVERED"
    OUTSIDE_PERIOD = "OUTSIDE_PERIOD"


class MovementKind(StrEnum):
    PAID = "PAID"
    REVERSED = "REVERSED"
    RESTATED = "RESTATED"
    """Another cost was reversed, and left room under the limit."""


class CoverDecision(StrEnum):
    GRANTED = "GRANTED"
    REFUSED = "REFUSED"


class CoverReason(StrEnum):
    GOOD_MEMBER = "GOOD_MEMBER"
    NOT_INSURED_LONG_ENOUGH = "NOT_INSURED_LONG_ENOUGH"
    TOO_FEW_GOOD_MONTHS = "TOO_FEW_GOOD_MONTHS"
    COMPLICATION_KNOWN = "COMPLICATION_KNOWN"


class UpliftSource(StrEnum):
    REWARD = "REWARD"
    """Redeemed points (PTS-4)."""
    MILD_CONDITION = "MILD_CONDITION"
    """Chosen instead of a lower premium (PRM-5)."""


# The mild condition


@dataclass(frozen=True, slots=True)
class Trigger:
    """A mild condition, as readings show it."""

    condition: MildConditionKind
    on: date
    """Local day of the newest reading it rests on."""
    clinical_class: str
    """What the guideline calls it: `diabetes_range`, `grade1`."""
    diabetes_range: bool
    readings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Earlier:
    """The newest case of the same condition."""

    triggered_on: date
    closes_on: date
    closed: bool


@dataclass(frozen=True, slots=True)
class Opening:
    state: CaseState
    closes_on: date
    """Last day."""


def triggers(found: Iterable[Found], group: Group) -> list[Trigger]:
    """The conditions for which a member with these classes is in the group, at most one of
    each kind."""
    classes = list(found)
    made: dict[MildConditionKind, Trigger] = {}
    for criterion in group.any_of:
        only = group.model_copy(update={"any_of": (criterion,)})
        if not clinical.groups(classes, [only]):
            continue
        for it in classes:
            kind = _KINDS.get(it.area)
            if kind is None or it.area not in criterion.areas:
                continue
            made[kind] = Trigger(
                condition=kind,
                on=it.as_of,
                clinical_class=it.band.code,
                diabetes_range=it.diabetes_range,
                readings=tuple(str(reading.id) for reading in it.readings),
            )
    return list(made.values())


def opening(
    trigger: Trigger,
    terms: MildConditionBenefit,
    *,
    policy_started_on: date,
    waiting_days: int,
    term: rules.Term,
    earlier: Earlier | None,
) -> Opening | None:
    """The case that a trigger opens; None when it opens none: the product does not know the
    condition, the readings are of before the policy, or the case before has not left room.

    What is found within the waiting period is not covered until the term ends: the member is
    told so, once, and the same illness opens nothing in between.
    """
    if not terms.drugs_of(trigger.condition) or trigger.on < policy_started_on:
        return None
    if earlier is not None:
        # A reading of the days of a case belongs to that case.
        if not earlier.closed or trigger.on <= earlier.closes_on:
            return None
        again = terms.again_after_months
        if again is not None and trigger.on < rules.add_months(earlier.triggered_on, again):
            return None
    if trigger.on < covered_from(policy_started_on, waiting_days):
        return Opening(CaseState.NOT_COVERED, max(term.ends_on, trigger.on))
    last = rules.add_months(trigger.on, terms.months) - timedelta(days=1)
    return Opening(CaseState.OPEN, last)


def covered_from(policy_started_on: date, waiting_days: int) -> date:
    """The first day on which an illness that is found is covered."""
    return policy_started_on + timedelta(days=waiting_days)


# Costs


@dataclass(frozen=True, slots=True)
class Cost:
    amount: int
    """What the member paid."""
    pays: bool
    """Whether it counts: neither at fault nor reversed."""


def cost_fault(
    drug: str, bought_on: date, *, drugs: Sequence[str], triggered_on: date, closes_on: date
) -> CostFault | None:
    """Days of both ends count."""
    if not any(drug.startswith(prefix) for prefix in drugs):
        return CostFault.DRUG_NOT_COVERED
    if not triggered_on <= bought_on <= closes_on:
        return CostFault.OUTSIDE_PERIOD
    return None


def settle(costs: Iterable[Cost], *, share_percent: Decimal, limit: int) -> list[int]:
    """What is paid of each cost, in the order in which they were recorded: its share, rounded
    half up to the cent, as long as the limit lasts."""
    left, paid = limit, []
    for cost in costs:
        amount = min(rules.line(cost.amount, share_percent), left) if cost.pays else 0
        left -= amount
        paid.append(amount)
    return paid


# Sums insured


def sum_insured(amount: int, uplifts: Iterable[Decimal], *, percent_max: Decimal | None) -> int:
    """With the uplifts of a day, which add up to at most `percent_max`; rounded half up."""
    return amount + rules.line(amount, uplift_percent(uplifts, percent_max=percent_max))


def uplift_percent(uplifts: Iterable[Decimal], *, percent_max: Decimal | None) -> Decimal:
    total = sum(uplifts, start=Decimal(0))
    return total if percent_max is None else min(total, percent_max)


def uplift_days(granted_on: date, *, term_starts_on: date, months: int) -> rules.Term:
    """From the day it was granted, or on which the term began when that was later: what waited
    for a cover that can be lifted has lost nothing by it."""
    first = max(granted_on, term_starts_on)
    return rules.Term(first, rules.add_months(first, months) - timedelta(days=1))


# Complications


@dataclass(frozen=True, slots=True)
class Decided:
    decision: CoverDecision
    reason: CoverReason
    insured_months: int
    good_months: int
    counted_months: int
    """Of the window, that had a percentage."""


def decide_cover(
    cover: ComplicationCover,
    *,
    policy_started_on: date,
    today: date,
    months: Sequence[rules.MonthOfParticipation],
    conditions: Iterable[str],
) -> Decided:
    """Whether a member has the cover from today. `months` are closed ones, `conditions` the
    ICD-10 codes on record."""
    insured = whole_months(policy_started_on, today)
    with_percent = [it.percent for it in months if it.percent is not None]
    counted = with_percent[-cover.window_months :]
    good = sum(1 for percent in counted if percent >= cover.month_counts_from_percent)
    if any(holds(code, condition) for code in cover.icd10 for condition in conditions):
        reason = CoverReason.COMPLICATION_KNOWN
    elif insured < cover.insured_months_min:
        reason = CoverReason.NOT_INSURED_LONG_ENOUGH
    elif good < cover.good_months_min:
        reason = CoverReason.TOO_FEW_GOOD_MONTHS
    else:
        reason = CoverReason.GOOD_MEMBER
    granted = reason is CoverReason.GOOD_MEMBER
    decision = CoverDecision.GRANTED if granted else CoverDecision.REFUSED
    return Decided(decision, reason, insured, good, len(counted))


def holds(code: str, condition: str) -> bool:
    """Whether an ICD-10 code holds another: E11.3 holds E11.3 and E11.31, H36 holds H36.0."""
    return condition.startswith(code)


def whole_months(begin: date, day: date) -> int:
    """Completed months; 0 before `begin`."""
    months = (day.year - begin.year) * 12 + day.month - begin.month
    return max(0, months - (rules.add_months(begin, months) > day) if months > 0 else 0)
