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
from math import exp, inf, lgamma, log, sqrt

ALPHA = 0.05
TAU = 0.02
"""Standard deviation of the mixture: differences of about two percentage points are found
soonest; any is valid."""
ALARM_BELOW = 0.001


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
    when nobody or only one arm is there."""
    total = sum(sizes)
    arms = [(size, share) for size, share in zip(sizes, shares, strict=True) if share > 0 or size]
    if total == 0 or len(arms) < 2:
        return 1.0
    if any(share <= 0 for _, share in arms):
        return 0.0
    distance = sum((size - total * share) ** 2 / (total * share) for size, share in arms)
    return chi_square_above(distance, len(arms) - 1)


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
