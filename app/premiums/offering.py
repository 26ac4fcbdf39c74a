"""Terms that end soon: the next one is offered, and a report of an examination asked for."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Date, DateTime, Integer, Uuid, bindparam, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.members.models import Member
from app.premiums import catalogue, history, projecting, renewal, rules, terms
from app.premiums import product as products
from app.premiums.lifecycle import PolicyEventKind
from app.premiums.models import Policy
from app.premiums.policy_models import RenewalOffer
from app.texts import Text
from app.worklist import programme
from app.worklist.rules import WorklistItemKind

# The days before the end stand in the product that the policy is under.
_TO_OFFER = text("""
select p.member_id, p.id from policies p
join product_versions v on v.id = p.product_version_id
where p.state = 'IN_FORCE' and p.ended_on is null and p.term_ends_at > :now
and p.term_ends_at <= :now + make_interval(days => cast(
  v.definition #>> '{renewal,offer_days_before}' as integer))
and not exists (select from renewal_offers o where o.member_id = p.member_id
  and o.policy_id = p.id and o.starts_on = (select max(t.ends_on) + 1 from policy_terms t
    where t.member_id = p.member_id and t.policy_id = p.id))
order by p.term_ends_at limit :limit for update of p skip locked
""").bindparams(bindparam("now", type_=DateTime(timezone=True)), bindparam("limit", type_=Integer))


_WITHOUT_REPORT = text("""
select w.member_id from unnest(:member_ids, :days) as w (member_id, since)
where not exists (select from measurements r where r.member_id = w.member_id
  and r.channel = 'EXAMINATION' and r.superseded_at is null and r.local_date >= w.since)
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("days", type_=ARRAY(Date)))
_PRIORITY = 40


async def offer_due(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Announce the next term of policies that end soon, under the newest version of their
    product and at the price of today, which it will not exceed; how many. Safe to run twice or
    in parallel."""
    keys = (await session.execute(_TO_OFFER, {"now": now, "limit": limit})).all()
    locked = await _policies(session, [id for _, id in keys])
    # Looked at again under the lock: another run may have offered it a moment ago.
    offered = await renewal.offers(session, locked)
    policies = [it for it in locked if it.id not in offered]
    last = await renewal.last_terms(session, policies)
    versions = await terms.versions_of(session, policies)
    regions = await _regions(session, policies)
    newest: dict[tuple[str | None, UUID], UUID] = {}
    made: dict[UUID, RenewalOffer] = {}
    for policy in policies:
        held, region = policy.product_version_id, regions[policy.member_id]
        if (region, held) not in newest:
            found = await catalogue.offered(session, versions[held].code, region=region, holds=held)
            newest[region, held] = found.id
        made[policy.id] = RenewalOffer(
            member_id=policy.member_id,
            policy_id=policy.id,
            starts_on=rules.add_days(last[policy.id].ends_on, 1),
            product_version_id=newest[region, held],
            offered_at=now,
        )
        session.add(made[policy.id])
        history.record(session, policy, PolicyEventKind.RENEWAL_OFFERED, now=now)
    await session.flush()
    await _promise(session, made, now=now)
    await _ask_for_reports(session, policies, versions, now=now)
    return len(policies)


async def _promise(
    session: AsyncSession, made: Mapping[UUID, RenewalOffer], *, now: datetime
) -> None:
    """Keep the prices that are offered: with the statements of one quote, however many. Without
    credits: one that is redeemed or reversed afterwards changes nothing of what was offered."""
    held = await projecting.running(session, [it.member_id for it in made.values()])
    for known in await projecting.renewals(session, held, now=now):
        if known is not None:
            offer, priced = made[known.due.policy_id], known.priced
            offer.amount, offer.priced_at = priced.total + sum(priced.credits_used.values()), now
    await session.flush()


async def _ask_for_reports(
    session: AsyncSession,
    policies: Sequence[Policy],
    versions: Mapping[UUID, products.Product],
    *,
    now: datetime,
) -> None:
    """COV-5: who has had no examination lately, as the product says, is asked for one."""
    asked = []
    for policy in policies:
        terms_of = versions[policy.product_version_id].underwriting
        months = terms_of.examination_report_months if terms_of else None
        if months is not None:
            asked.append((policy, rules.add_months(now.date(), -months)))
    if not asked:
        return
    parameters = {"member_ids": [it.member_id for it, _ in asked], "days": [on for _, on in asked]}
    without = set((await session.execute(_WITHOUT_REPORT, parameters)).scalars())
    tasks = [(it.member_id, _examination(it, now)) for it, _ in asked if it.member_id in without]
    await programme.open_items(session, tasks=tasks, now=now)


def _examination(policy: Policy, now: datetime) -> programme.Task:
    return programme.Task(
        kind=WorklistItemKind.EXAMINATION_DUE,
        cause_key=f"renewal-examination:{policy.id}:{policy.term_ends_at.date()}",
        reason=Text(
            zh="即将续保，尚无近期体检报告。",
            en="The renewal comes, and there is no recent examination report.",
        ),
        priority=_PRIORITY,
        due_at=policy.term_ends_at,
        subject_kind=None,
        subject_id=None,
    )


async def _regions(session: AsyncSession, policies: Sequence[Policy]) -> Mapping[UUID, str | None]:
    found = await session.exec(
        select(col(Member.member_id), col(Member.region)).where(
            col(Member.member_id).in_([it.member_id for it in policies])
        )
    )
    return dict(found.all())


async def _policies(session: AsyncSession, ids: Sequence[UUID]) -> Sequence[Policy]:
    if not ids:
        return []
    found = await session.exec(
        select(Policy).where(col(Policy.id).in_(ids)).execution_options(populate_existing=True)
    )
    return found.all()
