"""What a coming term costs: priced by the engine, for many policies at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, UserError
from app.premiums import catalogue, cover_uplifts, pricing, rules
from app.premiums import product as products
from app.premiums.facts import Moment
from app.premiums.models import Policy, PolicyTerm, ProductVersion
from app.premiums.pricing import Due
from app.premiums.quote import Priced
from app.texts import Text

MINOR_DIGITS = 2


class NotEligible(UserError, ValueError):
    """The product does not take this member."""

    def __init__(self, reason: Text, *, field: str | None = None) -> None:
        super().__init__(ErrorCode.NOT_ELIGIBLE, reason, field=field)


def too_young_or_old(age: int, product: products.Product) -> NotEligible:
    allowed = f"{product.eligibility.age_from}-{product.eligibility.age_to}"
    return NotEligible(
        Text(
            zh=f"产品 {product.code!r} 的投保年龄为 {allowed} 岁，届时为 {age} 岁。",
            en=f"age {age} is outside of product {product.code!r}: {allowed}",
        ),
        field="productCode",
    )


@dataclass(frozen=True, slots=True)
class Coming:
    """A term that is to be priced; the policy names the product version of that term."""

    policy: Policy
    days: rules.Term
    ending: rules.Term | None = None
    """The one before it; null for the first."""


@dataclass(frozen=True, slots=True)
class Headline:
    """A year's premium, in minor units of `currency`."""

    base: int
    total: int
    currency: str
    adjustment_percent: Decimal


def first(policy: Policy, product: products.Product) -> Coming:
    return Coming(policy, rules.term(policy.started_on, 0, months=product.term_months))


def after(policy: Policy, product: products.Product, ended: PolicyTerm) -> Coming:
    """The term that follows one, as long as the product says that it is now under."""
    ending = rules.Term(ended.starts_on, ended.ends_on)
    days = rules.following(policy.started_on, ending, months=product.term_months)
    return Coming(policy, days, ending)


def ends_at(days: rules.Term, time_zone: str) -> datetime:
    return civil_time.end_of_day(days.ends_on, civil_time.zone(time_zone))


def row(it: Coming, priced: Headline, *, now: datetime) -> PolicyTerm:
    return PolicyTerm(
        member_id=it.policy.member_id,
        policy_id=it.policy.id,
        starts_on=it.days.starts_on,
        ends_on=it.days.ends_on,
        base=priced.base,
        total=priced.total,
        currency=priced.currency,
        adjustment_percent=priced.adjustment_percent,
        created_at=now,
    )


async def price_terms(
    session: AsyncSession, wanted: Sequence[Coming], *, moment: Moment, now: datetime
) -> Mapping[UUID, Headline]:
    """By policy; the caller holds them locked. Each premium is kept with what it rests on, and
    the credits that it uses are used up. Without those for whom the product has no price: the
    caller decides what becomes of them, and nobody else waits for it."""
    await session.flush()
    policies = [it.policy for it in wanted]
    versions = await versions_of(session, policies)
    priced = await pricing.numbers(session, [it.member_id for it in policies])
    dues = [_due(it, versions, priced, moment) for it in wanted]
    found, _ = await pricing.price_terms(session, dues, now=now)
    for known, _ in found:
        if known.priced.cover_uplift_percent:
            await cover_uplifts.uplift_term(
                session,
                member_id=known.due.member_id,
                policy_id=known.due.policy_id,
                term=known.due.term,
                percent=known.priced.cover_uplift_percent,
                now=now,
            )
    return {known.due.policy_id: _headline(known.priced) for known, _ in found}


def _due(
    it: Coming,
    versions: Mapping[UUID, products.Product],
    priced: Mapping[tuple[UUID, UUID], int],
    moment: Moment,
) -> Due:
    policy = it.policy
    product = versions[policy.product_version_id]
    return Due(
        member_id=policy.member_id,
        policy_id=policy.id,
        version_id=policy.product_version_id,
        product=product,
        moment=moment,
        number=priced.get((policy.member_id, policy.id), 0) + 1,
        term=it.days,
        ending=it.ending,
    )


def _headline(priced: Priced) -> Headline:
    return Headline(priced.base, priced.total, priced.currency, priced.adjustment_percent)


async def versions_of(
    session: AsyncSession, policies: Sequence[Policy]
) -> dict[UUID, products.Product]:
    """The products of these policies by the id of their version, with one statement."""
    wanted = {it.product_version_id for it in policies}
    rows = await session.exec(select(ProductVersion).where(col(ProductVersion.id).in_(wanted)))
    return {row.id: catalogue.definition(row.id, row.definition) for row in rows}
