"""What the programme itself puts into the worklist, and takes out when nothing is left to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Uuid, bindparam, text
from sqlalchemy import Text as TextType
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ids import new_id
from app.texts import Text
from app.worklist.models import WorklistEvent, WorklistItem
from app.worklist.rules import EventKind, WorklistItemKind

Cause = tuple[UUID, str]
"""A member and a cause key."""

# Locked in the order of their keys: two batches that share members wait, and never for ever.
_SETTLE = text("""
with held as (
  select i.member_id, i.id from unnest(:member_ids, :cause_keys) as w (member_id, cause_key)
  join worklist_items i on i.member_id = w.member_id and i.cause_key = w.cause_key
  where i.closed_at is null order by i.member_id, i.id for update of i)
update worklist_items i set closed_at = :now, closed_reason = 'SETTLED', events = i.events + 1
from held where i.member_id = held.member_id and i.id = held.id and i.closed_at is null
returning i.member_id, i.id, i.events
""").bindparams(
    bindparam("member_ids", type_=ARRAY(Uuid)),
    bindparam("cause_keys", type_=ARRAY(TextType)),
    bindparam("now", type_=DateTime(timezone=True)),
)


@dataclass(frozen=True, slots=True)
class Task:
    """Something to look at. A member has one item of a `cause_key`, however often it opens."""

    kind: WorklistItemKind
    cause_key: str
    reason: Text
    priority: int
    """0 to 100, higher is more pressing."""
    due_at: datetime
    subject_kind: str | None
    subject_id: UUID | None
    """Both null when it is the member as a whole."""
    script: str | None = None
    """What is to be said to the member, in their language."""


async def open_item(
    session: AsyncSession, *, member_id: UUID, task: Task, now: datetime
) -> UUID | None:
    """The new item's id; None when this cause has opened one before."""
    opened = await open_items(session, tasks=[(member_id, task)], now=now)
    return opened.get((member_id, task.cause_key))


async def open_items(
    session: AsyncSession, *, tasks: Sequence[tuple[UUID, Task]], now: datetime
) -> Mapping[Cause, UUID]:
    """Of many members at once, with two statements: the new items by member and cause. A cause
    that has opened one before is left out."""
    if not tasks:
        return {}
    items = [
        WorklistItem(
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
            script=task.script,
            events=1,
        ).model_dump()
        for member_id, task in tasks
    ]
    made = await session.execute(
        insert(WorklistItem)
        .on_conflict_do_nothing()
        .returning(col(WorklistItem.member_id), col(WorklistItem.cause_key), col(WorklistItem.id)),
        items,
    )
    opened = {(member_id, cause_key): id for member_id, cause_key, id in made}
    events = [
        _event(member_id, id, 1, EventKind.OPENED, now=now) for (member_id, _), id in opened.items()
    ]
    if events:
        await session.execute(insert(WorklistEvent), events)
    return opened


async def settle_item(
    session: AsyncSession, *, member_id: UUID, cause_key: str, now: datetime
) -> bool:
    """Close the item of a cause; whether it was open."""
    return bool(await settle_items(session, causes=[(member_id, cause_key)], now=now))


async def settle_items(session: AsyncSession, *, causes: Sequence[Cause], now: datetime) -> int:
    """Close the items of many causes, with two statements; how many were open."""
    if not causes:
        return 0
    member_ids, keys = (list(it) for it in zip(*causes, strict=True))
    settled = await session.execute(
        _SETTLE, {"member_ids": member_ids, "cause_keys": keys, "now": now}
    )
    events = [
        _event(member_id, id, place, EventKind.SETTLED, now=now) for member_id, id, place in settled
    ]
    if events:
        await session.execute(insert(WorklistEvent), events)
    return len(events)


def _event(
    member_id: UUID, item_id: UUID, place: int, kind: EventKind, *, now: datetime
) -> dict[str, Any]:
    return WorklistEvent(
        member_id=member_id, id=new_id(now), item_id=item_id, place=place, kind=kind, at=now
    ).model_dump()
