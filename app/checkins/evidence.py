"""Whether a place is where a task is done, and how little of it is kept. Pure.

A position is compared as exactly as the phone gave it, and kept to two decimals of a degree:
about a kilometre.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from math import asin, cos, radians, sin, sqrt

_EARTH_RADIUS_METRES = 6_371_000
_KEPT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Position:
    """Degrees, WGS 84; the true place is within `accuracy_metres`, as the phone says."""

    latitude: Decimal
    longitude: Decimal
    accuracy_metres: Decimal

    @property
    def is_possible(self) -> bool:
        numbers = (self.latitude, self.longitude, self.accuracy_metres)
        return (
            all(number.is_finite() for number in numbers)
            and abs(self.latitude) <= 90
            and abs(self.longitude) <= 180
            and self.accuracy_metres >= 0
        )


@dataclass(frozen=True, slots=True)
class Fence:
    """Around a place where a task is done."""

    code: str
    latitude: Decimal
    longitude: Decimal
    radius_metres: int


class Verdict(StrEnum):
    INSIDE = "INSIDE"
    UNSURE = "UNSURE"
    """Inside or just outside: nearer than the phone can tell."""
    OUTSIDE = "OUTSIDE"
    TOO_COARSE = "TOO_COARSE"
    """The phone does not know where it is."""


@dataclass(frozen=True, slots=True)
class Coarse:
    """What is kept of a position."""

    latitude: Decimal
    longitude: Decimal


def judge(
    position: Position, fences: Iterable[Fence], *, accuracy_metres_max: int
) -> tuple[Verdict, str | None]:
    """How a possible position lies to the nearest fence, and that fence's code."""
    if position.accuracy_metres > accuracy_metres_max:
        return Verdict.TOO_COARSE, None
    edges = [
        (
            distance_metres(position.latitude, position.longitude, it.latitude, it.longitude)
            - it.radius_metres,
            it.code,
        )
        for it in fences
    ]
    if not edges:
        return Verdict.OUTSIDE, None
    beyond, code = min(edges)
    if beyond <= 0:
        return Verdict.INSIDE, code
    if beyond <= float(position.accuracy_metres):
        return Verdict.UNSURE, code
    return Verdict.OUTSIDE, None


def coarsened(position: Position) -> Coarse:
    return Coarse(
        position.latitude.quantize(_KEPT, ROUND_HALF_EVEN),
        position.longitude.quantize(_KEPT, ROUND_HALF_EVEN),
    )


def distance_metres(
    latitude: Decimal, longitude: Decimal, other_latitude: Decimal, other_longitude: Decimal
) -> float:
    """Along a great circle of a round earth: within 0.6 % of the true distance."""
    here, there = radians(float(latitude)), radians(float(other_latitude))
    across = sin((there - here) / 2) ** 2
    along = sin(radians(float(other_longitude) - float(longitude)) / 2) ** 2
    return 2 * _EARTH_RADIUS_METRES * asin(min(1.0, sqrt(across + cos(here) * cos(there) * along)))
