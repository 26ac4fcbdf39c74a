"""What the programme itself puts into the worklist, and takes out when nothing is left to do."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ids import new_id
from app.texts import Text
from app.worklist.models import WorklistEvent, WorklistItem
from app.worklist.rules import ClosedReason, EventKind, WorklistItemKind


@dataclass(frozen=True, slots=True)
class Task:
    """Something to look at. A member has one item of a `cause_key`, however often it opens."""

    kind: WorklistItemKind
    cause_key: str
    reason: Text
    priority: int
    """0 to 100, higher is more pressing."""
    due_at: datetime
    subject_kind: str
    subject_id: UUID


async def open_item(
    session: AsyncSession, *, member_id: UUID, task: Task, now: datetime
) -> UUID | None:
    """The new item's id; None when this cause has opened one before."""
    item = WorklistItem(
        member_id=member_id,
        id=new_id(now),
        kind=task.kind,
        reason_zh=task.reason.zh,
        reason_en=task.reason.en,
        priority=task.priority,
        due_at=task.due_at,
        opened_at=now,
        subject_kind=task.subject_kind,
        subject_id=task.subject_id,
        cause_key=task.cause_key,
        events=1,
    )
    made = insert(WorklistItem).values(item.model_dump()).on_conflict_do_nothing()
    opened = await session.execute(made.returning(col(WorklistItem.id)))
    if opened.one_or_none() is None:
        return None
    session.add(_event(item, EventKind.OPENED, now=now))
    return item.id


async def settle_item(
    session: AsyncSession, *, member_id: UUID, cause_key: str, now: datetime
) -> bool:
    """Close the item of a cause; whether it was open."""
    item = (
        await session.exec(
            select(WorklistItem)
            .where(WorklistItem.member_id == member_id, WorklistItem.cause_key == cause_key)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if item is None or item.closed_at is not None:
        return False
    item.closed_at = now
    item.closed_reason = ClosedReason.SETTLED
    item.events += 1
    session.add(_event(item, EventKind.SETTLED, now=now))
    return True


def _event(item: WorklistItem, kind: EventKind, *, now: datetime) -> WorklistEvent:
    return WorklistEvent(
        member_id=item.member_id,
        id=new_id(now),
        item_id=item.id,
        place=item.events,
        kind=kind,
        at=now,
    )
