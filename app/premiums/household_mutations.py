"""Inviting to a household, joining and leaving: its size is the product's of who holds it."""

from typing import Annotated
from uuid import UUID

import strawberry
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.graphql.errors import UserError
from app.graphql.node import Info
from app.members import households, households_graphql
from app.members.households import HouseholdRole
from app.premiums import terms
from app.premiums.lifecycle import PolicyState
from app.premiums.models import Policy


async def members_max(session: AsyncSession, holder_id: UUID) -> int:
    """How many a household of this member may have: as the product of their cover says, and
    without one, or when it says nothing, as the programme does."""
    found = await session.exec(
        select(Policy).where(
            Policy.member_id == holder_id, col(Policy.state) == PolicyState.IN_FORCE
        )
    )
    policies = found.all()
    products = await terms.versions_of(session, policies) if policies else {}
    said = [it.households.members_max for it in products.values() if it.households is not None]
    return max(said, default=households.MEMBERS_MAX)


@strawberry.input
class InviteToHouseholdInput:
    request_id: UUID
    role: HouseholdRole = strawberry.field(description="Of who joins; not HOLDER.")


@strawberry.input
class JoinHouseholdInput:
    request_id: UUID
    code: str


@strawberry.input
class LeaveHouseholdInput:
    request_id: UUID


@strawberry.type
class InviteToHouseholdPayload:
    replayed: bool
    invitation_code: str | None = strawberry.field(
        description="For one person, within a week; said once, so null when `replayed`."
    )


@strawberry.type
class HouseholdPayload:
    replayed: bool
    household: households_graphql.Household | None


InviteToHouseholdResult = Annotated[
    InviteToHouseholdPayload | UserError, strawberry.union("InviteToHouseholdResult")
]
HouseholdResult = Annotated[HouseholdPayload | UserError, strawberry.union("HouseholdResult")]


@strawberry.type
class HouseholdsMutation:
    @strawberry.mutation(description="Codes: STATE_INVALID, REQUEST_REUSED.")
    async def invite_to_household(
        self, info: Info, input: InviteToHouseholdInput
    ) -> InviteToHouseholdResult:
        context = info.context
        code = households.new_code()
        async with context.db.transaction() as session:
            replayed = await households.invite(
                session,
                member_id=context.member_id,
                request_id=input.request_id,
                role=input.role,
                code=code,
                members_max=await members_max(session, context.member_id),
                now=context.now,
            )
        return InviteToHouseholdPayload(
            replayed=replayed, invitation_code=None if replayed else code
        )

    @strawberry.mutation(
        description="Shares one's name with who is in it. Codes: NOT_FOUND, STATE_INVALID, "
        "REQUEST_REUSED."
    )
    async def join_household(self, info: Info, input: JoinHouseholdInput) -> HouseholdResult:
        context = info.context
        async with context.db.transaction() as session:
            holder_id = await households.holder_of(session, input.code)
            replayed = await households.join(
                session,
                member_id=context.member_id,
                request_id=input.request_id,
                code=input.code,
                members_max=await members_max(session, holder_id),
                now=context.now,
            )
        found = await households_graphql.load(info, context.member_id)
        return HouseholdPayload(replayed=replayed, household=found)

    @strawberry.mutation(
        description="Without its holder there is no household. Codes: NOT_FOUND, REQUEST_REUSED."
    )
    async def leave_household(self, info: Info, input: LeaveHouseholdInput) -> HouseholdResult:
        context = info.context
        async with context.db.transaction() as session:
            replayed = await households.leave(
                session,
                member_id=context.member_id,
                request_id=input.request_id,
                now=context.now,
            )
        found = await households_graphql.load(info, context.member_id)
        return HouseholdPayload(replayed=replayed, household=found)
