"""The mutations `decideReview`, `appealEntry` and `appealCheckIn`."""

from typing import Annotated, Any
from uuid import UUID

import strawberry

from app.checkins import appeals, reviews
from app.checkins.review_types import Review
from app.errors import NotFound
from app.events import Event
from app.graphql.errors import UserError
from app.graphql.ids import GlobalId, Kind, decode, encode
from app.graphql.node import Info
from app.health_tasks.graphql import CheckIn
from app.worklist import rules
from app.worklist.graphql import ACTING
from app.worklist.rules import Decision


@strawberry.input
class DecideReviewInput:
    request_id: UUID
    review_id: strawberry.ID
    decision: Decision
    reason: str = strawberry.field(
        description=f"Shown to the member; at most {rules.REASON_LENGTH_MAX} characters."
    )
    points: int | None = strawberry.field(
        default=None,
        description="How many points accepting an appeal gives; leave out for those that the "
        "entry lost.",
    )


@strawberry.type
class DecideReviewPayload:
    replayed: bool
    review: Review
    shown: strawberry.Private[Review]

    @strawberry.field(
        description="Null when the review is not about a check-in (a contested entry)."
    )
    async def check_in(self, info: Info) -> CheckIn | None:
        return await self.shown.check_in(info)  # type: ignore[no-any-return]


@strawberry.input
class AppealEntryInput:
    request_id: UUID
    entry_id: strawberry.ID
    text: str = strawberry.field(
        description=f"In the member's words; at most {rules.REASON_LENGTH_MAX} characters."
    )


@strawberry.type
class AppealEntryPayload:
    replayed: bool
    review: Review


@strawberry.input
class AppealCheckInInput:
    request_id: UUID
    check_in_id: strawberry.ID
    text: str = strawberry.field(
        description=f"In the member's words; at most {rules.REASON_LENGTH_MAX} characters."
    )


@strawberry.type
class AppealCheckInPayload:
    replayed: bool
    review: Review


DecideReviewResult = Annotated[
    DecideReviewPayload | UserError, strawberry.union("DecideReviewResult")
]
AppealEntryResult = Annotated[AppealEntryPayload | UserError, strawberry.union("AppealEntryResult")]

AppealCheckInResult = Annotated[
    AppealCheckInPayload | UserError, strawberry.union("AppealCheckInResult")
]


async def _seen(info: Info, id: str, kind: Kind, *, field: str) -> GlobalId:
    """What an id names, of a member whom the employee may see. Raises NotFound naming
    `field`, Unauthenticated, Forbidden."""
    _ = info.context.require_role(*ACTING)
    named = decode(id, kind, field=field)
    if not await info.context.may_see(named.owner_id):
        raise NotFound(field=field)
    return named


@strawberry.type
class ReviewsMutation:
    @strawberry.mutation(
        description="Accepts a check-in or an appeal, or refuses it; about many points when a "
        "second person agrees. Staff only. Codes: NOT_FOUND, ALREADY_DECIDED, "
        "SECOND_PERSON_NEEDED, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def decide_review(self, info: Info, input: DecideReviewInput) -> DecideReviewResult:
        context = info.context
        named = await _seen(info, input.review_id, Kind.REVIEW, field="reviewId")
        async with context.db.transaction() as session:
            decided = await reviews.decide(
                session,
                staff_id=context.staff_id,
                request_id=input.request_id,
                member_id=named.owner_id,
                review_id=named.key,
                decision=input.decision,
                reason=input.reason,
                points=input.points,
                now=context.now,
            )
        context.events.publish(*_changes(named.owner_id, decided))
        review = Review.of(decided.review)
        return DecideReviewPayload(replayed=decided.replayed, review=review, shown=review)

    @strawberry.mutation(
        description="Contests an entry of one's points, once; somebody answers by the review's "
        "`dueAt`. Codes: NOT_FOUND, NOT_ELIGIBLE, TOO_OLD, LIMIT_REACHED, VALUE_OUT_OF_RANGE, "
        "REQUEST_REUSED."
    )
    async def appeal_entry(self, info: Info, input: AppealEntryInput) -> AppealEntryResult:
        context = info.context
        member_id = context.member_id
        named = decode(input.entry_id, Kind.POINTS_ENTRY, field="entryId")
        if named.owner_id != member_id:
            raise NotFound(field="entryId")
        async with context.db.transaction() as session:
            review_id, replayed = await appeals.appeal(
                session,
                member_id=member_id,
                request_id=input.request_id,
                entry_id=named.key,
                text=input.text,
                now=context.now,
            )
            row: Any = await appeals.find(session, member_id=member_id, review_id=review_id)
        return AppealEntryPayload(replayed=replayed, review=Review.of(row))

    @strawberry.mutation(
        description="Contests that a review rejected one's check-in, once, with the entry of its "
        "points if there is one; somebody else answers by the review's `dueAt`. Codes: NOT_FOUND, "
        "NOT_ELIGIBLE, TOO_OLD, LIMIT_REACHED, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def appeal_check_in(self, info: Info, input: AppealCheckInInput) -> AppealCheckInResult:
        context = info.context
        member_id = context.member_id
        named = decode(input.check_in_id, Kind.CHECK_IN, field="checkInId")
        if named.owner_id != member_id:
            raise NotFound(field="checkInId")
        async with context.db.transaction() as session:
            review_id, replayed = await appeals.appeal_check_in(
                session,
                member_id=member_id,
                request_id=input.request_id,
                check_in_id=named.key,
                text=input.text,
                now=context.now,
            )
            row: Any = await appeals.find(session, member_id=member_id, review_id=review_id)
        return AppealCheckInPayload(replayed=replayed, review=Review.of(row))


def _changes(member_id: UUID, decided: reviews.Decided) -> list[Event]:
    found = []
    if decided.task is not None:
        found.append(Event(member_id, "task", encode(Kind.TASK, member_id, *decided.task)))
    if decided.moved_points:
        found.append(Event(member_id, "points", encode(Kind.POINTS_ACCOUNT, member_id)))
    return found
