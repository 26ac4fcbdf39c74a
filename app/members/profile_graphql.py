"""`setProfile` and `setContact`, by the member or by who looks after them, and what there is to choose."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry

from app.errors import NotFound
from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode
from app.graphql.node import Info
from app.members import contacts, dimensions, profiles
from app.members.rules import StaffRole
from app.members.standing import ProfileChoice

if TYPE_CHECKING:
    from app.schema import Member

LazyMember = Annotated["Member", strawberry.lazy("app.schema")]


@strawberry.input(description="Codes of `profileOptions`; what is left out is not known.")
class SetProfileInput:
    request_id: UUID
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="Of a member that the employee looks after; leave out for `me`."
    )
    occupation: str | None = None
    residence: str | None = None
    income_band: str | None = None
    region: str | None = None


@strawberry.type
class SetProfilePayload:
    replayed: bool
    member_id: strawberry.Private[UUID]

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.member_id)  # type: ignore[no-any-return]


@strawberry.input(description="Both as they are to be; what is left out is taken away.")
class SetContactInput:
    request_id: UUID
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="Of a member that the employee looks after; leave out for `me`."
    )
    phone: str | None = strawberry.field(default=None, description="E.164, as +8613800000000.")
    email: str | None = strawberry.field(default=None, description="At most 254 characters.")


@strawberry.type
class SetContactPayload:
    replayed: bool
    member_id: strawberry.Private[UUID]

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.member_id)  # type: ignore[no-any-return]


SetContactResult = Annotated[SetContactPayload | UserError, strawberry.union("SetContactResult")]
SetProfileResult = Annotated[SetProfilePayload | UserError, strawberry.union("SetProfileResult")]


@strawberry.type(description="What a profile is chosen from; a segment's filter too.")
class ProfileOptions:
    occupations: list[ProfileChoice]
    residences: list[ProfileChoice]
    income_bands: list[ProfileChoice]
    regions: list[ProfileChoice]


@strawberry.type
class ProfileQuery:
    @strawberry.field(description="For whoever is signed in.")
    async def profile_options(self, info: Info) -> ProfileOptions:
        context = info.context
        if context.viewer.staff_id is None:
            _ = context.member_id
        known, locale = dimensions.in_force(), context.locale
        return ProfileOptions(
            occupations=[ProfileChoice.of(it, locale) for it in known.occupations.values()],
            residences=[ProfileChoice.of(it, locale) for it in known.residences.values()],
            income_bands=[ProfileChoice.of(it, locale) for it in known.income_bands.values()],
            regions=[ProfileChoice.of(it, locale) for it in known.regions.values()],
        )


@strawberry.type
class ProfileMutation:
    @strawberry.mutation(
        description="Replaces what is known of a member's life; the market segment follows. "
        "Codes: NOT_FOUND, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def set_profile(self, info: Info, input: SetProfileInput) -> SetProfileResult:
        context = info.context
        owner, member_id = await whose(info, input.member_id)
        async with context.db.transaction() as session:
            replayed = await profiles.set_profile(
                session,
                owner=owner,
                member_id=member_id,
                request_id=input.request_id,
                told=profiles.Told(
                    occupation=input.occupation,
                    residence=input.residence,
                    income_band=input.income_band,
                    region=input.region,
                ),
                now=context.now,
            )
        return SetProfilePayload(replayed=replayed, member_id=member_id)

    @strawberry.mutation(
        description="Replaces the telephone number and e-mail address; one that was refused for "
        "good is used again once it is changed. One that is new gets a code and nothing else "
        "before `verifyContact`. Codes: NOT_FOUND, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def set_contact(self, info: Info, input: SetContactInput) -> SetContactResult:
        context = info.context
        owner, member_id = await whose(info, input.member_id)
        async with context.db.transaction() as session:
            replayed = await contacts.set_contact(
                session,
                owner=owner,
                member_id=member_id,
                request_id=input.request_id,
                phone=input.phone,
                email=input.email,
                now=context.now,
            )
        return SetContactPayload(replayed=replayed, member_id=member_id)


async def whose(info: Info, named: str | None) -> tuple[UUID, UUID]:
    """Who asks, and about whom. Raises NotFound."""
    context = info.context
    if named is None:
        return context.member_id, context.member_id
    owner = context.require_role(StaffRole.HEALTH_MANAGER, StaffRole.ADMIN)
    member_id = decode(named, Kind.MEMBER, field="memberId").owner_id
    if not await context.may_see(member_id):
        raise NotFound(field="memberId")
    return owner, member_id
