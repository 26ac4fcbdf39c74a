"""Alerts as they are shown: of many members with one statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, DateTime, Integer, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

# No row at all means never asked.
_CONSENTED = """
(not :consented_only or coalesce((select c.state = 'GRANTED' from consents c
  where c.member_id = a.member_id and c.purpose = 'HEALTH_DATA'
  order by c.version desc limit 1), false))
"""
_PAGE = text(f"""
select a.* from unnest(:member_ids) as asked (member_id)
cross join lateral (
  select a.* from alerts a where a.member_id = asked.member_id and {_CONSENTED}
    and (not :open_only or a.closed_at is null)
    and (cast(:at as timestamptz) is null or (a.opened_at, a.id) < (:at, cast(:id as uuid)))
  order by a.opened_at desc, a.id desc limit :limit) a
order by a.opened_at desc, a.id desc
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("consented_only", type_=Boolean),
    bindparam("open_only", type_=Boolean),
    bindparam("at", type_=DateTime(timezone=True)),
    bindparam("id", type_=Uuid),
    bindparam("limit", type_=Integer),
)
_BY_KEY = text(f"""
select a.*, {_CONSENTED.replace("not :consented_only or ", "")} as consented
from unnest(:member_ids, :ids) as wanted (member_id, id)
join alerts a on a.member_id = wanted.member_id and a.id = wanted.id
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
)


async def page(
    connection: AsyncConnection,
    member_ids: Sequence[UUID],
    *,
    open_only: bool,
    after: tuple[datetime, UUID] | None,
    limit: int,
    consented_only: bool,
) -> Sequence[Any]:
    """The newest `limit` alerts of each member after a key. `consented_only` leaves out members
    who do not consent to the use of health data."""
    at, id = after or (None, None)
    values = {
        "member_ids": list(member_ids),
        "open_only": open_only,
        "at": at,
        "id": id,
        "limit": limit,
        "consented_only": consented_only,
    }
    return (await connection.execute(_PAGE, values)).all()


async def by_key(connection: AsyncConnection, keys: Sequence[tuple[UUID, UUID]]) -> Sequence[Any]:
    """Of (member, id); each with whether the member consents to the use of health data."""
    member_ids, ids = (list(it) for it in zip(*keys, strict=True))
    return (await connection.execute(_BY_KEY, {"member_ids": member_ids, "ids": ids})).all()
