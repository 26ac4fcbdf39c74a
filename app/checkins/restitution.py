"""What accepting an appeal of an entry gives, as the next revision of the entry's cause."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.checkins.appeals import Contested
from app.errors import ErrorCode, UserError
from app.points import rules as points_rules
from app.points import service as points
from app.points.rules import CauseKind, TransferKind
from app.texts import Text
from app.worklist.models import Review

EXPIRES_AFTER_MONTHS = 12
"""Of points that an appeal gives for no task."""
POINTS_MAX = 100_000
_REVISIONS_MAX = 100

_TAKE_REVISION = text("""
update tasks t set revision = greatest(t.revision, :revision + 1) from checkins c
where c.member_id = :member_id and c.id = :id and t.member_id = c.member_id
and t.assignment_id = c.assignment_id and t.starts_on = c.starts_on
""").bindparams(bindparam("member_id", type_=Uuid), bindparam("id", type_=Uuid))
_KEYS = text("""
select cause_key from points_transfers
where member_id = :member_id and cause_key = any(cast(:keys as text[]))
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


def points_of(review: Review, wanted: int | None) -> int:
    """What accepting an appeal gives: what was lost, or what the employee says where nothing
    was. Raises PointsNeeded."""
    if wanted is None and review.points > 0:
        return review.points
    if wanted is None or not 0 < wanted <= POINTS_MAX:
        raise PointsNeeded
    return wanted


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


async def _next_key(session: AsyncSession, member_id: UUID, key: str) -> tuple[str, int]:
    """The first revision of a cause that nothing was posted for."""
    base = key.partition("/")[0].rpartition(":")[0]
    keys = [f"{base}:{revision}" for revision in range(_REVISIONS_MAX)]
    taken = set((await session.execute(_KEYS, {"member_id": member_id, "keys": keys})).scalars())
    return next((it, revision) for revision, it in enumerate(keys) if it not in taken)
