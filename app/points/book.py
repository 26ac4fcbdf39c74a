"""Lots and holds as they follow from the transfers: which points a move takes, and where to.

One place for it: what is written after a decision and what `ledger reconcile` recomputes from
the whole history both come from `Book.follow`. Values in, values out.

- Spending, holding and debts take the oldest lots first: by last day, then in the order in
  which they were earned.
- What a hold took from a lot goes back to that lot, and what a redemption took likewise. When
  the lot has ended, another one is given in its place (`is_grace`), or the points expire.
- What is taken back comes from the earning's own lots first, then from the oldest.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from app.points.rules import Account, HoldState, Transfer

Part = Literal["remaining", "pending", "held", "used", "expired", "reversed"]
TIMED_OUT = "timed_out"
"""Ends the key of what a hold gives back because its time is over."""


class Inconsistent(Exception):
    """The transfer cannot follow from those before it."""


@dataclass(slots=True)
class Lot:
    """What became of one earning, in points; see `models.PointsLot`."""

    id: UUID
    origin_id: UUID
    earned_seq: int
    is_grace: bool
    expires_on: date
    expires_at: datetime
    amount: int
    remaining: int = 0
    pending: int = 0
    held: int = 0
    used: int = 0
    expired: int = 0
    reversed: int = 0

    def is_live(self, at: datetime) -> bool:
        return self.expires_at > at

    @property
    def age(self) -> tuple[date, int]:
        """Lots are taken in this order."""
        return self.expires_on, self.earned_seq

    def move(self, points: int, source: Part, target: Part) -> None:
        left = getattr(self, source) - points
        if left < 0:
            raise Inconsistent(f"takes more than is {source} in a lot")
        setattr(self, source, left)
        setattr(self, target, getattr(self, target) + points)


@dataclass(slots=True)
class Allocation:
    """What a hold took from one lot."""

    lot_id: UUID
    amount: int
    captured: int = 0
    released: int = 0
    returned: int = 0
    """Of what was captured, given back by a reversal."""

    @property
    def open(self) -> int:
        return self.amount - self.captured - self.released

    @property
    def spent(self) -> int:
        return self.captured - self.returned


@dataclass(slots=True)
class Hold:
    id: UUID
    amount: int
    expires_at: datetime
    created_at: datetime
    state: HoldState = HoldState.HELD
    captured: int = 0
    released: int = 0
    capture_id: UUID | None = None
    """The transfer that redeemed the points."""
    resolved_at: datetime | None = None
    allocations: list[Allocation] = field(default_factory=list)
    """The oldest lot first."""


@dataclass
class Book:
    """A member's lots and holds: all of them, or those that the next moves need."""

    lots: dict[UUID, Lot] = field(default_factory=dict)
    holds: dict[UUID, Hold] = field(default_factory=dict)
    """By id; one that was captured also by the id of its capture."""
    changed_lots: set[UUID] = field(default_factory=set)
    changed_holds: set[UUID] = field(default_factory=set)
    _order: list[tuple[date, int, UUID]] = field(default_factory=list)
    """Of the lots that may have something remaining, the oldest first."""
    _of_origin: dict[UUID, list[Lot]] = field(default_factory=dict)
    _debt: Transfer | None = None
    """The newest earning that paid a debt."""

    def add(self, lots: Iterable[Lot] = (), holds: Iterable[Hold] = ()) -> None:
        """Know them; one that is known already stays as it is."""
        for lot in lots:
            if lot.id not in self.lots:
                self.lots[lot.id] = lot
                self._of_origin.setdefault(lot.origin_id, []).append(lot)
                self._queue(lot)
        for hold in holds:
            self.holds[hold.id] = hold
            if hold.capture_id is not None:
                self.holds[hold.capture_id] = hold

    def of_origin(self, earning_id: UUID) -> list[Lot]:
        """The lots of an earning, the oldest first."""
        return sorted(self._of_origin.get(earning_id, ()), key=lambda lot: lot.age)

    def allocations(self, hold: Hold) -> Iterator[tuple[Lot, Allocation]]:
        return ((self.lots[part.lot_id], part) for part in hold.allocations)

    def follow(self, transfer: Transfer, *, lasts_until: datetime | None = None) -> None:
        """Do what one transfer does.

        `lasts_until` is the end of the lot that it makes, or of the hold; of nothing else.
        Raises Inconsistent.
        """
        match transfer.debit:
            case Account.ISSUED | Account.EXPIRED:
                self._give(transfer, lasts_until)
            case Account.PENDING:
                self._settle(transfer, lasts_until)
            case Account.AVAILABLE:
                self._leave(transfer, lasts_until)
            case Account.HELD:
                self._resolve(transfer, lasts_until)
            case Account.REDEEMED:
                self._give_back(transfer, lasts_until)
            case Account.OWED:
                pass
            case _:
                raise Inconsistent(f"nothing comes from {transfer.debit}")

    def _give(self, transfer: Transfer, lasts_until: datetime | None) -> None:
        if transfer.credit == Account.OWED:
            self._debt = transfer
            return
        origin = transfer.corrects or transfer.id
        debt = self._debt
        if debt is not None and transfer.cause_key == f"{debt.cause_key}/2":
            origin = debt.corrects or debt.id
        self._open(transfer, lasts_until, origin, is_grace=False)

    def _leave(self, transfer: Transfer, lasts_until: datetime | None) -> None:
        match transfer.credit:
            case Account.HELD | Account.REDEEMED:
                self._take(transfer, lasts_until)
            case Account.EXPIRED:
                self._expire(transfer)
            case Account.REVERSED:
                own = self.of_origin(_corrected(transfer))
                self._move([*own, *self._oldest()], transfer.amount, "remaining", "reversed")
            case Account.PENDING:
                own = self.of_origin(_corrected(transfer))
                self._move(own, transfer.amount, "remaining", "pending")
            case _:
                raise Inconsistent(f"nothing goes to {transfer.credit}")

    # Lots

    def _queue(self, lot: Lot) -> None:
        key = (*lot.age, lot.id)
        place = bisect_left(self._order, key)
        if lot.remaining and self._order[place : place + 1] != [key]:
            self._order.insert(place, key)

    def _oldest(self) -> list[Lot]:
        self._order = [key for key in self._order if self.lots[key[-1]].remaining]
        return [self.lots[key[-1]] for key in self._order]

    def _move(self, lots: Iterable[Lot], amount: int, source: Part, target: Part) -> None:
        left = amount
        for lot in lots:
            points = min(getattr(lot, source), left)
            if points:
                self._shift(lot, points, source, target)
                left -= points
        if left:
            raise Inconsistent(f"the lots have {left} points too few that are {source}")

    def _shift(self, lot: Lot, points: int, source: Part, target: Part) -> None:
        lot.move(points, source, target)
        self.changed_lots.add(lot.id)
        if target == "remaining":
            self._queue(lot)

    def _open(
        self, transfer: Transfer, lasts_until: datetime | None, origin: UUID, *, is_grace: bool
    ) -> None:
        if transfer.expires_on is None or lasts_until is None:
            raise Inconsistent("it gives points without a last day")
        lot = Lot(
            id=transfer.id,
            origin_id=origin,
            earned_seq=transfer.seq,
            is_grace=is_grace,
            expires_on=transfer.expires_on,
            expires_at=lasts_until,
            amount=transfer.amount,
        )
        if transfer.credit == Account.PENDING:
            lot.pending = transfer.amount
        else:
            lot.remaining = transfer.amount
        self.add([lot])
        self.changed_lots.add(lot.id)

    def _expire(self, transfer: Transfer) -> None:
        """All that remains of the lots of one last day, which is its local date."""
        lots = [
            lot
            for lot in self._oldest()
            if lot.expires_on == transfer.local_date and not lot.is_live(transfer.posted_at)
        ]
        if sum(lot.remaining for lot in lots) != transfer.amount:
            raise Inconsistent("it expires other points than those of its day")
        self._move(lots, transfer.amount, "remaining", "expired")

    def _settle(self, transfer: Transfer, lasts_until: datetime | None) -> None:
        lots = [lot for lot in self.of_origin(_corrected(transfer)) if lot.pending]
        match transfer.credit:
            case Account.REVERSED:
                self._move(lots, transfer.amount, "pending", "reversed")
            case Account.OWED:
                self._move(lots, transfer.amount, "pending", "used")
            case Account.AVAILABLE if transfer.expires_on is None:
                live = [lot for lot in lots if lot.is_live(transfer.posted_at)]
                self._move(live, transfer.amount, "pending", "remaining")
            case Account.AVAILABLE:
                [ended, *_] = _ended(lots, transfer)
                self._move([ended], transfer.amount, "pending", "used")
                self._open(transfer, lasts_until, ended.origin_id, is_grace=True)
            case _:
                raise Inconsistent("points that wait do not go there")

    # Holds

    def _take(self, transfer: Transfer, lasts_until: datetime | None) -> None:
        """A hold; or one that is captured at once."""
        at_once = transfer.credit == Account.REDEEMED
        at = transfer.posted_at
        hold = Hold(transfer.id, transfer.amount, lasts_until or at, created_at=at)
        left = transfer.amount
        for lot in self._oldest():
            points = min(lot.remaining, left)
            if points == 0:
                break
            self._shift(lot, points, "remaining", "used" if at_once else "held")
            hold.allocations.append(Allocation(lot.id, points, captured=points * at_once))
            left -= points
        if left:
            raise Inconsistent(f"the lots have {left} points too few")
        self.add(holds=[hold])
        self.changed_holds.add(hold.id)
        if at_once:
            self._captured(hold, transfer)

    def _captured(self, hold: Hold, transfer: Transfer) -> None:
        hold.captured += transfer.amount
        hold.capture_id = transfer.id
        hold.state = HoldState.CAPTURED
        hold.resolved_at = transfer.posted_at
        self.holds[transfer.id] = hold

    def _hold(self, id: UUID) -> Hold:
        hold = self.holds.get(id)
        if hold is None:
            raise Inconsistent("there is no such hold")
        return hold

    def _resolve(self, transfer: Transfer, lasts_until: datetime | None) -> None:
        hold = self._hold(_corrected(transfer))
        parts = [(lot, part) for lot, part in self.allocations(hold) if part.open]
        to_redeemed = transfer.credit == Account.REDEEMED
        target: Part = "used"
        ended_lot: Lot | None = None
        if transfer.credit == Account.EXPIRED:
            target = "expired"
            parts = [pair for pair in parts if not pair[0].is_live(transfer.posted_at)]
        elif transfer.credit == Account.AVAILABLE and transfer.expires_on is None:
            target = "remaining"
            parts = [pair for pair in parts if pair[0].is_live(transfer.posted_at)]
        elif transfer.credit == Account.AVAILABLE:
            [ended_lot, *_] = _ended((lot for lot, _ in parts), transfer)
            parts = [pair for pair in parts if pair[0] is ended_lot]
        left = transfer.amount
        for lot, part in parts:
            points = min(part.open, left)
            if points:
                self._shift(lot, points, "held", target)
                part.captured += points * to_redeemed
                part.released += points * (not to_redeemed)
                left -= points
        if left:
            raise Inconsistent("the hold has fewer points")
        self.changed_holds.add(hold.id)
        if to_redeemed:
            self._captured(hold, transfer)
        else:
            self._released(hold, transfer)
        if ended_lot is not None:
            self._open(transfer, lasts_until, ended_lot.origin_id, is_grace=True)

    def _released(self, hold: Hold, transfer: Transfer) -> None:
        hold.released += transfer.amount
        hold.resolved_at = transfer.posted_at
        if hold.captured == 0:
            timed_out = TIMED_OUT in transfer.cause_key
            hold.state = HoldState.TIMED_OUT if timed_out else HoldState.RELEASED

    def _give_back(self, transfer: Transfer, lasts_until: datetime | None) -> None:
        """A redemption that is reversed."""
        hold = self._hold(_corrected(transfer))
        parts = [(lot, part) for lot, part in self.allocations(hold) if part.spent]
        ended_lot: Lot | None = None
        to_lots = transfer.credit == Account.AVAILABLE and transfer.expires_on is None
        if to_lots:
            parts = [pair for pair in parts if pair[0].is_live(transfer.posted_at)]
        elif transfer.credit == Account.AVAILABLE:
            [ended_lot, *_] = _ended((lot for lot, _ in parts), transfer)
            parts = [pair for pair in parts if pair[0] is ended_lot]
        left = transfer.amount
        for lot, part in parts:
            points = min(part.spent, left)
            if points:
                part.returned += points
                left -= points
                if to_lots:
                    self._shift(lot, points, "used", "remaining")
        if left:
            raise Inconsistent("fewer points were redeemed")
        self.changed_holds.add(hold.id)
        if ended_lot is not None:
            self._open(transfer, lasts_until, ended_lot.origin_id, is_grace=True)


def _corrected(transfer: Transfer) -> UUID:
    if transfer.corrects is None:
        raise Inconsistent("it does not say what it is about")
    return transfer.corrects


def _ended(lots: Iterable[Lot], transfer: Transfer) -> list[Lot]:
    """Those in whose place the transfer may give another."""
    ended = [lot for lot in lots if not lot.is_live(transfer.posted_at)]
    if not ended:
        raise Inconsistent("no lot has ended for which it gives another")
    return ended
