"""What members and employees change of conditions; medications are in `nudges`, since they
move reminders."""

from datetime import date
from typing import Annotated
from uuid import UUID

import strawberry

from app.errors import Forbidden, NotFound
from app.graphql.errors import UserError
from app.graphql.ids import Kind, decode
from app.graphql.node import Info
from app.records import health, keeping
from app.records.health import Source
from app.records.types import Condition
from app.worklist.graphql import ACTING


async def author_for(
    info: Info, *, member_id: str | None, object_id: str | None, kind: Kind, field: str
) -> tuple[UUID, UUID | None, keeping.Author]:
    """Whose it is, the object named, and who records it: a member their own, an employee that
    of a member whom they may see; that they look is recorded.

    Raises NotFound, Unauthenticated, Forbidden.
    """
    named = decode(object_id, kind, field=field) if object_id is not None else None
    target = named.owner_id if named is not None else None
    if member_id is not None:
        wanted = decode(member_id, Kind.MEMBER, field="memberId").owner_id
        if target is not None and target != wanted:
            raise NotFound(field=field)
        target = wanted
    viewer = info.context.viewer
    own = viewer.acting_for or viewer.member_id
    if own is not None and (target is None or target == own):
        author = keeping.Author(viewer.member_id or own, Source.DECLARED)
        return own, named.key if named else None, author
    if viewer.staff_id is None and own is not None:
        raise NotFound(field=field if named is not None else "memberId")
    staff_id = info.context.require_role(*ACTING)
    if target is None:
        raise Forbidden("Name the member by `memberId`.")
    if not await info.context.may_see(target):
        raise NotFound(field=field if named is not None else "memberId")
    return target, named.key if named else None, keeping.Author(staff_id, Source.CLINICAL)


@strawberry.input
class SetConditionInput:
    request_id: UUID
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="For employees; leave out for `me`."
    )
    condition_id: strawberry.ID | None = strawberry.field(
        default=None, description="Gives this one a new version; leave out to record another."
    )
    icd10: str = strawberry.field(description="`I10`, `E11.9`.")
    label: str | None = strawberry.field(
        default=None,
        description=f"In one's own words; at most {health.LABEL_LENGTH_MAX} characters.",
    )
    onset_on: date | None = strawberry.field(default=None, description="First day, if known.")
    abated_on: date | None = strawberry.field(
        default=None, description="Last day; leave out while it goes on."
    )


@strawberry.type
class SetConditionPayload:
    replayed: bool
    condition: Condition


@strawberry.input
class RetractConditionInput:
    request_id: UUID
    condition_id: strawberry.ID


@strawberry.type
class RetractConditionPayload:
    replayed: bool
    retracted_condition_id: strawberry.ID


SetConditionResult = Annotated[
    SetConditionPayload | UserError, strawberry.union("SetConditionResult")
]
RetractConditionResult = Annotated[
    RetractConditionPayload | UserError, strawberry.union("RetractConditionResult")
]


@strawberry.type
class RecordsMutation:
    @strawberry.mutation(
        description="A member declares a condition, an employee records one; nothing is edited, "
        "the newest version is in force. Codes: NOT_FOUND, STATE_INVALID, CODE_INVALID, "
        "PERIOD_INVALID, VALUE_OUT_OF_RANGE, LIMIT_REACHED, CONSENT_MISSING, REQUEST_REUSED."
    )
    async def set_condition(self, info: Info, input: SetConditionInput) -> SetConditionResult:
        context = info.context
        member_id, condition_id, author = await author_for(
            info,
            member_id=input.member_id,
            object_id=input.condition_id,
            kind=Kind.CONDITION,
            field="conditionId",
        )
        wish = keeping.ConditionWish(input.icd10, input.label, input.onset_on, input.abated_on)
        async with context.db.transaction() as session:
            row, replayed = await keeping.set_condition(
                session,
                member_id=member_id,
                author=author,
                request_id=input.request_id,
                condition_id=condition_id,
                wish=wish,
                now=context.now,
            )
        return SetConditionPayload(replayed=replayed, condition=Condition.of(row))

    @strawberry.mutation(
        description="It was recorded by mistake and never was so. Codes: NOT_FOUND, "
        "STATE_INVALID, CONSENT_MISSING, REQUEST_REUSED."
    )
    async def retract_condition(
        self, info: Info, input: RetractConditionInput
    ) -> RetractConditionResult:
        context = info.context
        member_id, condition_id, author = await author_for(
            info,
            member_id=None,
            object_id=input.condition_id,
            kind=Kind.CONDITION,
            field="conditionId",
        )
        assert condition_id is not None
        async with context.db.transaction() as session:
            replayed = await keeping.retract_condition(
                session,
                member_id=member_id,
                author=author,
                request_id=input.request_id,
                condition_id=condition_id,
                now=context.now,
            )
        return RetractConditionPayload(replayed=replayed, retracted_condition_id=input.condition_id)
