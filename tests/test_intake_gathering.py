"""Days made of portions, against a naive count; and what gateways' parts of a day come to."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from app.intake.gateways.processing import _joined, _lasting
from app.intake.gathering import INTERVALS_MAX, DayTotal, Interval, by_day
from app.intake.spool import Portion

ZONES = ("Asia/Shanghai", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "UTC")
# With the hour that New York has twice on 1 November 2026, and the day that Apia never had.
STARTS = (datetime(2026, 10, 31, tzinfo=UTC), datetime(2011, 12, 29, tzinfo=UTC))


def portion(start: int, length: int, value: int, source: str = "a", code: str = "STEPS") -> Portion:
    return Portion(start, code, source, start + length, str(value), "{steps}", "SENSED", 1)


@st.composite
def portions(draw: st.DrawFn) -> list[Portion]:
    base = int(draw(st.sampled_from(STARTS)).timestamp())
    found = draw(
        st.lists(
            st.tuples(
                st.integers(0, 4 * 1440), st.integers(0, 600), st.integers(0, 999),
                st.sampled_from("ab"),
            ),
            max_size=40,
        )
    )  # fmt: skip
    made = [
        portion((base + 60 * minute) * 1000, length * 60_000, value, source)
        for minute, length, value, source in found
    ]
    return sorted(made)


def naive(given: list[Portion], zone: ZoneInfo) -> dict[tuple[date, str], Fraction]:
    """Minute by minute."""
    found: dict[tuple[date, str], Fraction] = defaultdict(Fraction)
    for it in given:
        minutes = range(it.start, it.end, 60_000) if it.end > it.start else [it.start]
        for ms in minutes:
            day = datetime.fromtimestamp(ms / 1000, zone).date()
            found[day, it.source] += Fraction(int(it.value), len(minutes))
    return found


@settings(max_examples=200, deadline=None)
@given(portions(), st.sampled_from(ZONES))
def test_days_add_up_as_a_naive_count_does(given: list[Portion], zone_name: str) -> None:
    zone = ZoneInfo(zone_name)
    totals = list(by_day(given, zone))
    expected = naive(given, zone)
    assert {(it.local_date, it.source) for it in totals} == set(expected)
    assert len(totals) == len(expected)
    assert [it.local_date for it in totals] == sorted(it.local_date for it in totals)
    for it in totals:
        check(it)
        wanted = expected[it.local_date, it.source]
        assert abs(Fraction(it.value) - wanted) < Fraction(len(it.intervals) + 1, 1000)


def check(it: DayTotal) -> None:
    """What recording asks of a total."""
    assert 0 < len(it.intervals) <= INTERVALS_MAX
    assert all(part.start < part.end and part.value >= 0 for part in it.intervals)
    assert all(earlier.end <= later.start for earlier, later in pairwise(it.intervals))
    assert sum(part.value for part in it.intervals) == it.value


@settings(max_examples=25, deadline=None)
@given(st.integers(289, 1500), st.integers(1, 50), st.integers(0, 2**31))
def test_any_number_of_pieces_fits(count: int, seconds: int, seed: int) -> None:
    base = int(STARTS[0].timestamp()) * 1000
    step = 86_400_000 // count
    pieces = [portion(base + i * step, min(seconds * 1000, step), 1) for i in range(count)]
    [total] = by_day(pieces, ZoneInfo("UTC"))
    check(total)
    assert total.value == count


def test_no_portions_no_days() -> None:
    assert list(by_day([], ZoneInfo("UTC"))) == []


def test_what_counts_by_its_length_counts_once() -> None:
    base = datetime(2026, 3, 1, 15, tzinfo=UTC)

    def asleep(start: int, end: int) -> Portion:
        at = [int((base + timedelta(minutes=it)).timestamp()) * 1000 for it in (start, end)]
        return Portion(at[0], "SLEEP_DURATION", "w", at[1], "", "", "SENSED", 1)

    nights = [asleep(0, 120), asleep(60, 180), asleep(60, 90), asleep(180, 240), asleep(300, 360)]
    [night] = by_day(nights, ZoneInfo("Asia/Shanghai"))
    assert (night.local_date, night.value, night.unit) == (date(2026, 3, 2), Decimal(5), "h")


# Parts that a gateway sends


def test_parts_last_until_the_next_one() -> None:
    sent = [portion(900, 900, 5), portion(0, 900, 3), portion(300, 900, 4), portion(300, 900, 4)]
    assert [(it.start, it.end, it.value) for it in _lasting(sent)] == [
        (0, 300, "3"), (300, 900, "4"), (900, 1800, "5"),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 50)), max_size=30))
def test_parts_that_come_in_any_groups_come_to_the_same(sent: list[tuple[int, int]]) -> None:
    """Each start counts once, with what was said of it last."""
    known: list[Interval] = []
    for start, value in sent:
        known = _joined(known, [Interval(start, start + 15, Decimal(value))])
    assert sum((it.value for it in known), Decimal(0)) == sum(dict(sent).values())
    assert all(earlier.end <= later.start for earlier, later in pairwise(known))
    assert all(it.start < it.end for it in known)
