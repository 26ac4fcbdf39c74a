"""What a pause that has ended changes: check-ins of today count for streaks after all."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.columns import QUANTITY
from app.health_tasks import rules
from app.health_tasks.queries import pauses_of

# As each writer of a member's tasks does: whoever has read them before writes nothing.
_LOCK = text("update wallets set version = version + 1 where member_id = :member_id").bindparams(
    bindparam("member_id", type_=Uuid)
)
_STREAKS = text("""
select t.assignment_id, t.starts_on, t.ends_on, t.done,
  array(select row(c.local_date, c.value, c.counts, c.slot, c.occurred_at, c.state) from checkins c
    where c.member_id = t.member_id and c.assignment_id = t.assignment_id
    and c.local_date >= t.starts_on and c.starts_on = t.starts_on),
  array(select row(p.starts_on, p.ends_on) from pauses p where p.member_id = t.member_id)
from tasks t join task_assignments a on a.member_id = t.member_id and a.id = t.assignment_id
where t.member_id = :member_id and a.kind = 'DAYS_IN_A_ROW'
and t.closed_at is null and t.latest_check_in_id is not null
""").bindparams(bindparam("member_id", type_=Uuid))
_CORRECT = text("""
update tasks set done = :done where member_id = :member_id
and assignment_id = :assignment_id and starts_on = :starts_on
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("assignment_id", type_=Uuid),
    bindparam("done", type_=QUANTITY),
)


async def recount_streaks(session: AsyncSession, member_id: UUID, now: datetime) -> None:
    """Show the streaks of the open periods as the pauses are now. One that is complete only
    now is paid by its next check-in, or when its period closes."""
    await session.execute(_LOCK, {"member_id": member_id})
    found = (await session.execute(_STREAKS, {"member_id": member_id})).all()
    for assignment_id, starts_on, ends_on, before, check_ins, pauses in found:
        span = rules.Span(starts_on, ends_on)
        done = rules.progress(
            rules.TaskKind.DAYS_IN_A_ROW,
            [rules.Counted(*row) for row in check_ins],
            span=span,
            paused_days=rules.paused_days(pauses_of(pauses), span),
        )
        if done != before:
            key = {"assignment_id": assignment_id, "starts_on": starts_on}
            await session.execute(_CORRECT, {"member_id": member_id, "done": done, **key})
