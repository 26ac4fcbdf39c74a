"""What the engine answers: an amount in ordered lines that add up, each with its evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from app.premiums.documents import Words
from app.risk.rulesets import Tier


@dataclass(frozen=True, slots=True)
class TierEvidence:
    tier: Tier
    assessed_at: datetime
    assessment_id: str | None


@dataclass(frozen=True, slots=True)
class ReadingsEvidence:
    code: str
    context: str | None
    unit: str
    from_average: Decimal
    to_average: Decimal
    """Both to three decimals, half up; the rule compares the exact ones."""
    from_first: date
    from_last: date
    to_first: date
    to_last: date
    readings: int
    """How many the two averages stand on."""


@dataclass(frozen=True, slots=True)
class ParticipationEvidence:
    months: tuple[date, ...]
    """First days of the calendar months that counted."""


@dataclass(frozen=True, slots=True)
class DiagnosisEvidence:
    icd10: str
    diagnosed_on: date


@dataclass(frozen=True, slots=True)
class ProfileEvidence:
    label: Words
    detail: Words


@dataclass(frozen=True, slots=True)
class LossRatioEvidence:
    loss_ratio_percent: Decimal
    year: int


Evidence = (
    TierEvidence
    | ReadingsEvidence
    | ParticipationEvidence
    | DiagnosisEvidence
    | ProfileEvidence
    | LossRatioEvidence
)


class Section(StrEnum):
    """Where a line acts, in this order (PRM-16)."""

    RATED_BASE = "RATED_BASE"
    ADJUSTMENT = "ADJUSTMENT"
    BOUNDS = "BOUNDS"
    FEE = "FEE"
    OFFER = "OFFER"
    CREDIT = "CREDIT"


@dataclass(frozen=True, slots=True)
class Line:
    section: Section
    rule: str
    """Code of the product's rule: PRM-4; `BOUNDS` for the bounds, `OFFER` for what was offered."""
    label: Words
    percent: Decimal | None
    """Signed: of the table in RATED_BASE (of the running amount, see `of`), of the rated base
    afterwards; None for a line that is an amount of its own."""
    of: int
    """Minor units that the percentage was taken of."""
    amount: int
    """Minor units, signed, rounded once, half away from zero."""
    effective_on: date
    explanation: Words
    """With this member's numbers."""
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class NotApplied:
    """A rule that made no line, and why, in words for the member."""

    rule: str
    label: Words
    reason: Words


@dataclass(frozen=True, slots=True)
class Priced:
    """A year's premium (`base` + the lines = `total`), in minor units of `currency`."""

    base: int
    """Of the table, before any line."""
    rated_base: int
    """Table x region x tier."""
    lines: tuple[Line, ...]
    total: int
    currency: str
    adjustment_percent: Decimal
    """`total` against `base` in percent, two decimals, half away from zero."""
    carry: Mapping[str, Decimal] = field(default_factory=dict)
    """What `Facts.carried` is when the next term is priced."""
    cover_uplift_percent: Decimal = Decimal(0)
    credits_used: Mapping[str, int] = field(default_factory=dict)
    """Minor units of each redeemed credit, by its redemption; the rest of it stays."""
    not_applied: tuple[NotApplied, ...] = ()
