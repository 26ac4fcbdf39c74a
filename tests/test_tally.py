"""What counts towards caps, kept by rule as of one day."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.points.tally import Entry, Tally, extended

DAYS = st.dates(date(2025, 12, 20), date(2026, 2, 5))
ENTRIES = st.lists(
    st.tuples(DAYS, st.sampled_from([None, "walk", "walk/sit", "article"]), st.integers(-50, 300)),
    max_size=12,
)


def by_hand(entries: list[Entry], day: date) -> dict[str, tuple[int, int, int]]:
    found: dict[str, tuple[int, int, int]] = {}
    for on, code, points in entries:
        if on.year == day.year:
            before = found.get(code or "", (0, 0, 0))
            counts = (on == day, on.month == day.month, True)
            found[code or ""] = tuple(  # type: ignore[assignment]
                sum + points * it for sum, it in zip(before, counts, strict=True)
            )
    return found


@given(ENTRIES, st.integers(0, 40))
def test_it_says_of_each_later_day_what_the_transfers_say(entries: list[Entry], ahead: int) -> None:
    tally = extended(None, entries)
    if tally is None:
        assert not entries
        return
    assert tally.on == max(day for day, _, _ in entries)
    day = tally.on + timedelta(days=ahead)
    assert dict(tally.of(day)) == by_hand(entries, day)


@given(st.lists(ENTRIES, max_size=4))
def test_it_is_the_same_however_it_came_about(parts: list[list[Entry]]) -> None:
    tally = None
    for part in parts:
        tally = extended(tally, part)
        tally = tally and Tally.read(tally.written())
    at_once = extended(None, [it for part in parts for it in part])
    assert tally == at_once
    assert (tally and tally.written()) == (at_once and at_once.written())


def test_what_is_added_changes_no_tally_that_is_there() -> None:
    before = extended(None, [(date(2026, 1, 1), "walk", 10)])
    after = extended(before, [(date(2026, 1, 1), "walk", 5)])
    assert before == Tally(date(2026, 1, 1), {"walk": (10, 10, 10)})
    assert after == Tally(date(2026, 1, 1), {"walk": (15, 15, 15)})
