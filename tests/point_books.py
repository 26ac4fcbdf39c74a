"""A book of lots and holds that follows transfers in examples, told in few words."""

from dataclasses import astuple
from datetime import UTC, date, datetime, timedelta

from app.points.book import Hold
from app.points.rules import Transfer, TransferKind
from tests.test_points_book import Ledger, midnight

UNTIL = datetime(2026, 2, 1, tzinfo=UTC)
"""The end of every hold here."""


def on(day: int) -> date:
    return date(2026, 1, day)


def nine(day: int) -> datetime:
    """When transfers are posted."""
    return midnight(on(day)) + timedelta(hours=9)


class History(Ledger):
    """Posts by what happens, and tells lots as (remaining, pending, held, used, expired,
    reversed). Forgets what changed before each transfer."""

    def post(
        self, kind: TransferKind, debit: str, credit: str, amount: int, day: date, **more: object
    ) -> Transfer:
        self.book.changed_lots.clear()
        self.book.changed_holds.clear()
        return super().post(kind, debit, credit, amount, day, **more)

    def move(
        self, route: str, amount: int, day: int, about: Transfer | None = None, **more: object
    ) -> Transfer:
        debit, credit = route.split(" > ")
        corrects = about.id if about else None
        kind = TransferKind.ADJUSTED  # a book goes by the accounts alone
        return self.post(kind, debit, credit, amount, on(day), **({"corrects": corrects} | more))

    def earned(self, amount: int, last: int, *, pending: bool = False) -> Transfer:
        credit = "pending" if pending else "available"
        return self.move(f"issued > {credit}", amount, 1, expires_on=on(last))

    def points(self, of: Transfer) -> tuple[int, ...]:
        return astuple(self.book.lots[of.id])[7:]

    def hold(self, of: Transfer) -> Hold:
        return self.book.holds[of.id]

    def parts(self, of: Transfer) -> list[tuple[int, int, int, int]]:
        """(amount, captured, released, returned) of each lot that a hold took from."""
        return [astuple(part)[1:] for part in self.hold(of).allocations]

    def changed(self, *lots: Transfer, holds: tuple[Transfer, ...] = ()) -> bool:
        return self.book.changed_lots == {it.id for it in lots} and self.book.changed_holds == {
            it.id for it in holds
        }


def held(amount: int = 10) -> tuple[History, list[Transfer], Transfer]:
    """Lots of 5, 4 and 7 points, in the order in which they are taken, and a hold."""
    history = History()
    first, last, second = history.earned(5, 5), history.earned(7, 20), history.earned(4, 5)
    taken = history.move("available > held", amount, 2)
    return history, [first, second, last], taken
