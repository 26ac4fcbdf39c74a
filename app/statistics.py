"""What a report may conclude, by exact formulas. No I/O, no randomness.

Lift: a difference of two proportions with an interval that holds at all looks together, so that
whoever looks every day is wrong in at most 5 % of campaigns and not in 30 %. It is the mixture
sequential probability ratio test of Johari, Pekelis and Walsh, "Always valid inference:
continuous monitoring of A/B tests", Operations Research 70 (2022), equation (11): with a normal
mixture of variance tau2 over the true difference and V the variance of the estimated one,

    half width = sqrt( V (V + tau2) / tau2 * ln( (V + tau2) / (V alpha^2) ) ).

Sample ratio: Pearson's chi-square of the sizes of the arms against the shares they should have,
alarm below 0.001, as Fabijan et al., "Diagnosing sample ratio mismatch in online controlled
experiments", KDD 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, lgamma, log, log1p, sqrt

ALPHA = 0.05
TAU = 0.02
"""Standard deviation of the mixture: differences of about two percentage points are found
soonest; any is valid."""
ALARM_BELOW = 0.001
EXPECTED_MIN = 5


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    converted: int
    assigned: int

    @property
    def rate(self) -> float:
        return self.converted / self.assigned if self.assigned else 0.0

    @property
    def variance(self) -> float:
        """Of the rate, as if one more of each outcome had been seen: small and one-sided samples
        are never certain."""
        rate = (self.converted + 1) / (self.assigned + 2)
        return rate * (1 - rate) / max(self.assigned, 1)


@dataclass(frozen=True, slots=True)
class Lift:
    """As proportions, from -1 to 1."""

    difference: float
    low: float
    high: float

    @property
    def is_found(self) -> bool:
        """The interval leaves out zero."""
        return self.low > 0 or self.high < 0


def lift(treated: Share, holdout: Share, *, alpha: float = ALPHA, tau: float = TAU) -> Lift | None:
    """Treated against holdout; None while one of them is empty."""
    if not treated.assigned or not holdout.assigned:
        return None
    difference = treated.rate - holdout.rate
    variance = treated.variance + holdout.variance
    mixture = tau * tau
    total = variance + mixture
    half = sqrt(variance * total / mixture * log(total / (variance * alpha * alpha)))
    return Lift(difference, max(-1.0, difference - half), min(1.0, difference + half))


def sample_ratio(sizes: Sequence[int], shares: Sequence[float]) -> float:
    """How probable sizes at least so far from `shares` (which add up to 1) are by chance; 1
    when nobody or only one arm is there.

    Chi-square is no measure of arms of whom fewer than five are expected (Cochran 1954): these
    are counted with the next larger one, and each is asked by itself, exactly, whether it is too
    large; the least probable of these answers holds, times their number (Bonferroni).
    """
    total = sum(sizes)
    arms = [(size, share) for size, share in zip(sizes, shares, strict=True) if share > 0 or size]
    if total == 0 or len(arms) < 2:
        return 1.0
    if any(share <= 0 for _, share in arms):
        return 0.0
    cells = _pooled([(size, total * share) for size, share in arms])
    distance = sum((size - expected) ** 2 / expected for size, expected in cells)
    found = [chi_square_above(distance, len(cells) - 1)] if len(cells) > 1 else []
    small = [it for it in arms if total * it[1] < EXPECTED_MIN]
    found += [_at_least(size, total, share) for size, share in small]
    return min(1.0, len(found) * min(found))


def _pooled(arms: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """(size, expected) of arms, the smallest together until they are large enough."""
    cells: list[tuple[int, float]] = []
    for size, expected in sorted(arms, key=lambda it: it[1]):
        if cells and cells[-1][1] < EXPECTED_MIN:
            before = cells.pop()
            cells.append((before[0] + size, before[1] + expected))
        else:
            cells.append((size, expected))
    return cells


def _at_least(size: int, total: int, share: float) -> float:
    """The probability of `size` or more of `total`, of whom each is one by chance `share`."""
    if size <= total * share:
        return 1.0
    outcomes = lgamma(total + 1) - lgamma(size + 1) - lgamma(total - size + 1)
    term = exp(outcomes + size * log(share) + (total - size) * log1p(-share))
    found = 0.0
    # Above the mean each is smaller than the one before.
    while term > found * 1e-15:
        found += term
        term *= (total - size) / (size + 1) * share / (1 - share)
        size += 1
    return found


def chi_square_above(value: float, degrees: int) -> float:
    """The probability that a chi-square variable of so many degrees of freedom exceeds it: the
    upper regularised incomplete gamma function of (degrees/2, value/2), by its series below the
    peak and its continued fraction (Lentz) above."""
    if value <= 0:
        return 1.0
    if value == inf:
        return 0.0
    a, x = degrees / 2, value / 2
    scale = exp(a * log(x) - x - lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        step = a
        while term > total * 1e-15:
            step += 1
            term *= x / step
            total += term
        return max(0.0, 1 - scale * total)
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    result = d
    for place in range(1, 1000):
        factor = -place * (place - a)
        b += 2
        d = 1 / (factor * d + b or tiny)
        c = b + factor / c or tiny
        change = c * d
        result *= change
        if abs(change - 1) < 1e-15:
            break
    return scale * result
