"""A cover that begins: the first term with its premium, its instalments, its wallet and tasks."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, UserError
from app.health_tasks import service as health_tasks
from app.health_tasks.caps import Limits
from app.ids import new_id
from app.members import service as members
from app.members.models import Member
from app.points import service as points
from app.premiums import catalogue, groups, history, invoices, projecting, rules, terms
from app.premiums import product as products
from app.premiums.facts import Moment
from app.premiums.history import Actor
from app.premiums.lifecycle import COVERED, OPEN, PolicyEventKind, PolicyState
from app.premiums.models import Policy, PolicyTerm
from app.risk import requests as risk
from app.risk.requests import Cause
from app.texts import Text


class AlreadyInsured(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="你已有生效的保单或进行中的申请。",
                en="There is a policy in force or an application already.",
            ),
        )


async def enrol(
    session: AsyncSession,
    *,
    member_id: UUID,
    product_code: str,
    starts_on: date,
    now: datetime,
    by: Actor = history.PROGRAMME,
    group_code: str | None = None,
) -> Policy:
    """A policy in force from `starts_on` (local day) in one go, its wallet and its tasks: for
    who is taken without being asked, as by an import; with the group of a code, if given.

    Raises NotEligible (the member's age lies outside of the product), AlreadyInsured,
    ProductUnknown, NotFound (of the group).
    """
    member = await members.lock(session, member_id)
    await check_not_insured(session, member_id)
    version = await catalogue.offered(session, product_code, region=member.region)
    product = catalogue.definition(version.id, version.definition)
    check_age(member, product, starts_on)
    policy = new_policy(member, version.id, product, id=new_id(now), starts_on=starts_on, now=now)
    policy.state = PolicyState.IN_FORCE
    if group_code is not None:
        await groups.join(session, policy, product, group_code)
    session.add(policy)
    await session.flush()
    history.begin(session, policy, PolicyEventKind.ENROLLED, by=by, now=now)
    term = await price_first(session, policy, product, now=now)
    await begin(session, policy, product, member, term, now=now)
    return policy


def new_policy(
    member: Member,
    version_id: UUID,
    product: products.Product,
    *,
    id: UUID,
    starts_on: date,
    now: datetime,
) -> Policy:
    """One that has been applied for."""
    first = rules.term(starts_on, 0, months=product.term_months)
    frequency, payer = "ANNUAL", "MEMBER"
    if product.payment is not None:
        frequency, payer = product.payment.frequencies[0].name, product.payment.payers[0].name
    return Policy(
        member_id=member.member_id,
        id=id,
        product_version_id=version_id,
        state=PolicyState.APPLIED,
        started_on=starts_on,
        term_ends_at=terms.ends_at(first, member.time_zone),
        created_at=now,
        frequency=frequency,
        payer=payer,
    )


def check_age(member: Member, product: products.Product, day: date) -> None:
    """Raises NotEligible."""
    age = civil_time.completed_years(member.birth_date, day)
    if not product.eligibility.age_from <= age <= product.eligibility.age_to:
        raise terms.too_young_or_old(age, product)


async def price_first(
    session: AsyncSession, policy: Policy, product: products.Product, *, now: datetime
) -> PolicyTerm:
    """The first term, priced on what is known now; kept as it is offered. Raises NotEligible."""
    first = terms.first(policy, product)
    priced = await terms.price_terms(session, [first], moment=Moment.ENROLMENT, now=now)
    if policy.id not in priced:
        member = await session.get_one(Member, policy.member_id)
        age = civil_time.completed_years(member.birth_date, first.days.starts_on)
        raise terms.too_young_or_old(age, product)
    term = terms.row(first, priced[policy.id], now=now)
    session.add(term)
    await session.flush()
    return term


async def begin(
    session: AsyncSession,
    policy: Policy,
    product: products.Product,
    member: Member,
    term: PolicyTerm,
    *,
    now: datetime,
) -> None:
    """What comes with a cover that is in force now."""
    invoices.schedule(
        session,
        policy,
        product,
        rules.Term(term.starts_on, term.ends_on),
        yearly=term.total,
        time_zone=member.time_zone,
        now=now,
    )
    session.add(projecting.row(term, projected=Decimal(0), now=now))
    await points.open_wallet(session, policy.member_id)
    await ask_for_tasks(session, policy, product, member, now=now)
    await risk.inputs_changed(session, [policy.member_id], now=now, cause=Cause.ENROLMENT)


async def ask_for_tasks(
    session: AsyncSession,
    policy: Policy,
    product: products.Product,
    member: Member,
    *,
    starts_on: date | None = None,
    wanted: frozenset[str] | None = None,
    now: datetime,
) -> None:
    """The product's tasks, or those with the `wanted` templates, from `starts_on` or else the
    first day of cover on."""
    promises = [
        health_tasks.Promise(
            task.template,
            task.template_version,
            task.points,
            _limits(product, task),
            task.expire_after_months,
        )
        for task in product.tasks
        if wanted is None or task.template in wanted
    ]
    if not promises:
        return
    await health_tasks.assign(
        session,
        member=member,
        tasks=promises,
        product_version_id=policy.product_version_id,
        expires_after_months=product.points.expire_after_months,
        late_data_days=product.late_data_days,
        second_person_above=product.reviews.second_person_above if product.reviews else None,
        starts_on=starts_on or policy.started_on,
        now=now,
    )


def _limits(product: products.Product, task: products.ProductTask) -> Limits:
    caps = product.caps
    return Limits(
        per_day=caps.per_day,
        per_month=caps.per_month,
        per_year=caps.per_year,
        per_member=caps.per_member,
        of_rule=task.cap.points if task.cap else None,
        rule_period=task.cap.per if task.cap else None,
    )


async def check_not_insured(session: AsyncSession, member_id: UUID) -> None:
    """The member is locked. Raises AlreadyInsured."""
    states = [it.value for it in OPEN | COVERED]
    found = await session.exec(
        select(col(Policy.id)).where(Policy.member_id == member_id, col(Policy.state).in_(states))
    )
    if found.first() is not None:
        raise AlreadyInsured
