"""Groups, as the insurer's administrators and actuaries keep them."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

import strawberry

from app.graphql.errors import UserError
from app.graphql.node import Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members.rules import StaffRole
from app.premiums import groups
from app.premiums.contract_terms import Payer

_KEEPERS = (StaffRole.ADMIN, StaffRole.ACTUARY)


@strawberry.input
class AddInsuredGroupInput:
    request_id: UUID
    code: str = strawberry.field(description="With which its members apply; capitals do not count.")
    name: str
    product_code: str
    payer: Payer
    people: int = strawberry.field(
        description="How many are to be insured: no fewer than the product asks for."
    )


@strawberry.input
class CloseInsuredGroupInput:
    request_id: UUID
    code: str


@strawberry.type(description="Who is insured together.")
class InsuredGroup:
    code: str
    name: str
    product_code: str
    payer: Payer
    people: int | None = strawberry.field(
        description="How many were to be insured when it was made."
    )
    members: int = strawberry.field(description="Covered now.")
    active: bool = strawberry.field(description="Whether anybody new joins.")
    created_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, row: Any, members: int) -> Self:
        """From an `InsuredGroup` of the tables, or a row with its columns."""
        return cls(
            code=row.code,
            name=row.name,
            product_code=row.product_code,
            payer=Payer[row.payer],
            people=row.people,
            members=members,
            active=row.active,
            created_at=row.created_at,
            closed_at=row.closed_at,
        )


@strawberry.type
class InsuredGroupPayload:
    replayed: bool
    group: InsuredGroup


InsuredGroupResult = Annotated[
    InsuredGroupPayload | UserError, strawberry.union("InsuredGroupResult")
]


@strawberry.type
class GroupsQuery:
    @strawberry.field(
        description="By code; of one kind only with `active`. Administrators and actuaries."
    )
    async def insured_groups(
        self,
        info: Info,
        active: bool | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[InsuredGroup]:
        info.context.require_role(*_KEEPERS)
        size = page_size(first)
        cursor = read_cursor(after, str)
        async with info.context.db.read() as reading:
            rows = await groups.listed(
                reading, after=cursor[0] if cursor else None, active=active, limit=size + 1
            )
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda it: InsuredGroup.of(it.group, it.members),
            key=lambda it: (it.group.code,),
        )


@strawberry.type
class GroupsMutation:
    @strawberry.mutation(
        description="Administrators and actuaries only. Codes: NOT_FOUND, CODE_INVALID, "
        "VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def add_insured_group(
        self, info: Info, input: AddInsuredGroupInput
    ) -> InsuredGroupResult:
        context = info.context
        staff_id = context.require_role(*_KEEPERS)
        async with context.db.transaction() as session:
            group, replayed = await groups.add(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                code=input.code,
                name=input.name,
                product_code=input.product_code,
                payer=input.payer,
                people=input.people,
                now=context.now,
            )
            members = await groups.size(session, group.id)
        return InsuredGroupPayload(replayed=replayed, group=InsuredGroup.of(group, members))

    @strawberry.mutation(
        description="Nobody new joins; who is insured stays so. Administrators and actuaries "
        "only. Codes: NOT_FOUND, ALREADY_DECIDED, REQUEST_REUSED."
    )
    async def close_insured_group(
        self, info: Info, input: CloseInsuredGroupInput
    ) -> InsuredGroupResult:
        context = info.context
        staff_id = context.require_role(*_KEEPERS)
        async with context.db.transaction() as session:
            group, replayed = await groups.close(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                code=input.code,
                now=context.now,
            )
            members = await groups.size(session, group.id)
        return InsuredGroupPayload(replayed=replayed, group=InsuredGroup.of(group, members))
