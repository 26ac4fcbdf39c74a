"""Tasks of the re-checks that risk has proposed (RSK-8): to measure again within two weeks.

An applicant whom no product asks for anything yet cannot be given a task; the health manager
finds them in the worklist instead. Risk closes that item when the measurement is there.
"""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.health_tasks import service
from app.health_tasks.caps import Limits
from app.health_tasks.models import TaskAssignment
from app.members.models import Member
from app.risk import rechecks
from app.risk.rechecks import RecheckKind
from app.risk.tables import RiskRecheck
from app.texts import Text
from app.worklist import programme
from app.worklist.rules import WorklistItemKind

TEMPLATES = {
    RecheckKind.BLOOD_PRESSURE: ("recheck-blood-pressure", 1),
    RecheckKind.GLUCOSE: ("recheck-glucose", 1),
}
DUE_AFTER = timedelta(days=14)
_PRIORITY = 60
_REASONS = {
    RecheckKind.BLOOD_PRESSURE: Text(
        zh="高风险申请人需复查血压。", en="Of high risk: blood pressure is to be measured again."
    ),
    RecheckKind.GLUCOSE: Text(
        zh="高风险申请人需复查血糖。", en="Of high risk: glucose is to be measured again."
    ),
}


class Taken(NamedTuple):
    """What became of one proposal."""

    member_id: UUID
    assignment: TaskAssignment | None
    """None where the worklist has it, or it was measured in the meantime."""


async def take(session: AsyncSession, *, limit: int, now: datetime) -> list[Taken]:
    """Make tasks of proposals that nobody has taken, the oldest first. Safe to run twice and in
    parallel: a proposal that another run holds is skipped."""
    proposed = (
        await session.exec(
            select(RiskRecheck)
            .where(col(RiskRecheck.taken_at).is_(None))
            .order_by(col(RiskRecheck.proposed_at), col(RiskRecheck.id))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ).all()
    found = [Taken(it.member_id, await _take(session, it, now)) for it in proposed]
    await session.flush()
    return found


async def _take(
    session: AsyncSession, recheck: RiskRecheck, now: datetime
) -> TaskAssignment | None:
    recheck.taken_at = now
    if recheck.settled_at is not None:
        return None
    kind = RecheckKind(recheck.kind)
    asked = await _asked(session, recheck.member_id)
    member = await session.get_one(Member, recheck.member_id)
    if asked is None:
        item = programme.Task(
            kind=WorklistItemKind.RECHECK_DUE,
            reason=_REASONS[kind],
            priority=_PRIORITY,
            due_at=now + DUE_AFTER,
            cause_key=rechecks.cause_key(recheck.id),
            subject_kind=None,
            subject_id=None,
        )
        await programme.open_item(session, member_id=recheck.member_id, task=item, now=now)
        return None
    code, version = TEMPLATES[kind]
    await service.lock_wallet(session, recheck.member_id)
    [made] = await service.assign(
        session,
        member=member,
        tasks=[service.Promise(code, version, 0, Limits())],
        product_version_id=asked.product_version_id,
        expires_after_months=asked.expires_after_months,
        late_data_days=asked.late_data_days,
        starts_on=civil_time.local_date(now, civil_time.zone(member.time_zone)),
        now=now,
    )
    return made


async def _asked(session: AsyncSession, member_id: UUID) -> TaskAssignment | None:
    """The newest task of the product that the member is in."""
    statement = (
        select(TaskAssignment)
        .where(TaskAssignment.member_id == member_id, col(TaskAssignment.ended_at).is_(None))
        .order_by(col(TaskAssignment.id).desc())
        .limit(1)
    )
    return (await session.exec(statement)).one_or_none()
