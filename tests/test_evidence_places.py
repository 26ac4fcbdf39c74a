"""Whether a place is near enough, and how little of it is kept."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.checkins import evidence
from app.checkins.evidence import Fence, Position, Verdict

PARK = Fence("park", Decimal("31.2304"), Decimal("121.4737"), 1_000)
FAR = Fence("far", Decimal("31.4"), Decimal("121.4737"), 500)
METRES_A_DEGREE = 111_195


def north(metres: float, accuracy: int = 20) -> Position:
    """So far north of the middle of the park."""
    latitude = PARK.latitude + Decimal(str(metres / METRES_A_DEGREE))
    return Position(latitude, PARK.longitude, Decimal(accuracy))


@pytest.mark.parametrize(
    ("metres", "accuracy", "verdict", "code"),
    [
        (0, 20, Verdict.INSIDE, "park"),
        (990, 20, Verdict.INSIDE, "park"),
        (1_010, 20, Verdict.UNSURE, "park"),
        (1_030, 20, Verdict.OUTSIDE, None),
        (1_900, 1_000, Verdict.UNSURE, "park"),
        (2_100, 1_000, Verdict.OUTSIDE, None),
        (0, 2_000, Verdict.INSIDE, "park"),
        (0, 2_001, Verdict.TOO_COARSE, None),
        (18_850, 20, Verdict.INSIDE, "far"),
    ],
)
def test_how_a_position_lies(
    metres: float, accuracy: int, verdict: Verdict, code: str | None
) -> None:
    found = evidence.judge(north(metres, accuracy), [PARK, FAR], accuracy_metres_max=2_000)
    assert found == (verdict, code)


def test_without_a_fence_nothing_is_inside() -> None:
    assert evidence.judge(north(0), [], accuracy_metres_max=10) == (Verdict.TOO_COARSE, None)
    assert evidence.judge(north(0), [], accuracy_metres_max=99) == (Verdict.OUTSIDE, None)


@pytest.mark.parametrize(
    ("one", "other", "metres"),
    [
        (("0", "0"), ("0", "1"), 111_195),
        (("31.2304", "121.4737"), ("39.9042", "116.4074"), 1_068_000),
        (("0", "179.999"), ("0", "-179.999"), 222),  # over the date line
        (("90", "0"), ("90", "123"), 0),
        (("0", "0"), ("0", "180"), 20_015_000),
    ],
)
def test_distances(one: tuple[str, str], other: tuple[str, str], metres: float) -> None:
    found = evidence.distance_metres(*map(Decimal, one), *map(Decimal, other))
    assert found == pytest.approx(metres, rel=0.002, abs=1)


@pytest.mark.parametrize(
    "numbers",
    [
        ("90.001", "0", "5"),
        ("-91", "0", "5"),
        ("0", "180.5", "5"),
        ("0", "0", "-1"),
        ("NaN", "0", "5"),
        ("0", "Infinity", "5"),
        ("0", "0", "NaN"),
    ],
)
def test_what_is_no_place_on_earth(numbers: tuple[str, str, str]) -> None:
    assert not Position(*map(Decimal, numbers)).is_possible


@given(st.decimals(-90, 90, places=6), st.decimals(-180, 180, places=6))
def test_what_is_kept_is_about_a_kilometre(latitude: Decimal, longitude: Decimal) -> None:
    position = Position(latitude, longitude, Decimal(5))
    assert position.is_possible
    kept = evidence.coarsened(position)
    assert abs(kept.latitude) <= 90 and abs(kept.longitude) <= 180
    assert kept.latitude.as_tuple().exponent == kept.longitude.as_tuple().exponent == -2
    assert evidence.distance_metres(latitude, longitude, kept.latitude, kept.longitude) < 800
