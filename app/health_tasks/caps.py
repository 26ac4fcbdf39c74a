"""How much of what a task pays the caps leave. Pure; `EARNED` is the SQL that it is fed with.

What counts towards a cap is what was issued less what was taken back, in the period of the
cause's local day: points that wait for a decision count, and so do those spent since. A
correction carries the local day of what it corrects, so a restated day makes room again.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from app.points.caps import Cap, CapKind


class CapPeriod(StrEnum):
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class Limits(NamedTuple):
    """Most points; null for no cap. The columns of `LIMIT_COLUMNS`, in their order."""

    per_day: int | None = None
    """Over all that the member earns in one local day."""
    per_month: int | None = None
    per_year: int | None = None
    per_member: int | None = None
    """As long as they are in the programme."""
    of_rule: int | None = None
    """By this rule alone, in each `rule_period`."""
    rule_period: str | None = None


NO_LIMITS = Limits()


class Earned(NamedTuple):
    """Points that count; `day` only of the days that may be asked about."""

    day: date | None
    month: date
    """Its first day."""
    by_rule: bool
    """By the rule whose caps are asked about."""
    points: int


OF_FAMILY = "/"
"""Between the code of the rule that was promised and that of what took its place: the two
share the caps of the rule, and statements name what was done."""

LIMIT_COLUMNS = """a.points_per_day_max, a.points_per_month_max, a.points_per_year_max,
  a.points_per_member_max, a.points_of_rule_max, a.points_of_rule_per"""
"""Of the table `task_assignments`, as `a`."""

HAS_PERIOD_CAP = """num_nonnulls(a.points_per_day_max, a.points_per_month_max,
  a.points_per_year_max, a.points_of_rule_max) > 0"""


def earned_sql(*, member: str, day: str) -> str:
    """An array of rows like `Earned` for the caps of an assignment `a`, null when it has none
    that need it. `day` is a civil day; those next to it are told apart too, because the
    member's zone may make either of them the day."""
    unit = """case when a.points_per_year_max is not null or a.points_of_rule_per = 'year'
        then 'year' else 'month' end"""
    return f"""case when {HAS_PERIOD_CAP} then
    array(select row(found.day, found.month, found.by_rule, sum(found.points)::bigint) from (
      select case when x.local_date between {day} - 1 and {day} + 1 then x.local_date end as day,
        date_trunc('month', x.local_date::timestamp)::date as month,
        coalesce(split_part(x.rule_code, '{OF_FAMILY}', 1)
          = split_part(a.rule_code, '{OF_FAMILY}', 1), false) as by_rule,
        case x.debit when 'issued' then x.amount else -x.amount end as points
      from points_transfers x
      where x.member_id = {member} and (x.debit = 'issued' or x.credit = 'reversed')
      and x.local_date >= date_trunc({unit}, ({day} - 1)::timestamp)::date) found
      group by found.day, found.month, found.by_rule) end"""


def caps(limits: Limits, earned: Iterable[Earned], *, day: date, earned_ever: int) -> Sequence[Cap]:
    """The caps in force on a local day. `earned_ever` is what counts for the whole time."""
    known = list(earned)
    found = []
    if limits.of_rule is not None:
        period = CapPeriod(limits.rule_period or CapPeriod.MONTH)
        by_rule = (it for it in known if it.by_rule)
        found.append(Cap(CapKind.RULE, limits.of_rule, _sum(_in(by_rule, period, day))))
    for kind, limit, period in (
        (CapKind.DAY, limits.per_day, CapPeriod.DAY),
        (CapKind.MONTH, limits.per_month, CapPeriod.MONTH),
        (CapKind.YEAR, limits.per_year, CapPeriod.YEAR),
    ):
        if limit is not None:
            found.append(Cap(kind, limit, _sum(_in(known, period, day))))
    if limits.per_member is not None:
        found.append(Cap(CapKind.MEMBER, limits.per_member, earned_ever))
    return found


def _in(earned: Iterable[Earned], period: CapPeriod, day: date) -> Iterator[Earned]:
    for it in earned:
        match period:
            case CapPeriod.DAY:
                inside = it.day == day
            case CapPeriod.MONTH:
                inside = it.month == day.replace(day=1)
            case CapPeriod.YEAR:
                inside = it.month.year == day.year
        if inside:
            yield it


def _sum(earned: Iterable[Earned]) -> int:
    return sum(it.points for it in earned)
