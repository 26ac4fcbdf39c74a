"""Which rules a market's rating regime forbids, and why (PRM-17).

Used before a product document is accepted and once more before it is published.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from app.errors import Explained
from app.premiums import pricing_rules as kinds

if TYPE_CHECKING:
    from app.premiums.product import BasePremium, Product


class RatingRegime(StrEnum):
    """What a market allows to move one insured person's premium."""

    INDIVIDUAL = "individual"
    """Everything."""
    DISCOUNT_ONLY = "discount_only"
    """Nothing that makes one person dearer by their health or behaviour."""
    POOL_ONLY = "pool_only"
    """Nothing that looks at one person's health or behaviour."""
    FIXED = "fixed"
    """One price for all."""


@dataclass(frozen=True, slots=True)
class Refusal:
    path: str
    rule: str
    """Code of the rule, or `base_premium`."""
    regime: RatingRegime
    reason: str

    def __str__(self) -> str:
        return f"rule {self.rule!r}: regime {self.regime} forbids it: {self.reason}"


class RegimeForbids(Explained, ValueError):
    """The product has rules that its regime forbids."""

    def __init__(self, product: "Product", refusals: tuple[Refusal, ...]) -> None:
        self.refusals = refusals
        faults = "; ".join(f"{it.path}: {it}" for it in refusals)
        super().__init__(f"{product.code} {product.version}: {faults}")


_Reason = Callable[[kinds.Rule], str | None]

_RAISES = "it raises one insured person's premium"
_MOVES = "it moves one insured person's premium by their own health or behaviour"
_FIXED = "the price is the same for all and never moves"


def _in_any_case(reason: str) -> _Reason:
    return lambda rule: reason


def _a_loading(rule: kinds.Rule) -> str | None:
    assert isinstance(rule, kinds.TierRule)
    loaded = [f"{tier} x{by}" for tier, by in rule.multipliers.items() if by > 1]
    return f"{_RAISES} by their health: {', '.join(loaded)}" if loaded else None


def _a_surcharge(rule: kinds.Rule) -> str | None:
    assert isinstance(rule, kinds.Worsening)
    if rule.percent is None:
        return None
    return f"{_RAISES} by their health: percent {rule.percent}"


def _a_dearer_month(rule: kinds.Rule) -> str | None:
    assert isinstance(rule, kinds.ParticipationRule)
    if rule.percent_per_month < 0:
        return None
    return f"{_RAISES} by their behaviour: percent_per_month {rule.percent_per_month}"


def _a_fee(rule: kinds.Rule) -> str | None:
    assert isinstance(rule, kinds.NonParticipation)
    if rule.fee_percent == 0:
        return None
    return f"{_RAISES} by their behaviour: fee_percent {rule.fee_percent}"


def _a_step_above_the_table(rule: kinds.Rule) -> str | None:
    assert isinstance(rule, kinds.BenefitFromPoints)
    if not rule.step_by_level:
        return None
    # What an earlier version has carried counts too, whatever the steps of this one.
    if rule.percent_max is None or rule.percent_max > 0:
        return f"{_RAISES} by their behaviour: it may end above 0, so percent_max must be 0 or less"
    return None


def _levels(rule: kinds.Rule) -> str | None:
    assert isinstance(rule, kinds.BenefitFromPoints)
    return _MOVES if rule.step_by_level else None


_KINDS: tuple[type[kinds.Rule], ...] = (
    kinds.TierRule,
    kinds.RegionRule,
    kinds.LossRatioRule,
    kinds.GroupRule,
    kinds.WindowImprovement,
    kinds.ParticipationRule,
    kinds.TierChange,
    kinds.Worsening,
    kinds.MildConditionImprovement,
    kinds.Exit,
    kinds.NonParticipation,
    kinds.BenefitFromPoints,
)

_FORBIDS: dict[RatingRegime, dict[type[kinds.Rule], _Reason]] = {
    RatingRegime.INDIVIDUAL: {},
    RatingRegime.DISCOUNT_ONLY: {
        kinds.TierRule: _a_loading,
        kinds.ParticipationRule: _a_dearer_month,
        kinds.Worsening: _a_surcharge,
        kinds.NonParticipation: _a_fee,
        kinds.BenefitFromPoints: _a_step_above_the_table,
    },
    RatingRegime.POOL_ONLY: {
        kinds.TierRule: _in_any_case(_MOVES),
        kinds.WindowImprovement: _in_any_case(_MOVES),
        kinds.ParticipationRule: _in_any_case(_MOVES),
        kinds.TierChange: _in_any_case(_MOVES),
        kinds.Worsening: _in_any_case(_MOVES),
        kinds.MildConditionImprovement: _in_any_case(_MOVES),
        kinds.Exit: _in_any_case(_MOVES),
        kinds.NonParticipation: _in_any_case(_MOVES),
        kinds.BenefitFromPoints: _levels,
    },
    RatingRegime.FIXED: {kind: _in_any_case(_FIXED) for kind in _KINDS},
}


def refusals(product: "Product") -> Iterator[Refusal]:
    """What the product's regime forbids in it: rules in document order, then the table."""
    forbids = _FORBIDS[product.regime]
    for place, rule in enumerate(product.rules):
        reason = forbids[type(rule)](rule) if type(rule) in forbids else None
        if reason is not None:
            yield Refusal(f"rules.{place}", rule.code, product.regime, reason)
    reason = _of_table(product.regime, product.base_premium)
    if reason is not None:
        yield Refusal("base_premium.by_age", "base_premium", product.regime, reason)


def guard(product: "Product") -> None:
    """Raises RegimeForbids with every rule that the product's regime forbids."""
    found = tuple(refusals(product))
    if found:
        raise RegimeForbids(product, found)


def _of_table(regime: RatingRegime, table: "BasePremium") -> str | None:
    if regime is RatingRegime.FIXED and len({row.amount for row in table.by_age}) > 1:
        return "the price is the same for all: every row must have one amount"
    by_health = [row for row in table.by_age if row.health]
    if regime in (RatingRegime.POOL_ONLY, RatingRegime.FIXED) and by_health:
        return f"{_MOVES}: a row for {', '.join(by_health[0].health)}"
    if regime is RatingRegime.DISCOUNT_ONLY:
        for row in by_health:
            for age, sex, usual in table.without_health(row):
                if row.amount > usual.amount:
                    return (
                        f"{_RAISES} by their health: {row.amount} for {', '.join(row.health)} "
                        f"at age {age} ({sex}), where {usual.amount} is usual"
                    )
    return None
