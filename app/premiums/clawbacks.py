"""Points that were earned under a cover that never was are taken back (COV-7).

What is spent already is owed. A check-in may be sent for a month, so the clock looks again each
day until nothing can come any more.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import DateTime, Integer, Uuid, bindparam, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.points import service as points
from app.points.rules import Account
from app.premiums.policy_models import Clawback

AGAIN = timedelta(days=1)
UNTIL = timedelta(days=35)
"""Products take data for a month; reviews of what was sent last come a little later."""

# The first transfer of each earning by a task that was asked for under the policy: before the
# next cover that came to be.
_EARNED = text("""
select t.id, t.amount from points_transfers t
where t.member_id = :member_id and t.debit = 'issued' and t.kind = 'EARNED'
and t.corrects is null and t.cause_key not like '%/2'
and split_part(t.cause_key, ':', 1) in (select a.id::text from task_assignments a
  where a.member_id = t.member_id and a.created_at between :since and :until
  and not exists (select from policies n where n.member_id = a.member_id and n.id <> :policy_id
    and n.created_at > :since and n.created_at <= a.created_at
    and n.state in ('IN_FORCE', 'LAPSED', 'CANCELLED', 'ENDED', 'RESCINDED')))
and not exists (select from points_transfers r where r.member_id = t.member_id
  and r.corrects = t.id and r.cause_key like 'reversal:%')
and not exists (select from points_decisions d where d.member_id = t.member_id
  and d.earning_id = t.id and d.decision = 'REVERSED')
order by t.seq limit :limit
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("policy_id", type_=Uuid),
    bindparam("since", type_=DateTime(timezone=True)),
    bindparam("until", type_=DateTime(timezone=True)),
    bindparam("limit", type_=Integer),
)


async def next_due(
    session: AsyncSession, *, now: datetime, but: frozenset[UUID]
) -> Clawback | None:
    """Locked; the longest due first."""
    found = await session.exec(
        select(Clawback)
        .where(col(Clawback.look_at) <= now, col(Clawback.policy_id).not_in(but))
        .order_by(col(Clawback.look_at))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return found.first()


async def take_back(
    session: AsyncSession, clawback: Clawback, *, limit: int, now: datetime
) -> bool:
    """Reverse up to `limit` earnings; whether that was all for today. Each is reversed at most
    once, whoever does it."""
    parameters = {
        "member_id": clawback.member_id,
        "policy_id": clawback.policy_id,
        "since": clawback.earned_from,
        "until": clawback.ordered_at,
        "limit": limit,
    }
    earned = (await session.execute(_EARNED, parameters)).all()
    for id, _ in earned:
        posted = await points.reverse(
            session, member_id=clawback.member_id, transfer_id=id, now=now
        )
        clawback.points += sum(it.amount for it in posted if it.credit == Account.REVERSED)
    if len(earned) == limit:
        return False
    clawback.look_at = now + AGAIN if now < clawback.ordered_at + UNTIL else None
    return True
