"""Enrolling members, renewing terms, projecting premiums."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.health_tasks import service as health_tasks
from app.health_tasks.caps import Limits
from app.health_tasks.models import ParticipationMonth
from app.ids import new_id
from app.members.models import Member
from app.points import service as points
from app.premiums import catalogue, rules
from app.premiums import product as products
from app.premiums.models import Policy, PolicyTerm, PremiumProjection, ProductVersion
from app.premiums.pricing_rules import ParticipationRule

MINOR_DIGITS = 2
"""Decimals of every currency that a shipped product uses."""


class NotEligible(ValueError):
    """The product does not take this member."""


async def enrol(
    session: AsyncSession, *, member_id: UUID, product_code: str, starts_on: date, now: datetime
) -> Policy:
    """A policy in force from `starts_on` (local day), its wallet and its tasks.

    Raises NotEligible (the member's age lies outside of the product), ProductUnknown.
    """
    member = await session.get_one(Member, member_id)
    version = await catalogue.latest(session, product_code)
    product = catalogue.definition(version.id, version.definition)
    age = rules.age_on(member.birth_date, starts_on)
    if not product.eligibility.age_from <= age <= product.eligibility.age_to:
        raise NotEligible(f"age {age} is outside of product {product_code!r}")
    first = rules.term(starts_on, 0, months=product.term_months)
    policy = Policy(
        member_id=member_id,
        id=new_id(now),
        product_version_id=version.id,
        state="IN_FORCE",
        started_on=starts_on,
        term_ends_at=_ends_at(first, member.time_zone),
        created_at=now,
    )
    session.add(policy)
    await session.flush()
    base = _base(product, member.birth_date, starts_on)
    term = _term_row(policy, first, product, base=base, percent=Decimal(0), now=now)
    session.add_all([term, _projection(term, projected=Decimal(0), now=now)])
    await points.open_wallet(session, member_id)
    await health_tasks.assign(
        session,
        member=member,
        tasks=[
            health_tasks.Promise(
                task.template,
                task.template_version,
                task.points,
                _limits(product, task),
                task.expire_after_months,
            )
            for task in product.tasks
        ],
        product_version_id=version.id,
        expires_after_months=product.points.expire_after_months,
        late_data_days=product.late_data_days,
        second_person_above=product.reviews.second_person_above if product.reviews else None,
        starts_on=starts_on,
        now=now,
    )
    return policy


async def project(session: AsyncSession, *, member_ids: Sequence[UUID], now: datetime) -> int:
    """Rewrite the projections of these members from their closed months; how many."""
    held = (
        await session.exec(
            select(Policy)
            .where(col(Policy.member_id).in_(member_ids), Policy.state == "IN_FORCE")
            .order_by(col(Policy.member_id))
            .with_for_update()
        )
    ).all()
    facts = await _facts(session, held)
    rows = []
    for policy in held:
        product, term, months = facts[policy.member_id]
        projected = _percent(product, _within(term, months))
        rows.append(_projection(term, projected=projected, now=now).model_dump())
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


async def renew_due(session: AsyncSession, *, limit: int, now: datetime) -> int:
    """Begin the next term of policies whose term has ended; how many.

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
    facts = await _facts(session, due)
    for policy in due:
        product, ended, months = facts[policy.member_id]
        member = await session.get_one(Member, policy.member_id)
        number = _number(policy, ended, product) + 1
        following = rules.term(policy.started_on, number, months=product.term_months)
        base = _base(product, member.birth_date, following.starts_on)
        percent = _percent(product, _within(ended, months))
        session.add(_term_row(policy, following, product, base=base, percent=percent, now=now))
        policy.term_ends_at = _ends_at(following, member.time_zone)
    await session.flush()
    await project(session, member_ids=[policy.member_id for policy in due], now=now)
    return len(due)


def _percent(product: products.Product, months: Sequence[rules.MonthOfParticipation]) -> Decimal:
    """Of base, signed: the rules add up, within the product's bounds (PRM-16)."""
    terms = [_terms(rule) for rule in product.rules if isinstance(rule, ParticipationRule)]
    total = sum(
        (rules.participation_percent(rules.months_counted(months, it), it) for it in terms),
        start=Decimal(0),
    )
    bounds = product.bounds
    return rules.bounded(total, low=bounds.percent_min, high=bounds.percent_max)


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


def _terms(rule: ParticipationRule) -> rules.Participation:
    return rules.Participation(
        counts_from=rule.month_counts_from_percent,
        per_month=rule.percent_per_month,
        at_most=rule.percent_at_most,
    )


def _base(product: products.Product, birth_date: date, day: date) -> int:
    age = rules.age_on(birth_date, day)
    for band in product.base_premium.by_age:
        if band.age_from <= age <= band.age_to:
            return int(band.amount.scaleb(MINOR_DIGITS))
    raise NotEligible(f"age {age} has no base premium in product {product.code!r}")


def _within(
    term: PolicyTerm, months: Sequence[rules.MonthOfParticipation]
) -> list[rules.MonthOfParticipation]:
    covered = rules.Term(term.starts_on, term.ends_on)
    return [it for it in months if rules.counts_for(it.month, covered)]


def _number(policy: Policy, term: PolicyTerm, product: products.Product) -> int:
    months = (term.starts_on.year - policy.started_on.year) * 12
    months += term.starts_on.month - policy.started_on.month
    return months // product.term_months


def _ends_at(term: rules.Term, time_zone: str) -> datetime:
    return civil_time.end_of_day(term.ends_on, civil_time.zone(time_zone))


def _term_row(
    policy: Policy,
    term: rules.Term,
    product: products.Product,
    *,
    base: int,
    percent: Decimal,
    now: datetime,
) -> PolicyTerm:
    return PolicyTerm(
        member_id=policy.member_id,
        policy_id=policy.id,
        starts_on=term.starts_on,
        ends_on=term.ends_on,
        base=base,
        total=base + rules.line(base, percent),
        currency=product.currency,
        adjustment_percent=percent,
        created_at=now,
    )


def _projection(term: PolicyTerm, *, projected: Decimal, now: datetime) -> PremiumProjection:
    return PremiumProjection(
        member_id=term.member_id,
        policy_id=term.policy_id,
        adjustment_percent=term.adjustment_percent,
        projected_adjustment_percent=projected,
        renews_on=term.ends_on + timedelta(days=1),
        as_of=now,
    )


Facts = tuple[products.Product, PolicyTerm, list[rules.MonthOfParticipation]]


async def _facts(session: AsyncSession, held: Sequence[Policy]) -> dict[UUID, Facts]:
    """Product, current term and closed months of each policy: three statements for all."""
    if not held:
        return {}
    member_ids = [policy.member_id for policy in held]
    versions = {
        version.id: catalogue.definition(version.id, version.definition)
        for version in await session.exec(
            select(ProductVersion).where(
                col(ProductVersion.id).in_({policy.product_version_id for policy in held})
            )
        )
    }
    latest: dict[tuple[UUID, UUID], PolicyTerm] = {}
    for term in await session.exec(
        select(PolicyTerm)
        .where(col(PolicyTerm.member_id).in_(member_ids))
        .order_by(col(PolicyTerm.starts_on))
    ):
        latest[term.member_id, term.policy_id] = term
    months: dict[UUID, list[rules.MonthOfParticipation]] = {}
    for row in await session.exec(
        select(ParticipationMonth).where(
            col(ParticipationMonth.member_id).in_(member_ids),
            col(ParticipationMonth.closed_at).is_not(None),
        )
    ):
        months.setdefault(row.member_id, []).append(
            rules.MonthOfParticipation(row.month, row.percent)
        )
    return {
        policy.member_id: (
            versions[policy.product_version_id],
            latest[policy.member_id, policy.id],
            months.get(policy.member_id, []),
        )
        for policy in held
    }
