"""How often a member is told something: one counter a member and local week, over all senders.

The rows are locked in the order of their keys while a batch is counted, so that senders who
work at the same time keep to the caps together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import yaml
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Date, Uuid
from sqlmodel.ext.asyncio.session import AsyncSession

from app.nudges.gate import Priority

_UNCAPPED = (Priority.CRITICAL, Priority.OWN)
_ORDER = {priority: place for place, priority in enumerate(Priority)}


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many; what was told by others counts as well, but for the member's own reminders."""

    day: int
    week: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message that would go out on this local day."""

    member_id: UUID
    message_id: UUID
    priority: Priority
    local_date: date


@cache
def in_force() -> Mapping[Priority, Cap]:
    read = yaml.safe_load(Path(__file__).with_name("caps.yaml").read_text(encoding="utf-8"))
    found = {Priority(name): Cap(**cap) for name, cap in read.items()}
    assert found.keys() == set(Priority) - set(_UNCAPPED)
    assert all(0 < cap.day <= cap.week for cap in found.values())
    return found


def is_free(priority: Priority, *, told: Mapping[str, int], on: date) -> bool:
    """Whether one more message goes out on the local day `on`, after those `told` (of the
    week, by ISO day)."""
    if priority in _UNCAPPED:
        return True
    cap = in_force()[priority]
    return told.get(on.isoformat(), 0) < cap.day and sum(told.values()) < cap.week


def week_from(day: date) -> date:
    return day - timedelta(days=day.weekday())


_LOCK = text(
    """
    INSERT INTO message_counts AS counted (member_id, week_from, days)
    SELECT member_id, week_from, '{}'
      FROM unnest(CAST(:members AS uuid[]), CAST(:weeks AS date[])) AS it (member_id, week_from)
     ORDER BY member_id, week_from
    ON CONFLICT (member_id, week_from) DO UPDATE SET days = counted.days
    RETURNING member_id, week_from, days::text
    """
).bindparams(bindparam("members", type_=ARRAY(Uuid)), bindparam("weeks", type_=ARRAY(Date)))
_COUNT = text(
    """
    UPDATE message_counts AS counted SET days = CAST(it.days AS jsonb)
      FROM unnest(CAST(:members AS uuid[]), CAST(:weeks AS date[]), CAST(:days AS text[]))
        AS it (member_id, week_from, days)
     WHERE counted.member_id = it.member_id AND counted.week_from = it.week_from
    """
).bindparams(bindparam("members", type_=ARRAY(Uuid)), bindparam("weeks", type_=ARRAY(Date)))


async def count(session: AsyncSession, wanted: Sequence[Wanted]) -> set[UUID]:
    """Count those that stay within their caps, what matters most first; the ids of the others.
    The counters are locked until the commit. What members asked for is not counted: who is reminded
    of four medicines a day would otherwise hear of nothing else, not even of a warning."""
    wanted = [it for it in wanted if it.priority is not Priority.OWN]
    if not wanted:
        return set()
    keys = sorted({(it.member_id, week_from(it.local_date)) for it in wanted})
    columns: dict[str, Any] = {
        "members": [member for member, _ in keys],
        "weeks": [week for _, week in keys],
    }
    connection = await session.connection()
    rows = await connection.execute(_LOCK, columns)
    told = {(member, week): orjson.loads(days) for member, week, days in rows}
    refused = set()
    for it in sorted(wanted, key=lambda it: _ORDER[it.priority]):
        days = told[it.member_id, week_from(it.local_date)]
        if is_free(it.priority, told=days, on=it.local_date):
            day = it.local_date.isoformat()
            days[day] = days.get(day, 0) + 1
        else:
            refused.add(it.message_id)
    columns["days"] = [orjson.dumps(told[key]).decode() for key in keys]
    await connection.execute(_COUNT, columns)
    return refused
