"""What a month looks like in words: summaries, regularity, trends, advice. No I/O, no clock."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.measurements.catalogue import Quantity
from app.measurements.devices_rules import Link
from app.texts import Text

STEADY_PERCENT = Decimal(2)
"""A mean that moved by less is the same."""


class Trend(StrEnum):
    UP = "UP"
    DOWN = "DOWN"
    STEADY = "STEADY"


class PartOfDay(StrEnum):
    MORNING = "MORNING"
    AFTERNOON = "AFTERNOON"
    EVENING = "EVENING"
    NIGHT = "NIGHT"


@dataclass(frozen=True, slots=True)
class Hour:
    """One code in one hour; a stream or a running total stands for its whole day, without an
    hour."""

    code: str
    local_date: date
    at: datetime | None
    n: int
    total: Decimal
    minimum: Decimal
    maximum: Decimal


@dataclass(frozen=True, slots=True)
class Day:
    day: date
    mean: Decimal


@dataclass(frozen=True, slots=True)
class Summary:
    """One code over the month, in its canonical unit."""

    quantity: Quantity
    n: int
    mean: Decimal
    minimum: Decimal
    maximum: Decimal
    days: Sequence[Day]
    """With data, in order."""
    mean_before: Decimal | None
    """Of the month before; null without data."""
    regularity_percent: int
    """Share of the month's days with data, rounded half up."""
    usual_hour: int | None
    """Local, 0 to 23: when most readings are taken; null for streams and running totals."""

    @property
    def change_percent(self) -> Decimal | None:
        if not self.mean_before:
            return None
        return (self.mean - self.mean_before) * 100 / self.mean_before

    @property
    def trend(self) -> Trend | None:
        change = self.change_percent
        if change is None:
            return None
        if abs(change) < STEADY_PERCENT:
            return Trend.STEADY
        return Trend.UP if change > 0 else Trend.DOWN


@dataclass(frozen=True, slots=True)
class Tasks:
    """The periods that ended in the month, by what became of them: the five kinds of no data
    stay apart."""

    done: int
    missed: int
    paused: int
    device_silent: int
    consent_refused: int
    consent_withdrawn: int

    @property
    def percent(self) -> Decimal | None:
        """Of those done or missed; null when there were none."""
        due = self.done + self.missed
        return Decimal(self.done * 100) / due if due else None


@dataclass(frozen=True, slots=True)
class Habits:
    """How a member goes about it (MON-8)."""

    part_of_day: PartOfDay | None
    """When most readings are taken."""
    favourite_task: Text | None
    """The title of the task that was done most often."""


@dataclass(frozen=True, slots=True)
class Condition:
    """When an advice is given; None asks for nothing."""

    code: str | None = None
    mean_at_least: Decimal | None = None
    mean_below: Decimal | None = None
    maximum_at_least: Decimal | None = None
    change_at_least_percent: Decimal | None = None
    change_at_most_percent: Decimal | None = None
    days_min: int = 1
    silent_days_at_least: int | None = None
    done_below_percent: Decimal | None = None
    done_at_least_percent: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    code: str
    when: Condition
    text: Text


def month_after(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


def month_before(month: date) -> date:
    return (month.replace(day=1) - timedelta(days=1)).replace(day=1)


def summaries(
    hours: Iterable[Hour], *, month: date, days: int, zone: ZoneInfo, catalogue: Iterable[Quantity]
) -> list[Summary]:
    """One for each code with data in the month, in the catalogue's order. `days` is how many
    of the month there have been."""
    by_code: dict[str, list[Hour]] = {}
    for hour in hours:
        by_code.setdefault(hour.code, []).append(hour)
    found = []
    for quantity in catalogue:
        known = by_code.get(quantity.code, [])
        now = [it for it in known if it.local_date >= month]
        if now:
            before = [it for it in known if it.local_date < month]
            found.append(_summary(quantity, now, before, days, zone))
    return found


def silent_days(links: Iterable[Link], *, first: date, last: date, zone: ZoneInfo) -> int:
    """On how many local days, all of it, some device had been silent: from the day after its
    last sync to the day before the next."""
    silent: set[date] = set()
    for link in links:
        for start, end in link.silences:
            day = max(start.astimezone(zone).date() + timedelta(days=1), first)
            until = min(end.astimezone(zone).date() - timedelta(days=1), last) if end else last
            while day <= until:
                silent.add(day)
                day += timedelta(days=1)
    return len(silent)


def part_of_day(hour: int) -> PartOfDay:
    if 5 <= hour < 12:
        return PartOfDay.MORNING
    if 12 <= hour < 18:
        return PartOfDay.AFTERNOON
    return PartOfDay.EVENING if 18 <= hour < 23 else PartOfDay.NIGHT


def habits(hours: Iterable[Hour], favourite: Text | None, *, month: date, zone: ZoneInfo) -> Habits:
    parts = Counter[PartOfDay]()
    for hour in hours:
        if hour.at is not None and hour.local_date >= month:
            parts[part_of_day(hour.at.astimezone(zone).hour)] += hour.n
    order = list(PartOfDay)
    most = min(parts, key=lambda part: (-parts[part], order.index(part))) if parts else None
    return Habits(most, favourite)


def advise(
    rules: Iterable[Advice],
    *,
    found: Sequence[Summary],
    tasks: Tasks,
    silent: int,
    said_max: int,
) -> list[Advice]:
    by_code = {summary.quantity.code: summary for summary in found}
    said = [rule for rule in rules if _holds(rule.when, by_code, tasks, silent)]
    return said[:said_max]


def tenth(value: Decimal) -> str:
    """To one decimal, without a zero at the end."""
    rounded = value.quantize(Decimal("0.1"), ROUND_HALF_UP)
    whole = rounded.to_integral_value()
    return f"{whole:,}" if rounded == whole else f"{rounded:,}"


def _summary(
    quantity: Quantity, now: Sequence[Hour], before: Sequence[Hour], days: int, zone: ZoneInfo
) -> Summary:
    by_day: dict[date, list[Hour]] = {}
    for hour in now:
        by_day.setdefault(hour.local_date, []).append(hour)
    at = Counter[int]()
    for hour in now:
        if hour.at is not None:
            at[hour.at.astimezone(zone).hour] += hour.n
    usual = min(at, key=lambda hour: (-at[hour], hour)) if at else None
    share = Decimal(len(by_day) * 100) / max(days, 1)
    return Summary(
        quantity=quantity,
        n=sum(it.n for it in now),
        mean=_mean(now),
        minimum=min(it.minimum for it in now),
        maximum=max(it.maximum for it in now),
        days=[Day(day, _mean(by_day[day])) for day in sorted(by_day)],
        mean_before=_mean(before) if before else None,
        regularity_percent=int(share.to_integral_value(ROUND_HALF_UP)),
        usual_hour=usual,
    )


def _mean(hours: Sequence[Hour]) -> Decimal:
    return sum((it.total for it in hours), Decimal(0)) / sum(it.n for it in hours)


def _holds(when: Condition, by_code: dict[str, Summary], tasks: Tasks, silent: int) -> bool:
    if when.silent_days_at_least is not None and silent < when.silent_days_at_least:
        return False
    if not _within(tasks.percent, when.done_at_least_percent, when.done_below_percent):
        return False
    if when.code is None:
        return True
    summary = by_code.get(when.code)
    if summary is None or len(summary.days) < when.days_min:
        return False
    at_most = when.change_at_most_percent
    change = summary.change_percent
    return (
        _within(summary.mean, when.mean_at_least, when.mean_below)
        and _within(summary.maximum, when.maximum_at_least, None)
        and _within(change, when.change_at_least_percent, None)
        and (at_most is None or (change is not None and change <= at_most))
    )


def _within(value: Decimal | None, at_least: Decimal | None, below: Decimal | None) -> bool:
    """What is not asked for holds; what is not known does not."""
    if at_least is None and below is None:
        return True
    if value is None:
        return False
    return (at_least is None or value >= at_least) and (below is None or value < below)
