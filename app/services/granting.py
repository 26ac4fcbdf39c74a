"""What members have earned is given once, and taken back when what earned it is undone."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.ids import new_id
from app.services import granted, service
from app.services.granted import Source
from app.services.models import EntitlementGrant, EntitlementUse
from app.services.rules import UseState

_MEMBERS = text("""
select member_id, time_zone from members
where member_id = any(:members) and erased_at is null order by member_id
""").bindparams(bindparam("members", type_=ARRAY(Uuid)))
_REVOKE = text("""
update entitlement_grants set revoked_at = :now, revoked_because = :because
where member_id = any(:members) and source = :source and revoked_at is null
returning member_id, id
""").bindparams(
    bindparam("members", type_=ARRAY(Uuid)), bindparam("now", type_=DateTime(timezone=True))
)


async def grant(
    session: AsyncSession, member_ids: Collection[UUID], *, source: Source, now: datetime
) -> set[UUID]:
    """Give each member what this source gives, as far as they have it not; who got anything.
    However many do it at once, a member has each service of a source once."""
    rows: list[dict[str, Any]] = []
    for member_id, zone in await session.execute(_MEMBERS, {"members": sorted(member_ids)}):
        today = _today(zone, now)
        rows += [
            {
                "member_id": member_id,
                "id": new_id(now),
                "service": it.entitlement.service,
                "source": source,
                "starts_on": today,
                "ends_on": it.ends_on(today),
                "granted_at": now,
            }
            for it in granted.in_force()[source]
        ]
    if not rows:
        return set()
    made = await session.execute(
        insert(EntitlementGrant)
        .values(rows)
        .on_conflict_do_nothing()
        .returning(col(EntitlementGrant.member_id))
    )
    return set(made.scalars())


def _today(zone: str, now: datetime) -> date:
    """Of a zone that this program does not know the day of UTC: nobody else's grant waits."""
    try:
        return civil_time.local_date(now, civil_time.zone(zone))
    except civil_time.UnknownZone:
        return now.date()


async def revoke(
    session: AsyncSession,
    member_ids: Sequence[UUID],
    *,
    source: Source,
    because: str,
    now: datetime,
) -> int:
    """Take back what this source gave; how many services. What is reserved of them goes back;
    what was consumed stays so."""
    wanted = {"members": sorted(member_ids), "source": source, "because": because, "now": now}
    revoked = (await session.execute(_REVOKE, wanted)).all()
    for member_id, grant_id in revoked:
        reserved = select(EntitlementUse.id).where(
            EntitlementUse.member_id == member_id,
            EntitlementUse.grant_id == grant_id,
            EntitlementUse.state == UseState.RESERVED,
        )
        for use_id in (await session.exec(reserved)).all():
            await service.call_off(session, member_id=member_id, use_id=use_id, now=now)
    return len(revoked)
