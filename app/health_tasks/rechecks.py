"""Tasks of the re-checks that risk has proposed (RSK-8): to measure again within two weeks.

An applicant whom no product asks for anything yet cannot be given a task; the health manager
finds them in the worklist instead. Risk closes that item when the measurement is there.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.dialects.postgresql import distinct_on
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.health_tasks import service
from app.health_tasks.caps import Limits
from app.health_tasks.models import TaskAssignment
from app.measurements.queries import consents
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
# Without the tier, which the profile hides once the consent is withdrawn.
_REASONS = {
    RecheckKind.BLOOD_PRESSURE: Text(
        zh="需复查血压。", en="Blood pressure is to be measured again."
    ),
    RecheckKind.GLUCOSE: Text(zh="需复查空腹血糖。", en="Fasting glucose is to be measured again."),
}


class Taken(NamedTuple):
    """What became of one proposal."""

    member_id: UUID
    assignment: TaskAssignment | None
    """None where the worklist has it, or it was measured in the meantime."""


async def take(session: AsyncSession, *, limit: int, now: datetime) -> list[Taken]:
    """Make tasks of proposals that nobody has taken, the oldest first; of who does not consent
    to the use of health data none, until they do again. Safe to run twice and in parallel: a
    proposal that another run holds is skipped."""
    proposed = (
        await session.exec(
            select(RiskRecheck)
            .where(col(RiskRecheck.taken_at).is_(None), consents(RiskRecheck.member_id))
            .order_by(col(RiskRecheck.proposed_at), col(RiskRecheck.id))
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ).all()
    for it in proposed:
        it.taken_at = now
    open_ones = [it for it in proposed if it.settled_at is None]
    asked = await _asked(session, {it.member_id for it in open_ones})
    items = [(it.member_id, _item(it, now)) for it in open_ones if it.member_id not in asked]
    await programme.open_items(session, tasks=items, now=now)
    by_member = defaultdict(list)
    for it in open_ones:
        by_member[it.member_id].append(it)
    made: dict[UUID, TaskAssignment] = {}
    # Wallets are locked in one order everywhere, so that two runs cannot wait for each other.
    for member_id, (member, task) in sorted(asked.items()):
        assigned = await _assign(session, member, task, by_member[member_id], now)
        pairs = zip(by_member[member_id], assigned, strict=True)
        made |= {it.id: assignment for it, assignment in pairs}
    await session.flush()
    return [Taken(it.member_id, made.get(it.id)) for it in proposed]


def _item(recheck: RiskRecheck, now: datetime) -> programme.Task:
    return programme.Task(
        kind=WorklistItemKind.RECHECK_DUE,
        reason=_REASONS[RecheckKind(recheck.kind)],
        priority=_PRIORITY,
        due_at=now + DUE_AFTER,
        cause_key=rechecks.cause_key(recheck.id),
        subject_kind=None,
        subject_id=None,
    )


async def _assign(
    session: AsyncSession,
    member: Member,
    asked: TaskAssignment,
    proposed: Sequence[RiskRecheck],
    now: datetime,
) -> Sequence[TaskAssignment]:
    """One for each proposal, in their order."""
    templates = [TEMPLATES[RecheckKind(it.kind)] for it in proposed]
    await service.lock_wallet(session, member.member_id)
    return await service.assign(
        session,
        member=member,
        tasks=[service.Promise(code, version, 0, Limits()) for code, version in templates],
        product_version_id=asked.product_version_id,
        expires_after_months=asked.expires_after_months,
        late_data_days=asked.late_data_days,
        starts_on=civil_time.local_date(now, civil_time.zone(member.time_zone)),
        now=now,
    )


async def _asked(
    session: AsyncSession, member_ids: Collection[UUID]
) -> Mapping[UUID, tuple[Member, TaskAssignment]]:
    """Of each the newest task of the product that they are in; who is in none is left out."""
    statement = (
        select(Member, TaskAssignment)
        .join(TaskAssignment, col(TaskAssignment.member_id) == col(Member.member_id))
        .where(col(Member.member_id).in_(member_ids), col(TaskAssignment.ended_at).is_(None))
        .ext(distinct_on(col(Member.member_id)))
        .order_by(col(Member.member_id), col(TaskAssignment.id).desc())
    )
    return {member.member_id: (member, task) for member, task in await session.exec(statement)}
