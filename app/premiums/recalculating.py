"""Once a calendar month every policy is looked at again: its projection is rewritten, and a
rule that acts during the term (PRM-3, where the product says so) prices what is left of it.

A change during a term only ever lowers it. Each batch commits by itself, with the month up to
which it has been done: cut short, the job goes on where it stopped; two of them share the work.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, Date, DateTime, Integer, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.premiums import invoices, one_by_one, pricing, projecting, rules
from app.premiums.models import Policy
from app.premiums.pricing import Known
from app.premiums.pricing_rules import Timing
from app.premiums.product import Product
from app.premiums.projecting import Running

BATCH = 500
_EVERYBODY = 2**31 - 1
_LAST_ZONE = timedelta(hours=12)
"""By then a month is over wherever a member is: the last zone is UTC-12."""

_IDS = bindparam("member_ids", type_=ARRAY(Uuid))
_BEGIN = text("""
insert into premium_recalculations (member_id, policy_id, month)
select c.member_id, c.id, (date_trunc('month', c.started_on) - interval '1 month')::date
from policies c where c.state = 'IN_FORCE'
and not exists (select from premium_recalculations k
  where k.member_id = c.member_id and k.policy_id = c.id)
order by c.member_id limit :size on conflict do nothing
""").bindparams(bindparam("size", type_=Integer))
# A month whose share is not known yet waits for it. What another run holds is skipped.
_DUE = text("""
select k.member_id from premium_recalculations k
join policies c on c.member_id = k.member_id and c.id = k.policy_id
where k.month < :month and c.state = 'IN_FORCE'
and (cast(:only as uuid) is null or k.member_id = :only)
and not exists (select from participation_months p where p.member_id = k.member_id
  and p.closed_at is null and p.closes_at <= :now)
order by k.member_id limit :size for update of k, c skip locked
""").bindparams(
    bindparam("month", type_=Date),
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("size", type_=Integer),
    bindparam("only", type_=Uuid),
)
_DONE = text("""
update premium_recalculations k set month = :month from policies c
where k.member_id = any(:member_ids) and c.member_id = k.member_id
and c.id = k.policy_id and c.state = 'IN_FORCE' and k.month < :month
""").bindparams(bindparam("month", type_=Date), _IDS)
_TOTALS = text("""
select distinct on (p.member_id, p.policy_id) p.member_id, p.policy_id, p.total, p.term_starts_on
from premiums p where p.member_id = any(:member_ids)
order by p.member_id, p.policy_id, p.number desc
""").bindparams(_IDS)


def over(now: datetime) -> date:
    """First day of the last calendar month that is over everywhere."""
    return rules.add_months((now - _LAST_ZONE).date().replace(day=1), -1)


async def recalculate(db: Database, *, now: datetime) -> int:
    """Every policy in force, once for each month that is over; how many."""
    month = over(now)
    while True:
        async with db.transaction() as session:
            begun = (await session.execute(_BEGIN, {"size": BATCH})).rowcount
        if begun < BATCH:
            break

    async def work(session: AsyncSession, member_id: UUID | None) -> int:
        held = await _take(session, month=month, now=now, size=BATCH, only=member_id)
        return await _recalculate(session, held, month=month, now=now)

    async def due(session: AsyncSession) -> Sequence[UUID]:
        return await _take(session, month=month, now=now, size=_EVERYBODY)

    return await one_by_one.run(db, work, due, event="recalculation_failed")


async def _take(
    session: AsyncSession, *, month: date, now: datetime, size: int, only: UUID | None = None
) -> list[UUID]:
    due = {"month": month, "now": now, "size": size, "only": only}
    return list((await session.execute(_DUE, due)).scalars())


async def _recalculate(
    session: AsyncSession, member_ids: Sequence[UUID], *, month: date, now: datetime
) -> int:
    if not member_ids:
        return 0
    held = await projecting.running(session, member_ids)
    if await _lower(session, held, effective_on=rules.add_months(month, 1), now=now):
        held = await projecting.running(session, member_ids)
    await projecting.write(session, held, now=now)
    await session.execute(_DONE, {"month": month, "member_ids": member_ids})
    return len(member_ids)


async def _lower(
    session: AsyncSession, held: Sequence[Running], *, effective_on: date, now: datetime
) -> int:
    """Price what is left of the terms for which a rule acts during the term; how many became
    cheaper."""
    acting = [
        it
        for it in held
        if _acts(it.product) and it.term.starts_on < effective_on <= it.term.ends_on
    ]
    if not acting:
        return 0
    dues = [it.rest_of_term(effective_on) for it in acting]
    totals = await _totals(session, [it.member_id for it in acting])
    cheaper = [
        known
        for known in await pricing.quote(session, dues, now=now)
        if known is not None and known.priced.total < totals.get(_key(known), 0)
    ]
    await pricing.keep(session, cheaper)
    for it in cheaper:
        policy = await session.get_one(Policy, (it.due.member_id, it.due.policy_id))
        await invoices.reprice(
            session,
            policy,
            it.due.product,
            before=totals[_key(it)],
            yearly=it.priced.total,
            effective_on=effective_on,
            now=now,
        )
    return len(cheaper)


def _acts(product: Product) -> bool:
    return any(getattr(rule, "timing", None) is Timing.MID_TERM for rule in product.rules)


def _key(known: Known) -> tuple[UUID, UUID, date]:
    return known.due.member_id, known.due.policy_id, known.due.term.starts_on


async def _totals(
    session: AsyncSession, member_ids: Sequence[UUID]
) -> dict[tuple[UUID, UUID, date], int]:
    """What each term costs now, by member, policy and first day of the term."""
    rows = await session.execute(_TOTALS, {"member_ids": list(member_ids)})
    return {(row.member_id, row.policy_id, row.term_starts_on): row.total for row in rows}
