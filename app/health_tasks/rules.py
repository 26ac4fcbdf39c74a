"""Progress, check-in decisions, closing, participation and urgency. No I/O, no clock."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

from app.errors import ErrorCode
from app.health_tasks import sentences
from app.health_tasks.kinds import CheckInState, TaskKind, TaskState, Verification
from app.health_tasks.periods import (
    Period,
    Span,
    next_period,
    period_of,
    periods_touching,
    whole_days,
)
from app.health_tasks.sentences import Reason, explanation
from app.members.rules import ConsentState, PausedDays, paused_on
from app.points.caps import Cap, CapKind, within
from app.texts import Text

__all__ = [
    "CheckInState",
    "Period",
    "Reason",
    "Span",
    "TaskKind",
    "TaskState",
    "Verification",
    "explanation",
    "next_period",
    "period_of",
    "periods_touching",
]

CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of ours a phone's clock may be."""
_QUANTUM = Decimal("0.001")


CLOSED_UNDONE = frozenset(TaskState) - {TaskState.OPEN, TaskState.IN_REVIEW, TaskState.DONE}
"""Closed by the clock; a check-in that arrives late may still make them DONE."""


@dataclass(frozen=True, slots=True)
class Counted:
    """An accepted check-in."""

    local_date: date
    value: Decimal | None
    """In the task's unit; null for a plain tick, which counts 1."""
    counts: bool
    """False while paused: for no streak and no participation."""
    slot: int
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class TaskFacts:
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


@dataclass(frozen=True, slots=True)
class Accepted:
    slot: int
    value: Decimal | None
    counts: bool
    done_after: Decimal
    state_after: TaskState
    points_awarded: int
    capped_by: CapKind | None
    """What left less than the task pays."""
    reason: Reason
    late: bool
    """The clock had closed the period without it."""


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

    @property
    def percent(self) -> Decimal | None:
        """Of `due`, to three decimals, rounded half up; null when nothing was due."""
        if self.due == 0:
            return None
        return (Decimal(self.done * 100) / self.due).quantize(_QUANTUM, ROUND_HALF_UP)


def paused_days(pauses: Collection[PausedDays], span: Span) -> frozenset[date]:
    days = (span.starts_on + timedelta(days=offset) for offset in range(span.days))
    return frozenset(day for day in days if paused_on(pauses, day)) if pauses else frozenset()


def target_in(target: Decimal, period: Period, span: Span) -> Decimal:
    """What is asked in a period that the assignment cuts short: its share by days, rounded up
    to a whole number and never more than the target. Nobody must do a week's worth on a Sunday.
    """
    whole = whole_days(period, span)
    if span.days >= whole:
        return target
    share = (target * span.days / whole).to_integral_value(ROUND_CEILING)
    return min(target, share)


def progress(
    kind: TaskKind, check_ins: Iterable[Counted], *, span: Span, paused_days: Collection[date]
) -> Decimal:
    """How far a task is, in its unit: for totals the sum of the values, for streaks the longest
    run of days, for abstaining the days confirmed, else the number of check-ins."""
    inside = [check_in for check_in in check_ins if check_in.local_date in span]
    match kind:
        case TaskKind.REACH_TOTAL:
            return sum((_value(check_in.value) for check_in in inside), Decimal(0))
        case TaskKind.DAYS_IN_A_ROW:
            counting = {check_in.local_date for check_in in inside if check_in.counts}
            return Decimal(_longest_run(counting, paused_days))
        case TaskKind.ABSTAIN:
            return Decimal(len({check_in.local_date for check_in in inside}))
        case _:
            return Decimal(len(inside))


def participated(
    kind: TaskKind,
    check_ins: Iterable[Counted],
    *,
    target: Decimal,
    span: Span,
    paused_days: Collection[date],
) -> bool:
    """Whether the target is reached without the check-ins of paused days: those are paid, but
    count for no participation."""
    counting = [check_in for check_in in check_ins if check_in.counts]
    return progress(kind, counting, span=span, paused_days=paused_days) >= target


def decide(
    task: TaskFacts,
    *,
    occurred_at: datetime,
    local_date: date,
    value: Decimal | None,
    now: datetime,
    consent: ConsentState,
    caps: Iterable[Cap] = (),
) -> Accepted | Repeated | Refused:
    """What a check-in does. `local_date` is the member's local day of `occurred_at`.

    A check-in inside its period is paid however late it arrives, within `late_data_days`. A
    task pays once, by the check-in that completes it.
    """
    refused = _refused(task, occurred_at, local_date, now, consent) or _out_of_range(task, value)
    if refused is not None:
        return refused
    same_day = {
        check_in.slot: check_in for check_in in task.check_ins if check_in.local_date == local_date
    }
    for slot, check_in in same_day.items():
        if check_in.occurred_at == occurred_at:
            return Repeated(slot)
    slot = next(number for number in range(len(same_day) + 1) if number not in same_day)
    if slot >= task.per_day:
        return Repeated(max(same_day))

    if value is not None:
        value = value.quantize(_QUANTUM, ROUND_HALF_UP)
    counts = local_date not in task.paused_days
    new = Counted(local_date, value, counts, slot, occurred_at)
    done = progress(task.kind, [*task.check_ins, new], span=task.span, paused_days=task.paused_days)
    state, reason = _effect(task, done, counts=counts)
    allowed = within(task.points if reason in _PAYING else 0, caps)
    return Accepted(
        slot=slot,
        value=value,
        counts=counts,
        done_after=done,
        state_after=state,
        points_awarded=allowed.points,
        capped_by=allowed.cap.kind if allowed.cap else None,
        reason=Reason.of_cap(allowed.cap.kind) if allowed.cap else reason,
        late=task.state in CLOSED_UNDONE,
    )


def settle(task: TaskFacts, *, consent: ConsentState) -> Settled:
    """How the clock closes a period. What is done already, or in review, stays as it is.

    What is open was never paid: reaching the target only now, as abstaining does, pays here. A
    task that was not done is excused by any paused day in its period. Never having been asked
    for consent excuses nothing, and is neither a refusal nor a withdrawal.
    """
    if task.state is not TaskState.OPEN:
        return Settled(task.state, 0)
    done = progress(task.kind, task.check_ins, span=task.span, paused_days=task.paused_days)
    if done >= task.target:
        return Settled(TaskState.DONE, task.points)
    if consent is ConsentState.REFUSED:
        return Settled(TaskState.CONSENT_REFUSED, 0)
    if consent is ConsentState.WITHDRAWN:
        return Settled(TaskState.CONSENT_WITHDRAWN, 0)
    return Settled(TaskState.PAUSED if task.paused_days else TaskState.MISSED, 0)


def participation(closed: Iterable[ClosedTask]) -> Participation:
    """Over the tasks whose period ended in a month. Left out are those paused (or done only by
    check-ins of paused days), without consent, with a silent device, or not decided yet."""
    tasks = list(closed)
    done = sum(task.state is TaskState.DONE and task.participated for task in tasks)
    missed = sum(task.state is TaskState.MISSED for task in tasks)
    excused = sum(task.state is TaskState.DONE and not task.participated for task in tasks)
    paused = sum(task.state is TaskState.PAUSED for task in tasks)
    return Participation(due=done + missed, done=done, paused=paused + excused)


def counts_as_participation(month: Participation, *, threshold: Decimal) -> bool:
    """Whether the share done reaches `threshold` (percent); never when nothing was due."""
    return month.due > 0 and month.done * 100 >= threshold * month.due


def urgency(
    task: TaskFacts, *, done: Decimal, today: date, checked_in_today: int
) -> tuple[int, int, date]:
    """The order of today's tasks, smallest first: what can still be ticked today, then what
    leaves least room to put it off, then what ends first. Ties are the caller's to break."""
    if task.state is TaskState.OPEN:
        rank = 0 if checked_in_today < task.per_day else 1
    else:
        rank = 2 if task.state is TaskState.IN_REVIEW else 3
    days_left = (task.span.ends_on - today).days + 1
    missing = max(task.target - done, Decimal(0))
    a_day = task.value_max * task.per_day if task.kind is TaskKind.REACH_TOTAL else task.per_day
    days_needed = (missing / a_day).to_integral_value(ROUND_CEILING)
    return rank, days_left - int(days_needed), task.span.ends_on


_PAYING = frozenset({Reason.COMPLETED, Reason.COMPLETED_LATE})


def _effect(task: TaskFacts, done: Decimal, *, counts: bool) -> tuple[TaskState, Reason]:
    """State and reason after a check-in, as if there were no caps."""
    late = task.state in CLOSED_UNDONE
    if task.state is TaskState.DONE:
        return task.state, Reason.ALREADY_COMPLETE
    if task.kind is TaskKind.ABSTAIN and not late:
        return task.state, Reason.SETTLED_AT_END
    if done < task.target:
        return task.state, Reason.COUNTED if counts else Reason.COUNTED_WHILE_PAUSED
    return TaskState.DONE, Reason.COMPLETED_LATE if late else Reason.COMPLETED


def _refused(
    task: TaskFacts, occurred_at: datetime, local_date: date, now: datetime, consent: ConsentState
) -> Refused | None:
    if occurred_at > now + CLOCK_SKEW:
        return Refused(ErrorCode.IN_FUTURE, sentences.IN_FUTURE, "occurredAt")
    if now - occurred_at > timedelta(days=task.late_data_days):
        text = sentences.too_old(late_data_days=task.late_data_days)
        return Refused(ErrorCode.TOO_OLD, text, "occurredAt")
    if local_date < task.span.starts_on:
        text = sentences.not_begun(starts_on=task.span.starts_on)
        return Refused(ErrorCode.TASK_NOT_DUE, text, "occurredAt")
    if local_date > task.span.ends_on:
        text = sentences.period_over(ends_on=task.span.ends_on)
        return Refused(ErrorCode.TASK_NOT_DUE, text, "occurredAt")
    if consent is not ConsentState.GRANTED:
        return Refused(ErrorCode.CONSENT_MISSING, sentences.consent_missing(consent), "taskId")
    return None


def _out_of_range(task: TaskFacts, value: Decimal | None) -> Refused | None:
    reported = _value(value)
    # Not-a-number compares with nothing.
    if reported.is_finite() and task.value_min <= reported <= task.value_max:
        return None
    text = sentences.out_of_range(low=task.value_min, high=task.value_max, unit=task.unit)
    return Refused(ErrorCode.VALUE_OUT_OF_RANGE, text, "value")


def _value(value: Decimal | None) -> Decimal:
    return Decimal(1) if value is None else value


def _longest_run(counting: Collection[date], paused: Collection[date]) -> int:
    """Of consecutive days; a paused day neither counts nor breaks the run."""
    longest = run = 0
    previous: date | None = None
    for day in sorted(counting):
        if previous is not None and not _bridged(previous, day, paused):
            run = 0
        run += 1
        longest = max(longest, run)
        previous = day
    return longest


def _bridged(earlier: date, later: date, paused: Collection[date]) -> bool:
    """Whether every day strictly between the two is paused."""
    between = (earlier + timedelta(days=offset) for offset in range(1, (later - earlier).days))
    return all(day in paused for day in between)
