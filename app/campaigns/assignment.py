"""Who gets what: sticky, hashed, the same in every process and after every restart.

A member's bucket of a campaign is SHA-256 of campaign and member (`members/buckets.py`); the arms
share the buckets out in the order of their keys, the holdout first. No state is read to decide,
so an assignment can be made twice, in any order and by anybody, and is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

from app.members import buckets

HOLDOUT = "holdout"


@dataclass(frozen=True, slots=True)
class Arm:
    """From bucket `first` to before `end`."""

    key: str
    first: int
    end: int

    @property
    def share(self) -> float:
        return (self.end - self.first) / buckets.SIZE


def arms(weights: Mapping[str, int], *, holdout_percent: Decimal) -> Sequence[Arm]:
    """How buckets are shared out; every bucket belongs to exactly one arm."""
    assert weights and all(weight > 0 for weight in weights.values())
    held = Fraction(holdout_percent) / 100
    shares = [(HOLDOUT, held)] if held else []
    total = sum(weights.values())
    shares += [(key, (1 - held) * weights[key] / total) for key in sorted(weights)]
    found = []
    until = Fraction(0)
    for key, share in shares:
        first, until = until, until + share
        found.append(Arm(key, int(first * buckets.SIZE), int(until * buckets.SIZE)))
    assert found[-1].end == buckets.SIZE
    return found


def arm_of(campaign_id: UUID, member_id: UUID, shared: Sequence[Arm]) -> str:
    drawn = buckets.bucket(campaign_id.bytes, member_id)
    return next(arm.key for arm in shared if drawn < arm.end)
