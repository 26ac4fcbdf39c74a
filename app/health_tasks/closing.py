"""The clock's side: periods are settled and closed, the next ones opened, months recorded.

Members are taken in batches. Each batch locks its members' wallets, and raises their versions,
before it looks: a check-in that was decided on the open period then finds another version and
is decided again on the closed one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, Boolean, Date, DateTime, Integer, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.columns import QUANTITY
from app.health_tasks import rules
from app.health_tasks.closing_members import Member, load_members
from app.health_tasks.models import ParticipationMonth
from app.health_tasks.paying import Payment, cap, pay
from app.health_tasks.queries import ASSIGNMENT_COLUMNS, Assignment
from app.health_tasks.service import Month, month_row
from app.measurements.devices_rules import was_silent
from app.members.rules import ConsentState
from app.points import rules as points_rules
from app.points import service as points

_INSTANT = DateTime(timezone=True)
_ROWS_PER_MEMBER = 20
"""How many due tasks a member may have for a batch to fill up."""

_LOCK = text("""
with due as (
  (select member_id from tasks where closed_at is null and due_at <= :now
    order by due_at limit :rows)
  union
  (select member_id from participation_months where closed_at is null and closes_at <= :now
    order by closes_at limit :rows)),
held as (
  select member_id from wallets where member_id in (select member_id from due)
  order by member_id limit :members for no key update skip locked)
update wallets set version = version + 1 from held where wallets.member_id = held.member_id
returning wallets.member_id
""").bindparams(
    bindparam("now", type_=_INSTANT),
    bindparam("rows", type_=Integer),
    bindparam("members", type_=Integer),
)
_LOCK_ONE = text("select 1 from wallets where member_id = :member_id for no key update").bindparams(
    bindparam("member_id", type_=Uuid)
)
_DUE = text(f"""
select t.member_id, t.starts_on, t.ends_on, t.starts_at, t.due_at, t.done, t.state,
  t.points_awarded, t.capped_by, t.participated, t.completed_at, t.latest_check_in_id,
  a.expires_after_months, a.product_version_id, a.rule_code, a.data_code,
  array(select row(c.local_date, c.value, c.counts, c.slot, c.occurred_at, c.state) from checkins c
    where t.latest_check_in_id is not null
    and c.member_id = t.member_id and c.assignment_id = t.assignment_id
    and c.local_date >= t.starts_on and c.starts_on = t.starts_on),
  {ASSIGNMENT_COLUMNS}
from tasks t join task_assignments a on a.member_id = t.member_id and a.id = t.assignment_id
where t.member_id = any(:member_ids) and t.closed_at is null and t.due_at <= :now
order by t.member_id, t.assignment_id, t.starts_on
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("now", type_=_INSTANT))
_COLUMNS: dict[str, Any] = {
    "member_id": Uuid,
    "assignment_id": Uuid,
    "starts_on": Date,
    "ends_on": Date,
    "starts_at": _INSTANT,
    "due_at": _INSTANT,
    "target": QUANTITY,
    "done": QUANTITY,
    "points": Integer,
    "state": Text,
    "points_awarded": Integer,
    "capped_by": Text,
    "revision": Integer,
    "participated": Boolean,
    "completed_at": _INSTANT,
    "closed_at": _INSTANT,
}
_WRITE = text(f"""
insert into tasks as t ({", ".join(_COLUMNS)})
select * from unnest({", ".join(f":{name}" for name in _COLUMNS)})
on conflict (member_id, assignment_id, starts_on) do update set state = excluded.state,
  points_awarded = excluded.points_awarded, capped_by = excluded.capped_by,
  participated = excluded.participated, completed_at = excluded.completed_at, closed_at = excluded.closed_at
where t.closed_at is null and excluded.closed_at is not null
""").bindparams(*(bindparam(name, type_=ARRAY(kind)) for name, kind in _COLUMNS.items()))
_MONTHS = text("""
select p.member_id, p.month, array(select row(t.state, t.participated) from tasks t
  where t.member_id = p.member_id and t.closed_at is not null and t.ends_on >= p.month
  and t.ends_on < p.month + interval '1 month')
from participation_months p where p.member_id = any(:member_ids)
and case when :month is null then p.closed_at is null and p.closes_at <= :now
  else p.closed_at is not null and p.month = :month end
for update of p
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("now", type_=_INSTANT),
    bindparam("month", type_=Date),
)
# What a restated month was before is kept: a premium may rest on it.
_RECORD = text("""
with r as (
  select * from unnest(:member_ids, :months, :due, :done, :percent, :paused, :silent, :refused,
    :withdrawn) as r (member_id, month, due, done, percent, paused, silent, refused, withdrawn)),
differs as (
  select p.* from participation_months p join r using (member_id, month)
  where p.closed_at is null or (p.due, p.done, p.paused, p.silent, p.refused, p.withdrawn)
    is distinct from (r.due, r.done, r.paused, r.silent, r.refused, r.withdrawn)),
restated as (
  insert into participation_restatements
    (member_id, month, changed_at, due, done, percent, paused, silent, refused, withdrawn)
  select member_id, month, changed_at, due, done, percent, paused, silent, refused, withdrawn
  from differs where closed_at is not null and changed_at < :now
  on conflict do nothing)
update participation_months p set due = r.due, done = r.done, percent = r.percent,
  paused = r.paused, silent = r.silent, refused = r.refused, withdrawn = r.withdrawn,
  closed_at = coalesce(p.closed_at, :now), changed_at = :now
from r join differs using (member_id, month)
where p.member_id = r.member_id and p.month = r.month
""").bindparams(
    bindparam("now", type_=_INSTANT),
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("months", type_=ARRAY(Date)),
    bindparam("due", type_=ARRAY(Integer)),
    bindparam("done", type_=ARRAY(Integer)),
    bindparam("percent", type_=ARRAY(QUANTITY)),
    *(bindparam(it, type_=ARRAY(Integer)) for it in ("paused", "silent", "refused", "withdrawn")),
)


class _Due(NamedTuple):
    """The columns of `_DUE`, in their order, up to those of the assignment."""

    member_id: UUID
    starts_on: date
    ends_on: date
    starts_at: datetime
    due_at: datetime
    done: Decimal
    state: str
    points_awarded: int
    capped_by: str | None
    participated: bool
    completed_at: datetime | None
    latest_check_in_id: UUID | None
    expires_after_months: int
    product_version_id: UUID
    rule_code: str
    data_code: str | None
    check_ins: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Closed:
    """What one batch did, to be told after its commit."""

    members: int
    tasks: Sequence[tuple[UUID, UUID, date]] = ()
    """Member, assignment and first day of each period that somebody may have on screen."""
    paid: frozenset[UUID] = frozenset()
    """Members who got points."""


async def close_batch(session: AsyncSession, *, members: int, now: datetime) -> Closed:
    """Settle and close what is due at `now` for up to `members` members, open what follows
    and record their months. Members that somebody else is writing are left for the next
    time; no member at all means that nothing is due."""
    limits = {"now": now, "members": members, "rows": members * _ROWS_PER_MEMBER}
    member_ids = list((await session.execute(_LOCK, limits)).scalars())
    if not member_ids:
        return Closed(0)
    known = await load_members(session, member_ids)
    due = await session.execute(_DUE, {"member_ids": member_ids, "now": now})
    width = len(_Due._fields)
    pairs = [(_Due._make(row[:width]), Assignment._make(row[width:])) for row in due]
    rows: list[dict[str, Any]] = []
    payments: list[Payment] = []
    for _, group in groupby(pairs, key=lambda pair: (pair[0].member_id, pair[1].id)):
        periods = list(group)
        member = known[periods[0][0].member_id]
        closed, paid = _close_assignment(periods, member, now=now)
        rows += closed
        payments += paid
    await cap(session, payments)
    if rows:
        columns = {name: [row[name] for row in rows] for name in _COLUMNS}
        await session.execute(_WRITE, columns)
    for payment in payments:
        await pay(session, payment, now=now)
    await _open_months(session, known, now=now)
    await _record_months(session, member_ids, month=None, now=now)
    return Closed(
        len(member_ids),
        tasks=[(period.member_id, assignment.id, period.starts_on) for period, assignment in pairs],
        paid=frozenset(payment.member_id for payment in payments if payment.points),
    )


async def restate_month(
    session: AsyncSession, *, member_id: UUID, month: date, now: datetime
) -> None:
    """Record a closed month anew, after a late check-in; `changed_at` moves if it differs.
    A month that is still open will count the check-in when it closes."""
    lock = {"member_id": member_id}
    await session.execute(_LOCK_ONE, lock)
    await _record_months(session, [member_id], month=month, now=now)


def _close_assignment(
    periods: Sequence[tuple[_Due, Assignment]], member: Member, *, now: datetime
) -> tuple[list[dict[str, Any]], list[Payment]]:
    """Walk from the first period that is due to the one that is not over yet, in order.
    Periods that nobody opened, because no worker ran, are opened and closed at once."""
    stored = {due.starts_on: due for due, _ in periods}
    assignment, data_code = periods[0][1], periods[0][0].data_code
    rows: dict[date, dict[str, Any]] = {}
    payments: list[Payment] = []
    while stored:
        first = stored[min(stored)]
        for span in _following(assignment, rules.Span(first.starts_on, first.ends_on)):
            due = stored.pop(span.starts_on, None)
            row = _row(due, span, assignment, first.member_id, member.zone)
            # A day that the calendar of the zone skips is nobody's to miss.
            if due is None and row["starts_at"] == row["due_at"]:
                continue
            rows.setdefault(span.starts_on, row)
            if row["due_at"] > now:
                break
            earned = _settle(due, assignment, data_code, row, member, now=now)
            if earned > 0:
                assert due is not None
                payments.append(_payment(due, assignment, row, member.zone))
    return list(rows.values()), payments


def _following(assignment: Assignment, first: rules.Span) -> Iterator[rules.Span]:
    """A period and those after it, until the assignment is over."""
    span: rules.Span | None = first
    while span is not None:
        yield span
        span = rules.next_period(
            rules.Period(assignment.period),
            span,
            assigned_from=assignment.starts_on,
            assigned_to=assignment.ends_on,
        )


def _row(
    due: _Due | None, span: rules.Span, assignment: Assignment, member_id: UUID, zone: ZoneInfo
) -> dict[str, Any]:
    """A period as it is stored, or as it opens."""
    return {
        "member_id": member_id,
        "assignment_id": assignment.id,
        "starts_on": span.starts_on,
        "ends_on": span.ends_on,
        "starts_at": due.starts_at if due else civil_time.start_of_day(span.starts_on, zone),
        "due_at": due.due_at if due else civil_time.end_of_day(span.ends_on, zone),
        "target": assignment.target_in(span),
        "done": due.done if due else Decimal(0),
        "points": assignment.points,
        "state": rules.TaskState.OPEN,
        "points_awarded": due.points_awarded if due else 0,
        "capped_by": due.capped_by if due else None,
        "revision": 0,
        "participated": due.participated if due else False,
        "completed_at": due.completed_at if due else None,
        "closed_at": None,
    }


def _settle(
    due: _Due | None,
    assignment: Assignment,
    data_code: str | None,
    row: dict[str, Any],
    member: Member,
    *,
    now: datetime,
) -> int:
    """Close a period in `row`; how many points are to be paid for it, before caps."""
    span = rules.Span(row["starts_on"], row["ends_on"])
    check_ins = [rules.Counted(*found) for found in due.check_ins] if due else []
    task = rules.TaskFacts(
        kind=rules.TaskKind(assignment.kind),
        span=span,
        state=rules.TaskState(due.state) if due else rules.TaskState.OPEN,
        target=row["target"],
        unit=assignment.unit,
        value_min=assignment.value_min,
        value_max=assignment.value_max,
        per_day=assignment.per_day,
        points=assignment.points,
        late_data_days=assignment.late_data_days,
        check_ins=check_ins,
        paused_days=rules.paused_days(member.pauses, span),
    )
    # What was in force when the period ended, however late the clock comes.
    consent = member.consent_at(row["due_at"])
    by_device = assignment.verification == rules.Verification.DEVICE
    settled = rules.settle(
        task,
        consent=consent,
        device_consent=member.device_consent_at(row["due_at"])
        if by_device
        else ConsentState.NOT_ASKED,
        device_silent=by_device
        and was_silent(
            member.links, starts_at=row["starts_at"], ends_at=row["due_at"], code=data_code
        ),
    )
    row |= {"state": settled.state, "closed_at": now}
    if settled.state is rules.TaskState.DONE:
        # Also of what a check-in has completed: the pause may have ended since.
        row["participated"] = rules.participated(
            task.kind, check_ins, target=task.target, span=span, paused_days=task.paused_days
        )
    if settled.state is rules.TaskState.DONE and row["completed_at"] is None:
        row["completed_at"] = now
        row["points_awarded"] = settled.points
    return settled.points


def _payment(due: _Due, assignment: Assignment, row: dict[str, Any], zone: ZoneInfo) -> Payment:
    assert due.latest_check_in_id is not None, "paid without a check-in"
    return Payment(
        member_id=due.member_id,
        assignment_id=assignment.id,
        starts_on=due.starts_on,
        ends_on=due.ends_on,
        check_in_id=due.latest_check_in_id,
        rule=points.Rule(due.product_version_id, due.rule_code),
        expires=points_rules.expiry(due.ends_on, due.expires_after_months, zone),
        row=row,
    )


async def _open_months(
    session: AsyncSession, known: Mapping[UUID, Member], *, now: datetime
) -> None:
    """Open every month up to the present one, as long as anything is asked of the member."""
    rows = []
    for member_id, member in known.items():
        if member.latest_month is None or member.asked_until is None:
            continue
        month = Month.of(member.latest_month, member.zone)
        while month.closes_at <= now:
            month = month.following(member.zone)
            if month.first > member.asked_until:
                break
            rows.append(month_row(member_id, month, now=now))
    if rows:
        await session.execute(insert(ParticipationMonth).values(rows).on_conflict_do_nothing())


async def _record_months(
    session: AsyncSession, member_ids: Sequence[UUID], *, month: date | None, now: datetime
) -> None:
    """Record the months that are over, or a closed one anew."""
    wanted = {"member_ids": member_ids, "month": month, "now": now}
    months = (await session.execute(_MONTHS, wanted)).all()
    if not months:
        return
    shares = [
        rules.participation(
            rules.ClosedTask(rules.TaskState(state), participated) for state, participated in tasks
        )
        for _, _, tasks in months
    ]
    recorded = {
        "now": now,
        "member_ids": [row[0] for row in months],
        "months": [row[1] for row in months],
        "due": [share.due for share in shares],
        "done": [share.done for share in shares],
        "percent": [share.percent for share in shares],
        "paused": [share.paused for share in shares],
        "silent": [share.silent for share in shares],
        "refused": [share.refused for share in shares],
        "withdrawn": [share.withdrawn for share in shares],
    }
    await session.execute(_RECORD, recorded)
