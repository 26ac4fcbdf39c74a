"""Rebuilds every wallet, lot and hold from the transfers and compares them with the rows.

`verify` shows that nobody rewrote the transfers; this shows that what was derived from them is
what they say, point by point. Reads one snapshot, a batch of members at a time.

Nothing tells what a hold's end, a wallet's `version` or its `rooted_seq` should be, nor which
notices were sent: those are taken as they stand. The end of a lot is looked at by `verify`, as
a midnight after its day in some zone.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app.db import Database
from app.points import rules
from app.points.book import Book, Hold, Inconsistent, Lot
from app.points.rules import Balances, Transfer

MEMBERS_A_BATCH = 100

_WALLETS = f"""
select member_id, {", ".join(Balances._fields)}, seq from wallets order by member_id
"""
_TRANSFERS = f"""
select {", ".join(Transfer._fields)} from points_transfers
where member_id = any($1::uuid[]) order by member_id, seq
"""
_LOT = (
    "id", "origin_id", "earned_seq", "is_grace", "expires_on", "expires_at", "amount",
    "remaining", "pending", "held", "used", "expired", "reversed",
)  # fmt: skip
_LOTS = f"""
select member_id, {", ".join(_LOT)} from points_lots where member_id = any($1::uuid[])
""".replace("origin_id", "coalesce(origin_id, id)")
_HOLD = (
    "id", "amount", "expires_at", "created_at", "state", "captured", "released", "capture_id",
    "resolved_at",
)  # fmt: skip
_HOLDS = f"select member_id, {', '.join(_HOLD)} from points_holds where member_id = any($1::uuid[])"
_PART = ("lot_id", "amount", "captured", "released", "returned")
_PARTS = f"""
select member_id, hold_id, {", ".join(_PART)} from points_hold_lots
where member_id = any($1::uuid[])
"""
# What was announced is of its own moment, so only what can never have been is found.
_NOTICES = """
select n.member_id, n.expires_on from points_expiry_notices n
where n.member_id = any($1::uuid[]) and n.amount > coalesce((select sum(l.amount)
  from points_lots l where l.member_id = n.member_id and l.expires_on = n.expires_on), 0)
order by n.expires_on desc
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not what the transfers say."""

    member_id: UUID
    what: str

    def __str__(self) -> str:
        return f"member {self.member_id}: {self.what}"


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """How far it is; the last one says how it ended."""

    members_total: int
    members: int = 0
    transfers: int = 0
    differences: int = 0
    first: tuple[Difference, ...] = ()
    """At most SHOWN of them."""
    done: bool = False


SHOWN = 20


async def reconcile(db: Database) -> AsyncGenerator[ReconcileReport, None]:
    """Reports of progress, then one that is `done`. It goes on after a difference: one per
    member is named."""
    async with db.read() as outer:
        connection: Any = (await outer.get_raw_connection()).driver_connection
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            total = await connection.fetchval("select count(*) from wallets")
            report = ReconcileReport(members_total=total)
            yield report
            wallets = await connection.cursor(_WALLETS)
            while batch := await wallets.fetch(MEMBERS_A_BATCH):
                found, transfers = await _compare(connection, batch)
                report = replace(
                    report,
                    members=report.members + len(batch),
                    transfers=report.transfers + transfers,
                    differences=report.differences + len(found),
                    first=(*report.first, *found)[:SHOWN],
                )
                yield report
            yield replace(report, done=True)


async def _compare(connection: Any, wallets: Sequence[Any]) -> tuple[list[Difference], int]:
    member_ids = [wallet["member_id"] for wallet in wallets]
    stored = {member_id: _Rows({}, {}, {}) for member_id in member_ids}
    for row in await connection.fetch(_LOTS, member_ids):
        stored[row[0]].lots[row[1]] = tuple(row)[1:]
    for row in await connection.fetch(_HOLDS, member_ids):
        stored[row[0]].holds[row[1]] = tuple(row)[1:]
    for row in await connection.fetch(_PARTS, member_ids):
        stored[row[0]].parts[row[1], row[2]] = tuple(row)[2:]
    transfers: dict[UUID, list[Transfer]] = {member_id: [] for member_id in member_ids}
    rows = await connection.fetch(_TRANSFERS, member_ids)
    for row in rows:
        transfers[row[1]].append(Transfer._make(row))
    invented = dict(await connection.fetch(_NOTICES, member_ids))
    differences = []
    for wallet in wallets:
        member_id = wallet["member_id"]
        what = difference(wallet, transfers[member_id], stored[member_id])
        if what is None and member_id in invented:
            what = f"notice for {invented[member_id]}: more than was ever to expire then"
        if what is not None:
            differences.append(Difference(member_id, what))
    return differences, len(rows)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Those of one member, by their keys."""

    lots: dict[UUID, tuple[Any, ...]]
    holds: dict[UUID, tuple[Any, ...]]
    parts: dict[tuple[UUID, UUID], tuple[Any, ...]]


def difference(wallet: Any, transfers: Sequence[Transfer], stored: _Rows) -> str | None:
    """The first thing in which a member's rows differ from the transfers; None if nothing."""
    book = Book()
    balances = Balances()
    for transfer in transfers:
        route = rules.Route(transfer.debit, transfer.credit)
        # An instant that no transfer holds: taken from the row, and compared by `verify`.
        lot, hold = stored.lots.get(transfer.id), stored.holds.get(transfer.id)
        ends = lot[_LOT.index("expires_at")] if lot else hold[2] if hold else None
        try:
            balances = rules.apply(balances, route, transfer.amount)
            book.follow(transfer, lasts_until=ends)
        except Inconsistent as wrong:
            return f"transfer {transfer.seq}: {wrong}"
        except AssertionError:
            return f"transfer {transfer.seq}: it overdraws the wallet"
    for name, balance in balances._asdict().items():
        if wallet[name] != balance:
            return f"the wallet's {name} is {wallet[name]}, by its transfers {balance}"
    holds = {hold.id: hold for hold in book.holds.values()}
    parts = {
        (hold.id, part.lot_id): tuple(getattr(part, name) for name in _PART)
        for hold in holds.values()
        for part in hold.allocations
    }
    return (
        _first("lot", {id: _values(lot, _LOT) for id, lot in book.lots.items()}, stored.lots, _LOT)
        or _first("hold", {id: _values(it, _HOLD) for id, it in holds.items()}, stored.holds, _HOLD)
        or _first("part of hold", parts, stored.parts, _PART)
    )


def _values(row: Lot | Hold, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in names)


def _first(
    what: str,
    rebuilt: Mapping[Any, tuple[Any, ...]],
    stored: Mapping[Any, tuple[Any, ...]],
    names: Sequence[str],
) -> str | None:
    for key, row in stored.items():
        if key not in rebuilt:
            return f"{what} {_shown(key)} follows from no transfer"
        for name, now, then in zip(names, row, rebuilt[key], strict=True):
            if now != then:
                return f"{what} {_shown(key)}: {name} is {now}, by the transfers {then}"
    missing = rebuilt.keys() - stored.keys()
    return f"{what} {_shown(min(missing))} is missing" if missing else None


def _shown(key: Any) -> str:
    return " ".join(str(part) for part in key) if isinstance(key, tuple) else str(key)
