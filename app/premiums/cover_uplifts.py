"""Cover uplifts (PRM-5, PTS-4) become part of a policy's sums insured, with their days."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import DateTime, Integer, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.ids import new_id
from app.premiums import benefit_rules as benefits
from app.premiums import catalogue, rules
from app.premiums.benefit_models import CoverUplift
from app.premiums.benefit_rules import UpliftSource

# Only where it lifts something: whoever has no such policy keeps it for the next one.
_TAKE = text("""
select b.member_id, b.id, b.percent, b.granted_at, c.id as policy_id, coalesce((
    select max(t.starts_on) from policy_terms t where t.member_id = c.member_id
    and t.policy_id = c.id and t.starts_on <= (:now at time zone m.time_zone)::date),
    c.started_on) as term_starts_on,
  v.id as version_id, v.definition, m.time_zone
from pending_benefits b
join policies c on c.member_id = b.member_id and c.state = 'IN_FORCE'
join product_versions v on v.id = c.product_version_id
join members m on m.member_id = b.member_id
where b.applied_at is null and b.kind = 'COVER_UPLIFT'
  and jsonb_path_exists(v.definition, '$.benefits.covers[*] ? (@.uplift == true)')
order by b.member_id, b.id limit :limit for update of b skip locked
""").bindparams(bindparam("now", type_=DateTime(timezone=True)), bindparam("limit", type_=Integer))
_APPLIED = text("""
update pending_benefits set applied_at = :now
where member_id = :member_id and id = :id and applied_at is null
""").bindparams(bindparam("now", type_=DateTime(timezone=True)))


async def apply_rewards(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Have up to `limit` redeemed uplifts lift the sums insured of the policy in force, each
    for the months that its product says; how many. One that another run holds is skipped."""
    due = (await session.execute(_TAKE, {"now": now, "limit": limit})).all()
    for row in due:
        terms = catalogue.definition(row.version_id, row.definition).benefits
        assert terms is not None, "the statement looks for its covers"
        zone = civil_time.zone(row.time_zone)
        days = benefits.uplift_days(
            civil_time.local_date(row.granted_at, zone),
            term_starts_on=row.term_starts_on,
            months=terms.uplift_months,
        )
        await _lift(
            session,
            row.member_id,
            row.policy_id,
            (UpliftSource.REWARD, str(row.id)),
            row.percent,
            days,
            now=now,
        )
        await session.execute(_APPLIED, {"member_id": row.member_id, "id": row.id, "now": now})
    return len(due)


async def uplift_term(
    session: AsyncSession,
    *,
    member_id: UUID,
    policy_id: UUID,
    term: rules.Term,
    percent: Decimal,
    now: datetime,
) -> bool:
    """What the improvement of a mild condition brought who chose cover (PRM-5): for this term.
    Whether it was new: a term is lifted once."""
    source = (UpliftSource.MILD_CONDITION, term.starts_on.isoformat())
    return await _lift(session, member_id, policy_id, source, percent, term, now=now)


async def _lift(
    session: AsyncSession,
    member_id: UUID,
    policy_id: UUID,
    source: tuple[UpliftSource, str],
    percent: Decimal,
    days: rules.Term,
    *,
    now: datetime,
) -> bool:
    kind, key = source
    uplift = CoverUplift(
        member_id=member_id,
        id=new_id(now),
        policy_id=policy_id,
        source=kind.value,
        source_key=key,
        percent=percent,
        starts_on=days.starts_on,
        ends_on=days.ends_on,
        created_at=now,
    )
    made = insert(CoverUplift).values(**uplift.model_dump()).on_conflict_do_nothing()
    added = await session.execute(made.returning(col(CoverUplift.id)))
    return added.scalar_one_or_none() is not None
