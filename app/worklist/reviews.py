"""Reviews: opened with their worklist item by one statement, decided once.

Whoever opens one does it with what it is about, in the same statement or transaction; what
follows from a decision is the business of the domain that opened it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.texts import Text
from app.worklist import rules
from app.worklist.models import Review, ReviewEvent
from app.worklist.rules import Decision, ReviewKind, ReviewState, WorklistItemKind
from app.worklist.service import TextInvalid, finish

SUBJECT_KIND = "REVIEW"
_ITEM_KINDS = {
    ReviewKind.CHECK_IN: WorklistItemKind.REVIEW,
    ReviewKind.APPEAL: WorklistItemKind.APPEAL,
    ReviewKind.RISK: WorklistItemKind.RISK_CONTESTED,
}
_PRIORITIES = {ReviewKind.CHECK_IN: 60, ReviewKind.APPEAL: 70, ReviewKind.RISK: 70}


class AlreadyDecided(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.ALREADY_DECIDED,
            Text(zh="这项审核已有决定。", en="This review was decided already."),
            field="reviewId",
        )


class SecondPersonNeeded(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.SECOND_PERSON_NEEDED,
            Text(
                zh="这项审核须由另一位同事决定。",
                en="Another person than you must decide about this.",
            ),
            field="reviewId",
        )


@dataclass(frozen=True, slots=True)
class NewReview:
    kind: ReviewKind
    cause_key: str
    """A member has one review of it, however often it is opened."""
    subject_id: UUID
    check_in_id: UUID | None
    findings: Sequence[str]
    """Codes, the most telling first."""
    why: Text
    """For the worklist."""
    points: int
    second_person_above: int
    text: str | None
    due_at: datetime
    id: UUID | None = None
    """Of the review, when somebody must know it before; else a new one."""

    def parameters(self, *, now: datetime) -> dict[str, Any]:
        """Those of `open_ctes`."""
        return {
            "review_id": self.id or new_id(now),
            "review_event_id": new_id(now),
            "review_item_id": new_id(now),
            "review_item_event_id": new_id(now),
            "review_kind": self.kind,
            "review_item_kind": _ITEM_KINDS[self.kind],
            "review_priority": _PRIORITIES[self.kind],
            "review_cause_key": self.cause_key,
            "review_subject_id": self.subject_id,
            "review_check_in_id": self.check_in_id,
            "review_findings": list(self.findings),
            "review_why_zh": self.why.zh,
            "review_why_en": self.why.en,
            "review_points": self.points,
            "review_second_person_above": self.second_person_above,
            "review_text": self.text,
            "review_due_at": self.due_at,
            "review_opened_at": now,
        }


def open_ctes(source: str) -> str:
    """The parts of a `with` that open a review for the member that `source` has a row of; with
    the parameters of `NewReview`. Fails when the cause has opened one before."""
    return f"""
opened_item as (
  insert into worklist_items (member_id, id, kind, reason_zh, reason_en, priority, due_at,
    opened_at, subject_kind, subject_id, cause_key, events)
  select member_id, cast(:review_item_id as uuid), cast(:review_item_kind as text),
    cast(:review_why_zh as text), cast(:review_why_en as text),
    cast(:review_priority as integer), cast(:review_due_at as timestamptz),
    cast(:review_opened_at as timestamptz), '{SUBJECT_KIND}', cast(:review_id as uuid),
    'review:' || cast(:review_cause_key as text), 1 from {source}),
opened_item_event as (
  insert into worklist_events (member_id, id, item_id, place, kind, at)
  select member_id, cast(:review_item_event_id as uuid), cast(:review_item_id as uuid), 1,
    '{rules.EventKind.OPENED}', cast(:review_opened_at as timestamptz) from {source}),
opened_review as (
  insert into reviews (member_id, id, kind, cause_key, item_id, subject_id, check_in_id, findings,
    points, second_person_above, text, state, opened_at, due_at, events)
  select member_id, cast(:review_id as uuid), cast(:review_kind as text),
    cast(:review_cause_key as text), cast(:review_item_id as uuid),
    cast(:review_subject_id as uuid), cast(:review_check_in_id as uuid),
    cast(:review_findings as text[]), cast(:review_points as bigint),
    cast(:review_second_person_above as bigint), cast(:review_text as text),
    '{ReviewState.OPEN}', cast(:review_opened_at as timestamptz),
    cast(:review_due_at as timestamptz), 1 from {source}),
opened_review_event as (
  insert into review_events (member_id, id, review_id, place, state, at)
  select member_id, cast(:review_event_id as uuid), cast(:review_id as uuid), 1,
    '{ReviewState.OPEN}', cast(:review_opened_at as timestamptz) from {source})
"""


_OPEN = text(
    "with member as (select cast(:review_member_id as uuid) as member_id),"
    f" {open_ctes('member')} select 1"
)


async def open_review(
    session: AsyncSession, *, member_id: UUID, new: NewReview, now: datetime
) -> UUID:
    """The new review's id. The caller has made sure, under a lock, that the cause is new."""
    parameters = new.parameters(now=now)
    connection = await session.connection()
    await connection.execute(_OPEN, parameters | {"review_member_id": member_id})
    found: UUID = parameters["review_id"]
    return found


async def lock(session: AsyncSession, *, member_id: UUID, review_id: UUID) -> Review:
    """Raises NotFound."""
    found = (
        await session.exec(
            select(Review)
            .where(Review.member_id == member_id, Review.id == review_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if found is None:
        raise NotFound(field="reviewId")
    return found


async def decide(
    session: AsyncSession,
    review: Review,
    *,
    staff_id: UUID,
    decision: Decision,
    reason: str,
    now: datetime,
) -> bool:
    """Decide about a locked review; whether that is final. Where two must agree, the first
    decision waits for another person; when that one says otherwise, theirs waits instead.

    Raises AlreadyDecided, SecondPersonNeeded, TextInvalid.
    """
    if review.state not in (ReviewState.OPEN, ReviewState.AWAITING_SECOND_PERSON):
        raise AlreadyDecided
    if review.decided_by == staff_id:
        raise SecondPersonNeeded
    if not rules.is_sayable(reason, length_max=rules.REASON_LENGTH_MAX):
        raise TextInvalid(field="reason", length_max=rules.REASON_LENGTH_MAX)
    earlier = Decision(review.decision) if review.decision is not None else None
    state = rules.after_decision(
        decision,
        points=review.points,
        second_person_above=review.second_person_above,
        earlier=earlier,
    )
    is_final = state is not ReviewState.AWAITING_SECOND_PERSON
    if is_final and earlier is not None:
        review.second_by, review.second_at = staff_id, now
    else:
        review.decided_by, review.decided_at = staff_id, now
    review.decision, review.reason, review.state = decision, reason.strip(), state
    review.events += 1
    session.add(
        ReviewEvent(
            member_id=review.member_id,
            id=new_id(now),
            review_id=review.id,
            place=review.events,
            state=state,
            decision=decision,
            staff_id=staff_id,
            reason=review.reason,
            at=now,
        )
    )
    if is_final:
        await finish(
            session,
            member_id=review.member_id,
            item_id=review.item_id,
            staff_id=staff_id,
            now=now,
        )
    return is_final
