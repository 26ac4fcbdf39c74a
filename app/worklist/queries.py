"""The open items of an employee, most pressing first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Subquery,
    Uuid,
    any_,
    bindparam,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy import column as sql_column
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.members.directory import UPPER_CONDITIONS
from app.members.models import CareAssignment, Employee
from app.members.rules import StaffRole
from app.worklist.models import WorklistEvent, WorklistItem
from app.worklist.rules import WorklistItemKind

HANDED_OVER = """
select i.member_id from worklist_items i where i.assignee_id = :staff_id and i.closed_at is null
"""
"""For the members' `GROUNDS`: whoever was handed an item sees the member until it is closed."""

Key = tuple[int, datetime, UUID]
"""(minus priority, due, id): ascending is most pressing first."""


@dataclass(frozen=True, slots=True)
class Filter:
    """All of it must hold; None means any."""

    kinds: Sequence[WorklistItemKind] | None = None
    due_before: datetime | None = None
    member_id: UUID | None = None
    risk_tiers: Sequence[Any] | None = None


async def page(
    connection: AsyncConnection,
    *,
    staff_id: UUID,
    wanted: Filter,
    after: Key | None,
    limit: int,
    now: datetime,
) -> Sequence[Any]:
    """Rows with the columns of `worklist_items`."""
    items = _of_staff(staff_id, wanted, now)
    key = (-items.c.priority, items.c.due_at, items.c.id)
    statement = select(items).order_by(*key).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    return (await connection.execute(statement)).all()


async def count(
    connection: AsyncConnection, *, staff_id: UUID, wanted: Filter, now: datetime
) -> int:
    statement = select(func.count()).select_from(_of_staff(staff_id, wanted, now))
    found: int = (await connection.execute(statement)).scalar_one()
    return found


async def item(connection: AsyncConnection, member_id: UUID, id: UUID) -> Any:
    """The row, or None."""
    statement = select(WorklistItem).where(
        col(WorklistItem.member_id) == member_id, col(WorklistItem.id) == id
    )
    return (await connection.execute(statement)).one_or_none()


async def event(connection: AsyncConnection, member_id: UUID, id: UUID) -> Any:
    """The row, or None."""
    statement = select(WorklistEvent).where(
        col(WorklistEvent.member_id) == member_id, col(WorklistEvent.id) == id
    )
    return (await connection.execute(statement)).one_or_none()


async def events(
    connection: AsyncConnection,
    keys: Iterable[tuple[UUID, UUID]],
    *,
    before: int | None,
    limit: int,
) -> Sequence[Any]:
    """The newest `limit` events of each item (member, id) before a place, with one
    statement."""
    member_ids, item_ids = zip(*keys, strict=True)
    wanted = (
        func.unnest(
            bindparam("member_ids", list(member_ids), ARRAY(Uuid)),
            bindparam("item_ids", list(item_ids), ARRAY(Uuid)),
        )
        .table_valued(sql_column("member_id", Uuid), sql_column("item_id", Uuid), name="wanted")
        .render_derived()
    )
    newest = select(WorklistEvent).where(
        col(WorklistEvent.member_id) == wanted.c.member_id,
        col(WorklistEvent.item_id) == wanted.c.item_id,
    )
    if before is not None:
        newest = newest.where(col(WorklistEvent.place) < before)
    found = newest.order_by(col(WorklistEvent.place).desc()).limit(limit).lateral("newest")
    statement = select(found).select_from(wanted.join(found, true())).order_by(found.c.place.desc())
    return (await connection.execute(statement)).all()


def _of_staff(staff_id: UUID, wanted: Filter, now: datetime) -> Subquery:
    """What was handed over to the employee, and what waits for whoever looks after a member
    when they do. Two branches, because each has its index."""
    awake = [
        col(WorklistItem.closed_at).is_(None),
        or_(col(WorklistItem.snoozed_until).is_(None), col(WorklistItem.snoozed_until) <= now),
        *_conditions(wanted),
    ]
    looked_after = select(col(CareAssignment.member_id)).where(
        col(CareAssignment.staff_id) == staff_id, col(CareAssignment.ended_at).is_(None)
    )
    return union_all(
        select(WorklistItem).where(*awake, col(WorklistItem.assignee_id) == staff_id),
        select(WorklistItem).where(
            *awake, col(WorklistItem.member_id).in_(looked_after), not_(_is_with_colleague())
        ),
    ).subquery("items")


def _is_with_colleague() -> ColumnElement[bool]:
    """Handed over to somebody who still works as a health manager. When they leave, it comes
    back to whoever looks after the member, so that no item is lost."""
    return exists().where(
        col(Employee.staff_id) == WorklistItem.assignee_id,
        col(Employee.active),
        literal(StaffRole.HEALTH_MANAGER.value) == any_(col(Employee.roles)),
    )


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.kinds is not None:
        found.append(col(WorklistItem.kind).in_(wanted.kinds))
    if wanted.due_before is not None:
        found.append(col(WorklistItem.due_at) < wanted.due_before)
    if wanted.member_id is not None:
        found.append(col(WorklistItem.member_id) == wanted.member_id)
    if wanted.risk_tiers is not None:
        in_tiers = UPPER_CONDITIONS["risk_tiers"]
        found.append(in_tiers(WorklistItem.member_id, wanted.risk_tiers))
    return found
