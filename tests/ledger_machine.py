"""Random lives of a member's ledger, against an oracle that knows every single point.

The oracle is naive on purpose: a point is an object that lies in a pile, and is moved by hand,
one by one. An operation is a value, so that it can be repeated, or run at the same time as
another one: then the ledger must be as after one order or the other.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import text

from app import civil_time
from app.db import Database
from app.errors import UserError
from app.ids import new_id
from app.points import expiry, rules, service
from app.points.rules import CauseKind
from tests.factories import NOON

GRACE = timedelta(days=30)
_NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Op:
    """What somebody asks for, at `now`. `key` names an earning, `hold` a hold."""

    name: str
    now: datetime
    key: int = 0
    hold: UUID = _NOBODY
    amount: int = 0
    accept: bool = False
    pending: bool = False
    expires_on: date = date(2026, 1, 1)
    until: datetime = NOON


# The oracle


@dataclass(slots=True)
class Point:
    lot: int
    origin: int
    on: date
    grace: bool
    place: Any = "available"
    """available, pending, expired, reversed, gone; (held, id); (spent, id)"""


@dataclass
class Oracle:
    zone: ZoneInfo
    points: list[Point] = field(default_factory=list)
    lots: int = 0
    owed: int = 0
    issued: Counter[int] = field(default_factory=Counter)
    reversed: Counter[int] = field(default_factory=Counter)
    spent: int = 0
    reviewed: dict[int, bool] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)
    reversals: set[int] = field(default_factory=set)
    refunds: set[UUID] = field(default_factory=set)
    holds: dict[UUID, tuple[str, int]] = field(default_factory=dict)
    """State and what was captured."""

    def do(self, op: Op) -> bool:
        """False when it must be refused, and nothing changed."""
        return getattr(self, f"_{op.name}")(op) is not False

    # Piles

    def pile(self, place: Any, origin: int | None = None) -> list[Point]:
        found = [it for it in self.points if it.place == place and origin in (None, it.origin)]
        return sorted(found, key=lambda it: (it.on, it.lot))

    def live(self, point: Point, op: Op) -> bool:
        return civil_time.end_of_day(point.on, self.zone) > op.now

    def new_lot(self, origin: int, on: date, amount: int, *, grace: bool, place: str) -> None:
        self.lots += 1
        self.points += [Point(self.lots, origin, on, grace, place) for _ in range(amount)]

    def sweep(self, op: Op) -> None:
        for point in self.pile("available"):
            if not self.live(point, op):
                point.place = "expired"

    def back(self, points: list[Point], op: Op, *, until: Callable[[Point], date | None]) -> None:
        """To the member, the oldest first; `until` says when those of an ended lot end."""
        again: Counter[tuple[int, int, date]] = Counter()
        for point in points:
            if self.owed:
                self.owed -= 1
                point.place = "gone"
            elif self.live(point, op):
                point.place = "available"
            elif (on := until(point)) is None:
                point.place = "expired"
            else:
                point.place = "gone"
                again[point.lot, point.origin, on] += 1
        for (_, origin, on), amount in again.items():
            self.new_lot(origin, on, amount, grace=True, place="available")

    def take(self, key: int, amount: int) -> None:
        own = [*self.pile("pending", key), *self.pile("available", key)]
        others = [it for it in self.pile("available") if it.origin != key]
        for point in (own + others)[:amount]:
            point.place = "reversed"
            amount -= 1
            self.reversed[key] += 1
        self.owed += amount
        self.reversed[key] += amount

    def give(self, key: int, amount: int, on: date, *, pending: bool) -> None:
        self.issued[key] += amount
        if not pending:
            debt = min(self.owed, amount)
            self.owed -= debt
            amount -= debt
        if amount:
            place = "pending" if pending else "available"
            self.new_lot(key, on, amount, grace=False, place=place)

    # Operations

    def _earn(self, op: Op) -> None:
        if op.key not in self.issued:
            if op.pending:
                self.waiting.add(op.key)
            self.give(op.key, op.amount, op.expires_on, pending=op.pending)

    def _hold(self, op: Op) -> bool | None:
        if op.hold in self.holds:
            return None
        saved = deepcopy(self.points)
        self.sweep(op)
        pile = self.pile("available")
        if len(pile) < op.amount:
            self.points = saved
            return False
        for point in pile[: op.amount]:
            point.place = ("held", op.hold)
        self.holds[op.hold] = ("HELD", 0)
        return None

    def _spend(self, op: Op) -> bool | None:
        if op.hold in self.holds:
            return None
        if self._hold(op) is False:
            return False
        for point in self.pile(("held", op.hold)):
            point.place = ("spent", op.hold)
        self.spent += op.amount
        self.holds[op.hold] = ("CAPTURED", op.amount)
        return None

    def _capture(self, op: Op) -> bool | None:
        state, captured = self.holds.get(op.hold, ("none", 0))
        if state != "HELD":
            return None if (state, captured) == ("CAPTURED", op.amount) else False
        pile = self.pile(("held", op.hold))
        for point in pile[: op.amount]:
            point.place = ("spent", op.hold)
        self.spent += op.amount
        self._free(op)
        self.holds[op.hold] = ("CAPTURED", op.amount)
        return None

    def _release(self, op: Op, state: str = "RELEASED") -> bool | None:
        found, _ = self.holds.get(op.hold, ("none", 0))
        if found != "HELD":
            return None if found == state else False
        self._free(op)
        self.holds[op.hold] = (state, 0)
        return None

    def _time_out(self, op: Op) -> bool | None:
        return self._release(op, "TIMED_OUT")

    def _free(self, op: Op) -> None:
        today = civil_time.local_date(op.now, self.zone)

        def until(point: Point) -> date | None:
            over = point.grace or today > point.on + GRACE
            return None if over else point.on + GRACE

        self.back(self.pile(("held", op.hold)), op, until=until)

    def _later(self, op: Op) -> Callable[[Point], date]:
        today = civil_time.local_date(op.now, self.zone)
        return lambda _: today + GRACE

    def _settle(self, op: Op) -> bool | None:
        if op.key in self.reviewed:
            return None if self.reviewed[op.key] == op.accept else False
        if op.key not in self.waiting:
            return False
        self.sweep(op)
        pile = self.pile("pending", op.key)
        if pile:
            self.waiting.discard(op.key)
            self.reviewed[op.key] = op.accept
        if op.accept:
            self.back(pile, op, until=self._later(op))
        else:
            for point in pile:
                point.place = "reversed"
            self.reversed[op.key] += len(pile)
        return None

    def _reverse(self, op: Op) -> None:
        if op.key in self.reversals:
            return
        self.sweep(op)
        due = self.issued[op.key] - self.reversed[op.key] - len(self.pile("expired", op.key))
        if due > 0:
            self.reversals.add(op.key)
            self.waiting.discard(op.key)
            self.take(op.key, due)

    def _restate(self, op: Op) -> None:
        rejected = self.reviewed.get(op.key) is False
        if op.key in self.reversals or rejected:
            return
        self.sweep(op)
        given = self.issued[op.key] - self.reversed[op.key]
        if op.amount >= given:
            pending = op.key in self.waiting
            self.give(op.key, op.amount - given, op.expires_on, pending=pending)
        else:
            expired = len(self.pile("expired", op.key))
            self.take(op.key, max(0, given - expired - op.amount))

    def _refund(self, op: Op) -> None:
        if op.hold in self.refunds:
            return
        self.refunds.add(op.hold)
        self.sweep(op)
        pile = self.pile(("spent", op.hold))
        self.spent -= len(pile)
        self.back(pile, op, until=self._later(op))

    def _expire(self, op: Op) -> None:
        self.sweep(op)

    # Look

    @property
    def balances(self) -> dict[str, int]:
        at = Counter(it.place if isinstance(it.place, str) else it.place[0] for it in self.points)
        issued, taken = self.issued.total(), self.reversed.total()
        return {
            "pending": at["pending"],
            "available": at["available"],
            "held": at["held"],
            "owed": self.owed,
            "earned_total": issued - at["pending"] - taken,
            "spent": self.spent,
            "expired": at["expired"],
        }

    @property
    def lots_left(self) -> list[tuple[date, int, int, int, int]]:
        """Last day, available, pending, held, expired of every lot, in the order of taking."""
        lots: dict[tuple[date, int], Counter[str]] = {}
        for point in self.points:
            place = point.place if isinstance(point.place, str) else point.place[0]
            lots.setdefault((point.on, point.lot), Counter())[place] += 1
        names = ("available", "pending", "held", "expired")
        return [(on, *(lots[on, lot][it] for it in names)) for on, lot in sorted(lots)]  # type: ignore[misc]


# The ledger


@dataclass
class Subject:
    """The real ledger of one member."""

    db: Database
    member_id: UUID
    zone: ZoneInfo
    earnings: dict[int, UUID] = field(default_factory=dict)
    captures: dict[UUID, UUID] = field(default_factory=dict)

    async def do(self, op: Op) -> bool:
        """False when it was refused."""
        try:
            if op.name == "expire":
                while await expiry.expire_due(self.db, now=op.now) is not None:
                    pass
                return True
            async with self.db.transaction() as session:
                await getattr(self, f"_{op.name}")(session, op)
        except UserError:
            return False
        return True

    def _earning(self, op: Op, key: str) -> dict[str, Any]:
        return {
            "member_id": self.member_id,
            "cause": service.Cause(CauseKind.CHECK_IN, UUID(int=op.key), key),
            "rule": service.Rule(None, "walk"),
            "local_date": civil_time.local_date(op.now, self.zone),
            "expires": rules.Expiry(op.expires_on, civil_time.end_of_day(op.expires_on, self.zone)),
            "now": op.now,
        }

    async def _earn(self, session: Any, op: Op) -> None:
        transfer = await service.earn(
            session, amount=op.amount, pending=op.pending, **self._earning(op, f"task{op.key}:0")
        )
        self.earnings[op.key] = transfer.id

    async def _restate(self, session: Any, op: Op) -> None:
        await service.restate(session, amount_now=op.amount, **self._earning(op, f"task{op.key}"))

    async def _hold(self, session: Any, op: Op) -> None:
        cause = service.Cause(CauseKind.REDEMPTION, op.hold, f"redemption:{op.hold}")
        await service.hold(
            session,
            member_id=self.member_id,
            hold_id=op.hold,
            amount=op.amount,
            expires_at=op.until,
            cause=cause,
            now=op.now,
        )

    async def _spend(self, session: Any, op: Op) -> None:
        cause = service.Cause(CauseKind.REDEMPTION, op.hold, f"redemption:{op.hold}")
        await service.spend(
            session,
            member_id=self.member_id,
            hold_id=op.hold,
            amount=op.amount,
            cause=cause,
            now=op.now,
        )

    async def _capture(self, session: Any, op: Op) -> None:
        await service.capture(
            session, member_id=self.member_id, hold_id=op.hold, amount=op.amount, now=op.now
        )

    async def _release(self, session: Any, op: Op) -> None:
        await service.release(session, member_id=self.member_id, hold_id=op.hold, now=op.now)

    async def _time_out(self, session: Any, op: Op) -> None:
        await service.time_out(session, member_id=self.member_id, hold_id=op.hold, now=op.now)

    async def _settle(self, session: Any, op: Op) -> None:
        await service.settle(
            session,
            member_id=self.member_id,
            transfer_id=self.earnings[op.key],
            accept=op.accept,
            now=op.now,
        )

    async def _reverse(self, session: Any, op: Op) -> None:
        await service.reverse(
            session, member_id=self.member_id, transfer_id=self.earnings[op.key], now=op.now
        )

    async def _refund(self, session: Any, op: Op) -> None:
        captured = await session.execute(_CAPTURE, {"member_id": self.member_id, "id": op.hold})
        await service.reverse(
            session, member_id=self.member_id, transfer_id=captured.scalar_one(), now=op.now
        )

    async def look(self) -> "Seen":
        async with self.db.read() as connection:
            row = (await connection.execute(_STATE, {"member_id": self.member_id})).one()
        return Seen(*row)


_CAPTURE = text("select capture_id from points_holds where member_id = :member_id and id = :id")
_NAMES = rules.Balances._fields
_STATE = text(
    f"""
select (select row({", ".join(_NAMES)}) from wallets where member_id = :member_id),
  (select row({
        ", ".join(
            f"coalesce(sum(case when credit = '{name}' then amount when debit = '{name}' then -amount end), 0)::bigint"
            for name in (
                "pending",
                "available",
                "held",
                "owed",
                "issued",
                "redeemed",
                "expired",
                "reversed",
            )
        )
    }) from points_transfers where member_id = :member_id),
  (select row(coalesce(sum(pending), 0)::bigint, coalesce(sum(remaining), 0)::bigint,
     coalesce(sum(held), 0)::bigint) from points_lots where member_id = :member_id),
  (select coalesce(sum(amount), 0)::bigint from points_holds
    where member_id = :member_id and state = 'HELD'),
  array(select row(expires_on, remaining, pending, held, expired) from points_lots
    where member_id = :member_id order by expires_on, earned_seq),
  array(select row(id, state, captured) from points_holds where member_id = :member_id),
  md5(concat({
        ", ".join(
            f"(select string_agg(t::text, '|' order by t::text) from {table} t where member_id = :member_id)"
            for table in (
                "wallets",
                "points_transfers",
                "points_lots",
                "points_holds",
                "points_hold_lots",
            )
        )
    })) as checksum
"""
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands in the database about one member."""

    wallet: tuple[int, ...]
    sums: tuple[int, ...]
    """Of the transfers, by account."""
    lot_sums: tuple[int, ...]
    held: int
    lots: list[tuple[date, int, int, int, int]]
    holds: list[tuple[UUID, str, int]]
    checksum: str

    def check(self) -> None:
        """What holds in every ledger, whatever happened."""
        balances = rules.Balances(*self.wallet)
        pending, available, held, owed, issued, redeemed, expired, taken = self.sums
        assert sum(self.sums) == 0
        assert min(self.wallet) >= 0
        assert balances[:4] == (pending, available, held, -owed)
        assert (balances.spent, balances.expired) == (redeemed, expired)
        assert balances.earned_total == -issued - pending - taken
        assert self.lot_sums == (pending, available, held)
        assert self.held == held
        assert not (balances.owed and balances.available), "owes and has"

    def equals(self, oracle: Oracle) -> bool:
        return (
            dict(zip(_NAMES, self.wallet, strict=True)) == oracle.balances
            and [tuple(lot) for lot in self.lots] == oracle.lots_left
            and {id: (state, captured) for id, state, captured in self.holds} == oracle.holds
        )


async def run_step(subject: Subject, oracle: Oracle, before: Seen, ops: Iterable[Op]) -> Seen:
    """Do one operation, or two at the same time, here and in the oracle; both must agree. The
    clock leaves a member alone whom somebody else is writing."""
    ops = list(ops)
    done = await asyncio.gather(*(subject.do(op) for op in ops))
    seen = await subject.look()
    seen.check()
    possible = []
    orders = [ops, ops[::-1]]
    if len(ops) > 1:
        orders.append([op for op in ops if op.name != "expire"])
    for order in orders:
        other = deepcopy(oracle)
        answers = {id(op): other.do(op) for op in order}
        possible.append((other, [answers.get(id(op), True) for op in ops]))
    matching = [other for other, answers in possible if answers == done and seen.equals(other)]
    assert matching, (ops, done, [(o.balances, o.lots_left, a) for o, a in possible], seen)
    oracle.__dict__.update(matching[0].__dict__)
    if not any(done):
        assert seen.checksum == before.checksum, "a refused operation changed something"
    return seen


def new_hold(now: datetime) -> UUID:
    return new_id(now)
