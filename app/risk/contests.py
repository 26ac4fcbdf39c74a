"""A member contests their tier; somebody answers (RSK-3).

A tier follows from readings and answers by published rules, never from an employee's hand. So a
contest that is accepted has the member measured again and assessed anew; one that is rejected
leaves the tier as it is, with the reason in words.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, Date, DateTime, String, Uuid, bindparam, text
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.measurements.queries import consents
from app.members import requests as replays
from app.members.models import Member
from app.records.service import ConsentMissing
from app.risk import requests
from app.risk.rechecks import RecheckKind
from app.risk.requests import Cause
from app.risk.tables import RiskProfile
from app.texts import Text
from app.worklist import reviews, rules
from app.worklist.models import Review
from app.worklist.reviews import NewReview
from app.worklist.rules import Decision, ReviewKind
from app.worklist.service import TextInvalid

DUE_AFTER = timedelta(days=3)
_OPERATION = "contestRisk"
_WHY = Text(zh="成员对风险等级提出异议。", en="The member contests their risk tier.")

_MEASURE_AGAIN = text("""
insert into risk_rechecks (member_id, id, kind, assessment_id, proposed_at, proposed_on)
select p.member_id, it.id, it.kind, p.assessment_id, :now, :today
from risk_profiles p cross join unnest(:ids, :kinds) as it (id, kind)
where p.member_id = :member_id and p.assessment_id is not null
on conflict do nothing
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("kinds", type_=ARRAY(String)),
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("today", type_=Date),
)


class AlreadyContested(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(zh="你已对这次评估提出异议。", en="You have contested this assessment already."),
        )


async def contest(
    session: AsyncSession, *, member_id: UUID, request_id: UUID, words: str, now: datetime
) -> bool:
    """Open a review of the tier as it is now; whether this request was answered before.

    Raises NotFound (nobody has assessed them), ConsentMissing, AlreadyContested, TextInvalid,
    RequestReused.
    """
    profile = (
        await session.exec(
            select(RiskProfile).where(RiskProfile.member_id == member_id).with_for_update()
        )
    ).one_or_none()
    earlier = await replays.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation=_OPERATION,
        values={"text": words},
        result=member_id,
        now=now,
    )
    if earlier is not None:
        return True
    if profile is None or profile.assessment_id is None:
        raise NotFound(field="requestId")
    if not await _consents(session, member_id):
        raise ConsentMissing
    if not rules.is_sayable(words, length_max=rules.REASON_LENGTH_MAX):
        raise TextInvalid(field="text", length_max=rules.REASON_LENGTH_MAX)
    if await _contested(session, profile):
        raise AlreadyContested
    profile.review_id = await reviews.open_review(
        session,
        member_id=member_id,
        new=NewReview(
            kind=ReviewKind.RISK,
            cause_key=_cause_key(profile),
            subject_id=profile.assessment_id,
            check_in_id=None,
            findings=(),
            why=_WHY,
            points=0,
            second_person_above=0,
            text=words.strip(),
            due_at=now + DUE_AFTER,
        ),
        now=now,
    )
    profile.contests += 1
    session.add(profile)
    return False


async def _consents(session: AsyncSession, member_id: UUID) -> bool:
    """Who does not let health data be used cannot have it looked at, either."""
    return bool((await session.execute(select(consents(member_id)))).scalar())


def _cause_key(profile: RiskProfile) -> str:
    return f"risk:{profile.assessment_id}"


async def _contested(session: AsyncSession, profile: RiskProfile) -> bool:
    """The assessment itself, or one before it that nobody has answered about yet."""
    known = (
        await session.exec(
            select(Review).where(
                Review.member_id == profile.member_id, Review.kind == ReviewKind.RISK.value
            )
        )
    ).all()
    open_states = (rules.ReviewState.OPEN, rules.ReviewState.AWAITING_SECOND_PERSON)
    return any(it.cause_key == _cause_key(profile) or it.state in open_states for it in known)


async def decided(
    session: AsyncSession, review: Review, decision: Decision, *, now: datetime
) -> None:
    """What follows from the final decision about a contest."""
    if decision is Decision.REJECT:
        return
    member = await session.get_one(Member, review.member_id)
    await session.execute(
        _MEASURE_AGAIN,
        {
            "member_id": review.member_id,
            "ids": [new_id(now) for _ in RecheckKind],
            "kinds": list(RecheckKind),
            "now": now,
            "today": civil_time.local_date(now, civil_time.zone(member.time_zone)),
        },
    )
    await requests.inputs_changed(session, [review.member_id], now=now, cause=Cause.CONTESTED)
