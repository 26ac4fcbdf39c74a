"""Tasks that nobody asks for any more: the member's cover has ended, or asks for others."""

from collections.abc import Collection
from datetime import date, datetime, timedelta

from sqlalchemy import delete
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.health_tasks import rules, service
from app.health_tasks.models import CheckIn, Task, TaskAssignment
from app.members.models import Member

_A_DAY = timedelta(days=1)


async def end_tasks(
    session: AsyncSession,
    member: Member,
    *,
    last_on: date,
    templates: Collection[str] | None = None,
    now: datetime,
) -> int:
    """Have a member's tasks, or those of these templates, end with the local day `last_on`; how
    many. What runs over that day is cut short and asks for the less; what would begin later,
    with nothing done for it, is gone. A repeat changes nothing."""
    await service.lock_wallet(session, member.member_id)
    wanted = select(TaskAssignment).where(
        TaskAssignment.member_id == member.member_id, col(TaskAssignment.ended_at).is_(None)
    )
    if templates is not None:
        wanted = wanted.where(col(TaskAssignment.template_code).in_(templates))
    assignments = {it.id: it for it in await session.exec(wanted.with_for_update())}
    if not assignments:
        return 0
    open_tasks = (
        await session.exec(
            select(Task).where(
                Task.member_id == member.member_id,
                col(Task.assignment_id).in_(assignments),
                col(Task.closed_at).is_(None),
                col(Task.ends_on) > last_on,
            )
        )
    ).all()
    used = await session.exec(
        select(col(CheckIn.assignment_id), col(CheckIn.starts_on)).where(
            CheckIn.member_id == member.member_id,
            col(CheckIn.assignment_id).in_([it.assignment_id for it in open_tasks]),
        )
    )
    has_been_used = set(used)
    zone = civil_time.zone(member.time_zone)
    for task in open_tasks:
        key = (task.assignment_id, task.starts_on)
        if task.starts_on > last_on and key not in has_been_used:
            await session.execute(
                delete(Task).where(
                    col(Task.member_id) == member.member_id,
                    col(Task.assignment_id) == task.assignment_id,
                    col(Task.starts_on) == task.starts_on,
                )
            )
            continue
        task.ends_on = max(last_on, task.starts_on)
        task.due_at = civil_time.end_of_day(task.ends_on, zone)
        assignment = assignments[task.assignment_id]
        span = rules.Span(task.starts_on, task.ends_on)
        task.target = rules.target_in(assignment.target, rules.Period(assignment.period), span)
    for assignment in assignments.values():
        assignment.ends_on = max(last_on, assignment.starts_on - _A_DAY)
        assignment.ended_at = now
    await session.flush()
    return len(assignments)
