"""How far a reading may be relied on, and in which unit it is kept. No I/O, no clock."""

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from app.measurements.catalogue import Unit

_KEPT = Decimal("0.001")
_TOO_LARGE = Decimal(10) ** 9
"""No column holds it."""


class Method(StrEnum):
    SENSED = "SENSED"
    SELF_REPORTED = "SELF_REPORTED"
    CLINICAL = "CLINICAL"


class Context(StrEnum):
    FASTING = "FASTING"
    BEFORE_MEAL = "BEFORE_MEAL"
    AFTER_MEAL = "AFTER_MEAL"
    BEDTIME = "BEDTIME"
    AT_REST = "AT_REST"
    AFTER_EXERCISE = "AFTER_EXERCISE"


class TrustGrade(StrEnum):
    """It decides what a reading may drive: points, tier, premium (MON-9)."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"
    UNVERIFIED = "UNVERIFIED"


@dataclass(frozen=True, slots=True)
class Reading:
    """One value as it was sent."""

    code: str
    value: Decimal
    unit: str
    """UCUM, any that the code accepts."""
    measured_at: datetime
    method: Method
    source_id: str = ""
    """What measured it, as the phone names it; empty when it was not said."""
    context: Context | None = None


def canonical(value: Decimal, unit: Unit) -> Decimal:
    """In the code's canonical unit, to three decimals, rounded half up."""
    return (value * unit.factor + unit.offset).quantize(_KEPT, rounding=ROUND_HALF_UP)


def is_plausible(value: Decimal, unit: Unit) -> bool:
    """Within the catalogue's range of that unit, both ends included; where it has none, a
    number that can be kept."""
    if not -_TOO_LARGE < value.quantize(_KEPT, rounding=ROUND_HALF_UP) < _TOO_LARGE:
        return False
    above = unit.minimum is None or value >= unit.minimum
    return above and (unit.maximum is None or value <= unit.maximum)


def trust(method: Method, *, has_source: bool) -> TrustGrade:
    """A clinic's reading is trusted most; a sensed one when the device is named; what a
    member types is low; what claims to be sensed by nothing is unverified."""
    if method is Method.CLINICAL:
        return TrustGrade.HIGH
    if method is Method.SENSED:
        return TrustGrade.MEDIUM if has_source else TrustGrade.UNVERIFIED
    return TrustGrade.LOW
