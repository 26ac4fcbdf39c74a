"""One member's ledger under its lock: look, then post moves, written by one statement.

Everything that moves points comes through here, except the two set-based ways, whose lots are
new or emptied: an earning (`earning.py`) and the expiry of whole days (`expiry.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Uuid
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.ids import new_id
from app.points import expiry, rules
from app.points.book import Allocation, Book, Hold, Lot
from app.points.earning import WALLET_COLUMNS, Rule, WalletState
from app.points.moves import Moment, Move, Posted
from app.points.programme import programme
from app.points.rules import Expiry, HoldState, Transfer

_LOCK = text(
    f"""select {", ".join(f"w.{name}" for name in WALLET_COLUMNS.split(", "))}, m.time_zone
          from wallets w join members m using (member_id)
         where w.member_id = :member_id for no key update of w"""
)
_FIELDS = ", ".join(Transfer._fields)
_OF_ID = text(f"select {_FIELDS} from points_transfers where member_id = :member_id and id = :id")
_OF_KEYS = text(
    f"""select {_FIELDS} from points_transfers
         where member_id = :member_id and cause_key = any(cast(:keys as text[])) order by seq"""
)
_CORRECTIONS = text(
    f"""select {_FIELDS} from points_transfers
         where member_id = :member_id and corrects = :id order by seq"""
)
_LOT_FIELDS = (
    "id", "origin_id", "earned_seq", "is_grace", "expires_on", "expires_at", "amount",
    "remaining", "pending", "held", "used", "expired", "reversed",
)  # fmt: skip
_ORIGIN = "coalesce(l.origin_id, l.id)"
_LOT = ", ".join(f"l.{name}" for name in _LOT_FIELDS).replace("l.origin_id", _ORIGIN)
_OLDEST = text(
    f"""select {_LOT} from (
          select *, sum(remaining) over (order by expires_on, earned_seq) - remaining as before
            from points_lots where member_id = :member_id and remaining > 0) l
         where l.before < :amount order by l.expires_on, l.earned_seq"""
)
_OF_ORIGIN = text(
    f"select {_LOT} from points_lots l where l.member_id = :member_id and {_ORIGIN} = :id"
)
_HOLD_FIELDS = (
    "id", "amount", "expires_at", "created_at", "state", "captured", "released", "capture_id",
    "resolved_at",
)  # fmt: skip
_HOLD = text(
    f"select {', '.join(_HOLD_FIELDS)} from points_holds where member_id = :member_id and id = :id"
)
_HOLD_LOTS = text(
    f"""select a.amount, a.captured, a.released, a.returned, {_LOT}, late.ends_on, late.ends_at
          from points_hold_lots a
          join points_lots l on l.member_id = a.member_id and l.id = a.lot_id
          left join lateral (
            select n.ends_on, n.ends_at from points_expiry_notices n
             where n.member_id = l.member_id and n.expires_on = l.expires_on
               and n.ends_at is not null order by n.ends_at desc limit 1) late on true
         where a.member_id = :member_id and a.hold_id = :id
         order by l.expires_on, l.earned_seq"""
)


@dataclass
class Ledger:
    """What is known of one member's ledger. Nobody else writes it until the transaction ends."""

    connection: AsyncConnection
    moment: Moment
    wallet: WalletState
    book: Book = field(default_factory=Book)
    late: dict[date, Expiry] = field(default_factory=dict)
    """The later ends that were announced of the lots of the holds that are known."""
    _transfers: list[Transfer] = field(default_factory=list)
    _hashes: list[bytes] = field(default_factory=list)

    @classmethod
    async def lock(cls, session: AsyncSession, member_id: UUID, now: datetime) -> Self:
        """The member has a wallet."""
        connection = await session.connection()
        row = (await connection.execute(_LOCK, {"member_id": member_id})).one()
        zone = civil_time.zone(row.time_zone)
        local_date = civil_time.local_date(now, zone)
        moment = Moment(now, local_date, zone, programme().grace_days, programme().notice_days[-1])
        return cls(connection, moment, WalletState.of(member_id, row[:-1]))

    @property
    def owed(self) -> int:
        return self.wallet.balances.owed

    async def expire(self) -> None:
        """Have what is over by now expire, as the clock would: nobody spends it any more."""
        member_id = self.wallet.member_id
        done = await expiry.expire_locked(self.connection, [member_id], now=self.moment.now)
        if done.transfers:
            row = (await self.connection.execute(_LOCK, {"member_id": member_id})).one()
            self.wallet = WalletState.of(member_id, row[:-1])

    # Look

    async def find(self, id: UUID) -> Transfer | None:
        row = (await self._rows(_OF_ID, id=id)).one_or_none()
        return Transfer(*row) if row is not None else None

    async def of_keys(self, *keys: str) -> list[Transfer]:
        return [Transfer(*row) for row in await self._rows(_OF_KEYS, keys=list(keys))]

    async def corrections(self, id: UUID) -> list[Transfer]:
        """Whatever refers to this transfer, the oldest first."""
        return [Transfer(*row) for row in await self._rows(_CORRECTIONS, id=id)]

    async def know_oldest(self, amount: int) -> None:
        """The lots from which `amount` would be taken, as far as there are any."""
        self.book.add([_lot(row) for row in await self._rows(_OLDEST, amount=amount)])

    async def know_lots_of(self, earning_id: UUID) -> None:
        self.book.add([_lot(row) for row in await self._rows(_OF_ORIGIN, id=earning_id)])

    async def know_hold(self, hold_id: UUID) -> Hold | None:
        row = (await self._rows(_HOLD, id=hold_id)).one_or_none()
        if row is None:
            return None
        hold = Hold(**row._mapping)
        hold.state = HoldState(hold.state)
        for part in await self._rows(_HOLD_LOTS, id=hold_id):
            lot = _lot(part[4:-2])
            self.book.add([lot])
            if part.ends_on is not None:
                self.late[lot.expires_on] = Expiry(part.ends_on, part.ends_at)
            hold.allocations.append(Allocation(lot.id, *part[:4]))
        self.book.add(holds=[hold])
        return hold

    def posted(self, earning_id: UUID, group: Iterable[Transfer]) -> Posted:
        """Of an earning whose lots are known, and whose transfers are `group`."""
        issued = taken = 0
        for transfer in group:
            issued += transfer.amount * (transfer.debit == rules.Account.ISSUED)
            taken += transfer.amount * (transfer.credit == rules.Account.REVERSED)
        expired = sum(lot.expired for lot in self.book.of_origin(earning_id))
        return Posted(issued, taken, expired)

    async def _rows(self, statement: Any, **parameters: Any) -> Any:
        parameters["member_id"] = self.wallet.member_id
        return await self.connection.execute(statement, parameters)

    # Post

    def post(
        self,
        moves: Iterable[Move],
        *,
        key: str,
        cause: tuple[str, UUID] | None = None,
        rule: Rule | None = None,
        corrects: UUID | None = None,
        local_date: date | None = None,
        id: UUID | None = None,
        lasts_until: datetime | None = None,
    ) -> tuple[Transfer, ...]:
        """Follow `moves`, each as the transfer `key`, `key/2`, ...; to be written by `write`.

        `id` is that of the first one; `lasts_until` is a hold's end.
        """
        posted: list[Transfer] = []
        # Decided as a whole before the first one changes what they were decided on.
        for move in list(moves):
            balances = rules.apply(self.wallet.balances, move.route, move.amount)
            transfer = Transfer(
                chain_version=rules.CHAIN_VERSION,
                member_id=self.wallet.member_id,
                seq=self.wallet.seq + 1,
                id=id if id is not None and not posted else new_id(self.moment.now),
                kind=move.kind,
                debit=move.route.debit,
                credit=move.route.credit,
                amount=move.amount,
                balance_after=balances.shown,
                cause_kind=cause[0] if cause else None,
                cause_id=cause[1] if cause else None,
                cause_key=f"{key}/{len(posted) + 1}" if posted else key,
                rule_version=rule.version if rule else None,
                rule_code=rule.code if rule else None,
                corrects=corrects,
                local_date=local_date or self.moment.local_date,
                posted_at=self.moment.now,
                expires_on=move.expires.on if move.expires else None,
            )
            head = rules.transfer_hash(self.wallet.head, transfer)
            self.book.follow(transfer, lasts_until=move.expires.at if move.expires else lasts_until)
            self.wallet = self.wallet._replace(balances=balances, seq=transfer.seq, head=head)
            posted.append(transfer)
            self._hashes.append(head)
        self._transfers += posted
        return tuple(posted)

    async def write(self) -> None:
        """All that was posted."""
        if not self._transfers:
            return
        wallet, book = self.wallet, self.book
        lots = [book.lots[id] for id in book.changed_lots]
        holds = [book.holds[id] for id in book.changed_holds]
        parts = [(hold.id, part) for hold in holds for part in hold.allocations]
        parameters: dict[str, Any] = {
            "member_id": wallet.member_id,
            "version": wallet.version,
            "seq": wallet.seq,
            "head": wallet.head,
            **wallet.balances._asdict(),
            **_columns("transfer", Transfer._fields, self._transfers),
            "transfer_hash": self._hashes,
            **_columns("lot", _LOT_FIELDS, lots),
            **_columns("hold", _HOLD_FIELDS, holds),
            "part_hold_id": [hold_id for hold_id, _ in parts],
            **_columns("part", _PART_FIELDS, [part for _, part in parts]),
        }
        written = (await self.connection.execute(_WRITE, parameters)).scalar_one()
        assert written == 1, "a locked wallet was written by somebody else"
        self.wallet = wallet._replace(version=wallet.version + 1)
        self._transfers.clear()
        self._hashes.clear()
        book.changed_lots.clear()
        book.changed_holds.clear()


def _lot(row: Sequence[Any]) -> Lot:
    return Lot(*row)


def _columns(prefix: str, names: Sequence[str], rows: Sequence[Any]) -> dict[str, list[Any]]:
    return {f"{prefix}_{name}": [getattr(row, name) for row in rows] for name in names}


# Write

_PART_FIELDS = ("lot_id", "amount", "captured", "released", "returned")
_SQL_TYPES = {
    **dict.fromkeys(("id", "origin_id", "cause_id", "rule_version", "corrects"), "uuid"),
    **dict.fromkeys(("capture_id", "lot_id", "hold_id"), "uuid"),
    **dict.fromkeys(("kind", "debit", "credit", "cause_kind", "cause_key", "rule_code"), "text"),
    **dict.fromkeys(("expires_on", "local_date"), "date"),
    **dict.fromkeys(("posted_at", "expires_at", "created_at", "resolved_at"), "timestamptz"),
    "state": "text",
    "is_grace": "boolean",
    "chain_version": "integer",
    "hash": "bytea",
}


def _rows_sql(prefix: str, names: Sequence[str]) -> str:
    """`names` of the written wallet's member, and of each row that the parameters hold."""
    arrays = ", ".join(
        f"cast(:{prefix}_{name} as {_SQL_TYPES.get(name, 'bigint')}[])" for name in names
    )
    columns = ", ".join(f"new.{name}" for name in names)
    listed = ", ".join(names)
    return (
        f"(member_id, {listed}) select w.member_id, {columns}"
        f" from wallet w, unnest({arrays}) as new ({listed})"
    )


def _changed(names: Sequence[str]) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in names)


_TRANSFER_FIELDS = (*(name for name in Transfer._fields if name != "member_id"), "hash")
_WRITE = text(
    f"""
with wallet as (
  update wallets set version = version + 1, seq = cast(:seq as bigint),
    head = cast(:head as bytea),
    {", ".join(f"{name} = cast(:{name} as bigint)" for name in rules.Balances._fields)}
  where member_id = :member_id and version = cast(:version as bigint) returning member_id),
transfers as (
  insert into points_transfers {_rows_sql("transfer", _TRANSFER_FIELDS)}),
lots as (
  insert into points_lots {_rows_sql("lot", _LOT_FIELDS)}
  on conflict (member_id, id) do update set {_changed(_LOT_FIELDS[7:])}),
holds as (
  insert into points_holds {_rows_sql("hold", _HOLD_FIELDS)}
  on conflict (member_id, id) do update set {_changed(_HOLD_FIELDS[4:])}),
parts as (
  insert into points_hold_lots {_rows_sql("part", ("hold_id", *_PART_FIELDS))}
  on conflict (member_id, hold_id, lot_id) do update set {_changed(_PART_FIELDS[2:])})
select count(*) from wallet
"""
).bindparams(bindparam("member_id", type_=Uuid))
