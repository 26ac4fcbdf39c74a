"""Opening, noting, snoozing, finishing and handing over: lock the item, look, decide, write."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.members.models import Employee
from app.members.rules import StaffRole
from app.texts import Text
from app.worklist import rules
from app.worklist.models import WorklistEvent, WorklistItem


class TextInvalid(UserError):
    def __init__(self, *, field: str, length_max: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"请填写 1 至 {length_max} 个字符。",
                en=f"Write something, at most {length_max} characters.",
            ),
            field=field,
        )


class PriorityInvalid(UserError):
    def __init__(self, priority: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"优先级 {priority} 不在 0 至 100 之间。",
                en=f"Priority {priority} is not from 0 to 100.",
            ),
            field="priority",
        )


class InstantInvalid(UserError):
    def __init__(self, *, field: str, days_max: int) -> None:
        super().__init__(
            ErrorCode.PERIOD_INVALID,
            Text(
                zh=f"须晚于现在，且不超过 {days_max} 天。",
                en=f"Must be after now and at most {days_max} days ahead.",
            ),
            field=field,
        )


class ItemClosed(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="该事项已经结束。", en="This item is closed already."),
            field="itemId",
        )


_DECIDE = Text(
    zh="请对审核作出决定，事项会随之结束。", en="Decide about the review; that closes the item."
)
_CLOSED_BY: Mapping[str, Text] = {
    rules.WorklistItemKind.REVIEW: _DECIDE,
    rules.WorklistItemKind.APPEAL: _DECIDE,
    rules.WorklistItemKind.RISK_CONTESTED: _DECIDE,
    rules.WorklistItemKind.FULFILMENT: Text(
        zh="请履行或取消这次兑换，事项会随之结束。",
        en="Fulfil the redemption, or cancel it; that closes the item.",
    ),
}
"""What closes the items of a kind: as long as one is open, its review or redemption is, and a
member waits for it."""


class DoInstead(UserError):
    """Closing the item alone would leave a member to wait for ever."""

    def __init__(self, instead: Text) -> None:
        super().__init__(ErrorCode.STATE_INVALID, instead, field="itemId")


class AlreadyTheirs(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(zh="该事项已经移交给这位同事。", en="This colleague has the item already."),
            field="toStaffId",
        )


ON_DONE: list[Callable[[AsyncSession, WorklistItem, datetime], Awaitable[None]]] = []
"""What else follows when an employee finishes an item, in its transaction; the wiring adds what
upper domains do."""


async def open_follow_up(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    reason: str,
    due_at: datetime,
    priority: int,
    now: datetime,
) -> tuple[WorklistItem, bool]:
    """A follow-up in an employee's own words; the item, and whether this request was answered
    before. Raises TextInvalid, PriorityInvalid, InstantInvalid, RequestReused."""
    item_id = new_id(now)
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="openFollowUp",
        values={"memberId": member_id, "reason": reason, "dueAt": due_at, "priority": priority},
        result=item_id,
        now=now,
    )
    if earlier is not None:
        return await _lock(session, member_id, earlier), True
    _check_text(reason, field="reason", length_max=rules.REASON_LENGTH_MAX)
    if not 0 <= priority <= rules.PRIORITY_MAX:
        raise PriorityInvalid(priority)
    if not rules.may_be_due(due_at, now=now):
        raise InstantInvalid(field="dueAt", days_max=rules.DUE_AHEAD_MAX.days)
    item = WorklistItem(
        member_id=member_id,
        id=item_id,
        kind=rules.WorklistItemKind.FOLLOW_UP,
        reason_zh=reason.strip(),
        reason_en=reason.strip(),
        priority=priority,
        due_at=due_at,
        opened_at=now,
        cause_key=f"follow_up:{item_id}",
    )
    session.add(item)
    await session.flush()
    _record(session, item, rules.EventKind.OPENED, staff_id=staff_id, now=now)
    return item, False


async def note(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    item_id: UUID,
    note: str,
    now: datetime,
) -> tuple[WorklistItem, bool]:
    """Add a note; the item, and whether this request was answered before.
    Raises TextInvalid, NotFound, ItemClosed, RequestReused."""
    item, replayed = await _take(
        session, staff_id, request_id, "noteWorklistItem", member_id, item_id, {"note": note}, now
    )
    if not replayed:
        _check_note(note)
        _record(session, item, rules.EventKind.NOTED, staff_id=staff_id, now=now, note=note)
    return item, replayed


async def snooze(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    item_id: UUID,
    until: datetime,
    now: datetime,
) -> tuple[WorklistItem, bool]:
    """Out of the list until an instant; the item, and whether this request was answered
    before. Raises InstantInvalid, NotFound, ItemClosed, RequestReused."""
    values = {"until": until}
    item, replayed = await _take(
        session, staff_id, request_id, "snoozeWorklistItem", member_id, item_id, values, now
    )
    if not replayed:
        if not rules.may_sleep_until(until, now=now):
            raise InstantInvalid(field="until", days_max=rules.SNOOZE_MAX.days)
        item.snoozed_until = until
        _record(
            session, item, rules.EventKind.SNOOZED, staff_id=staff_id, now=now, snoozed_until=until
        )
    return item, replayed


async def complete(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    item_id: UUID,
    note: str | None,
    now: datetime,
) -> tuple[WorklistItem, bool]:
    """Done; of two employees at once, one finishes it. The item, and whether this request was
    answered before. Raises TextInvalid, NotFound, ItemClosed, DoInstead, RequestReused."""
    values = {"note": note}
    item, replayed = await _take(
        session, staff_id, request_id, "completeWorklistItem", member_id, item_id, values, now
    )
    if not replayed:
        _check_note(note)
        instead = _CLOSED_BY.get(item.kind)
        if instead is not None:
            raise DoInstead(instead)
        await _close(session, item, staff_id=staff_id, note=note, now=now)
    return item, replayed


async def finish(
    session: AsyncSession, *, member_id: UUID, item_id: UUID, staff_id: UUID, now: datetime
) -> None:
    """Close an item because the employee has done what it asked for elsewhere."""
    item = await _lock(session, member_id, item_id)
    if item.closed_at is None:
        await _close(session, item, staff_id=staff_id, note=None, now=now)


async def _close(
    session: AsyncSession, item: WorklistItem, *, staff_id: UUID, note: str | None, now: datetime
) -> None:
    item.closed_at = now
    item.closed_reason = rules.ClosedReason.DONE
    _record(session, item, rules.EventKind.DONE, staff_id=staff_id, now=now, note=note)
    for follow in ON_DONE:
        await follow(session, item, now)


async def hand_over(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    member_id: UUID,
    item_id: UUID,
    to_staff_id: UUID,
    note: str | None,
    now: datetime,
) -> tuple[WorklistItem, bool]:
    """To an active health manager, who finds it awake in their list; the item, and whether
    this request was answered before.
    Raises TextInvalid, NotFound, ItemClosed, AlreadyTheirs, RequestReused."""
    values = {"toStaffId": to_staff_id, "note": note}
    item, replayed = await _take(
        session, staff_id, request_id, "handOverWorklistItem", member_id, item_id, values, now
    )
    if not replayed:
        _check_note(note)
        if not await _is_health_manager(session, to_staff_id):
            raise NotFound(field="toStaffId")
        if item.assignee_id == to_staff_id:
            raise AlreadyTheirs
        item.assignee_id = to_staff_id
        item.snoozed_until = None
        _record(
            session,
            item,
            rules.EventKind.HANDED_OVER,
            staff_id=staff_id,
            now=now,
            note=note,
            to_staff_id=to_staff_id,
        )
    return item, replayed


async def _take(
    session: AsyncSession,
    staff_id: UUID,
    request_id: UUID,
    operation: str,
    member_id: UUID,
    item_id: UUID,
    values: Mapping[str, Any],
    now: datetime,
) -> tuple[WorklistItem, bool]:
    """The item, locked; open unless this request was answered before.
    Raises NotFound, ItemClosed, RequestReused."""
    item = await _lock(session, member_id, item_id)
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation=operation,
        values={"memberId": member_id, "itemId": item_id, **values},
        result=item_id,
        now=now,
    )
    if earlier is None and item.closed_at is not None:
        raise ItemClosed
    return item, earlier is not None


async def _lock(session: AsyncSession, member_id: UUID, item_id: UUID) -> WorklistItem:
    found = (
        await session.exec(
            select(WorklistItem)
            .where(WorklistItem.member_id == member_id, WorklistItem.id == item_id)
            .with_for_update()
        )
    ).one_or_none()
    if found is None:
        raise NotFound(field="itemId")
    return found


async def _is_health_manager(session: AsyncSession, staff_id: UUID) -> bool:
    employee = (
        await session.exec(
            select(Employee).where(Employee.staff_id == staff_id, col(Employee.active))
        )
    ).one_or_none()
    return employee is not None and StaffRole.HEALTH_MANAGER in employee.roles


def _record(
    session: AsyncSession,
    item: WorklistItem,
    kind: rules.EventKind,
    *,
    staff_id: UUID,
    now: datetime,
    note: str | None = None,
    snoozed_until: datetime | None = None,
    to_staff_id: UUID | None = None,
) -> None:
    item.events += 1
    session.add(
        WorklistEvent(
            member_id=item.member_id,
            id=new_id(now),
            item_id=item.id,
            place=item.events,
            kind=kind,
            staff_id=staff_id,
            note=note.strip() if note is not None else None,
            snoozed_until=snoozed_until,
            to_staff_id=to_staff_id,
            at=now,
        )
    )


def _check_text(text: str, *, field: str, length_max: int) -> None:
    if not rules.is_sayable(text, length_max=length_max):
        raise TextInvalid(field=field, length_max=length_max)


def _check_note(note: str | None) -> None:
    if note is not None:
        _check_text(note, field="note", length_max=rules.NOTE_LENGTH_MAX)
