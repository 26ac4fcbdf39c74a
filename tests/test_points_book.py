"""Lots as they follow from transfers, levels and caps: pure rules, against naive ones."""

from datetime import UTC, date, datetime, time, timedelta
from random import Random
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.points import caps, levels, rules
from app.points.book import Book, Inconsistent
from app.points.caps import Cap, CapKind
from app.points.moves import Posted, difference
from app.points.programme import Programme, programme
from app.points.rules import CauseKind, Transfer, TransferKind
from tests.processes import FULL_COUNTS

HISTORIES = 20_000 if FULL_COUNTS else 2_000
START = date(2026, 1, 1)
MEMBER = UUID(int=1)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


class Ledger:
    """Posts transfers to a book, in UTC."""

    def __init__(self) -> None:
        self.book = Book()
        self.seq = 0

    def post(
        self, kind: TransferKind, debit: str, credit: str, amount: int, day: date, **more: object
    ) -> Transfer:
        self.seq += 1
        values = {
            "id": uuid4(), "cause_kind": CauseKind.STAFF, "cause_id": MEMBER, "corrects": None,
            "cause_key": str(self.seq), "local_date": day, "expires_on": None,
            "posted_at": midnight(day) + timedelta(hours=9),
        }  # fmt: skip
        transfer = Transfer(
            chain_version=1, member_id=MEMBER, seq=self.seq, kind=kind, debit=debit, credit=credit,
            amount=amount, balance_after=0, rule_version=None, rule_code=None, **(values | more),
        )  # fmt: skip
        end = transfer.expires_on
        ends = midnight(end + timedelta(days=1)) if end else transfer.posted_at
        self.book.follow(transfer, lasts_until=ends)
        return transfer

    def earn(self, amount: int, day: date, last: date) -> Transfer:
        return self.post(TransferKind.EARNED, "issued", "available", amount, day, expires_on=last)

    def spend(self, amount: int, day: date) -> Transfer:
        return self.post(TransferKind.REDEEMED, "available", "redeemed", amount, day)

    def expire(self, day: date) -> dict[date, int]:
        """What is over, as the clock would: one transfer for each last day."""
        due: dict[date, int] = {}
        for lot in self.book.lots.values():
            if lot.remaining and lot.expires_on < day:
                due[lot.expires_on] = due.get(lot.expires_on, 0) + lot.remaining
        for last, amount in sorted(due.items()):
            self.post(
                TransferKind.EXPIRED, "available", "expired", amount, day,
                local_date=last, posted_at=midnight(day),
            )  # fmt: skip
        return due

    def left(self) -> list[tuple[date, int]]:
        lots = sorted(self.book.lots.values(), key=lambda lot: lot.age)
        return [(lot.expires_on, lot.remaining) for lot in lots if lot.remaining]


@pytest.mark.timeout(3600 if FULL_COUNTS else 300)
def test_random_histories_expire_as_a_naive_oracle_says() -> None:
    """Each history ends after everything is over: what was not spent has expired, on its day."""
    for seed in range(HISTORIES):
        rng = Random(seed)
        ledger = Ledger()
        points: list[tuple[date, int]] = []  # last day and number of each single point
        expired: dict[date, int] = {}
        naive: dict[date, int] = {}
        day = START
        for number in range(rng.randint(3, 14)):
            day += timedelta(days=rng.choice([0, 0, 1, 3, 20]))
            for last, amount in ledger.expire(day).items():
                expired[last] = expired.get(last, 0) + amount
            for last, _ in [it for it in points if it[0] < day]:
                naive[last] = naive.get(last, 0) + 1
            points = [it for it in points if it[0] >= day]
            if rng.random() < 0.55 or not points:
                amount, last = rng.randint(1, 9), day + timedelta(days=rng.choice([0, 1, 5, 30]))
                ledger.earn(amount, day, last)
                points += [(last, number)] * amount
            else:
                amount = rng.randint(1, len(points))
                ledger.spend(amount, day)
                points = sorted(points)[amount:]
            piles: dict[tuple[date, int], int] = {}
            for point in sorted(points):
                piles[point] = piles.get(point, 0) + 1
            assert ledger.left() == [(last, n) for (last, _), n in piles.items()], seed
        end = day + timedelta(days=40)
        for last, amount in ledger.expire(end).items():
            expired[last] = expired.get(last, 0) + amount
        for last, _ in points:
            naive[last] = naive.get(last, 0) + 1
        assert expired == naive, seed
        for lot in ledger.book.lots.values():
            assert lot.used + lot.expired == lot.amount and not lot.remaining


def test_a_book_refuses_what_cannot_be() -> None:
    ledger = Ledger()
    earned = ledger.earn(10, START, START + timedelta(days=9))
    wrong = [
        (TransferKind.REDEEMED, "available", "redeemed", 11, {}),
        (TransferKind.EXPIRED, "available", "expired", 10, {}),  # nothing is over
        (TransferKind.RELEASED, "held", "available", 1, {"corrects": earned.id}),
        (TransferKind.RELEASED, "pending", "available", 1, {"corrects": earned.id}),
        (TransferKind.RELEASED, "pending", "available", 1, {}),
        (TransferKind.REVERSED, "redeemed", "available", 1, {"corrects": earned.id}),
        (TransferKind.EARNED, "issued", "available", 1, {}),  # no last day
        (TransferKind.REVERSED, "reversed", "available", 1, {}),
    ]
    for kind, debit, credit, amount, more in wrong:
        with pytest.raises(Inconsistent):
            ledger.post(kind, debit, credit, amount, START, **more)


@pytest.mark.parametrize(
    ("posted", "amount_now", "change"),
    [
        (Posted(10, 0, 0), 16, 6),
        (Posted(10, 0, 0), 10, 0),
        (Posted(10, 0, 0), 4, -6),
        (Posted(10, 6, 0), 7, 3),
        (Posted(10, 0, 0), 0, -10),
        (Posted(10, 0, 6), 0, -4),  # six have expired
        (Posted(10, 0, 6), 4, 0),
        (Posted(10, 0, 6), 3, -1),
        (Posted(10, 0, 10), 0, 0),
        (Posted(10, 0, 6), 12, 2),
    ],
)
def test_the_difference_to_post(posted: Posted, amount_now: int, change: int) -> None:
    assert difference(posted, amount_now) == change


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 120))
def test_a_difference_never_takes_more_than_is_there(
    issued: int, taken: int, expired: int, amount_now: int
) -> None:
    taken = min(taken, issued)
    expired = min(expired, issued - taken)
    change = difference(Posted(issued, taken, expired), amount_now)
    assert change >= -(issued - taken - expired)
    if change >= 0 and amount_now >= issued - taken:
        assert issued - taken + change == amount_now
    if change < 0:
        assert issued - taken - expired + change == amount_now


# Levels

LADDER = programme().ladder()


@pytest.mark.parametrize(
    ("earned", "today", "code", "since", "until", "to_next"),
    [
        ({}, date(2026, 3, 2), "bronze", None, None, 1500),
        ({date(2026, 1, 5): 1499}, date(2026, 3, 2), "bronze", None, None, 1),
        (
            {date(2026, 1, 5): 1500},
            date(2026, 3, 2),
            "silver",
            date(2026, 1, 5),
            date(2027, 12, 31),
            2500,
        ),
        # Reached by the last point of several days.
        (
            {date(2026, 1, 5): 1499, date(2026, 1, 6): 1},
            date(2026, 3, 2),
            "silver",
            date(2026, 1, 6),
            date(2027, 12, 31),
            2500,
        ),
        # The lowest level has no beginning, whatever was earned.
        (
            {date(2025, 1, 5): 10, date(2026, 1, 5): 10},
            date(2026, 3, 2),
            "bronze",
            None,
            None,
            1490,
        ),
        # Kept for the following year, from nothing on.
        (
            {date(2025, 11, 5): 4000},
            date(2026, 3, 2),
            "gold",
            date(2025, 11, 5),
            date(2026, 12, 31),
            8000,
        ),
        ({date(2025, 11, 5): 4000}, date(2027, 1, 1), "bronze", None, None, 1500),
        # Lower this year: the one of last year is in force.
        (
            {date(2025, 11, 5): 4000, date(2026, 2, 1): 1600},
            date(2026, 3, 2),
            "gold",
            date(2025, 11, 5),
            date(2026, 12, 31),
            6400,
        ),
        # Reached again: it lasts a year longer, and has been since it was first reached.
        (
            {date(2025, 11, 5): 4000, date(2026, 2, 1): 4000},
            date(2026, 3, 2),
            "gold",
            date(2025, 11, 5),
            date(2027, 12, 31),
            4000,
        ),
        # Lost again when points were taken back, and reached a second time.
        (
            {date(2026, 1, 1): 1500, date(2026, 1, 2): -10, date(2026, 1, 9): 10},
            date(2026, 3, 2),
            "silver",
            date(2026, 1, 9),
            date(2027, 12, 31),
            2500,
        ),
        (
            {date(2026, 1, 1): 9000},
            date(2026, 12, 31),
            "platinum",
            date(2026, 1, 1),
            date(2027, 12, 31),
            None,
        ),
    ],
)
def test_levels(
    earned: dict[date, int],
    today: date,
    code: str,
    since: date | None,
    until: date | None,
    to_next: int | None,
) -> None:
    found = levels.standing(LADDER, earned.items(), today)
    assert (found.level.code, found.since, found.until) == (code, since, until)
    assert found.to_next == to_next
    assert found.next_by == (date(today.year, 12, 31) if to_next is not None else None)
    higher = {"bronze": "silver", "silver": "gold", "gold": "platinum", "platinum": None}
    assert (found.next.code if found.next else None) == higher[code]


days = st.dates(date(2024, 1, 1), date(2026, 12, 31))


@given(st.lists(st.tuples(days, st.integers(-500, 3000)), max_size=12), days)
def test_more_points_never_lower_a_level(earned: list[tuple[date, int]], today: date) -> None:
    before = levels.standing(LADDER, earned, today)
    after = levels.standing(LADDER, [*earned, (today, 700)], today)
    assert LADDER.index(after.level) >= LADDER.index(before.level)
    assert after.earned == before.earned + 700
    assert before.since is None or before.since.year in (today.year - 1, today.year)
    if before.next is not None and before.to_next is not None:
        gained = levels.standing(LADDER, [*earned, (today, before.to_next)], today)
        assert LADDER.index(gained.level) >= LADDER.index(before.next)


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": [{"code": "bronze", "from": 1, "name": {"zh": "铜", "en": "B"}}]},
        {"notice_days": [7, 30]},
        {"notice_days": [7, 0]},
        {"grace_days": -1},
    ],
)
def test_a_programme_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    good = programme().model_dump(by_alias=True)
    assert Programme.model_validate(good) == programme()
    with pytest.raises(ValueError):
        Programme.model_validate({**good, **wrong})


# Caps


@pytest.mark.parametrize(
    ("points", "given_caps", "allowed", "named"),
    [
        (10, [], 10, None),
        (10, [Cap(CapKind.DAY, 30, 20)], 10, None),
        (10, [Cap(CapKind.DAY, 30, 21)], 9, CapKind.DAY),
        (10, [Cap(CapKind.DAY, 30, 99)], 0, CapKind.DAY),
        (10, [Cap(CapKind.DAY, 30, 25), Cap(CapKind.YEAR, 99, 97)], 2, CapKind.YEAR),
        (10, [Cap(CapKind.MEMBER, 5, 0), Cap(CapKind.RULE, 5, 0)], 5, CapKind.RULE),
        (10, [Cap(CapKind.MONTH, 5, 5), Cap(CapKind.DAY, 5, 5)], 0, CapKind.DAY),
        (0, [Cap(CapKind.DAY, 5, 5)], 0, None),
    ],
)
def test_caps_leave_room_and_are_named(
    points: int, given_caps: list[Cap], allowed: int, named: CapKind | None
) -> None:
    found = caps.within(points, given_caps)
    assert (found.points, found.cap.kind if found.cap else None) == (allowed, named)


some_caps = st.builds(Cap, st.sampled_from(CapKind), st.integers(0, 50), st.integers(0, 60))


@given(st.integers(0, 60), st.lists(some_caps, max_size=5))
def test_no_cap_is_ever_exceeded(points: int, given_caps: list[Cap]) -> None:
    found = caps.within(points, given_caps)
    assert 0 <= found.points <= points
    assert all(found.points <= cap.room for cap in given_caps)
    assert (found.cap is None) == (found.points == points)
    if found.cap is not None:
        assert found.cap in given_caps and found.points == found.cap.room


def test_every_route_is_followed_or_is_nobodys() -> None:
    """A book knows each way in which points may move, but those that no service takes."""
    unused = {("held", "reversed"), ("pending", "expired")}
    for routes in rules.ROUTES.values():
        for route in routes:
            ledger = Ledger()
            try:
                ledger.post(TransferKind.ADJUSTED, *route, 1, START)
            except Inconsistent as wrong:
                nobody = "nothing" in str(wrong) or "do not go there" in str(wrong)
                assert not nobody or route in unused, (route, wrong)
