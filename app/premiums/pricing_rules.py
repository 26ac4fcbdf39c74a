"""The kinds of rule that make a line of a premium: typed data, no code (PRM-1 … PRM-14).

A percentage is signed: negative is cheaper. `Rule` is the union that a product document lists;
what each kind needs to know of a member is in `app.premiums.facts`, what it does with it in
`app.premiums.engine`.
"""

from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.premiums.benefit_terms import Icd10
from app.premiums.documents import (
    Clause,
    Code,
    HealthGroup,
    Months,
    Percent,
    Region,
    Share,
    Strict,
)
from app.risk.rulesets import Tier


def _must_lie_beyond(at_most: Decimal, one: Decimal, *, name: str) -> None:
    if one == 0 or (one < 0) != (at_most < 0) or abs(at_most) < abs(one):
        raise ValueError(
            f"percent_at_most {at_most} must have the sign of {name} {one} and be no smaller"
        )


def _window_must_hold_both_ends(months: int, end_months: int) -> None:
    if months < 2 * end_months:
        raise ValueError(
            f"months {months} must be at least twice end_months {end_months}: the two ends of "
            "the window must not overlap"
        )


Multiplier = Annotated[Decimal, Field(gt=0, le=10, max_digits=5, decimal_places=3)]


class Timing(StrEnum):
    RENEWAL = "renewal"
    MID_TERM = "mid_term"
    """Also during the term, for what is left of it."""


class _Rule(Clause):
    code: Code
    """As members see it: PRM-4."""


class MetricChange(Strict):
    """An average that moves by at least `by`, signed: -5 has fallen by 5 or more."""

    measurement: str
    """Of the measurement catalogue, as SYSTOLIC_BP."""
    context: str | None = None
    """Only readings in this context; left out: each context is compared with itself."""
    by: Decimal = Field(max_digits=9, decimal_places=4)
    unit: str
    """UCUM; the code's canonical one."""


class TierRule(_Rule):
    """PRM-1: multiplies table x region. Without an assessment nothing is multiplied."""

    kind: Literal["tier"]
    multipliers: dict[Tier, Multiplier]

    @model_validator(mode="after")
    def _every_tier_in_order(self) -> Self:
        missing = [tier for tier in Tier if tier not in self.multipliers]
        if missing:
            raise ValueError(f"multipliers: {', '.join(missing)} is missing")
        by_tier = [self.multipliers[tier] for tier in sorted(Tier, key=lambda it: it.rank)]
        if sorted(by_tier) != by_tier:
            raise ValueError("multipliers: a higher tier must not be cheaper")
        return self


class RegionRule(_Rule):
    """PRM-12: by ISO 3166-2 code; a region holds its parts, the most exact code counts."""

    kind: Literal["region"]
    percent_by_region: dict[Region, Percent] = Field(min_length=1)


class LossRatioRule(_Rule):
    """PRM-14: last year's loss ratio including operating cost moves the table."""

    kind: Literal["loss_ratio"]
    above_percent: Annotated[Decimal, Field(gt=0, le=1000, decimal_places=2)]
    above_change: Percent
    below_percent: Annotated[Decimal, Field(ge=0, le=1000, decimal_places=2)]
    below_change: Percent

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.below_percent >= self.above_percent:
            raise ValueError(
                f"below_percent {self.below_percent} must be less than above_percent "
                f"{self.above_percent}"
            )
        if self.above_change < 0 or self.below_change > 0:
            raise ValueError("above_change must not be below 0, below_change not above it")
        return self


class GroupRule(_Rule):
    """PRM-13: by the number of insured members of the group, the largest size reached."""

    kind: Literal["group"]
    percent_by_members_from: dict[Annotated[int, Field(ge=2, le=1_000_000)], Percent] = Field(
        min_length=1
    )


class WindowImprovement(_Rule):
    """PRM-3, PRM-6, PRM-7: averages of the last and the first `end_months` of a window of whole
    calendar months that closed in the ending term."""

    kind: Literal["window_improvement"]
    metrics: tuple[MetricChange, ...] = Field(min_length=1)
    needs: Literal["any", "all"] = "any"
    months: Months
    end_months: Annotated[int, Field(ge=1, le=6)] = 1
    readings_min: Annotated[int, Field(ge=1)] = 2
    days_min: Annotated[int, Field(ge=1)] = 2
    """At each end (PRM-18)."""
    consecutive: bool = True
    """A month in between that is worse than the beginning ends the run of improvement."""
    tiers: tuple[Tier, ...] = ()
    """Only for those who were of these tiers when the window began; empty: for everybody."""
    percent: Percent | None = None
    percent_at_most: Percent | None = None
    """Each further term adds `percent` down to this (PRM-7); left out: once, not carried on."""
    returns_to_base: bool = False
    """Takes the loading of the tier away instead (PRM-3)."""
    timing: Timing = Timing.RENEWAL

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _window_must_hold_both_ends(self.months, self.end_months)
        if (self.percent is None) != self.returns_to_base:
            raise ValueError("either percent or returns_to_base: true")
        if self.percent is not None and self.percent >= 0:
            raise ValueError(f"percent {self.percent} must be below 0: an improvement is cheaper")
        if self.percent_at_most is not None:
            if self.percent is None:
                raise ValueError("percent_at_most needs percent")
            _must_lie_beyond(self.percent_at_most, self.percent, name="percent")
        if self.timing is Timing.MID_TERM and not self.returns_to_base:
            raise ValueError(
                "timing mid_term is for returns_to_base: a discount begins with a term"
            )
        return self


class ParticipationRule(_Rule):
    """Each closed month with enough of its due tasks done takes a percentage off the next
    term's base, down to a bound."""

    kind: Literal["participation"]
    month_counts_from_percent: Share = Field(gt=0)
    percent_per_month: Percent
    percent_at_most: Percent

    @model_validator(mode="after")
    def _the_bound_lies_beyond_one_month(self) -> Self:
        _must_lie_beyond(self.percent_at_most, self.percent_per_month, name="percent_per_month")
        return self


class TierChange(_Rule):
    """PRM-4: so many months of participation in the ending term, and a lower tier than at its
    start."""

    kind: Literal["tier_change"]
    participation_months: Months
    month_counts_from_percent: Share = Field(gt=0)
    health: tuple[HealthGroup, ...] = ()
    """Only for those who were in one of these health groups; empty: for everybody."""
    percent: Percent = Field(lt=0)


class Worsening(_Rule):
    """PRM-8, PRM-9: removes what has been accumulated, then adds a surcharge if it has one. It
    stays until a term of improvement takes it away."""

    kind: Literal["worsening"]
    metrics: tuple[MetricChange, ...] = ()
    months: Months = 12
    end_months: Annotated[int, Field(ge=1, le=6)] = 1
    readings_min: Annotated[int, Field(ge=1)] = 2
    days_min: Annotated[int, Field(ge=1)] = 2
    diagnoses: tuple[Icd10, ...] = ()
    """ICD-10 codes of one illness, first made in the ending term; I10 holds its parts."""
    percent: Percent | None = None
    percent_at_most: Percent | None = None
    removes_discounts: bool = True

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _window_must_hold_both_ends(self.months, self.end_months)
        if not self.metrics and not self.diagnoses:
            raise ValueError("metrics or diagnoses: at least one must say what worsening is")
        if self.percent is None and not self.removes_discounts:
            raise ValueError("it does nothing: no percent, and removes_discounts is false")
        if self.percent is not None and self.percent <= 0:
            raise ValueError(f"percent {self.percent} must be above 0: left out for no surcharge")
        if self.percent_at_most is not None:
            if self.percent is None:
                raise ValueError("percent_at_most needs percent")
            _must_lie_beyond(self.percent_at_most, self.percent, name="percent")
        return self


class MildConditionImprovement(_Rule):
    """PRM-5: after `months` of intervention from the trigger; the member chooses which."""

    kind: Literal["mild_condition_improvement"]
    metrics: tuple[MetricChange, ...] = Field(min_length=1)
    months: Months
    end_months: Annotated[int, Field(ge=1, le=6)] = 1
    readings_min: Annotated[int, Field(ge=1)] = 2
    days_min: Annotated[int, Field(ge=1)] = 2
    percent: Percent = Field(lt=0)
    cover_uplift_percent: Share = Field(gt=0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        _window_must_hold_both_ends(self.months, self.end_months)
        return self


class Exit(_Rule):
    """PRM-9: who left comes back without what had been accumulated."""

    kind: Literal["exit"]


class NonParticipation(_Rule):
    """PRM-10, off unless a product lists it: consecutive months in which something was due and
    nothing was done, or (only if switched on) a refusal of health data, remove every discount
    and cost a fee of the rated base outside of the bounds."""

    kind: Literal["non_participation"]
    months: Months
    fee_percent: Share
    counts_refusal: bool = False


class BenefitFromPoints(_Rule):
    """PTS-4: a status level moves a carried percentage each term (`by_level`), or redeemed
    premium credit is paid with (`credit`)."""

    kind: Literal["benefit_from_points"]
    initial_percent: Percent | None = None
    step_by_level: dict[str, Percent] = Field(default_factory=dict)
    percent_min: Percent | None = None
    percent_max: Percent | None = None
    credit: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        named = {
            "initial_percent": self.initial_percent,
            "percent_min": self.percent_min,
            "percent_max": self.percent_max,
        }
        if not self.step_by_level:
            if not self.credit:
                raise ValueError("it does nothing: neither step_by_level nor credit")
            for name, value in named.items():
                if value is not None:
                    raise ValueError(f"{name} needs step_by_level")
        known = [
            (name, value)
            for name in ("percent_min", "initial_percent", "percent_max")
            if (value := named[name] if name != "initial_percent" else self.starts_at) is not None
        ]
        for (lower, less), (higher, more) in pairwise(known):
            if less > more:
                raise ValueError(f"{lower} {less} must not be above {higher} {more}")
        return self

    @property
    def starts_at(self) -> Decimal:
        """The percentage of the first term."""
        return self.initial_percent or Decimal(0)


Rule = Annotated[
    TierRule
    | RegionRule
    | LossRatioRule
    | GroupRule
    | WindowImprovement
    | ParticipationRule
    | TierChange
    | Worsening
    | MildConditionImprovement
    | Exit
    | NonParticipation
    | BenefitFromPoints,
    Field(discriminator="kind"),
]
