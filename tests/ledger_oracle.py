"""What somebody may ask of a member's ledger, and an oracle that knows every single point.

The oracle is naive on purpose: a point is an object that lies in a pile, and is moved by hand,
one by one. An operation is a value, so that it can be repeated, or asked for by two at once.
"""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from app import civil_time
from tests.factories import NOON

GRACE = timedelta(days=30)
FIRST_NOTICE = timedelta(days=30)
LAST_NOTICE = timedelta(days=7)
IN_TIME = LAST_NOTICE - timedelta(hours=1)
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


@dataclass(slots=True)
class Point:
    lot: int
    origin: int
    on: date
    grace: bool
    given: datetime
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
    taken: dict[UUID, datetime] = field(default_factory=dict)
    """When each hold was made."""
    told: dict[date, tuple[timedelta, int]] = field(default_factory=dict)
    """Of a last day, which notice the member had of it last, and of how many points."""
    put_off: dict[date, date] = field(default_factory=dict)
    """What was told too late: the last day instead of the first one."""

    def do(self, op: Op) -> bool:
        """False when it must be refused, and nothing changed."""
        return getattr(self, f"_{op.name}")(op) is not False

    # Piles

    def pile(self, place: Any, origin: int | None = None) -> list[Point]:
        found = [it for it in self.points if it.place == place and origin in (None, it.origin)]
        return sorted(found, key=lambda it: (it.on, it.lot))

    def live(self, point: Point, op: Op) -> bool:
        return civil_time.end_of_day(point.on, self.zone) > op.now

    def new_lot(
        self, origin: int, on: date, amount: int, op: Op, *, grace: bool, place: str
    ) -> None:
        self.lots += 1
        self.points += [Point(self.lots, origin, on, grace, op.now, place) for _ in range(amount)]

    def end(self, on: date) -> datetime:
        """Of a last day, or of the one that it was put off to."""
        return civil_time.end_of_day(self.put_off.get(on, on), self.zone)

    def late(self, pile: list[Point]) -> bool:
        """Whether there is more of one last day than the member was told."""
        _, told = self.told.get(pile[0].on, (None, 0))
        return len(pile) > told and any(self.needs_notice(it) for it in pile)

    def sweep(self, op: Op) -> None:
        for on in {it.on for it in self.pile("available")}:
            pile = [it for it in self.pile("available") if it.on == on]
            if self.end(on) <= op.now and not self.live(pile[0], op) and not self.late(pile):
                for point in pile:
                    point.place = "expired"

    def needs_notice(self, point: Point) -> bool:
        return point.given <= civil_time.end_of_day(point.on, self.zone) - LAST_NOTICE

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
            self.new_lot(origin, on, amount, op, grace=True, place="available")

    def take(self, key: int, amount: int) -> None:
        own = [*self.pile("pending", key), *self.pile("available", key)]
        others = [it for it in self.pile("available") if it.origin != key]
        for point in (own + others)[:amount]:
            point.place = "reversed"
            amount -= 1
            self.reversed[key] += 1
        self.owed += amount
        self.reversed[key] += amount

    def give(self, op: Op, amount: int, *, pending: bool) -> None:
        key = op.key
        self.issued[key] += amount
        if not pending:
            debt = min(self.owed, amount)
            self.owed -= debt
            amount -= debt
        if amount:
            place = "pending" if pending else "available"
            self.new_lot(key, op.expires_on, amount, op, grace=False, place=place)

    # Operations

    def _earn(self, op: Op) -> None:
        if op.key not in self.issued:
            if op.pending:
                self.waiting.add(op.key)
            self.give(op, op.amount, pending=op.pending)

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
        self.taken[op.hold] = op.now
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
            last = self.put_off.get(point.on, point.on)
            if not point.grace:
                last = max(last, point.on + GRACE)
            if self.taken[op.hold] >= self.end(point.on):
                last = max(last, today + LAST_NOTICE)
            return None if today > last else last

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
        self.reversals.add(op.key)
        self.waiting.discard(op.key)
        self.take(op.key, max(0, due))

    def _restate(self, op: Op) -> None:
        rejected = self.reviewed.get(op.key) is False
        if op.key in self.reversals or rejected:
            return
        self.sweep(op)
        given = self.issued[op.key] - self.reversed[op.key]
        if op.amount >= given:
            pending = op.key in self.waiting
            self.give(op, op.amount - given, pending=pending)
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

    def _announce(self, op: Op) -> None:
        """As the clock does: that points expire is told twice, and again when they become more.
        Who learns it late has the days of the last notice from then on."""
        for on in {it.on for it in self.pile("available")}:
            pile = [it for it in self.pile("available") if it.on == on]
            left = civil_time.end_of_day(on, self.zone) - op.now
            notice = LAST_NOTICE if left <= LAST_NOTICE else FIRST_NOTICE
            if left < IN_TIME and self.late(pile):
                self.put_off[on] = civil_time.local_date(op.now, self.zone) + LAST_NOTICE
                self.told[on] = notice, len(pile)
            elif timedelta(0) < left <= FIRST_NOTICE:
                before, told = self.told.get(on, (None, 0))
                if before != notice or len(pile) > told:
                    self.told[on] = notice, len(pile)

    def _expire(self, op: Op) -> None:
        self.sweep(op)

    def tidy(self) -> None:
        """Number the lots by age: two oracles with the same future become equal."""
        ages = sorted({(it.on, it.lot) for it in self.points})
        number = {age: place for place, age in enumerate(ages, 1)}
        for point in self.points:
            point.lot = number[point.on, point.lot]
        self.points.sort(key=lambda it: (it.lot, str(it.place)))
        self.lots = len(ages)

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
