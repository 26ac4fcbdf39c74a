"""What an explanation is made of: values that were read, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from app.health_tasks.caps import Limits
from app.health_tasks.rules import TaskKind, TaskState
from app.members.rules import ConsentState
from app.texts import Text


class TransferFact(NamedTuple):
    """A line of the ledger."""

    id: UUID
    seq: int
    kind: str
    debit: str
    credit: str
    amount: int
    posted_at: datetime
    expires_on: date | None
    local_date: date
    cause_kind: str | None
    cause_id: UUID | None
    corrects: UUID | None
    rule_code: str | None
    product_code: str | None
    product_version: str | None

    @property
    def rule_version(self) -> str | None:
        if self.product_code is None:
            return None
        return f"{self.product_code} {self.product_version}"


class LotFact(NamedTuple):
    """What became of points that were given together; in points."""

    id: UUID
    origin_id: UUID
    expires_on: date
    is_grace: bool
    remaining: int
    pending: int
    held: int
    used: int
    expired: int
    reversed: int


class TakenFact(NamedTuple):
    """What a hold took from one lot; in points."""

    origin_id: UUID
    """The earning's transfer."""
    earned_on: date
    expires_on: date
    amount: int
    captured: int
    released: int
    returned: int
    rule_code: str | None


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """What one task earned, or one redemption or expiry, with all that followed from it."""

    transfers: Sequence[TransferFact]
    """In their order."""
    lots: Sequence[LotFact] = ()
    """Of an earning; of an expiry those whose day it was."""
    taken: Sequence[TakenFact] = ()
    """Of a hold."""


class CheckInFact(NamedTuple):
    id: UUID
    occurred_at: datetime
    local_date: date
    value: Decimal | None
    """In the task's unit; null for a plain tick."""
    state: str
    points_awarded: int
    reason_code: str
    decision_note: str | None
    """What a reviewer said."""
    slot: int


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One task in one period, as it is shown now."""

    assignment_id: UUID
    starts_on: date
    ends_on: date
    title: Text
    kind: TaskKind
    unit: str
    """UCUM, of `target` and `done`."""
    target: Decimal
    done: Decimal
    points: int
    """What it pays."""
    points_awarded: int
    capped_by: str | None
    revision: int
    """Of what it was paid by last; lower ones were refused."""
    state: TaskState
    limits: Limits
    consent: ConsentState
    today: date
    """Of the member."""
    closed_at: datetime | None
    completed_at: datetime | None
    rule_version: str | None
    data_code: str | None
    """What completes it without a tick."""
    check_ins: Sequence[CheckInFact]
    """The latest first; not all when there are many."""
    check_ins_count: int


class DataFact(NamedTuple):
    """A reading, or what all sources together counted on a day."""

    is_total: bool
    id: UUID
    code: str
    local_date: date
    value: Decimal
    """In `unit`, the canonical one of the code."""
    unit: str
    at: datetime
    sources: Sequence[tuple[str, Decimal]]
    """What each of them says."""


@dataclass(frozen=True, slots=True)
class RedemptionFacts:
    id: UUID
    title: Text
    points: int
    state: str
    reserved_at: datetime
    expires_at: datetime
    ended_at: datetime | None


class ReviewFact(NamedTuple):
    id: UUID
    kind: str
    state: str
    findings: Sequence[str]
    """Codes of why it was opened, the most telling first."""
    points: int
    opened_at: datetime
    due_at: datetime
    decided_at: datetime | None
    reason: str | None
    """The decision in words; None until it is final."""
    of_check_in: bool
    """Of a check-in; an appeal may be of an entry instead."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that one question is answered from; what there is none of is None."""

    ledger: LedgerFacts | None = None
    task: TaskFacts | None = None
    redemption: RedemptionFacts | None = None
    data: Sequence[DataFact] = ()
    """Those that made check-ins of the task."""
    reviews: Sequence[ReviewFact] = ()
    """Of the check-ins and entries, the oldest first."""
