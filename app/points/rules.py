"""Accounts, what may move between them, how a wallet follows, and the hash chain.

Each transfer takes its amount from one account (`debit`) and gives it to another (`credit`).
`issued` is where points come from; `owed` is what a member's later earnings pay first. So,
over all transfers of a member:

    issued = pending + available + held - owed + redeemed + expired + reversed
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache, lru_cache
from hashlib import sha256
from itertools import product
from struct import Struct
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from app import civil_time


class Account(StrEnum):
    PENDING = "pending"
    """Earned, waiting for a decision."""
    AVAILABLE = "available"
    HELD = "held"
    """Reserved for a redemption under way."""
    OWED = "owed"
    """Taken back after they were spent."""
    ISSUED = "issued"
    REDEEMED = "redeemed"
    EXPIRED = "expired"
    REVERSED = "reversed"


class HoldState(StrEnum):
    HELD = "HELD"
    CAPTURED = "CAPTURED"
    """As a whole or in part; the rest was released."""
    RELEASED = "RELEASED"
    TIMED_OUT = "TIMED_OUT"


class Decision(StrEnum):
    """About an earning."""

    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    REVERSED = "REVERSED"


class TransferKind(StrEnum):
    EARNED = "EARNED"
    REDEEMED = "REDEEMED"
    HELD = "HELD"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    REVERSED = "REVERSED"
    RESTATED = "RESTATED"
    ADJUSTED = "ADJUSTED"


class CauseKind(StrEnum):
    """What a transfer's `cause_id` is the id of."""

    CHECK_IN = "CHECK_IN"
    TASK = "TASK"
    REDEMPTION = "REDEMPTION"
    DAILY_TOTAL = "DAILY_TOTAL"
    TRANSFER = "TRANSFER"
    STAFF = "STAFF"


class Route(NamedTuple):
    debit: str
    credit: str


def _routes(debits: str, credits: str) -> frozenset[Route]:
    pairs = product(debits.split(), credits.split())
    return frozenset(Route(Account(debit), Account(credit)) for debit, credit in pairs)


_GIVEN = _routes("issued", "pending available owed")
_TAKEN_BACK = _routes("pending available held owed", "reversed")

ROUTES: Mapping[TransferKind, frozenset[Route]] = {
    TransferKind.EARNED: _GIVEN,
    # Of a redemption, or an earning that somebody has to look at.
    TransferKind.HELD: _routes("available", "held pending"),
    TransferKind.RELEASED: _routes("held", "available owed") | _routes("pending", "available owed"),
    TransferKind.REDEEMED: _routes("held available", "redeemed"),
    TransferKind.EXPIRED: _routes("pending available held", "expired"),
    # What was taken back, and a redemption that came to nothing.
    TransferKind.REVERSED: _TAKEN_BACK | _routes("redeemed", "available owed"),
    TransferKind.RESTATED: _GIVEN | _TAKEN_BACK,
    TransferKind.ADJUSTED: _GIVEN | _TAKEN_BACK | _routes("expired", "available owed"),
}
"""Which accounts each kind may move points between."""

_SHOWN = frozenset({Account.PENDING, Account.AVAILABLE})
_NOT_EARNED = frozenset({Account.ISSUED, Account.PENDING, Account.REVERSED})


class Balances(NamedTuple):
    """Of one wallet, in whole points, none below zero. `earned_total` is what was ever
    issued and confirmed less what was reversed; spending does not reduce it. `spent` is less what
    was given back."""

    pending: int = 0
    available: int = 0
    held: int = 0
    owed: int = 0
    earned_total: int = 0
    spent: int = 0
    expired: int = 0

    @property
    def shown(self) -> int:
        """What the member's statement adds up to."""
        return self.pending + self.available


@cache
def effect(route: Route) -> Balances:
    """What one point on this route changes."""
    debit, credit = route

    def change(account: Account) -> int:
        return (credit == account) - (debit == account)

    return Balances(
        pending=change(Account.PENDING),
        available=change(Account.AVAILABLE),
        held=change(Account.HELD),
        owed=-change(Account.OWED),
        earned_total=(credit not in _NOT_EARNED) - (debit not in _NOT_EARNED),
        spent=change(Account.REDEEMED),
        expired=change(Account.EXPIRED),
    )


def apply(balances: Balances, route: Route, amount: int) -> Balances:
    """The balances after `amount` points (> 0) have moved; the caller has made sure that
    they were there."""
    assert amount > 0
    changed = Balances(
        *(balance + amount * sign for balance, sign in zip(balances, effect(route), strict=True))
    )
    assert min(changed) >= 0, f"{route} of {amount} overdraws {balances}"
    return changed


def entry_sign(route: Route) -> int:
    """How a transfer shows in the statement: +1, -1, or 0 when it is no entry because
    `available + pending` stays the same."""
    return effect(route).shown


def entry_routes(sign: int) -> list[Route]:
    """All routes, in order, that show in the statement with this sign."""
    return sorted(
        {route for routes in ROUTES.values() for route in routes if entry_sign(route) == sign}
    )


def earning(balances: Balances, amount: int, *, pending: bool) -> Iterator[tuple[Route, int]]:
    """Where an earning goes: debts first, then to be spent. One that waits for a decision
    pays no debt yet."""
    debt = 0 if pending else min(balances.owed, amount)
    if debt:
        yield Route(Account.ISSUED, Account.OWED), debt
    if amount > debt:
        credit = Account.PENDING if pending else Account.AVAILABLE
        yield Route(Account.ISSUED, credit), amount - debt


@dataclass(frozen=True, slots=True)
class Expiry:
    on: date
    """Last local day on which the points can be spent."""
    at: datetime
    """The local midnight after it, as an instant; fixed when the points are earned."""


@lru_cache(maxsize=4096)
def expiry(earned_on: date, months: int, zone: ZoneInfo) -> Expiry:
    """Of points earned on this local day: the same day of the month `months` later is the
    last one; of a shorter month its last day."""
    assert months > 0
    last = earned_on + relativedelta(months=months)
    return Expiry(on=last, at=civil_time.end_of_day(last, zone))


CHAIN_VERSION = 1
CHAIN_START = b""
"""The head of a wallet without transfers."""


class Transfer(NamedTuple):
    """All that a transfer's hash covers: ids, numbers and codes, so that nothing of it has
    to be erased ever."""

    chain_version: int
    member_id: UUID
    seq: int
    id: UUID
    kind: str
    debit: str
    credit: str
    amount: int
    balance_after: int
    cause_kind: str | None
    cause_id: UUID | None
    cause_key: str
    rule_version: UUID | None
    rule_code: str | None
    corrects: UUID | None
    local_date: date
    posted_at: datetime
    expires_on: date | None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_ABSENT = (-1).to_bytes(4, signed=True)
_FIXED = Struct(">iq i16s iq i16s iq iq iq iq")
_NUMBER = Struct(">iq")
_KEY = Struct(">i16s")


def transfer_hash(previous: bytes, transfer: Transfer) -> bytes:
    """SHA-256 over the previous head and the fields: each with its length in front (32 bits,
    -1 when absent), numbers and days and microseconds since 1970 as 64 bits, all big-endian.

    The SQL function `wellward_transfer_hash` (models.py) computes the same.
    """
    (
        version, member_id, seq, id, kind, debit, credit, amount, balance_after,
        cause_kind, cause_id, cause_key, rule_version, rule_code, corrects,
        local_date, posted_at, expires_on,
    ) = transfer  # fmt: skip
    assert version == CHAIN_VERSION
    since = posted_at - _EPOCH
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    fixed = _FIXED.pack(
        8, version, 16, member_id.bytes, 8, seq, 16, id.bytes, 8, amount, 8, balance_after,
        8, local_date.toordinal() - _EPOCH_DAY, 8, microseconds,
    )  # fmt: skip
    expires = _ABSENT if expires_on is None else _day(expires_on)
    cause = _ABSENT if cause_id is None else _KEY.pack(16, cause_id.bytes)
    rule = _ABSENT if rule_version is None else _KEY.pack(16, rule_version.bytes)
    corrected = _ABSENT if corrects is None else _KEY.pack(16, corrects.bytes)
    codes = _codes(kind, debit, credit, cause_kind, rule_code)
    key = cause_key.encode()
    start = len(previous).to_bytes(4) + previous
    end = codes + len(key).to_bytes(4) + key
    return sha256(start + fixed + expires + cause + rule + corrected + end).digest()


def _day(day: date) -> bytes:
    return _NUMBER.pack(8, day.toordinal() - _EPOCH_DAY)


@cache
def _codes(*codes: str | None) -> bytes:
    """Few and repeated, so encoded once."""
    encoded = (None if code is None else code.encode() for code in codes)
    return b"".join(_ABSENT if code is None else len(code).to_bytes(4) + code for code in encoded)
