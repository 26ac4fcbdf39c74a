"""Random lives of a member's ledger, which agrees with the oracle after every step.

Of two operations at the same time the ledger must be as after one order or the other. Which
order it was may not show until later: of two redemptions of 5 points each, out of two lots of
5, only a refund tells which one took the older lot. So there is an oracle for each order that
agrees with what was seen, and from step to step those remain that still agree. There must
always be one.
"""

import asyncio
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import permutations
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
from tests.ledger_oracle import Op, Oracle


@dataclass
class Subject:
    """The real ledger of one member."""

    db: Database
    member_id: UUID
    zone: ZoneInfo
    earnings: dict[int, UUID] = field(default_factory=dict)

    async def do(self, op: Op) -> bool:
        """False when it was refused."""
        try:
            if op.name == "announce":
                await expiry.announce(self.db, now=op.now)
                return True
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
_ACCOUNTS = ("pending", "available", "held", "owed", "issued", "redeemed", "expired", "reversed")
_STATE = text(
    f"""
select (select row({", ".join(_NAMES)}) from wallets where member_id = :member_id),
  (select row({
        ", ".join(
            f"coalesce(sum(case when credit = '{name}' then amount when debit = '{name}' then -amount end), 0)::bigint"
            for name in _ACCOUNTS
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
            and -self.sums[_ACCOUNTS.index("issued")] == oracle.issued.total()
            and [tuple(lot) for lot in self.lots] == oracle.lots_left
            and {id: (state, captured) for id, state, captured in self.holds} == oracle.holds
        )


async def run_step(
    subject: Subject, oracles: Sequence[Oracle], before: Seen, ops: Sequence[Op]
) -> tuple[list[Oracle], Seen]:
    """Do one operation, or two at the same time, here and in every oracle. The oracles, of
    each order, that agree with what is seen; at least one must."""
    done = await asyncio.gather(*(subject.do(op) for op in ops))
    seen = await subject.look()
    seen.check()
    possible = [_after(oracle, ops, order) for oracle in oracles for order in _orders(ops)]
    matching: list[Oracle] = []
    for oracle, answers in possible:
        if answers == done and seen.equals(oracle) and oracle not in matching:
            matching.append(oracle)
    assert matching, (ops, done, [(o.balances, o.lots_left, a) for o, a in possible], seen)
    if not any(done):
        assert seen.checksum == before.checksum, "a refused operation changed something"
    return matching, seen


def _orders(ops: Sequence[Op]) -> Iterator[tuple[int, ...]]:
    """In which they may have been done, by their places. The clock leaves a member alone whom
    somebody else is writing."""
    places = range(len(ops))
    yield from permutations(places)
    if len(ops) > 1:
        for place in places:
            if ops[place].name == "expire":
                yield from permutations([it for it in places if it != place])


def _after(oracle: Oracle, ops: Sequence[Op], order: Sequence[int]) -> tuple[Oracle, list[bool]]:
    """With the answer to each of `ops`."""
    oracle = deepcopy(oracle)
    answers = [True] * len(ops)
    for place in order:
        answers[place] = oracle.do(ops[place])
    oracle.tidy()
    return oracle, answers


def new_hold(now: datetime) -> UUID:
    return new_id(now)
