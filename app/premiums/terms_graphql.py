"""The clauses of a product in plain language, and what a word of them means (TRU-1, TRU-2)."""

from collections.abc import Iterable, Sequence
from typing import Any, Self
from uuid import UUID

import strawberry
from sqlalchemy import ARRAY, Uuid, bindparam, text

from app.errors import Unauthenticated
from app.graphql.context import Context
from app.graphql.ids import Kind, parse
from app.graphql.node import Info, Node
from app.premiums import catalogue, clauses, product
from app.premiums.benefit_loading import load_rows
from app.premiums.benefit_queries import Key
from app.premiums.premium_types import Product


@strawberry.type(description="A clause, or a word of the clauses, in plain language.")
class ProductTerm:
    code: str = strawberry.field(
        description="`rule` of a premium line, as PRM-4, or what it is about, as `cancellation`."
    )
    label: str
    explanation: str
    example: str | None

    @classmethod
    def of(cls, clause: clauses.Clause, locale: str) -> Self:
        return cls(
            code=clause.code,
            label=clause.label.to(locale),
            explanation=clause.explanation.to(locale),
            example=clause.example.to(locale) if clause.example else None,
        )

    @classmethod
    def all(cls, found: Iterable[clauses.Clause], locale: str) -> list[Self]:
        return [cls.of(clause, locale) for clause in found]


@strawberry.type
class ExplainedTerm:
    product: Product = strawberry.field(description="The version whose words they are.")
    term: ProductTerm
    related: list[ProductTerm] = strawberry.field(
        description="Words that stand in it and mean something of their own."
    )


_OF_POLICIES = text("""
select c.member_id, c.id, v.id as version_id, v.definition
from unnest(:member_ids, :ids) as asked (member_id, id)
join policies c on c.member_id = asked.member_id and c.id = asked.id
join product_versions v on v.id = c.product_version_id
""").bindparams(bindparam("member_ids", type_=ARRAY(Uuid)), bindparam("ids", type_=ARRAY(Uuid)))
_IN_FORCE = text("""
select v.id as version_id, v.definition from policies c
join product_versions v on v.id = c.product_version_id
where c.member_id = :member_id and c.state = 'IN_FORCE'
""").bindparams(bindparam("member_id", type_=Uuid))
_ON_OFFER = text("""
select v.id as version_id, v.definition from product_versions v
where v.code = :code and jsonb_typeof(v.definition -> 'pilot') is distinct from 'object'
order by string_to_array(v.version, '.')::int[] desc limit 1
""")


async def _of_policy(info: Info, key: Key) -> product.Product | None:
    async def load(reading: Any, keys: Sequence[Key], _: Sequence[UUID]) -> Sequence[Any]:
        asked = {"member_ids": [it for it, _ in keys], "ids": [it for _, it in keys]}
        return (await reading.execute(_OF_POLICIES, asked)).all()  # type: ignore[no-any-return]

    rows = await load_rows(info, "terms", key, load, "id")
    return catalogue.definition(rows[0].version_id, rows[0].definition) if rows else None


async def _read(context: Context, statement: Any, **asked: Any) -> product.Product | None:
    async with context.db.read() as reading:
        row = (await reading.execute(statement, asked)).one_or_none()
    return None if row is None else catalogue.definition(row.version_id, row.definition)


@strawberry.type
class TermsOfPolicy(Node):
    """The part of `Policy` that is kept here."""

    @strawberry.field(
        description="Every clause of the version that this policy is under, in its order."
    )
    async def terms(self, info: Info) -> list[ProductTerm]:
        named = parse(self.id)
        assert named is not None
        found = await _of_policy(info, (named.owner_id, named.key))
        return ProductTerm.all(clauses.of(found), info.context.locale) if found else []


@strawberry.type
class TermsQuery:
    @strawberry.field(
        description="What a clause or a word means, by its code or as it stands in the text: of "
        "the policy `policyId`, else of the newest version of `productCode`, else of the policy "
        "of `me`. Null when nothing speaks of it, and when there is no such policy or product."
    )
    async def explain_term(
        self,
        info: Info,
        term: str,
        policy_id: strawberry.ID | None = None,
        product_code: str | None = None,
    ) -> ExplainedTerm | None:
        found = await _asked(info, policy_id, product_code)
        explained = clauses.explain(found, term) if found is not None else None
        if found is None or explained is None:
            return None
        locale = info.context.locale
        return ExplainedTerm(
            product=Product(code=found.code, name=found.name.to(locale), version=found.version),
            term=ProductTerm.of(explained.clause, locale),
            related=ProductTerm.all(explained.terms, locale),
        )


async def _asked(
    info: Info, policy_id: str | None, product_code: str | None
) -> product.Product | None:
    context = info.context
    if policy_id is not None:
        named = parse(policy_id)
        if named is None or named.kind is not Kind.POLICY:
            return None
        if not await context.may_see(named.owner_id):
            return None
        return await _of_policy(info, (named.owner_id, named.key))
    if product_code is None:
        return await _read(context, _IN_FORCE, member_id=context.member_id)
    if context.viewer.member_id is None and context.viewer.staff_id is None:
        raise Unauthenticated
    return await _read(context, _ON_OFFER, code=product_code)
