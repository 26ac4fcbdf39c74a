"""How much may be earned: caps of a day, a month, a year, one rule, or a member. Pure."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class CapKind(StrEnum):
    """In the order in which they are named when several leave as little."""

    RULE = "RULE"
    """Of one rule, in the period that the product says."""
    DAY = "DAY"
    MONTH = "MONTH"
    YEAR = "YEAR"
    MEMBER = "MEMBER"
    """As long as the member is in the programme."""


class Cap(NamedTuple):
    kind: CapKind
    limit: int
    """Points."""
    earned: int
    """What counts towards it already; more than the limit when the limit was lowered."""

    @property
    def room(self) -> int:
        return max(0, self.limit - self.earned)


class Allowed(NamedTuple):
    points: int
    cap: Cap | None
    """The one that took some away, or all; None when none did."""


def within(points: int, caps: Iterable[Cap]) -> Allowed:
    """As many of `points` (>= 0) as every cap leaves room for. Of several the tightest is
    named; of equally tight ones the first in the order of `CapKind`."""
    assert points >= 0
    tightest = min(caps, key=lambda cap: (cap.room, _PLACES[cap.kind]), default=None)
    if tightest is None or tightest.room >= points:
        return Allowed(points, None)
    return Allowed(tightest.room, tightest)


_PLACES = {kind: place for place, kind in enumerate(CapKind)}
