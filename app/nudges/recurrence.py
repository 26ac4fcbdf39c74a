"""On which local days a reminder recurs: RFC 5545 RRULE in whole days, daily or rarer.

Evaluated here and not by a library: those walk on to the year 9999 when a rule never fires,
and from the first day at each question. This one jumps to the period asked about (only COUNT
walks), and no search looks further than `HORIZON_DAYS` ahead.
"""

import re
from calendar import isleap, monthrange
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum

from app.texts import Text

HORIZON_DAYS = 3660
"""Ten years and a week: what does not fire within them does not fire again."""
_TEXT_LENGTH_MAX = 200
_DAY_NAMES = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_ORDINAL_DAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_UNTIL = re.compile(r"(\d{4})(\d{2})(\d{2})(T\d{6}Z?)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,4}", re.ASCII)
# Rules that start outside of these centuries never fire.
_FIRST_DAY = date(1900, 1, 1)
_LAST_DAY = date(9000, 1, 1)


class Frequency(StrEnum):
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


# With these, the next period always begins within the horizon.
_INTERVAL_MAX = {
    Frequency.DAILY: 3650,
    Frequency.WEEKLY: 520,
    Frequency.MONTHLY: 120,
    Frequency.YEARLY: 10,
}


class InvalidRecurrence(ValueError):
    """Not a rule that a reminder may follow; `reason` says which part of it, and why."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.reason = Text(zh=zh, en=en)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A parsed rule. An empty tuple is a part that was left out."""

    frequency: Frequency
    interval: int = 1
    count: int | None = None
    until: date | None = None
    """Last possible day."""
    week_start: int = 0
    """Monday is 0, here and below."""
    months: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    week_days: tuple[tuple[int, int], ...] = ()
    """(ordinal within the month or year, or 0 for each; day of the week)."""
    positions: tuple[int, ...] = ()


_PART_NAMES = frozenset(
    {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYWEEKNO"}
    | {"BYYEARDAY", "BYMONTHDAY", "BYDAY", "BYSETPOS"}
)


def canonical(text: str) -> str:
    """A rule as it is kept and shown: upper case, and without the name of the property."""
    return text.upper().removeprefix("RRULE:")


def parse_recurrence(text: str) -> Recurrence:
    """The rule of an RRULE value, as `FREQ=WEEKLY;BYDAY=MO,TH`. Raises InvalidRecurrence.

    Times of day are refused: the reminder has its own. Of UNTIL only the day counts, as written.
    """
    if len(text) > _TEXT_LENGTH_MAX:
        raise InvalidRecurrence(
            f"重复规则最多 {_TEXT_LENGTH_MAX} 个字符。",
            f"A recurrence has at most {_TEXT_LENGTH_MAX} characters.",
        )
    parts: dict[str, str] = {}
    for part in canonical(text).split(";"):
        name, _, value = part.partition("=")
        if name not in _PART_NAMES or name in parts:
            # Not quoted: what a client sends may be anything.
            raise InvalidRecurrence(
                "重复规则只能包含每个允许的部分一次：" + "、".join(sorted(_PART_NAMES)) + "。",
                f"A recurrence has each of these parts at most once: {_listed(_PART_NAMES)}.",
            )
        parts[name] = value
    frequency = _frequency(parts)
    rule = Recurrence(
        frequency=frequency,
        interval=_number(parts, "INTERVAL", _INTERVAL_MAX[frequency]) or 1,
        count=_number(parts, "COUNT", HORIZON_DAYS),
        until=_until(parts),
        week_start=_week_start(parts),
        months=_numbers(parts, "BYMONTH", 12, signed=False),
        weeks=_numbers(parts, "BYWEEKNO", 53),
        year_days=_numbers(parts, "BYYEARDAY", 366),
        month_days=_numbers(parts, "BYMONTHDAY", 31),
        week_days=_week_days(parts),
        positions=_numbers(parts, "BYSETPOS", 366),
    )
    _check_combination(rule)
    return rule


def next_local_date(
    rule: Recurrence, *, starts_on: date, ends_on: date | None, after: date | None = None
) -> date | None:
    """The first day of the rule later than `after`; null when none comes within the horizon.

    `starts_on` gives what the rule leaves open (the weekday, the day of the month), and fires
    only if the rule includes it. A rule with COUNT ends at the latest ten years after it.
    """
    if not _FIRST_DAY <= starts_on <= _LAST_DAY:
        return None
    earliest = starts_on if after is None else max(starts_on, after + timedelta(days=1))
    if earliest > _LAST_DAY:
        return None
    latest = min(
        day
        for day in (earliest + timedelta(days=HORIZON_DAYS), ends_on, rule.until)
        if day is not None
    )
    if rule.count is None:
        days = _days(rule, starts_on, earliest, latest)
        return next((day for day in days if day >= earliest), None)
    # The first `count` days fire, so they are counted from the start.
    latest = min(latest, starts_on + timedelta(days=HORIZON_DAYS))
    for number, day in enumerate(_days(rule, starts_on, starts_on, latest), start=1):
        if number > rule.count:
            return None
        if day >= earliest:
            return day
    return None


def _days(rule: Recurrence, starts_on: date, earliest: date, latest: date) -> Iterator[date]:
    """The rule's days from the period of `earliest` on, to `latest`, in order."""
    rule = _completed(rule, starts_on)
    first = _period_number(rule, starts_on)
    skipped = (_period_number(rule, earliest) - first) // rule.interval
    number = first + skipped * rule.interval
    while True:
        period = _period(rule, number)
        if period[0] > latest:
            return
        for day in _picked([day for day in period if _matches(rule, day)], rule.positions):
            if starts_on <= day <= latest:
                yield day
        number += rule.interval


def _completed(rule: Recurrence, starts_on: date) -> Recurrence:
    """With what the rule leaves open taken from its first day, as RFC 5545 has it."""
    if rule.weeks and not rule.week_days:
        return replace(rule, week_days=((0, starts_on.weekday()),))
    if rule.week_days or rule.month_days or rule.year_days:
        return rule
    match rule.frequency:
        case Frequency.WEEKLY:
            return replace(rule, week_days=((0, starts_on.weekday()),))
        case Frequency.MONTHLY:
            return replace(rule, month_days=(starts_on.day,))
        case Frequency.YEARLY:
            months = rule.months or (starts_on.month,)
            return replace(rule, months=months, month_days=(starts_on.day,))
        case Frequency.DAILY:
            return rule


def _period_number(rule: Recurrence, day: date) -> int:
    """Consecutive numbers for consecutive days, weeks, months or years."""
    match rule.frequency:
        case Frequency.DAILY:
            return day.toordinal()
        case Frequency.WEEKLY:
            return (day.toordinal() - 1 - rule.week_start) // 7
        case Frequency.MONTHLY:
            return day.year * 12 + day.month - 1
        case Frequency.YEARLY:
            return day.year


def _period(rule: Recurrence, number: int) -> list[date]:
    """All days of the period with this number."""
    match rule.frequency:
        case Frequency.DAILY:
            first, length = date.fromordinal(number), 1
        case Frequency.WEEKLY:
            first, length = date.fromordinal(number * 7 + 1 + rule.week_start), 7
        case Frequency.MONTHLY:
            first = date(number // 12, number % 12 + 1, 1)
            length = _month_length(first)
        case Frequency.YEARLY:
            first, length = date(number, 1, 1), _year_length(number)
    return [first + timedelta(days=offset) for offset in range(length)]


def _matches(rule: Recurrence, day: date) -> bool:
    if rule.months and day.month not in rule.months:
        return False
    if rule.month_days and not _among(rule.month_days, day.day, _month_length(day)):
        return False
    if rule.year_days and not _among(rule.year_days, _year_day(day), _year_length(day.year)):
        return False
    if rule.week_days and not _on_week_day(rule, day):
        return False
    return not rule.weeks or _in_week(rule, day)


def _among(numbers: tuple[int, ...], place: int, length: int) -> bool:
    """Whether the place (from 1) is named, counted from the start or, negative, from the end."""
    return place in numbers or place - length - 1 in numbers


def _on_week_day(rule: Recurrence, day: date) -> bool:
    week_day = day.weekday()
    if (0, week_day) in rule.week_days:
        return True
    if rule.frequency is Frequency.MONTHLY or rule.months:
        place, length = day.day, _month_length(day)
    else:
        place, length = _year_day(day), _year_length(day.year)
    from_start, from_end = (place - 1) // 7 + 1, -((length - place) // 7 + 1)
    return (from_start, week_day) in rule.week_days or (from_end, week_day) in rule.week_days


def _in_week(rule: Recurrence, day: date) -> bool:
    """A week belongs to the year that holds its fourth day, whichever day it starts on."""
    fourth = day + timedelta(days=3 - (day.weekday() - rule.week_start) % 7)
    before = _year_day(fourth) - 1
    behind = _year_length(fourth.year) - before - 1
    week = before // 7 + 1
    return _among(rule.weeks, week, week + behind // 7)


def _picked(days: list[date], positions: tuple[int, ...]) -> list[date]:
    if not positions:
        return days
    return [day for place, day in enumerate(days, 1) if _among(positions, place, len(days))]


def _month_length(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def _year_length(year: int) -> int:
    return 366 if isleap(year) else 365


def _year_day(day: date) -> int:
    return day.toordinal() - date(day.year, 1, 1).toordinal() + 1


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _frequency(parts: dict[str, str]) -> Frequency:
    try:
        return Frequency(parts.get("FREQ", ""))
    except ValueError:
        raise InvalidRecurrence(
            "FREQ 必须是 DAILY、WEEKLY、MONTHLY 或 YEARLY。",
            "FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY.",
        ) from None


def _numbers(
    parts: dict[str, str], name: str, largest: int, *, signed: bool = True
) -> tuple[int, ...]:
    if name not in parts:
        return ()
    texts = parts[name].split(",")
    numbers = [int(text) for text in texts if _NUMBER.fullmatch(text)]
    smallest = -largest if signed else 1
    within = all(smallest <= number <= largest and number != 0 for number in numbers)
    if len(numbers) < len(texts) or not within:
        or_from_end_zh, or_from_end = (
            (f"，或 -{largest} 到 -1", f", or from -{largest} to -1") if signed else ("", "")
        )
        raise InvalidRecurrence(
            f"{name} 只能是 1 到 {largest}{or_from_end_zh} 的整数。",
            f"{name} takes whole numbers from 1 to {largest}{or_from_end}.",
        )
    return tuple(sorted(set(numbers)))


def _number(parts: dict[str, str], name: str, largest: int) -> int | None:
    numbers = _numbers(parts, name, largest, signed=False)
    if len(numbers) > 1:
        raise InvalidRecurrence(f"{name} 只能有一个数。", f"{name} takes one number.")
    return numbers[0] if numbers else None


def _until(parts: dict[str, str]) -> date | None:
    if "UNTIL" not in parts:
        return None
    found = _UNTIL.fullmatch(parts["UNTIL"])
    try:
        if found is not None:
            return date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        pass  # No such day: said below.
    raise InvalidRecurrence(
        "UNTIL 必须是存在的日期，例如 20261231。", "UNTIL must be a day, as 20261231."
    )


def _week_start(parts: dict[str, str]) -> int:
    name = parts.get("WKST", "MO")
    if name not in _DAY_NAMES:
        raise InvalidRecurrence(
            "WKST 必须是 MO 到 SU 之一。", f"WKST must be one of {', '.join(_DAY_NAMES)}."
        )
    return _DAY_NAMES.index(name)


def _week_days(parts: dict[str, str]) -> tuple[tuple[int, int], ...]:
    if "BYDAY" not in parts:
        return ()
    days: set[tuple[int, int]] = set()
    for text in parts["BYDAY"].split(","):
        found = _ORDINAL_DAY.fullmatch(text)
        ordinal = int(found[1] or 0) if found is not None else 0
        if found is None or abs(ordinal) > 53 or (found[1] is not None and ordinal == 0):
            raise InvalidRecurrence(
                "BYDAY 必须是 MO 到 SU，前面可带 1 到 53 或 -53 到 -1 的序数，例如 MO,-1FR。",
                "BYDAY takes MO to SU, each with an ordinal up to 53 or none, as MO,-1FR.",
            )
        days.add((ordinal, _DAY_NAMES.index(found[2])))
    return tuple(sorted(days))


def _check_combination(rule: Recurrence) -> None:
    """Raises InvalidRecurrence for parts that RFC 5545 does not let stand together."""
    yearly = rule.frequency is Frequency.YEARLY
    ordinals = any(ordinal for ordinal, _ in rule.week_days)
    chosen = rule.months or rule.weeks or rule.year_days or rule.month_days or rule.week_days
    if rule.count is not None and rule.until is not None:
        raise InvalidRecurrence("COUNT 和 UNTIL 不能同时使用。", "Use COUNT or UNTIL, not both.")
    if ordinals and (rule.frequency in (Frequency.DAILY, Frequency.WEEKLY) or rule.weeks):
        raise InvalidRecurrence(
            "BYDAY 的序数只能用于 MONTHLY 或没有 BYWEEKNO 的 YEARLY。",
            "Ordinals in BYDAY go with MONTHLY, or YEARLY without BYWEEKNO.",
        )
    if rule.month_days and rule.frequency is Frequency.WEEKLY:
        raise InvalidRecurrence(
            "BYMONTHDAY 不能与 WEEKLY 一起使用。", "BYMONTHDAY does not go with WEEKLY."
        )
    if (rule.weeks or rule.year_days) and not yearly:
        raise InvalidRecurrence(
            "BYWEEKNO 和 BYYEARDAY 只能用于 YEARLY。",
            "BYWEEKNO and BYYEARDAY go with YEARLY only.",
        )
    if rule.positions and not chosen:
        raise InvalidRecurrence(
            "BYSETPOS 需要另一个 BY 部分。", "BYSETPOS needs another BY part to pick from."
        )
