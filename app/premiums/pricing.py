"""Pricing terms: gather the facts, ask the engine, keep what it said with all it rests on.

In batches with a constant number of statements, so that one enrolment and a night of renewals
go the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, Date, DateTime, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ids import new_id
from app.premiums import engine, facts_json, gathering, stored_lines
from app.premiums.facts import Facts, MidTerm, Moment
from app.premiums.gathering import Asked
from app.premiums.premium_models import Premium, PremiumCreditUse
from app.premiums.product import Product
from app.premiums.quote import Priced
from app.premiums.rules import Term


@dataclass(frozen=True, slots=True)
class Due:
    """A term of a policy that is to be priced, or what is left of one."""

    member_id: UUID
    policy_id: UUID
    version_id: UUID
    product: Product
    moment: Moment
    number: int
    """Of the premium, from 1: one more than the policy has."""
    term: Term
    """The one that is priced; at MID_TERM the running one."""
    ending: Term | None = None
    """Null at the beginning of a policy, and at MID_TERM."""
    effective_on: date | None = None
    """Only at MID_TERM: from when."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a term is priced from, and what it costs."""

    due: Due
    facts: Facts
    priced: Priced


class Unpriceable(ValueError):
    """The product's table has no row for this member."""

    def __init__(self, due: Due, age: int) -> None:
        super().__init__(f"product {due.product.code!r} has no base premium for age {age}")
        self.due, self.age = due, age


_IDS = bindparam("member_ids", type_=ARRAY(Uuid))
# Reversing a redemption takes the same rows.
_LOCK_CREDITS = text("""
select 1 from pending_benefits where member_id = any(:member_ids) and kind = 'PREMIUM_CREDIT'
order by member_id, id for update
""").bindparams(_IDS)
_NUMBERS = text("""
select p.member_id, p.policy_id, max(p.number) as number from premiums p
where p.member_id = any(:member_ids) group by p.member_id, p.policy_id
""").bindparams(_IDS)
_FIRST_OF_TERM = text("""
select distinct on (p.member_id, p.policy_id, p.term_starts_on) p.member_id, p.policy_id,
  p.term_starts_on, p.facts
from unnest(:member_ids, :policy_ids, :starts_on)
  as a (member_id, policy_id, starts_on)
join premiums p on p.member_id = a.member_id and p.policy_id = a.policy_id
  and p.term_starts_on = a.starts_on and p.moment <> 'MID_TERM'
order by p.member_id, p.policy_id, p.term_starts_on, p.number
""").bindparams(
    _IDS,
    bindparam("policy_ids", type_=ARRAY(Uuid)),
    bindparam("starts_on", type_=ARRAY(Date)),
)
_USED = text("""
update pending_benefits b set applied_at = u.at
from unnest(:member_ids, :ids, :at) as u (member_id, id, at)
where b.member_id = u.member_id and b.id = u.id and b.applied_at is null
""").bindparams(
    _IDS,
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("at", type_=ARRAY(DateTime(timezone=True))),
)


async def numbers(session: Any, member_ids: Sequence[UUID]) -> dict[tuple[UUID, UUID], int]:
    """How many premiums each policy of these members has, by (member, policy)."""
    rows = await session.execute(_NUMBERS, {"member_ids": list(member_ids)})
    return {(row.member_id, row.policy_id): row.number for row in rows}


async def quote(reading: Any, dues: Sequence[Due], *, now: datetime) -> list[Known | None]:
    """What each costs as known at `now`, in their order; nothing is stored. None where the
    product's table has no row for the member by then, or where a running term was priced before
    premiums were kept. One statement, and one more when any is MID_TERM."""
    gathered = await facts_of(reading, dues, now=now)
    return [
        known(due, facts) if facts is not None else None
        for due, facts in zip(dues, gathered, strict=True)
    ]


async def facts_of(reading: Any, dues: Sequence[Due], *, now: datetime) -> list[Facts | None]:
    """What each is priced from as known at `now`; None where a running term was priced before
    premiums were kept."""
    return await gathered_again(reading, [(due, now) for due in dues])


async def gathered_again(reading: Any, dues: Sequence[tuple[Due, datetime]]) -> list[Facts | None]:
    """As `facts_of`, each as known at an instant of its own."""
    gathered = await gathering.gather(reading, [_asked(due, as_of) for due, as_of in dues])
    stored = await _of_running_terms(reading, [due for due, _ in dues if _is_mid_term(due)])
    found: list[Facts | None] = []
    for (due, _), facts in zip(dues, gathered, strict=True):
        if facts is not None and _is_mid_term(due):
            first = stored.get((due.member_id, due.policy_id, due.term.starts_on))
            facts = _mid_term(first, due, facts) if first is not None else None
        found.append(facts)
    return found


def known(due: Due, facts: Facts) -> Known | None:
    """What a term costs from these facts; None where the table has no row for the member."""
    table = due.product.base_premium
    if table.row(age=facts.age, sex=facts.sex, health=facts.health) is None:
        return None
    return Known(due, facts, engine.price(due.product, facts))


async def price_terms(
    session: AsyncSession, dues: Sequence[Due], *, now: datetime
) -> tuple[list[tuple[Known, UUID]], list[Unpriceable]]:
    """Price and keep each, once: credits are used up, and the number of a premium is taken.
    The caller holds the policies locked. With the id of each premium; and those for whom the
    product has no price, of whom nothing is kept."""
    member_ids = sorted({due.member_id for due in dues})
    if any(_credits(due.product) for due in dues):
        await session.execute(_LOCK_CREDITS, {"member_ids": member_ids})
    found, refused = [], []
    for due, facts in zip(dues, await facts_of(session, dues, now=now), strict=True):
        it = known(due, facts) if facts is not None else None
        if it is None:
            refused.append(Unpriceable(due, facts.age if facts is not None else 0))
        else:
            found.append(it)
    return await keep(session, found), refused


async def keep(session: AsyncSession, priced: Sequence[Known]) -> list[tuple[Known, UUID]]:
    """Store what was priced, at the instant of its facts, with the credits that it used."""
    stored = [(it, new_id(it.facts.as_of)) for it in priced]
    if stored:
        await session.execute(insert(Premium), [row(it, id) for it, id in stored])
    uses = [
        {
            "member_id": it.due.member_id,
            "redemption_id": UUID(redemption_id),
            "premium_id": id,
            "amount": amount,
            "used_at": it.facts.as_of,
        }
        for it, id in stored
        # What a running term has used, it has used already.
        if not _is_mid_term(it.due)
        for redemption_id, amount in it.priced.credits_used.items()
        if amount
    ]
    if uses:
        await session.execute(insert(PremiumCreditUse), uses)
        used = {
            "member_ids": [use["member_id"] for use in uses],
            "ids": [use["redemption_id"] for use in uses],
            "at": [use["used_at"] for use in uses],
        }
        await session.execute(_USED, used)
    return stored


def row(it: Known, id: UUID) -> dict[str, Any]:
    """The columns of `premiums`."""
    due, facts, priced = it.due, it.facts, it.priced
    return {
        "member_id": due.member_id,
        "id": id,
        "policy_id": due.policy_id,
        "number": due.number,
        "moment": due.moment.value,
        "product_version_id": due.version_id,
        "as_of": facts.as_of,
        "term_starts_on": due.term.starts_on,
        "effective_on": due.effective_on or due.term.starts_on,
        "base": priced.base,
        "rated_base": priced.rated_base,
        "total": priced.total,
        "currency": priced.currency,
        "adjustment_percent": priced.adjustment_percent,
        "cover_uplift_percent": priced.cover_uplift_percent,
        "lines": stored_lines.documents(priced.lines),
        "carry": {code: facts_json.number(it) for code, it in sorted(priced.carry.items())},
        "facts": facts_json.document(facts),
        "facts_hash": facts_hash(due.product, facts),
    }


def facts_hash(product: Product, facts: Facts) -> bytes:
    """Of the version and the facts together: what decides every cent."""
    return sha256(product.hash + facts_json.write(facts)).digest()


def read_facts(stored: Mapping[str, Any]) -> Facts:
    """The facts of a stored premium."""
    return facts_json.read(orjson.dumps(stored))


def _asked(due: Due, now: datetime) -> Asked:
    running = due.term if _is_mid_term(due) else due.ending
    return Asked(
        member_id=due.member_id,
        product=due.product,
        moment=due.moment,
        as_of=now,
        effective_on=due.effective_on or due.term.starts_on,
        ending=running,
        policy_id=due.policy_id,
        number=due.number,
    )


def _mid_term(first: Mapping[str, Any], due: Due, gathered: Facts) -> Facts:
    """What the running term was priced with, and what has become known since."""
    assert due.effective_on is not None
    return replace(
        read_facts(first),
        moment=Moment.MID_TERM,
        as_of=gathered.as_of,
        mid_term=MidTerm(
            running=due.term,
            effective_on=due.effective_on,
            series=gathered.series,
            participation=gathered.participation,
        ),
    )


async def _of_running_terms(
    reading: Any, dues: Sequence[Due]
) -> dict[tuple[UUID, UUID, date], Mapping[str, Any]]:
    """The facts that each running term was priced with when it began."""
    if not dues:
        return {}
    wanted = {
        "member_ids": [due.member_id for due in dues],
        "policy_ids": [due.policy_id for due in dues],
        "starts_on": [due.term.starts_on for due in dues],
    }
    rows = await reading.execute(_FIRST_OF_TERM, wanted)
    return {(row.member_id, row.policy_id, row.term_starts_on): row.facts for row in rows}


def _is_mid_term(due: Due) -> bool:
    return due.moment is Moment.MID_TERM


def _credits(product: Product) -> bool:
    return any(getattr(rule, "credit", False) for rule in product.rules)
