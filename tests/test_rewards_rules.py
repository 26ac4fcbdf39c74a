"""Who may have a reward, without a database."""

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rewards import rules
from app.rewards.rules import Offer, Person, UnavailableReason, Window
from tests.factories import NOON

SECOND = timedelta(seconds=1)


def offer(**changes: object) -> Offer:
    values: dict[str, object] = {
        "price": 100,
        "stock": 1,
        "limit_per_member": 1,
        "active": Window(NOON, NOON + SECOND),
        "tiers": frozenset({"HIGH"}),
        "segments": frozenset({"ELDERLY"}),
    }
    return Offer(**values | changes)  # type: ignore[arg-type]


def person(**changes: object) -> Person:
    values: dict[str, object] = {
        "available": 100,
        "redeemed": 0,
        "tier": "HIGH",
        "segment": "ELDERLY",
    }
    return Person(**values | changes)  # type: ignore[arg-type]


def test_who_fits_may_have_it() -> None:
    assert rules.unavailable(offer(), person(), now=NOON) is None


@pytest.mark.parametrize(
    ("made", "member", "reason"),
    [
        ({"active": Window(NOON + SECOND, None)}, {}, "NOT_YET"),
        ({"active": Window(None, NOON)}, {}, "ENDED"),
        ({}, {"tier": "LOW"}, "NOT_ELIGIBLE"),
        ({}, {"tier": None}, "NOT_ELIGIBLE"),
        ({}, {"segment": None}, "NOT_ELIGIBLE"),
        ({"stock": 0}, {}, "OUT_OF_STOCK"),
        ({}, {"redeemed": 1}, "LIMIT_REACHED"),
        ({}, {"available": 99}, "INSUFFICIENT_POINTS"),
        ({"stock": None, "limit_per_member": None}, {"redeemed": 99}, None),
        ({"tiers": frozenset(), "segments": frozenset()}, {"tier": None, "segment": None}, None),
    ],
)
def test_each_reason(
    made: dict[str, object], member: dict[str, object], reason: str | None
) -> None:
    assert rules.unavailable(offer(**made), person(**member), now=NOON) == reason


def test_who_is_no_member_may_have_nothing() -> None:
    anything = offer(tiers=frozenset(), segments=frozenset(), stock=None, limit_per_member=None)
    assert rules.unavailable(anything, None, now=NOON) is UnavailableReason.NOT_ELIGIBLE


def test_of_several_reasons_the_one_that_the_member_can_do_least_about() -> None:
    """In the order of the list below, for every combination."""
    order = ["NOT_YET", "NOT_ELIGIBLE", "OUT_OF_STOCK", "LIMIT_REACHED", "INSUFFICIENT_POINTS"]
    for wrong in product([False, True], repeat=len(order)):
        not_yet, other, gone, had, poor = wrong
        found = rules.unavailable(
            offer(active=Window(NOON + SECOND * not_yet, None), stock=int(not gone)),
            person(tier="LOW" if other else "HIGH", redeemed=int(had), available=100 - poor),
            now=NOON,
        )
        expected = next((name for name, is_so in zip(order, wrong, strict=True) if is_so), None)
        assert found == expected, wrong


MOMENTS = st.none() | st.integers(-3, 3).map(lambda seconds: NOON + seconds * SECOND)


@given(MOMENTS, MOMENTS)
def test_a_window_is_half_open(starts_at: object, ends_at: object) -> None:
    window = Window(starts_at, ends_at)  # type: ignore[arg-type]
    begun = starts_at is None or starts_at <= NOON  # type: ignore[operator]
    over = ends_at is not None and ends_at <= NOON  # type: ignore[operator]
    assert window.holds(NOON) == (begun and not over)
    if window.is_empty:
        assert not window.holds(NOON)


@pytest.mark.parametrize("text", ["A", "AB 12", "密码", "x" * 200])
def test_a_code_can_be_shown_on_a_line(text: str) -> None:
    assert rules.is_voucher_code(text)


@pytest.mark.parametrize("text", ["", " A", "A ", "A\nB", "A\tB", "A\0B", "x" * 201, "\u200b"])
def test_what_cannot_be_shown_is_no_code(text: str) -> None:
    assert not rules.is_voucher_code(text)


@pytest.mark.parametrize(("text", "is_note"), [("x" * 500, True), ("x" * 501, False), (" ", False)])
def test_a_note_says_something(text: str, is_note: bool) -> None:
    assert rules.is_note(text) is is_note
