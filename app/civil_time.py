"""Zones and civil days: between the member's wall clock and instants, in Python only.

A civil day is half open: from `start_of_day` until before `end_of_day`, which is the start of
the next day. Midnight may be missing (Cairo, Beirut), and so may a whole day (Apia skipped
2011-12-30): such a day starts when it ends.
"""

import re
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

# Files beside the zones that are no zone of the IANA list, and differ by machine.
_NOT_ZONES = frozenset({"Factory", "localtime", "posixrules"})
_LOCALE_LENGTH_MAX = 35
_LOCALE = re.compile(
    r"([a-z]{2,3}(-[a-z]{3}){0,3}|[a-z]{4,8})"  # language
    r"(-[a-z]{4})?"  # script
    r"(-([a-z]{2}|[0-9]{3}))?"  # region
    r"(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"  # variants
    r"(-[a-wyz0-9](-[a-z0-9]{2,8})+)*"  # extensions
    r"(-x(-[a-z0-9]{1,8})+)?",  # private use
    re.IGNORECASE | re.ASCII,
)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UnknownZone(ValueError):
    """Not the name of an IANA time zone."""


@cache
def zone_names() -> frozenset[str]:
    """All that `zone` knows."""
    return frozenset(zoneinfo.available_timezones()) - _NOT_ZONES


@cache
def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name, as `Asia/Shanghai`; letter case counts. Raises UnknownZone.

    Kept here: ZoneInfo itself keeps eight and reads the files of the others again.
    """
    # Only listed names reach the file system: ZoneInfo itself also opens whatever lies there.
    if name not in zone_names():
        raise UnknownZone("Not an IANA time zone.")
    return ZoneInfo(name)


def local_date(instant: datetime, zone: ZoneInfo) -> date:
    """The civil day that the member's calendar shows at `instant`."""
    assert instant.tzinfo is not None
    return instant.astimezone(zone).date()


@lru_cache(maxsize=4096)
def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The instant (UTC) from which the calendar shows `day` or later, for good.

    OverflowError at the two ends of the calendar.
    """
    first, second = _occurrences(day, time.min, zone)
    if first == second:
        return first
    turn = _turn(min(first, second), max(first, second), zone)
    if second < first:  # Midnight falls into a gap: the day begins where the gap ends.
        return turn
    # Midnight comes twice. Put back over midnight, the calendar shows the day before once more.
    return second if local_date(turn, zone) < day else first


@lru_cache(maxsize=4096)
def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which the next day starts: the first that is not in `day`."""
    return start_of_day(day + timedelta(days=1), zone)


def day_exists(day: date, zone: ZoneInfo) -> bool:
    """Whether the calendar of the zone has this day: a move over the date line skips one."""
    return start_of_day(day, zone) < end_of_day(day, zone)


def at_local_time(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which the wall clock shows `at` on `day`.

    A time that comes twice is its first occurrence. A time that falls into a gap is the first
    instant after the gap: 02:30 is 03:00 when the clock is put forward at 02:00. So a later
    time is never an earlier instant.
    """
    first, second = _occurrences(day, at, zone)
    return _turn(second, first, zone) if second < first else first


def each_at_local_time(day: date, at: time, zone: ZoneInfo) -> tuple[datetime, ...]:
    """As `at_local_time`, and the second occurrence of a time that comes twice."""
    first, second = _occurrences(day, at, zone)
    return (first, second) if first < second else (at_local_time(day, at, zone),)


def microseconds(instant: datetime) -> int:
    """Since 1970, exact. The driver takes ten times as long to read an instant as a number, and the
    server writes and reads numbers much faster than texts."""
    return (instant - _EPOCH) // _MICROSECOND


def completed_years(birth_date: date, day: date) -> int:
    """On the day `day`. Who was born on 29 February completes a year on 1 March where there is
    no such day."""
    return day.year - birth_date.year - ((day.month, day.day) < (birth_date.month, birth_date.day))


def is_locale(tag: str) -> bool:
    """Whether `tag` has the shape of a BCP 47 language tag of at most 35 characters: `zh-CN`."""
    return len(tag) <= _LOCALE_LENGTH_MAX and _LOCALE.fullmatch(tag) is not None


def _occurrences(day: date, at: time, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The instants (UTC) of fold 0 and fold 1: equal, or in order for a time that comes
    twice, or in reverse order for a time in a gap."""
    local = datetime.combine(day, at.replace(tzinfo=None), tzinfo=zone)
    return local.replace(fold=0).astimezone(UTC), local.replace(fold=1).astimezone(UTC)


def _turn(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first instant with the offset of `after`; the clock turns once in between."""
    old = before.astimezone(zone).utcoffset()
    low = int(before.timestamp())
    high = int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)
