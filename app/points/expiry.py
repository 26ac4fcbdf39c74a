"""Points that expire: announced before, gone when their last day is over.

Set-based: one statement takes the oldest last day of each of many members, all of its points
with one transfer, chained by the database's own hash; it is repeated until nothing is over.
What was announced is what expires: both are the sum of what remains in the lots of one last
day, and that day's end was fixed when the points were given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import DateTime, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import Database
from app.ids import new_id
from app.points.programme import programme
from app.points.rules import CHAIN_VERSION

MEMBERS_A_BATCH = 500
_INSTANT = DateTime(timezone=True)

_EXPIRE = text(
    f"""
with given as (
  select * from unnest(cast(:member_ids as uuid[]), cast(:ids as uuid[])) as given (member_id, id)),
over as (
  select distinct on (l.member_id) l.member_id, l.expires_on,
    sum(l.remaining)::bigint as amount
  from points_lots l join given using (member_id)
  where l.remaining > 0 and l.expires_at <= :now
  group by l.member_id, l.expires_on order by l.member_id, l.expires_on),
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
    and l.remaining > 0 and l.expires_at <= :now)
update wallets w set version = version + 1, available = available - hashed.amount,
  expired = expired + hashed.amount, seq = hashed.seq, head = hashed.hash
from hashed where w.member_id = hashed.member_id
returning w.member_id, hashed.amount
"""
).bindparams(bindparam("now", type_=_INSTANT))
_LOCK = text(
    """
select w.member_id from wallets w where w.member_id in (
  select l.member_id from points_lots l where l.remaining > 0 and l.expires_at <= :now
  order by l.expires_at limit :limit)
for update skip locked
"""
).bindparams(bindparam("now", type_=_INSTANT))


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
        parameters = {"member_ids": left, "ids": [new_id(now) for _ in left], "now": now}
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
        found = await connection.execute(_LOCK, {"now": now, "limit": limit})
        member_ids = list(found.scalars())
        if not member_ids:
            return None
        # A later statement: the one that locks still sees the lots as they were before.
        return await expire_locked(connection, member_ids, now=now)


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


async def announce(db: Database, *, now: datetime) -> int:
    """Note what expires within so many days as the programme says, each once; how much was
    noted. When more comes to expire on an announced day (a redemption was cancelled), the
    new sum is noted again; when less does, because it was spent, nobody needs to know."""
    notices = programme().notice_days
    noted = 0
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
