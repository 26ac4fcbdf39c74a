"""Many members with long histories of earnings, made by the server itself: each round is one
statement that earns once for everybody, chained by the same hash."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg

from app.ids import new_id
from app.points.rules import CHAIN_VERSION

FIRST_DAY = date(2100, 1, 1)
"""Last day of the oldest lots; of each later earning the next day. Far off, so that none of
them is over before the benchmark says so."""
MEMBERS_A_ROUND = 10_000

_MEMBERS = """
insert into members (member_id, display_name, birth_date, sex, time_zone, locale, created_at)
select id, 'bench', date '1980-01-01', 'FEMALE', 'Asia/Shanghai', 'zh-CN', $2
from unnest($1::uuid[]) as id
"""
_WALLETS = """
insert into wallets (member_id, pending, available, held, owed, earned_total, spent, expired,
  version, seq, head, rooted_seq)
select id, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', 0 from unnest($1::uuid[]) as id
"""
_ROUND = f"""
with new as (
  select w.member_id, w.seq + 1 as seq, gen_random_uuid() as id, w.available + 10 as balance,
    gen_random_uuid() as cause_id, 'bench:' || (w.seq + 1) || ':0' as cause_key, w.head
  from wallets w where w.member_id = any($1::uuid[])),
hashed as (
  select new.*, wellward_transfer_hash(head, {CHAIN_VERSION}, member_id, seq, id, 'EARNED',
    'issued', 'available', 10, balance, 'STAFF', cause_id, cause_key, null, 'bench', null,
    $2, $3, $4) as hash
  from new),
written as (
  insert into points_transfers (member_id, seq, id, chain_version, kind, debit, credit, amount,
    balance_after, cause_kind, cause_id, cause_key, rule_code, local_date, posted_at, expires_on,
    hash)
  select member_id, seq, id, {CHAIN_VERSION}, 'EARNED', 'issued', 'available', 10, balance,
    'STAFF', cause_id, cause_key, 'bench', $2, $3, $4, hash from hashed),
lots as (
  insert into points_lots (member_id, id, origin_id, earned_seq, is_grace, expires_on, expires_at,
    amount, remaining, pending, held, used, expired, reversed)
  select member_id, id, id, seq, false, $4, $5, 10, 10, 0, 0, 0, 0, 0 from hashed)
update wallets w set available = balance, earned_total = earned_total + 10, version = version + 1,
  seq = hashed.seq, head = hashed.hash
from hashed where w.member_id = hashed.member_id
"""


def ends_at(day: date, days: int) -> datetime:
    """When the lots of so many days from `day` on are over, in Shanghai."""
    return datetime(day.year, day.month, day.day, 16, tzinfo=UTC) + timedelta(days=days - 1)


async def make_members(owner: asyncpg.Connection, count: int, *, now: datetime) -> list[UUID]:
    members = [new_id(now) for _ in range(count)]
    await owner.execute(_MEMBERS, members, now)
    await owner.execute(_WALLETS, members)
    return members


async def earn(
    owner: asyncpg.Connection, members: Sequence[UUID], times: int, *, now: datetime
) -> None:
    """10 points for each member, so many times."""
    for first in range(0, len(members), MEMBERS_A_ROUND):
        batch = members[first : first + MEMBERS_A_ROUND]
        for number in range(times):
            last = FIRST_DAY + timedelta(days=number)
            await owner.execute(
                _ROUND, batch, now.date(), now, last, ends_at(FIRST_DAY, number + 1)
            )
    await owner.execute("vacuum analyze")
