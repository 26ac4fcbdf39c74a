"""What counts towards caps, added up by rule as of one day, so that nobody reads a year of
transfers for it. Pure.

It is kept beside the wallet, with the number of the newest transfer in it. Whoever posts need not
know of it: later transfers are looked up and added to it. Of a day before the newest in it nothing
is said (somebody may have posted ahead): then the transfers themselves are asked.
"""

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

import orjson

from app.points.rules import Account, Transfer

Entry = tuple[date, str | None, int]
"""What a transfer adds: the cause's local day, the rule's code, points issued or (below zero) taken
back."""
Sums = tuple[int, int, int]
"""Points on a day, in its month, and in its year."""


class Tally(NamedTuple):
    on: date
    """The newest local day of the transfers in it; it says nothing of days before."""
    points: dict[str, Sums]
    """By the rule's code ("" for none): of `on`. Only of what was earned in that year."""

    @classmethod
    def read(cls, stored: str) -> "Tally":
        """From the text of `written`, or of a column that holds it."""
        found = orjson.loads(stored)
        points = {code: (of[0], of[1], of[2]) for code, of in found["points"].items()}
        return cls(date.fromisoformat(found["on"]), points)

    def written(self) -> str:
        """One text for one tally, however it came about."""
        found = {"on": self.on, "points": self.points}
        return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode()

    def of(self, day: date) -> dict[str, Sums]:
        """As they stand on `on` or a later day."""
        assert day >= self.on
        if day == self.on:
            return self.points
        if day.year != self.on.year:
            return {}
        same_month = day.month == self.on.month
        return {
            code: (0, of_month if same_month else 0, of_year)
            for code, (_, of_month, of_year) in self.points.items()
        }


def entries(transfer: Transfer) -> tuple[Entry, ...]:
    """None for what counts towards no cap."""
    if transfer.debit == Account.ISSUED:
        return ((transfer.local_date, transfer.rule_code, transfer.amount),)
    if transfer.credit == Account.REVERSED:
        return ((transfer.local_date, transfer.rule_code, -transfer.amount),)
    return ()


def is_tally_of(entries: Iterable[Entry], stored: str | None) -> bool:
    tally = extended(None, entries)
    return stored == (tally.written() if tally else None)


def extended(tally: Tally | None, entries: Iterable[Entry]) -> Tally | None:
    """With more transfers in it, in any order; None while there are none."""
    added = list(entries)
    if not added:
        return tally
    on = max(day for day, _, _ in added)
    if tally is not None and tally.on > on:
        on = tally.on
    points = dict(tally.of(on)) if tally else {}
    for day, code, amount in added:
        if day.year == on.year:
            of_day, of_month, of_year = points.get(code or "", (0, 0, 0))
            points[code or ""] = (
                of_day + amount if day == on else of_day,
                of_month + amount if day.month == on.month else of_month,
                of_year + amount,
            )
    return Tally(on, points)
