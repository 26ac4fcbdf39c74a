"""What is known of a task, and what may become of it: values for the rules."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from app.errors import ErrorCode
from app.health_tasks.kinds import CheckInState, TaskKind, TaskState
from app.health_tasks.periods import Span
from app.health_tasks.sentences import Reason
from app.points.caps import CapKind
from app.texts import Text

_QUANTUM = Decimal("0.001")


class Counted(NamedTuple):
    """A check-in of the task's period."""

    local_date: date
    value: Decimal | None
    """In the task's unit; null for a plain tick, which counts 1."""
    counts: bool
    """False while paused: for no streak and no participation."""
    slot: int
    occurred_at: datetime
    state: str = CheckInState.ACCEPTED


class TaskFacts(NamedTuple):
    """One task in one period, as it stands."""

    kind: TaskKind
    span: Span
    state: TaskState
    target: Decimal
    unit: str
    """UCUM, as are `target` and the range of values, both ends included."""
    value_min: Decimal
    value_max: Decimal
    per_day: int
    points: int
    late_data_days: int
    check_ins: Sequence[Counted]
    """All of this period."""
    paused_days: Collection[date]
    """Those of this period."""


class Accepted(NamedTuple):
    slot: int
    value: Decimal | None
    counts: bool
    done_after: Decimal
    state_after: TaskState
    points_awarded: int
    capped_by: CapKind | None
    """What left less than the task pays."""
    reason: Reason
    state: CheckInState
    """IN_REVIEW when somebody has to look at it first."""
    is_pending: bool
    """The points wait for a decision, about this check-in or an earlier one."""
    late: bool
    """The clock had closed the period without it."""
    overdue: bool
    """It was done after the period."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """Counted already: this instant, or as often as a day allows. Nothing changes; the answer
    is the check-in in that slot of the local day."""

    slot: int


@dataclass(frozen=True, slots=True)
class Refused:
    code: ErrorCode
    text: Text
    field: str


@dataclass(frozen=True, slots=True)
class Settled:
    state: TaskState
    points: int
    """To pay at the close, before caps; a task that completed earlier was paid by its
    check-in."""


@dataclass(frozen=True, slots=True)
class ClosedTask:
    state: TaskState
    participated: bool
    """See `participated`: without the check-ins of paused days."""


@dataclass(frozen=True, slots=True)
class Participation:
    due: int
    done: int
    paused: int
    """Left out because of a pause."""
    silent: int = 0
    """Left out because the device that shows them was silent."""
    refused: int = 0
    """Left out because the consent was refused."""
    withdrawn: int = 0

    @property
    def percent(self) -> Decimal | None:
        """Of `due`, to three decimals, rounded half up; null when nothing was due."""
        if self.due == 0:
            return None
        return (Decimal(self.done * 100) / self.due).quantize(_QUANTUM, ROUND_HALF_UP)
