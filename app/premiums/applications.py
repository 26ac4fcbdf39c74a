"""Applying for cover, and what the applicant does until it is in force."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.members import service as members
from app.members.models import Member
from app.premiums import (
    catalogue,
    declarations,
    enrolment,
    groups,
    history,
    payment_choices,
    rules,
    terms,
    underwriting,
)
from app.premiums.contract_terms import Frequency
from app.premiums.enrolment import AlreadyInsured, check_not_insured
from app.premiums.history import Actor
from app.premiums.lifecycle import PolicyEventKind, PolicyState
from app.premiums.models import Policy, PolicyTerm
from app.premiums.policy_models import Underwriting
from app.premiums.product import Product
from app.risk import requests as risk
from app.risk.requests import Cause
from app.texts import Text
from app.worklist import programme

__all__ = ["AlreadyInsured", "check_not_insured"]

AHEAD_MAX_DAYS = 60
"""How far ahead a cover may begin."""
OPEN_DAYS = 60


class StartInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.PERIOD_INVALID,
            Text(
                zh=f"保障首日须在今天至 {AHEAD_MAX_DAYS} 天之内。",
                en=f"The first day of cover must be from today to {AHEAD_MAX_DAYS} days ahead.",
            ),
            field="startsOn",
        )


class OfferOutdated(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="报价已变化，请重新申请。",
                en="The price has changed since it was offered; please apply anew.",
            ),
            field="contractId",
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an applicant asks for."""

    product_code: str
    starts_on: date | None = None
    """None: as soon as possible."""
    frequency: Frequency | None = None
    """None: the first that the product offers."""
    group_code: str | None = None


async def apply(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    wanted: Wanted,
    declared: declarations.Declared | None,
    by: Actor,
    now: datetime,
) -> tuple[Policy, bool]:
    """Apply for a product; what can be decided at once is. The policy, and whether this
    request was answered before.

    Raises NotFound, NotEligible, StartInvalid, AlreadyInsured, PaymentNotOffered,
    DeclarationInvalid, RequestReused.
    """
    member = await members.lock(session, member_id)
    today = civil_time.local_date(now, civil_time.zone(member.time_zone))
    starts_on = wanted.starts_on or today
    policy_id = new_id(now)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="applyForPolicy",
        values=_values(wanted, declared),
        result=policy_id,
        now=now,
    )
    if earlier is not None:
        return await history.lock(session, member_id, earlier), True
    version, product = await _product(session, member, wanted.product_code)
    if not today <= starts_on <= today + timedelta(days=AHEAD_MAX_DAYS):
        raise StartInvalid
    enrolment.check_age(member, product, starts_on)
    await check_not_insured(session, member_id)
    policy = enrolment.new_policy(
        member, version, product, id=policy_id, starts_on=starts_on, now=now
    )
    if wanted.frequency is not None:
        policy.frequency = payment_choices.check_frequency(product, wanted.frequency).name
    if wanted.group_code is not None:
        await groups.join(session, policy, product, wanted.group_code)
    open_days = product.underwriting.open_days if product.underwriting else OPEN_DAYS
    policy.due_at = now + timedelta(days=open_days)
    session.add(policy)
    await session.flush()
    history.begin(session, policy, PolicyEventKind.APPLIED, by=by, now=now)
    sheet = Underwriting(
        member_id=member_id, policy_id=policy.id, conditions=[], answers={}, waits_for=[],
        findings=[],
    )  # fmt: skip
    if declared is not None:
        declarations.fill(sheet, product, declared, by=by, now=now)
    session.add(sheet)
    await session.flush()
    if product.underwriting is not None:
        await risk.inputs_changed(session, [member_id], now=now, cause=Cause.UNDERWRITING)
    await underwriting.look(session, [policy], now=now)
    return policy, False


def _values(wanted: Wanted, declared: declarations.Declared | None) -> dict[str, Any]:
    return {
        "productCode": wanted.product_code,
        "startsOn": wanted.starts_on,
        "frequency": wanted.frequency,
        "groupCode": wanted.group_code,
        "conditions": list(declared.conditions) if declared else None,
        "confirmed": dict(declared.confirmed) if declared else None,
    }


async def accept(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    policy_id: UUID,
    by: Actor,
    now: datetime,
) -> tuple[Policy, bool]:
    """Accept the cover at the price that it was offered for. It begins at once, or on its first
    day. The policy, and whether this request was answered before.

    Raises NotFound, PolicyStateInvalid, RequestReused.
    """
    policy = await history.lock(session, member_id, policy_id)
    values = {"policyId": policy_id}
    if await history.claim(session, member_id, request_id, "acceptOffer", policy_id, values, now):
        return policy, True
    history.check(policy, PolicyEventKind.ACCEPTED)
    if policy.due_at is not None and policy.due_at <= now:
        raise history.PolicyStateInvalid(history.state_of(policy))
    member = await session.get_one(Member, member_id)
    zone = civil_time.zone(member.time_zone)
    if policy.started_on < civil_time.local_date(now, zone):
        await _from_today(session, policy, member, now=now)
    history.record(session, policy, PolicyEventKind.ACCEPTED, by=by, now=now)
    policy.due_at = civil_time.start_of_day(policy.started_on, zone)
    if policy.due_at <= now:
        await _begin(session, policy, member, now=now)
    return policy, False


async def _from_today(
    session: AsyncSession, policy: Policy, member: Member, *, now: datetime
) -> None:
    """Who accepts after the day that was offered is covered from now on, at the same price: on
    what was known when it was offered. Raises OfferOutdated when that price does not exist any
    more, as after a birthday."""
    product = (await terms.versions_of(session, [policy]))[policy.product_version_id]
    sheet = await session.get_one(Underwriting, (policy.member_id, policy.id))
    offered = await _first_term(session, policy)
    total, offered_at = offered.total, sheet.decided_at
    assert offered_at is not None
    await session.delete(offered)
    await session.flush()
    policy.started_on = civil_time.local_date(now, civil_time.zone(member.time_zone))
    days = rules.term(policy.started_on, 0, months=product.term_months)
    policy.term_ends_at = terms.ends_at(days, member.time_zone)
    enrolment.check_age(member, product, policy.started_on)
    again = await enrolment.price_first(session, policy, product, now=offered_at)
    if again.total != total:
        raise OfferOutdated


async def begin_due(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Have accepted cover begin whose first day has come; how many. Safe to run twice or in
    parallel."""
    due = await _due(session, (PolicyState.ACCEPTED,), limit=limit, now=now)
    for policy in due:
        member = await session.get_one(Member, policy.member_id)
        await _begin(session, policy, member, now=now)
    return len(due)


async def close_due(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Close applications that nobody completed and offers that nobody answered; how many. Safe
    to run twice or in parallel."""
    open_states = (PolicyState.APPLIED, PolicyState.REFERRED, PolicyState.OFFERED)
    due = await _due(session, open_states, limit=limit, now=now)
    for policy in due:
        history.record(session, policy, PolicyEventKind.EXPIRED, now=now)
    causes = [(it.member_id, underwriting.cause_key(it.id)) for it in due]
    await programme.settle_items(session, causes=causes, now=now)
    return len(due)


async def _due(
    session: AsyncSession, states: Collection[PolicyState], *, limit: int, now: datetime
) -> Sequence[Policy]:
    found = await session.exec(
        select(Policy)
        .where(col(Policy.due_at) <= now, col(Policy.state).in_(states))
        .order_by(col(Policy.due_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return found.all()


async def _begin(session: AsyncSession, policy: Policy, member: Member, *, now: datetime) -> None:
    product = (await terms.versions_of(session, [policy]))[policy.product_version_id]
    term = await _first_term(session, policy)
    history.record(session, policy, PolicyEventKind.BEGAN, now=now)
    await session.flush()
    await enrolment.begin(session, policy, product, member, term, now=now)


async def _first_term(session: AsyncSession, policy: Policy) -> PolicyTerm:
    found = await session.exec(
        select(PolicyTerm).where(
            PolicyTerm.member_id == policy.member_id, PolicyTerm.policy_id == policy.id
        )
    )
    return found.one()


async def withdraw(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    policy_id: UUID,
    by: Actor,
    now: datetime,
) -> tuple[Policy, bool]:
    """Take an application back, or decline an offer, before the cover begins. The policy, and
    whether this request was answered before. Raises NotFound, PolicyStateInvalid,
    RequestReused."""
    policy = await history.lock(session, member_id, policy_id)
    values = {"policyId": policy_id}
    if await history.claim(
        session, member_id, request_id, "withdrawApplication", policy_id, values, now
    ):
        return policy, True
    history.record(session, policy, PolicyEventKind.WITHDRAWN, by=by, now=now)
    await programme.settle_item(
        session, member_id=member_id, cause_key=underwriting.cause_key(policy_id), now=now
    )
    return policy, False


async def _product(session: AsyncSession, member: Member, code: str) -> tuple[UUID, Product]:
    """Raises NotFound."""
    try:
        version = await catalogue.offered(session, code, region=member.region)
    except catalogue.ProductUnknown as error:
        raise NotFound(field="productCode") from error
    return version.id, catalogue.definition(version.id, version.definition)
