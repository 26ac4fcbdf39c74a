"""A check-in: look, let the rules decide, write with one guarded statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from asyncpg import IntegrityConstraintViolationError

from app import civil_time
from app.checkins.anomalies import Finding
from app.checkins.checks import checks
from app.checkins.examine import NOTHING_SENT, Examined, Sent, examine
from app.checkins.look import Facts, FetchRow, look
from app.checkins.statements import LOCK, REMEMBER, Parts, write
from app.db import Database
from app.errors import ErrorCode, RequestReused, UserError
from app.health_tasks import rules, sentences
from app.health_tasks.queries import LatestCheckIn, Stored, TaskView
from app.health_tasks.service import cause_key
from app.ids import new_ids
from app.members.requests import input_hash
from app.points import rules as points_rules
from app.points import service as points
from app.texts import Text
from app.worklist.reviews import NewReview
from app.worklist.rules import ReviewKind

NOTE_LENGTH_MAX = 500
ROUNDS = 3
"""How often a race is run again before the wallet is locked first."""
_OPERATION = "checkIn"


class CheckInRefused(UserError):
    """What the rules refused: TASK_NOT_DUE, IN_FUTURE, TOO_OLD, VALUE_OUT_OF_RANGE,
    CONSENT_MISSING."""

    def __init__(self, refused: rules.Refused) -> None:
        super().__init__(refused.code, refused.text, field=refused.field)


class NoteInvalid(UserError):
    """Longer than NOTE_LENGTH_MAX, or with the one character that no text can hold."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"备注最多 {NOTE_LENGTH_MAX} 个字符，且不能含空字符。",
                en=f"A note has at most {NOTE_LENGTH_MAX} characters, none of them NUL.",
            ),
            field="note",
        )


class NewCheckIn(NamedTuple):
    """What a member sends."""

    request_id: UUID
    assignment_id: UUID
    starts_on: date
    occurred_at: datetime
    value: Decimal | None
    note: str | None
    evidence: Sent = NOTHING_SENT

    @property
    def hash(self) -> bytes:
        instant = self.occurred_at.timestamp()
        place = self.evidence.position
        return input_hash(
            {
                "task": [str(self.assignment_id), self.starts_on.isoformat()],
                "occurredAt": repr(instant),
                "value": None if self.value is None else str(self.value.normalize()),
                "note": self.note,
                "photo": self.evidence.photo_key,
                "place": place
                and [str(it) for it in (place.latitude, place.longitude, place.accuracy_metres)],
            }
        )


class CheckedIn(NamedTuple):
    check_in: LatestCheckIn
    task: TaskView
    balances: points_rules.Balances
    """Of the member's points, afterwards."""
    replayed: bool


async def check_in(
    db: Database, *, member_id: UUID, acted_by: UUID, sent: NewCheckIn, now: datetime
) -> CheckedIn:
    """Count a check-in once, whatever the client retries: neither one `request_id` nor one
    slot of a task's local day counts twice. Two statements, each committed by itself.

    Raises NotFound, CheckInRefused, EvidenceMissing, LocationConsentMissing, LocationInvalid,
    NoteInvalid, RequestReused.
    """
    if sent.note is not None and (len(sent.note) > NOTE_LENGTH_MAX or "\0" in sent.note):
        raise NoteInvalid
    attempt = _Attempt(member_id, acted_by, sent, sent.hash, now)
    for _ in range(ROUNDS):
        try:
            done = await attempt.run(db.write_row)
        except IntegrityConstraintViolationError:
            continue  # somebody else took the request id between the two statements
        if done is not None:
            return done
    async with db.transaction() as session:
        await session.execute(LOCK, {"member_id": member_id})
        done = await attempt.run(session.fetch_row)
        assert done is not None, "a locked wallet was written by somebody else"
        return done


@dataclass(frozen=True, slots=True)
class _Attempt:
    member_id: UUID
    acted_by: UUID
    sent: NewCheckIn
    hash: bytes
    now: datetime

    async def run(self, fetch_row: FetchRow) -> CheckedIn | None:
        """Look, decide, write; None when somebody else was faster."""
        sent = self.sent
        facts = await look(
            fetch_row,
            member_id=self.member_id,
            request_id=sent.request_id,
            assignment_id=sent.assignment_id,
            starts_on=sent.starts_on,
            occurred_at=sent.occurred_at,
            photo_id=sent.evidence.photo_id,
            installation_id=sent.evidence.installation_id,
            has_evidence=sent.evidence != NOTHING_SENT,
            now=self.now,
        )
        if facts.row["result"] is not None:
            if (facts.row["operation"], bytes(facts.row["input_hash"])) != (_OPERATION, self.hash):
                raise RequestReused
            return _answer(facts, facts.find(facts.row["result"]))
        day = facts.day
        task = facts.task()
        examined = examine(
            facts,
            sent.evidence,
            acted_by=self.acted_by,
            day=day,
            occurred_at=sent.occurred_at,
            value=sent.value,
            now=self.now,
        )
        decision = rules.decide(
            task,
            occurred_at=sent.occurred_at,
            local_date=day,
            value=sent.value,
            now=self.now,
            consent=facts.standing.consent,
            caps=facts.caps(),
            in_review=bool(examined.findings),
            has_evidence=examined.has_evidence,
        )
        match decision:
            case rules.Refused():
                raise CheckInRefused(decision)
            case rules.Repeated(slot=slot):
                return await self._remember(fetch_row, facts, facts.in_slot(day, slot))
            case rules.Accepted():
                examined.check(overdue=decision.overdue)
                return await self._write(fetch_row, facts, task, (day, decision, examined))

    async def _remember(
        self, fetch_row: FetchRow, facts: Facts, found: LatestCheckIn
    ) -> CheckedIn | None:
        """Answer with the check-in that is there, and keep the new request's id."""
        parameters = {
            "member_id": self.member_id,
            "request_id": self.sent.request_id,
            "input_hash": self.hash,
            "id": found.id,
            "now": self.now,
        }
        kept = await fetch_row(REMEMBER.sql, *REMEMBER.arguments(parameters))
        return _answer(facts, found) if kept is not None else None

    async def _write(
        self,
        fetch_row: FetchRow,
        facts: Facts,
        task: rules.TaskFacts,
        decided: tuple[date, rules.Accepted, Examined],
    ) -> CheckedIn | None:
        day, accepted, examined = decided
        findings = [*examined.findings, *([Finding.LATE] if accepted.overdue else ())]
        ids = new_ids(self.now, 3)
        new = LatestCheckIn(
            id=ids[0],
            occurred_at=self.sent.occurred_at,
            local_date=day,
            slot=accepted.slot,
            value=accepted.value,
            state=accepted.state,
            points_awarded=accepted.points_awarded,
            reason_code=rules.Reason.of_finding(findings[0]) if findings else accepted.reason,
        )
        latest = facts.latest
        if latest is None or latest.occurred_at <= new.occurred_at:
            latest = new
        after = _after(facts, accepted)
        parameters = {
            "member_id": self.member_id,
            "version": facts.wallet.version,
            "request_id": self.sent.request_id,
            "input_hash": self.hash,
            "acted_by": self.acted_by,
            "note": self.sent.note,
            "now": self.now,
            **_task_parameters(facts, task, new, after, accepted, is_latest=latest is new),
            **_check_in_parameters(new, counts=accepted.counts),
        }
        earning = None
        if new.points_awarded > 0:
            earning = _earning(facts, new, ids[1:], is_pending=accepted.is_pending, now=self.now)
            parameters |= earning.parameters
        else:
            parameters |= points.tally_of_unpaid(facts.wallet, facts.tally, facts.later)
        if after.closed_at is not None:
            parameters |= _restatement(self.member_id, facts.span)
        if findings:
            review = _review(facts, new, findings, now=self.now)
            parameters |= review.parameters(now=self.now)
        parts = Parts(
            pays=earning is not None,
            late=after.closed_at is not None,
            evidence=bool(findings) or examined.photo_id is not None or examined.place is not None,
            device=examined.claims_device,
            review=bool(findings),
        )
        if parts.evidence or parts.device:
            parameters |= self._evidence(examined)
        statement = write(parts)
        if await fetch_row(statement.sql, *statement.arguments(parameters)) is None:
            return None
        return CheckedIn(new, facts.view(after, latest), facts.balances(earning), replayed=False)

    def _evidence(self, examined: Examined) -> dict[str, Any]:
        place = examined.place
        return {
            "photo_id": examined.photo_id,
            "latitude": place.latitude if place else None,
            "longitude": place.longitude if place else None,
            "place_code": examined.place_code,
            "installation_id": self.sent.evidence.installation_id,
            "device_stale_at": self.now - timedelta(days=checks().devices.owner_days),
        }


def _answer(facts: Facts, found: LatestCheckIn) -> CheckedIn:
    """What was there already."""
    task = facts.view(facts.stored, facts.latest)
    return CheckedIn(found, task, facts.balances(None), replayed=True)


def _after(facts: Facts, accepted: rules.Accepted) -> Stored:
    """The task's row after the check-in; the clock may not have made it yet."""
    stored, span = facts.stored, facts.span
    return Stored(
        starts_on=span.starts_on,
        ends_on=span.ends_on,
        due_at=stored.due_at
        if stored
        else civil_time.end_of_day(span.ends_on, facts.standing.zone),
        target=facts.target,
        done=accepted.done_after,
        state=accepted.state_after,
        closed_at=stored.closed_at if stored else None,
    )


def _task_parameters(
    facts: Facts,
    task: rules.TaskFacts,
    new: LatestCheckIn,
    after: Stored,
    accepted: rules.Accepted,
    *,
    is_latest: bool,
) -> dict[str, Any]:
    span, zone = facts.span, facts.standing.zone
    finished = accepted.state_after is rules.TaskState.DONE
    added = rules.Counted(
        new.local_date, new.value, accepted.counts, new.slot, new.occurred_at, new.state
    )
    return {
        "assignment_id": facts.assignment.id,
        "starts_on": span.starts_on,
        "ends_on": span.ends_on,
        "starts_at": facts.row["starts_at"] or civil_time.start_of_day(span.starts_on, zone),
        "due_at": after.due_at,
        "target": after.target,
        "done": after.done,
        "points": facts.assignment.points,
        "state": after.state,
        # What has just come to be done without a pause needs no second look.
        "participated": finished
        and (
            (not task.paused_days and task.state is not rules.TaskState.DONE)
            or rules.participated(
                task.kind,
                [*task.check_ins, added],
                target=task.target,
                span=span,
                paused_days=task.paused_days,
            )
        ),
        "capped_by": accepted.capped_by,
        "is_latest": is_latest,
    }


def _check_in_parameters(new: LatestCheckIn, *, counts: bool) -> dict[str, Any]:
    return {
        "id": new.id,
        "local_date": new.local_date,
        "slot": new.slot,
        "value": new.value,
        "occurred_at": new.occurred_at,
        "check_in_state": new.state,
        "counts": counts,
        "points_awarded": new.points_awarded,
        "reason_code": new.reason_code,
    }


def _earning(
    facts: Facts, new: LatestCheckIn, ids: Sequence[UUID], *, is_pending: bool, now: datetime
) -> points.Earning:
    row = facts.row
    return points.plan_earning(
        facts.wallet,
        ids=ids,
        amount=new.points_awarded,
        cause=points.Cause(
            points_rules.CauseKind.CHECK_IN,
            new.id,
            cause_key(facts.assignment.id, facts.span.starts_on, row["revision"] or 0),
        ),
        rule=points.Rule(row["product_version_id"], row["rule_code"]),
        local_date=new.local_date,
        expires=points_rules.expiry(
            new.local_date, row["expires_after_months"], facts.standing.zone
        ),
        now=now,
        pending=is_pending,
    ).tallied(facts.tally, facts.later)


def _review(
    facts: Facts, new: LatestCheckIn, findings: Sequence[Finding], *, now: datetime
) -> NewReview:
    """What somebody is asked, and about how many points: all that the task may still pay, also
    with a later check-in."""
    assignment, above = facts.assignment, facts.row["second_person_above"]
    is_done = facts.stored is not None and facts.stored.state == rules.TaskState.DONE
    why = sentences.FINDINGS[rules.Reason.of_finding(findings[0])]
    return NewReview(
        kind=ReviewKind.CHECK_IN,
        cause_key=f"check_in:{new.id}",
        subject_id=new.id,
        check_in_id=new.id,
        findings=findings,
        why=Text(
            zh=f"审核打卡“{assignment.title_zh}”：{why.zh}",
            en=f"Check-in for “{assignment.title_en}”: {why.en}",
        ),
        points=0 if is_done else assignment.points,
        second_person_above=checks().reviews.second_person_above if above is None else above,
        text=None,
        due_at=now + timedelta(days=checks().reviews.due_days),
    )


def _restatement(member_id: UUID, span: rules.Span) -> dict[str, Any]:
    """The job that follows a check-in into a closed period."""
    month = span.ends_on.replace(day=1).isoformat()
    payload = {"member_id": str(member_id), "month": month}
    return {
        "job_payload": orjson.dumps(payload).decode(),
        "job_key": f"restate:{member_id}:{month}",
    }
