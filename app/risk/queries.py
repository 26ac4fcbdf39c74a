"""Profiles and assessments as they are shown."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, and_, bindparam, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.measurements.queries import consents
from app.risk.rulesets import Tier
from app.risk.tables import RiskAssessment, RiskProfile

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
    member_id: UUID,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Any]:
    """Assessments of a member, the newest first, after a key."""
    key = tuple_(col(RiskAssessment.assessed_at), col(RiskAssessment.id))
    statement = select(RiskAssessment).where(col(RiskAssessment.member_id) == member_id)
    if after is not None:
        statement = statement.where(key < tuple_(*after))
    statement = statement.order_by(
        col(RiskAssessment.assessed_at).desc(), col(RiskAssessment.id).desc()
    ).limit(limit)
    return (await connection.execute(statement)).all()


def in_tiers(member_id: Any, tiers: Sequence[Tier]) -> ColumnElement[bool]:
    """Whether the member of a row is in one of these tiers, and consents to the use of health
    data: an employee's filter must not tell what the page hides."""
    found = select(col(RiskProfile.member_id)).where(
        col(RiskProfile.member_id) == member_id, col(RiskProfile.tier).in_(tiers)
    )
    return and_(found.exists(), consents(member_id))
