"""Rewrites the projections of premiums: what the first screen shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database, Statement
from app.premiums import catalogue, pricing, rules
from app.premiums.facts import Moment
from app.premiums.models import PolicyTerm, PremiumProjection
from app.premiums.pricing import Due, Known
from app.premiums.product import Product
from app.premiums.rules import Term


@dataclass(frozen=True, slots=True)
class Running:
    """A policy in force, and the term that runs."""

    member_id: UUID
    policy_id: UUID
    version_id: UUID
    product: Product
    started_on: date
    term: Term
    adjustment_percent: Decimal
    """Of the running term, against its base."""
    priced: int
    """How many premiums the policy has."""
    next_version_id: UUID
    next_product: Product
    """What the next term is under: as it was offered, or else as the running one."""
    ends: bool
    """The member has declined the next term, or the cover is going to end."""

    def next_term(self) -> Due:
        """What follows, as far as is known now."""
        months = self.next_product.term_months
        return Due(
            member_id=self.member_id,
            policy_id=self.policy_id,
            version_id=self.next_version_id,
            product=self.next_product,
            moment=Moment.RENEWAL,
            number=self.priced + 1,
            term=rules.following(self.started_on, self.term, months=months),
            ending=self.term,
        )

    def rest_of_term(self, effective_on: date) -> Due:
        """What is left of the running term from a day on."""
        return Due(
            member_id=self.member_id,
            policy_id=self.policy_id,
            version_id=self.version_id,
            product=self.product,
            moment=Moment.MID_TERM,
            number=self.priced + 1,
            term=self.term,
            effective_on=effective_on,
        )


_IDS = bindparam("member_ids", type_=ARRAY(Uuid))
_LOCK = text("""
select 1 from policies where member_id = any(:member_ids) and state = 'IN_FORCE'
order by member_id for no key update
""").bindparams(_IDS)
_RUNNING = """
select c.member_id, c.id, coalesce(p.product_version_id, c.product_version_id) as version_id,
  c.started_on, t.starts_on, t.ends_on, coalesce(p.adjustment_percent, t.adjustment_percent) as percent,
  coalesce(p.number, 0) as number, coalesce(o.product_version_id, c.product_version_id) as next_id,
  coalesce(o.answer = 'DECLINED', false) or c.ended_on is not null as ends
from policies c
cross join lateral (select * from policy_terms t where t.member_id = c.member_id
  and t.policy_id = c.id order by t.starts_on desc limit 1) t
left join lateral (select p.product_version_id, p.adjustment_percent, p.number from premiums p
  where p.member_id = c.member_id and p.policy_id = c.id order by p.number desc limit 1) p on true
left join renewal_offers o on o.member_id = c.member_id and o.policy_id = c.id
  and o.starts_on = t.ends_on + 1
where c.member_id = {} and c.state = 'IN_FORCE' order by c.member_id
"""
_RUNNING_OF_MANY = text(_RUNNING.format("any(:member_ids)")).bindparams(_IDS)
# With an array the server plans it anew each time.
_RUNNING_OF_ONE = text(_RUNNING.format(":member_id")).bindparams(bindparam("member_id", type_=Uuid))
_RUNNING_DIRECTLY = Statement(_RUNNING.format(":member_id"), {})


async def running(reading: Any, member_ids: Sequence[UUID]) -> list[Running]:
    """The policies in force of these members, in the order of members. One statement, and one
    more for versions that this process has not read yet; `reading` as for `gathering.gather`."""
    rows = await _running_rows(reading, member_ids)
    versions = {id for row in rows for id in (row.version_id, row.next_id)}
    products = await catalogue.products(reading, versions)
    return [
        Running(
            row.member_id,
            row.id,
            row.version_id,
            products[row.version_id],
            row.started_on,
            Term(row.starts_on, row.ends_on),
            row.percent,
            row.number,
            row.next_id,
            products[row.next_id],
            row.ends,
        )
        for row in rows
    ]


async def _running_rows(reading: Any, member_ids: Sequence[UUID]) -> Sequence[Any]:
    if isinstance(reading, Database):
        return await reading.select(_RUNNING_DIRECTLY, {"member_id": member_ids[0]})
    if len(member_ids) == 1:
        found = await reading.execute(_RUNNING_OF_ONE, {"member_id": member_ids[0]})
    else:
        found = await reading.execute(_RUNNING_OF_MANY, {"member_ids": list(member_ids)})
    rows: Sequence[Any] = found.all()
    return rows


async def project(session: AsyncSession, *, member_ids: Sequence[UUID], now: datetime) -> int:
    """Rewrite the projections of these members from what is known of them now, by the engine
    that bills; how many. A constant number of statements."""
    await session.flush()
    await session.execute(_LOCK, {"member_ids": sorted(set(member_ids))})
    held = await running(session, sorted(set(member_ids)))
    return await write(session, held, now=now)


async def renewals(reading: Any, held: Sequence[Running], *, now: datetime) -> list[Known | None]:
    """What the next term of each costs as things stand; None where there is none: declined, or
    the member is too old for the product by then."""
    found = await pricing.quote(reading, [it.next_term() for it in held], now=now)
    return [
        known if known is not None and not it.ends and renewable(known) else None
        for it, known in zip(held, found, strict=True)
    ]


def renewable(known: Known) -> bool:
    who = known.due.product.eligibility
    return who.age_from <= known.facts.age <= who.age_to


async def write(session: AsyncSession, held: Sequence[Running], *, now: datetime) -> int:
    """The projections of these policies, which the caller has locked; how many."""
    known = await renewals(session, held, now=now)
    projected = {
        it.member_id: found.priced.adjustment_percent
        for it, found in zip(held, known, strict=True)
        if found is not None
    }
    rows = [
        {
            "member_id": it.member_id,
            "policy_id": it.policy_id,
            "adjustment_percent": it.adjustment_percent,
            "projected_adjustment_percent": projected.get(it.member_id),
            "renews_on": it.term.ends_on + timedelta(days=1),
            "as_of": now,
        }
        for it in held
    ]
    if rows:
        statement = insert(PremiumProjection).values(rows)
        changed = {
            name: statement.excluded[name]
            for name in rows[0]
            if name not in ("member_id", "policy_id")
        }
        await session.execute(
            statement.on_conflict_do_update(index_elements=["member_id", "policy_id"], set_=changed)
        )
    return len(rows)


def row(term: PolicyTerm, *, projected: Decimal, now: datetime) -> PremiumProjection:
    """The first projection of a term, before anything is known of it."""
    return PremiumProjection(
        member_id=term.member_id,
        policy_id=term.policy_id,
        adjustment_percent=term.adjustment_percent,
        projected_adjustment_percent=projected,
        renews_on=term.ends_on + timedelta(days=1),
        as_of=now,
    )
