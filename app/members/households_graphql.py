"""Households, as their members see them."""

from datetime import date
from typing import Annotated
from uuid import UUID

import strawberry
from sqlalchemy import Uuid, bindparam, text

from app.graphql import enums
from app.graphql.errors import UserError
from app.graphql.facets import Profile
from app.graphql.node import Info
from app.members import households
from app.members.households import HouseholdRole

enums.register(HouseholdRole, {"HOLDER": "Invites the others."})

_MEMBERS = text("""
select other.role, other.joined_on, m.display_name, other.member_id = me.member_id as is_me
from household_members me
join household_members other on other.household_id = me.household_id and other.left_on is null
join members m on m.member_id = other.member_id
where me.member_id = :member_id and me.left_on is null
order by other.role <> 'HOLDER', other.joined_at, other.member_id
""").bindparams(bindparam("member_id", type_=Uuid))


@strawberry.type(description="Somebody of the household: no more than their name is shared.")
class HouseholdPerson:
    display_name: str
    role: HouseholdRole
    joined_on: date
    is_me: bool


@strawberry.type
class Household:
    members: list[HouseholdPerson]


@strawberry.type
class HouseholdOfMember:
    """The part of `Member` that is kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(description="Null without one, and for anybody but the member.")
    async def household(self, info: Info) -> Household | None:
        if not info.context.is_own(self.profile.member_id):
            return None
        return await _load(info, self.profile.member_id)


async def _load(info: Info, member_id: UUID) -> Household | None:
    async with info.context.db.read() as reading:
        rows = (await reading.execute(_MEMBERS, {"member_id": member_id})).all()
    people = [
        HouseholdPerson(
            display_name=row.display_name,
            role=HouseholdRole(row.role),
            joined_on=row.joined_on,
            is_me=row.is_me,
        )
        for row in rows
    ]
    return Household(members=people) if people else None


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
    household: Household | None


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
            replayed = await households.join(
                session,
                member_id=context.member_id,
                request_id=input.request_id,
                code=input.code,
                now=context.now,
            )
        found = await _load(info, context.member_id)
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
        found = await _load(info, context.member_id)
        return HouseholdPayload(replayed=replayed, household=found)
