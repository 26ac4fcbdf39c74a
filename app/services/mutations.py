"""What members and employees do with services."""

from typing import Annotated
from uuid import UUID

import strawberry

from app.errors import NotFound
from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode
from app.graphql.node import Info
from app.services import rules, service
from app.services.graphql import Entitlement, EntitlementUse, load_services, load_uses
from app.worklist.graphql import ACTING


@strawberry.input
class ReserveEntitlementInput:
    request_id: UUID
    service: str


@strawberry.input
class ReserveEntitlementForInput:
    request_id: UUID
    member_id: strawberry.ID
    service: str


@strawberry.type
class ReserveEntitlementPayload:
    replayed: bool
    use: EntitlementUse
    entitlement: Entitlement | None = strawberry.field(
        description="As it is now; null when the member has it no more."
    )


@strawberry.input
class ConsumeEntitlementInput:
    request_id: UUID
    use_id: strawberry.ID
    note: str | None = strawberry.field(
        default=None,
        description=f"For the member to read, at most {rules.NOTE_LENGTH_MAX} characters.",
    )


@strawberry.type
class ConsumeEntitlementPayload:
    replayed: bool
    use: EntitlementUse
    entitlement: Entitlement | None = strawberry.field(
        description="As it is now; null when the member has it no more."
    )


@strawberry.input
class ReleaseEntitlementInput:
    request_id: UUID
    use_id: strawberry.ID
    reason: str | None = strawberry.field(
        default=None,
        description=f"At most {rules.NOTE_LENGTH_MAX} characters; employees give one.",
    )


@strawberry.type
class ReleaseEntitlementPayload:
    replayed: bool
    use: EntitlementUse
    entitlement: Entitlement | None = strawberry.field(
        description="As it is now; null when the member has it no more."
    )


ReserveEntitlementResult = Annotated[
    ReserveEntitlementPayload | UserError, strawberry.union("ReserveEntitlementResult")
]
ConsumeEntitlementResult = Annotated[
    ConsumeEntitlementPayload | UserError, strawberry.union("ConsumeEntitlementResult")
]
ReleaseEntitlementResult = Annotated[
    ReleaseEntitlementPayload | UserError, strawberry.union("ReleaseEntitlementResult")
]


@strawberry.type
class ServicesMutation:
    @strawberry.mutation(
        description="Take one unit of a service's quota; it waits for the service some days. "
        "Codes: NOT_FOUND, NOT_ELIGIBLE, LIMIT_REACHED, REQUEST_REUSED."
    )
    async def reserve_entitlement(
        self, info: Info, input: ReserveEntitlementInput
    ) -> ReserveEntitlementResult:
        member_id = info.context.member_id
        return await _reserve(info, member_id, input.request_id, input.service, staff_id=None)

    @strawberry.mutation(
        description="For a member. Staff only; what depends on the risk tier needs the member's "
        "consent. Codes: NOT_FOUND, NOT_ELIGIBLE, LIMIT_REACHED, CONSENT_MISSING, REQUEST_REUSED."
    )
    async def reserve_entitlement_for(
        self, info: Info, input: ReserveEntitlementForInput
    ) -> ReserveEntitlementResult:
        member_id = decode(input.member_id, Kind.MEMBER, field="memberId").owner_id
        staff_id = await _staff(info, member_id, field="memberId")
        return await _reserve(info, member_id, input.request_id, input.service, staff_id=staff_id)

    @strawberry.mutation(
        description="The member had the service. Staff only. Codes: NOT_FOUND, STATE_INVALID, "
        "VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def consume_entitlement(
        self, info: Info, input: ConsumeEntitlementInput
    ) -> ConsumeEntitlementResult:
        context = info.context
        named = decode(input.use_id, Kind.ENTITLEMENT_USE, field="useId")
        staff_id = await _staff(info, named.owner_id, field="useId")
        async with context.db.transaction() as session:
            _, replayed = await service.consume(
                session,
                member_id=named.owner_id,
                use_id=named.key,
                request_id=input.request_id,
                staff_id=staff_id,
                note=input.note,
                now=context.now,
            )
        shown, entitlement = await _after(info, named.owner_id, named.key)
        return ConsumeEntitlementPayload(replayed=replayed, use=shown, entitlement=entitlement)

    @strawberry.mutation(
        description="The unit goes back: a member gives up what is reserved; an employee says why "
        "and takes back what was consumed by mistake, too. Codes: NOT_FOUND, STATE_INVALID, "
        "VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def release_entitlement(
        self, info: Info, input: ReleaseEntitlementInput
    ) -> ReleaseEntitlementResult:
        context = info.context
        named = decode(input.use_id, Kind.ENTITLEMENT_USE, field="useId")
        staff_id = await _staff_unless_own(info, named.owner_id, field="useId")
        async with context.db.transaction() as session:
            _, replayed = await service.release(
                session,
                member_id=named.owner_id,
                use_id=named.key,
                request_id=input.request_id,
                staff_id=staff_id,
                reason=input.reason,
                now=context.now,
            )
        shown, entitlement = await _after(info, named.owner_id, named.key)
        return ReleaseEntitlementPayload(replayed=replayed, use=shown, entitlement=entitlement)


async def _reserve(
    info: Info, member_id: UUID, request_id: UUID, name: str, *, staff_id: UUID | None
) -> ReserveEntitlementPayload:
    async with info.context.db.transaction() as session:
        use, replayed = await service.reserve(
            session,
            member_id=member_id,
            request_id=request_id,
            service=name,
            staff_id=staff_id,
            now=info.context.now,
        )
        use_id = use.id
    shown, entitlement = await _after(info, member_id, use_id)
    return ReserveEntitlementPayload(replayed=replayed, use=shown, entitlement=entitlement)


async def _staff_unless_own(info: Info, member_id: UUID, *, field: str) -> UUID | None:
    """None for the member, and who acts for them. Raises NotFound, Unauthenticated, Forbidden."""
    if info.context.is_own(member_id):
        return None
    return await _staff(info, member_id, field=field)


async def _staff(info: Info, member_id: UUID, *, field: str) -> UUID:
    """The employee, who may see the member; that they look is recorded. A member who asks for
    what is not theirs to do finds nothing. Raises NotFound, Unauthenticated, Forbidden."""
    viewer = info.context.viewer
    if viewer.staff_id is None and viewer.member_id is not None:
        raise NotFound(field=field)
    staff_id = info.context.require_role(*ACTING)
    if not await info.context.may_see(member_id):
        raise NotFound(field=field)
    return staff_id


async def _after(
    info: Info, member_id: UUID, use_id: UUID
) -> tuple[EntitlementUse, Entitlement | None]:
    """After the commit, with what is left now."""
    shown = (await load_uses(info, [(member_id, use_id)]))[member_id, use_id]
    now = await load_services(info, member_id)
    found = next((it for it in now if it.entitlement.service == shown.service), None)
    locale = info.context.locale
    return shown, Entitlement.of(found, member_id, locale) if found else None
