"""What an explanation is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from app.texts import Text


class StepKind(StrEnum):
    READING = "READING"
    DAILY_TOTAL = "DAILY_TOTAL"
    CHECK_IN = "CHECK_IN"
    TASK = "TASK"
    REVIEW = "REVIEW"
    CAP = "CAP"
    POINTS = "POINTS"
    ASSESSMENT = "ASSESSMENT"
    PREMIUM = "PREMIUM"


class SubjectKind(StrEnum):
    CHECK_IN = "CHECK_IN"
    TASK = "TASK"
    ENTRY = "ENTRY"
    REDEMPTION = "REDEMPTION"
    REVIEW = "REVIEW"
    ASSESSMENT = "ASSESSMENT"
    READING = "READING"
    DAILY_TOTAL = "DAILY_TOTAL"
    PREMIUM_LINE = "PREMIUM_LINE"


@dataclass(frozen=True, slots=True)
class Subject:
    kind: SubjectKind
    id: UUID
    starts_on: date | None = None
    """Of a task."""
    model: UUID | None = None
    """Of an assessment: which of its models; of a premium: which of its lines."""


@dataclass(frozen=True, slots=True)
class Step:
    kind: StepKind
    title: Text
    detail: Text
    occurred_at: datetime | None = None
    rule_version: str | None = None
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    summary: Text
    steps: Sequence[Step]
