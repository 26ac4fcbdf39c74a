"""What moves when points are held, captured, given back, settled, taken back or restated.

Pure: from the balances and the lots to a list of moves, in the order in which they are posted.

- Whatever comes back to a member pays a debt first, so nobody owes points and has some.
- A hold that outlives its lot can still be captured. Given back within `grace_days` after the
  lot's last day, its points can be spent until those days are over; later, or when the lot was
  itself given so, they expire at once. But never before the later last day that was announced
  (`late`); and what was taken after its end, since nobody had announced it, is given back for
  `notice_days`.
- A redemption that is reversed, and an earning that is accepted, after their lots have ended
  give points that can be spent for `grace_days` from that day on: it was not the member who
  took so long.
- Taking back an earning takes what still waits, then what is available, and the rest is owed.
  Points that are held stay held. What of it has expired is not taken a second time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from app import civil_time
from app.points.book import Book, Hold, Lot
from app.points.rules import Account, Expiry, Route, TransferKind


@dataclass(frozen=True, slots=True)
class Move:
    kind: TransferKind
    route: Route
    amount: int
    expires: Expiry | None = None
    """Of the lot that it makes."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is decided, in the member's calendar."""

    now: datetime
    local_date: date
    zone: ZoneInfo
    grace_days: int
    notice_days: int
    """What leaves a member who was not told in time so many days."""

    def day(self, on: date) -> Expiry:
        return Expiry(on=on, at=civil_time.end_of_day(on, self.zone))


Moves = Iterable[Move]
Parts = Sequence[tuple[Lot, int]]
"""Points with the lots they come from, the oldest first."""
Late = Mapping[date, Expiry]
"""The later ends that were announced, by the last day that they are instead of."""
_NONE: Late = {}


def capturing(
    book: Book, hold: Hold, amount: int, *, owed: int, moment: Moment, late: Late = _NONE
) -> Iterator[Move]:
    """Redeem `amount` of a hold, the oldest points first, and give back the rest."""
    assert 0 < amount <= hold.amount
    yield Move(TransferKind.REDEEMED, Route(Account.HELD, Account.REDEEMED), amount)
    yield from releasing(book, hold, owed=owed, moment=moment, late=late, captured=amount)


def releasing(
    book: Book, hold: Hold, *, owed: int, moment: Moment, late: Late = _NONE, captured: int = 0
) -> Iterator[Move]:
    """Give back what a hold has beyond `captured`: what has ended, lot by lot, then the rest."""
    parts = _without([(lot, part.open) for lot, part in book.allocations(hold)], captured)
    yield from _paying(parts, Account.HELD, TransferKind.RELEASED, owed)
    expired = live = 0
    for lot, points in _without(parts, owed):
        until = _until(lot, hold, moment, late)
        if lot.is_live(moment.now):
            live += points
        elif moment.local_date > until:
            expired += points
        else:
            yield from _expiring(expired)
            expired = 0
            route = Route(Account.HELD, Account.AVAILABLE)
            yield Move(TransferKind.RELEASED, route, points, moment.day(until))
    yield from _expiring(expired)
    if live:
        yield Move(TransferKind.RELEASED, Route(Account.HELD, Account.AVAILABLE), live)


def _until(lot: Lot, hold: Hold, moment: Moment, late: Late) -> date:
    """The last day of what a hold took from a lot that has ended."""
    end = late.get(lot.expires_on) or Expiry(lot.expires_on, lot.expires_at)
    days = [end.on]
    if not lot.is_grace:
        days.append(lot.expires_on + timedelta(days=moment.grace_days))
    if hold.created_at >= end.at:
        days.append(moment.local_date + timedelta(days=moment.notice_days))
    return max(days)


def _expiring(points: int) -> Iterator[Move]:
    if points:
        yield Move(TransferKind.EXPIRED, Route(Account.HELD, Account.EXPIRED), points)


def restoring(book: Book, hold: Hold, *, owed: int, moment: Moment) -> Iterator[Move]:
    """Give back what a hold redeemed."""
    parts = [(lot, part.spent) for lot, part in book.allocations(hold)]
    return _back(parts, Account.REDEEMED, TransferKind.REVERSED, owed=owed, moment=moment)


def accepting(lots: Iterable[Lot], *, owed: int, moment: Moment) -> Iterator[Move]:
    """Let the member have what waits in these lots."""
    parts = [(lot, lot.pending) for lot in lots]
    return _back(parts, Account.PENDING, TransferKind.RELEASED, owed=owed, moment=moment)


def taking_back(amount: int, kind: TransferKind, *, waiting: int, available: int) -> Iterator[Move]:
    """Take `amount` points back, of which `waiting` are the earning's own that wait."""
    left = amount
    for account, points in (
        (Account.PENDING, waiting),
        (Account.AVAILABLE, available),
        (Account.OWED, amount),
    ):
        taken = min(points, left)
        if taken:
            yield Move(kind, Route(account, Account.REVERSED), taken)
            left -= taken


@dataclass(frozen=True, slots=True)
class Posted:
    """What an earning and its restatements came to, in points."""

    issued: int
    reversed: int
    expired: int


def difference(posted: Posted, amount_now: int) -> int:
    """What to post so that an earning comes to `amount_now` (>= 0): more than zero is given,
    less is taken back. Taking all back is the same with zero."""
    given = posted.issued - posted.reversed
    if amount_now >= given:
        return amount_now - given
    return -max(0, given - posted.expired - amount_now)


def _back(
    parts: Parts, debit: Account, kind: TransferKind, *, owed: int, moment: Moment
) -> Iterator[Move]:
    yield from _paying(parts, debit, kind, owed)
    route = Route(debit, Account.AVAILABLE)
    live = 0
    for lot, points in _without(parts, owed):
        if lot.is_live(moment.now):
            live += points
        else:
            until = moment.local_date + timedelta(days=moment.grace_days)
            yield Move(kind, route, points, moment.day(until))
    if live:
        yield Move(kind, route, live)


def _paying(parts: Parts, debit: Account, kind: TransferKind, owed: int) -> Iterator[Move]:
    debt = min(owed, sum(points for _, points in parts))
    if debt:
        yield Move(kind, Route(debit, Account.OWED), debt)


def _without(parts: Parts, amount: int) -> list[tuple[Lot, int]]:
    """What is left of `parts` when `amount` is taken, the oldest first."""
    rest = []
    for lot, points in parts:
        taken = min(points, amount)
        amount -= taken
        if points > taken:
            rest.append((lot, points - taken))
    return rest
