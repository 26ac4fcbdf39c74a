"""Points that expire: announced before, gone when their last day is over.

Set-based: one statement takes the oldest last day of each of many members, all of its points
with one transfer, chained by the database's own hash; it is repeated until nothing is over.

One rule: of one last day no more expires than its newest notice said. When more is there,
because nobody announced it in time or it came back since, the day is late: it is announced
(anew) with a later last day, which leaves the member the days of the last notice (7), and until
then all its points can be spent like others. The last notice or an earlier one alone is in time;
points that were given later than the last one would have come need none: their last day was
told with them.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, BindParameter, DateTime, Interval, Text, Uuid, bindparam, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app import civil_time
from app.db import Database
from app.ids import new_id
from app.points.programme import programme
from app.points.rules import CHAIN_VERSION

MEMBERS_A_BATCH = 500
ANNOUNCED_A_BATCH = 50_000
"""Each batch looks at all that is to be announced; it keeps nobody from writing."""
LATE_AFTER = timedelta(hours=1)
"""A notice that comes so little after its time is in time: the clock needs some."""
_INSTANT = DateTime(timezone=True)
_TIMES: list[BindParameter[Any]] = [
    bindparam("now", type_=_INSTANT),
    bindparam("notice", type_=Interval),
]

# An expression, or else the server reads the index of all that is due, of everybody, for each
# member: of one member it has to read the lots in their order.
_OVER = "{lot}.remaining > 0 and {lot}.expires_at + interval '0' <= :now"
_TOLD = """
coalesce((select n.amount from points_expiry_notices n
  where n.member_id = {lot}.member_id and n.expires_on = {lot}.expires_on
  order by n.announced_at desc, n.days_before limit 1), 0)
"""
_NEEDS_NOTICE = """
exists (select from points_lots o join points_transfers t using (member_id, id)
  where o.member_id = {lot}.member_id and o.expires_on = {lot}.expires_on and o.remaining > 0
    and t.posted_at <= o.expires_at - :notice)
"""
# The same for all lots of one last day that are over: they expire as one, or not at all.
_MAY_EXPIRE = f"""
coalesce((select max(n.ends_at) from points_expiry_notices n
  where n.member_id = l.member_id and n.expires_on = l.expires_on) <= :now, true)
and ((select sum(o.remaining) from points_lots o where o.member_id = l.member_id
      and o.expires_on = l.expires_on and {_OVER.format(lot="o")}) <= {_TOLD.format(lot="l")}
  or not {_NEEDS_NOTICE.format(lot="l")})
"""
_OVER = _OVER.format(lot="l")

_EXPIRE = text(
    f"""
with given as (
  select * from unnest(cast(:member_ids as uuid[]), cast(:ids as uuid[])) as given (member_id, id)),
over as materialized (
  select given.member_id, oldest.expires_on, (select sum(l.remaining)::bigint from points_lots l
    where l.member_id = given.member_id and l.expires_on = oldest.expires_on and {_OVER}) as amount
  from given cross join lateral (
    select l.expires_on from points_lots l
    where l.member_id = given.member_id and {_OVER} and {_MAY_EXPIRE}
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
# Whom somebody else is writing is passed over before the limit.
_LOCK = text(
    f"""
select w.member_id from points_lots l join wallets w using (member_id)
where l.remaining > 0 and l.expires_at <= :now and l.member_id <> all(:leave) and {_MAY_EXPIRE}
order by l.expires_at limit :limit
for no key update of w skip locked
"""
).bindparams(*_TIMES, bindparam("leave", type_=ARRAY(Uuid)))
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Expired:
    members: frozenset[UUID] = frozenset()
    transfers: int = 0
    points: int = 0
    drifted: frozenset[UUID] = frozenset()
    """Nothing of theirs has expired: their wallets have fewer points than their lots."""

    def __add__(self, other: "Expired") -> "Expired":
        return Expired(
            self.members | other.members,
            self.transfers + other.transfers,
            self.points + other.points,
            self.drifted | other.drifted,
        )


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


class Drifted(Exception):
    """The wallets of some members do not have the points that their lots have."""


async def expire_all(db: Database, *, now: datetime) -> AsyncIterator[Expired]:
    """`expire_due` until nobody is left. Raises Drifted in the end."""
    drifted: set[UUID] = set()
    while (done := await expire_due(db, now=now, leave=drifted)) is not None:
        drifted |= done.drifted
        yield done
    if drifted:
        raise Drifted(f"{len(drifted)} wallets differ from their lots")


async def expire_due(
    db: Database,
    *,
    now: datetime,
    limit: int = MEMBERS_A_BATCH,
    leave: Collection[UUID] = (),
) -> Expired | None:
    """Expire what is over at `now` for some members but `leave`, in one transaction; None when
    there is nobody left. Members that somebody else is writing are left to the next run, so
    that any number of runs may go on at once, and one that is cut short is only repeated.

    `limit` bounds how many lots are looked at to find members.
    """
    async with db.transaction() as session:
        connection = await session.connection()
        parameters = {"now": now, "notice": last_notice(), "limit": limit, "leave": [*leave]}
        found = await connection.execute(_LOCK, parameters)
        member_ids = list(dict.fromkeys(found.scalars()))
        if not member_ids:
            return None
        # A later statement: the one that locks still sees the lots as they were before.
        try:
            async with connection.begin_nested():
                return await expire_locked(connection, member_ids, now=now)
        except IntegrityError:
            return await _one_by_one(connection, member_ids, now=now)


async def _one_by_one(
    connection: AsyncConnection, member_ids: Sequence[UUID], *, now: datetime
) -> Expired:
    """So that nobody waits for the one whose points cannot expire."""
    total = Expired()
    for member_id in member_ids:
        try:
            async with connection.begin_nested():
                total += await expire_locked(connection, [member_id], now=now)
        except IntegrityError:
            _log.error("points_wallet_drifted", member_id=str(member_id))
            total += Expired(drifted=frozenset([member_id]))
    return total


def last_notice() -> timedelta:
    """How long before they expire points must have been announced."""
    return timedelta(days=programme().notice_days[-1])


# In the order of their keys, so that two who announce wait for each other in turn; and only
# what has changed. Lots of one last day whose ends differ, since the member moved, are announced
# as one by the first of them: no two zones are further apart than 26 hours.
_ANNOUNCE = text(
    """
insert into points_expiry_notices as n
  (member_id, expires_on, days_before, amount, revision, announced_at)
select l.member_id, l.expires_on, :days, sum(l.remaining), 0, :now
from points_lots l
where l.remaining > 0
  and l.expires_at > :from - interval '26 hours' and l.expires_at <= :until + interval '26 hours'
group by l.member_id, l.expires_on
having min(l.expires_at) > :from and min(l.expires_at) <= :until and sum(l.remaining) > coalesce(
  (select n.amount from points_expiry_notices n where n.member_id = l.member_id
    and n.expires_on = l.expires_on and n.days_before = :days), 0)
order by 1, 2 limit :limit
on conflict (member_id, expires_on, days_before) do update
  set amount = excluded.amount, revision = n.revision + 1, announced_at = excluded.announced_at
  where excluded.amount > n.amount
"""
).bindparams(*(bindparam(name, type_=_INSTANT) for name in ("now", "from", "until")))
_LATE = text(
    f"""
select l.member_id, l.expires_on, m.time_zone, l.amount
from (
  select l.member_id, l.expires_on, sum(l.remaining)::bigint as amount from points_lots l
  where l.remaining > 0 and l.expires_at < :before + interval '26 hours'
  group by l.member_id, l.expires_on
  having min(l.expires_at) < :before and sum(l.remaining) > {_TOLD.format(lot="l")}) l
join members m using (member_id)
where m.time_zone = any(:zones) and {_NEEDS_NOTICE.format(lot="l")}
order by 1, 2 limit :limit
"""
).bindparams(
    bindparam("before", type_=_INSTANT),
    bindparam("notice", type_=Interval),
    bindparam("zones", type_=ARRAY(Text)),
)
_ANNOUNCE_LATE = text(
    """
insert into points_expiry_notices as n
  (member_id, expires_on, days_before, amount, revision, announced_at, ends_on, ends_at)
select member_id, expires_on, :days, amount, 0, :now, ends_on, ends_at
from unnest(cast(:member_ids as uuid[]), cast(:expires_on as date[]), cast(:amounts as bigint[]),
    cast(:ends_on as date[]), cast(:ends_at as timestamptz[]))
  as late (member_id, expires_on, amount, ends_on, ends_at)
on conflict (member_id, expires_on, days_before) do update
  set amount = excluded.amount, revision = n.revision + 1, announced_at = excluded.announced_at,
    ends_on = excluded.ends_on, ends_at = excluded.ends_at
  where excluded.amount > n.amount
"""
).bindparams(bindparam("now", type_=_INSTANT))


async def announce(db: Database, *, now: datetime, limit: int = ANNOUNCED_A_BATCH) -> int:
    """Note what expires within so many days as the programme says, each once; how much was
    noted. When more comes to expire on an announced day (a redemption was cancelled), the
    new sum is noted again; when less does, because it was spent, nobody needs to know.

    What should have been noted before is noted first, with a later last day. `limit` bounds
    how much is done in one transaction.
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
            "limit": limit,
        }
        while True:
            async with db.write() as connection:
                done = (await connection.execute(_ANNOUNCE, window)).rowcount
            if not done:
                break
            noted += done
    return noted


async def _announce_late(db: Database, *, now: datetime, limit: int) -> int:
    """How many there were; 0 when nothing is left to do, or somebody else does it."""
    notice = last_notice()
    parameters = {
        "before": now + notice - LATE_AFTER,
        "notice": notice,
        "zones": sorted(civil_time.zone_names()),
        "limit": limit,
    }
    async with db.transaction() as session:
        connection = await session.connection()
        found = (await connection.execute(_LATE, parameters)).all()
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
        return (await connection.execute(_ANNOUNCE_LATE, rows)).rowcount


def last_day(day: str) -> str:
    """SQL: until when the points of a transfer `t` can be spent whose last day was `day`; that
    is later when nobody announced it in time."""
    return f"""coalesce((select max(n.ends_on) from points_expiry_notices n
      where n.member_id = t.member_id and n.expires_on = {day}), {day})"""


NEXT_EXPIRY = """
select array[sum(l.remaining)::bigint,
  (coalesce(late.ends_on, l.expires_on) - date '0001-01-01' + 1)::bigint]
from points_lots l left join lateral (
  select max(n.ends_on) as ends_on, max(n.ends_at) as ends_at from points_expiry_notices n
  where n.member_id = l.member_id and n.expires_on = l.expires_on) late on true
where l.member_id = members.member_id and l.remaining > 0
  and greatest(l.expires_at, late.ends_at) > :now
  and l.expires_on <= coalesce((select o.expires_on from points_lots o
    where o.member_id = members.member_id and o.remaining > 0 and o.expires_at > :now
      and not exists (select from points_expiry_notices n where n.member_id = o.member_id
        and n.expires_on = o.expires_on and n.ends_on is not null)
    order by o.expires_on limit 1), 'infinity')
group by coalesce(late.ends_on, l.expires_on) order by coalesce(late.ends_on, l.expires_on) limit 1
"""
"""Of a row of `members`: how much expires next, and its last day, as Python counts days. No lot
later than the first one that is not late can be it."""
