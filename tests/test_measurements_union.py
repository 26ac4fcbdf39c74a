"""The union of several sources, against an oracle that looks at every instant."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.measurements.union import Counted, Interval, union

HOUR = 3_600_000


def oracle(sources: list[Counted]) -> Fraction:
    """Exactly, piece by piece between any two neighbouring edges: the fastest source counts;
    at least what one source counted in total."""
    edges = sorted({e for s in sources for it in s.intervals for e in (it.start, it.end)})
    located = Fraction(0)
    for at, until in pairwise(edges):
        rates = [
            Fraction(it.value) / (it.end - it.start)
            for source in sources
            for it in source.intervals
            if it.start <= at and until <= it.end
        ]
        located += max(rates, default=Fraction(0)) * (until - at)
    return max([located, *(Fraction(source.value) for source in sources)])


def random_day(random: Random) -> list[Counted]:
    """Up to four sources, with up to 40 intervals, some of them with more than they located."""
    sources = []
    for _ in range(random.randint(1, 4)):
        edges = sorted(random.sample(range(0, 24 * HOUR, 1000), 2 * random.randint(0, 40)))
        intervals = [
            Interval(start, end, Decimal(random.randint(0, 900_000)) / 1000)
            for start, end in zip(edges[::2], edges[1::2], strict=True)
        ]
        rest = random.choice([0, 0, random.randint(0, 5000)])
        sources.append(Counted(sum((it.value for it in intervals), Decimal(rest)), intervals))
    return sources


def hours(counts: dict[int, int]) -> Counted:
    """So many in each of these hours of the day."""
    found = [Interval(h * HOUR, (h + 1) * HOUR, Decimal(n)) for h, n in counts.items()]
    return Counted(Decimal(sum(counts.values())), found)


def test_a_thousand_random_days_are_as_the_oracle_says():
    random = Random(20260302)
    with_overlap = 0
    for _ in range(1000):
        day = random_day(random)
        found = union(day)
        assert abs(Fraction(found) - oracle(day)) <= Fraction(1, 1000), day
        assert max(it.value for it in day) <= found <= sum(it.value for it in day)
        with_overlap += found < sum(it.value for it in day)
    assert with_overlap > 500


def test_phone_and_watch_over_one_day():
    """9,000 steps in 24 intervals, 11,000 over half of them."""
    phone = hours({hour: 375 for hour in range(24)})
    watch = hours({hour: 916 for hour in range(11)} | {11: 924})
    assert (phone.value, watch.value) == (9000, 11000)
    # In the hours of both the watch counts faster; in the others the phone stands.
    assert union([phone, watch]) == 11000 + 12 * 375 == oracle([phone, watch])


def test_each_piece_of_time_counts_once_and_its_fastest_source_stands():
    left = hours({8: 600, 9: 100})
    right = Counted(Decimal(400), [Interval(HOUR * 17 // 2, HOUR * 19 // 2, Decimal(400))])
    # 8:00-8:30 left 300; 8:30-9:00 left 300 over 200; 9:00-9:30 right 200 over 50; then left 50.
    assert union([left, right]) == 850


@pytest.mark.parametrize(
    ("sources", "united"),
    [
        ([], "0"),
        ([Counted(Decimal("12.5"))], "12.5"),
        ([Counted(Decimal(9000)), Counted(Decimal(11000))], "11000"),
        # What the phone did not locate may lie in the hours of the watch.
        ([Counted(Decimal(9000)), hours({8: 5000, 9: 1000})], "9000"),
        ([Counted(Decimal(1000)), hours({8: 5000}), hours({9: 3000})], "8000"),
        ([hours({8: 500}), hours({8: 500})], "500"),
        ([hours({8: 500}), hours({9: 500})], "1000"),
        ([hours({8: 0}), hours({8: 500})], "500"),
    ],
)
def test_the_edges_of_the_rule(sources, united):
    assert union(sources) == Decimal(united)


@given(st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing_and_a_source_never_lowers(random):
    day = random_day(random)
    shuffled = [*day, random.choice(day)]
    random.shuffle(shuffled)
    assert union(shuffled) == union(day)
    assert union(day[:-1]) <= union(day)


@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_cutting_an_interval_into_even_parts_changes_nothing(random, parts):
    day = random_day(random)
    cut = [
        Counted(it.value, [piece for i in it.intervals for piece in _cut(i, 2**parts)])
        for it in day
    ]
    assert abs(union(cut) - union(day)) <= Decimal("0.001")


def _cut(it: Interval, parts: int) -> list[Interval]:
    if it.length % parts:
        return [it]
    step = it.length // parts
    return [
        Interval(it.start + n * step, it.start + (n + 1) * step, it.value / parts)
        for n in range(parts)
    ]
