"""Setting and deleting reminders, and moving them to another zone."""

from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.members import requests
from app.members import service as members
from app.nudges import rules
from app.nudges.models import Reminder
from app.nudges.readable import is_readable
from app.nudges.recurrence import HORIZON_DAYS, InvalidRecurrence, canonical, parse_recurrence
from app.texts import Text

LIVE_MAX = 50
"""Reminders of one member that will fire again."""
TITLE_CHARS_MAX = 80


class TitleInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"标题须为一行，1 到 {TITLE_CHARS_MAX} 个字符，至少一个可见，且不含控制字符。",
                en=f"The title must be one line of 1 to {TITLE_CHARS_MAX} characters: at least "
                "one that can be seen, and none that controls how others are shown.",
            ),
            field="title",
        )


class RecurrenceRefused(UserError):
    def __init__(self, reason: Text) -> None:
        super().__init__(ErrorCode.RECURRENCE_INVALID, reason, field="recurrence")


class NeverFires(UserError):
    def __init__(self, *, field: str) -> None:
        text = {
            "recurrence": Text(
                zh="按这个规则和日期，提醒今后不会响起。",
                en="With this rule and these days it will not fire any more.",
            ),
            "startsOn": Text(
                zh="首日最多可在十年之内。", en="The first day must be within the next ten years."
            ),
            "endsOn": Text(
                zh="末日不能早于首日。", en="The last day must not be before the first."
            ),
        }[field]
        super().__init__(ErrorCode.NEVER_FIRES, text, field=field)


class TooManyReminders(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(
                zh=f"最多可设 {LIVE_MAX} 个提醒，请先删除一个。",
                en=f"There are {LIVE_MAX} reminders already; delete one first.",
            ),
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """A reminder as the member wants it; days and time are those of wherever they are."""

    title: str
    kind: rules.ReminderKind
    local_time: time
    recurrence: str
    starts_on: date
    ends_on: date | None


async def set_reminder(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    reminder_id: UUID | None,
    wish: Wish,
    now: datetime,
) -> tuple[Reminder, bool]:
    """Create a reminder, or replace the one named; the reminder, and whether this request
    was answered before.

    Raises NotFound, TitleInvalid, RecurrenceRefused, NeverFires, TooManyReminders,
    RequestReused.
    """
    member = await members.lock(session, member_id)
    key = reminder_id or new_id(now)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="setReminder",
        values={"reminderId": reminder_id, **asdict(wish)},
        result=key,
        now=now,
    )
    if earlier is not None:
        found = await session.get(Reminder, (member_id, earlier))
        assert found is not None
        return found, True
    reminder = None
    if reminder_id is not None:
        reminder = await _lock(session, member_id, reminder_id)
    zone = civil_time.zone(member.time_zone)
    _check(wish, today=civil_time.local_date(now, zone))
    await check_room(session, member_id, besides=key)
    wish = replace(wish, title=wish.title.strip(), recurrence=canonical(wish.recurrence))
    if reminder is None:
        reminder = Reminder(
            member_id=member_id, id=key, created_at=now, changed_at=now, **asdict(wish)
        )
        session.add(reminder)
    else:
        _replace(reminder, wish, now=now)
    plan(reminder, zone, now=now)
    if reminder.next_at is None:
        raise NeverFires(field="recurrence")
    return reminder, False


async def delete_reminder(
    session: AsyncSession, *, member_id: UUID, request_id: UUID, reminder_id: UUID, now: datetime
) -> bool:
    """Whether this request was answered before. Raises NotFound, RequestReused."""
    await members.lock(session, member_id)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="deleteReminder",
        values={"reminderId": reminder_id},
        result=reminder_id,
        now=now,
    )
    if earlier is not None:
        return True
    reminder = await _lock(session, member_id, reminder_id)
    reminder.deleted_at = now
    reminder.next_on = reminder.next_at = None
    return False


async def rezone(session: AsyncSession, *, member_id: UUID, zone: ZoneInfo, now: datetime) -> None:
    """Have the member's reminders fire by the clocks of `zone`. The member is locked."""
    live = await session.exec(
        select(Reminder)
        .where(
            Reminder.member_id == member_id,
            col(Reminder.deleted_at).is_(None),
            col(Reminder.next_at).is_not(None),
        )
        .order_by(col(Reminder.id))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    for reminder in live:
        plan(reminder, zone, now=now)


def plan(reminder: Reminder, zone: ZoneInfo, *, now: datetime) -> None:
    """Note when it fires next, or that it will not."""
    schedule = rules.Schedule(
        recurrence=parse_recurrence(reminder.recurrence),
        local_time=reminder.local_time,
        starts_on=reminder.starts_on,
        ends_on=reminder.ends_on,
        set_at=reminder.changed_at,
    )
    fire = rules.next_fire(schedule, zone=zone, last_fired=reminder.last_on, now=now)
    reminder.next_on = fire.local_date if fire else None
    reminder.next_at = fire.at if fire else None


def _check(wish: Wish, *, today: date) -> None:
    """Raises TitleInvalid, RecurrenceRefused, NeverFires."""
    title = wish.title.strip()
    if not 1 <= len(title) <= TITLE_CHARS_MAX or not is_readable(title):
        raise TitleInvalid
    try:
        parse_recurrence(wish.recurrence)
    except InvalidRecurrence as error:
        raise RecurrenceRefused(error.reason) from error
    if wish.ends_on is not None and wish.ends_on < wish.starts_on:
        raise NeverFires(field="endsOn")
    if wish.starts_on > today + timedelta(days=HORIZON_DAYS):
        raise NeverFires(field="startsOn")


async def check_room(session: AsyncSession, member_id: UUID, *, besides: UUID) -> None:
    """Raises TooManyReminders. The member is locked, so that no rival takes the last place."""
    live = (
        await session.exec(
            select(func.count())
            .select_from(Reminder)
            .where(
                Reminder.member_id == member_id,
                Reminder.id != besides,
                col(Reminder.deleted_at).is_(None),
                col(Reminder.next_at).is_not(None),
            )
        )
    ).one()
    if live >= LIVE_MAX:
        raise TooManyReminders


async def _lock(session: AsyncSession, member_id: UUID, reminder_id: UUID) -> Reminder:
    """Locked, because the worker may be firing it just now. Raises NotFound."""
    found = (
        await session.exec(
            select(Reminder)
            .where(
                Reminder.member_id == member_id,
                Reminder.id == reminder_id,
                col(Reminder.deleted_at).is_(None),
            )
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if found is None:
        raise NotFound(field="reminderId")
    return found


def _replace(reminder: Reminder, wish: Wish, *, now: datetime) -> None:
    """`last_on` stays: the day on which it has fired does not fire again."""
    schedule = (wish.local_time, wish.recurrence, wish.starts_on, wish.ends_on)
    before = (reminder.local_time, reminder.recurrence, reminder.starts_on, reminder.ends_on)
    if schedule != before:
        # With another title only, a slot that is due this minute must not be taken for one
        # that was past when the reminder was set.
        reminder.changed_at = now
    reminder.title, reminder.kind = wish.title, wish.kind
    reminder.local_time, reminder.recurrence = wish.local_time, wish.recurrence
    reminder.starts_on, reminder.ends_on = wish.starts_on, wish.ends_on
