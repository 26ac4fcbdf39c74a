"""Recomputes the whole ledger and names the first row that is not as it was written.

Reads one snapshot in member order, a chunk at a time, so the memory does not grow with the
ledger and nobody has to stop earning meanwhile.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from app import civil_time
from app.db import Database
from app.points import roots
from app.points.rules import (
    CHAIN_START,
    CHAIN_VERSION,
    ROUTES,
    Balances,
    Transfer,
    effect,
    transfer_hash,
)
from app.points.tally import Entry, entries, is_tally_of

MEMBERS_A_BATCH = 200
ROWS_A_CHUNK = 2_000
_Connection = Any
"""asyncpg's own: a server-side cursor is four times as fast there."""


@dataclass(frozen=True, slots=True)
class BadRow:
    member_id: UUID | None
    """None when it is not one member's, as a line of the roots' file."""
    seq: int | None
    """Of the transfer; None when it is the wallet, or a line."""
    reason: str

    def __str__(self) -> str:
        of = f"member {self.member_id}: " if self.member_id else ""
        transfer = f"transfer {self.seq}: " if self.seq is not None else ""
        return f"{of}{transfer}{self.reason}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """How far it is; the last one says how it ended."""

    members_total: int
    members: int = 0
    transfers: int = 0
    roots: int = 0
    first_bad: BadRow | None = None
    done: bool = False


class _Bad(Exception):
    def __init__(self, member_id: UUID | None, seq: int | None, reason: str) -> None:
        super().__init__(reason)
        self.row = BadRow(member_id, seq, reason)


async def verify(
    db: Database, *, roots_path: Path | None, since: datetime | None = None
) -> AsyncGenerator[VerifyReport, None]:
    """Reports of progress, then one that is `done`; it stops at the first bad row.

    `since` leaves out members whose newest transfer is older, and roots begun before it.
    Without `roots_path` a history that was rewritten as a whole, or cut at its end, with its
    wallet, passes.
    """
    # Measured before the snapshot begins: what the file says by now is in the snapshot.
    roots_end = await asyncio.to_thread(_size, roots_path) if roots_path else 0
    async with db.read() as outer:
        connection: _Connection = (await outer.get_raw_connection()).driver_connection
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            total = await connection.fetchval(f"select count(*) from ({_WALLETS}) as w", since)
            report = VerifyReport(members_total=total)
            yield report
            try:
                # Closed before the transaction, also by a caller who stops half-way.
                async with aclosing(_members(connection, report, since)) as steps:
                    async for step in steps:
                        yield (report := step)
                await _require_wallets(connection)
                if roots_path is not None:
                    lines = _lines(roots_path, roots_end)
                    async for step in _roots(connection, report, roots_path.name, lines, since):
                        yield (report := step)
                    if report.roots == 0:
                        await _require_roots(connection, roots_path.name)
            except _Bad as bad:
                report = replace(report, first_bad=bad.row)
            yield replace(report, done=True)


# Members: chains, balances, lots

_WALLETS = f"""
select w.member_id, {", ".join(f"w.{name}" for name in Balances._fields)}, w.seq, w.head,
  w.tally, w.tally_seq
from wallets w where $1::timestamptz is null or coalesce((select t.posted_at >= $1
  from points_transfers t where t.member_id = w.member_id and t.seq = w.seq), true)
"""
_TRANSFERS = f"""
select {", ".join(Transfer._fields)}, hash from points_transfers
where member_id = any($1::uuid[]) order by member_id, seq
"""
_LOT_SUMS = """
select l.member_id, sum(l.pending)::bigint, sum(l.remaining)::bigint, sum(l.held)::bigint,
  coalesce((select sum(h.amount) from points_holds h where h.member_id = l.member_id
    and h.state = 'HELD'), 0)::bigint
from points_lots l where l.member_id = any($1::uuid[]) group by l.member_id
"""
_OFFSET_YEARS = range(2000, 2038)


@cache
def _midnights() -> list[int]:
    """Where the midnight of some zone that exists lies, in seconds after UTC's."""
    zones = [civil_time.zone(name) for name in civil_time.zone_names()]
    days = [datetime(year, month, 1, tzinfo=UTC) for year in _OFFSET_YEARS for month in (1, 7)]
    offsets = {zone.utcoffset(day) for zone in zones for day in days}
    return sorted(-int(offset.total_seconds()) for offset in offsets if offset is not None)


_BAD_LOTS = """
select distinct on (member_id) * from (
  select coalesce(t.member_id, l.member_id) as member_id, coalesce(t.seq, l.earned_seq) as seq,
    case when l.id is null then 'its lot is missing'
      when t.id is null then 'there is a lot, and no such earning'
      when (l.earned_seq, l.expires_on, l.amount) <> (t.seq, t.expires_on, t.amount)
        then 'its lot has another number, day or amount'
      when extract(epoch from l.expires_at - timezone('UTC', (l.expires_on + 1)::timestamp))
        <> all($2::numeric[])
        then 'its lot does not end with its last day'
      when least(l.remaining, l.pending, l.held) < 0 or l.remaining + l.pending + l.held > l.amount
        then 'its lot has more left than was earned'
      when l.remaining + l.pending + l.held + l.used + l.expired + l.reversed <> l.amount
        then 'its lot does not say what became of all its points' end as reason
  from (select member_id, id, seq, amount, expires_on from points_transfers
    where member_id = any($1::uuid[]) and expires_on is not null) t
  full join (select * from points_lots where member_id = any($1::uuid[])) l
    on l.member_id = t.member_id and l.id = t.id) as checked
where reason is not null order by member_id, seq
"""


async def _members(
    connection: _Connection, report: VerifyReport, since: datetime | None
) -> AsyncGenerator[VerifyReport, None]:
    """Raises _Bad."""
    wallets = await connection.cursor(f"{_WALLETS} order by w.member_id", since)
    midnights = await asyncio.to_thread(_midnights)
    while batch := await wallets.fetch(MEMBERS_A_BATCH):
        member_ids = [wallet["member_id"] for wallet in batch]
        sums = {row[0]: row[1:] for row in await connection.fetch(_LOT_SUMS, member_ids)}
        bad = {row[0]: row[1:] for row in await connection.fetch(_BAD_LOTS, member_ids, midnights)}
        walks = (_Walk(wallet, sums, bad) for wallet in batch)
        walk = next(walks)
        transfers = await connection.cursor(_TRANSFERS, member_ids)
        async with aclosing(_ahead(transfers)) as chunks:
            async for chunk in chunks:
                for row in chunk:
                    # Both are in member order.
                    while row[1] != walk.member_id:
                        walk.finish()
                        walk = next(walks)
                    walk.follow(Transfer._make(row[:-1]), row[-1])
                report = replace(report, transfers=report.transfers + len(chunk))
                yield report
        walk.finish()
        for walk in walks:
            walk.finish()
        report = replace(report, members=report.members + len(batch))
        yield report


async def _ahead(cursor: Any) -> AsyncGenerator[list[Any], None]:
    """The cursor's chunks; the server prepares the next one while this one is looked at."""
    pending = asyncio.create_task(cursor.fetch(ROWS_A_CHUNK))
    try:
        while chunk := await pending:
            pending = asyncio.create_task(cursor.fetch(ROWS_A_CHUNK))
            # Lets it be sent before the looking begins.
            await asyncio.sleep(0)
            yield chunk
    finally:
        await pending


_EFFECTS: dict[tuple[str, str, str], Balances] = {
    (kind, *route): effect(route) for kind, routes in ROUTES.items() for route in routes
}


class _Walk:
    """One member's transfers, oldest first, against the wallet and the lots."""

    def __init__(
        self,
        wallet: Any,
        lot_sums: Mapping[UUID, Sequence[int]],
        bad_lots: Mapping[UUID, tuple[int, str]],
    ) -> None:
        """`lot_sums` are pending, available, held, and what the holds under way add up to;
        `bad_lots` the first bad one of each."""
        self.member_id: UUID = wallet["member_id"]
        self._wallet = wallet
        self._lot_sums = tuple(lot_sums.get(self.member_id, (0, 0, 0, 0)))
        self._bad_lot = bad_lots.get(self.member_id)
        self._head = CHAIN_START
        self._seq = 0
        self._balances: Sequence[int] = Balances()
        self._tallied: list[Entry] = []

    def follow(self, transfer: Transfer, stored_hash: bytes) -> None:
        """Raises _Bad."""
        seq, amount = transfer.seq, transfer.amount
        if seq != self._seq + 1:
            raise self._bad(self._seq + 1, "it is missing")
        self._seq = seq
        if seq > self._wallet["seq"]:
            raise self._bad(seq, f"the wallet ends with transfer {self._wallet['seq']}")
        if transfer.chain_version != CHAIN_VERSION:
            raise self._bad(seq, f"its chain version {transfer.chain_version} is unknown")
        self._head = transfer_hash(self._head, transfer)
        if self._head != stored_hash:
            raise self._bad(seq, "its hash does not follow from its content and its predecessor")
        signs = _EFFECTS.get((transfer.kind, transfer.debit, transfer.credit))
        if signs is None or amount <= 0:
            raise self._bad(seq, "it moves points in a way that is not allowed")
        before = self._balances
        # Written out: a loop over seven would take a third of the whole run.
        self._balances = pending, available, held, owed, _, _, _ = (
            before[0] + amount * signs[0],
            before[1] + amount * signs[1],
            before[2] + amount * signs[2],
            before[3] + amount * signs[3],
            before[4] + amount * signs[4],
            before[5] + amount * signs[5],
            before[6] + amount * signs[6],
        )
        if pending < 0 or available < 0 or held < 0 or owed < 0:
            raise self._bad(seq, "it overdraws the wallet")
        if transfer.balance_after != pending + available:
            raise self._bad(seq, "its balance does not follow from the transfers")
        if seq <= self._wallet["tally_seq"]:
            self._tallied += entries(transfer)

    def finish(self) -> None:
        """Raises _Bad."""
        wallet = self._wallet
        if wallet["seq"] != self._seq:
            raise self._bad(self._seq + 1, "it is missing")
        if wallet["head"] != self._head:
            raise self._bad(None, "the wallet's head is not the hash of its newest transfer")
        computed = Balances._make(self._balances)
        for name, balance in computed._asdict().items():
            if wallet[name] != balance:
                raise self._bad(None, f"the wallet's {name} differs from its transfers")
        if wallet["tally_seq"] > self._seq or not is_tally_of(self._tallied, wallet["tally"]):
            raise self._bad(None, "the wallet's tally differs from its transfers")
        if self._bad_lot is not None:
            raise self._bad(*self._bad_lot)
        if self._lot_sums[:3] != computed[:3]:
            raise self._bad(None, "the lots do not add up to the wallet")
        if self._lot_sums[3] != computed.held:
            raise self._bad(None, "the holds do not add up to the wallet")

    def _bad(self, seq: int | None, reason: str) -> _Bad:
        return _Bad(self.member_id, seq, reason)


_ORPHANS = """
select t.member_id, t.seq from points_transfers t
where not exists (select from wallets w where w.member_id = t.member_id)
order by t.member_id, t.seq limit 1
"""


async def _require_wallets(connection: _Connection) -> None:
    """Raises _Bad for a transfer whose wallet is gone."""
    for member_id, seq in await connection.fetch(_ORPHANS):
        raise _Bad(member_id, seq, "its wallet is missing")


# Roots

_CONTRADICTED = """
select said.member_id, said.seq, t.hash is null as missing
from unnest($1::uuid[], $2::bigint[], $3::bytea[]) with ordinality
  as said (member_id, seq, head, place)
left join points_transfers t on t.member_id = said.member_id and t.seq = said.seq
where t.hash is distinct from said.head order by said.place limit 1
"""
_FIRST_MISSING = """
select coalesce(max(seq), 0) + 1 from points_transfers where member_id = $1
"""


async def _roots(
    connection: _Connection,
    report: VerifyReport,
    file_name: str,
    lines: Iterator[bytes],
    since: datetime | None,
) -> AsyncIterator[VerifyReport]:
    """Raises _Bad."""
    reader = _RootsReader(since)
    while chunk := await asyncio.to_thread(list, islice(lines, ROWS_A_CHUNK)):
        said = reader.read(chunk)
        columns = [list(column) for column in zip(*said, strict=True)] or [[], [], []]
        for member_id, seq, missing in await connection.fetch(_CONTRADICTED, *columns):
            if missing:
                seq = min(seq, await connection.fetchval(_FIRST_MISSING, member_id))
            found = "it is missing" if missing else "its hash is another one"
            raise _Bad(member_id, seq, f"{found}, says a root")
        if reader.bad_line is not None:
            number, reason = reader.bad_line
            raise _Bad(None, None, f"line {number} of {file_name}: {reason}")
        report = replace(report, roots=reader.roots)
        yield report


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _lines(path: Path, end: int) -> Iterator[bytes]:
    """The lines of the first `end` bytes; a half one may be the last."""
    if end == 0:
        return
    with path.open("rb") as file:
        for line in file:
            end -= len(line)
            if end < 0:
                return
            yield line


class _RootsReader:
    """Recomputes each root from the lines above it."""

    def __init__(self, since: datetime | None) -> None:
        self.roots = 0
        self.bad_line: tuple[int, str] | None = None
        self._since = since
        self._skip = since is not None
        self._number = 0
        self._previous = ""
        self._tree = roots.MerkleTree()
        self._cut_off: int | None = None

    def read(self, lines: Iterable[bytes]) -> list[tuple[UUID, int, bytes]]:
        """What is said about wallets, until a line that is bad."""
        said: list[tuple[UUID, int, bytes]] = []
        for line in lines:
            self._number += 1
            found = roots.read_line(line)
            if self._cut_off is not None and not isinstance(found, roots.Begin):
                self.bad_line = (self._cut_off, "it cannot be read")
                return said
            self._cut_off = None
            if isinstance(found, roots.Begin):
                self._tree = roots.MerkleTree()
                self._skip = self._since is not None and found.at < self._since
            elif isinstance(found, roots.Witness):
                self._tree.add(found.leaf())
                if not self._skip:
                    said.append((found.member_id, found.seq, found.head))
            elif found is None:
                # The end of a writer that was killed, if a new beginning follows.
                self._cut_off = self._number
            elif not self._follows(found):
                self.bad_line = (self._number, "the root does not follow from the lines above")
                return said
        return said

    def _follows(self, found: roots.Root) -> bool:
        tree, self._tree = self._tree, roots.MerkleTree()
        same = tree.leaves == found.members > 0 and tree.root().hex() == found.root
        same = same and found.previous == self._previous
        self._previous = found.root
        self.roots += 1
        return same


async def _require_roots(connection: _Connection, file_name: str) -> None:
    """Raises _Bad when the database knows of roots and the file has none."""
    if await connection.fetchval("select exists (select from wallets where rooted_seq > 0)"):
        raise _Bad(None, None, f"roots were written, and {file_name} has none")
