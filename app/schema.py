"""Composes the domains into one schema. Wiring only."""

from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig

from app.graphql.errors import UserErrorHandler
from app.graphql.facets import Facets
from app.graphql.ids import Kind
from app.graphql.node import Fetch, Info, Node, fetch_node
from app.graphql.scalars import SCALARS
from app.members import graphql as members


@strawberry.type
class Member(members.MemberProfile):
    pass


@strawberry.type
class Query(members.MembersQuery):
    @strawberry.field(
        description="Any object by its id. Null when it does not exist or is not yours; "
        "the two look the same."
    )
    async def node(self, info: Info, id: strawberry.ID) -> Node | None:
        return await fetch_node(info, id, NODE_FETCHERS)  # type: ignore[no-any-return]


@strawberry.type
class Mutation(members.MembersMutation):
    pass


FACETS = Facets(Member, [*members.FACETS])

NODE_FETCHERS: dict[Kind, Fetch] = {**members.NODE_FETCHERS}


def build(**options: Any) -> strawberry.Schema:
    """The whole schema; `options` go to `strawberry.Schema`."""
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        config=StrawberryConfig(scalar_map=SCALARS),
        exception_handlers=[UserErrorHandler()],
        **options,
    )


schema = build()
