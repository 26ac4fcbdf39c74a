"""What is looked at: rates, cadences, devices and photos that tell of no person at work."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.checkins.anomalies import Done, Facts, Finding, Thresholds, find
from app.checkins.checks import checks
from app.civil_time import microseconds
from tests.factories import NOON

MIDNIGHT = NOON - timedelta(hours=12)
HOUR = timedelta(hours=1)
THRESHOLDS = Thresholds({"{steps}": Decimal(10_000)}, 5, timedelta(seconds=1))


def facts(
    value: int = 1, *, unit: str = "{steps}", before: Sequence[datetime] = (), **changes: Any
) -> Facts:
    sure: dict[str, Any] = {
        "new": Done(NOON, Decimal(value)),
        "unit": unit,
        "day_begins_at": MIDNIGHT,
        "of_day": [],
        "before": [microseconds(it) for it in before],
        "device_of_another": False,
        "photo_seen_before": False,
    }
    return Facts(**{**sure, **changes})


def found(value: int = 1, **changes: Any) -> list[Finding]:
    return find(facts(value, **changes), THRESHOLDS)


def steps(hours_ago: float, value: int) -> Done:
    return Done(NOON - HOUR * hours_ago, Decimal(value))


def test_an_ordinary_check_in_is_not_looked_at() -> None:
    assert found(8_000, of_day=[steps(3, 4_000)], before=[NOON - HOUR * 24]) == []


@pytest.mark.parametrize(
    ("value", "of_day", "is_impossible"),
    [
        (120_000, [], False),  # since midnight
        (120_001, [], True),
        (30_000, [steps(3, 90_000)], False),  # since that one, whatever it was
        (30_001, [steps(3, 1)], True),
        (10_000, [steps(1, 1)], False),
        (10_001, [steps(1, 1)], True),
        # A burst counts as one: since the one an hour back.
        (5_000, [steps(0.5, 10_000), steps(2, 1)], False),
        (5_000, [steps(0.5, 10_000), steps(0.1, 5_001), steps(2, 1)], True),
        # What was done later says nothing about before.
        (20_000, [steps(2, 1), steps(-1, 90_000)], False),
    ],
)
def test_more_than_anybody_can_do(value: int, of_day: list[Done], is_impossible: bool) -> None:
    assert (Finding.IMPOSSIBLE_RATE in found(value, of_day=of_day)) is is_impossible


def test_just_after_midnight_little_can_be_done() -> None:
    at = {"day_begins_at": NOON - timedelta(minutes=6)}
    assert found(1_000, **at) == []
    assert found(1_001, **at) == [Finding.IMPOSSIBLE_RATE]
    assert found(0, day_begins_at=NOON) == []
    assert found(1, day_begins_at=NOON) == [Finding.IMPOSSIBLE_RATE]


def test_a_unit_without_a_bound_has_no_rate() -> None:
    assert found(10**9, unit="{times}") == []


def days(*hours: float) -> list[Any]:
    return [NOON - HOUR * hour for hour in hours]


@pytest.mark.parametrize(
    ("before", "is_mechanical"),
    [
        (days(24, 48, 72, 96), True),
        (days(96, 24, 72, 48), True),  # in any order
        (days(24, 48, 72), False),  # too few
        (days(24, 48, 72, 96.001), False),  # 3.6 seconds off
        (days(24, 48, 72, 96, 200), True),  # the last ones count
        (days(0.25, 0.5, 0.75, 1), True),
        (days(24, 48, 72, 96, -3), True),  # a later one does not hide it
        ([NOON - timedelta(days=it, milliseconds=500 * (it % 2)) for it in range(1, 5)], True),
        ([NOON] * 9, False),  # one and the same instant
    ],
)
def test_as_long_between_each_as_no_person_waits(before: list[Any], is_mechanical: bool) -> None:
    assert (Finding.IDENTICAL_CADENCE in found(before=before)) is is_mechanical


def test_a_strange_device_and_a_known_photo_the_most_telling_first() -> None:
    assert found(device_of_another=True) == [Finding.SHARED_DEVICE]
    assert found(photo_seen_before=True) == [Finding.SAME_PHOTO]
    everything = found(
        10**9, device_of_another=True, photo_seen_before=True, before=days(24, 48, 72, 96)
    )
    assert everything == list(Finding)[:4]


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40, unique=True))
def test_people_who_keep_no_time_are_left_alone(seconds: list[int]) -> None:
    """Gaps that differ by more than the tolerance somewhere in the last five."""
    before = [NOON - timedelta(seconds=it) for it in seconds]
    last = sorted([*before, NOON])[-5:]
    gaps = [b - a for a, b in pairwise(last)]
    expected = len(last) == 5 and max(gaps) - min(gaps) <= timedelta(seconds=1)
    assert (Finding.IDENTICAL_CADENCE in found(before=before)) is expected


def test_the_shipped_thresholds_make_sense() -> None:
    shipped = checks().thresholds
    assert shipped.per_hour_max["{steps}"] == 15_000
    assert shipped.cadence_check_ins == 10
    assert checks().photos.link_minutes == 5
