"""When a reminder fires, quiet hours, and what a lock screen may say. No I/O, no clock."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.civil_time import at_local_time, end_of_day, local_date, start_of_day
from app.nudges.recurrence import InvalidRecurrence, Recurrence, next_local_date, parse_recurrence
from app.texts import Text

__all__ = ["InvalidRecurrence", "Recurrence", "next_local_date", "parse_recurrence"]

LATE_GRACE = timedelta(minutes=10)
"""A slot this late is still sent when its local day has just ended: 23:59 must not be lost
because the worker looked at 00:00:05."""
_LAST_MINUTE = timedelta(minutes=1)


class ReminderKind(StrEnum):
    TASK = "TASK"
    MEDICATION = "MEDICATION"
    MEASUREMENT = "MEASUREMENT"
    APPOINTMENT = "APPOINTMENT"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a member asked for; its zone is wherever the member is."""

    recurrence: Recurrence
    local_time: time
    starts_on: date
    ends_on: date | None
    """Last possible day."""
    set_at: datetime
    """When it was created or last replaced: earlier slots were never missed."""


@dataclass(frozen=True, slots=True)
class Fire:
    local_date: date
    """Which day's reminder this is: with the reminder's id, its key."""
    at: datetime
    """UTC. Not after now: it is late, and due at once."""


def next_fire(
    schedule: Schedule, *, zone: ZoneInfo, last_fired: date | None, now: datetime
) -> Fire | None:
    """The next firing after the one of local day `last_fired`; null when none will come.

    At most one for a local date, whatever the clock and the member do: flying west, the same
    date comes again and does not fire again; flying east, a skipped date does not fire late.
    After a downtime only the current local day's slot is made up for.
    """
    oldest = now - LATE_GRACE
    after = local_date(oldest, zone) - timedelta(days=1)
    if last_fired is not None:
        after = max(after, last_fired)
    today = local_date(now, zone)
    while True:
        day = next_local_date(
            schedule.recurrence,
            starts_on=schedule.starts_on,
            ends_on=schedule.ends_on,
            after=after,
        )
        if day is None:
            return None
        at = _slot(day, schedule.local_time, zone)
        if at is not None and at >= schedule.set_at and (day >= today or at >= oldest):
            return Fire(local_date=day, at=at)
        after = day


def _slot(day: date, at: time, zone: ZoneInfo) -> datetime | None:
    """The instant (UTC) of a wall-clock time within a local day; null when the zone skips the
    day. Where the day ends before that time (Nuuk jumps from 23:00 to 00:00), its last minute."""
    starts, ends = start_of_day(day, zone), end_of_day(day, zone)
    if starts >= ends:
        return None
    return max(starts, min(at_local_time(day, at, zone), ends - _LAST_MINUTE))


def in_quiet_hours(instant: datetime, zone: ZoneInfo, *, start: time, end: time) -> bool:
    """From `start` until before `end` by the member's wall clock, over midnight when `end` is
    earlier; never when they are equal."""
    clock = instant.astimezone(zone).time()
    if start <= end:
        return start <= clock < end
    return clock >= start or clock < end


ALERT = "alert"
"""Code of the wording that tells of an alert."""
POLICY = "policy"
"""Code of the wording that tells what has become of a policy."""
POINTS_EXPIRY = "points.expiry"
"""Code of the wording that tells of points which expire soon."""


def lock_screen_text(template: str) -> Text:
    """What a phone shows to whoever looks at it, by the code of a message's wording: never the
    title, never a health fact, no number of points."""
    if template == POLICY:
        return Text(
            zh="你的保单有新消息，点按查看。", en="There is news of your policy. Tap to see it."
        )
    if template == POINTS_EXPIRY:
        return Text(
            zh="你的积分有新消息，点按查看。", en="There is news of your points. Tap to see it."
        )
    if template.startswith("reminder."):
        return _reminder_text(ReminderKind(template.removeprefix("reminder.")))
    return Text(zh="你有一条新消息，点按查看。", en="You have a message. Tap to see it.")


def _reminder_text(kind: ReminderKind) -> Text:
    """That there is a medicine or a measurement is a health fact, so both say the same nothing."""
    match kind:
        case ReminderKind.TASK:
            return Text(zh="今天还有事项等你完成。", en="There is something left to do today.")
        case ReminderKind.APPOINTMENT:
            return Text(zh="你有一项日程即将到来。", en="Something in your calendar is coming up.")
        case ReminderKind.MEDICATION | ReminderKind.MEASUREMENT:
            return Text(zh="你有一条新提醒，点按查看。", en="You have a reminder. Tap to see it.")
