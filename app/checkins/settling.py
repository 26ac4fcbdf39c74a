"""What a decision about a check-in makes of its task: progress, state and points anew.

The rule is one, whatever was decided: a task whose accepted check-ins reach the target is done
and paid; one that reaches it only with check-ins in review waits, its points pending; any other
has nothing. Points that are refused are taken back, and what is paid later is the next revision:
the rest of what the task promises (see `paid.py`), within the caps as they are on the local day
of the check-in that it is paid for. What a cap once left of it stays so while the task is done.
So it is when the data change that a task rests on (see `advancing.py`): what they paid, and pay
no longer, is taken back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Date, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.checkins import paid
from app.health_tasks import caps, queries, rules
from app.health_tasks.queries import ASSIGNMENT_COLUMNS, TASK_COLUMNS, Assignment, Stored
from app.health_tasks.service import cause_key
from app.jobs import queue
from app.members.rules import ConsentState
from app.points import rules as points_rules
from app.points import service as points
from app.points.caps import Allowed, within
from app.points.rules import TransferKind

_TASK = text(f"""
select m.time_zone, t.revision, t.points_awarded, t.capped_by, t.participated, t.completed_at,
  a.product_version_id, a.rule_code, a.expires_after_months,
  array(select row(p.starts_on, p.ends_on) from pauses p where p.member_id = t.member_id) as pauses,
  (select c.state from consents c where c.member_id = t.member_id
    and c.purpose = 'HEALTH_DATA' and c.recorded_at < t.due_at
    order by c.version desc limit 1) as consent,
  array(select row(c.id, c.local_date, c.value, c.counts, c.slot, c.occurred_at,
      c.state) from checkins c
    where c.member_id = t.member_id and c.assignment_id = t.assignment_id
    and c.starts_on = t.starts_on order by c.occurred_at) as check_ins,
  (select row(e.id, e.cause_id, e.waits) from (
    select x.id, x.seq, x.cause_id, x.credit = 'pending' and not exists (
      select from points_transfers s
      where s.member_id = x.member_id and s.corrects = x.id and s.debit = 'pending') as waits
    from points_transfers x where x.member_id = t.member_id and x.debit = 'issued'
    and x.cause_key = any(array(select t.assignment_id || ':' || t.starts_on || ':' || revision
      from generate_series(0, t.revision) as revision))) e
    order by e.waits desc, e.seq desc limit 1) as earning,
  {ASSIGNMENT_COLUMNS}, {TASK_COLUMNS}
from tasks t
join members m on m.member_id = t.member_id
join task_assignments a on a.member_id = t.member_id and a.id = t.assignment_id
where t.member_id = :member_id and t.assignment_id = :assignment_id
  and t.starts_on = :starts_on
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("assignment_id", type_=Uuid),
    bindparam("starts_on", type_=Date),
)
_CAPS = text(f"""
select w.earned_total + w.pending, {caps.EARNED_COLUMNS},
  {caps.LIMIT_COLUMNS}
from task_assignments a join wallets w on w.member_id = a.member_id
cross join {caps.earned_sql(member="a.member_id", day="cast(:day as date)")}
where a.member_id = :member_id and a.id = :assignment_id
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("assignment_id", type_=Uuid),
    bindparam("day", type_=Date),
)
_STORE_TASK = text("""
update tasks set state = :state, done = :done, points_awarded = :points_awarded,
  capped_by = :capped_by, revision = :revision, participated = :participated,
  completed_at = :completed_at
where member_id = :member_id and assignment_id = :assignment_id and starts_on = :starts_on
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("assignment_id", type_=Uuid))
_STORE_CHECK_IN = text("""
update checkins set points_awarded = :points, reason_code = coalesce(:reason, reason_code)
where member_id = :member_id and id = :id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))
# What they say of waiting is over with the decision.
_TELL_OTHERS = text("""
update checkins set reason_code = :reason
where member_id = :member_id and assignment_id = :assignment_id and starts_on = :starts_on
  and points_awarded = 0 and reason_code in ('COMPLETED_IF_ACCEPTED', 'WAITS_WITH_ANOTHER')
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("assignment_id", type_=Uuid))
_TASK_AT = -len(Stored._fields)
_ASSIGNMENT_AT = _TASK_AT - len(Assignment._fields)


@dataclass(frozen=True, slots=True)
class Settling:
    has_changed: bool
    """Whether a member sees the task differently."""
    moved: int
    """Points that the task pays now and did not before, or no longer (negative)."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """One task with its check-ins, under the wallet's lock."""

    member_id: UUID
    row: Any
    assignment: Assignment
    stored: Stored
    facts: rules.TaskFacts

    def done(self, check_ins: Sequence[rules.Counted]) -> Decimal:
        facts = self.facts
        return rules.progress(facts.kind, check_ins, span=facts.span, paused_days=facts.paused_days)

    @property
    def is_closed(self) -> bool:
        return self.stored.closed_at is not None

    @property
    def earning_id(self) -> UUID | None:
        return self.row.earning[0] if self.row.earning else None

    @property
    def is_pending(self) -> bool:
        return bool(self.row.earning and self.row.earning[2])

    @property
    def carrier(self) -> UUID | None:
        """The check-in to which the points were awarded."""
        return self.row.earning[1] if self.row.earning else None

    def is_rejected(self, check_in_id: UUID | None) -> bool:
        return any(
            found[0] == check_in_id and found[-1] == rules.CheckInState.REJECTED
            for found in self.row.check_ins
        )

    def last_standing(self) -> UUID:
        """The last check-in that was not rejected."""
        *_, last = (
            found[0] for found in self.row.check_ins if found[-1] != rules.CheckInState.REJECTED
        )
        found_id: UUID = last
        return found_id

    def earns_on(self, check_in_id: UUID) -> date:
        """The local day of its points, as where nobody decides: its own, or of abstaining the
        last one of the period."""
        if self.facts.kind is rules.TaskKind.ABSTAIN:
            return self.stored.ends_on
        [day] = (found[1] for found in self.row.check_ins if found[0] == check_in_id)
        own: date = day
        return own

    def state(self) -> rules.TaskState:
        """As the check-ins have it now."""
        facts = self.facts
        if self.is_closed or facts.kind is not rules.TaskKind.ABSTAIN:
            if self.done(rules.sure(facts.check_ins)) >= facts.target:
                return rules.TaskState.DONE
            if self.done(facts.check_ins) >= facts.target:
                return rules.TaskState.IN_REVIEW
        if not self.is_closed:
            return rules.TaskState.OPEN
        # A device that was silent when the period ended excuses it for good.
        if self.stored.state == rules.TaskState.DEVICE_SILENT:
            return rules.TaskState.DEVICE_SILENT
        consent = ConsentState(self.row.consent) if self.row.consent else ConsentState.NOT_ASKED
        return rules.settle(facts, consent=consent).state


async def settle_task(
    session: AsyncSession,
    *,
    member_id: UUID,
    assignment_id: UUID,
    starts_on: date,
    check_in_id: UUID,
    corrects: UUID | None,
    now: datetime,
    takes_back: bool = False,
) -> Settling:
    """After a check-in of the task was decided; the wallet is locked. `corrects` is the
    earning that an appeal restores; `takes_back` is whether also that is undone which was paid
    without waiting."""
    found = await _load(session, member_id, assignment_id, starts_on)
    state, awarded = found.state(), found.row.points_awarded
    revision, carrier = found.row.revision, found.carrier
    pays = state in (rules.TaskState.DONE, rules.TaskState.IN_REVIEW)
    keeps = pays and not found.is_rejected(carrier)
    is_refused = False
    if found.is_pending and not (keeps and state is rules.TaskState.IN_REVIEW):
        assert found.earning_id is not None
        await points.settle(
            session, member_id=member_id, transfer_id=found.earning_id, accept=keeps, now=now
        )
        is_refused = not keeps
        if keeps and carrier != check_in_id:
            await _award(session, member_id, carrier, awarded, rules.Reason.COMPLETED)
    elif takes_back and awarded > 0 and not pays and found.earning_id is not None:
        _ = await points.reverse(
            session, member_id=member_id, transfer_id=found.earning_id, now=now
        )
        is_refused = True
    if is_refused:
        await _award(session, member_id, carrier, 0, None)
        revision += 1
    capped_by = found.row.capped_by if pays and not is_refused else None
    known = await paid.of_task(session, member_id=member_id, check_in_id=check_in_id)
    awarded = known.paid
    if pays and known.owed > 0 and capped_by is None:
        # The one that was decided, unless the task is done without it.
        cause = found.last_standing() if found.is_rejected(check_in_id) else check_in_id
        is_pending = state is rules.TaskState.IN_REVIEW
        earned = _Earned(cause, known.owed, revision, is_pending, corrects)
        allowed = await _earn(session, found, earned, now=now)
        awarded, capped_by = awarded + allowed.points, allowed.cap.kind if allowed.cap else None
        # What was decided says so itself; data only say that they counted.
        tells = takes_back or cause != check_in_id
        paying = rules.Reason.of_cap(capped_by) if capped_by else rules.Reason.COMPLETED
        reason = paying if tells and not is_pending else None
        await _award(session, member_id, cause, allowed.points, reason)
    now_paid = _Paying(state, awarded, capped_by, revision)
    done = await _store(session, found, now_paid, now=now)
    before = (found.stored.state, found.stored.done, found.row.points_awarded)
    return Settling(
        has_changed=(state, done, awarded) != before, moved=awarded - found.row.points_awarded
    )


@dataclass(frozen=True, slots=True)
class _Paying:
    """What becomes of the task."""

    state: rules.TaskState
    points: int
    capped_by: str | None
    revision: int


async def _store(
    session: AsyncSession, found: _Standing, paying: _Paying, *, now: datetime
) -> Decimal:
    """The progress that is stored with it."""
    facts, done = found.facts, found.done(found.facts.check_ins)
    is_done = paying.state is rules.TaskState.DONE
    keys = {
        "member_id": found.member_id,
        "assignment_id": found.assignment.id,
        "starts_on": facts.span.starts_on,
    }
    if paying.state is not rules.TaskState.IN_REVIEW:
        told = rules.Reason.ALREADY_COMPLETE if is_done else rules.Reason.COUNTED
        await session.execute(_TELL_OTHERS, {**keys, "reason": told})
    await session.execute(
        _STORE_TASK,
        {
            **keys,
            "state": paying.state,
            "done": done,
            "points_awarded": paying.points,
            "capped_by": paying.capped_by,
            "revision": paying.revision,
            "participated": is_done
            and rules.participated(
                facts.kind,
                facts.check_ins,
                target=facts.target,
                span=facts.span,
                paused_days=facts.paused_days,
            ),
            "completed_at": (found.row.completed_at or now) if is_done else None,
        },
    )
    if found.is_closed:
        await _restate_month(session, found.member_id, facts.span, now)
    return done


async def _load(
    session: AsyncSession, member_id: UUID, assignment_id: UUID, starts_on: date
) -> _Standing:
    keys = {"member_id": member_id, "assignment_id": assignment_id, "starts_on": starts_on}
    row = (await session.execute(_TASK, keys)).one()
    assignment = Assignment._make(row[_ASSIGNMENT_AT:_TASK_AT])
    stored = Stored._make(row[_TASK_AT:])
    span = rules.Span(stored.starts_on, stored.ends_on)
    pauses = queries.pauses_of(row.pauses)
    facts = rules.TaskFacts(
        kind=rules.TaskKind(assignment.kind),
        span=span,
        # What the check-ins make of it is what is asked.
        state=rules.TaskState.OPEN,
        target=stored.target,
        unit=assignment.unit,
        value_min=assignment.value_min,
        value_max=assignment.value_max,
        per_day=assignment.per_day,
        points=assignment.points,
        late_data_days=assignment.late_data_days,
        check_ins=[rules.Counted(*found[1:]) for found in row.check_ins],
        paused_days=rules.paused_days(pauses, span),
    )
    return _Standing(member_id, row, assignment, stored, facts)


@dataclass(frozen=True, slots=True)
class _Earned:
    check_in_id: UUID
    points: int
    """Before the caps."""
    revision: int
    is_pending: bool
    corrects: UUID | None


async def _earn(
    session: AsyncSession, found: _Standing, earned: _Earned, *, now: datetime
) -> Allowed:
    """Pay for the task within the caps as they are now; how many points, and which cap."""
    day = found.earns_on(earned.check_in_id)
    keys = {"member_id": found.member_id, "assignment_id": found.assignment.id, "day": day}
    ever, days, by_rule, counted, *limits = (await session.execute(_CAPS, keys)).one()
    in_force = caps.caps(
        caps.Limits._make(limits),
        caps.earned(days, by_rule, counted),
        day=day,
        earned_ever=ever,
    )
    allowed = within(earned.points, in_force)
    if allowed.points == 0:
        return allowed
    row, zone = found.row, civil_time.zone(found.row.time_zone)
    today = civil_time.local_date(now, zone)
    # What waits is an earning of its own: the one that it follows was decided already.
    corrects = None if earned.is_pending else earned.corrects
    await points.earn(
        session,
        member_id=found.member_id,
        amount=allowed.points,
        cause=points.Cause(
            points_rules.CauseKind.CHECK_IN,
            earned.check_in_id,
            cause_key(found.assignment.id, found.facts.span.starts_on, earned.revision),
        ),
        rule=points.Rule(row.product_version_id, row.rule_code),
        local_date=day,
        # The days on which it was being decided are not taken from those to spend it.
        expires=points_rules.expiry(today, row.expires_after_months, zone),
        now=now,
        pending=earned.is_pending,
        kind=TransferKind.EARNED if corrects is None else TransferKind.ADJUSTED,
        corrects=corrects,
    )
    return allowed


async def _award(
    session: AsyncSession,
    member_id: UUID,
    check_in_id: UUID | None,
    amount: int,
    reason: rules.Reason | None,
) -> None:
    values = {"member_id": member_id, "id": check_in_id, "points": amount, "reason": reason}
    await session.execute(_STORE_CHECK_IN, values)


async def _restate_month(
    session: AsyncSession, member_id: UUID, span: rules.Span, now: datetime
) -> None:
    month = span.ends_on.replace(day=1).isoformat()
    await queue.enqueue(
        session,
        "health_tasks.restate_month",
        {"member_id": str(member_id), "month": month},
        now=now,
        dedupe_key=f"restate:{member_id}:{month}",
    )
