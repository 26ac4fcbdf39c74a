"""When a member checks in and opens messages: the hour at which they are most often there, by
their own clock, over the last 60 days. Made anew each night in ranges of members: whoever has
stopped, or has taken the consent to health data back, has none any more."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, DateTime, Integer, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.db import Database
from app.members import ranges

LOOKED_BACK = timedelta(days=60)
SIGNS_MIN = 5
"""Fewer signs say nothing about a habit."""
RANGE = 5_000
QUARTERS = 96
_HABIT = range(-2, 4)
"""An hour and a half around a quarter: habits are not kept to the minute."""

# By the quarter of the day in UTC; the offset of the member's zone is added in Python.
_SIGNS = text("""
select signs.member_id, m.time_zone,
       (extract(epoch from signs.at)::bigint / 900 % 96)::integer as quarter,
       count(*)::integer as signs
  from (select member_id, occurred_at as at from checkins
         where member_id > :after and member_id <= :upto and occurred_at > :since
        union all
        select member_id, occurred_at from engagements
         where member_id > :after and member_id <= :upto and occurred_at > :since
           and kind in ('OPENED', 'CLICKED')) signs
  join members m using (member_id)
 where m.erased_at is null and coalesce((select state from consents c
   where c.member_id = m.member_id and c.purpose = 'HEALTH_DATA'
   order by c.version desc limit 1), '') not in ('REFUSED', 'WITHDRAWN')
 group by 1, 2, 3
""").bindparams(
    bindparam("after", type_=Uuid),
    bindparam("upto", type_=Uuid),
    bindparam("since", type_=DateTime(timezone=True)),
)
_KEEP = text("""
insert into member_rhythms (member_id, quarter, signs, computed_at)
select member_id, quarter, signs, :now
  from unnest(:members, :quarters, :signs) as learnt (member_id, quarter, signs)
on conflict (member_id) do update
set quarter = excluded.quarter, signs = excluded.signs, computed_at = excluded.computed_at
""").bindparams(
    bindparam("members", type_=ARRAY(Uuid)),
    bindparam("quarters", type_=ARRAY(Integer)),
    bindparam("signs", type_=ARRAY(Integer)),
    bindparam("now", type_=DateTime(timezone=True)),
)
_FORGET = text("""
delete from member_rhythms
 where member_id > :after and member_id <= :upto and computed_at < :now
""").bindparams(
    bindparam("after", type_=Uuid),
    bindparam("upto", type_=Uuid),
    bindparam("now", type_=DateTime(timezone=True)),
)


@dataclass(frozen=True, slots=True)
class Rhythm:
    quarter: int
    """Of an hour, since the start of the local day."""
    signs: int


def habit(signs: Mapping[int, int]) -> Rhythm | None:
    """From how many signs each quarter of the local day has: the middle of the hour and a half
    that has most, the earliest of several; None while there are too few."""
    total = sum(signs.values())
    if total < SIGNS_MIN:
        return None

    def weight(quarter: int) -> tuple[int, int, int]:
        near = sum(signs.get((quarter + offset) % QUARTERS, 0) for offset in _HABIT)
        return near, signs.get(quarter, 0), -quarter

    return Rhythm(max(signs, key=weight), total)


async def learn(db: Database, *, now: datetime, size: int = RANGE) -> None:
    """Of all members, a transaction for each range. Run again, it comes to the same."""
    after = ranges.FIRST
    while True:
        async with db.transaction() as session:
            upto = await ranges.upto(session, after, size)
            if upto is None:
                return
            await _learn(session, after, upto, now=now)
        after = upto


async def _learn(session: AsyncSession, after: UUID, upto: UUID, *, now: datetime) -> None:
    wanted: dict[str, Any] = {"after": after, "upto": upto, "since": now - LOOKED_BACK}
    signs: defaultdict[UUID, Counter[int]] = defaultdict(Counter)
    for member_id, zone_name, quarter, count in await session.execute(_SIGNS, wanted):
        try:
            zone = civil_time.zone(zone_name)
        except civil_time.UnknownZone:
            continue
        signs[member_id][(quarter + _offset(zone, now)) % QUARTERS] += count
    found = {member_id: habit(counted) for member_id, counted in signs.items()}
    learnt = {member_id: it for member_id, it in found.items() if it is not None}
    await session.execute(
        _KEEP,
        {
            "members": list(learnt),
            "quarters": [it.quarter for it in learnt.values()],
            "signs": [it.signs for it in learnt.values()],
            "now": now,
        },
    )
    await session.execute(_FORGET, {"after": after, "upto": upto, "now": now})


def _offset(zone: ZoneInfo, now: datetime) -> int:
    """In quarters of an hour; of today, also for what was on the other side of a change."""
    offset = now.astimezone(zone).utcoffset()
    assert offset is not None
    return round(offset.total_seconds() / 900)
