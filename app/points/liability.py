"""What the programme owes its members in points, and how much of it will likely expire.

Outstanding are the points that are available, held or waiting, less what members owe. Whether
points will be spent is estimated from lots that have ended. Of the points that were still
there with k whole months (30 days) to go, the share that expired is

    rate(k) = expired / (expired + used with at most k months to go)

over all ended lots, by when they were used. A point with k months to go is expected to expire
with probability rate(k); with more months than any use on record had, the rate of the longest
applies. Without ended lots nothing is expected to expire: the estimate errs towards owing more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sqlalchemy import DateTime, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

MONTH_DAYS = 30
_INSTANT = DateTime(timezone=True)

_TOTALS = text(
    """select coalesce(sum(available), 0)::bigint, coalesce(sum(pending), 0)::bigint,
         coalesce(sum(held), 0)::bigint, coalesce(sum(owed), 0)::bigint from wallets"""
)
_LEFT = text(
    """
select date_trunc('month', l.expires_on)::date,
  greatest(0, floor(extract(epoch from l.expires_at - :now) / 86400 / :month))::bigint,
  sum(l.remaining + l.pending + l.held)::bigint
from points_lots l where l.remaining + l.pending + l.held > 0
group by 1, 2 order by 1, 2
"""
).bindparams(bindparam("now", type_=_INSTANT))
_EXPIRED = text(
    """select coalesce(sum(l.expired), 0)::bigint from points_lots l
        where l.expires_at <= :now and l.expired > 0"""
).bindparams(bindparam("now", type_=_INSTANT))
_USED = text(
    """
select greatest(0, floor(extract(epoch from l.expires_at - h.resolved_at) / 86400 / :month))::bigint,
  sum(a.captured - a.returned)::bigint
from points_hold_lots a
join points_holds h on h.member_id = a.member_id and h.id = a.hold_id
join points_lots l on l.member_id = a.member_id and l.id = a.lot_id
where l.expires_at <= :now and a.captured > a.returned
group by 1
"""
).bindparams(bindparam("now", type_=_INSTANT))


@dataclass(frozen=True, slots=True)
class OfMonth:
    """Points whose last day is in a month."""

    month: date
    """Its first day."""
    points: int
    expected_breakage: int


@dataclass(frozen=True, slots=True)
class Liability:
    """In points."""

    outstanding: int
    available: int
    pending: int
    held: int
    owed: int
    expected_breakage: int
    """Rounded half up, as each month's is; so the months may not add up to it exactly."""
    history: int
    """How many points of ended lots the estimate rests on."""
    by_month: Sequence[OfMonth]


async def liability(connection: AsyncConnection, *, now: datetime) -> Liability:
    """As it was in one moment, however much is earned meanwhile."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    async with driver.transaction(isolation="repeatable_read", readonly=True):
        return await _liability(connection, now)


async def _liability(connection: AsyncConnection, now: datetime) -> Liability:
    available, pending, held, owed = (await connection.execute(_TOTALS)).one()
    at = {"now": now}
    months = {**at, "month": MONTH_DAYS}
    expired: int = (await connection.execute(_EXPIRED, at)).scalar_one()
    used = {months_left: points for months_left, points in await connection.execute(_USED, months)}
    rates = breakage_rates(expired, used)
    expected: dict[date, Decimal] = {}
    points: dict[date, int] = {}
    for month, months_left, left in await connection.execute(_LEFT, months):
        points[month] = points.get(month, 0) + left
        share = left * rate(rates, months_left)
        expected[month] = expected.get(month, Decimal(0)) + share
    return Liability(
        outstanding=available + pending + held - owed,
        available=available,
        pending=pending,
        held=held,
        owed=owed,
        expected_breakage=_rounded(sum(expected.values(), Decimal(0))),
        history=expired + sum(used.values()),
        by_month=[OfMonth(month, points[month], _rounded(expected[month])) for month in points],
    )


def breakage_rates(expired: int, used: Mapping[int, int]) -> Sequence[Decimal]:
    """`rate(k)` for k = 0, 1, ... up to the longest on record; `used` is by months to go."""
    if expired == 0:
        return (Decimal(0),)
    rates = []
    used_by_then = 0
    for months_left in range(max(used, default=0) + 1):
        used_by_then += used.get(months_left, 0)
        rates.append(Decimal(expired) / (expired + used_by_then))
    return rates


def rate(rates: Sequence[Decimal], months_left: int) -> Decimal:
    return rates[min(months_left, len(rates) - 1)]


def _rounded(points: Decimal) -> int:
    return int(points.quantize(Decimal(1), ROUND_HALF_UP))
