"""The premium on the first screen and the policy in force."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import strawberry

from app.graphql.facets import Facet, Reading
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info
from app.premiums import money_graphql
from app.premiums.benefits_graphql import BenefitsOfPolicy
from app.premiums.money_graphql import Money


@strawberry.type(description="The headline for the first screen; the lines are under `policy`.")
class PremiumSummary:
    adjustment_percent: Decimal = strawberry.field(
        description='Against base, in percent: `"-15"` is 15 % cheaper, `"5"` is 5 % dearer.'
    )
    projected_adjustment_percent: Decimal | None = strawberry.field(
        description="The same for the next term if nothing changes; null when there is no renewal."
    )
    renews_on: date = strawberry.field(description="First day of the next term.")


@strawberry.type(description="A published version, never changed afterwards.")
class Product:
    code: str
    name: str
    version: str


@strawberry.type(description="What moves a premium, by one rule.")
class PremiumLine:
    rule: str = strawberry.field(description="Code of the rule, as PRM-4.")


@strawberry.type
class PremiumQuote:
    as_of: datetime = strawberry.field(description="The facts are those of this instant.")
    total: Money = strawberry.field(description="For one year.")
    adjustment_percent: Decimal = strawberry.field(
        description='Against base, in percent: `"-15"` is 15 % cheaper, `"5"` is 5 % dearer.'
    )


@strawberry.type
class Policy(BenefitsOfPolicy):
    product: Product
    term_start: date = strawberry.field(description="First day of cover.")
    term_end: date = strawberry.field(description="Last day of cover.")
    base: Money = strawberry.field(description="A year's premium before any line.")
    current: PremiumQuote = strawberry.field(description="What is paid now.")


@strawberry.type
class MemberPremium:
    """The part of `Member` that is kept here."""

    premium: PremiumSummary | None = strawberry.field(
        description="The headline of the policy in force; null without one."
    )
    policy: Policy | None = strawberry.field(description="The policy in force; null without one.")


def _summary(row: Any, reading: Reading) -> PremiumSummary | None:
    if row is None:
        return None
    adjustment, projected, renews_on = row
    return PremiumSummary(
        adjustment_percent=adjustment, projected_adjustment_percent=projected, renews_on=renews_on
    )


def _policy(row: Any, reading: Reading) -> Policy | None:
    if row is None:
        return None
    id, code, version, zh, en, starts_on, ends_on, base, total, currency, percent, as_of = row
    return Policy(
        id=strawberry.ID(encode(Kind.POLICY, reading.profile.member_id, id)),
        product=Product(code=code, name=zh if reading.locale[:2] == "zh" else en, version=version),
        term_start=starts_on,
        term_end=ends_on,
        base=money_graphql.of(base, currency),
        current=PremiumQuote(
            as_of=as_of, total=money_graphql.of(total, currency), adjustment_percent=percent
        ),
    )


SUMMARY = """
(select row(p.adjustment_percent, p.projected_adjustment_percent, p.renews_on)
 from policies c join premium_projections p on p.member_id = c.member_id and p.policy_id = c.id
 where c.member_id = members.member_id and c.state = 'IN_FORCE')
"""
POLICY = """
(select row(c.id, v.code, v.version, v.definition #>> '{name,zh}', v.definition #>> '{name,en}',
   t.starts_on, t.ends_on, t.base, t.total, t.currency, t.adjustment_percent, t.created_at)
 from policies c
 join policy_terms t on t.member_id = c.member_id and t.policy_id = c.id
 join product_versions v on v.id = c.product_version_id
 where c.member_id = members.member_id and c.state = 'IN_FORCE'
 order by t.starts_on desc limit 1)
"""

FACETS = (
    Facet(field="premium", attribute="premium", sql=SUMMARY, read=_summary),
    Facet(field="policy", attribute="policy", sql=POLICY, read=_policy),
)


async def _fetch_policy(info: Info, id: GlobalId) -> Policy | None:
    """The policy in force; an ended one is not shown any more."""
    member = await info.context.members.load_fields(info, id.owner_id, frozenset({"policy"}))
    found: Policy | None = member.policy if member else None
    return found if found and found.id == encode(id.kind, *id.parts) else None


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.POLICY: _fetch_policy}
