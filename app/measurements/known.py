"""What was known of members at some instant, for decisions that can be made again.

A version was known from `recorded_at` until before `superseded_at`. Streams are merged in place:
of them only the present state is known.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Date, DateTime, Text, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel.ext.asyncio.session import AsyncSession

from app.measurements import totals
from app.measurements.totals import SourceTotal

_INSTANT = DateTime(timezone=True)
_MEMBERS = bindparam("member_ids", type_=ARRAY(Uuid))
_AS_OF = bindparam("as_of", type_=_INSTANT)


def versions(table: str, *, member_id: str, as_of: str, condition: str) -> str:
    """A select of the versions `v` of a member that were known at an instant, both given as
    SQL. Two branches, so that each uses its own index."""
    known = f"select * from {table} v where v.member_id = {member_id}"
    return (
        f"{known} and v.superseded_at is null and v.recorded_at <= {as_of} and {condition}"
        f" union all {known} and v.superseded_at > {as_of} and v.recorded_at <= {as_of}"
        f" and {condition}"
    )


_WANTED = {"member_id": "wanted.member_id", "as_of": ":as_of"}
_READINGS = text(f"""
select v.member_id, v.id, v.code, v.value, v.unit, v.measured_at, v.local_date, v.source_id,
  v.method, v.context, v.trust, v.confirmed, v.recorded_at
from unnest(:member_ids) as wanted (member_id)
cross join lateral ({versions(
    "measurements",
    condition="v.code = any(:codes) and v.measured_at between :since and :until",
    **_WANTED,
)}) v
order by v.member_id, v.measured_at desc, v.id desc
""").bindparams(
    _MEMBERS,
    _AS_OF,
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("since", type_=_INSTANT),
    bindparam("until", type_=_INSTANT),
)  # fmt: skip
_TOTALS = text(f"""
select v.member_id, v.local_date, v.id, v.source_id, v.value, v.intervals::text, v.method,
  v.trust, v.recorded_at
from unnest(:member_ids) as wanted (member_id)
cross join lateral ({versions(
    "daily_totals",
    condition="v.code = :code and v.local_date between :since and :until",
    **_WANTED,
)}) v
order by v.member_id, v.local_date
""").bindparams(
    _MEMBERS,
    _AS_OF,
    bindparam("code", type_=Text),
    bindparam("since", type_=Date),
    bindparam("until", type_=Date),
)  # fmt: skip


class KnownReading(NamedTuple):
    member_id: UUID
    id: UUID
    code: str
    value: Decimal
    """In `unit`, the canonical one of the code."""
    unit: str
    measured_at: datetime
    local_date: date
    source_id: str
    method: str
    context: str | None
    trust: str
    confirmed: bool | None
    """False for an extreme reading that nobody has confirmed."""
    recorded_at: datetime


KnownTotal = tuple[date, Decimal, Decimal | None]
"""Local day; over all sources; over those trusted MEDIUM or HIGH, null without any."""


async def readings(
    connection: AsyncConnection | AsyncSession,
    member_ids: Sequence[UUID],
    codes: Sequence[str],
    *,
    since: datetime,
    until: datetime,
    as_of: datetime,
) -> dict[UUID, list[KnownReading]]:
    """Readings of many members measured from `since` to `until`, both included, as they were
    known at `as_of`; newest first. One statement. Members without any are left out."""
    parameters = {
        "member_ids": list(member_ids),
        "codes": list(codes),
        "since": since,
        "until": until,
        "as_of": as_of,
    }
    found: dict[UUID, list[KnownReading]] = defaultdict(list)
    for row in await connection.execute(_READINGS, parameters):
        found[row.member_id].append(KnownReading(*row))
    return dict(found)


async def daily_totals(
    connection: AsyncConnection | AsyncSession,
    member_ids: Sequence[UUID],
    code: str,
    *,
    since: date,
    until: date,
    as_of: datetime,
) -> dict[UUID, list[KnownTotal]]:
    """The local days of many members from `since` to `until`, both included, united from what
    was known at `as_of`; oldest first. One statement."""
    parameters = {
        "member_ids": list(member_ids),
        "code": code,
        "since": since,
        "until": until,
        "as_of": as_of,
    }
    sources: dict[UUID, dict[date, list[SourceTotal]]] = defaultdict(lambda: defaultdict(list))
    for member_id, day, *rest in await connection.execute(_TOTALS, parameters):
        sources[member_id][day].append(SourceTotal(*rest))
    return {
        member_id: [(day, *totals.united(found)) for day, found in sorted(days.items())]
        for member_id, days in sources.items()
    }
