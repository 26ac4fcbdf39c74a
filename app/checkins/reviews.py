"""Decisions about check-ins and appeals: lock the wallet, the review, look, decide, write."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.checkins import appeals, paid, restitution, settling
from app.health_tasks.kinds import CheckInState
from app.health_tasks.sentences import Reason
from app.health_tasks.service import lock_wallet
from app.members import requests
from app.risk import contests as risk_contests
from app.worklist import reviews
from app.worklist.models import Review
from app.worklist.reviews import SecondPersonNeeded
from app.worklist.rules import Decision, ReviewKind

_DECIDE_CHECK_IN = text("""
update checkins set state = :state, reason_code = :reason, decision_note = :note,
  points_awarded = case when :state = 'REJECTED' then 0 else points_awarded end
where member_id = :member_id and id = :id
returning assignment_id, starts_on
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))
_DECIDED_BEFORE = text("""
select exists (select from checkins mine
  join checkins c using (member_id, assignment_id, starts_on)
  join reviews r on r.member_id = c.member_id and r.check_in_id = c.id and r.kind = 'CHECK_IN'
  join review_events e on e.member_id = r.member_id and e.review_id = r.id
  where mine.member_id = :member_id and mine.id = :id and e.staff_id = :staff_id)
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("id", type_=Uuid),
    bindparam("staff_id", type_=Uuid),
)


@dataclass(frozen=True, slots=True)
class Decided:
    review: Review
    replayed: bool
    task: tuple[UUID, date] | None
    """Assignment and first day of the period of a task that changed."""
    moved_points: bool


async def decide(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    review_id: UUID,
    decision: Decision,
    reason: str,
    points: int | None,
    now: datetime,
) -> Decided:
    """Decide once; of several people at once, one. What follows from a final decision is in
    the same transaction.

    Raises NotFound, AlreadyDecided, SecondPersonNeeded, TextInvalid, PointsNeeded,
    RequestReused.
    """
    await lock_wallet(session, member_id)
    review = await reviews.lock(session, member_id=member_id, review_id=review_id)
    values = {"memberId": member_id, "reviewId": review_id, "decision": decision}
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="decideReview",
        values={**values, "reason": reason, "points": points},
        result=review_id,
        now=now,
    )
    if earlier is not None:
        return Decided(review, replayed=True, task=None, moved_points=False)
    if review.kind == ReviewKind.APPEAL and await _has_decided(session, review, staff_id):
        raise SecondPersonNeeded
    if review.kind == ReviewKind.CHECK_IN or appeals.restores_check_in(review):
        assert review.check_in_id is not None
        known = await paid.of_task(session, member_id=member_id, check_in_id=review.check_in_id)
        # What hangs on it may have grown since it was opened.
        review.points = max(review.points, known.undecided)
    elif review.kind == ReviewKind.APPEAL and decision is Decision.ACCEPT:
        contested = await appeals.contested(session, review)
        assert contested is not None
        wanted = await restitution.points_of(session, review, contested, points)
        if wanted != review.points:
            # Whoever decided before did not decide about so many.
            review.points, review.decision = wanted, None
    is_final = await reviews.decide(
        session, review, staff_id=staff_id, decision=decision, reason=reason, now=now
    )
    if not is_final:
        return Decided(review, replayed=False, task=None, moved_points=False)
    await session.flush()
    return await _follow(session, review, decision, now=now)


async def _follow(
    session: AsyncSession, review: Review, decision: Decision, *, now: datetime
) -> Decided:
    """What follows from a final decision."""
    if review.kind == ReviewKind.RISK:
        await risk_contests.decided(session, review, decision, now=now)
        return Decided(review, replayed=False, task=None, moved_points=False)
    if review.kind == ReviewKind.APPEAL and decision is Decision.REJECT:
        return Decided(review, replayed=False, task=None, moved_points=False)
    task: tuple[UUID, date] | None = None
    if review.kind == ReviewKind.CHECK_IN:
        task = await _decide_check_in(session, review, decision, corrects=None, now=now)
    else:
        contested = await appeals.contested(session, review)
        if appeals.restores_check_in(review):
            corrects = contested.root_id if contested is not None else None
            task = await _decide_check_in(session, review, decision, corrects=corrects, now=now)
        else:
            assert contested is not None
            await restitution.correct(session, review, contested, now=now)
    return Decided(review, replayed=False, task=task, moved_points=True)


async def _decide_check_in(
    session: AsyncSession,
    review: Review,
    decision: Decision,
    *,
    corrects: UUID | None,
    now: datetime,
) -> tuple[UUID, date]:
    accepted = decision is Decision.ACCEPT
    assert review.check_in_id is not None
    row = (
        await session.execute(
            _DECIDE_CHECK_IN,
            {
                "member_id": review.member_id,
                "id": review.check_in_id,
                "state": CheckInState.ACCEPTED if accepted else CheckInState.REJECTED,
                "reason": Reason.ACCEPTED_BY_REVIEW if accepted else Reason.REJECTED_BY_REVIEW,
                "note": review.reason,
            },
        )
    ).one()
    await settling.settle_task(
        session,
        member_id=review.member_id,
        assignment_id=row.assignment_id,
        starts_on=row.starts_on,
        check_in_id=review.check_in_id,
        corrects=corrects,
        now=now,
    )
    return row.assignment_id, row.starts_on


async def _has_decided(session: AsyncSession, review: Review, staff_id: UUID) -> bool:
    """Whether the employee has decided, finally or not, about a check-in of the task whose
    points are contested."""
    if review.check_in_id is None:
        return False
    keys = {"member_id": review.member_id, "id": review.check_in_id, "staff_id": staff_id}
    return bool((await session.execute(_DECIDED_BEFORE, keys)).scalar_one())
