"""The arithmetic of a portfolio. Pure; integer minor units.

Where a total is divided, every part but one is rounded down, and what is left over goes to the
largest part (the first of equals), so that the parts sum to the total.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from app.premiums import rules
from app.premiums.contract_terms import Reserve
from app.premiums.pricing_rules import LossRatioRule
from app.risk.rulesets import Tier

RESERVE_PERCENT_MIN, RESERVE_PERCENT_MAX = Decimal(10), Decimal(15)
"""ACT-1."""
DRIFT_MAX = Decimal("0.02")
"""How far the mean tier multiplier may be from the planned one before somebody should look."""
CELL_MIN = 10
"""Fewer persons than this are not published: a sum would tell about somebody."""
_HUNDREDTH = Decimal("0.01")
_THOUSANDTH = Decimal("0.001")


class PortfolioWarning(StrEnum):
    """What somebody should look at; nothing is refused because of it."""

    RESERVE_OUTSIDE_RANGE = "RESERVE_OUTSIDE_RANGE"
    RESERVE_ABOVE_CAP = "RESERVE_ABOVE_CAP"
    SPENT_ABOVE_CAP = "SPENT_ABOVE_CAP"
    SPENT_ABOVE_RESERVE = "SPENT_ABOVE_RESERVE"
    TIER_MULTIPLIER_DRIFTS = "TIER_MULTIPLIER_DRIFTS"
    LOSS_RATIO_MISSING = "LOSS_RATIO_MISSING"


def share(amount: int, percent: Decimal) -> int:
    """A percentage of an amount, rounded half up."""
    return rules.line(amount, percent)


def loss_ratio(premium: int, *, claims: int, operating_cost: int) -> Decimal:
    """Claims and operating cost in percent of premium (ACT-3), two decimals, half up."""
    assert premium > 0
    exact = Decimal(100 * (claims + operating_cost)) / premium
    return exact.quantize(_HUNDREDTH, ROUND_HALF_UP)


def change_of_table(percent: Decimal, rule: LossRatioRule) -> Decimal:
    """What PRM-14 does to the published table, in percent: strictly above, strictly below."""
    if percent > rule.above_percent:
        return rule.above_change
    return rule.below_change if percent < rule.below_percent else Decimal(0)


def divide(total: int, percents: Sequence[Decimal]) -> list[int]:
    """A total in parts that sum to it; the percentages sum to 100."""
    assert total >= 0 and sum(percents) == 100
    parts = [int(total * percent / 100) for percent in percents]
    largest = max(range(len(parts)), key=lambda place: (percents[place], -place))
    parts[largest] += total - sum(parts)
    return parts


@dataclass(frozen=True, slots=True)
class Burden:
    """Who carries what of a year."""

    ceded: int
    """Of claims, by somebody else (ACT-2)."""
    retained: int
    """The rest of claims: the two sum to them."""
    excess: int
    """What retained claims and operating cost exceed premium by; 0 when they do not."""


def burden(
    premium: int,
    *,
    claims: int,
    ceded_tier_claims: int,
    operating_cost: int,
    cession_percent: Decimal,
) -> Burden:
    """Cession first, rounded half up; what exceeds premium after it is the excess loss that
    COV-12 shares."""
    ceded = share(ceded_tier_claims, cession_percent)
    retained = claims - ceded
    return Burden(ceded, retained, max(0, retained + operating_cost - premium))


def mean_multiplier(
    multipliers: Mapping[Tier, Decimal], mix: Mapping[Tier, Decimal]
) -> Decimal | None:
    """Weighted by how many are in each tier (or what part of all); three decimals, half up.
    None when nobody is. With the planned mix: 0.2 x 0.8 + 0.5 x 1.0 + 0.3 x 1.2 = 1.02."""
    weight = sum(mix.values())
    if not weight:
        return None
    exact = sum((multipliers[tier] * part for tier, part in mix.items()), Decimal(0)) / weight
    return exact.quantize(_THOUSANDTH, ROUND_HALF_UP)


def of_reserve(reserve: Reserve, *, premium: int, spent: int) -> list[PortfolioWarning]:
    """The market's cap, and what the product itself sets aside."""
    found = []
    if not RESERVE_PERCENT_MIN <= reserve.percent <= RESERVE_PERCENT_MAX:
        found.append(PortfolioWarning.RESERVE_OUTSIDE_RANGE)
    if reserve.percent > reserve.cap_percent:
        found.append(PortfolioWarning.RESERVE_ABOVE_CAP)
    if spent > share(premium, reserve.cap_percent):
        found.append(PortfolioWarning.SPENT_ABOVE_CAP)
    if spent > share(premium, reserve.percent):
        found.append(PortfolioWarning.SPENT_ABOVE_RESERVE)
    return found


def published(cells: Mapping[str, int]) -> dict[str, int | None]:
    """Counts of persons by group, small ones as None; if only one is, the next smallest is
    left out too, since the total would tell it."""
    small = {name for name, count in cells.items() if 0 < count < CELL_MIN}
    if len(small) == 1:
        rest = [name for name, count in cells.items() if name not in small and count > 0]
        if rest:
            small.add(min(rest, key=lambda name: (cells[name], name)))
    return {name: None if name in small else count for name, count in cells.items()}
