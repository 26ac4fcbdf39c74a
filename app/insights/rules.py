"""From facts to an explanation, in plain words. Pure: no session, no clock.

An explanation begins with what was asked about and goes down to what it rests on: points,
cap, task with the version of its rule, check-ins, and the readings that made them.
"""

from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from app.health_tasks.caps import Limits
from app.health_tasks.measured import SLOT
from app.health_tasks.rules import CheckInState, Reason, TaskKind, TaskState, explanation
from app.insights import sentences
from app.insights.facts import (
    CheckInFact,
    Facts,
    LedgerFacts,
    LotFact,
    RedemptionFacts,
    ReviewFact,
    TaskFacts,
    TransferFact,
)
from app.insights.readings import data_steps
from app.insights.steps import Explained, Step, StepKind, Subject, SubjectKind
from app.members.rules import ConsentState
from app.points.caps import CapKind
from app.points.rules import Account, Route, TransferKind, entry_sign
from app.texts import Text
from app.worklist.rules import ReviewKind


def explain(facts: Facts, asked: Subject) -> Explained | None:
    """None when there is nothing of what was asked about."""
    steps = [
        *_redemption_steps(facts.redemption),
        *_ledger_steps(facts.ledger),
        *_review_steps(facts.reviews),
        *_cap_steps(facts.task),
        *_task_steps(facts.task),
        *_check_in_steps(facts.task),
        *data_steps(facts.data),
    ]
    # Sorting keeps the order of the others.
    steps.sort(key=lambda step: step.subject != asked)
    summary = _summary(facts, asked)
    return Explained(summary, steps) if summary is not None else None


def _summary(facts: Facts, asked: Subject) -> Text | None:
    match asked.kind:
        case SubjectKind.TASK:
            return _of_task(facts.task, facts.ledger) if facts.task else None
        case SubjectKind.CHECK_IN:
            found = (
                next((it for it in facts.task.check_ins if it.id == asked.id), None)
                if (facts.task)
                else None
            )
            if facts.task is None or found is None:
                return None
            return _of_check_in(found, facts.task, facts.ledger)
        case SubjectKind.REDEMPTION:
            it = facts.redemption
            return sentences.redemption(it.title, it.points, it.state) if it else None
        case SubjectKind.ENTRY:
            return _of_entry(facts, asked.id)
        case _:
            return None


# Tasks and check-ins


def _of_task(task: TaskFacts, ledger: LedgerFacts | None) -> Text:
    title = task.title
    match task.state:
        case TaskState.DONE:
            return _of_done(task, ledger)
        case TaskState.IN_REVIEW:
            return sentences.in_review(title)
        case TaskState.PAUSED:
            return sentences.paused(title)
        case TaskState.DEVICE_SILENT:
            return sentences.silent(title)
        case TaskState.CONSENT_REFUSED:
            return sentences.CONSENT_REFUSED
        case TaskState.CONSENT_WITHDRAWN:
            return sentences.CONSENT_WITHDRAWN
        case TaskState.OPEN if task.starts_on > task.today:
            return sentences.not_due(title, task.starts_on)
        case TaskState.OPEN if task.ends_on >= task.today:
            return _of_open(task)
        case _:
            return _of_missed(task, ledger)


def _of_done(task: TaskFacts, ledger: LedgerFacts | None) -> Text:
    waits = sum(lot.pending for lot in ledger.lots) if ledger else 0
    back = _taken_back(task, ledger)
    if waits:
        return sentences.done_but_waiting(task.title, waits)
    if back:
        return sentences.done_but_taken_back(task.title, back)
    if task.capped_by is not None:
        return sentences.done_but_capped(
            task.title, points=task.points_awarded, of=task.points, kind=CapKind(task.capped_by)
        )
    if task.points == 0:
        return sentences.done_without_points(task.title)
    return sentences.done_for(task.title, task.points_awarded)


def _of_open(task: TaskFacts) -> Text:
    if task.consent is ConsentState.NOT_ASKED:
        said = sentences.nothing_yet(task.title, task.ends_on, task.points)
        return sentences.both(said, sentences.CONSENT_NOT_ASKED)
    if task.check_ins_count == 0:
        return sentences.nothing_yet(task.title, task.ends_on, task.points)
    done, target = _progress(task)
    if task.kind is TaskKind.ABSTAIN:
        return sentences.pays_at_end(task.title, done=done, target=target, ends_on=task.ends_on)
    return sentences.under_way(
        task.title, done=done, target=target, ends_on=task.ends_on, points=task.points
    )


def _of_missed(task: TaskFacts, ledger: LedgerFacts | None) -> Text:
    given = _has(ledger)
    if given > 0:
        return sentences.missed_but_given(task.title, given, ends_on=task.ends_on)
    if task.check_ins_count == 0:
        return sentences.nothing_done(task.title, task.ends_on)
    done, target = _progress(task)
    return sentences.missed(task.title, done=done, target=target, ends_on=task.ends_on)


def _progress(task: TaskFacts) -> tuple[str, Text]:
    return sentences.plain(task.done), sentences.amount_of(task.target, task.unit)


def _of_check_in(found: CheckInFact, task: TaskFacts, ledger: LedgerFacts | None) -> Text:
    reason = Reason(found.reason_code)
    if reason is Reason.ALREADY_COMPLETE:
        return sentences.duplicate(task.title)
    said = _outcome(found)
    if found.state != CheckInState.ACCEPTED:
        return said
    back = _taken_back(task, ledger)
    if found.points_awarded and back:
        return sentences.both(said, sentences.done_but_taken_back(task.title, back))
    if found.points_awarded == 0 and not reason.startswith("CAPPED"):
        # What the points still hang on.
        return sentences.both(said, _of_task(task, ledger))
    return said


def _has(ledger: LedgerFacts | None) -> int:
    """What the member has of a task by now, whatever became of it since."""
    has = 0
    for it in ledger.transfers if ledger else ():
        if it.debit == Account.ISSUED:
            has += it.amount
        elif it.credit == Account.REVERSED:
            has -= it.amount
    return has


def _taken_back(task: TaskFacts, ledger: LedgerFacts | None) -> int:
    """What the member was paid for it and does not have any more: what was refused and then
    given in another way was not taken back."""
    return max(0, task.points_awarded - _has(ledger)) if ledger else 0


def _task_steps(task: TaskFacts | None) -> Iterator[Step]:
    if task is None:
        return
    yield Step(
        StepKind.TASK,
        sentences.TASK,
        sentences.rule(
            task.title,
            task.kind,
            target=sentences.amount_of(task.target, task.unit),
            span=(task.starts_on, task.ends_on),
            points=task.points,
        ),
        task.completed_at or task.closed_at,
        task.rule_version,
        Subject(SubjectKind.TASK, task.assignment_id, task.starts_on),
    )


def _cap_steps(task: TaskFacts | None) -> Iterator[Step]:
    if task is None or task.capped_by is None:
        return
    kind = CapKind(task.capped_by)
    yield Step(
        StepKind.CAP,
        sentences.CAP,
        sentences.cap(
            kind, limit=_limit(task.limits, kind), points=task.points_awarded, of=task.points
        ),
        task.completed_at,
        task.rule_version,
    )


def _review_steps(reviews: Sequence[ReviewFact]) -> Iterator[Step]:
    for it in reviews:
        yield Step(
            StepKind.REVIEW,
            sentences.REVIEW,
            sentences.review(
                it.state,
                contested=_contested(it),
                findings=it.findings,
                due_on=it.due_at.date(),
                reason=it.reason,
            ),
            it.decided_at or it.opened_at,
            subject=Subject(SubjectKind.REVIEW, it.id),
        )


def _contested(review: ReviewFact) -> Text | None:
    if review.kind != ReviewKind.APPEAL:
        return None
    return sentences.CONTESTED_CHECK_IN if review.of_check_in else sentences.CONTESTED_ENTRY


def _limit(limits: Limits, kind: CapKind) -> int | None:
    return {
        CapKind.RULE: limits.of_rule,
        CapKind.DAY: limits.per_day,
        CapKind.MONTH: limits.per_month,
        CapKind.YEAR: limits.per_year,
        CapKind.MEMBER: limits.per_member,
    }[kind]


def _check_in_steps(task: TaskFacts | None) -> Iterator[Step]:
    if task is None:
        return
    hidden = task.check_ins_count - len(task.check_ins)
    for place, it in enumerate(task.check_ins):
        reported = None if it.value is None else sentences.amount_of(it.value, task.unit)
        said = sentences.measured if it.slot == SLOT else sentences.check_in
        parts = [said(it.local_date, reported), _outcome(it)]
        if hidden and place == len(task.check_ins) - 1:
            parts.append(sentences.more(hidden))
        yield Step(
            StepKind.CHECK_IN,
            sentences.CHECK_IN,
            sentences.both(*parts),
            it.occurred_at,
            subject=Subject(SubjectKind.CHECK_IN, it.id),
        )


def _outcome(check_in: CheckInFact) -> Text:
    return explanation(
        Reason(check_in.reason_code), points=check_in.points_awarded, note=check_in.decision_note
    )


# Points and redemptions


def _of_entry(facts: Facts, id: UUID) -> Text | None:
    ledger = facts.ledger
    entry = next((it for it in ledger.transfers if it.id == id), None) if ledger else None
    if entry is None or ledger is None:
        return None
    said = _said(entry)
    if facts.redemption is not None:
        it = facts.redemption
        return sentences.both(said, sentences.redemption(it.title, it.points, it.state))
    if facts.task is not None:
        return sentences.both(said, _of_task(facts.task, ledger))
    return said


def _said(entry: TransferFact) -> Text:
    if entry.kind == TransferKind.EXPIRED and entry.debit == Account.AVAILABLE:
        return sentences.expired(entry.amount, entry.local_date)
    return sentences.moved(entry.debit, entry.credit, entry.amount, entry.expires_on)


def _redemption_steps(redemption: RedemptionFacts | None) -> Iterator[Step]:
    if redemption is not None:
        yield Step(
            StepKind.POINTS,
            redemption.title,
            sentences.redemption(redemption.title, redemption.points, redemption.state),
            redemption.ended_at or redemption.reserved_at,
            subject=Subject(SubjectKind.REDEMPTION, redemption.id),
        )


def _ledger_steps(ledger: LedgerFacts | None) -> Iterator[Step]:
    if ledger is None:
        return
    for entry in ledger.transfers:
        yield Step(
            StepKind.POINTS,
            sentences.POINTS,
            _said(entry),
            entry.posted_at,
            entry.rule_version,
            _entry(entry),
        )
    for taken in ledger.taken:
        yield Step(
            StepKind.POINTS,
            sentences.TAKEN,
            sentences.taken(taken.amount, taken.earned_on, taken.expires_on),
            subject=Subject(SubjectKind.ENTRY, taken.origin_id),
        )
    yield from _lot_steps(ledger.lots)


def _entry(transfer: TransferFact) -> Subject | None:
    """A move inside of what the statement adds up is no line of it."""
    if entry_sign(Route(transfer.debit, transfer.credit)) == 0:
        return None
    return Subject(SubjectKind.ENTRY, transfer.id)


_PARTS = ("remaining", "pending", "held", "used", "expired", "reversed")


def _lot_steps(lots: Iterable[LotFact]) -> Iterator[Step]:
    for lot in lots:
        parts = {name: getattr(lot, name) for name in _PARTS}
        if any(parts.values()):
            yield Step(
                StepKind.POINTS,
                sentences.LOTS,
                sentences.lot(parts, lot.expires_on),
                subject=Subject(SubjectKind.ENTRY, lot.origin_id),
            )
