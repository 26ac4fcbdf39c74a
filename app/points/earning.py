"""How an earning is written: planned by Python, written by one statement.

`plan_earning` decides and `EARNING_CTES` writes, here and in the check-in's own statement, so
nobody else knows how an earning is stored. Whatever else moves points is in `posting.py`.
"""

from collections.abc import Sequence
from datetime import date, datetime
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ids import new_id
from app.points import rules
from app.points.rules import Balances, CauseKind, Expiry, Transfer, TransferKind
from app.points.tally import Entry, Tally, entries, extended


class WalletState(NamedTuple):
    """A wallet as it was read, and so the version from which it may be written."""

    member_id: UUID
    balances: Balances
    version: int
    seq: int
    head: bytes

    @classmethod
    def of(cls, member_id: UUID, row: Sequence[Any]) -> "WalletState":
        """From the values of `WALLET_COLUMNS`."""
        *balances, version, seq, head = row
        return cls(member_id, Balances(*balances), version, seq, head)


WALLET_COLUMNS = ", ".join((*Balances._fields, "version", "seq", "head"))
"""Of the table `wallets`, in the order of `WalletState.of`."""


class Cause(NamedTuple):
    """Why points move. `key` counts once for a member; it ends with the revision."""

    kind: CauseKind
    id: UUID
    key: str


class Rule(NamedTuple):
    """What decided how many: a rule of a product version."""

    version: UUID | None
    code: str


class Earning(NamedTuple):
    """What to write; `parameters` are those of `EARNING_CTES`."""

    wallet: WalletState
    """As it will be."""
    transfers: tuple[Transfer, ...]
    """None when nothing is earned, two when a part pays a debt."""
    hashes: tuple[bytes, ...]
    """Of the transfers."""
    parameters: dict[str, Any]

    def tallied(self, before: Tally | None, later: Sequence[Entry]) -> "Earning":
        """That keeps the wallet's tally as well: of the transfers in `before`, those `later` than
        it, and its own. Who does not know them leaves the tally as it is."""
        own = chain.from_iterable(map(entries, self.transfers))
        kept = _tally(before, (*later, *own), self.wallet)
        return self._replace(parameters=self.parameters | kept)


LATER_MAX = 20
"""Transfers after the tally that are read by each check-in before one that pays nothing adds them."""


def tally_of_unpaid(
    wallet: WalletState, before: Tally | None, later: Sequence[Entry]
) -> dict[str, Any]:
    """The wallet's tally for a statement that pays nothing: as it is while few are `later`."""
    if len(later) <= LATER_MAX:
        return dict(_SAME_TALLY)
    return _tally(before, later, wallet)


def _tally(before: Tally | None, later: Sequence[Entry], wallet: WalletState) -> dict[str, Any]:
    after = extended(before, later)
    assert after is not None
    return {"points_tally": after.written(), "points_tally_seq": wallet.seq}


_SAME_TALLY = {"points_tally": None, "points_tally_seq": None}
TALLY_SQL = """tally = coalesce(cast(:points_tally as text), tally),
    tally_seq = coalesce(cast(:points_tally_seq as bigint), tally_seq)"""
"""Of an update of `wallets`."""
_EACH = {
    "seq": "bigint",
    "id": "uuid",
    "credit": "text",
    "amount": "bigint",
    "balance_after": "bigint",
    "cause_key": "text",
    "expires_on": "date",
    "hash": "bytea",
}
"""What the transfers of an earning do not share. There are two at most; no arrays, because the
driver looks at each element of one several times."""


def _row(place: int) -> str:
    values = (f"cast(:points_{name}_{place} as {kind})" for name, kind in _EACH.items())
    return f"({', '.join(values)})"


EARNING_CTES = f"""
earned_wallet as (
  update wallets set version = version + 1,
    pending = cast(:points_pending as bigint), available = cast(:points_available as bigint),
    owed = cast(:points_owed as bigint), earned_total = cast(:points_earned_total as bigint),
    seq = cast(:points_seq as bigint), head = cast(:points_head as bytea),
    {TALLY_SQL}
  where member_id = cast(:points_member_id as uuid)
    and version = cast(:points_version as bigint)
  returning member_id, pending, available, held, earned_total),
earned_transfers as (
  insert into points_transfers (member_id, seq, id, chain_version, kind, debit, credit, amount,
    balance_after, cause_kind, cause_id, cause_key, rule_version, rule_code, corrects,
    local_date, posted_at, expires_on, hash)
  select wallet.member_id, new.seq, new.id, cast(:points_chain_version as integer),
    cast(:points_kind as text), 'issued', new.credit, new.amount, new.balance_after,
    cast(:points_cause_kind as text), cast(:points_cause_id as uuid), new.cause_key,
    cast(:points_rule_version as uuid), cast(:points_rule_code as text),
    cast(:points_corrects as uuid), cast(:points_local_date as date),
    cast(:now as timestamptz), new.expires_on, new.hash
  from earned_wallet as wallet, (values {_row(1)}, {_row(2)})
    as new ({", ".join(_EACH)}) where new.id is not null
  returning member_id, id, seq, credit, amount, expires_on),
earned_lots as (
  insert into points_lots (member_id, id, origin_id, earned_seq, is_grace, expires_on, expires_at,
    amount, remaining, pending, held, used, expired, reversed)
  select member_id, id, cast(:points_origin_id as uuid), seq, false, expires_on,
    cast(:points_expires_at as timestamptz), amount,
    case when credit = 'available' then amount else 0 end,
    case when credit = 'pending' then amount else 0 end, 0, 0, 0, 0
  from earned_transfers where expires_on is not null)
"""
"""The parts of a `with` that write an earning, with the parameters of `Earning`; of its time too,
`now`: an instant costs the driver more than any other value, so it is sent once.

`earned_wallet` raises the wallet's version, also when nothing is earned. It has one row
(member_id, pending, available, held, earned_total), or none when somebody else was faster:
then nothing is written at all, provided that the other parts of the statement select from it.
Look again and plan anew.
"""

_NAMES = {place: [f"points_{name}_{place}" for name in _EACH] for place in (1, 2)}
_NO_TRANSFERS = dict.fromkeys([*_NAMES[1], *_NAMES[2]])
_WRITE = text(f"with {EARNING_CTES} select count(*) from earned_wallet")
_LOCK = text(f"select {WALLET_COLUMNS} from wallets where member_id = :member_id for no key update")
_OF_CAUSE = text(
    f"""select {", ".join(Transfer._fields)} from points_transfers
         where member_id = :member_id and cause_key = :cause_key"""
)


def plan_earning(
    wallet: WalletState,
    *,
    ids: Sequence[UUID],
    amount: int,
    cause: Cause,
    rule: Rule,
    local_date: date,
    expires: Expiry,
    now: datetime,
    pending: bool = False,
    kind: TransferKind = TransferKind.EARNED,
    corrects: UUID | None = None,
) -> Earning:
    """How `amount` points (>= 0) are written to a wallet that was read.

    `ids` are two new ones; the second is used when the earning pays a debt and leaves a
    rest. `pending` points wait for a decision. Pure: values in, values out.
    """
    assert amount >= 0
    balances, seq, head = wallet.balances, wallet.seq, wallet.head
    transfers: list[Transfer] = []
    hashes: list[bytes] = []
    for part, (route, points) in enumerate(rules.earning(balances, amount, pending=pending)):
        balances = rules.apply(balances, route, points)
        seq += 1
        # The plain key is always there: by it an earning is found again.
        key = f"{cause.key}/{part + 1}" if part else cause.key
        transfer = Transfer(
            rules.CHAIN_VERSION, wallet.member_id, seq, ids[part], kind, route.debit, route.credit,
            points, balances.shown, cause.kind, cause.id, key, rule.version, rule.code, corrects,
            local_date, now, None if route.credit == rules.Account.OWED else expires.on,
        )  # fmt: skip
        head = rules.transfer_hash(head, transfer)
        transfers.append(transfer)
        hashes.append(head)
    after = WalletState(wallet.member_id, balances, wallet.version + 1, seq, head)
    parameters = {
        "points_member_id": wallet.member_id,
        "points_version": wallet.version,
        "points_pending": balances.pending,
        "points_available": balances.available,
        "points_owed": balances.owed,
        "points_earned_total": balances.earned_total,
        "points_seq": seq,
        "points_head": head,
        "points_chain_version": rules.CHAIN_VERSION,
        "points_kind": kind,
        "points_cause_kind": cause.kind,
        "points_cause_id": cause.id,
        "points_rule_version": rule.version,
        "points_rule_code": rule.code,
        "points_corrects": corrects,
        "points_local_date": local_date,
        "now": now,
        "points_origin_id": corrects or ids[0],
        "points_expires_at": expires.at,
        **_SAME_TALLY,
        **_NO_TRANSFERS,
    }
    for place, (it, hash) in enumerate(zip(transfers, hashes, strict=True), 1):
        each = (
            it.seq, it.id, it.credit, it.amount, it.balance_after, it.cause_key, it.expires_on, hash,
        )  # fmt: skip
        parameters |= zip(_NAMES[place], each, strict=True)
    return Earning(after, tuple(transfers), tuple(hashes), parameters)


async def earn(
    session: AsyncSession,
    *,
    member_id: UUID,
    amount: int,
    cause: Cause,
    rule: Rule,
    local_date: date,
    expires: Expiry,
    now: datetime,
    pending: bool = False,
    kind: TransferKind = TransferKind.EARNED,
    corrects: UUID | None = None,
) -> Transfer:
    """Post `amount` points (> 0), once per `cause.key`; a repeat returns the first transfer.

    For jobs and staff; the member has a wallet. It stays locked until the transaction ends.
    """
    assert amount > 0
    connection = await session.connection()
    row = (await connection.execute(_LOCK, {"member_id": member_id})).one()
    # Looked up only once the lock is held: of two identical earnings the second waits above
    # and then finds the first one's transfer here.
    keys = {"member_id": member_id, "cause_key": cause.key}
    done = (await connection.execute(_OF_CAUSE, keys)).one_or_none()
    if done is not None:
        return Transfer(*done)
    earning = plan_earning(
        WalletState.of(member_id, row),
        ids=(new_id(now), new_id(now)),
        amount=amount,
        cause=cause,
        rule=rule,
        local_date=local_date,
        expires=expires,
        now=now,
        pending=pending,
        kind=kind,
        corrects=corrects,
    )
    written = (await connection.execute(_WRITE, earning.parameters)).scalar_one()
    assert written == 1, "a locked wallet was written by somebody else"
    return earning.transfers[0]
