"""Terms that end: the next one is offered in time, and begins unless somebody declines."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import true
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from app import civil_time
from app.errors import ErrorCode, UserError
from app.health_tasks import ending
from app.health_tasks.models import ParticipationMonth
from app.members import requests
from app.members.models import Member
from app.premiums import (
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

_PRIORITY = 40
_SPEAK_WITHIN = timedelta(days=3)


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
    version_id: UUID
    """Of `before`."""


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
    offer = (await offers(session, [policy])).get(policy.id)
    if offer is None or policy.ended_on is not None or policy.term_ends_at <= now:
        raise NotOffered
    said = "ACCEPTED" if accept else "DECLINED"
    if offer.answer != said:
        offer.answer, offer.answered_at = said, now
        history.record(session, policy, kind, by=by, now=now)
    return policy, False


async def renew_due(
    session: AsyncSession, *, limit: int, now: datetime, only: UUID | None = None
) -> int:
    """Begin the next term of policies whose term has ended, or end them; how many. `only` one
    of them, when it is named.

    A member whose last month is not closed yet waits for it. Somebody for whom the product of
    the next term has no price is not renewed: an employee is asked to speak with them. Safe to
    run twice or in parallel: a policy that another run holds is skipped.
    """
    due = (
        await session.exec(
            _due(now)
            .where(col(Policy.id) == only if only is not None else true())
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
    going_on = await _renew(session, going_on, now=now)
    await session.flush()
    await projecting.project(session, member_ids=[it.policy.member_id for it in going_on], now=now)
    return len(due)


async def due(session: AsyncSession, *, now: datetime) -> Sequence[UUID]:
    """The policies that `renew_due` would take, the longest ended first."""
    found = await session.exec(_due(now).order_by(col(Policy.term_ends_at)))
    return [it.id for it in found]


def _due(now: datetime) -> SelectOfScalar[Policy]:
    open_month = (
        select(col(ParticipationMonth.month))
        .where(
            ParticipationMonth.member_id == Policy.member_id,
            col(ParticipationMonth.closed_at).is_(None),
            col(ParticipationMonth.closes_at) <= col(Policy.term_ends_at),
        )
        .exists()
    )
    return select(Policy).where(
        Policy.state == "IN_FORCE", col(Policy.term_ends_at) <= now, ~open_month
    )


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
    """Put each under the version that its next term is under; whom it does not take any more,
    too old for it or too young for a new one, is not renewed."""
    for it in endings:
        if it.offer is not None:
            it.policy.product_version_id = it.offer.product_version_id
    versions = await terms.versions_of(session, [it.policy for it in endings])
    renewed = []
    for it in endings:
        product = versions[it.policy.product_version_id]
        age = civil_time.completed_years(it.member.birth_date, rules.add_days(it.ended.ends_on, 1))
        if not product.eligibility.age_from <= age <= product.eligibility.age_to:
            await _cannot_go_on(session, it, now=now)
        else:
            payment_choices.keep_to(it.policy, product)
            renewed.append(it)
    return renewed


async def _cannot_go_on(session: AsyncSession, it: _Ending, *, now: datetime) -> None:
    """Not by their own will: told as every end is, and somebody speaks with them."""
    it.policy.product_version_id = it.version_id
    await _end(session, it, now=now)
    task = programme.Task(
        kind=WorklistItemKind.FOLLOW_UP,
        cause_key=f"not-renewed:{it.policy.id}",
        reason=Text(
            zh="保障已到期，产品不再承保该年龄，请与会员商量其他保障。",
            en="The cover has ended: the product has no price for this age any more. "
            "Talk about another one.",
        ),
        priority=_PRIORITY,
        due_at=now + _SPEAK_WITHIN,
        subject_kind=None,
        subject_id=None,
    )
    await programme.open_items(session, tasks=[(it.policy.member_id, task)], now=now)


async def _renew(
    session: AsyncSession, endings: Sequence[_Ending], *, now: datetime
) -> list[_Ending]:
    """Those that go on. Those for whom there is no price end."""
    versions = await terms.versions_of(session, [it.policy for it in endings])
    coming = {}
    for it in endings:
        product = versions[it.policy.product_version_id]
        coming[it.policy.id] = terms.after(it.policy, product, it.ended)
    priced = await terms.price_terms(session, list(coming.values()), moment=Moment.RENEWAL, now=now)
    renewed = []
    for it in endings:
        if it.policy.id not in priced:
            await _cannot_go_on(session, it, now=now)
            continue
        renewed.append(it)
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
    return renewed


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
    last, offered = await last_terms(session, policies), await offers(session, policies)
    return [
        _Ending(
            it,
            members[it.member_id],
            last[it.id],
            offered.get(it.id),
            versions[it.product_version_id],
            it.product_version_id,
        )
        for it in policies
    ]


async def last_terms(
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


async def offers(session: AsyncSession, policies: Sequence[Policy]) -> Mapping[UUID, RenewalOffer]:
    """Of the term that follows the last one, by policy."""
    last = await last_terms(session, policies)
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
