"""What accepting an appeal of an entry gives, as the next revision of the entry's cause."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.checkins import paid
from app.checkins.appeals import Contested
from app.errors import ErrorCode, UserError
from app.points import rules as points_rules
from app.points import service as points
from app.points.rules import CauseKind, TransferKind
from app.texts import Text
from app.worklist.models import Review
from app.worklist.rules import ReviewState

EXPIRES_AFTER_MONTHS = 12
"""Of points that an appeal gives for no task."""
POINTS_MAX = 100_000

_TAKE_REVISION = text("""
update tasks t set revision = greatest(t.revision, :revision + 1),
  points_awarded = t.points_awarded + :points
from checkins c
where c.member_id = :member_id and c.id = :id and t.member_id = c.member_id
and t.assignment_id = c.assignment_id and t.starts_on = c.starts_on
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))
_LAST_REVISION = text("""
select max(cast(substring(cause_key from ':([0-9]+)(?:/2)?$') as integer)) from points_transfers
where member_id = :member_id and starts_with(cause_key, :base || ':')
""").bindparams(bindparam("member_id", type_=Uuid))


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


async def points_of(
    session: AsyncSession, review: Review, found: Contested, wanted: int | None
) -> int:
    """What accepting an appeal gives: what the employee says, else what was lost, as far as
    the task has not paid it meanwhile. Raises PointsNeeded."""
    given = review.points if wanted is None else wanted
    if wanted is None and found.is_of_task and review.state == ReviewState.OPEN:
        assert review.check_in_id is not None
        known = await paid.of_task(
            session, member_id=review.member_id, check_in_id=review.check_in_id
        )
        given = min(given, known.owed)
    if not 0 < given <= POINTS_MAX:
        raise PointsNeeded
    return given


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
        taken = {"id": found.check_in_id, "revision": revision, "points": review.points}
        await session.execute(_TAKE_REVISION, {"member_id": review.member_id, **taken})
    expires = points_rules.expiry(today, EXPIRES_AFTER_MONTHS, zone)
    amount = review.points
    if row.kind == TransferKind.EXPIRED:
        # They were earned once; what the employee gives beyond them is earned now.
        amount -= await points.restore_expired(
            session,
            member_id=review.member_id,
            transfer_id=row.id,
            amount=amount,
            key=key,
            expires=expires,
            now=now,
        )
        key = f"{key}:1"
    if amount == 0:
        return
    await points.earn(
        session,
        member_id=review.member_id,
        amount=amount,
        cause=points.Cause(
            CauseKind(row.cause_kind) if earned else CauseKind.TRANSFER,
            row.cause_id if earned else row.id,
            key,
        ),
        rule=points.Rule(row.rule_version, row.rule_code),
        local_date=row.local_date,
        expires=expires,
        now=now,
        kind=TransferKind.ADJUSTED,
        corrects=found.root_id if earned else None,
    )


async def _next_key(session: AsyncSession, member_id: UUID, key: str) -> tuple[str, int]:
    """The revision of a cause after the last that was posted."""
    base = key.partition("/")[0].rpartition(":")[0]
    keys = {"member_id": member_id, "base": base}
    last = (await session.execute(_LAST_REVISION, keys)).scalar_one()
    revision = 0 if last is None else last + 1
    return f"{base}:{revision}", revision
