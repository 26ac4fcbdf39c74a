"""Households, as their members see them."""

from datetime import date
from uuid import UUID

import strawberry
from sqlalchemy import Uuid, bindparam, text

from app.graphql import enums
from app.graphql.facets import Profile
from app.graphql.node import Info
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
        return await load(info, self.profile.member_id)


async def load(info: Info, member_id: UUID) -> Household | None:
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
