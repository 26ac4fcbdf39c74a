"""What has just been recorded, for those who act on it: tasks, alerts, risk."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.measurements.rules import ReadingKind, Refused


class NewReading(NamedTuple):
    """A version of a reading that is in force from now on."""

    id: UUID
    code: str
    local_date: date
    kind: ReadingKind
    value: Decimal
    """In the canonical unit of the code."""
    sent_value: str
    measured_at: datetime
    confirmed: bool | None
    """Null unless it is extreme; false until somebody has confirmed it."""
    supersedes: UUID | None = None
    """The version that was in force before."""

    @property
    def method(self) -> str:
        return self.kind.method

    @property
    def source_id(self) -> str:
        return self.kind.source_id


class ChangedSlot(NamedTuple):
    """A quarter of an hour of a sensor's stream to which values were added."""

    code: str
    source_id: str
    starts_at: datetime
    local_date: date
    n: int
    minimum: Decimal
    maximum: Decimal
    mean: Decimal


class ChangedDay(NamedTuple):
    """What all sources together counted on a local day, and what they had counted before."""

    id: UUID
    code: str
    local_date: date
    unit: str
    before: Decimal | None
    """Null when nothing was known."""
    after: Decimal
    trusted_before: Decimal | None
    trusted_after: Decimal | None
    """Of sources trusted MEDIUM or HIGH only."""


@dataclass(frozen=True, slots=True)
class Touched:
    """All of it changed in this transaction; what was known already is not in here."""

    readings: Sequence[NewReading] = ()
    slots: Sequence[ChangedSlot] = ()
    days: Sequence[ChangedDay] = ()

    def __bool__(self) -> bool:
        return bool(self.readings or self.slots or self.days)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of what was sent."""

    accepted: int
    duplicates: int
    rejected: Sequence[tuple[int, Refused]]
    """By place in the list that was sent."""
    touched: Touched


ON_RECORDED: list[Callable[[AsyncSession, UUID, Touched, datetime], Awaitable[None]]] = []
"""What else follows when something was recorded about a member, in its transaction, whichever
way it came in; the wiring adds what upper domains do."""
