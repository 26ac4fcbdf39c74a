"""Reservations of a member, by key, and those that are due."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.services.rules import UseState

Key = tuple[UUID, UUID]
"""A member and the id of a use of theirs."""
Cursor = tuple[datetime, UUID]

_PAGE = text("""
select found.*, v.definition -> 'entitlements' as entitlements
from unnest(:member_ids) as asked (member_id)
cross join lateral (
  select u.* from entitlement_uses u where u.member_id = asked.member_id
    and (cast(:state as text) is null or u.state = :state)
    and (cast(:at as timestamptz) is null or (u.reserved_at, u.id) < (:at, cast(:id as uuid)))
  order by u.reserved_at desc, u.id desc limit :limit) found
left join product_versions v on v.id = found.product_version_id
order by found.reserved_at desc, found.id desc
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)))
_BY_KEY = text("""
select u.*, v.definition -> 'entitlements' as entitlements
from unnest(:member_ids, :ids) as asked (member_id, id)
join entitlement_uses u on u.member_id = asked.member_id and u.id = asked.id
left join product_versions v on v.id = u.product_version_id
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid)))
_DUE = text("""
select member_id, id, expires_at from entitlement_uses
where state = 'RESERVED' and expires_at <= :now
  and (cast(:at as timestamptz) is null or (expires_at, member_id, id)
    > (:at, cast(:member_id as uuid), cast(:id as uuid)))
order by expires_at, member_id, id limit :limit
""").bindparams(bindparam("now", type_=DateTime(timezone=True)), bindparam("limit", type_=Integer))


class Due(NamedTuple):
    member_id: UUID
    use_id: UUID
    expires_at: datetime


async def of_members(
    reading: AsyncConnection,
    member_ids: Sequence[UUID],
    *,
    state: UseState | None,
    after: Cursor | None,
    limit: int,
) -> Sequence[Any]:
    """Of each at most `limit`, newest first."""
    at, id = after or (None, None)
    wanted = {"member_ids": list(member_ids), "state": state, "at": at, "id": id, "limit": limit}
    return (await reading.execute(_PAGE, wanted)).all()


async def by_keys(reading: AsyncConnection, keys: Sequence[Key]) -> Sequence[Any]:
    wanted = {"member_ids": [key[0] for key in keys], "ids": [key[1] for key in keys]}
    return (await reading.execute(_BY_KEY, wanted)).all()


async def due(
    reading: AsyncConnection, *, now: datetime, after: Due | None, limit: int
) -> Sequence[Due]:
    """Whose time is over, the oldest first."""
    wanted = {
        "now": now,
        "at": after.expires_at if after else None,
        "member_id": after.member_id if after else None,
        "id": after.use_id if after else None,
        "limit": limit,
    }
    return [Due(*row) for row in (await reading.execute(_DUE, wanted)).all()]
