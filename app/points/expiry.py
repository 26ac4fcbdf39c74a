"""Points that expire: announced before, gone when their last day is over.

Set-based: one statement takes the oldest last day of each of many members, all of its points
with one transfer, chained by the database's own hash; it is repeated until nothing is over.

What was announced is what expires: both are the sum of what remains in the lots of one last
day. Points that nobody announced in time, because no worker ran, do not expire on their last
day: they are announced as soon as one runs again, with a later last day that leaves the
member the days of the last notice (7). Until then they can be spent like all others, the
oldest first. Only points that were given later than that notice would have come need none:
their last day was told with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BindParameter, DateTime, Interval, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app import civil_time
from app.db import Database
from app.ids import new_id
from app.points.programme import programme
from app.points.rules import CHAIN_VERSION

MEMBERS_A_BATCH = 500
LATE_AFTER = timedelta(hours=1)
"""A notice that comes so little after its time is in time: the clock needs some."""
_INSTANT = DateTime(timezone=True)
_TIMES: list[BindParameter[Any]] = [
    bindparam("now", type_=_INSTANT),
    bindparam("notice", type_=Interval),
]

_NEEDS_NOTICE = """
exists (select from points_transfers t where t.member_id = {lot}.member_id and t.id = {lot}.id
  and t.posted_at <= {lot}.expires_at - :notice)
"""
# The same for all lots of one last day that are over: they expire as one, or not at all.
_WAS_TOLD = f"""
coalesce(
  (select bool_or(coalesce(n.ends_at, l.expires_at) <= :now) from points_expiry_notices n
    where n.member_id = l.member_id and n.expires_on = l.expires_on),
  (select not bool_or({_NEEDS_NOTICE.format(lot="o")}) from points_lots o
    where o.member_id = l.member_id and o.expires_on = l.expires_on and o.remaining > 0
      and o.expires_at + interval '0' <= :now))
"""
# An expression, or else the server reads the index of all that is due, of everybody, for each
# member: of one member it has to read the lots in their order.
_OVER = "l.remaining > 0 and l.expires_at + interval '0' <= :now"

_EXPIRE = text(
    f"""
with given as (
  select * from unnest(cast(:member_ids as uuid[]), cast(:ids as uuid[])) as given (member_id, id)),
over as materialized (
  select given.member_id, oldest.expires_on, (select sum(l.remaining)::bigint from points_lots l
    where l.member_id = given.member_id and l.expires_on = oldest.expires_on and {_OVER}) as amount
  from given cross join lateral (
    select l.expires_on from points_lots l
    where l.member_id = given.member_id and {_OVER} and {_WAS_TOLD}
    order by l.expires_on limit 1) as oldest),
new as (
  select w.member_id, w.seq + 1 as seq, given.id, w.available + w.pending - over.amount as balance,
    over.amount, over.expires_on, 'expiry:' || to_char(over.expires_on, 'YYYY-MM-DD') || ':' || (w.seq + 1) as key, w.head
  from over join given using (member_id) join wallets w using (member_id)),
hashed as (
  select new.*, wellward_transfer_hash(head, {CHAIN_VERSION}, member_id, seq, id, 'EXPIRED',
    'available', 'expired', amount, balance, null, null, key, null, null, null, expires_on,
    :now, null) as hash
  from new),
written as (
  insert into points_transfers (member_id, seq, id, chain_version, kind, debit, credit, amount,
    balance_after, cause_key, local_date, posted_at, hash)
  select member_id, seq, id, {CHAIN_VERSION}, 'EXPIRED', 'available', 'expired', amount,
    balance, key, expires_on, :now, hash
  from hashed),
emptied as (
  update points_lots l set expired = l.expired + l.remaining, remaining = 0
  from hashed where l.member_id = hashed.member_id and l.expires_on = hashed.expires_on
    and {_OVER})
update wallets w set version = version + 1, available = available - hashed.amount,
  expired = expired + hashed.amount, seq = hashed.seq, head = hashed.hash
from hashed where w.member_id = hashed.member_id
returning w.member_id, hashed.amount
"""
).bindparams(*_TIMES)
_LOCK = text(
    f"""
select w.member_id from wallets w where w.member_id in (
  select l.member_id from points_lots l
  where l.remaining > 0 and l.expires_at <= :now and {_WAS_TOLD}
  order by l.expires_at limit :limit)
for update skip locked
"""
).bindparams(*_TIMES)


@dataclass(frozen=True, slots=True)
class Expired:
    members: frozenset[UUID]
    transfers: int
    points: int


async def expire_locked(
    connection: AsyncConnection, member_ids: Sequence[UUID], *, now: datetime
) -> Expired:
    """Expire what is over at `now` of members whose wallets this transaction has locked."""
    members: set[UUID] = set()
    transfers = points = 0
    left = list(member_ids)
    while left:
        ids = [new_id(now) for _ in left]
        parameters = {"member_ids": left, "ids": ids, "now": now, "notice": last_notice()}
        rows = (await connection.execute(_EXPIRE, parameters)).all()
        left = [member_id for member_id, _ in rows]
        members.update(left)
        transfers += len(rows)
        points += sum(amount for _, amount in rows)
    return Expired(frozenset(members), transfers, points)


async def expire_due(
    db: Database, *, now: datetime, limit: int = MEMBERS_A_BATCH
) -> Expired | None:
    """Expire what is over at `now` for some members, in one transaction; None when there is
    nobody left. Members that somebody else is writing are left to the next run, so that any
    number of runs may go on at once, and one that is cut short is only repeated.

    `limit` bounds how many lots are looked at to find members.
    """
    async with db.transaction() as session:
        connection = await session.connection()
        found = await connection.execute(
            _LOCK, {"now": now, "notice": last_notice(), "limit": limit}
        )
        member_ids = list(found.scalars())
        if not member_ids:
            return None
        # A later statement: the one that locks still sees the lots as they were before.
        return await expire_locked(connection, member_ids, now=now)


def last_notice() -> timedelta:
    """How long before they expire points must have been announced."""
    return timedelta(days=programme().notice_days[-1])


_ANNOUNCE = text(
    """
insert into points_expiry_notices as n
  (member_id, expires_on, days_before, amount, revision, announced_at)
select l.member_id, l.expires_on, :days, sum(l.remaining), 0, :now
from points_lots l
where l.remaining > 0 and l.expires_at > :from and l.expires_at <= :until
group by l.member_id, l.expires_on
on conflict (member_id, expires_on, days_before) do update
  set amount = excluded.amount, revision = n.revision + 1, announced_at = excluded.announced_at
  where excluded.amount > n.amount
"""
).bindparams(*(bindparam(name, type_=_INSTANT) for name in ("now", "from", "until")))
_UNANNOUNCED = text(
    f"""
select l.member_id, l.expires_on, m.time_zone, sum(l.remaining)::bigint as amount
from points_lots l join members m using (member_id)
where l.remaining > 0 and l.expires_at < :before and m.time_zone = any(:zones)
  and not exists (select from points_expiry_notices n where n.member_id = l.member_id
    and n.expires_on = l.expires_on)
group by l.member_id, l.expires_on, m.time_zone
having bool_or({_NEEDS_NOTICE.format(lot="l")})
order by l.member_id, l.expires_on limit :limit
"""
).bindparams(
    bindparam("before", type_=_INSTANT),
    bindparam("notice", type_=Interval),
    bindparam("zones", type_=ARRAY(Text)),
)
_ANNOUNCE_LATE = text(
    """
insert into points_expiry_notices
  (member_id, expires_on, days_before, amount, revision, announced_at, ends_on, ends_at)
select member_id, expires_on, :days, amount, 0, :now, ends_on, ends_at
from unnest(cast(:member_ids as uuid[]), cast(:expires_on as date[]), cast(:amounts as bigint[]),
    cast(:ends_on as date[]), cast(:ends_at as timestamptz[]))
  as late (member_id, expires_on, amount, ends_on, ends_at)
on conflict do nothing
"""
).bindparams(bindparam("now", type_=_INSTANT))


async def announce(db: Database, *, now: datetime, limit: int = MEMBERS_A_BATCH) -> int:
    """Note what expires within so many days as the programme says, each once; how much was
    noted. When more comes to expire on an announced day (a redemption was cancelled), the
    new sum is noted again; when less does, because it was spent, nobody needs to know.

    What should have been noted before is noted first, with a later last day. `limit` bounds
    how much of that is done in one transaction.
    """
    noted = 0
    while late := await _announce_late(db, now=now, limit=limit):
        noted += late
    notices = programme().notice_days
    for place, days in enumerate(notices):
        nearer = notices[place + 1] if place + 1 < len(notices) else 0
        window = {
            "days": days,
            "now": now,
            "from": now + timedelta(days=nearer),
            "until": now + timedelta(days=days),
        }
        async with db.write() as connection:
            noted += (await connection.execute(_ANNOUNCE, window)).rowcount
    return noted


async def _announce_late(db: Database, *, now: datetime, limit: int) -> int:
    """How many there were; 0 when nothing is left to do."""
    notice = last_notice()
    parameters = {
        "before": now + notice - LATE_AFTER,
        "notice": notice,
        "zones": sorted(civil_time.zone_names()),
        "limit": limit,
    }
    async with db.transaction() as session:
        connection = await session.connection()
        found = (await connection.execute(_UNANNOUNCED, parameters)).all()
        if not found:
            return 0
        zones = [civil_time.zone(row.time_zone) for row in found]
        ends_on = [civil_time.local_date(now, zone) + notice for zone in zones]
        ends_at = [civil_time.end_of_day(*it) for it in zip(ends_on, zones, strict=True)]
        rows = {
            "days": notice.days,
            "now": now,
            "member_ids": [row.member_id for row in found],
            "expires_on": [row.expires_on for row in found],
            "amounts": [row.amount for row in found],
            "ends_on": ends_on,
            "ends_at": ends_at,
        }
        await connection.execute(_ANNOUNCE_LATE, rows)
    return len(found)


def last_day(day: str) -> str:
    """SQL: until when the points of a transfer `t` can be spent whose last day was `day`; that
    is later when nobody announced it in time."""
    return f"""coalesce((select max(n.ends_on) from points_expiry_notices n
      where n.member_id = t.member_id and n.expires_on = {day}), {day})"""


NEXT_EXPIRY = """
select row(next.amount, coalesce((select max(n.ends_on) from points_expiry_notices n
    where n.member_id = members.member_id and n.expires_on = next.expires_on), next.expires_on))
from (
  select sum(l.remaining)::bigint as amount, l.expires_on from points_lots l
  where l.member_id = members.member_id and l.remaining > 0 and (l.expires_at > :now
    or exists (select from points_expiry_notices n where n.member_id = members.member_id
      and n.expires_on = l.expires_on and n.ends_at > :now))
  group by l.expires_on order by l.expires_on limit 1) next
"""
"""Of a row of `members`: the oldest points with a last day to come, and that day."""
