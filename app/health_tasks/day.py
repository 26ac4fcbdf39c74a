"""The tasks of a member's day, as one value in the statement of the first screen."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from app import civil_time
from app.health_tasks import queries, rules
from app.health_tasks.queries import NOT_STORED, Assignment, Found, LatestCheckIn, Stored
from app.ids import read_id
from app.members.rules import PausedDays, shows_health

_PAUSED = """exists (select from pauses p where p.member_id = members.member_id
    and p.starts_on <= {day} and (p.ends_on is null or p.ends_on >= {day}))"""
_NOW = "(:now)::date"
_NUMERIC = {"a.target", "a.value_min", "a.value_max", "t.target", "t.done", "c.value"}


def _in_json(columns: str) -> str:
    """Numbers as text: as numbers they would be read as floats."""
    names = [name.strip() for name in columns.split(",")]
    return ", ".join(f"{name}::text" if name in _NUMERIC else name for name in names)


TODAY = f"""
(select json_build_array(utc.consent, utc.paused_before, utc.paused, utc.paused_after,
  (select json_agg(json_build_array({_in_json(queries.ASSIGNMENT_COLUMNS)},
      {_in_json(queries.TASK_COLUMNS)}, {_in_json(queries.CHECK_IN_COLUMNS)}))
    from task_assignments a
    left join lateral (select * from tasks t
      where t.member_id = a.member_id and t.assignment_id = a.id
      and t.starts_on between case a.period when 'day' then utc.day - 1
        when 'once' then a.starts_on else utc.day - 32 end and utc.day + 1
      and t.ends_on >= utc.day - 1 offset 0) t on true
    {queries.LATEST}
    where a.member_id = members.member_id
    and a.starts_on <= utc.day + 1 and (a.ends_on is null or a.ends_on >= utc.day - 1)))
  from (select {_NOW} as day, {queries.CONSENT} as consent,
    {_PAUSED.format(day=f"{_NOW} - 1")} as paused_before,
    {_PAUSED.format(day=_NOW)} as paused,
    {_PAUSED.format(day=f"{_NOW} + 1")} as paused_after) utc)
"""
"""Every task of the days around today (of UTC); which of them is the member's, their zone
decides. JSON, because the driver takes several times as long to read as many values in rows.
`offset 0` keeps the server from looking up the check-ins of all days before it has picked
these."""

_STORED = slice(len(Assignment._fields), len(Assignment._fields) + len(Stored._fields))
_LATEST = slice(_STORED.stop, None)
_STARTS_ON, _ENDS_ON = _STORED.start, _STORED.start + 1


def today(value: str, *, zone: ZoneInfo, now: datetime, own: bool) -> list[queries.TaskView]:
    """The tasks of the member's local day out of `TODAY`, most urgent first."""
    *standing_columns, rows = orjson.loads(value)
    day = civil_time.local_date(now, zone)
    standing = _standing(standing_columns, day, zone, now)
    if not shows_health(standing.consent, own=own):
        return []
    tasks = []
    for row in _one_each(rows or (), day.isoformat()):
        assignment, found = _read(row)
        stored = found[0]
        if stored is not None and not stored.starts_on <= day <= stored.ends_on:
            stored, found = None, NOT_STORED
        span = rules.Span(stored.starts_on, stored.ends_on) if stored else assignment.span_of(day)
        if span is not None and not _done_before(day, assignment, found):
            tasks.append(queries.view(assignment, span, found, standing))
    return sorted(tasks, key=lambda task: (*_urgency(task, day), task.assignment.id))


def _standing(columns: Sequence[Any], day: date, zone: ZoneInfo, now: datetime) -> queries.Standing:
    """From the consent, and whether the member is paused on the day before, on and after
    today in UTC."""
    consent, *paused = columns
    is_paused = paused[1 + (day - now.astimezone(UTC).date()).days]
    pauses = [PausedDays(day, day)] if is_paused else []
    return queries.Standing(queries.consent_of(consent), pauses, day, zone)


def _one_each(rows: Sequence[Sequence[Any]], day: str) -> list[Sequence[Any]]:
    """A row for each assignment: that of the period which holds `day`, if there is one. ISO
    days have the order of their texts."""
    chosen: dict[str, Sequence[Any]] = {}
    for row in rows:
        starts_on = row[_STARTS_ON]
        if starts_on is not None and starts_on <= day <= row[_ENDS_ON]:
            chosen[row[0]] = row
        else:
            chosen.setdefault(row[0], row)
    return list(chosen.values())


def _read(row: Sequence[Any]) -> tuple[Assignment, Found]:
    (
        id, kind, period, target, unit, value_min, value_max, per_day, points, late_data_days,
        verification, title_zh, title_en, starts_on, ends_on,
    ) = row[: _STORED.start]  # fmt: skip
    assignment = Assignment(
        read_id(id), kind, period, Decimal(target), unit, Decimal(value_min), Decimal(value_max),
        per_day, points, late_data_days, verification, title_zh, title_en,
        _day(starts_on), None if ends_on is None else _day(ends_on),
    )  # fmt: skip
    if row[_STARTS_ON] is None:
        return assignment, NOT_STORED
    starts_on, ends_on, due_at, target, done, state, closed_at = row[_STORED]
    stored = Stored(
        _day(starts_on),
        _day(ends_on),
        _instant(due_at),
        Decimal(target),
        Decimal(done),
        state,
        None if closed_at is None else _instant(closed_at),
    )
    return assignment, (stored, _read_latest(row[_LATEST]))


def _read_latest(row: Sequence[Any]) -> LatestCheckIn | None:
    id, occurred_at, local_date, slot, value, state, points_awarded, reason_code, note = row
    if id is None:
        return None
    return LatestCheckIn(
        read_id(id),
        _instant(occurred_at),
        _day(local_date),
        slot,
        None if value is None else Decimal(value),
        state,
        points_awarded,
        reason_code,
        note,
    )


_day = date.fromisoformat
_instant = datetime.fromisoformat


def _done_before(day: date, assignment: Assignment, found: Found) -> bool:
    """Whether a one-off task was finished on an earlier day: nothing of it is for today."""
    stored, latest = found
    return (
        assignment.period == rules.Period.ONCE
        and stored is not None
        and stored.state == rules.TaskState.DONE
        and (latest is None or latest.local_date < day)
    )


def _urgency(task: queries.TaskView, day: date) -> tuple[int, int, date]:
    assignment, latest = task.assignment, task.latest
    # Slots of a day fill from 0, so the latest one tells how many there were.
    checked_in_today = latest.slot + 1 if latest and latest.local_date == day else 0
    facts = rules.TaskFacts(
        kind=rules.TaskKind(assignment.kind),
        span=task.span,
        state=task.state,
        target=task.target,
        unit=assignment.unit,
        value_min=assignment.value_min,
        value_max=assignment.value_max,
        per_day=assignment.per_day,
        points=assignment.points,
        late_data_days=assignment.late_data_days,
        check_ins=(),
        paused_days=(),
    )
    return rules.urgency(facts, done=task.done, today=day, checked_in_today=checked_in_today)
