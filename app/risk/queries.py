"""Profiles and assessments as they are shown."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, DateTime, Integer, Uuid, and_, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.measurements.queries import consents
from app.risk.rulesets import Tier
from app.risk.tables import RiskProfile

CONSENTS = """coalesce((select c.state = 'GRANTED' from consents c
  where c.member_id = m.member_id and c.purpose = 'HEALTH_DATA'
  order by c.version desc limit 1), false)"""
"""Whether the member `m` of a statement consents to the use of health data."""
Key = tuple[UUID, UUID]
"""Member and assessment."""

_ASSESSMENTS = text("""
select a.* from unnest(:member_ids, :ids) as wanted (member_id, id)
join risk_assessments a on (a.member_id, a.id) = (wanted.member_id, wanted.id)
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid)))
_CONTEST = text("""
select r.member_id, r.state, r.opened_at, r.due_at, r.text,
  case when r.state in ('ACCEPTED', 'REJECTED') then r.reason end as reason
from unnest(:member_ids, :ids) as wanted (member_id, id)
join reviews r on (r.member_id, r.id) = (wanted.member_id, wanted.id)
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid)))

_HISTORY = text("""
select it.* from unnest(:member_ids) as wanted (member_id)
cross join lateral (select a.* from risk_assessments a
  where a.member_id = wanted.member_id
  and (cast(:at as timestamptz) is null or (a.assessed_at, a.id) < (:at, :id))
  order by a.assessed_at desc, a.id desc limit :limit) it
order by it.member_id, it.assessed_at desc, it.id desc
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("at", type_=DateTime(timezone=True)),
    bindparam("id", type_=Uuid),
    bindparam("limit", type_=Integer),
)


async def assessments(connection: AsyncConnection, keys: Sequence[Key]) -> Mapping[Key, Any]:
    """Rows with the columns of `risk_assessments`, by key; with one statement."""
    rows = await connection.execute(_ASSESSMENTS, _parameters(keys))
    return {(row.member_id, row.id): row for row in rows}


async def contests(connection: AsyncConnection, keys: Sequence[Key]) -> Mapping[UUID, Any]:
    """The reviews, by member; with one statement."""
    rows = await connection.execute(_CONTEST, _parameters(keys))
    return {row.member_id: row for row in rows}


def _parameters(keys: Sequence[Key]) -> dict[str, Any]:
    member_ids, ids = zip(*keys, strict=True)
    return {"member_ids": list(member_ids), "ids": list(ids)}


async def history(
    connection: AsyncConnection,
    member_ids: Sequence[UUID],
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Mapping[UUID, Sequence[Any]]:
    """Assessments by member, the newest first, after a key, `limit` of each; with one
    statement."""
    at, id = after or (None, None)
    parameters = {"member_ids": list(member_ids), "at": at, "id": id, "limit": limit}
    found: dict[UUID, list[Any]] = {member_id: [] for member_id in member_ids}
    for row in await connection.execute(_HISTORY, parameters):
        found[row.member_id].append(row)
    return found


def in_tiers(member_id: Any, tiers: Sequence[Tier]) -> ColumnElement[bool]:
    """Whether the member of a row is in one of these tiers, and consents to the use of health
    data: an employee's filter must not tell what the page hides."""
    found = select(col(RiskProfile.member_id)).where(
        col(RiskProfile.member_id) == member_id, col(RiskProfile.tier).in_(tiers)
    )
    return and_(found.exists(), consents(member_id))
