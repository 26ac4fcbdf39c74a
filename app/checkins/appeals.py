"""Appeals: a member contests an entry of their points, and somebody answers.

What an entry took, or what was refused of it, is given back as the next revision of its cause.
Points that rest on a rejected check-in come back with the check-in: its task is settled anew.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.checkins.checks import checks
from app.errors import ErrorCode, NotFound, UserError
from app.health_tasks.kinds import CheckInState
from app.health_tasks.service import lock_wallet
from app.members import requests
from app.points import rules as points_rules
from app.points import service as points
from app.points.rules import Account, CauseKind, TransferKind
from app.texts import Text
from app.worklist import reviews, rules
from app.worklist.models import Review
from app.worklist.reviews import NewReview
from app.worklist.rules import ReviewKind
from app.worklist.service import TextInvalid

EXPIRES_AFTER_MONTHS = 12
"""Of points that an appeal gives for no task."""
POINTS_MAX = 100_000
_REVISIONS_MAX = 100
_OPERATION = "appealEntry"
_CONTESTABLE = frozenset(
    {
        TransferKind.EARNED,
        TransferKind.REVERSED,
        TransferKind.RESTATED,
        TransferKind.ADJUSTED,
        TransferKind.EXPIRED,
    }
)
"""What somebody or a rule decided; what a member bought is cancelled instead."""

_ENTRY = text("""
select x.id, x.kind, x.debit, x.credit, x.amount, x.posted_at, x.local_date,
  coalesce(root.id, x.id) as root_id, coalesce(root.cause_kind, x.cause_kind) as cause_kind,
  coalesce(root.cause_id, x.cause_id) as cause_id, coalesce(root.cause_key, x.cause_key) as key,
  coalesce(root.rule_version, x.rule_version) as rule_version,
  coalesce(root.rule_code, x.rule_code) as rule_code,
  exists (select from points_transfers s where s.member_id = x.member_id and s.corrects = x.id
    and s.debit = 'pending' and s.credit = 'reversed') as refused,
  (select c.state from checkins c where c.member_id = x.member_id
    and c.id = coalesce(root.cause_id, x.cause_id)
    and coalesce(root.cause_kind, x.cause_kind) = 'CHECK_IN') as check_in_state,
  (select a.second_person_above from checkins c
    join task_assignments a on a.member_id = c.member_id and a.id = c.assignment_id
    where c.member_id = x.member_id and c.id = coalesce(root.cause_id, x.cause_id)) as above,
  m.time_zone
from points_transfers x
join members m on m.member_id = x.member_id
left join points_transfers root on root.member_id = x.member_id and root.id = x.corrects
where x.member_id = :member_id and x.id = :id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))
_OPENED = text(
    "select id from reviews where member_id = :member_id and cause_key = :cause_key"
).bindparams(bindparam("member_id", type_=Uuid))
_TAKE_REVISION = text("""
update tasks t set revision = greatest(t.revision, :revision + 1) from checkins c
where c.member_id = :member_id and c.id = :id and t.member_id = c.member_id
and t.assignment_id = c.assignment_id and t.starts_on = c.starts_on
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))
_KEYS = text("""
select cause_key from points_transfers
where member_id = :member_id and cause_key = any(cast(:keys as text[]))
""").bindparams(bindparam("member_id", type_=Uuid))


class NotContestable(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.NOT_ELIGIBLE,
            Text(
                zh="兑换和预留的积分不能申诉，请取消兑换。",
                en="Points that you spend or reserve cannot be contested; cancel the redemption.",
            ),
            field="entryId",
        )


class AppealTooLate(UserError):
    def __init__(self, *, days: int) -> None:
        super().__init__(
            ErrorCode.TOO_OLD,
            Text(
                zh=f"记录后 {days} 天内可以申诉。",
                en=f"An entry can be contested for {days} days.",
            ),
            field="entryId",
        )


class AlreadyAppealed(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(zh="这笔积分已经申诉过。", en="These points were contested already."),
            field="entryId",
        )


class PointsNeeded(UserError):
    """Nothing was taken or refused, so somebody must say how many points are right."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"请填写补发的积分，1 至 {POINTS_MAX}。",
                en=f"Say how many points to give, 1 to {POINTS_MAX}.",
            ),
            field="points",
        )


@dataclass(frozen=True, slots=True)
class Contested:
    """An entry, with the first transfer of what it belongs to (`root`)."""

    row: Any

    @property
    def root_id(self) -> UUID:
        found: UUID = self.row.root_id
        return found

    @property
    def check_in_id(self) -> UUID | None:
        is_check_in = self.row.cause_kind == CauseKind.CHECK_IN
        found: UUID | None = self.row.cause_id if is_check_in else None
        return found

    @property
    def restores_check_in(self) -> bool:
        return bool(self.row.check_in_state == CheckInState.REJECTED)

    @property
    def lost(self) -> int:
        """What it took, or what was refused of it, in points."""
        row = self.row
        taken = row.credit in (Account.REVERSED, Account.EXPIRED)
        return int(row.amount) if taken or row.refused else 0


async def appeal(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    entry_id: UUID,
    text: str,
    now: datetime,
) -> tuple[UUID, bool]:
    """Contest an entry, once; the review's id, and whether this request was answered before.

    Raises NotFound, NotContestable, AppealTooLate, AlreadyAppealed, TextInvalid, RequestReused.
    """
    await lock_wallet(session, member_id)
    found = await _find(session, member_id, entry_id)
    cause_key = f"appeal:{found.root_id}"
    opened = (
        await session.execute(_OPENED, {"member_id": member_id, "cause_key": cause_key})
    ).scalar_one_or_none()
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation=_OPERATION,
        values={"entryId": entry_id, "text": text},
        # One appeal an entry: what this request opens is what will be found by its cause.
        result=entry_id,
        now=now,
    )
    if earlier is not None:
        assert opened is not None
        return opened, True
    if opened is not None:
        raise AlreadyAppealed
    if found.row.kind not in _CONTESTABLE:
        raise NotContestable
    within = checks().appeals.within_days
    if now - found.row.posted_at > timedelta(days=within):
        raise AppealTooLate(days=within)
    if not rules.is_sayable(text, length_max=rules.REASON_LENGTH_MAX):
        raise TextInvalid(field="text", length_max=rules.REASON_LENGTH_MAX)
    above = found.row.above
    new = NewReview(
        kind=ReviewKind.APPEAL,
        cause_key=cause_key,
        subject_id=entry_id,
        check_in_id=found.check_in_id,
        findings=(),
        why=Text(zh="会员对积分提出申诉", en="The member contests an entry of their points"),
        points=found.lost,
        second_person_above=checks().reviews.second_person_above if above is None else above,
        text=text.strip(),
        due_at=now + timedelta(days=checks().appeals.due_days),
    )
    return await reviews.open_review(session, member_id=member_id, new=new, now=now), False


def points_of(review: Review, wanted: int | None) -> int:
    """What accepting an appeal gives: what was lost, or what the employee says where nothing
    was. Raises PointsNeeded."""
    if wanted is None and review.points > 0:
        return review.points
    if wanted is None or not 0 < wanted <= POINTS_MAX:
        raise PointsNeeded
    return wanted


async def find(session: AsyncSession, *, member_id: UUID, review_id: UUID) -> Review:
    return await session.get_one(Review, (member_id, review_id))


async def contested(session: AsyncSession, review: Review) -> Contested:
    return await _find(session, review.member_id, review.subject_id)


async def correct(
    session: AsyncSession, review: Review, found: Contested, *, now: datetime
) -> None:
    """Give the points as the next revision of the cause; the wallet is locked."""
    row = found.row
    zone = civil_time.zone(row.time_zone)
    today = civil_time.local_date(now, zone)
    earned = row.cause_kind is not None and row.kind != TransferKind.EXPIRED
    key = f"appeal:{row.id}"
    if earned:
        key, revision = await _next_key(session, review.member_id, row.key)
        # The task's own next revision comes after it.
        taken = {"member_id": review.member_id, "id": found.check_in_id, "revision": revision}
        await session.execute(_TAKE_REVISION, taken)
    await points.earn(
        session,
        member_id=review.member_id,
        amount=review.points,
        cause=points.Cause(
            CauseKind(row.cause_kind) if earned else CauseKind.TRANSFER,
            row.cause_id if earned else row.id,
            key,
        ),
        rule=points.Rule(row.rule_version, row.rule_code),
        local_date=row.local_date,
        expires=points_rules.expiry(today, EXPIRES_AFTER_MONTHS, zone),
        now=now,
        kind=TransferKind.ADJUSTED,
        corrects=found.root_id if earned else None,
    )


async def _find(session: AsyncSession, member_id: UUID, entry_id: UUID) -> Contested:
    """Raises NotFound."""
    row = (await session.execute(_ENTRY, {"member_id": member_id, "id": entry_id})).one_or_none()
    if row is None:
        raise NotFound(field="entryId")
    return Contested(row)


async def _next_key(session: AsyncSession, member_id: UUID, key: str) -> tuple[str, int]:
    """The first revision of a cause that nothing was posted for."""
    base = key.partition("/")[0].rpartition(":")[0]
    keys = [f"{base}:{revision}" for revision in range(_REVISIONS_MAX)]
    taken = set((await session.execute(_KEYS, {"member_id": member_id, "keys": keys})).scalars())
    return next((it, revision) for revision, it in enumerate(keys) if it not in taken)
