"""Terms that were priced before premiums were kept, or by the release before this one: kept
with the facts of then, where those still say what was paid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, DateTime, Integer, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.premiums import catalogue, pricing
from app.premiums.facts import Moment
from app.premiums.pricing import Due, Known
from app.premiums.rules import Term

BATCH = 200

_log = structlog.get_logger(__name__)

# A policy that has any premium has all of them: the first is kept before another is priced.
_WITHOUT = text("""
select c.member_id, c.id from policies c
where (c.member_id, c.id) > (:after_member, :after_id)
and (cast(:due_by as timestamptz) is null
  or (c.state = 'IN_FORCE' and c.term_ends_at <= :due_by))
and (cast(:only as uuid) is null or c.id = :only)
and exists (select from policy_terms t where t.member_id = c.member_id and t.policy_id = c.id)
and not exists (select from premiums p where p.member_id = c.member_id and p.policy_id = c.id)
order by c.member_id, c.id limit :size for no key update of c skip locked
""").bindparams(
    bindparam("after_member", type_=Uuid),
    bindparam("after_id", type_=Uuid),
    bindparam("due_by", type_=DateTime(timezone=True)),
    bindparam("size", type_=Integer),
    bindparam("only", type_=Uuid),
)
_TERMS = text("""
select t.member_id, t.policy_id, c.product_version_id, t.starts_on, t.ends_on, t.base, t.total,
  t.currency, t.created_at
from policy_terms t join policies c on c.member_id = t.member_id and c.id = t.policy_id
where (t.member_id, t.policy_id) in (select * from unnest(:member_ids, :policy_ids))
order by t.member_id, t.policy_id, t.starts_on
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("policy_ids", type_=ARRAY(Uuid))
)


@dataclass(frozen=True, slots=True)
class Backfilled:
    kept: int
    """Terms whose premium is kept now."""
    unlike: int
    """Terms of which the facts of today do not say what was paid: a month was restated since,
    and what it was before had not been kept. Their headline stays as it is, without lines."""


async def keep_past(
    db: Database, *, now: datetime, due_by: datetime | None = None, limit: int = 10**9
) -> Backfilled:
    """All policies without a premium, or those whose term ends by `due_by`, in batches that
    commit one by one: cut short, it goes on where it stopped; twice, it finds nothing."""
    kept = unlike = seen = 0
    after = (UUID(int=0), UUID(int=0))
    while seen < limit:
        page = {
            "after_member": after[0],
            "after_id": after[1],
            "due_by": due_by,
            "size": min(BATCH, limit - seen),
            "only": None,
        }
        policies, done = await _keep_page(db, page)
        if not policies:
            break
        kept, unlike = kept + done.kept, unlike + done.unlike
        seen += len(policies)
        after = (policies[-1].member_id, policies[-1].id)
    return Backfilled(kept, unlike)


async def _keep_page(db: Database, page: dict[str, Any]) -> tuple[Sequence[Any], Backfilled]:
    """The policies of a page, and what was kept of them. One that cannot be kept, as the log
    says, keeps nobody else from it."""
    policies: Sequence[Any] = ()
    try:
        async with db.transaction() as session:
            policies = (await session.execute(_WITHOUT, page)).all()
            return policies, await _keep(session, policies)
    except Exception:
        if not policies:
            raise
    kept = unlike = 0
    for it in policies:
        try:
            async with db.transaction() as session:
                found = (await session.execute(_WITHOUT, {**page, "only": it.id})).all()
                done = await _keep(session, found)
            kept, unlike = kept + done.kept, unlike + done.unlike
        except Exception as error:  # noqa: BLE001 - as above
            _log.error("past_not_kept", policy_id=str(it.id), error=type(error).__name__)
    return policies, Backfilled(kept, unlike)


async def _keep(session: AsyncSession, policies: Sequence[Any]) -> Backfilled:
    if not policies:
        return Backfilled(0, 0)
    keys = {
        "member_ids": [it.member_id for it in policies],
        "policy_ids": [it.id for it in policies],
    }
    terms = (await session.execute(_TERMS, keys)).all()
    products = await catalogue.products(session, {it.product_version_id for it in terms})
    kept = unlike = 0
    # All first terms, then all second ones: what follows rests on what was kept before.
    for round_ in _rounds(terms):
        dues = [(_due(it, before, products[it.product_version_id]), it) for before, it in round_]
        done = await _keep_round(session, dues)
        kept, unlike = kept + done.kept, unlike + done.unlike
    return Backfilled(kept, unlike)


def _rounds(terms: Sequence[Any]) -> list[list[tuple[Any, Any]]]:
    """Each term with the one before it in its policy, by its place there."""
    rounds: list[list[tuple[Any, Any]]] = []
    for _, of_policy in groupby(terms, key=lambda it: (it.member_id, it.policy_id)):
        before = None
        for place, term in enumerate(of_policy):
            if place == len(rounds):
                rounds.append([])
            rounds[place].append((before, term))
            before = term
    return rounds


async def _keep_round(session: AsyncSession, dues: Sequence[tuple[Due, Any]]) -> Backfilled:
    numbers = await pricing.numbers(session, [due.member_id for due, _ in dues])
    dues = [
        (replace(due, number=numbers.get((due.member_id, due.policy_id), 0) + 1), term)
        for due, term in dues
    ]
    facts = await pricing.gathered_again(session, [(due, it.created_at) for due, it in dues])
    found: list[Known] = []
    for (due, term), known_then in zip(dues, facts, strict=True):
        known = pricing.known(due, known_then) if known_then is not None else None
        if known is not None and _says(known, term):
            found.append(known)
    await pricing.keep(session, found)
    return Backfilled(len(found), len(dues) - len(found))


def _due(term: Any, before: Any, product: Any) -> Due:
    follows = before is not None and before.policy_id == term.policy_id
    return Due(
        member_id=term.member_id,
        policy_id=term.policy_id,
        version_id=term.product_version_id,
        product=product,
        moment=Moment.RENEWAL if follows else Moment.ENROLMENT,
        number=1,
        term=Term(term.starts_on, term.ends_on),
        ending=Term(before.starts_on, before.ends_on) if follows else None,
    )


def _says(known: Known, term: Any) -> bool:
    priced = known.priced
    return (priced.base, priced.total, priced.currency) == (term.base, term.total, term.currency)
