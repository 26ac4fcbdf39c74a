"""What each transfer does to a hold and the lots that it took from, by example."""

from uuid import UUID

import pytest

from app.points.book import Allocation, Book, Hold, Inconsistent, Lot
from app.points.rules import HoldState
from tests.point_books import UNTIL, History, held, nine, on
from tests.test_points_book import midnight


def test_a_hold_takes_the_oldest_lots_first() -> None:
    history, lots, taken = held()
    expected = Hold(
        taken.id, 10, nine(2), nine(2),
        allocations=[Allocation(lots[0].id, 5), Allocation(lots[1].id, 4), Allocation(lots[2].id, 1)],
    )  # fmt: skip
    assert history.hold(taken) == expected
    assert expected.state == HoldState.HELD
    assert [history.points(it)[:3] for it in lots] == [(0, 0, 5), (0, 0, 4), (6, 0, 1)]
    assert history.changed(*lots, holds=(taken,))

    # One that is exactly as large as the oldest lot takes no other.
    history = History()
    lots = [history.earned(5, 5), history.earned(5, 6)]
    taken = history.move("available > held", 5, 2)
    assert history.changed(lots[0], holds=(taken,))
    assert history.parts(taken) == [(5, 0, 0, 0)]


def test_a_hold_lasts_until_its_end() -> None:
    history, _, _ = held(5)
    transfer = history.move("available > held", 5, 2, cause_key="x")
    book = Book()
    book.add(lots=[Lot(UUID(int=1), UUID(int=1), 1, False, on(5), midnight(on(6)), 9, remaining=9)])
    book.follow(transfer, lasts_until=UNTIL)
    assert book.holds[transfer.id].expires_at == UNTIL
    book.follow(transfer._replace(id=UUID(int=2), amount=4))
    assert book.holds[UUID(int=2)].expires_at == nine(2)


def test_a_capture_in_part_and_the_release_of_the_rest() -> None:
    history, lots, taken = held()
    captured = history.move("held > redeemed", 7, 3, taken)

    hold = history.hold(taken)
    assert history.hold(captured) is hold
    assert (hold.state, hold.captured, hold.released) == (HoldState.CAPTURED, 7, 0)
    assert (hold.capture_id, hold.resolved_at) == (captured.id, nine(3))
    assert history.parts(taken) == [(5, 5, 0, 0), (4, 2, 0, 0), (1, 0, 0, 0)]
    assert [part.open for part in hold.allocations] == [0, 2, 1]
    assert [part.spent for part in hold.allocations] == [5, 2, 0]
    assert history.points(lots[0]) == (0, 0, 0, 5, 0, 0)
    assert history.points(lots[1]) == (0, 0, 2, 2, 0, 0)
    assert history.changed(lots[0], lots[1], holds=(taken,))

    history.move("held > available", 3, 4, taken, cause_key="timed_out")
    assert (hold.state, hold.captured, hold.released) == (HoldState.CAPTURED, 7, 3)
    assert hold.resolved_at == nine(4)
    assert history.parts(taken) == [(5, 5, 0, 0), (4, 2, 2, 0), (1, 0, 1, 0)]
    assert history.points(lots[1]) == (2, 0, 0, 2, 0, 0)
    assert history.points(lots[2]) == (7, 0, 0, 0, 0, 0)
    assert history.changed(lots[1], lots[2], holds=(taken,))
    # The lot that was empty is the oldest again.
    assert history.left() == [(on(5), 2), (on(20), 7)]
    history.move("available > redeemed", 3, 4)
    assert history.points(lots[1]) == (0, 0, 0, 4, 0, 0)


def test_a_lot_that_was_empty_is_taken_again_in_its_order() -> None:
    history, lots, taken = held(9)
    history.move("available > redeemed", 1, 2)  # of the last lot: the others are passed over
    history.move("held > available", 9, 3, taken)
    history.move("available > redeemed", 6, 3)
    assert [history.points(it)[0] for it in lots] == [0, 3, 6]


def test_a_hold_captured_in_steps() -> None:
    history, _, taken = held()
    history.move("held > redeemed", 3, 3, taken)
    history.move("held > redeemed", 4, 3, taken)
    assert history.hold(taken).captured == 7
    assert history.parts(taken) == [(5, 5, 0, 0), (4, 2, 0, 0), (1, 0, 0, 0)]


@pytest.mark.parametrize(
    ("key", "state"), [("x:timed_out", HoldState.TIMED_OUT), ("x", HoldState.RELEASED)]
)
def test_a_hold_that_is_given_back(key: str, state: HoldState) -> None:
    history, lots, taken = held()
    history.move("held > available", 6, 3, taken, cause_key=key)
    hold = history.hold(taken)
    assert (hold.state, hold.released, hold.resolved_at) == (state, 6, nine(3))
    history.move("held > available", 4, 4, taken, cause_key=key)
    assert (hold.captured, hold.released, hold.capture_id) == (0, 10, None)
    assert [history.points(it)[0] for it in lots] == [5, 4, 7]
    assert history.parts(taken) == [(5, 0, 5, 0), (4, 0, 4, 0), (1, 0, 1, 0)]
    assert history.changed(lots[1], lots[2], holds=(taken,))


def test_a_held_lot_that_has_ended_is_given_back_as_another() -> None:
    history, lots, taken = held()
    live = history.move("held > available", 1, 6, taken)
    assert history.points(lots[2]) == (7, 0, 0, 0, 0, 0)
    assert history.changed(lots[2], holds=(taken,))

    another = history.move("held > available", 5, 6, taken, expires_on=on(25))
    assert history.points(lots[0]) == (0, 0, 0, 5, 0, 0)
    assert history.book.lots[another.id] == Lot(
        another.id, lots[0].id, another.seq, True, on(25), midnight(on(26)), 5, remaining=5
    )
    assert history.parts(taken) == [(5, 0, 5, 0), (4, 0, 0, 0), (1, 0, 1, 0)]
    assert history.changed(lots[0], another, holds=(taken,))
    second = history.move("held > available", 4, 6, taken, expires_on=on(25))
    assert history.book.lots[second.id].origin_id == lots[1].id
    assert history.hold(taken).released == 10 and live.amount == 1


def test_points_of_a_hold_expire_in_lots_that_have_ended_the_oldest_first() -> None:
    history, lots, taken = held()
    another = history.move("held > available", 5, 6, taken, expires_on=on(7))
    again = history.move("available > held", 9, 6, cause_key="again")
    assert [it.lot_id for it in history.hold(again).allocations] == [another.id, lots[2].id]

    history.move("held > expired", 5, 8, again)
    assert history.points(another) == (0, 0, 0, 0, 5, 0)
    assert history.parts(again) == [(5, 0, 5, 0), (4, 0, 0, 0)]
    assert history.changed(another, holds=(again,))
    history.move("held > expired", 2, 8, taken)
    assert history.points(lots[1]) == (0, 0, 2, 0, 2, 0)
    with pytest.raises(Inconsistent, match=r"^the hold has fewer points$"):
        history.move("held > expired", 3, 8, taken)

    # Also when an older one is no grace lot.
    history = History()
    old = history.earned(3, 5)
    first = history.move("available > held", 3, 2)
    grace = history.move("held > available", 3, 6, first, expires_on=on(9))
    newer = history.earned(3, 7)
    both = history.move("available > held", 6, 6)
    assert [it.lot_id for it in history.hold(both).allocations] == [newer.id, grace.id]
    history.move("held > expired", 4, 12, both)
    assert history.points(newer) == (0, 0, 0, 0, 3, 0)
    assert history.points(grace) == (0, 0, 2, 0, 1, 0)
    assert history.points(old) == (0, 0, 0, 3, 0, 0)


def test_a_held_point_that_pays_a_debt_is_used() -> None:
    history, lots, taken = held()
    history.move("held > owed", 6, 3, taken)
    assert history.points(lots[0]) == (0, 0, 0, 5, 0, 0)
    assert history.points(lots[1]) == (0, 0, 3, 1, 0, 0)
    assert history.parts(taken) == [(5, 0, 5, 0), (4, 0, 1, 0), (1, 0, 0, 0)]
    hold = history.hold(taken)
    assert (hold.state, hold.captured, hold.released) == (HoldState.RELEASED, 0, 6)


def test_a_redemption_at_once_and_its_reversal() -> None:
    history, lots, _ = held(5)
    spent = history.move("available > redeemed", 6, 3)
    hold = history.hold(spent)
    assert (hold.state, hold.captured, hold.capture_id) == (HoldState.CAPTURED, 6, spent.id)
    assert hold.resolved_at == hold.created_at == nine(3)
    assert history.parts(spent) == [(4, 4, 0, 0), (2, 2, 0, 0)]
    assert history.points(lots[1]) == (0, 0, 0, 4, 0, 0)
    assert history.points(lots[2]) == (5, 0, 0, 2, 0, 0)
    assert history.changed(lots[1], lots[2], holds=(spent,))

    history.move("redeemed > owed", 1, 4, spent)
    assert history.parts(spent) == [(4, 4, 0, 1), (2, 2, 0, 0)]
    assert history.points(lots[1]) == (0, 0, 0, 4, 0, 0)
    assert history.changed(holds=(spent,))

    # The first lot has ended, the second has not.
    history.move("redeemed > available", 2, 6, spent)
    assert history.parts(spent) == [(4, 4, 0, 1), (2, 2, 0, 2)]
    assert history.points(lots[2]) == (7, 0, 0, 0, 0, 0)
    assert history.changed(lots[2], holds=(spent,))
    with pytest.raises(Inconsistent, match=r"^fewer points were redeemed$"):
        history.move("redeemed > available", 1, 6, spent)

    another = history.move("redeemed > available", 3, 6, spent, expires_on=on(25))
    assert history.parts(spent) == [(4, 4, 0, 4), (2, 2, 0, 2)]
    assert history.points(lots[1]) == (0, 0, 0, 4, 0, 0)
    assert history.book.lots[another.id] == Lot(
        another.id, lots[1].id, another.seq, True, on(25), midnight(on(26)), 3, remaining=3
    )
    assert history.changed(another, holds=(spent,))

    # The redemption of a grace lot that has ended gives another, too.
    history.move("available > redeemed", 7, 6)
    last = history.move("available > redeemed", 3, 6)
    given = history.move("redeemed > available", 3, 26, last, expires_on=on(28))
    assert history.book.lots[given.id].origin_id == lots[1].id
    assert history.book.lots[given.id].is_grace


def test_only_the_lot_that_ended_is_replaced() -> None:
    """Two that ended: the amount must be that of the first."""
    history, lots, taken = held(9)
    with pytest.raises(Inconsistent, match=r"^the hold has fewer points$"):
        history.move("held > available", 6, 6, taken, expires_on=on(25))
    history, lots, _ = held(1)
    spent = history.move("available > redeemed", 8, 3)
    with pytest.raises(Inconsistent, match=r"^fewer points were redeemed$"):
        history.move("redeemed > available", 5, 6, spent, expires_on=on(25))
    assert history.points(lots[0]) == (0, 0, 1, 4, 0, 0)


def test_a_grace_lot_that_was_held_can_be_given_again() -> None:
    """Its points had been promised for longer."""
    history, lots, taken = held(9)
    grace = history.move("held > available", 5, 6, taken, expires_on=on(7))
    again = history.move("available > held", 5, 9)
    another = history.move("held > available", 5, 9, again, expires_on=on(25))
    assert history.points(grace) == (0, 0, 0, 5, 0, 0)
    assert history.points(another) == (5, 0, 0, 0, 0, 0)
    assert history.book.lots[another.id].is_grace
    assert history.book.lots[another.id].origin_id == lots[0].id
