"""What employees ask about prices."""

from datetime import date

import strawberry

from app.graphql.ids import Kind, parse
from app.graphql.node import Info
from app.members.rules import StaffRole
from app.premiums import quoting
from app.premiums.facts import Moment
from app.premiums.premium_types import PremiumQuote, Product
from app.premiums.quoting import Quoted, QuoteInvalid

FACTS_LENGTH_MAX = 200_000


@strawberry.type(description="What a cover would cost; nothing is stored.")
class Quote:
    product: Product
    moment: Moment
    effective_on: date
    premium: PremiumQuote

    @classmethod
    def of(cls, quoted: Quoted, locale: str) -> "Quote":
        product, facts = quoted.product, quoted.facts
        return cls(
            product=Product(
                code=product.code, name=product.name.to(locale), version=product.version
            ),
            moment=facts.moment,
            effective_on=facts.effective_on,
            premium=PremiumQuote.of(quoted.priced, as_of=facts.as_of, locale=locale),
        )


@strawberry.type
class PremiumsQuery:
    @strawberry.field(
        description="What a product would cost a member who begins on a day, from what is known "
        "now; nothing is stored, and the read is audited. Null for a member who is not yours to "
        "see. Staff only. Codes: VALUE_OUT_OF_RANGE."
    )
    async def quote(
        self,
        info: Info,
        member_id: strawberry.ID,
        product_code: str,
        starts_on: date,
        version: str | None = None,
    ) -> Quote | None:
        context = info.context
        _ = context.staff_id
        named = parse(member_id)
        if named is None or named.kind is not Kind.MEMBER:
            return None
        if not await context.may_see(named.owner_id):
            return None
        async with context.db.read() as reading:
            quoted = await quoting.for_member(
                reading,
                member_id=named.owner_id,
                code=product_code,
                version=version,
                starts_on=starts_on,
                now=context.now,
            )
        return Quote.of(quoted, context.locale)

    @strawberry.field(
        description="What a product would cost somebody with these facts (JSON, as "
        "`wellward product price` reads it). Actuaries and administrators. Codes: "
        "VALUE_OUT_OF_RANGE."
    )
    async def quote_facts(
        self, info: Info, product_code: str, facts: str, version: str | None = None
    ) -> Quote:
        context = info.context
        _ = context.require_role(StaffRole.ACTUARY, StaffRole.ADMIN)
        if len(facts) > FACTS_LENGTH_MAX:
            raise QuoteInvalid(f"`facts` must be at most {FACTS_LENGTH_MAX} characters.")
        async with context.db.read() as reading:
            quoted = await quoting.for_facts(
                reading, text=facts, code=product_code, version=version
            )
        return Quote.of(quoted, context.locale)
