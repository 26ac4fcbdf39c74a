"""Terms that end: the next one is offered in time, and begins unless somebody declines."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Date, DateTime, Integer, Uuid, bindparam, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, UserError
from app.health_tasks import ending
from app.health_tasks.models import ParticipationMonth
from app.members import requests
from app.members.models import Member
from app.premiums import (
    catalogue,
    enrolment,
    history,
    invoices,
    payment_choices,
    projecting,
    rules,
    terms,
)
from app.premiums import product as products
from app.premiums.contract_terms import Unanswered
from app.premiums.facts import Moment
from app.premiums.history import Actor
from app.premiums.lifecycle import PolicyEventKind
from app.premiums.models import Policy, PolicyTerm
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


class NotOffered(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="现在没有待答复的续保。", en="There is no renewal to answer now."),
            field="contractId",
        )


@dataclass(frozen=True, slots=True)
class _Ending:
    """A policy whose term is over, with what decides about the next."""

    policy: Policy
    member: Member
    ended: PolicyTerm
    offer: RenewalOffer | None
    before: products.Product


async def offer_due(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Announce the next term of policies that end soon, under the newest version of their
    product; how many. Safe to run twice or in parallel."""
    keys = (await session.execute(_TO_OFFER, {"now": now, "limit": limit})).all()
    locked = await _policies(session, [id for _, id in keys])
    # Looked at again under the lock: another run may have offered it a moment ago.
    offered = await _offers(session, locked)
    policies = [it for it in locked if it.id not in offered]
    last = await _last_terms(session, policies)
    versions = await terms.versions_of(session, policies)
    regions = await _regions(session, policies)
    newest: dict[tuple[str | None, UUID], UUID] = {}
    for policy in policies:
        held, region = policy.product_version_id, regions[policy.member_id]
        if (region, held) not in newest:
            found = await catalogue.offered(session, versions[held].code, region=region, holds=held)
            newest[region, held] = found.id
        session.add(
            RenewalOffer(
                member_id=policy.member_id,
                policy_id=policy.id,
                starts_on=rules.add_days(last[policy.id].ends_on, 1),
                product_version_id=newest[region, held],
                offered_at=now,
            )
        )
        history.record(session, policy, PolicyEventKind.RENEWAL_OFFERED, now=now)
    await session.flush()
    await _ask_for_reports(session, policies, versions, now=now)
    return len(policies)


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


async def answer(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    policy_id: UUID,
    accept: bool,
    by: Actor,
    now: datetime,
) -> tuple[Policy, bool]:
    """What a member says to the next term, until it begins; the last word counts. The policy,
    and whether this request was answered before.

    Raises NotFound, NotOffered, PolicyStateInvalid, RequestReused.
    """
    policy = await history.lock(session, member_id, policy_id)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="answerRenewal",
        values={"policyId": policy_id, "accept": accept},
        result=policy_id,
        now=now,
    )
    if earlier is not None:
        return policy, True
    kind = PolicyEventKind.RENEWAL_ACCEPTED if accept else PolicyEventKind.RENEWAL_DECLINED
    history.check(policy, kind)
    offer = (await _offers(session, [policy])).get(policy.id)
    if offer is None or policy.ended_on is not None or policy.term_ends_at <= now:
        raise NotOffered
    said = "ACCEPTED" if accept else "DECLINED"
    if offer.answer != said:
        offer.answer, offer.answered_at = said, now
        history.record(session, policy, kind, by=by, now=now)
    return policy, False


async def renew_due(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Begin the next term of policies whose term has ended, or end them; how many.

    A member whose last month is not closed yet waits for it. Safe to run twice or in
    parallel: a policy that another run holds is skipped.
    """
    open_month = (
        select(col(ParticipationMonth.month))
        .where(
            ParticipationMonth.member_id == Policy.member_id,
            col(ParticipationMonth.closed_at).is_(None),
            col(ParticipationMonth.closes_at) <= col(Policy.term_ends_at),
        )
        .exists()
    )
    due = (
        await session.exec(
            select(Policy)
            .where(Policy.state == "IN_FORCE", col(Policy.term_ends_at) <= now, ~open_month)
            .order_by(col(Policy.term_ends_at))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ).all()
    if not due:
        return 0
    endings = await _endings(session, due)
    going_on = [it for it in endings if _goes_on(it)]
    for it in endings:
        if not _goes_on(it):
            await _end(session, it, now=now)
    going_on = await _under_their_versions(session, going_on, now=now)
    await _renew(session, going_on, now=now)
    await session.flush()
    await projecting.project(session, member_ids=[it.policy.member_id for it in going_on], now=now)
    return len(due)


def _goes_on(it: _Ending) -> bool:
    """As the member has said; without a word as the product says."""
    if it.policy.ended_on is not None:
        return False
    if it.offer is not None and it.offer.answer is not None:
        return it.offer.answer == "ACCEPTED"
    return it.before.renewal is None or it.before.renewal.unanswered is Unanswered.ACCEPT


async def _end(session: AsyncSession, it: _Ending, *, now: datetime) -> None:
    """With the term, or with the month after which the member wished to stop."""
    policy = it.policy
    kind = PolicyEventKind.ENDED if policy.ended_on is None else PolicyEventKind.CANCELLED
    policy.ended_on = policy.ended_on or it.ended.ends_on
    history.record(session, policy, kind, now=now)
    await session.flush()
    await ending.end_tasks(session, it.member, last_on=policy.ended_on, now=now)


async def _under_their_versions(
    session: AsyncSession, endings: Sequence[_Ending], *, now: datetime
) -> list[_Ending]:
    """Put each under the version that its next term is under; who has become too old for it,
    or is too young for a new one, is not renewed."""
    for it in endings:
        if it.offer is not None:
            it.policy.product_version_id = it.offer.product_version_id
    versions = await terms.versions_of(session, [it.policy for it in endings])
    renewed = []
    for it in endings:
        product = versions[it.policy.product_version_id]
        age = rules.age_on(it.member.birth_date, rules.add_days(it.ended.ends_on, 1))
        if not product.eligibility.age_from <= age <= product.eligibility.age_to:
            await _end(session, it, now=now)
        else:
            payment_choices.keep_to(it.policy, product)
            renewed.append(it)
    return renewed


async def _renew(session: AsyncSession, endings: Sequence[_Ending], *, now: datetime) -> None:
    versions = await terms.versions_of(session, [it.policy for it in endings])
    coming = {}
    for it in endings:
        product = versions[it.policy.product_version_id]
        coming[it.policy.id] = terms.after(it.policy, product, it.ended)
    priced = await terms.price_terms(session, list(coming.values()), moment=Moment.RENEWAL, now=now)
    for it in endings:
        policy, following = it.policy, coming[it.policy.id]
        product, headline = versions[policy.product_version_id], priced[policy.id]
        session.add(terms.row(following, headline, now=now))
        policy.term_ends_at = terms.ends_at(following.days, it.member.time_zone)
        invoices.schedule(
            session,
            policy,
            product,
            following.days,
            yearly=headline.total,
            time_zone=it.member.time_zone,
            now=now,
        )
        history.record(session, policy, PolicyEventKind.RENEWED, now=now)
        await session.flush()
        await _other_tasks(session, it, product, following.days, now=now)


async def _other_tasks(
    session: AsyncSession,
    it: _Ending,
    product: products.Product,
    days: rules.Term,
    *,
    now: datetime,
) -> None:
    """A new version asks for other tasks: those that it does not know end, the others begin."""
    kept = {(task.template, task.template_version, task.points) for task in it.before.tasks}
    wanted = {(task.template, task.template_version, task.points) for task in product.tasks}
    if kept == wanted:
        return
    today = civil_time.local_date(now, civil_time.zone(it.member.time_zone))
    begins = max(days.starts_on, today)
    gone = [code for code, _, _ in kept - wanted]
    await ending.end_tasks(
        session, it.member, last_on=rules.add_days(begins, -1), templates=gone, now=now
    )
    await enrolment.ask_for_tasks(
        session,
        it.policy,
        product,
        it.member,
        starts_on=begins,
        wanted=frozenset(code for code, _, _ in wanted - kept),
        now=now,
    )


async def _endings(session: AsyncSession, policies: Sequence[Policy]) -> list[_Ending]:
    """With four statements, however many."""
    found = await session.exec(
        select(Member).where(col(Member.member_id).in_([it.member_id for it in policies]))
    )
    members = {it.member_id: it for it in found}
    versions = await terms.versions_of(session, policies)
    last, offers = await _last_terms(session, policies), await _offers(session, policies)
    return [
        _Ending(
            it,
            members[it.member_id],
            last[it.id],
            offers.get(it.id),
            versions[it.product_version_id],
        )
        for it in policies
    ]


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


async def _last_terms(
    session: AsyncSession, policies: Sequence[Policy]
) -> Mapping[UUID, PolicyTerm]:
    found = await session.exec(
        select(PolicyTerm)
        .where(
            col(PolicyTerm.member_id).in_([it.member_id for it in policies]),
            col(PolicyTerm.policy_id).in_([it.id for it in policies]),
        )
        .order_by(col(PolicyTerm.starts_on))
    )
    return {it.policy_id: it for it in found}


async def _offers(session: AsyncSession, policies: Sequence[Policy]) -> Mapping[UUID, RenewalOffer]:
    """Of the term that follows the last one, by policy."""
    last = await _last_terms(session, policies)
    found = await session.exec(
        select(RenewalOffer).where(
            col(RenewalOffer.member_id).in_([it.member_id for it in policies]),
            col(RenewalOffer.policy_id).in_([it.id for it in policies]),
        )
    )
    by_policy: dict[UUID, list[RenewalOffer]] = defaultdict(list)
    for it in found:
        by_policy[it.policy_id].append(it)
    return {
        policy.id: offer
        for policy in policies
        for offer in by_policy[policy.id]
        if policy.id in last and offer.starts_on == rules.add_days(last[policy.id].ends_on, 1)
    }
