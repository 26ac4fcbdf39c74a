"""`requestContactCode` and `verifyContact`: a number or address is used once it is confirmed."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry

from app.graphql.errors import UserError
from app.graphql.node import Info
from app.members import confirming
from app.members.confirming import Contact
from app.members.profile_graphql import whose

if TYPE_CHECKING:
    from app.schema import Member

LazyMember = Annotated["Member", strawberry.lazy("app.schema")]

strawberry.enum(Contact, name="ContactKind")


@strawberry.input
class RequestContactCodeInput:
    request_id: UUID
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="Of a member that the employee looks after; leave out for `me`."
    )
    contact: Contact


@strawberry.type
class RequestContactCodePayload:
    replayed: bool
    member_id: strawberry.Private[UUID]

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.member_id)  # type: ignore[no-any-return]


@strawberry.input
class VerifyContactInput:
    request_id: UUID
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="Of a member that the employee looks after; leave out for `me`."
    )
    contact: Contact
    code: str = strawberry.field(description="The six digits that were sent there.")


@strawberry.type
class VerifyContactPayload:
    replayed: bool
    member_id: strawberry.Private[UUID]

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.member_id)  # type: ignore[no-any-return]


RequestContactCodeResult = Annotated[
    RequestContactCodePayload | UserError, strawberry.union("RequestContactCodeResult")
]
VerifyContactResult = Annotated[
    VerifyContactPayload | UserError, strawberry.union("VerifyContactResult")
]


@strawberry.type
class ContactMutation:
    @strawberry.mutation(
        description="Sends a new code to a number or address that is not confirmed, or is dead; "
        "those before it are worth nothing. Once a minute, five times a day. Codes: NOT_FOUND, "
        "STATE_INVALID, LIMIT_REACHED, REQUEST_REUSED."
    )
    async def request_contact_code(
        self, info: Info, input: RequestContactCodeInput
    ) -> RequestContactCodeResult:
        context = info.context
        owner, member_id = await whose(info, input.member_id)
        async with context.db.transaction() as session:
            replayed = await confirming.request_code(
                session,
                owner=owner,
                member_id=member_id,
                request_id=input.request_id,
                contact=input.contact,
                now=context.now,
            )
        return RequestContactCodePayload(replayed=replayed, member_id=member_id)

    @strawberry.mutation(
        description="Confirms a number or address by the newest code that was sent there: within "
        "15 minutes, with five wrong ones at most. From then on it is used. Codes: NOT_FOUND, "
        "CODE_INVALID, REQUEST_REUSED."
    )
    async def verify_contact(self, info: Info, input: VerifyContactInput) -> VerifyContactResult:
        context = info.context
        owner, member_id = await whose(info, input.member_id)
        async with context.db.transaction() as session:
            answer = await confirming.verify(
                session,
                owner=owner,
                member_id=member_id,
                request_id=input.request_id,
                contact=input.contact,
                code=input.code,
                now=context.now,
            )
        # Only now: that it was wrong is kept.
        if not answer.is_right:
            raise confirming.CodeWrong
        return VerifyContactPayload(replayed=answer.replayed, member_id=member_id)
