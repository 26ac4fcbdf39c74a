"""How much of what a task pays the caps leave. Pure; `EARNED` is the SQL that it is fed with.

What counts towards a cap is what was issued less what was taken back, in the period of the
cause's local day: points that wait for a decision count, and so do those spent since. A
correction carries the local day of what it corrects, so a restated day makes room again.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from enum import StrEnum
from itertools import repeat
from typing import NamedTuple

from app.points.caps import Cap, CapKind
from app.points.tally import Sums


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


Earned = tuple[date, bool, int]
"""What counts: the local day; whether it is by the rule whose caps are asked about, when it has
any; points."""


OF_FAMILY = "/"
"""Between the code of the rule that was promised and that of what took its place: the two
share the caps of the rule, and statements name what was done."""


def family(rule_code: str | None) -> str:
    """Of the rules that share their caps."""
    return rule_code.partition(OF_FAMILY)[0] if rule_code else ""


LIMIT_COLUMNS = """a.points_per_day_max, a.points_per_month_max, a.points_per_year_max,
  a.points_per_member_max, a.points_of_rule_max, a.points_of_rule_per"""
"""Of the table `task_assignments`, as `a`."""

HAS_PERIOD_CAP = """num_nonnulls(a.points_per_day_max, a.points_per_month_max,
  a.points_per_year_max, a.points_of_rule_max) > 0"""


COUNTS = "(x.debit = 'issued' or x.credit = 'reversed')"
"""Of a transfer `x`; with so many points: """
POINTS_COUNTED = "case x.debit when 'issued' then x.amount else -x.amount end"
EARNED_COLUMNS = "earned.days, earned.by_rule, earned.points"
"""For `earned`; of `earned_sql`."""


def earned_sql(*, member: str, day: str) -> str:
    """One row `earned` with what counts for the caps of an assignment `a`: arrays, null when it
    has no caps that need them. `day` is a civil day; all that may be asked about it, or the days
    next to it, is there: the member's zone may make either of them the day.

    Every transfer by itself: grouping them costs the server more than adding them up here."""
    unit = """case when a.points_per_year_max is not null or a.points_of_rule_per = 'year'
        then 'year' else 'month' end"""
    by_rule = f"""coalesce(split_part(x.rule_code, '{OF_FAMILY}', 1)
      = split_part(a.rule_code, '{OF_FAMILY}', 1), false)"""
    return f"""lateral (
    select array_agg(x.local_date) as days,
      array_agg({by_rule}) filter (where a.points_of_rule_max is not null) as by_rule,
      array_agg({POINTS_COUNTED}) as points
    from points_transfers x
    where {HAS_PERIOD_CAP}
    and x.member_id = {member} and {COUNTS}
    and x.local_date >= date_trunc({unit}, ({day} - 1)::timestamp)::date) earned"""


def earned(
    days: Sequence[date] | None, by_rule: Sequence[bool] | None, points: Sequence[int] | None
) -> Iterator[Earned]:
    """From the values of `EARNED_COLUMNS`."""
    return zip(days or (), by_rule or repeat(False), points or ())  # noqa: B905


def caps(
    limits: Limits,
    earned: Iterable[Earned],
    *,
    day: date,
    earned_ever: int,
    tallied: Sequence[tuple[bool, Sums]] = (),
) -> Sequence[Cap]:
    """The caps in force on a local day. `tallied` are sums of that day that count as well, each
    with whether it is by the rule; `earned_ever` is what counts for the whole time."""
    known = list(earned)
    of_day, of_month, of_year = _in_periods_of(day, known, (it for _, it in tallied))
    found = []
    if limits.of_rule is not None:
        by_rule = _in_periods_of(
            day, (it for it in known if it[1]), (it for is_rule, it in tallied if is_rule)
        )
        period = CapPeriod(limits.rule_period or CapPeriod.MONTH)
        found.append(Cap(CapKind.RULE, limits.of_rule, by_rule[_PERIODS.index(period)]))
    if limits.per_day is not None:
        found.append(Cap(CapKind.DAY, limits.per_day, of_day))
    if limits.per_month is not None:
        found.append(Cap(CapKind.MONTH, limits.per_month, of_month))
    if limits.per_year is not None:
        found.append(Cap(CapKind.YEAR, limits.per_year, of_year))
    if limits.per_member is not None:
        found.append(Cap(CapKind.MEMBER, limits.per_member, earned_ever))
    return found


_PERIODS = (CapPeriod.DAY, CapPeriod.MONTH, CapPeriod.YEAR)


def _in_periods_of(day: date, earned: Iterable[Earned], tallied: Iterable[Sums]) -> Sums:
    """Points on the day, in its month and in its year."""
    year, month = day.year, day.month
    of_day = of_month = of_year = 0
    for sums in tallied:
        of_day += sums[0]
        of_month += sums[1]
        of_year += sums[2]
    for on, _, points in earned:
        if on.year == year:
            of_year += points
            if on.month == month:
                of_month += points
                if on == day:
                    of_day += points
    return of_day, of_month, of_year
