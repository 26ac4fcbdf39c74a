"""The tasks of a member's day, as one value in the statement of the first screen.

This is read more often than anything else, so texts stay texts: what PostgreSQL wrote in JSON is
what the API writes. From a row comes a tuple in one step, and no object.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from app import civil_time
from app.graphql.executor import Layout
from app.graphql.ids import TAIL_SQL, Kind, Owner, tail_of_day, tails
from app.graphql.scalars import decimal_text, instant_text
from app.health_tasks import queries, rules
from app.members.rules import PausedDays, paused_on, shows_health

T = TypeVar("T")
_KEYS = tuple(TAIL_SQL.format(key) for key in ("a.id", "c.id"))
_TEXTS = (
    *("a.kind", "a.unit"),
    f"case when a.kind = '{rules.TaskKind.REACH_TOTAL}' then a.value_max end",
    *("a.per_day", "a.points", "a.verification"),
    *("a.title_zh", "a.title_en", "a.period", "a.target", "a.starts_on", "a.ends_on"),
    *("t.starts_on", "t.ends_on", "t.due_at", "t.target", "t.done", "t.state"),
    *("c.state", "c.occurred_at", "c.local_date", "c.slot"),
    *("c.value", "c.points_awarded", "c.reason_code", "c.decision_note"),
)
_COLUMNS = ", ".join((*_KEYS, *(f"{column}::text" for column in _TEXTS)))
TODAY = f"""
(select json_build_array({queries.CONSENT},
    array_to_json(array(select array[p.starts_on::text, p.ends_on::text] from pauses p
      where p.member_id = members.member_id and p.starts_on <= days.last
      and (p.ends_on is null or p.ends_on >= days.first))),
    array_to_json(array(select array[{_COLUMNS}] from task_assignments a
      left join (select assignment_id, starts_on, ends_on, target, done, state, latest_check_in_id,
          case when closed_at is null then due_at end as due_at from tasks
        where tasks.member_id = members.member_id and tasks.ends_on >= days.first
        and tasks.starts_on <= days.last offset 0) t on t.assignment_id = a.id
      left join checkins c on c.member_id = members.member_id and c.id = t.latest_check_in_id
      where a.member_id = members.member_id
      and a.starts_on <= days.last and (a.ends_on is null or a.ends_on >= days.first)
      order by a.id)))
  from (select ((:now) - interval '12 hours')::date as first,
    ((:now) + interval '14 hours')::date as last) days)
"""
"""Every task of the days that some zone of the Earth has now; which of them is the member's, their
zone decides. One array of texts, because the server looks up the type of each value in any other JSON,
and the driver takes several times as long to read as many values in rows. `offset 0` has the
server find the tasks of the member once, and not once for each assignment."""

_ID, _CHECK_IN, _PERIOD, _TARGET, _FROM, _TO, _STARTS_ON = 0, 1, 10, 11, 12, 13, 14
_NEITHER_DONE_NOR_CHECKED_IN = [None] * 9
"""From the state on."""

_ASSIGNMENT = 4
"""In a tuple as `TASK`."""

CHECK_IN = Layout(("id", "state", "occurred_at", "local_date", None, None, None, None))
"""Then value, points, reason and note, as PostgreSQL writes them."""
TASK = Layout(
    (
        *(None, None, "ends_on", None, None, "id", "title", "kind", "verification", "unit"),
        *("target", "done", "points", "state", "starts_on", "due_at", "latest_check_in"),
    ),
    {"latest_check_in": CHECK_IN},
)
"""Beginning with what orders them: rank, days to spare, last day, place among the rows, which come
in the order of their assignments; then the assignment."""


_Common = tuple[str, date, ZoneInfo, str, bool, str, str]
"""What all tasks of a member have in common: today as text and as day, the zone, how an open one
looks, whether in Chinese, and with what their ids and those of their check-ins begin."""


def today(
    value: Sequence[Any],
    *,
    owner: Owner,
    zone: ZoneInfo,
    day: date,
    own: bool,
    in_chinese: bool,
) -> list[tuple[Any, ...]]:
    """The tasks of `day`, the member's today, out of `TODAY`, as `TASK`, most urgent first."""
    consent, pauses, rows = value
    if not rows or not shows_health(queries.consent_of(consent), own=own):
        return []
    paused = bool(pauses) and paused_on([_paused_days(*it) for it in pauses], day)
    on = day.isoformat()
    open_state = _open_state(consent, paused)
    heads = owner.head(Kind.TASK), owner.head(Kind.CHECK_IN)
    of_day = (on, day, zone, open_state, in_chinese, *heads)
    others: list[_Placed] = []
    tasks = _tasks(range(len(rows)), rows, of_day, others)
    if others:
        # (What is finished for good is in neither, and has one period only.)
        seen = {task[_ASSIGNMENT] for task in tasks}
        placed = _not_stored(others, seen, day)
        if placed:
            tasks += _tasks([it[0] for it in placed], [it[1] for it in placed], of_day, others)
    tasks.sort()
    return tasks


def _paused_days(starts_on: str, ends_on: str | None) -> PausedDays:
    return PausedDays(_day(starts_on), None if ends_on is None else _day(ends_on))


@cache
def _open_state(consent: str | None, is_paused: bool) -> str:
    """How a task that is neither done nor over looks today, the same for all of a member."""
    day = date.min
    pauses = [PausedDays(day, day)] if is_paused else []
    standing = queries.Standing(queries.consent_of(consent), pauses, day, ZoneInfo("UTC"))
    return queries.shown(rules.TaskState.OPEN, rules.Span(day, day), standing).value


_Placed = tuple[int, Any]
"""A row, and its place among all of them."""


def _not_stored(others: Iterable[_Placed], seen: set[str], day: date) -> list[_Placed]:
    """For assignments not `seen` yet, rows as if the period that holds this day were stored, where
    there is one."""
    placed: list[_Placed] = []
    for place, row in others:
        if row[_ID] in seen:
            continue
        seen.add(row[_ID])
        period, ends_on = rules.Period(row[_PERIOD]), row[_TO]
        span = rules.period_of(
            period,
            day,
            assigned_from=_day(row[_FROM]),
            assigned_to=None if ends_on is None else _day(ends_on),
        )
        if span is not None:
            target = rules.target_in(Decimal(row[_TARGET]), period, span)
            made = [
                *(row[_ID], None, *row[_CHECK_IN + 1 : _STARTS_ON]),
                *(span.starts_on.isoformat(), span.ends_on.isoformat(), None),
                *(f"{target:.3f}", "0.000", *_NEITHER_DONE_NOR_CHECKED_IN),
            ]
            placed.append((place, made))
    return placed


def _tasks(
    places: Sequence[int], rows: Sequence[Any], of_day: _Common, others: list[_Placed]
) -> list[tuple[Any, ...]]:
    """Of rows whose period holds the day; `others` gets the other ones. ISO days have the order of
    their texts. One loop, since a call for each row would cost as much as a third of it."""
    on, day, zone, open_state, in_chinese, task_ids, check_in_ids = of_day
    days_left: dict[str, int] = {}
    tasks = []
    keys = tails("".join([*[row[_ID] for row in rows], *[row[_CHECK_IN] or "==" for row in rows]]))
    for place, row, key, check_in in zip(places, rows, keys, keys[len(rows) :], strict=False):
        (
            assignment, _, kind, unit, most, per_day, points, verification, title_zh, title_en,
            period, _, _, _, starts_on, ends_on, due_at, target, done, state,
            check_in_state, occurred_at, checked_in_on, slot, value, paid, reason, note,
        ) = row  # fmt: skip
        if starts_on is None or not starts_on <= on <= ends_on:
            others.append((place, row))
            continue
        if period == _ONCE and state == _DONE and (not check_in or checked_in_on < on):
            continue  # Finished on an earlier day: nothing of it is for today.
        if state not in _LASTING:
            state = open_state
        left = days_left.get(ends_on)
        if left is None:
            left = days_left[ends_on] = (_day(ends_on) - day).days + 1
        # What the clock has closed, and travel has brought back, ends when its last day ends here.
        ends_at = _instant[due_at] if due_at else civil_time.end_of_day(_day(ends_on), zone)
        asked_thousandths, target = _quantity[target]
        done_thousandths, done = _quantity[done]
        a_day = times = _whole[per_day]
        # Of a total a check-in counts with its value, else as one.
        a_day *= _quantity[most][0] if kind == _TOTAL else 1000
        # Slots of a day fill from 0, so the latest one tells how many there were.
        is_ticked_off = checked_in_on == on and int(slot) + 1 >= times
        rank, to_spare = rules.urgency(
            state, is_ticked_off, asked_thousandths - done_thousandths, a_day, left
        )
        latest = None
        if check_in:
            latest = (
                check_in_ids + check_in, check_in_state, instant_text(occurred_at),
                checked_in_on, value, paid, reason, note,
            )  # fmt: skip
        id = f"{task_ids}{key}{_first_day[starts_on]}"
        title = title_zh if in_chinese else title_en
        tasks.append((
            rank, to_spare, ends_on, place, assignment, id, title, kind, verification, unit, target,
            done, _whole[points], state, starts_on, ends_at, latest,
        ))  # fmt: skip
    return tasks


_ONCE, _DONE, _TOTAL = (
    it.value for it in (rules.Period.ONCE, rules.TaskState.DONE, rules.TaskKind.REACH_TOTAL)
)
_LASTING = frozenset({_DONE, rules.TaskState.IN_REVIEW.value})
"""States of a period that is not over which nothing else can hide (`queries.shown`)."""


class _Known(dict[str, T]):
    """What was read from a text before, at half of what `lru_cache` takes to find it."""

    def __init__(self, read: Callable[[str], T]) -> None:
        self._read = read

    def __missing__(self, text: str) -> T:
        if len(self) >= _KNOWN_MAX:
            self.clear()
        found = self[text] = self._read(text)
        return found


def _read_quantity(text: str) -> tuple[int, str]:
    """From a text with three places: in thousandths, exact and fast; and as the API writes it."""
    return int(text.replace(".", "")), decimal_text(text)


_KNOWN_MAX = 4096
_quantity = _Known(_read_quantity)
_whole = _Known(int)
_instant = _Known(instant_text)
_first_day = _Known(lambda text: tail_of_day(date.fromisoformat(text)))
"""As it ends an id."""
_day = lru_cache(maxsize=4096)(date.fromisoformat)
