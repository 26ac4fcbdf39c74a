"""Members by the thousand, for benchmarks: rows go in by COPY, past the services.

One member is enrolled by the services and taken back; everybody is a copy of them, with a
history of check-ins whose points are planned by the same function that plans real ones. So
`wellward ledger verify` passes afterwards, and a change of the tables changes the copies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlmodel import col

from app import civil_time
from app.db import Database, Session
from app.demo.copying import Row, Rows
from app.health_tasks import rules
from app.health_tasks import service as health_tasks
from app.health_tasks.models import CheckIn, ParticipationMonth, Task, TaskAssignment
from app.ids import new_id
from app.members.models import ConsentRecord, Member, MemberSignIn
from app.nudges.models import Message, Reminder
from app.points import rules as points_rules
from app.points import service as points
from app.points.models import PointsLot, PointsTransfer, Wallet
from app.points.tally import Entry, entries, extended
from app.premiums import service as premiums
from app.premiums.models import Policy, PolicyTerm, PremiumProjection

PRODUCT = "starter"
ZONE_NAME = "Asia/Shanghai"
MEMBERS_A_COPY = 500
MESSAGES = 4
"""In each inbox; half of them unread."""

TaskKey = tuple[UUID, date]
"""Assignment and first day of a period."""


@dataclass(frozen=True, slots=True)
class BulkMember:
    member_id: UUID
    subject: str
    """With which they sign in."""
    ticks: tuple[TaskKey, ...]
    """Open tasks that a plain tick finishes, and that pay."""


@dataclass(slots=True)
class _Pattern:
    """The rows of one enrolled member."""

    policy: Row
    term: Row
    projection: Row
    month: Row
    assignments: list[TaskAssignment]


async def load(
    db: Database,
    *,
    members: int,
    days: int,
    issuer: str,
    now: datetime,
    prefix: str = "bulk",
    zone_name: str = ZONE_NAME,
) -> list[BulkMember]:
    """Make `members` new members who sign in as `member:<prefix><number>` at `issuer`, each
    with `days` whole days of history before today in `zone_name`, two paid check-ins a day.

    All of it, or nothing. Raises ProductUnknown when no product is published.
    """
    zone = civil_time.zone(zone_name)
    today = civil_time.local_date(now, zone)
    made: list[BulkMember] = []
    async with db.transaction() as session:
        pattern = await _enrol_and_take_back(session, today - timedelta(days=days), zone, now)
        connection = await session.connection()
        rows = Rows()
        for number in range(members):
            made.append(_Life(rows, pattern, f"{prefix}{number}", issuer, zone, now).write(today))
            if (number + 1) % MEMBERS_A_COPY == 0:
                await rows.copy(connection)
        await rows.copy(connection)
    return made


async def _enrol_and_take_back(
    session: Session, starts_on: date, zone: ZoneInfo, now: datetime
) -> _Pattern:
    savepoint = await session.begin_nested()
    member_id = new_id(now)
    session.add(Member(**_member(member_id, "pattern", zone, now)))
    await session.flush()
    await premiums.enrol(
        session, member_id=member_id, product_code=PRODUCT, starts_on=starts_on, now=now
    )
    await session.flush()
    [policy], [term], [projection], [month] = [
        await _rows_of(session, kind, member_id)
        for kind in (Policy, PolicyTerm, PremiumProjection, ParticipationMonth)
    ]
    assignments = [
        TaskAssignment(**row) for row in await _rows_of(session, TaskAssignment, member_id)
    ]
    await savepoint.rollback()
    return _Pattern(policy, term, projection, month, assignments)


async def _rows_of(session: Session, kind: type[Any], member_id: UUID) -> list[Row]:
    statement = select(kind.__table__).where(col(kind.member_id) == member_id)
    return [dict(row._mapping) for row in await session.execute(statement)]


def _member(member_id: UUID, name: str, zone: ZoneInfo, now: datetime) -> Row:
    return {
        "member_id": member_id,
        "display_name": name,
        "birth_date": date(1976, 4, 12),
        "sex": "FEMALE",
        "phone": None,
        "time_zone": zone.key,
        "locale": "zh-CN",
        "region": None,
        "created_at": now,
        "erased_at": None,
    }


class _Life:
    """One member's rows."""

    def __init__(
        self,
        rows: Rows,
        pattern: _Pattern,
        login: str,
        issuer: str,
        zone: ZoneInfo,
        now: datetime,
    ) -> None:
        self._rows = rows
        self._pattern = pattern
        self._login = login
        self._issuer = issuer
        self._zone = zone
        self._now = now
        self._id = new_id(now)
        self._wallet = points.WalletState(self._id, points_rules.Balances(), 0, 0, b"")
        self._earned: list[Entry] = []

    def write(self, today: date) -> BulkMember:
        pattern, own = self._pattern, {"member_id": self._id}
        self._rows.add(Member, **_member(self._id, f"成员 {self._login}", self._zone, self._now))
        subject = f"member:{self._login}"
        self._rows.add(MemberSignIn, issuer=self._issuer, subject=subject, login=self._login, **own)
        self._write_consent()
        policy_id = new_id(self._now)
        self._rows.add(Policy, **pattern.policy | own | {"id": policy_id})
        for kind, row in ((PolicyTerm, pattern.term), (PremiumProjection, pattern.projection)):
            self._rows.add(kind, **row | own | {"policy_id": policy_id})
        self._rows.add(ParticipationMonth, **pattern.month | own)
        assignments = [
            it.model_copy(update=own | {"id": new_id(self._now)}) for it in pattern.assignments
        ]
        for assignment in assignments:
            self._rows.add(TaskAssignment, **assignment.model_dump())
        for day in _days(assignments[0].starts_on, today):
            for assignment in assignments:
                if assignment.period == rules.Period.DAY and assignment.target == 1:
                    self._tick(assignment, rules.Span(day, day), day)
        ticks = [self._open(assignment, today) for assignment in assignments]
        self._write_wallet()
        self._write_nudges(today)
        return BulkMember(self._id, subject, tuple(key for key in ticks if key is not None))

    def _tick(self, assignment: TaskAssignment, span: rules.Span, day: date) -> None:
        """Done and paid on `day`, and closed since."""
        at = civil_time.at_local_time(day, time(9), self._zone)
        check_in_id = self._check_in(assignment, span, day, at, paid=assignment.points)
        self._task(
            assignment,
            span,
            done=Decimal(1),
            state=rules.TaskState.DONE,
            points_awarded=assignment.points,
            capped_by=None,
            participated=True,
            completed_at=at,
            closed_at=civil_time.end_of_day(span.ends_on, self._zone),
            latest_check_in_id=check_in_id,
            latest_occurred_at=at,
        )
        self._earn(assignment, span, day, at, check_in_id)

    def _open(self, assignment: TaskAssignment, today: date) -> TaskKey | None:
        """The running period: with a first check-in when it began before today and one is
        not enough. Its key, when a tick finishes it."""
        span = rules.period_of(
            rules.Period(assignment.period),
            today,
            assigned_from=assignment.starts_on,
            assigned_to=assignment.ends_on,
        )
        assert span is not None
        needed = rules.target_in(assignment.target, rules.Period(assignment.period), span)
        latest_id = latest_at = None
        if span.starts_on < today and needed > 1:
            latest_at = civil_time.at_local_time(span.starts_on, time(9), self._zone)
            latest_id = self._check_in(assignment, span, span.starts_on, latest_at, paid=0)
        self._task(
            assignment,
            span,
            done=Decimal(0 if latest_id is None else 1),
            state=rules.TaskState.OPEN,
            points_awarded=0,
            capped_by=None,
            participated=False,
            completed_at=None,
            closed_at=None,
            latest_check_in_id=latest_id,
            latest_occurred_at=latest_at,
        )
        at_once = (
            needed == 1
            and assignment.kind != rules.TaskKind.ABSTAIN
            and assignment.verification == rules.Verification.NONE
        )
        return (assignment.id, span.starts_on) if at_once else None

    def _task(self, assignment: TaskAssignment, span: rules.Span, **progress: Any) -> None:
        self._rows.add(
            Task,
            member_id=self._id,
            assignment_id=assignment.id,
            starts_on=span.starts_on,
            ends_on=span.ends_on,
            starts_at=civil_time.start_of_day(span.starts_on, self._zone),
            due_at=civil_time.end_of_day(span.ends_on, self._zone),
            target=rules.target_in(assignment.target, rules.Period(assignment.period), span),
            points=assignment.points,
            revision=0,
            **progress,
        )

    def _check_in(
        self, assignment: TaskAssignment, span: rules.Span, day: date, at: datetime, *, paid: int
    ) -> UUID:
        id = new_id(at)
        self._rows.add(
            CheckIn,
            member_id=self._id,
            id=id,
            assignment_id=assignment.id,
            starts_on=span.starts_on,
            local_date=day,
            slot=0,
            value=None,
            note=None,
            occurred_at=at,
            received_at=at,
            state=rules.CheckInState.ACCEPTED,
            counts=True,
            points_awarded=paid,
            reason_code=rules.Reason.COMPLETED if paid else rules.Reason.COUNTED,
            decision_note=None,
            request_id=new_id(at),
            acted_by=self._id,
        )
        return id

    def _earn(
        self, assignment: TaskAssignment, span: rules.Span, day: date, at: datetime, cause: UUID
    ) -> None:
        expires = points_rules.expiry(day, assignment.expires_after_months, self._zone)
        earning = points.plan_earning(
            self._wallet,
            ids=(new_id(at), new_id(at)),
            amount=assignment.points,
            cause=points.Cause(
                points_rules.CauseKind.CHECK_IN,
                cause,
                health_tasks.cause_key(assignment.id, span.starts_on),
            ),
            rule=points.Rule(assignment.product_version_id, assignment.rule_code),
            local_date=day,
            expires=expires,
            now=at,
        )
        self._wallet = earning.wallet
        for transfer, hash in zip(earning.transfers, earning.hashes, strict=True):
            self._earned += entries(transfer)
            self._rows.add(PointsTransfer, **transfer._asdict(), hash=hash)
            self._rows.add(
                PointsLot,
                member_id=self._id,
                id=transfer.id,
                origin_id=transfer.id,
                earned_seq=transfer.seq,
                is_grace=False,
                expires_on=expires.on,
                expires_at=expires.at,
                amount=transfer.amount,
                remaining=transfer.amount,
                pending=0,
                held=0,
                used=0,
                expired=0,
                reversed=0,
            )

    def _write_wallet(self) -> None:
        wallet, tally = self._wallet, extended(None, self._earned)
        self._rows.add(
            Wallet,
            member_id=self._id,
            **wallet.balances._asdict(),
            version=wallet.version,
            seq=wallet.seq,
            head=wallet.head,
            rooted_seq=0,
            tally=tally.written() if tally else None,
            tally_seq=wallet.seq,
        )

    def _write_consent(self) -> None:
        self._rows.add(
            ConsentRecord,
            member_id=self._id,
            purpose="HEALTH_DATA",
            version=1,
            state="GRANTED",
            text_version="2026-01",
            recorded_at=self._now,
            recorded_by=self._id,
        )

    def _write_nudges(self, today: date) -> None:
        tomorrow = today + timedelta(days=1)
        self._rows.add(
            Reminder,
            member_id=self._id,
            id=new_id(self._now),
            title="服药",
            kind="MEDICATION",
            local_time=time(7, 30),
            recurrence="FREQ=DAILY",
            starts_on=today,
            ends_on=None,
            last_on=None,
            next_on=tomorrow,
            next_at=civil_time.at_local_time(tomorrow, time(7, 30), self._zone),
            created_at=self._now,
            changed_at=self._now,
            deleted_at=None,
        )
        for number in range(MESSAGES):
            id = new_id(self._now)
            self._rows.add(
                Message,
                member_id=self._id,
                id=id,
                cause_key=f"bulk:{number}",
                topic="REMINDERS",
                template="reminder.MEDICATION",
                title="服药",
                body="服药时间到了。",
                action_label=None,
                action_url=None,
                local_date=today,
                planned_at=self._now,
                sent_at=self._now,
                in_inbox=True,
                suppressed_reason=None,
                read_at=self._now if number % 2 else None,
            )


def _days(first: date, end: date) -> Iterator[date]:
    """From `first` until before `end`."""
    return (first + timedelta(days=number) for number in range((end - first).days))
