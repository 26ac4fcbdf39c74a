"""Status levels: by what was earned in a calendar year, kept to the end of the next one.

Pure. Points count in the year of their local date, when they are confirmed, less what was
taken back; spending does not count.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from app.texts import Text


@dataclass(frozen=True, slots=True)
class Level:
    code: str
    points: int
    """Reached with so many in one year."""
    name: Text


@dataclass(frozen=True, slots=True)
class Standing:
    level: Level
    since: date | None
    """The day on which it was reached, in the first of the two years that count; None for the
    lowest level."""
    until: date | None
    """Last day; None for the lowest level, which nobody loses."""
    earned: int
    """This year."""
    next: Level | None
    to_next: int | None
    """Points still to be earned by the end of this year; None on the highest level."""
    next_by: date | None


Earned = tuple[date, int]
"""A local day, and what was earned on it less what was taken back of it."""


def standing(ladder: Sequence[Level], earned: Iterable[Earned], today: date) -> Standing:
    """The level in force on `today`, from what was earned this year and last year; `earned`
    may hold other years too. The ladder begins with the level of 0 points."""
    days = sorted(earned)
    now, now_since = _reached(ladder, days, today.year)
    kept, kept_since = _reached(ladder, days, today.year - 1)
    place = max(now, kept)
    until = date(today.year + (now >= kept), 12, 31)
    since = kept_since if kept >= now else now_since
    points = sum(points for day, points in days if day.year == today.year)
    higher = ladder[place + 1] if place + 1 < len(ladder) else None
    return Standing(
        level=ladder[place],
        since=since if place else None,
        until=until if place else None,
        earned=points,
        next=higher,
        to_next=higher.points - points if higher else None,
        next_by=date(today.year, 12, 31) if higher else None,
    )


def _reached(ladder: Sequence[Level], days: Sequence[Earned], year: int) -> tuple[int, date | None]:
    """The place of the level that the whole year earns, and since which day it has been
    earned for good."""
    days = [(day, points) for day, points in days if day.year == year]
    total = sum(points for _, points in days)
    place = max((place for place, level in enumerate(ladder) if level.points <= total), default=0)
    since: date | None = None
    running = 0
    for day, points in days:
        running += points
        if running < ladder[place].points:
            since = None
        elif since is None:
            since = day
    return place, since
