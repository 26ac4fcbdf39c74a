"""A check-in: look, let the rules decide, write with one guarded statement."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app import civil_time
from app.checkins.statements import LOCK, LOOK, REMEMBER, WRITE
from app.db import Database
from app.errors import ErrorCode, NotFound, RequestReused, UserError
from app.health_tasks import queries, rules
from app.health_tasks.queries import Assignment, LatestCheckIn, Standing, Stored, TaskView
from app.health_tasks.service import cause_key
from app.ids import new_id
from app.members.requests import input_hash
from app.points import rules as points_rules
from app.points import service as points
from app.texts import Text

NOTE_LENGTH_MAX = 500
ROUNDS = 3
"""How often a race is run again before the wallet is locked first."""
_OPERATION = "checkIn"


class CheckInRefused(UserError):
    """What the rules refused: TASK_NOT_DUE, IN_FUTURE, TOO_OLD, VALUE_OUT_OF_RANGE,
    CONSENT_MISSING."""

    def __init__(self, refused: rules.Refused) -> None:
        super().__init__(refused.code, refused.text, field=refused.field)


class NoteTooLong(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"备注最多 {NOTE_LENGTH_MAX} 个字符。",
                en=f"A note has at most {NOTE_LENGTH_MAX} characters.",
            ),
            field="note",
        )


class EvidenceMissing(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.EVIDENCE_MISSING,
            Text(
                zh="这项任务需要凭证，仅打卡不够。",
                en="This task needs evidence; a tick is not enough.",
            ),
            field="evidence",
        )


@dataclass(frozen=True, slots=True)
class NewCheckIn:
    """What a member sends."""

    request_id: UUID
    assignment_id: UUID
    starts_on: date
    occurred_at: datetime
    value: Decimal | None
    note: str | None
    evidence: dict[str, Any] | None = None
    """Only its hash is kept: no task asks for any yet."""

    @property
    def hash(self) -> bytes:
        instant = self.occurred_at.timestamp()
        return input_hash(
            {
                "task": [str(self.assignment_id), self.starts_on.isoformat()],
                "occurredAt": repr(instant),
                "value": None if self.value is None else str(self.value.normalize()),
                "note": self.note,
                "evidence": self.evidence,
            }
        )


Account = tuple[int, int, int, int, int | None, date | None]
"""Available, pending, held, earned in total; amount and last day of what expires next."""


@dataclass(frozen=True, slots=True)
class CheckedIn:
    check_in: LatestCheckIn
    task: TaskView
    account: Account
    replayed: bool


@dataclass(frozen=True, slots=True)
class _Facts:
    """What `LOOK` found of a task that is the member's."""

    row: Any
    """Of `LOOK`, for what is used once."""
    wallet: points.WalletState
    standing: Standing
    check_ins: list[LatestCheckIn]
    assignment: Assignment
    span: rules.Span
    stored: Stored | None

    @property
    def target(self) -> Decimal:
        return self.stored.target if self.stored else self.assignment.target_in(self.span)

    def view(self, stored: Stored | None, latest: LatestCheckIn | None) -> TaskView:
        return queries.view(self.assignment, self.span, (stored, latest), self.standing)

    def find(self, check_in_id: UUID) -> LatestCheckIn:
        return next(found for found in self.check_ins if found.id == check_in_id)

    def account(self, wallet: points.WalletState, earned: points.Earning | None) -> Account:
        """Of the wallet as it is after an earning."""
        held = wallet.balances
        lots = [self.row.next_expiry] if self.row.next_expiry else []
        for transfer in earned.transfers if earned else ():
            if transfer.expires_on is not None:
                lots.append((transfer.amount, transfer.expires_on))
        first = min((expires_on for _, expires_on in lots), default=None)
        amount = sum(amount for amount, expires_on in lots if expires_on == first) if lots else None
        return held.available, held.pending, held.held, held.earned_total, amount, first

    def answer(self, check_in: LatestCheckIn) -> CheckedIn:
        """What was there already."""
        latest = self.row.latest_check_in_id
        return CheckedIn(
            check_in=check_in,
            task=self.view(self.stored, self.find(latest) if latest else None),
            account=self.account(self.wallet, None),
            replayed=True,
        )


async def check_in(
    db: Database, *, member_id: UUID, acted_by: UUID, sent: NewCheckIn, now: datetime
) -> CheckedIn:
    """Count a check-in once, whatever the client retries: neither one `request_id` nor one
    slot of a task's local day counts twice. Two statements, each committed by itself.

    Raises NotFound, CheckInRefused, EvidenceMissing, NoteTooLong, RequestReused.
    """
    if sent.note is not None and len(sent.note) > NOTE_LENGTH_MAX:
        raise NoteTooLong
    attempt = _Attempt(member_id, acted_by, sent, sent.hash, now)
    async with db.write() as connection:
        for _ in range(ROUNDS):
            try:
                done = await attempt.run(connection)
            except IntegrityError:
                continue  # somebody else took the request id between the two statements
            if done is not None:
                return done
    async with db.transaction() as session:
        locked = await session.connection()
        await locked.execute(LOCK, {"member_id": member_id})
        done = await attempt.run(locked)
        assert done is not None, "a locked wallet was written by somebody else"
        return done


@dataclass(frozen=True, slots=True)
class _Attempt:
    member_id: UUID
    acted_by: UUID
    sent: NewCheckIn
    hash: bytes
    now: datetime

    async def run(self, connection: AsyncConnection) -> CheckedIn | None:
        """Look, decide, write; None when somebody else was faster."""
        sent = self.sent
        facts = await self._look(connection)
        if facts.row.result is not None:
            if (facts.row.operation, bytes(facts.row.input_hash)) != (_OPERATION, self.hash):
                raise RequestReused
            return facts.answer(facts.find(facts.row.result))
        day = civil_time.local_date(sent.occurred_at, facts.standing.zone)
        decision = rules.decide(
            _task_facts(facts),
            occurred_at=sent.occurred_at,
            local_date=day,
            value=sent.value,
            now=self.now,
            consent=facts.standing.consent,
            caps=_caps(facts.row, day),
        )
        match decision:
            case rules.Refused():
                raise CheckInRefused(decision)
            case rules.Repeated(slot=slot):
                return await self._remember(connection, facts, day, slot)
            case rules.Accepted():
                if facts.assignment.verification != rules.Verification.NONE:
                    raise EvidenceMissing
                return await self._write(connection, facts, day, decision)

    async def _look(self, connection: AsyncConnection) -> _Facts:
        """Raises NotFound, RequestReused."""
        parameters = {
            "member_id": self.member_id,
            "assignment_id": self.sent.assignment_id,
            "starts_on": self.sent.starts_on,
            "occurred_at": self.sent.occurred_at,
            "request_id": self.sent.request_id,
            "now": self.now,
        }
        row = (await connection.execute(LOOK, parameters)).one_or_none()
        assignment = None if row is None else Assignment._make(row[_ASSIGNMENT])
        if row is None or assignment is None or assignment.id is None:
            raise _unknown(row)
        span = assignment.span_of(self.sent.starts_on)
        if span is None or span.starts_on != self.sent.starts_on:
            raise _unknown(row)
        zone = civil_time.zone(row.time_zone)
        standing = Standing(
            consent=queries.consent_of(row.consent),
            pauses=queries.pauses_of(row.pauses),
            today=civil_time.local_date(self.now, zone),
            zone=zone,
        )
        return _Facts(
            row=row,
            wallet=points.WalletState.of(self.member_id, row[:_WALLET_WIDTH]),
            standing=standing,
            check_ins=[LatestCheckIn._make(found[:-1]) for found in row.check_ins],
            assignment=assignment,
            span=span,
            stored=None if row[_TASK][0] is None else Stored._make(row[_TASK]),
        )

    async def _remember(
        self, connection: AsyncConnection, facts: _Facts, day: date, slot: int
    ) -> CheckedIn | None:
        """Answer with the check-in that is there, and keep the new request's id."""
        found = next(
            known for known in facts.check_ins if (known.local_date, known.slot) == (day, slot)
        )
        parameters = {
            "member_id": self.member_id,
            "request_id": self.sent.request_id,
            "input_hash": self.hash,
            "id": found.id,
            "now": self.now,
        }
        kept = (await connection.execute(REMEMBER, parameters)).one_or_none()
        return facts.answer(found) if kept is not None else None

    async def _write(
        self, connection: AsyncConnection, facts: _Facts, day: date, accepted: rules.Accepted
    ) -> CheckedIn | None:
        new = LatestCheckIn(
            id=new_id(self.now),
            occurred_at=self.sent.occurred_at,
            local_date=day,
            slot=accepted.slot,
            value=accepted.value,
            state=rules.CheckInState.ACCEPTED,
            points_awarded=accepted.points_awarded,
            reason_code=accepted.reason,
        )
        earlier_at = facts.row.latest_occurred_at
        latest = new
        if earlier_at is not None and earlier_at > new.occurred_at:
            latest = facts.find(facts.row.latest_check_in_id)
        zone, stored = facts.standing.zone, facts.stored
        closed = stored is not None and stored.closed_at is not None
        after = Stored(
            starts_on=facts.span.starts_on,
            ends_on=facts.span.ends_on,
            due_at=stored.due_at if stored else civil_time.end_of_day(facts.span.ends_on, zone),
            target=facts.target,
            done=accepted.done_after,
            state=accepted.state_after,
            closed_at=stored.closed_at if stored else None,
        )
        earning = self._earning(facts, new) if accepted.points_awarded > 0 else None
        parameters = self._parameters(facts, new, latest, after, accepted)
        if earning is not None:
            parameters |= earning.parameters
        if closed:
            parameters |= self._restatement(facts)
        statement = WRITE[earning is not None, closed]
        if (await connection.execute(statement, parameters)).one_or_none() is None:
            return None
        wallet = earning.wallet if earning is not None else facts.wallet
        account = facts.account(wallet, earning)
        return CheckedIn(new, facts.view(after, latest), account, replayed=False)

    def _earning(self, facts: _Facts, new: LatestCheckIn) -> points.Earning:
        row, starts_on = facts.row, self.sent.starts_on
        return points.plan_earning(
            facts.wallet,
            ids=(new_id(self.now), new_id(self.now)),
            amount=new.points_awarded,
            cause=points.Cause(
                points_rules.CauseKind.CHECK_IN, new.id, cause_key(facts.assignment.id, starts_on)
            ),
            rule=points.Rule(row.product_version_id, row.rule_code),
            local_date=new.local_date,
            expires=points_rules.expiry(
                new.local_date, row.expires_after_months, facts.standing.zone
            ),
            now=self.now,
        )

    def _restatement(self, facts: _Facts) -> dict[str, Any]:
        """The job that follows a check-in into a closed period."""
        month = facts.span.ends_on.replace(day=1)
        payload = {"member_id": str(self.member_id), "month": month.isoformat()}
        return {
            "job_payload": orjson.dumps(payload).decode(),
            "job_key": f"restate:{self.member_id}:{month}",
        }

    def _parameters(
        self,
        facts: _Facts,
        new: LatestCheckIn,
        latest: LatestCheckIn,
        after: Stored,
        accepted: rules.Accepted,
    ) -> dict[str, Any]:
        zone, assignment, span = facts.standing.zone, facts.assignment, facts.span
        finished = accepted.state_after is rules.TaskState.DONE
        return {
            "member_id": self.member_id,
            "version": facts.wallet.version,
            "assignment_id": assignment.id,
            "starts_on": span.starts_on,
            "ends_on": span.ends_on,
            "starts_at": facts.row.starts_at or civil_time.start_of_day(span.starts_on, zone),
            "due_at": after.due_at,
            "target": after.target,
            "done": after.done,
            "points": assignment.points,
            "state": after.state,
            "points_awarded": new.points_awarded,
            "participated": finished and _participated(facts, new, accepted),
            "completed_at": self.now if finished else None,
            "latest_check_in_id": latest.id,
            "latest_occurred_at": latest.occurred_at,
            "id": new.id,
            "local_date": new.local_date,
            "slot": new.slot,
            "value": new.value,
            "note": self.sent.note,
            "occurred_at": new.occurred_at,
            "now": self.now,
            "check_in_state": new.state,
            "counts": accepted.counts,
            "reason_code": new.reason_code,
            "request_id": self.sent.request_id,
            "acted_by": self.acted_by,
            "input_hash": self.hash,
        }


_WALLET_WIDTH = len(points.WALLET_COLUMNS.split(", "))
_TASK = slice(-len(Stored._fields), None)
_ASSIGNMENT = slice(-len(Assignment._fields) - len(Stored._fields), -len(Stored._fields))
"""Places in a row of `LOOK`."""


def _unknown(row: Any) -> UserError:
    """Of an id that was used for something else, that is what to say first."""
    if row is not None and row.result is not None:
        return RequestReused()
    return NotFound(field="taskId")


def _counted(facts: _Facts) -> list[rules.Counted]:
    return [
        rules.Counted(known.local_date, known.value, found[-1], known.slot, known.occurred_at)
        for known, found in zip(facts.check_ins, facts.row.check_ins, strict=True)
    ]


def _task_facts(facts: _Facts) -> rules.TaskFacts:
    assignment, stored = facts.assignment, facts.stored
    return rules.TaskFacts(
        kind=rules.TaskKind(assignment.kind),
        span=facts.span,
        state=rules.TaskState(stored.state) if stored else rules.TaskState.OPEN,
        target=facts.target,
        unit=assignment.unit,
        value_min=assignment.value_min,
        value_max=assignment.value_max,
        per_day=assignment.per_day,
        points=assignment.points,
        late_data_days=assignment.late_data_days,
        check_ins=_counted(facts),
        paused_days=rules.paused_days(facts.standing.pauses, facts.span),
    )


def _participated(facts: _Facts, new: LatestCheckIn, accepted: rules.Accepted) -> bool:
    added = rules.Counted(new.local_date, new.value, accepted.counts, new.slot, new.occurred_at)
    return rules.participated(
        rules.TaskKind(facts.assignment.kind),
        [*_counted(facts), added],
        target=facts.target,
        span=facts.span,
        paused_days=rules.paused_days(facts.standing.pauses, facts.span),
    )


def _caps(row: Any, day: date) -> rules.Caps:
    """Over all that the member earned on a local day, and in its month."""
    earned = dict(row.earned or ())
    return rules.Caps(
        per_day_max=row.points_per_day_max,
        per_month_max=row.points_per_month_max,
        earned_today=earned.get(day, 0),
        earned_this_month=sum(
            amount
            for earned_on, amount in earned.items()
            if (earned_on.year, earned_on.month) == (day.year, day.month)
        ),
    )
