"""The tasks of a member's day, as one value in the statement of the first screen.

This is read more often than anything else, so texts stay texts: what PostgreSQL wrote in JSON is
what the API writes.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from app import civil_time
from app.graphql.scalars import decimal_text, instant_text
from app.health_tasks import queries, rules
from app.members.rules import PausedDays, paused_on, shows_health

_COLUMNS = ", ".join(
    f"{column}::text"
    for column in (
        *("a.id", "a.kind", "a.unit", "a.value_max", "a.per_day", "a.points", "a.verification"),
        *("a.title_zh", "a.title_en", "a.period", "a.target", "a.starts_on", "a.ends_on"),
        *("t.starts_on", "t.ends_on", "t.due_at", "t.target", "t.done", "t.state", "t.closed_at"),
        *("c.id", "c.state", "c.occurred_at", "c.local_date", "c.slot", "c.value"),
        *("c.points_awarded", "c.reason_code", "c.decision_note"),
    )
)
TODAY = f"""
(select json_build_array({queries.CONSENT},
    array_to_json(array(select array[p.starts_on::text, p.ends_on::text] from pauses p
      where p.member_id = members.member_id and p.starts_on <= utc.day + 1
      and (p.ends_on is null or p.ends_on >= utc.day - 1))),
    array_to_json(array(select array[{_COLUMNS}] from task_assignments a
      left join (select assignment_id, starts_on, ends_on, due_at, target, done, state, closed_at,
          latest_check_in_id from tasks
        where tasks.member_id = members.member_id and tasks.ends_on >= utc.day - 1
        and tasks.starts_on <= utc.day + 1 offset 0) t on t.assignment_id = a.id
      left join checkins c on c.member_id = members.member_id and c.id = t.latest_check_in_id
      where a.member_id = members.member_id
      and a.starts_on <= utc.day + 1 and (a.ends_on is null or a.ends_on >= utc.day - 1))))
  from (select (:now)::date as day) utc)
"""
"""Every task of the days around today (of UTC); which of them is the member's, their zone
decides. One array of texts, because the server looks up the type of each value in any other JSON,
and the driver takes several times as long to read as many values in rows. `offset 0` has the
server find the tasks of the member once, and not once for each assignment."""

_ID, _STARTS_ON, _ENDS_ON, _CHECK_IN = 0, 13, 14, slice(20, None)

DayTask = tuple[Any, ...]
"""Beginning with what orders them: rank, days to spare, last day (text), assignment (text); then
kind, unit, points, verification, both titles, first day, when it is due (text or datetime), target
and what is done, state, and the columns of the latest check-in as `TODAY` has them, or None."""


def today(value: Sequence[Any], *, zone: ZoneInfo, now: datetime, own: bool) -> list[DayTask]:
    """The tasks of the member's local day out of `TODAY`, most urgent first."""
    consent, pauses, rows = value
    if not rows or not shows_health(queries.consent_of(consent), own=own):
        return []
    day = civil_time.local_date(now, zone)
    paused = bool(pauses) and paused_on([_paused_days(*it) for it in pauses], day)
    open_state = _open_state(consent, paused)
    on = day.isoformat()
    return sorted(
        task
        for row in _one_each(rows, on)
        if (task := _task(row, day, on, open_state, zone)) is not None
    )


def _paused_days(starts_on: str, ends_on: str | None) -> PausedDays:
    return PausedDays(_day(starts_on), None if ends_on is None else _day(ends_on))


@cache
def _open_state(consent: str | None, is_paused: bool) -> rules.TaskState:
    """How a task that is neither done nor over looks today, the same for all of a member."""
    day = date.min
    pauses = [PausedDays(day, day)] if is_paused else []
    standing = queries.Standing(queries.consent_of(consent), pauses, day, ZoneInfo("UTC"))
    return queries.shown(rules.TaskState.OPEN, rules.Span(day, day), standing)


def _one_each(rows: Sequence[Any], on: str) -> list[Any]:
    """A row for each assignment: that of the period which holds the day, if there is one. ISO
    days have the order of their texts."""
    chosen: dict[str, Any] = {}
    for row in rows:
        starts_on = row[_STARTS_ON]
        if starts_on is not None and starts_on <= on <= row[_ENDS_ON]:
            chosen[row[_ID]] = row
        else:
            chosen.setdefault(row[_ID], row)
    return list(chosen.values())


def _task(
    row: Any, day: date, on: str, open_state: rules.TaskState, zone: ZoneInfo
) -> DayTask | None:
    (
        id, kind, unit, most, per_day, points, verification, title_zh, title_en,
        period, assigned_target, assigned_from, assigned_to,
        starts_on, ends_on, due_at, target, done, kept_state, closed_at,
        check_in, _, _, checked_in_on, slot, _, _, _, _,
    ) = row  # fmt: skip
    if starts_on is None or not starts_on <= on <= ends_on:
        span = _period(period, assigned_from, assigned_to, day)
        if span is None:
            return None
        starts_on, ends_on = span.starts_on.isoformat(), span.ends_on.isoformat()
        asked = rules.target_in(Decimal(assigned_target), rules.Period(period), span)
        target, done, kept_state, due_at, check_in = f"{asked:.3f}", "0.000", None, None, None
    if period == _ONCE and kept_state == _DONE and (check_in is None or checked_in_on < on):
        return None  # Finished on an earlier day: nothing of it is for today.
    state = _LASTING.get(kept_state, open_state)
    last_day = _day(ends_on)
    if due_at is None or closed_at is not None:
        # What the clock has closed, and travel has brought back, ends when its last day ends here.
        due_at = civil_time.end_of_day(last_day, zone)
    else:
        due_at = _instant(due_at)
    asked_thousandths, target = _quantity(target)
    done_thousandths, done = _quantity(done)
    is_total = kind == _TOTAL
    rank, to_spare = rules.urgency(
        state,
        is_total=is_total,
        target=asked_thousandths,
        done=done_thousandths,
        most=_quantity(most)[0] if is_total else 0,
        per_day=int(per_day),
        days_left=(last_day - day).days + 1,
        # Slots of a day fill from 0, so the latest one tells how many there were.
        checked_in_today=int(slot) + 1 if check_in is not None and checked_in_on == on else 0,
    )
    return (
        rank, to_spare, ends_on, id, kind, unit, points, verification, title_zh, title_en,
        starts_on, due_at, target, done, state, None if check_in is None else row[_CHECK_IN],
    )  # fmt: skip


# Looked up on the enum, a member takes as long as five comparisons.
_ONCE, _DONE, _TOTAL = rules.Period.ONCE, rules.TaskState.DONE, rules.TaskKind.REACH_TOTAL
_LASTING = {state.value: state for state in (_DONE, rules.TaskState.IN_REVIEW)}
"""States of a period that is not over which nothing else can hide (`queries.shown`)."""


def _period(
    period: str, assigned_from: str, assigned_to: str | None, day: date
) -> rules.Span | None:
    return rules.period_of(
        rules.Period(period),
        day,
        assigned_from=_day(assigned_from),
        assigned_to=None if assigned_to is None else _day(assigned_to),
    )


@lru_cache(maxsize=4096)
def _quantity(text: str) -> tuple[int, str]:
    """From a text with three places: in thousandths, exact and fast; and as the API writes it."""
    return int(text.replace(".", "")), decimal_text(text)


_day = lru_cache(maxsize=4096)(date.fromisoformat)
_instant = lru_cache(maxsize=4096)(instant_text)
