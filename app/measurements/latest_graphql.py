"""The newest reading of each code: a member's record at a glance."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import strawberry
from sqlalchemy import ARRAY, Boolean, Text, Uuid, bindparam, text
from strawberry.dataloader import DataLoader

from app.graphql.facets import Profile
from app.graphql.node import Info
from app.measurements.catalogue import quantities
from app.measurements.graphql import Measurement

# No row at all means never asked.
_LATEST = text("""
select found.* from unnest(:member_ids) as asked (member_id)
cross join unnest(:codes) with ordinality as wanted (code, place)
cross join lateral (
  select * from measurements m where m.member_id = asked.member_id and m.code = wanted.code
    and m.superseded_at is null order by m.measured_at desc, m.source_id desc limit 1) found
where not :consented_only or coalesce((select c.state = 'GRANTED' from consents c
  where c.member_id = asked.member_id and c.purpose = 'HEALTH_DATA'
  order by c.version desc limit 1), false)
order by wanted.place
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("consented_only", type_=Boolean),
)


@strawberry.type
class LatestOfMember:
    """The fields of `Member` that are kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(
        description="The newest reading of each code that has any, in the catalogue's order. An "
        "employee sees them while the member consents to the use of health data."
    )
    async def latest_measurements(self, info: Info) -> list[Measurement]:
        rows = await _load(info, self.profile.member_id)
        return [Measurement.from_row(row) for row in rows]


async def _load(info: Info, member_id: UUID) -> Sequence[Any]:
    """Loads of one moment, as of a list of members, share one statement."""
    consented_only = not info.context.is_own(member_id)
    name = f"measurements.latest.{consented_only}"
    state = info.context.state
    if name not in state:

        async def load(member_ids: list[UUID]) -> list[list[Any]]:
            values = {
                "member_ids": member_ids,
                "codes": list(quantities()),
                "consented_only": consented_only,
            }
            async with info.context.db.read() as reading:
                rows = (await reading.execute(_LATEST, values)).all()
            found: dict[UUID, list[Any]] = defaultdict(list)
            for row in rows:
                found[row.member_id].append(row)
            return [found[member_id] for member_id in member_ids]

        state[name] = DataLoader(load_fn=load)
    found: list[Any] = await state[name].load(member_id)
    return found
