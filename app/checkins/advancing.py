"""What readings and totals make of tasks: no tap is needed.

The data of a local day make one check-in of each task that they may complete, in a slot of its
own. When the data change, so does that check-in, and the task is settled anew: what it pays is
paid, and what it pays no longer is taken back by an entry of its own.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, Boolean, Date, DateTime, Text, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.checkins.settling import settle_task
from app.columns import QUANTITY
from app.db import Statement, fetch
from app.health_tasks import rules
from app.health_tasks.measured import (
    DATA_COLUMNS,
    SLOT,
    Added,
    DataOfDay,
    DataRule,
    Measured,
    Readings,
    measured,
    stays,
)
from app.health_tasks.queries import ASSIGNMENT_COLUMNS, Assignment, pauses_of
from app.health_tasks.service import lock_wallet
from app.ids import new_id
from app.measurements.catalogue import RecordedAs, quantities
from app.members.rules import PausedDays, paused_on

SYSTOLIC, DIASTOLIC = "SYSTOLIC_BP", "DIASTOLIC_BP"
_INSTANT = DateTime(timezone=True)
_ASKED = Statement(
    f"""
select m.time_zone,
  array(select row(p.starts_on, p.ends_on) from pauses p where p.member_id = m.member_id),
  array(select row(
      array(select row(c.starts_on, c.local_date) from checkins c
        where c.member_id = a.member_id and c.assignment_id = a.id and c.slot = {SLOT}
        and c.starts_on >= case a.period when 'once' then a.starts_on else :from_date - 31 end
        and c.local_date between :from_date and :to_date
        and c.state <> 'REJECTED' and c.value is null),
      {DATA_COLUMNS}, {ASSIGNMENT_COLUMNS})
    from task_assignments a
    where a.member_id = m.member_id and a.data_code = any(:codes)
    and a.starts_on <= :to_date and (a.ends_on is null or a.ends_on >= :from_date))
from members m where m.member_id = :member_id
""",
    {"member_id": "uuid", "codes": "text[]", "from_date": "date", "to_date": "date"},
)
"""Of each task also the days that count already, without a value of their own."""
_READINGS = "count(*){0}, min(x.value){0}, max(x.value){0}, sum(x.value){0}, max(x.measured_at){0}"
_DATA = text(f"""
select wanted.code, wanted.day, d.value, d.trusted_value, r.*
from unnest(:codes, :days) as wanted (code, day)
left join daily_total_days d on d.member_id = :member_id and d.code = wanted.code
  and d.local_date = wanted.day
cross join lateral (
  select {_READINGS.format("")},
    {_READINGS.format(" filter (where x.trust in ('HIGH', 'MEDIUM'))")}
  from measurements x where x.member_id = :member_id and x.code = wanted.code
  -- A local day lies within these instants, in every zone.
  and x.measured_at >= wanted.day - interval '1 day'
  and x.measured_at < wanted.day + interval '2 days'
  and x.local_date = wanted.day and x.superseded_at is null
  -- An answer about a habit says nothing of this day.
  and x.source_id not like 'questionnaire:%'
  -- Half a blood pressure is none.
  and (x.code <> '{SYSTOLIC}' or exists (select from measurements h
    where h.member_id = x.member_id and h.code = '{DIASTOLIC}' and h.measured_at = x.measured_at
    and h.source_id = x.source_id and h.superseded_at is null))) r
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("days", type_=ARRAY(Date)),
)
_KNOWN = text(f"""
select c.assignment_id, c.starts_on, c.local_date, c.id, c.value, c.state
from unnest(:assignment_ids, :starts_on, :days) as wanted (assignment_id, starts_on, day)
join checkins c on c.member_id = :member_id and c.assignment_id = wanted.assignment_id
  and c.starts_on = wanted.starts_on and c.local_date = wanted.day and c.slot = {SLOT}
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("assignment_ids", type_=ARRAY(Uuid)),
    bindparam("starts_on", type_=ARRAY(Date)),
    bindparam("days", type_=ARRAY(Date)),
)
_OPEN = text("""
insert into tasks (member_id, assignment_id, starts_on, ends_on, starts_at, due_at, target, done,
  points, state, points_awarded, revision, participated)
select :member_id, w.assignment_id, w.starts_on, w.ends_on, w.starts_at, w.due_at, w.target, 0,
  a.points, 'OPEN', 0, 0, false
from unnest(:assignment_ids, :starts_on, :ends_on, :starts_at, :due_at, :targets)
  as w (assignment_id, starts_on, ends_on, starts_at, due_at, target)
join task_assignments a on a.member_id = :member_id and a.id = w.assignment_id
on conflict do nothing
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("assignment_ids", type_=ARRAY(Uuid)),
    bindparam("starts_on", type_=ARRAY(Date)),
    bindparam("ends_on", type_=ARRAY(Date)),
    bindparam("starts_at", type_=ARRAY(_INSTANT)),
    bindparam("due_at", type_=ARRAY(_INSTANT)),
    bindparam("targets", type_=ARRAY(QUANTITY)),
)
_KEEP = text(f"""
insert into checkins as c (member_id, id, assignment_id, starts_on, local_date, slot, value,
  occurred_at, received_at, state, counts, points_awarded, reason_code, request_id, acted_by)
select :member_id, w.id, w.assignment_id, w.starts_on, w.day, {SLOT}, w.value, w.occurred_at,
  :now, w.state, w.counts, 0, w.reason, :request_id, :acted_by
from unnest(:ids, :assignment_ids, :starts_on, :days, :values, :occurred_at, :states, :counts,
  :reasons) as w (id, assignment_id, starts_on, day, value, occurred_at, state, counts, reason)
on conflict (member_id, assignment_id, starts_on, local_date, slot) do update
set value = excluded.value, state = excluded.state,
  -- What was paid for says so until it is taken back.
  reason_code = case when c.points_awarded > 0 and c.state = excluded.state then c.reason_code
    else excluded.reason_code end,
  occurred_at = excluded.occurred_at, received_at = excluded.received_at
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("now", type_=_INSTANT),
    bindparam("request_id", type_=Uuid),
    bindparam("acted_by", type_=Uuid),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("assignment_ids", type_=ARRAY(Uuid)),
    bindparam("starts_on", type_=ARRAY(Date)),
    bindparam("days", type_=ARRAY(Date)),
    bindparam("values", type_=ARRAY(QUANTITY)),
    bindparam("occurred_at", type_=ARRAY(_INSTANT)),
    bindparam("states", type_=ARRAY(Text)),
    bindparam("counts", type_=ARRAY(Boolean)),
    bindparam("reasons", type_=ARRAY(Text)),
)
_LATEST = text("""
update tasks t set latest_check_in_id = c.id, latest_occurred_at = c.occurred_at
from (select distinct on (assignment_id, starts_on) assignment_id, starts_on, id, occurred_at
  from checkins where member_id = :member_id
  and (assignment_id, starts_on) in (select * from unnest(:assignment_ids, :starts_on))
  order by assignment_id, starts_on, occurred_at desc, slot desc) c
where t.member_id = :member_id and t.assignment_id = c.assignment_id
  and t.starts_on = c.starts_on
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("assignment_ids", type_=ARRAY(Uuid)),
    bindparam("starts_on", type_=ARRAY(Date)),
)


@dataclass(frozen=True, slots=True)
class Advanced:
    """Tasks that look different now: assignment and first day of the period."""

    tasks: Sequence[tuple[UUID, date]] = ()
    points_moved: bool = False


class _Asked(NamedTuple):
    """A task on one local day, as it is asked of the member."""

    rule: DataRule
    assignment: Assignment
    span: rules.Span
    day: date
    counts: bool
    """Its data made an accepted check-in without a value already."""

    @property
    def key(self) -> tuple[UUID, date, date]:
        return self.assignment.id, self.span.starts_on, self.day

    def stays(self, added: Callable[[str, date], Added | None]) -> bool:
        """Whether what was added cannot change it."""
        new = added(self.rule.code, self.day) if self.counts else None
        kind = rules.TaskKind(self.assignment.kind)
        return new is not None and stays(kind, self.rule, new, adds_up=_adds_up(self.rule.code))


@dataclass(frozen=True, slots=True)
class _CheckIn:
    """What the data of a day make of a task."""

    asked: _Asked
    id: UUID
    found: Measured
    is_accepted: bool

    @property
    def value(self) -> Decimal | None:
        return self.found.value if self.is_accepted else None


async def advance(
    session: AsyncSession,
    *,
    member_id: UUID,
    touched: Collection[tuple[str, date]],
    request_id: UUID,
    acted_by: UUID,
    now: datetime,
    added: Callable[[str, date], Added | None] = lambda _code, _day: None,
) -> Advanced:
    """Have the tasks follow the data of these codes on these local days, as they are stored
    now; the wallet is locked from here to the end of the transaction. The caller holds
    `measurements.service.lock`. Days from before what
    the task's product accepts as late data change nothing. `added` says of a code and a day
    what is new, None when more than that changed: where it leaves a task as it is, the day's other
    data are not read."""
    if not touched:
        return Advanced()
    # Tasks name the first half of a pair; the second one may come alone.
    touched = {*touched, *((SYSTOLIC, day) for code, day in touched if code == DIASTOLIC)}
    days = [day for _, day in touched]
    parameters = {
        "member_id": member_id,
        "codes": sorted({code for code, _ in touched}),
        "from_date": min(days),
        "to_date": max(days),
    }
    [(zone_name, pauses, asked)] = await fetch(session, _ASKED, parameters)
    if not asked:
        return Advanced()
    zone = civil_time.zone(zone_name)
    wanted = [
        it
        for it in _wanted(asked, touched, today=civil_time.local_date(now, zone))
        if not it.stays(added)
    ]
    if not wanted:
        return Advanced()
    await lock_wallet(session, member_id)
    changed = await _changed(session, member_id, wanted, now=now)
    if not changed:
        return Advanced()
    await _open(session, member_id, changed, zone)
    await _keep(
        session, member_id, changed, pauses_of(pauses), zone,
        {"request_id": request_id, "acted_by": acted_by, "now": now},
    )  # fmt: skip
    return await _settle(session, member_id, changed, now=now)


def _wanted(
    asked: Iterable[Sequence[Any]], touched: Collection[tuple[str, date]], *, today: date
) -> Iterator[_Asked]:
    width = len(DataRule._fields)
    for counting, *row in asked:
        rule, assignment = DataRule._make(row[:width]), Assignment._make(row[width:])
        counted = {tuple(it) for it in counting}
        first = today - timedelta(days=assignment.late_data_days)
        for code, day in touched:
            span = assignment.span_of(day) if code == rule.code and day >= first else None
            if span is not None:
                yield _Asked(rule, assignment, span, day, (span.starts_on, day) in counted)


async def _changed(
    session: AsyncSession, member_id: UUID, wanted: Sequence[_Asked], *, now: datetime
) -> list[_CheckIn]:
    """The check-ins that are not as the data have them."""
    pairs = sorted({(asked.rule.code, asked.day) for asked in wanted})
    columns = {"codes": [code for code, _ in pairs], "days": [day for _, day in pairs]}
    rows = await session.execute(_DATA, {"member_id": member_id, **columns})
    data = {(code, day): _data(found) for code, day, *found in rows}
    keys = {
        "assignment_ids": [asked.assignment.id for asked in wanted],
        "starts_on": [asked.span.starts_on for asked in wanted],
        "days": [asked.day for asked in wanted],
    }
    stored = await session.execute(_KNOWN, {"member_id": member_id, **keys})
    known = {(row[0], row[1], row[2]): row[3:] for row in stored}
    found = (
        _check_in(asked, data[asked.rule.code, asked.day], known.get(asked.key), now=now)
        for asked in wanted
    )
    return [check_in for check_in in found if check_in is not None]


def _data(row: Sequence[Any]) -> DataOfDay:
    total, trusted_total, *readings = row
    width = len(Readings._fields)
    return DataOfDay(total, trusted_total, Readings(*readings[:width]), Readings(*readings[width:]))


def _check_in(
    asked: _Asked, data: DataOfDay, known: Sequence[Any] | None, *, now: datetime
) -> _CheckIn | None:
    """What is to be kept; None when there is nothing to keep, or it is kept already."""
    kind = rules.TaskKind(asked.assignment.kind)
    found = measured(kind, asked.rule, data, adds_up=_adds_up(asked.rule.code)) or Measured(
        False, None, None
    )
    if known is None:
        # Only of abstaining do data deny what was ticked.
        if not found.qualifies and (kind is not rules.TaskKind.ABSTAIN or _is_empty(data)):
            return None
        return _CheckIn(asked, new_id(now), found, found.qualifies)
    check_in = _CheckIn(asked, known[0], found, found.qualifies)
    was_accepted = known[2] != rules.CheckInState.REJECTED
    if (check_in.value, check_in.is_accepted) == (known[1], was_accepted):
        return None
    return check_in


def _adds_up(code: str) -> bool:
    return quantities()[code].recorded_as is not RecordedAs.READING


def _is_empty(data: DataOfDay) -> bool:
    return data.total is None and data.readings.n == 0


async def _open(
    session: AsyncSession, member_id: UUID, changed: Sequence[_CheckIn], zone: ZoneInfo
) -> None:
    """Make the rows of periods that the clock has not opened."""
    periods = {(it.asked.assignment.id, it.asked.span): it.asked.assignment for it in changed}
    columns = {
        "assignment_ids": [assignment_id for assignment_id, _ in periods],
        "starts_on": [span.starts_on for _, span in periods],
        "ends_on": [span.ends_on for _, span in periods],
        "starts_at": [civil_time.start_of_day(span.starts_on, zone) for _, span in periods],
        "due_at": [civil_time.end_of_day(span.ends_on, zone) for _, span in periods],
        "targets": [assignment.target_in(key[1]) for key, assignment in periods.items()],
    }
    await session.execute(_OPEN, {"member_id": member_id, **columns})


async def _keep(
    session: AsyncSession,
    member_id: UUID,
    changed: Sequence[_CheckIn],
    pauses: Sequence[PausedDays],
    zone: ZoneInfo,
    told: dict[str, Any],
) -> None:
    accepted = (rules.CheckInState.ACCEPTED, rules.Reason.COUNTED)
    rejected = (rules.CheckInState.REJECTED, rules.Reason.DATA_CHANGED)
    states = [accepted if it.is_accepted else rejected for it in changed]
    columns = {
        "ids": [it.id for it in changed],
        "assignment_ids": [it.asked.assignment.id for it in changed],
        "starts_on": [it.asked.span.starts_on for it in changed],
        "days": [it.asked.day for it in changed],
        "values": [it.value for it in changed],
        "occurred_at": [
            it.found.at or _of_total(it.asked.day, zone, told["now"]) for it in changed
        ],
        "states": [state for state, _ in states],
        "counts": [not paused_on(pauses, it.asked.day) for it in changed],
        "reasons": [reason for _, reason in states],
    }
    await session.execute(_KEEP, {"member_id": member_id, **told, **columns})


def _of_total(day: date, zone: ZoneInfo, now: datetime) -> datetime:
    """The instant of a running total: now, or the last one of its day."""
    last = civil_time.end_of_day(day, zone) - timedelta(seconds=1)
    return max(civil_time.start_of_day(day, zone), min(now, last))


async def _settle(
    session: AsyncSession, member_id: UUID, changed: Sequence[_CheckIn], *, now: datetime
) -> Advanced:
    ordered = sorted(changed, key=lambda it: (it.asked.assignment.id, *it.asked.key[1:]))
    periods = {key: list(group) for key, group in groupby(ordered, key=lambda it: it.asked.key[:2])}
    columns = {
        "assignment_ids": [assignment_id for assignment_id, _ in periods],
        "starts_on": [starts_on for _, starts_on in periods],
    }
    await session.execute(_LATEST, {"member_id": member_id, **columns})
    tasks, points_moved = [], False
    for (assignment_id, starts_on), check_ins in periods.items():
        standing = [it for it in check_ins if it.is_accepted] or check_ins
        settled = await settle_task(
            session,
            member_id=member_id,
            assignment_id=assignment_id,
            starts_on=starts_on,
            check_in_id=standing[-1].id,
            corrects=None,
            now=now,
            takes_back=True,
        )
        if settled.has_changed:
            tasks.append((assignment_id, starts_on))
        points_moved = points_moved or settled.moved != 0
    return Advanced(tasks, points_moved)
