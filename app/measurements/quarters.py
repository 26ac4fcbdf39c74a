"""Streams as they are shown, by quarter of an hour; loads of one moment share one statement."""

from collections import defaultdict
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, DateTime, Integer, Text, Uuid, bindparam, text
from strawberry.dataloader import DataLoader

from app.graphql.node import Info
from app.measurements.catalogue import Stream, quantities


class Wanted(NamedTuple):
    """The newest quarters of one code after a key, or the newest one of each."""

    code: str | None
    since: datetime | None
    """The first instant, included."""
    at: datetime | None
    source_id: str | None
    limit: int


LATEST = Wanted(None, None, None, None, 1)

# No row at all means never asked.
_QUARTERS = text("""
select found.* from unnest(:member_ids) as asked (member_id)
cross join unnest(:codes) with ordinality as wanted (code, place)
cross join lateral (
  select s.member_id, s.code, s.starts_at, s.source_id, s.local_date, s.unit, s.n, s.minimum,
    round(s.total / s.n, 3) as mean, s.maximum, s.trust
  from measurement_streams s where s.member_id = asked.member_id and s.code = wanted.code
    and s.starts_at >= coalesce(:since, '-infinity')
    and (cast(:at as timestamptz) is null
      or (s.starts_at, s.source_id) < (:at, cast(:source_id as text)))
  order by s.starts_at desc, s.source_id desc limit :limit) found
where not :consented_only or coalesce((select c.state = 'GRANTED' from consents c
  where c.member_id = asked.member_id and c.purpose = 'HEALTH_DATA'
  order by c.version desc limit 1), false)
order by wanted.place, found.starts_at desc, found.source_id desc
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("since", type_=DateTime(timezone=True)),
    bindparam("at", type_=DateTime(timezone=True)),
    bindparam("source_id", type_=Text),
    bindparam("limit", type_=Integer),
    bindparam("consented_only", type_=Boolean),
)


def streamed() -> list[str]:
    """The codes that may come as a stream."""
    return [it.code for it in quantities().values() if it.stream is not Stream.NEVER]


async def of_member(info: Info, member_id: UUID, wanted: Wanted) -> list[Any]:
    """What one member has; loads of one moment, as of a list of members, share one statement."""
    consented_only = not info.context.is_own(member_id)
    name = f"measurements.quarters.{wanted}.{consented_only}"
    state = info.context.state
    if name not in state:

        async def load(member_ids: list[UUID]) -> list[list[Any]]:
            values = {
                "member_ids": member_ids,
                "codes": [wanted.code] if wanted.code else streamed(),
                "since": wanted.since,
                "at": wanted.at,
                "source_id": wanted.source_id,
                "limit": wanted.limit,
                "consented_only": consented_only,
            }
            async with info.context.db.read() as reading:
                rows = (await reading.execute(_QUARTERS, values)).all()
            found: dict[UUID, list[Any]] = defaultdict(list)
            for row in rows:
                found[row.member_id].append(row)
            return [found[member_id] for member_id in member_ids]

        state[name] = DataLoader(load_fn=load)
    found: list[Any] = await state[name].load(member_id)
    return found
