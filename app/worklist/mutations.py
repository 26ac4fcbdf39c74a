"""What employees do with the items of their worklist."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry

from app.errors import NotFound
from app.graphql.errors import UserError
from app.graphql.ids import GlobalId, Kind, decode
from app.graphql.node import Info
from app.worklist import rules, service
from app.worklist.graphql import ACTING, WorklistItem


@strawberry.input
class OpenFollowUpInput:
    request_id: UUID
    member_id: strawberry.ID
    reason: str = strawberry.field(
        description=f"Why, in the employee's words; at most {rules.REASON_LENGTH_MAX} characters."
    )
    due_at: datetime = strawberry.field(description="After now, at most 366 days ahead.")
    priority: int = strawberry.field(
        default=rules.PRIORITY_OF_FOLLOW_UP, description="0 to 100, higher is more pressing."
    )


@strawberry.input
class NoteWorklistItemInput:
    request_id: UUID
    item_id: strawberry.ID
    note: str = strawberry.field(description=f"At most {rules.NOTE_LENGTH_MAX} characters.")


@strawberry.input
class SnoozeWorklistItemInput:
    request_id: UUID
    item_id: strawberry.ID
    until: datetime = strawberry.field(description="After now, at most 90 days ahead.")


@strawberry.input
class CompleteWorklistItemInput:
    request_id: UUID
    item_id: strawberry.ID
    note: str | None = strawberry.field(
        default=None, description=f"At most {rules.NOTE_LENGTH_MAX} characters."
    )


@strawberry.input
class HandOverWorklistItemInput:
    request_id: UUID
    item_id: strawberry.ID
    to_staff_id: strawberry.ID = strawberry.field(description="An active health manager.")
    note: str | None = strawberry.field(
        default=None, description=f"At most {rules.NOTE_LENGTH_MAX} characters."
    )


@strawberry.type
class OpenFollowUpPayload:
    replayed: bool
    item: WorklistItem


@strawberry.type
class NoteWorklistItemPayload:
    replayed: bool
    item: WorklistItem


@strawberry.type
class SnoozeWorklistItemPayload:
    replayed: bool
    item: WorklistItem


@strawberry.type
class CompleteWorklistItemPayload:
    replayed: bool
    item: WorklistItem


@strawberry.type
class HandOverWorklistItemPayload:
    replayed: bool
    item: WorklistItem


OpenFollowUpResult = Annotated[
    OpenFollowUpPayload | UserError, strawberry.union("OpenFollowUpResult")
]
NoteWorklistItemResult = Annotated[
    NoteWorklistItemPayload | UserError, strawberry.union("NoteWorklistItemResult")
]
SnoozeWorklistItemResult = Annotated[
    SnoozeWorklistItemPayload | UserError, strawberry.union("SnoozeWorklistItemResult")
]
CompleteWorklistItemResult = Annotated[
    CompleteWorklistItemPayload | UserError, strawberry.union("CompleteWorklistItemResult")
]
HandOverWorklistItemResult = Annotated[
    HandOverWorklistItemPayload | UserError, strawberry.union("HandOverWorklistItemResult")
]


async def _seen(info: Info, id: str, kind: Kind, *, field: str) -> GlobalId:
    """What an id names, of a member whom the employee may see; that they look is recorded.
    Raises NotFound naming `field`, Unauthenticated, Forbidden."""
    _ = info.context.require_role(*ACTING)
    named = decode(id, kind, field=field)
    if not await info.context.may_see(named.owner_id):
        raise NotFound(field=field)
    return named


async def _change(
    info: Info,
    change: Callable[..., Awaitable[tuple[Any, bool]]],
    *,
    request_id: UUID,
    item_id: str,
    **values: Any,
) -> dict[str, Any]:
    """One call of the service on an item; the fields of the payload."""
    context = info.context
    named = await _seen(info, item_id, Kind.WORKLIST_ITEM, field="itemId")
    async with context.db.transaction() as session:
        item, replayed = await change(
            session,
            staff_id=context.staff_id,
            request_id=request_id,
            member_id=named.owner_id,
            item_id=named.key,
            now=context.now,
            **values,
        )
    return {"replayed": replayed, "item": WorklistItem.of(item)}


@strawberry.type
class WorklistMutation:
    @strawberry.mutation(
        description="Staff only. Codes: NOT_FOUND, PERIOD_INVALID, VALUE_OUT_OF_RANGE, "
        "REQUEST_REUSED."
    )
    async def open_follow_up(self, info: Info, input: OpenFollowUpInput) -> OpenFollowUpResult:
        context = info.context
        named = await _seen(info, input.member_id, Kind.MEMBER, field="memberId")
        async with context.db.transaction() as session:
            item, replayed = await service.open_follow_up(
                session,
                staff_id=context.staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                reason=input.reason,
                due_at=input.due_at,
                priority=input.priority,
                now=context.now,
            )
        return OpenFollowUpPayload(replayed=replayed, item=WorklistItem.of(item))

    @strawberry.mutation(
        description="Staff only. Codes: NOT_FOUND, STATE_INVALID, VALUE_OUT_OF_RANGE, "
        "REQUEST_REUSED."
    )
    async def note_worklist_item(
        self, info: Info, input: NoteWorklistItemInput
    ) -> NoteWorklistItemResult:
        changed = await _change(
            info,
            service.note,
            request_id=input.request_id,
            item_id=input.item_id,
            note=input.note,
        )
        return NoteWorklistItemPayload(**changed)

    @strawberry.mutation(
        description="Out of the list until an instant. Staff only. Codes: NOT_FOUND, "
        "PERIOD_INVALID, STATE_INVALID, REQUEST_REUSED."
    )
    async def snooze_worklist_item(
        self, info: Info, input: SnoozeWorklistItemInput
    ) -> SnoozeWorklistItemResult:
        changed = await _change(
            info,
            service.snooze,
            request_id=input.request_id,
            item_id=input.item_id,
            until=input.until,
        )
        return SnoozeWorklistItemPayload(**changed)

    @strawberry.mutation(
        description="Closes it. STATE_INVALID for what closes with a decision or a redemption: the "
        "message says what to do instead. Staff only. Codes: NOT_FOUND, STATE_INVALID, "
        "VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def complete_worklist_item(
        self, info: Info, input: CompleteWorklistItemInput
    ) -> CompleteWorklistItemResult:
        changed = await _change(
            info,
            service.complete,
            request_id=input.request_id,
            item_id=input.item_id,
            note=input.note,
        )
        return CompleteWorklistItemPayload(**changed)

    @strawberry.mutation(
        description="The colleague finds it awake in their list and sees the member until it "
        "is closed. Staff only. Codes: NOT_FOUND, STATE_INVALID, VALUE_OUT_OF_RANGE, "
        "REQUEST_REUSED."
    )
    async def hand_over_worklist_item(
        self, info: Info, input: HandOverWorklistItemInput
    ) -> HandOverWorklistItemResult:
        to = decode(input.to_staff_id, Kind.STAFF, field="toStaffId")
        changed = await _change(
            info,
            service.hand_over,
            request_id=input.request_id,
            item_id=input.item_id,
            to_staff_id=to.owner_id,
            note=input.note,
        )
        return HandOverWorklistItemPayload(**changed)
