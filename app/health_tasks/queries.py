"""What a member's tasks look like: stored, or not yet."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, Date, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app import civil_time
from app.health_tasks import rules
from app.health_tasks.kinds import task_state
from app.health_tasks.periods import period_by_value
from app.members.rules import ConsentState, PausedDays, paused_on, shows_health

AHEAD_MAX_DAYS = 14
"""How far ahead a phone may ask for tasks."""

ASSIGNMENT_COLUMNS = """a.id, a.kind, a.period, a.target, a.unit, a.value_min, a.value_max, a.per_day,
  a.points, a.late_data_days, a.verification, a.title_zh, a.title_en, a.starts_on, a.ends_on"""
TASK_COLUMNS = "t.starts_on, t.ends_on, t.due_at, t.target, t.done, t.state, t.closed_at"
CHECK_IN_COLUMNS = """c.id, c.occurred_at, c.local_date, c.slot, c.value, c.state, c.points_awarded,
  c.reason_code, c.decision_note"""
LATEST = """left join checkins c on c.member_id = t.member_id and c.id = t.latest_check_in_id"""

CONSENT = """(select c.state from consents c
  where c.member_id = members.member_id and c.purpose = 'HEALTH_DATA'
  order by c.version desc limit 1)"""
"""The consent to the use of health data in force; null when never asked."""

_PLAN = text(f"""
select {CONSENT},
  array(select row(p.starts_on, p.ends_on) from pauses p where p.member_id = members.member_id),
  array(select row({ASSIGNMENT_COLUMNS}) from task_assignments a
    where a.member_id = members.member_id and a.starts_on <= :to_date
    and (a.ends_on is null or a.ends_on >= :from_date)),
  members.time_zone
from members where members.member_id = :member_id
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("from_date", type_=Date),
    bindparam("to_date", type_=Date),
)
_STORED = text(f"""
select t.assignment_id, {TASK_COLUMNS}, {CHECK_IN_COLUMNS}
from unnest(:assignment_ids, :starts) as wanted (assignment_id, starts_on)
join tasks t on t.member_id = :member_id and t.assignment_id = wanted.assignment_id
  and t.starts_on = wanted.starts_on
{LATEST}
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("assignment_ids", type_=ARRAY(Uuid)),
    bindparam("starts", type_=ARRAY(Date)),
)


class Assignment(NamedTuple):
    """The columns of `ASSIGNMENT_COLUMNS`, in their order."""

    id: UUID
    kind: str
    period: str
    target: Decimal
    unit: str
    value_min: Decimal
    value_max: Decimal
    per_day: int
    points: int
    late_data_days: int
    verification: str
    title_zh: str
    title_en: str
    starts_on: date
    ends_on: date | None

    def span_of(self, day: date) -> rules.Span | None:
        return rules.period_of(
            period_by_value(self.period),
            day,
            assigned_from=self.starts_on,
            assigned_to=self.ends_on,
        )

    def spans(self, days: rules.Span) -> list[rules.Span]:
        return rules.periods_touching(
            period_by_value(self.period),
            days,
            assigned_from=self.starts_on,
            assigned_to=self.ends_on,
        )

    def target_in(self, span: rules.Span) -> Decimal:
        return rules.target_in(self.target, period_by_value(self.period), span)


class Stored(NamedTuple):
    """The columns of `TASK_COLUMNS`, in their order."""

    starts_on: date
    ends_on: date
    due_at: datetime
    target: Decimal
    done: Decimal
    state: str
    closed_at: datetime | None


class LatestCheckIn(NamedTuple):
    """The columns of `CHECK_IN_COLUMNS`, in their order."""

    id: UUID
    occurred_at: datetime
    local_date: date
    slot: int
    value: Decimal | None
    state: str
    points_awarded: int
    reason_code: str
    decision_note: str | None = None


Found = tuple[Stored | None, LatestCheckIn | None]
NOT_STORED: Found = (None, None)


class Standing(NamedTuple):
    """What decides how an unfinished task looks."""

    consent: ConsentState
    pauses: Sequence[PausedDays]
    today: date
    zone: ZoneInfo


class TaskView(NamedTuple):
    """One task in one period as a member sees it, whether its row is there or not."""

    assignment: Assignment
    span: rules.Span
    due_at: datetime
    target: Decimal
    done: Decimal
    state: rules.TaskState
    latest: LatestCheckIn | None


_CONSENTS = {it.value: it for it in ConsentState}


def consent_of(state: str | None) -> ConsentState:
    return _CONSENTS[state] if state else ConsentState.NOT_ASKED


def pauses_of(rows: Iterable[Sequence[Any]]) -> list[PausedDays]:
    return [PausedDays(starts_on, ends_on) for starts_on, ends_on in rows]


def view(
    assignment: Assignment,
    span: rules.Span,
    found: Found,
    standing: Standing,
) -> TaskView:
    stored, latest = found
    state = task_state(stored.state) if stored else rules.TaskState.OPEN
    over = span.ends_on < standing.today
    return TaskView(
        assignment=assignment,
        span=span,
        # What the clock has closed, and travel has brought back, ends when its last day ends here.
        due_at=stored.due_at
        if stored and (over or stored.closed_at is None)
        else civil_time.end_of_day(span.ends_on, standing.zone),
        target=stored.target if stored else assignment.target_in(span),
        done=stored.done if stored else Decimal(0),
        state=shown(state, span, standing),
        latest=latest,
    )


async def tasks(
    connection: AsyncConnection,
    *,
    member_id: UUID,
    days: rules.Span,
    after: tuple[date, UUID] | None,
    limit: int,
    now: datetime,
    own: bool,
) -> list[TaskView]:
    """The first `limit` tasks whose period touches `days`, by first day, after a key.

    Two statements, whatever `limit` is: what is asked of the member, then what is stored.
    """
    standing, assignments = await _plan(connection, member_id, days, now)
    if not shows_health(standing.consent, own=own):
        return []
    wanted = _page([_keyed(assignment, days, after) for assignment in assignments], limit)
    stored = await _stored_tasks(connection, member_id, wanted)
    return [
        view(assignment, span, stored.get((assignment.id, span.starts_on), NOT_STORED), standing)
        for assignment, span in wanted
    ]


async def task(
    connection: AsyncConnection,
    *,
    member_id: UUID,
    assignment_id: UUID,
    starts_on: date,
    now: datetime,
    own: bool,
    ahead: int = AHEAD_MAX_DAYS,
) -> TaskView | None:
    """One task by its key; None when it is no period's, or begins in more than `ahead` days."""
    days = rules.Span(starts_on, starts_on)
    standing, assignments = await _plan(connection, member_id, days, now)
    if not shows_health(standing.consent, own=own):
        return None
    if starts_on > standing.today + timedelta(days=ahead):
        return None
    for assignment in assignments:
        span = assignment.span_of(starts_on)
        if assignment.id == assignment_id and span is not None and span.starts_on == starts_on:
            stored = await _stored_tasks(connection, member_id, [(assignment, span)])
            found = stored.get((assignment_id, starts_on), NOT_STORED)
            return view(assignment, span, found, standing)
    return None


def shown(state: rules.TaskState, span: rules.Span, standing: Standing) -> rules.TaskState:
    """Unfinished and not over: what stands in its way now. A period that travel has brought
    back is not over, even if the clock closed it."""
    if state in (rules.TaskState.DONE, rules.TaskState.IN_REVIEW):
        return state
    if span.ends_on < standing.today:
        return state
    if standing.consent is ConsentState.REFUSED:
        return rules.TaskState.CONSENT_REFUSED
    if standing.consent is ConsentState.WITHDRAWN:
        return rules.TaskState.CONSENT_WITHDRAWN
    if paused_on(standing.pauses, max(standing.today, span.starts_on)):
        return rules.TaskState.PAUSED
    return rules.TaskState.OPEN


async def _plan(
    connection: AsyncConnection, member_id: UUID, days: rules.Span, now: datetime
) -> tuple[Standing, list[Assignment]]:
    """Where a member stands, and what is asked of them on some day of `days`."""
    parameters = {"member_id": member_id, "from_date": days.starts_on, "to_date": days.ends_on}
    row = (await connection.execute(_PLAN, parameters)).one_or_none()
    if row is None:
        return Standing(ConsentState.NOT_ASKED, (), now.date(), ZoneInfo("UTC")), []
    consent, pauses, assignments, zone_name = row
    zone = civil_time.zone(zone_name)
    standing = Standing(
        consent_of(consent), pauses_of(pauses), civil_time.local_date(now, zone), zone
    )
    return standing, [Assignment._make(found) for found in assignments]


async def tasks_of_keys(
    connection: AsyncConnection,
    *,
    member_id: UUID,
    keys: Sequence[tuple[UUID, date]],
    now: datetime,
    own: bool,
) -> list[TaskView]:
    """Tasks by assignment and first day, in this order; two statements, however many."""
    if not keys:
        return []
    starts = [starts_on for _, starts_on in keys]
    days = rules.Span(min(starts), max(starts))
    standing, assignments = await _plan(connection, member_id, days, now)
    if not shows_health(standing.consent, own=own):
        return []
    known = {assignment.id: assignment for assignment in assignments}
    spans = [(known[id], known[id].span_of(starts_on)) for id, starts_on in keys if id in known]
    wanted = [(assignment, span) for assignment, span in spans if span is not None]
    stored = await _stored_tasks(connection, member_id, wanted)
    return [
        view(assignment, span, stored.get((assignment.id, span.starts_on), NOT_STORED), standing)
        for assignment, span in wanted
    ]


Key = tuple[date, UUID]
Wanted = tuple[Assignment, rules.Span]


def _keyed(
    assignment: Assignment, days: rules.Span, after: Key | None
) -> Iterator[tuple[Key, Wanted]]:
    """The periods of one assignment that touch `days` and come after a key, in order."""
    first = days.starts_on
    if after is not None and after[0] > first:
        first = after[0]
    for span in assignment.spans(rules.Span(first, days.ends_on)):
        key = (span.starts_on, assignment.id)
        if after is None or key > after:
            yield key, (assignment, span)


def _page(streams: Sequence[Iterator[tuple[Key, Wanted]]], limit: int) -> list[Wanted]:
    ordered = merge(*streams, key=lambda item: item[0])
    return [wanted for _, wanted in islice(ordered, limit)]


async def _stored_tasks(
    connection: AsyncConnection, member_id: UUID, wanted: Sequence[Wanted]
) -> dict[tuple[UUID, date], Found]:
    parameters = {
        "member_id": member_id,
        "assignment_ids": [assignment.id for assignment, _ in wanted],
        "starts": [span.starts_on for _, span in wanted],
    }
    found: dict[tuple[UUID, date], Found] = {}
    for assignment_id, *row in await connection.execute(_STORED, parameters):
        stored, latest = _stored(row)
        assert stored is not None
        found[assignment_id, stored.starts_on] = (stored, latest)
    return found


def _stored(row: Sequence[Any]) -> Found:
    """What a left join found, from the columns of `TASK_COLUMNS` and `CHECK_IN_COLUMNS`."""
    width = len(Stored._fields)
    if row[0] is None:
        return None, None
    latest = LatestCheckIn._make(row[width:]) if row[width] is not None else None
    return Stored._make(row[:width]), latest
