"""Limits of categories, and where the published equations rise with a risk factor."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from app.risk.models.base import band
from app.risk.models.ckd_epi import stage
from app.risk.models.data import published
from tests.test_risk_models import shifted


@pytest.mark.parametrize(
    ("egfr", "found"),
    [
        (140, "G1"), (90, "G1"), (89.99, "G2"), (60, "G2"), (59.99, "G3a"), (45, "G3a"),
        (44.99, "G3b"), (30, "G3b"), (29.99, "G4"), (15, "G4"), (14.99, "G5"), (3, "G5"),
    ],
)  # fmt: skip
def test_kidney_function_is_staged_at_the_limits_of_kdigo(egfr: float, found: str) -> None:
    assert stage(egfr) == found


def test_creatinine_leads_through_every_stage() -> None:
    found = [shifted("ckd_epi_2021", scr_mgdl=it / 10).category for it in range(5, 100)]
    assert list(dict.fromkeys(found)) == ["G1", "G2", "G3a", "G3b", "G4", "G5"]


@pytest.mark.parametrize(
    ("share", "label"),
    [(0.0499, "low"), (0.05, "medium"), (0.10, "medium"), (0.1001, "high")],
)
def test_framingham_hypertension_is_medium_from_5_to_10_percent_both_included(
    share: float, label: str
) -> None:
    assert band(published("framingham_hypertension")["tiers_4y"], share)["label"] == label


def values(model: str, name: str, grid: Sequence[float], **rest: object) -> list[float]:
    found = [shifted(model, **rest | {name: it}).value for it in grid]
    assert None not in found
    return [it for it in found if it is not None]


def rises(found: Sequence[float]) -> bool:
    return all(first < second for first, second in pairwise(found))


@pytest.mark.parametrize("sex", ["male", "female"])
@pytest.mark.parametrize("age", [30, 45, 60, 79])
def test_prevent_rises_with_what_harms(sex: str, age: int) -> None:
    rest = {"sex": sex, "age": age}
    assert rises(values("prevent_base", "smoking", (0, 1), **rest))
    assert rises(values("prevent_base", "hdl_c", range(100, 19, -10), **rest))
    assert rises(values("prevent_base", "egfr", range(90, 14, -5), **rest))
    if age < 55:  # the published slope of cholesterol falls with age, for women below nothing
        assert rises(values("prevent_base", "total_c", range(130, 321, 10), **rest))


@pytest.mark.parametrize("sex", ["male", "female"])
@pytest.mark.parametrize("sbp", [110, 130, 160])
def test_prevent_rises_with_age(sex: str, sbp: int) -> None:
    assert rises(values("prevent_base", "age", range(30, 80), sex=sex, sbp=sbp))


@pytest.mark.parametrize("sex", ["male", "female"])
@pytest.mark.parametrize("age", [35, 45, 55, 65])
def test_china_par_rises_with_smoking_and_family(sex: str, age: int) -> None:
    rest = {"sex": sex, "age": age, "urban": 1, "family_history": 0}
    assert rises(values("china_par_10y_ascvd", "smoker", (0, 1), **rest))
    if sex == "male" and age < 65:  # men's alone, and its published slope falls with age
        assert rises(values("china_par_10y_ascvd", "family_history", (0, 1), **rest))


@pytest.mark.parametrize("sex", ["male", "female"])
@pytest.mark.parametrize("age", [35, 45, 55, 65])
def test_china_par_rises_with_the_waist_of_women_only(sex: str, age: int) -> None:
    """Men's published coefficient is below nothing, beside those of blood pressure and lipids."""
    rest = {"sex": sex, "age": age, "urban": 1, "family_history": 0}
    grid = range(50, 131, 10) if sex == "female" else range(130, 49, -10)
    assert rises(values("china_par_10y_ascvd", "waist", grid, **rest))


@pytest.mark.parametrize("model", ["score2", "score2_asia_pacific"])
@pytest.mark.parametrize("sex", ["male", "female"])
@pytest.mark.parametrize("smoker", [0, 1])
def test_score2_rises_with_age(model: str, sex: str, smoker: int) -> None:
    assert rises(values(model, "age", range(40, 70), sex=sex, smoker=smoker))
