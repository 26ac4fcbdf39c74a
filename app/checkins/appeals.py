"""Appeals: a member contests an entry of their points, or a check-in that was rejected, and
somebody else than who decided answers.

A check-in that was rejected is one matter, by whatever it is named: accepting it settles its
task anew. So is what was refused or taken back because of it, also from an entry that was given
for another check-in of the task. Of any other entry, what it took, or what somebody says is
missing, is given as the next revision of its cause.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.checkins import paid
from app.checkins.checks import checks
from app.errors import ErrorCode, NotFound, UserError
from app.health_tasks.kinds import CheckInState
from app.health_tasks.service import lock_wallet
from app.ids import new_id
from app.members import requests
from app.points.rules import Account, CauseKind, TransferKind
from app.texts import Text
from app.worklist import reviews, rules
from app.worklist.models import Review
from app.worklist.reviews import NewReview
from app.worklist.rules import ReviewKind
from app.worklist.service import TextInvalid

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

_WHY_ENTRY = Text(zh="会员对积分提出申诉", en="The member contests an entry of their points")
_WHY_CHECK_IN = Text(
    zh="会员对打卡审核结果提出申诉", en="The member contests that a check-in was rejected"
)

_ENTRY = text("""
select x.id, x.kind, x.debit, x.credit, x.amount, x.posted_at, x.local_date,
  coalesce(root.id, x.id) as root_id, coalesce(root.cause_kind, x.cause_kind) as cause_kind,
  coalesce(root.cause_id, x.cause_id) as cause_id, coalesce(root.cause_key, x.cause_key) as key,
  coalesce(root.rule_version, x.rule_version) as rule_version,
  coalesce(root.rule_code, x.rule_code) as rule_code,
  coalesce(root.credit, x.credit) = 'pending' and not exists (select from points_transfers s
    where s.member_id = x.member_id and s.corrects = coalesce(root.id, x.id)
    and s.kind in ('RELEASED', 'REVERSED')) as waits,
  exists (select from points_transfers s where s.member_id = x.member_id
    and s.corrects = coalesce(root.id, x.id) and s.kind = 'REVERSED') as refused,
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
    "select exists (select from reviews where member_id = :member_id and cause_key = :cause_key)"
).bindparams(bindparam("member_id", type_=Uuid))
_CHECK_IN = text("""
select c.state, a.second_person_above as above,
  (select coalesce(r.second_at, r.decided_at) from reviews r where r.member_id = c.member_id
    and r.kind = 'CHECK_IN' and r.check_in_id = c.id and r.state = 'REJECTED') as decided_at,
  (select x.id from points_transfers x where x.member_id = c.member_id and x.cause_id = c.id
    and x.cause_kind = 'CHECK_IN' and x.debit = 'issued' order by x.seq desc limit 1) as entry_id
from checkins c
join task_assignments a on a.member_id = c.member_id and a.id = c.assignment_id
where c.member_id = :member_id and c.id = :id
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))
# Of one task in one period what points were refused for, if anything: a check-in that is not
# contested yet before one that is, the one that they were given for before the others.
_REJECTED = text("""
select other.id from checkins mine
join checkins other using (member_id, assignment_id, starts_on)
left join reviews r on r.member_id = other.member_id and r.cause_key = 'appeal:' || other.id
where mine.member_id = :member_id and mine.id = :id
  and (other.state = 'REJECTED' or r.id is not null)
order by r.id is not null, other.id <> mine.id, other.occurred_at desc, other.id limit 1
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))


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


class StillWaiting(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.NOT_ELIGIBLE,
            Text(
                zh="这些积分正在审核，有决定后才能申诉。",
                en="These points are still being decided; they can be contested afterwards.",
            ),
            field="entryId",
        )


class NotRejected(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.NOT_ELIGIBLE,
            Text(
                zh="只有未通过审核的打卡可以申诉。",
                en="Only a check-in that a review rejected can be contested.",
            ),
            field="checkInId",
        )


class AppealTooLate(UserError):
    def __init__(self, *, days: int, field: str) -> None:
        super().__init__(
            ErrorCode.TOO_OLD,
            Text(
                zh=f"记录或决定后 {days} 天内可以申诉。",
                en=f"An entry or a decision can be contested for {days} days.",
            ),
            field=field,
        )


class AlreadyAppealed(UserError):
    def __init__(self, *, field: str) -> None:
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(zh="这件事已经申诉过。", en="This was contested already."),
            field=field,
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
    def lost(self) -> int:
        """What it took, or what was refused of it, in points."""
        row = self.row
        taken = row.credit in (Account.REVERSED, Account.EXPIRED)
        return int(row.amount) if taken or row.refused else 0

    @property
    def is_of_task(self) -> bool:
        """Whether it says what a task pays; points that expired were paid."""
        return self.check_in_id is not None and self.row.kind != TransferKind.EXPIRED

    @property
    def refusal(self) -> UserError | None:
        row = self.row
        is_bought = row.cause_kind == CauseKind.REDEMPTION and row.kind != TransferKind.EXPIRED
        if is_bought or row.kind not in _CONTESTABLE:
            return NotContestable()
        return StillWaiting() if row.waits else None


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

    Raises NotFound, NotContestable, StillWaiting, AppealTooLate, AlreadyAppealed, TextInvalid,
    RequestReused.
    """
    await lock_wallet(session, member_id)
    asked = _Asked(session, member_id, request_id, entry_id, "entryId", text, now, new_id(now))
    earlier = await asked.claim()
    if earlier is not None:
        return earlier, True
    found = await _find(session, member_id, entry_id)
    if found.is_of_task and found.lost > 0:
        keys = {"member_id": member_id, "id": found.check_in_id}
        rejected: UUID | None = (await session.execute(_REJECTED, keys)).scalar_one_or_none()
        if rejected is not None:
            matter = await _of_check_in(asked, rejected, entry_id=entry_id)
            since = found.row.posted_at
            return await _open(asked, replace(matter, since=since, refusal=found.refusal)), False
    return await _open(asked, _of_entry(found)), False


async def appeal_check_in(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    check_in_id: UUID,
    text: str,
    now: datetime,
) -> tuple[UUID, bool]:
    """Contest that a check-in was rejected, once; the review's id, and whether this request was
    answered before.

    Raises NotFound, NotRejected, AppealTooLate, AlreadyAppealed, TextInvalid, RequestReused.
    """
    await lock_wallet(session, member_id)
    asked = _Asked(session, member_id, request_id, check_in_id, "checkInId", text, now, new_id(now))
    earlier = await asked.claim()
    if earlier is not None:
        return earlier, True
    return await _open(asked, await _of_check_in(asked, check_in_id)), False


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who contests what, and how they named it; the wallet is locked."""

    session: AsyncSession
    member_id: UUID
    request_id: UUID
    id: UUID
    field: str
    text: str
    now: datetime
    review_id: UUID
    """Of the review that it opens."""

    async def claim(self) -> UUID | None:
        """The review that the request opened before. Raises RequestReused."""
        return await requests.claim(
            self.session,
            owner=self.member_id,
            request_id=self.request_id,
            operation="appealEntry" if self.field == "entryId" else "appealCheckIn",
            values={self.field: self.id, "text": self.text},
            result=self.review_id,
            now=self.now,
        )


@dataclass(frozen=True, slots=True)
class _Matter:
    """What is contested. It has one appeal, whatever it is named by."""

    cause_key: str
    subject_id: UUID
    """Of the entry, or of the check-in when points were never given for it."""
    check_in_id: UUID | None
    points: int
    above: int | None
    since: datetime | None
    why: Text
    refusal: UserError | None
    """Why it cannot be contested at all."""


def _of_entry(found: Contested) -> _Matter:
    return _Matter(
        cause_key=f"appeal:{found.root_id}",
        subject_id=found.row.id,
        check_in_id=found.check_in_id,
        points=found.lost,
        above=found.row.above,
        since=found.row.posted_at,
        why=_WHY_ENTRY,
        refusal=found.refusal,
    )


async def _of_check_in(
    asked: _Asked, check_in_id: UUID, *, entry_id: UUID | None = None
) -> _Matter:
    """`entry_id` is the entry that is contested with it; else that of its own points. Raises
    NotFound."""
    session, member_id = asked.session, asked.member_id
    keys = {"member_id": member_id, "id": check_in_id}
    row = (await session.execute(_CHECK_IN, keys)).one_or_none()
    if row is None:
        raise NotFound(field="checkInId")
    entry = entry_id or row.entry_id
    known = await paid.of_task(session, member_id=member_id, check_in_id=check_in_id)
    return _Matter(
        cause_key=_restoring(check_in_id),
        subject_id=entry or check_in_id,
        check_in_id=check_in_id,
        points=known.undecided,
        above=row.above,
        since=row.decided_at,
        why=_WHY_CHECK_IN if entry is None else _WHY_ENTRY,
        refusal=None if row.state == CheckInState.REJECTED else NotRejected(),
    )


async def _open(asked: _Asked, matter: _Matter) -> UUID:
    """Raises NotContestable, StillWaiting, NotRejected, AppealTooLate, AlreadyAppealed,
    TextInvalid."""
    session, now = asked.session, asked.now
    keys = {"member_id": asked.member_id, "cause_key": matter.cause_key}
    if (await session.execute(_OPENED, keys)).scalar_one():
        raise AlreadyAppealed(field=asked.field)
    if matter.refusal is not None:
        raise matter.refusal
    within = checks().appeals.within_days
    if matter.since is not None and now - matter.since > timedelta(days=within):
        raise AppealTooLate(days=within, field=asked.field)
    if not rules.is_sayable(asked.text, length_max=rules.REASON_LENGTH_MAX):
        raise TextInvalid(field="text", length_max=rules.REASON_LENGTH_MAX)
    above = matter.above
    new = NewReview(
        kind=ReviewKind.APPEAL,
        cause_key=matter.cause_key,
        subject_id=matter.subject_id,
        check_in_id=matter.check_in_id,
        findings=(),
        why=matter.why,
        points=matter.points,
        second_person_above=checks().reviews.second_person_above if above is None else above,
        text=asked.text.strip(),
        due_at=now + timedelta(days=checks().appeals.due_days),
        id=asked.review_id,
    )
    return await reviews.open_review(session, member_id=asked.member_id, new=new, now=now)


def restores_check_in(review: Review) -> bool:
    """Whether accepting an appeal accepts a check-in that was rejected."""
    return review.check_in_id is not None and review.cause_key == _restoring(review.check_in_id)


def _restoring(check_in_id: UUID) -> str:
    """The cause of its one appeal."""
    return f"appeal:{check_in_id}"


async def find(session: AsyncSession, *, member_id: UUID, review_id: UUID) -> Review:
    return await session.get_one(Review, (member_id, review_id))


async def contested(session: AsyncSession, review: Review) -> Contested | None:
    """The entry; none when it is about a check-in that no points were given for."""
    if review.subject_id == review.check_in_id:
        return None
    return await _find(session, review.member_id, review.subject_id)


async def _find(session: AsyncSession, member_id: UUID, entry_id: UUID) -> Contested:
    """Raises NotFound."""
    row = (await session.execute(_ENTRY, {"member_id": member_id, "id": entry_id})).one_or_none()
    if row is None:
        raise NotFound(field="entryId")
    return Contested(row)
