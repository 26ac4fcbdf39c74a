"""Progress, check-in decisions, closing, participation and urgency. No I/O, no clock."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

from app.errors import ErrorCode
from app.health_tasks import sentences
from app.health_tasks.facts import (
    Accepted,
    ClosedTask,
    Counted,
    Participation,
    Refused,
    Repeated,
    Settled,
    TaskFacts,
)
from app.health_tasks.kinds import CheckInState, TaskKind, TaskState, Verification
from app.health_tasks.measured import SLOT as DATA_SLOT
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
from app.points.caps import Cap, within

__all__ = [
    "Accepted", "CheckInState", "ClosedTask", "Counted", "Participation", "Period", "Reason",
    "Refused", "Repeated", "Settled", "Span", "TaskFacts", "TaskKind", "TaskState",
    "Verification", "explanation", "next_period", "period_of", "periods_touching",
]  # fmt: skip

CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of ours a phone's clock may be."""
_QUANTUM = Decimal("0.001")


CLOSED_UNDONE = frozenset(TaskState) - {TaskState.OPEN, TaskState.IN_REVIEW, TaskState.DONE}
"""Closed by the clock; a check-in that arrives late may still make them DONE."""


def paused_days(pauses: Collection[PausedDays], span: Span) -> frozenset[date]:
    days = (span.starts_on + timedelta(days=offset) for offset in range(span.days))
    return frozenset(day for day in days if paused_on(pauses, day)) if pauses else frozenset()


def counting(check_ins: Iterable[Counted], paused_days: Collection[date]) -> list[Counted]:
    """Those that count for streaks and participation: not those of paused days, unless they
    came before the pause. What matters are the pauses as they are now: one that ends today
    costs nothing of today, and one that begins today takes nothing back."""
    return [it for it in check_ins if it.counts or it.local_date not in paused_days]


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
    run of days, for abstaining the days confirmed, else the number of check-ins. Rejected ones
    count for nothing; one that was done after the period counts as on its last day.

    A day that was ticked and measured counts as the greater of the two, never as their sum. A
    day on which data say otherwise was not abstained.
    """
    all_of_them = [check_in for check_in in check_ins if check_in.local_date >= span.starts_on]
    inside = [it for it in all_of_them if it.state != CheckInState.REJECTED]
    match kind:
        case TaskKind.REACH_TOTAL:
            return _by_day(inside, lambda check_in: _value(check_in.value))
        case TaskKind.DAYS_IN_A_ROW:
            days = {check_in.local_date for check_in in counting(inside, paused_days)}
            return Decimal(_longest_run(days, paused_days))
        case TaskKind.ABSTAIN:
            denied = {
                it.local_date
                for it in all_of_them
                if it.slot == DATA_SLOT and it.state == CheckInState.REJECTED
            }
            return Decimal(len({check_in.local_date for check_in in inside} - denied))
        case _:
            return _by_day(inside, lambda check_in: Decimal(1))


def _by_day(check_ins: Iterable[Counted], amount: Callable[[Counted], Decimal]) -> Decimal:
    ticked: dict[date, Decimal] = defaultdict(Decimal)
    measured: dict[date, Decimal] = defaultdict(Decimal)
    for it in check_ins:
        (measured if it.slot == DATA_SLOT else ticked)[it.local_date] += amount(it)
    days = ticked.keys() | measured.keys()
    return sum((max(ticked[day], measured[day]) for day in days), Decimal(0))


def sure(check_ins: Iterable[Counted]) -> list[Counted]:
    """Those about which nobody has to decide any more."""
    return [check_in for check_in in check_ins if check_in.state == CheckInState.ACCEPTED]


def participated(
    kind: TaskKind,
    check_ins: Iterable[Counted],
    *,
    target: Decimal,
    span: Span,
    paused_days: Collection[date],
) -> bool:
    """Whether the target is reached without the check-ins of paused days: those are paid, but
    count for no participation. Neither do those that nobody has accepted yet."""
    unpaused = counting(sure(check_ins), paused_days)
    return progress(kind, unpaused, span=span, paused_days=paused_days) >= target


def decide(
    task: TaskFacts,
    *,
    occurred_at: datetime,
    local_date: date,
    value: Decimal | None,
    now: datetime,
    consent: ConsentState,
    caps: Iterable[Cap] = (),
    in_review: bool = False,
    has_evidence: bool = False,
) -> Accepted | Repeated | Refused:
    """What a check-in does. `local_date` is the member's local day of `occurred_at`.

    A check-in inside its period is paid however late it arrives, within `late_data_days`. A
    task pays once, by the check-in that completes it. What was done after the period needs
    evidence, and somebody who looks at it (TSK-8). What is to be looked at (`in_review`)
    counts, but points that rest on it are pending.
    """
    refused = (
        _refused(task, occurred_at, local_date, now, consent)
        or _out_of_range(task, value)
        or _overdue_refused(task, local_date, has_evidence=has_evidence)
    )
    if refused is not None:
        return refused
    slot = _slot(task, occurred_at, local_date)
    if isinstance(slot, Repeated):
        return slot
    if value is not None:
        value = value.quantize(_QUANTUM, ROUND_HALF_UP)
    counts = local_date not in task.paused_days
    overdue = local_date > task.span.ends_on
    reviewed = CheckInState.IN_REVIEW if in_review or overdue else CheckInState.ACCEPTED
    new = Counted(local_date, value, counts, slot, occurred_at, reviewed)
    state, reason, done = _effect(task, new)
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
        state=reviewed,
        is_pending=state is TaskState.IN_REVIEW,
        late=task.state in CLOSED_UNDONE,
        overdue=overdue,
    )


def _slot(task: TaskFacts, occurred_at: datetime, local_date: date) -> int | Repeated:
    """The first free one of the local day. What was rejected keeps its slot, and leaves the
    day as free as it was."""
    same_day = {
        check_in.slot: check_in for check_in in task.check_ins if check_in.local_date == local_date
    }
    for slot, check_in in same_day.items():
        if check_in.occurred_at == occurred_at:
            return Repeated(slot)
    counting = [slot for slot, it in same_day.items() if it.state != CheckInState.REJECTED]
    if len(counting) >= task.per_day:
        return Repeated(max(counting))
    return next(number for number in range(len(same_day) + 1) if number not in same_day)


def settle(
    task: TaskFacts,
    *,
    consent: ConsentState,
    device_consent: ConsentState = ConsentState.NOT_ASKED,
    device_silent: bool = False,
) -> Settled:
    """How the clock closes a period. What is done already, or in review, stays as it is.

    What is open was never paid: reaching the target only now, as abstaining does, pays here. A
    task that was not done is excused by any paused day in its period. Never having been asked
    for consent excuses nothing, and is neither a refusal nor a withdrawal. What rests on a
    check-in that somebody looks at waits, and pays when it is decided. What only a device can
    show needs the consent to its data too, and is excused while the device was silent: that
    nothing has arrived does not say that nothing was done.
    """
    if task.state is not TaskState.OPEN:
        return Settled(task.state, 0)
    if _done(task, sure(task.check_ins)) >= task.target:
        return Settled(TaskState.DONE, task.points)
    if _done(task, task.check_ins) >= task.target:
        return Settled(TaskState.IN_REVIEW, 0)
    answers = (consent, device_consent)
    if ConsentState.REFUSED in answers:
        return Settled(TaskState.CONSENT_REFUSED, 0)
    if ConsentState.WITHDRAWN in answers:
        return Settled(TaskState.CONSENT_WITHDRAWN, 0)
    if task.paused_days:
        return Settled(TaskState.PAUSED, 0)
    return Settled(TaskState.DEVICE_SILENT if device_silent else TaskState.MISSED, 0)


def participation(closed: Iterable[ClosedTask]) -> Participation:
    """Over the tasks whose period ended in a month. Left out are those paused (or done only by
    check-ins of paused days), without consent, with a silent device, or not decided yet."""
    tasks = list(closed)
    done = sum(task.state is TaskState.DONE and task.participated for task in tasks)
    missed = sum(task.state is TaskState.MISSED for task in tasks)
    excused = sum(task.state is TaskState.DONE and not task.participated for task in tasks)
    paused = sum(task.state is TaskState.PAUSED for task in tasks)
    left_out = Counter(task.state for task in tasks)
    return Participation(
        due=done + missed,
        done=done,
        paused=paused + excused,
        silent=left_out[TaskState.DEVICE_SILENT],
        refused=left_out[TaskState.CONSENT_REFUSED],
        withdrawn=left_out[TaskState.CONSENT_WITHDRAWN],
    )


def counts_as_participation(month: Participation, *, threshold: Decimal) -> bool:
    """Whether the share done reaches `threshold` (percent); never when nothing was due."""
    return month.due > 0 and month.done * 100 >= threshold * month.due


_RANKS = {state.value: 3 for state in TaskState} | {
    TaskState.OPEN.value: 0,
    TaskState.IN_REVIEW.value: 2,
}


def urgency(
    state: str, is_ticked_off: bool, to_do: int, a_day: int, days_left: int
) -> tuple[int, int]:
    """The order of today's tasks, smallest first: what can still be ticked today, then what
    leaves least room to put it off. Then comes what ends first; ties are the caller's to break.

    `is_ticked_off` when today takes no more check-ins, `to_do` until the target, at most `a_day` of
    it on a day (both in thousandths of the task's unit); `days_left` counts today.
    """
    rank = _RANKS[state]
    if rank == 0 and is_ticked_off:
        rank = 1
    days_needed = -(-to_do // a_day) if to_do > 0 else 0
    return rank, days_left - days_needed


_PAYING = frozenset({Reason.COMPLETED, Reason.COMPLETED_LATE, Reason.COMPLETED_IF_ACCEPTED})


def _effect(task: TaskFacts, new: Counted) -> tuple[TaskState, Reason, Decimal]:
    """State, reason and progress after a check-in, as if there were no caps."""
    late = task.state in CLOSED_UNDONE
    all_of_them = [*task.check_ins, new]
    done = _done(task, all_of_them)
    if task.state is TaskState.DONE:
        return task.state, Reason.ALREADY_COMPLETE, done
    if task.kind is TaskKind.ABSTAIN and not late:
        return task.state, Reason.SETTLED_AT_END, done
    if done < task.target:
        return task.state, Reason.COUNTED if new.counts else Reason.COUNTED_WHILE_PAUSED, done
    if task.state is TaskState.IN_REVIEW:
        return task.state, Reason.WAITS_WITH_ANOTHER, done
    if _done(task, sure(all_of_them)) < task.target:
        return TaskState.IN_REVIEW, Reason.COMPLETED_IF_ACCEPTED, done
    return TaskState.DONE, Reason.COMPLETED_LATE if late else Reason.COMPLETED, done


def _done(task: TaskFacts, check_ins: Iterable[Counted]) -> Decimal:
    return progress(task.kind, check_ins, span=task.span, paused_days=task.paused_days)


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
    if local_date > task.span.ends_on and not _may_be_overdue(task, local_date):
        text = sentences.period_over(ends_on=task.span.ends_on)
        return Refused(ErrorCode.TASK_NOT_DUE, text, "occurredAt")
    if consent is not ConsentState.GRANTED:
        return Refused(ErrorCode.CONSENT_MISSING, sentences.consent_missing(consent), "taskId")
    return None


def _may_be_overdue(task: TaskFacts, local_date: date) -> bool:
    """Whether it can still be completed after its period. What must be done on its days
    cannot; nor is there anything left to complete of what is done, or waits for a decision."""
    return (
        task.kind not in (TaskKind.DAYS_IN_A_ROW, TaskKind.ABSTAIN)
        and task.state not in (TaskState.DONE, TaskState.IN_REVIEW)
        and (local_date - task.span.ends_on).days <= task.late_data_days
    )


def _overdue_refused(task: TaskFacts, local_date: date, *, has_evidence: bool) -> Refused | None:
    if local_date <= task.span.ends_on or has_evidence:
        return None
    text = sentences.overdue(ends_on=task.span.ends_on)
    return Refused(ErrorCode.EVIDENCE_MISSING, text, "evidence.photoKey")


def _out_of_range(task: TaskFacts, value: Decimal | None) -> Refused | None:
    reported = _value(value)
    # Not-a-number compares with nothing.
    if reported.is_finite() and task.value_min <= reported <= task.value_max:
        return None
    text = sentences.out_of_range(low=task.value_min, high=task.value_max, unit=task.unit)
    return Refused(ErrorCode.VALUE_OUT_OF_RANGE, text, "value")


def _value(value: Decimal | None) -> Decimal:
    return Decimal(1) if value is None else value


def _longest_run(days: Collection[date], paused: Collection[date]) -> int:
    """Of consecutive days; a paused day neither counts nor breaks the run."""
    longest = run = 0
    previous: date | None = None
    for day in sorted(days):
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
