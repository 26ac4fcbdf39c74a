"""What each transfer does to lots, by example: all of their fields, and each refusal."""

import re
from datetime import timedelta
from uuid import UUID

import pytest

from app.points.book import Allocation, Book, Hold, Inconsistent, Lot
from tests.point_books import UNTIL, History, nine, on
from tests.test_points_book import midnight


def test_an_earning_opens_a_lot() -> None:
    history = History()
    earned = history.earned(5, 9)
    assert history.book.lots == {
        earned.id: Lot(
            earned.id, earned.id, 1, False, on(9), midnight(on(10)), amount=5, remaining=5
        )
    }
    assert history.changed(earned)

    waits = history.earned(3, 9, pending=True)
    assert history.points(waits) == (0, 3, 0, 0, 0, 0)
    given = history.move("expired > available", 2, 3, expires_on=on(9))
    assert history.points(given) == (2, 0, 0, 0, 0, 0)
    assert history.changed(given)


def test_an_earning_that_pays_a_debt_is_of_one_origin() -> None:
    history = History()
    debt = history.move("issued > owed", 3, 1, cause_key="walk")
    rest = history.move("issued > available", 2, 1, cause_key="walk/2", expires_on=on(9))
    other = history.move("issued > available", 2, 1, cause_key="swim/2", expires_on=on(9))
    assert history.book.lots[rest.id].origin_id == debt.id
    assert history.book.lots[other.id].origin_id == other.id

    # Likewise what is given more for the same earning.
    more = history.move("issued > owed", 3, 2, debt, cause_key="walk:2")
    rest_of_more = history.move(
        "issued > available", 4, 2, debt, cause_key="walk:2/2", expires_on=on(4)
    )
    assert history.book.lots[rest_of_more.id].origin_id == debt.id != more.id
    again = history.move("issued > available", 1, 2, other, cause_key="n", expires_on=on(4))
    assert history.book.lots[again.id].origin_id == other.id
    assert history.book.of_origin(debt.id) == [
        history.book.lots[rest_of_more.id],
        history.book.lots[rest.id],
    ]
    assert history.book.of_origin(more.id) == []


def test_owed_points_taken_back_touch_no_lot() -> None:
    history = History()
    earned = history.earned(5, 9)
    history.move("owed > reversed", 5, 2, earned)
    assert history.points(earned) == (5, 0, 0, 0, 0, 0)
    assert history.changed()


def test_points_that_wait() -> None:
    history = History()
    other = history.earned(9, 3)
    first = history.earned(8, 9, pending=True)
    later = history.move("issued > pending", 4, 1, first, expires_on=on(7))
    history.move("pending > available", 6, 2, first)  # of the older one first
    assert history.points(later) == (4, 0, 0, 0, 0, 0)
    assert history.points(first) == (2, 6, 0, 0, 0, 0)
    assert history.changed(first, later)
    history.move("pending > reversed", 1, 2, first)
    history.move("pending > owed", 2, 2, first)
    assert history.points(first) == (2, 3, 0, 2, 0, 1)

    another = history.move("pending > available", 3, 10, first, expires_on=on(25))
    assert history.points(first) == (2, 0, 0, 5, 0, 1)
    assert history.book.lots[another.id] == Lot(
        another.id, first.id, another.seq, True, on(25), midnight(on(26)), 3, remaining=3
    )
    assert history.points(other) == (9, 0, 0, 0, 0, 0)

    # Somebody has to look at it again: only the earning's own points wait.
    history.move("available > pending", 7, 2, first)
    assert history.points(first)[:2] == (0, 2)
    assert history.points(later)[:2] == (0, 4)
    assert history.points(another)[:2] == (2, 1)
    assert history.points(other) == (9, 0, 0, 0, 0, 0)


def test_waiting_lots_are_accepted_each_in_its_way() -> None:
    """One has ended, one has not."""
    history = History()
    first = history.earned(8, 9, pending=True)
    ended = history.move("issued > pending", 4, 1, first, expires_on=on(3))
    with pytest.raises(Inconsistent, match=r"^the lots have 1 points too few that are pending$"):
        history.move("pending > available", 9, 5, first)
    history, first = History(), history.earned(1, 9)
    first = history.earned(8, 9, pending=True)
    ended = history.move("issued > pending", 4, 1, first, expires_on=on(3))
    history.move("pending > available", 8, 5, first)
    assert history.points(first) == (8, 0, 0, 0, 0, 0)
    assert history.points(ended) == (0, 4, 0, 0, 0, 0)
    given = history.move("pending > available", 4, 5, first, expires_on=on(25))
    assert history.points(ended) == (0, 0, 0, 4, 0, 0)
    assert history.points(given) == (4, 0, 0, 0, 0, 0)


def test_what_is_taken_back_comes_from_its_own_lots_first() -> None:
    history = History()
    oldest, own, newest = history.earned(5, 5), history.earned(6, 9), history.earned(7, 12)
    history.move("available > redeemed", 7, 2)  # all of the oldest, two of its own
    taken = history.move("available > reversed", 5, 2, own)
    assert history.points(own) == (0, 0, 0, 2, 0, 4)
    assert history.points(newest) == (6, 0, 0, 0, 0, 1)
    assert history.points(oldest) == (0, 0, 0, 5, 0, 0)
    assert history.changed(own, newest) and taken.amount == 5
    with pytest.raises(Inconsistent, match=r"^the lots have 1 points too few that are remaining$"):
        history.move("available > reversed", 7, 2, own)


def test_the_lots_of_one_last_day_expire_together() -> None:
    history = History()
    lots = [history.earned(5, 5), history.earned(6, 5), history.earned(7, 6), history.earned(1, 4)]
    history.move("available > expired", 11, 6, local_date=on(5), posted_at=midnight(on(6)))
    assert [history.points(it) for it in lots] == [
        (0, 0, 0, 0, 5, 0),
        (0, 0, 0, 0, 6, 0),
        (7, 0, 0, 0, 0, 0),
        (1, 0, 0, 0, 0, 0),
    ]
    assert history.changed(*lots[:2])
    for amount in (6, 8):
        with pytest.raises(Inconsistent, match=r"^it expires other points than those of its day$"):
            history.move(
                "available > expired", amount, 7, local_date=on(6), posted_at=midnight(on(7))
            )


def test_a_lot_lives_until_the_instant_of_its_end() -> None:
    lot = Lot(UUID(int=1), UUID(int=1), 1, False, on(5), midnight(on(6)), 5)
    assert lot.is_live(midnight(on(6)) - timedelta(microseconds=1))
    assert not lot.is_live(midnight(on(6)))
    assert lot.age == (on(5), 1)


def test_what_a_book_knows_already_stays_as_it_is() -> None:
    known = Lot(UUID(int=1), UUID(int=9), 1, False, on(5), midnight(on(6)), 5, remaining=5)
    stale = Lot(UUID(int=1), UUID(int=9), 1, False, on(5), midnight(on(6)), 5, remaining=2)
    older = Lot(UUID(int=2), UUID(int=9), 0, False, on(5), midnight(on(6)), 3, remaining=3)
    empty = Lot(UUID(int=3), UUID(int=8), 2, False, on(1), midnight(on(2)), 3, used=3)
    hold = Hold(UUID(int=5), 1, UNTIL, nine(1), capture_id=UUID(int=6))
    book = Book()
    book.add([known])
    book.add([stale, empty, older], [hold])
    assert book.lots == {known.id: known, older.id: older, empty.id: empty}
    assert book.lots[known.id] is known
    assert book.of_origin(UUID(int=9)) == [older, known]
    assert book.holds == {hold.id: hold, UUID(int=6): hold}
    assert list(book.allocations(hold)) == [] and not book.changed_lots
    part = Allocation(older.id, 2)
    hold.allocations.append(part)
    [(found, its_part)] = book.allocations(hold)
    assert found is older and its_part is part


@pytest.mark.parametrize(
    ("route", "amount", "about", "more", "message"),
    [
        ("reversed > available", 1, "lot", {}, "nothing comes from reversed"),
        ("available > owed", 1, "lot", {}, "nothing goes to owed"),
        ("pending > expired", 1, "lot", {}, "points that wait do not go there"),
        ("available > reversed", 1, None, {}, "it does not say what it is about"),
        ("held > available", 1, None, {}, "it does not say what it is about"),
        ("held > available", 1, "lot", {}, "there is no such hold"),
        ("redeemed > available", 1, "lot", {}, "there is no such hold"),
        ("held > redeemed", 7, "hold", {}, "the hold has fewer points"),
        ("held > expired", 1, "hold", {}, "the hold has fewer points"),
        ("issued > available", 1, None, {}, "it gives points without a last day"),
        ("available > held", 5, None, {}, "the lots have 1 points too few"),
        ("available > redeemed", 6, None, {}, "the lots have 2 points too few"),
        ("available > pending", 5, "lot", {}, "the lots have 1 points too few that are remaining"),
        ("pending > reversed", 2, "lot", {}, "the lots have 2 points too few that are pending"),
        (
            "held > available", 1, "hold", {"expires_on": on(25)},
            "no lot has ended for which it gives another",
        ),
    ],
)  # fmt: skip
def test_what_cannot_follow_is_refused_in_words(
    route: str, amount: int, about: str | None, more: dict[str, object], message: str
) -> None:
    history = History()
    known = {"lot": history.earned(10, 9), "hold": history.move("available > held", 6, 2)}
    with pytest.raises(Inconsistent, match=f"^{re.escape(message)}$"):
        history.move(route, amount, 3, known[about] if about else None, **more)


def test_a_lot_never_gives_more_than_it_has() -> None:
    lot = Lot(UUID(int=1), UUID(int=1), 1, False, on(5), midnight(on(6)), 5, remaining=5)
    with pytest.raises(Inconsistent, match=r"^takes more than is remaining in a lot$"):
        lot.move(6, "remaining", "used")
    lot.move(5, "remaining", "used")
    assert (lot.remaining, lot.used) == (0, 5)


def test_a_lot_has_to_have_an_end() -> None:
    transfer = History().earned(5, 9)
    for wrong, end in ((transfer, None), (transfer._replace(expires_on=None), UNTIL)):
        with pytest.raises(Inconsistent, match=r"^it gives points without a last day$"):
            Book().follow(wrong, lasts_until=end)
