"""Copies of members inside the database: each with a history of their own that is as sound as
the one it was copied from, ids made anew and every transfer chained again.

Foreign keys are not checked meanwhile: what is copied was checked when it was loaded.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg

from app.demo.bulk import BulkMember

COPIES_A_BATCH = 10
_SHARED = frozenset({"product_version_id", "rule_version"})
"""Ids of what is nobody's."""
_NAMED = {"login", "subject"}

_NEW_ID = """
create or replace function pg_temp.new_id(id uuid, number int) returns uuid
language sql immutable strict parallel safe
return (lpad(to_hex(
  ('x' || left(id::text, 8) || substr(id::text, 10, 4))::bit(48)::bigint + number), 12, '0')
  || substr(id::text, 15))::uuid
"""
_COPIES = """
create temp table copies (number int primary key) on commit drop
"""
_CHAINED = """
with recursive chained as (
  select {row} from (select {values}, n.number as number, t.member_id as original_id,
      ''::bytea as previous
    from originals o cross join copies n
    join points_transfers t on t.member_id = o.member_id and t.seq = 1 offset 0) v
  union all
  select {row} from (select {values}, n.number, t.member_id as original_id, n.hash as previous
    from chained n
    join points_transfers t on t.member_id = n.original_id and t.seq = n.seq + 1 offset 0) v)
insert into points_transfers ({columns}) select {columns} from chained
"""
_HEADS = """
update wallets w set head = t.hash from points_transfers t, originals o, copies n
where t.member_id = w.member_id and t.seq = w.seq
and w.member_id = pg_temp.new_id(o.member_id, n.number)
"""
_TABLES = """
select c.table_name, c.column_name, c.data_type from information_schema.columns c
join information_schema.tables t using (table_schema, table_name)
where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.is_generated = 'NEVER'
and exists (select from information_schema.columns m where m.table_schema = 'public'
  and m.table_name = c.table_name and m.column_name = 'member_id')
order by c.table_name, c.ordinal_position
"""


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str


def new_id(id: UUID, number: int) -> UUID:
    """Of the copy with this number: made so many milliseconds later, so that copies lie one after
    the other as those who join one after the other do. The same that the database computes."""
    return UUID(int=id.int + (number << 80))


def _copied(member: BulkMember, number: int) -> BulkMember:
    ticks: tuple[tuple[UUID, date], ...] = tuple(
        (new_id(assignment_id, number), starts_on) for assignment_id, starts_on in member.ticks
    )
    return BulkMember(new_id(member.member_id, number), f"{member.subject}-{number}", ticks)


async def copy(
    owners: Sequence[asyncpg.Connection],
    originals: Sequence[BulkMember],
    count: int,
    *,
    first: int = 1,
    on_progress: Callable[[int], object] = lambda _count: None,
) -> list[BulkMember]:
    """`count` more members like the originals, in turn; those of the copies `first` and later.
    `owners` are connections of a superuser, which work at the same time. `on_progress` is told how
    many there are so far."""
    tables = await _tables(owners[0], [it.member_id for it in originals])
    left = _parts(len(originals), count, first)
    made: list[BulkMember] = []

    async def work(owner: asyncpg.Connection) -> None:
        await owner.execute(_NEW_ID)
        while left:
            part = left.pop(0)
            chosen = originals[: part.originals]
            await _batch(owner, tables, [it.member_id for it in chosen], part.numbers)
            made.extend(_copied(member, it) for it in part.numbers for member in chosen)
            on_progress(len(made))

    await asyncio.gather(*(work(owner) for owner in owners))
    return made


@dataclass(frozen=True, slots=True)
class _Part:
    """What is written by one transaction: copies with these numbers of the first originals."""

    numbers: range
    originals: int


def _parts(originals: int, count: int, first: int) -> list[_Part]:
    whole, rest = divmod(count, originals)
    end = first + whole
    found = [
        _Part(range(at, min(at + COPIES_A_BATCH, end)), originals)
        for at in range(first, end, COPIES_A_BATCH)
    ]
    return [*found, _Part(range(end, end + 1), rest)] if rest else found


async def _tables(
    owner: asyncpg.Connection, member_ids: Sequence[UUID]
) -> dict[str, list[_Column]]:
    """Those that hold something of the originals."""
    found: dict[str, list[_Column]] = {}
    for table, column, type in await owner.fetch(_TABLES):
        found.setdefault(table, []).append(_Column(column, type))
    return {
        table: columns
        for table, columns in found.items()
        if await owner.fetchval(
            f'select exists (select from "{table}" where member_id = any($1::uuid[]))', member_ids
        )
    }


async def _batch(
    owner: asyncpg.Connection,
    tables: dict[str, list[_Column]],
    member_ids: Sequence[UUID],
    numbers: range,
) -> None:
    async with owner.transaction():
        await owner.execute("set local session_replication_role = replica")
        await owner.execute("set local work_mem = '64MB'")
        await owner.execute(_COPIES)
        await owner.execute(
            "create temp table originals (member_id uuid primary key) on commit drop"
        )
        await owner.copy_records_to_table("copies", records=[(number,) for number in numbers])
        await owner.copy_records_to_table("originals", records=[(id,) for id in member_ids])
        await owner.execute("analyze copies, originals")
        for table, columns in tables.items():
            await owner.execute(
                _chained(columns) if table == "points_transfers" else _plain(table, columns)
            )
        await owner.execute(_HEADS)


def _plain(table: str, columns: Sequence[_Column]) -> str:
    names = ", ".join(f'"{it.name}"' for it in columns)
    values = ", ".join(_value(it) for it in columns)
    return (
        f'insert into "{table}" ({names}) select {values}'
        f' from originals o cross join copies n join "{table}" t on t.member_id = o.member_id'
    )


def _value(column: _Column) -> str:
    name = f't."{column.name}"'
    if column.type == "uuid" and column.name not in _SHARED:
        return f"pg_temp.new_id({name}, n.number)"
    if column.name in _NAMED:
        return f"{name} || '-' || n.number"
    if column.name == "cause_key":
        # Of a check-in it begins with the id of its assignment.
        return (
            f"case when {name} ~ '^[0-9a-f-]{{36}}:' then"
            f" pg_temp.new_id(left({name}, 36)::uuid, n.number) || substr({name}, 37)"
            f" else {name} end"
        )
    return name


def _chained(columns: Sequence[_Column]) -> str:
    """The transfers, each hashed with the one before it."""

    names = [it.name for it in columns]
    hashed = ", ".join(f"v.{name}" for name in _HASHED)
    row = [
        f"wellward_transfer_hash(v.previous, {hashed}) as hash" if name == "hash" else f"v.{name}"
        for name in names
    ]
    return _CHAINED.format(
        columns=", ".join(names),
        row=", ".join([*row, "v.number", "v.original_id"]),
        # Made once each: the hash looks at them several times.
        values=", ".join(f"{_value(it)} as {it.name}" for it in columns if it.name != "hash"),
    )


_HASHED = (
    "chain_version", "member_id", "seq", "id", "kind", "debit", "credit", "amount",
    "balance_after", "cause_kind", "cause_id", "cause_key", "rule_version", "rule_code",
    "corrects", "local_date", "posted_at", "expires_on",
)  # fmt: skip
"""The parameters of the SQL function after the first, in their order."""


async def counts(owner: asyncpg.Connection) -> dict[str, Any]:
    """How much there is of what a benchmark's size is told by."""
    return {
        table: await owner.fetchval(f"select count(*) from {table}")
        for table in ("members", "tasks", "checkins", "points_transfers", "points_lots")
    }
