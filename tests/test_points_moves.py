"""What moves when points are held, given back, settled or taken back: tables of examples."""

from datetime import date, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from app import civil_time
from app.points import moves
from app.points.book import Allocation, Book, Hold, Lot
from app.points.moves import Moment, Move
from app.points.rules import ROUTES, Account, Expiry, Route, TransferKind

SHANGHAI = ZoneInfo("Asia/Shanghai")
START = date(2026, 1, 1)
GRACE_DAYS = 30
NOTICE_DAYS = 7
TODAY = 40
"""Days since START."""

Given = tuple[int, int, bool]
"""A lot's points, last day and whether it is a grace lot."""
Posted = tuple[str, int, int | None]
"""A move's credit, amount, and the last day of the lot that it makes."""


def expiry(day: int) -> Expiry:
    on = START + timedelta(days=day)
    return Expiry(on, civil_time.end_of_day(on, SHANGHAI))


def moment(day: int = TODAY) -> Moment:
    # The instant at which the day begins: lots of the day before have just ended.
    on = START + timedelta(days=day)
    return Moment(expiry(day - 1).at, on, SHANGHAI, GRACE_DAYS, NOTICE_DAYS)


def lot(place: int, points: int, last: int, is_grace: bool, **state: int) -> Lot:
    end = expiry(last)
    id = UUID(int=place)
    return Lot(id, id, place, is_grace, end.on, end.at, points, **state)


def hold_of(*lots: Given, **of_each: int) -> tuple[Book, Hold]:
    """A book with a hold over these lots, `of_each` in the state of every part."""
    book = Book()
    book.add(lot(place, *it, held=it[0]) for place, it in enumerate(lots, 1))
    parts = [
        Allocation(UUID(int=place), points, **of_each)
        for place, (points, _, _) in enumerate(lots, 1)
    ]
    total = sum(points for points, _, _ in lots)
    return book, Hold(UUID(int=99), total, expiry(90).at, expiry(1).at, allocations=parts)


def posted(found: moves.Moves, kinds: dict[str, TransferKind], debit: str) -> list[Posted]:
    """Each move, once its kind and debit are as they should be."""
    told = []
    for move in found:
        assert move.kind is kinds[move.route.credit] and move.route.debit == debit
        assert move.route in ROUTES[move.kind]
        last = None if move.expires is None else (move.expires.on - START).days
        assert move.expires is None or move.expires == expiry((move.expires.on - START).days)
        told.append((str(move.route.credit), move.amount, last))
    return told


RELEASED = {
    "available": TransferKind.RELEASED,
    "owed": TransferKind.RELEASED,
    "expired": TransferKind.EXPIRED,
    "redeemed": TransferKind.REDEEMED,
}

LIVE = (10, TODAY, False)
LIVE_GRACE = (4, TODAY + 1, True)
ENDED = (5, TODAY - 1, False)
ENDED_EARLIER = (6, TODAY - GRACE_DAYS, False)
TOO_LATE = (7, TODAY - GRACE_DAYS - 1, False)
ENDED_GRACE = (8, TODAY - 1, True)


@pytest.mark.parametrize(
    ("lots", "owed", "expected"),
    [
        ([LIVE], 0, [("available", 10, None)]),
        ([LIVE, LIVE_GRACE], 0, [("available", 14, None)]),
        ([ENDED], 0, [("available", 5, TODAY - 1 + GRACE_DAYS)]),
        ([ENDED_EARLIER], 0, [("available", 6, TODAY)]),
        ([TOO_LATE], 0, [("expired", 7, None)]),
        ([ENDED_GRACE], 0, [("expired", 8, None)]),
        (
            [TOO_LATE, ENDED_EARLIER, ENDED_GRACE, ENDED, LIVE, LIVE_GRACE],
            0,
            [
                ("expired", 7, None),
                ("available", 6, TODAY),
                ("expired", 8, None),
                ("available", 5, TODAY - 1 + GRACE_DAYS),
                ("available", 14, None),
            ],
        ),
        # A debt is paid first, from the oldest.
        ([LIVE], 10, [("owed", 10, None)]),
        ([LIVE], 99, [("owed", 10, None)]),
        ([LIVE], 3, [("owed", 3, None), ("available", 7, None)]),
        ([ENDED, LIVE], 5, [("owed", 5, None), ("available", 10, None)]),
        (
            [ENDED, LIVE],
            2,
            [("owed", 2, None), ("available", 3, TODAY - 1 + GRACE_DAYS), ("available", 10, None)],
        ),
        ([TOO_LATE, LIVE], 8, [("owed", 8, None), ("available", 9, None)]),
        ([], 3, []),
    ],
)
def test_what_a_hold_gives_back(lots: list[Given], owed: int, expected: list[Posted]) -> None:
    book, hold = hold_of(*lots)
    found = moves.releasing(book, hold, owed=owed, moment=moment())
    assert posted(found, RELEASED, "held") == expected


@pytest.mark.parametrize(
    ("lots", "amount", "owed", "expected"),
    [
        ([LIVE], 10, 0, [("redeemed", 10, None)]),
        ([LIVE], 10, 5, [("redeemed", 10, None)]),
        ([LIVE], 1, 0, [("redeemed", 1, None), ("available", 9, None)]),
        ([TOO_LATE], 7, 0, [("redeemed", 7, None)]),
        # The oldest points are redeemed, so what is given back are the newest.
        ([ENDED, LIVE], 6, 0, [("redeemed", 6, None), ("available", 9, None)]),
        (
            [ENDED, LIVE],
            4,
            0,
            [
                ("redeemed", 4, None),
                ("available", 1, TODAY - 1 + GRACE_DAYS),
                ("available", 10, None),
            ],
        ),
        (
            [ENDED, LIVE],
            4,
            3,
            [("redeemed", 4, None), ("owed", 3, None), ("available", 8, None)],
        ),
        (
            [TOO_LATE, LIVE],
            2,
            0,
            [("redeemed", 2, None), ("expired", 5, None), ("available", 10, None)],
        ),
    ],
)
def test_what_a_capture_moves(
    lots: list[Given], amount: int, owed: int, expected: list[Posted]
) -> None:
    book, hold = hold_of(*lots)
    found = posted(
        moves.capturing(book, hold, amount, owed=owed, moment=moment()), RELEASED, "held"
    )
    assert found == expected
    assert sum(points for _, points, _ in found) == hold.amount


@pytest.mark.parametrize("amount", [-1, 0, 11])
def test_a_capture_is_of_something_that_is_held(amount: int) -> None:
    book, hold = hold_of(LIVE)
    with pytest.raises(AssertionError):
        list(moves.capturing(book, hold, amount, owed=0, moment=moment()))


def test_what_was_captured_or_released_before_is_not_given_back() -> None:
    book, hold = hold_of(LIVE, (9, TODAY + 1, False), captured=2, released=3)
    found = moves.releasing(book, hold, owed=0, moment=moment())
    assert posted(found, RELEASED, "held") == [("available", 9, None)]


GIVEN_BACK = {"available": TransferKind.REVERSED, "owed": TransferKind.REVERSED}
ACCEPTED = {"available": TransferKind.RELEASED, "owed": TransferKind.RELEASED}


@pytest.mark.parametrize(
    ("lots", "owed", "expected"),
    [
        ([LIVE, LIVE_GRACE], 0, [("available", 14, None)]),
        ([ENDED], 0, [("available", 5, TODAY + GRACE_DAYS)]),
        # However late, and also of a grace lot: the member did not take so long.
        (
            [TOO_LATE, ENDED_GRACE, LIVE],
            0,
            [
                ("available", 7, TODAY + GRACE_DAYS),
                ("available", 8, TODAY + GRACE_DAYS),
                ("available", 10, None),
            ],
        ),
        ([LIVE], 10, [("owed", 10, None)]),
        ([LIVE], 99, [("owed", 10, None)]),
        (
            [ENDED, LIVE, LIVE_GRACE],
            6,
            [("owed", 6, None), ("available", 13, None)],
        ),
        (
            [ENDED, LIVE],
            2,
            [("owed", 2, None), ("available", 3, TODAY + GRACE_DAYS), ("available", 10, None)],
        ),
        ([], 3, []),
    ],
)
def test_what_comes_back_after_a_redemption_or_a_wait(
    lots: list[Given], owed: int, expected: list[Posted]
) -> None:
    book, hold = hold_of(*lots)
    for part in hold.allocations:
        part.captured = part.amount
    found = moves.restoring(book, hold, owed=owed, moment=moment())
    assert posted(found, GIVEN_BACK, "redeemed") == expected

    waiting = [lot(place, *it, pending=it[0]) for place, it in enumerate(lots, 1)]
    found = moves.accepting(waiting, owed=owed, moment=moment())
    assert posted(found, ACCEPTED, "pending") == expected


def test_only_what_was_captured_and_not_given_back_yet_comes_back() -> None:
    book, hold = hold_of(LIVE, (9, TODAY + 1, False), captured=6, released=1, returned=2)
    found = moves.restoring(book, hold, owed=0, moment=moment())
    assert posted(found, GIVEN_BACK, "redeemed") == [("available", 8, None)]


@pytest.mark.parametrize(
    ("amount", "waiting", "available", "expected"),
    [
        (10, 0, 20, [("available", 10)]),
        (10, 0, 10, [("available", 10)]),
        (10, 10, 20, [("pending", 10)]),
        (10, 12, 20, [("pending", 10)]),
        (10, 4, 20, [("pending", 4), ("available", 6)]),
        (10, 4, 5, [("pending", 4), ("available", 5), ("owed", 1)]),
        (10, 4, 0, [("pending", 4), ("owed", 6)]),
        (10, 0, 1, [("available", 1), ("owed", 9)]),
        (10, 0, 0, [("owed", 10)]),
        (1, 1, 1, [("pending", 1)]),
        (0, 5, 5, []),
    ],
)
@pytest.mark.parametrize("kind", [TransferKind.REVERSED, TransferKind.RESTATED])
def test_taking_back_takes_what_waits_then_what_is_available_then_owes(
    amount: int, waiting: int, available: int, expected: list[tuple[str, int]], kind: TransferKind
) -> None:
    assert list(moves.taking_back(amount, kind, waiting=waiting, available=available)) == [
        Move(kind, Route(Account(debit), Account.REVERSED), points) for debit, points in expected
    ]


def test_a_day_ends_at_the_members_midnight() -> None:
    here = moment()
    assert here.day(START) == expiry(0)
    assert here.day(START).at.isoformat() == "2026-01-01T16:00:00+00:00"
    elsewhere = Moment(here.now, here.local_date, ZoneInfo("America/New_York"), 0, 7)
    assert elsewhere.day(START).at.isoformat() == "2026-01-02T05:00:00+00:00"
