"""The published models against printed examples, other implementations and their own shape."""

import csv
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.risk.models import LATEST
from app.risk.models.base import InputInvalid, Outcome, Result, years

EXAMPLES = Path(__file__).parent / "data" / "examples.csv"


def examples() -> list[Any]:
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] in LATEST]
    return [pytest.param(row, id=row["id"]) for row in rows]


def outcomes(result: Result) -> dict[str, float | None]:
    return {it.name: it.value for it in result.outcomes}


def flat(expected: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in expected.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


NAMES = {
    "score": ("score", 1),
    "risk_10y": ("risk_10y", 100),
    "egfr": ("egfr", 1),
    "logit": ("8y", 100),
    "points": ("points", 1),
    "points_risk_pct": ("points_risk_pct", 1),
    "risk_10y_pct": ("10y.ascvd", 1),
    "risk_pct": ("10y.cvd", 1),
    **{f"weibull.{it}y": (f"{it}y", 100) for it in (1, 2, 4)},
    **{f"points_risk_pct.{it}y": (f"points_risk_pct.{it}y", 1) for it in (1, 2, 4)},
    **{
        f"{horizon}y.{it}": (f"{horizon}y.{it}", 100)
        for horizon in (10, 30)
        for it in ("total_cvd", "ascvd", "heart_failure", "chd", "stroke")
    },
}
"""Where an expected number stands among the outcomes, and how many of our units it is."""
NOT_OURS = {"ideal_risk_10y_pct", "lifetime_pct"}
"""Printed by the official calculator from coefficients that were never published."""


@pytest.mark.parametrize("row", examples())
def test_an_example_is_met_within_its_tolerance(row: dict[str, str]) -> None:
    found = LATEST[row["model"]].score(json.loads(row["inputs"]))

    given, tolerance = outcomes(found), float(row["tolerance"])
    compared = 0
    for name, expected in flat(json.loads(row["expected"])).items():
        if name == "category":
            # Of 5.1 % computed and 4.7 % printed: the flag says that it may be either.
            assert found.category == expected or found.near_limit
        elif name == "high":
            assert (found.category == "high") is expected
        elif name not in NOT_OURS:
            place, factor = NAMES[name]
            assert given[place] == pytest.approx(expected * factor, abs=tolerance * factor + 1e-9)
            compared += 1
    assert compared > 0
    assert found.not_applicable is None
    assert found.value == found.outcomes[0].value or row["model"] == "framingham_hypertension"


def test_the_examples_cover_every_model() -> None:
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        assert set(LATEST) <= {row["model"] for row in csv.DictReader(file)}


def test_the_printed_example_of_china_par_is_near_a_limit() -> None:
    row = {
        "sex": "male", "age": 40, "sbp": 145, "dbp": 80, "treated": 0, "tc_mmol": 5.2,
        "hdl_mmol": 1.3, "waist": 80, "smoker": 0, "diabetes": 0, "north": 1, "urban": 1,
        "family_history": 1,
    }  # fmt: skip
    found = score("china_par_10y_ascvd", **row)
    assert found.value == pytest.approx(5.1, abs=0.05)
    assert found.near_limit


BASE: dict[str, dict[str, Any]] = {
    "findrisc": {"age": 50, "sex": "male", "bmi": 24, "waist": 90, "active": 1, "veg": 1, "bpmed": 0, "highglu": 0,
                     "fam": "none"},
    "ncdrs_china": {"age": 50, "sex": "female", "sbp": 118, "bmi": 23, "waist": 78, "fam": 0},
    "ada_risk_test": {"age": 45, "male": 0, "gdm": 0, "family": 0, "htn": 0, "active": 1, "bmi": 24},
    "china_par_10y_ascvd": {"sex": "female", "age": 55, "sbp": 130, "treated": 0, "tc_mmol": 5, "hdl_mmol": 1.3,
                                "waist": 80, "smoker": 0, "diabetes": 0, "north": 1},
    "framingham_hypertension": {"sex": "male", "age": 45, "sbp": 122, "dbp": 78, "bmi": 24, "smoker": 0,
                                    "parents_htn": 0},
    "framingham_diabetes_8y": {"sex": "male", "age": 55, "sbp": 118, "dbp": 76, "bmi": 24, "hdl_mgdl": 50,
                                   "tg_mgdl": 90, "fasting_glucose_mgdl": 90, "parental_history": 0,
                                   "bp_treated": 0},
    "prevent_base": {"sex": "female", "age": 50, "sbp": 125, "bp_tx": 0, "total_c": 190, "hdl_c": 50, "statin": 0,
                         "dm": 0, "smoking": 0, "egfr": 90, "bmi": 25},
    "score2": {"sex": "male", "age": 50, "smoker": 0, "sbp": 130, "tc_mmol": 5.5, "hdl_mmol": 1.3, "region": "high"},
    "score2_asia_pacific": {"sex": "male", "age": 50, "smoker": 0, "sbp": 130, "tc_mmol": 5.5, "hdl_mmol": 1.3,
                                "region": "high"},
    "ckd_epi_2021": {"scr_mgdl": 1.0, "age": 50, "sex": "male"},
}  # fmt: skip


def score(model: str, **inputs: Any) -> Result:
    return LATEST[model].score(inputs)


def shifted(model: str, **change: Any) -> Result:
    return score(model, **BASE[model] | change)


# Tables


@pytest.mark.parametrize(
    ("change", "points"),
    [
        *[({"age": it}, p) for it, p in
          ((25, 0), (44.9, 0), (45, 2), (54.9, 2), (55, 3), (64, 3), (65, 4), (99, 4))],
        *[({"bmi": it}, p) for it, p in ((24.9, 0), (25, 1), (30, 1), (30.01, 3))],
        *[({"waist": it}, p) for it, p in ((93.9, 0), (94, 3), (102, 3), (102.1, 4))],
        *[({"sex": "female", "waist": it}, p) for it, p in
          ((79.9, 0), (80, 3), (88, 3), (88.1, 4))],
        ({"active": 0}, 2), ({"veg": 0}, 1), ({"bpmed": 1}, 2), ({"highglu": 1}, 5),
        ({"fam": "second_degree"}, 3), ({"fam": "first_degree"}, 5),
    ],
)  # fmt: skip
def test_findrisc_gives_the_points_of_its_form(change: dict[str, Any], points: int) -> None:
    lowest = {"age": 30} if "age" not in change else {}
    assert shifted("findrisc", **lowest | change).value == points


@pytest.mark.parametrize(
    ("change", "points"),
    [
        *[({"age": it}, p) for it, p in (
            (20, 0), (24.9, 0), (25, 4), (34.9, 4), (35, 8), (39.9, 8), (40, 11), (44.9, 11),
            (45, 12), (49.9, 12), (50, 13), (54.9, 13), (55, 15), (59.9, 15), (60, 16),
            (64.9, 16), (65, 18), (74.9, 18))],
        *[({"sbp": it}, p) for it, p in (
            (109.9, 0), (110, 1), (119.9, 1), (120, 3), (129, 3), (130, 6), (139, 6), (140, 7),
            (149, 7), (150, 8), (159, 8), (160, 10), (220, 10))],
        *[({"bmi": it}, p) for it, p in
          ((21.9, 0), (22, 1), (23.9, 1), (24, 3), (29.9, 3), (30, 5))],
        *[({"waist": it}, p) for it, p in (
            (69.9, 0), (70, 3), (74.9, 3), (75, 5), (80, 7), (85, 8), (89.9, 8), (90, 10))],
        *[({"sex": "male", "waist": it}, 2 + p) for it, p in (
            (74.9, 0), (75, 3), (80, 5), (85, 7), (90, 8), (94.9, 8), (95, 10))],
        ({"fam": 1}, 6),
    ],
)  # fmt: skip
def test_ncdrs_gives_the_points_of_its_form(change: dict[str, Any], points: int) -> None:
    lowest = {"age": 20, "sbp": 100, "bmi": 20, "waist": 65}
    assert shifted("ncdrs_china", **lowest | change).value == points


def test_ncdrs_is_high_from_25_points() -> None:
    assert shifted("ncdrs_china", age=50, sbp=118, bmi=23, waist=76).category == "not_high"
    found = shifted("ncdrs_china", age=50, sbp=132, bmi=23, waist=76)
    assert (found.value, found.category) == (25, "high")


@pytest.mark.parametrize(
    ("change", "points"),
    [
        *[({"age": it}, p) for it, p in ((18, 0), (39.9, 0), (40, 1), (50, 2), (59, 2), (60, 3))],
        *[({"bmi": it}, p) for it, p in
          ((24.9, 0), (25, 1), (29.9, 1), (30, 2), (39.9, 2), (40, 3))],
        ({"male": 1}, 1), ({"gdm": 1}, 1), ({"family": 1}, 1), ({"htn": 1}, 1), ({"active": 0}, 1),
    ],
)  # fmt: skip
def test_the_ada_test_gives_the_points_of_its_form(change: dict[str, Any], points: int) -> None:
    lowest = {"age": 30} if "age" not in change else {}
    assert shifted("ada_risk_test", **lowest | change).value == points


def test_findrisc_names_its_categories() -> None:
    found = {
        (it.value, it.category)
        for it in (
            shifted("findrisc", age=30, **change)
            for change in (
                {}, {"highglu": 1, "veg": 0}, {"highglu": 1, "bpmed": 1},
                {"highglu": 1, "fam": "first_degree", "veg": 0},
                {"highglu": 1, "fam": "first_degree", "bpmed": 1},
                {"highglu": 1, "fam": "first_degree", "bpmed": 1, "bmi": 31},
                {"highglu": 1, "fam": "first_degree", "bpmed": 1, "bmi": 31, "waist": 103,
                 "active": 0},
            )
        )
    }  # fmt: skip
    assert found == {
        (0, "low"), (6, "low"), (7, "slightly_elevated"), (11, "slightly_elevated"),
        (12, "moderate"), (15, "high"), (21, "very_high"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "total", "printed"),
    [
        ({"age": 25, "sbp": 100, "dbp": 60}, -12, 0.22),
        ({"age": 25, "sbp": 125, "dbp": 75, "smoker": 1}, 7, 5.43),
        ({"age": 63, "sbp": 125, "dbp": 79, "bmi": 27, "smoker": 1, "parents_htn": 1}, 18, 30.16),
        (
            {"age": 69, "sbp": 139, "dbp": 89, "bmi": 31, "smoker": 1, "parents_htn": 2,
             "sex": "female"},
            27, 80.69,
        ),
    ],
)  # fmt: skip
def test_framingham_hypertension_prints_the_percent_of_its_points(
    change: dict[str, Any], total: int, printed: float
) -> None:
    """7 points are 5.43 %, where some code has 4.53. 28 would need an age of 70."""
    found = outcomes(shifted("framingham_hypertension", **change))
    assert (found["points"], found["points_risk_pct.4y"]) == (total, printed)


@pytest.mark.parametrize(
    ("change", "item"),
    [
        ({"bmi": 25}, "bmi"), ({"bmi": 30}, "bmi"), ({"sbp": 130}, "blood_pressure"),
        ({"dbp": 85}, "blood_pressure"), ({"bp_treated": 1}, "blood_pressure"),
        ({"hdl_mgdl": 39.9}, "hdl"), ({"tg_mgdl": 150}, "triglycerides"),
        ({"fasting_glucose_mgdl": 100}, "glucose"), ({"fasting_glucose_mgdl": 125.9}, "glucose"),
        ({"parental_history": 1}, "parental_history"),
    ],
)  # fmt: skip
def test_framingham_diabetes_counts_what_is_at_its_limit(change: dict[str, Any], item: str) -> None:
    base, found = shifted("framingham_diabetes_8y"), shifted("framingham_diabetes_8y", **change)
    assert {it.factor for it in found.contributions if abs(it.value) > 1e-9} == {"base", item}
    assert (found.value or 0) > (base.value or 0)


@pytest.mark.parametrize(
    "change",
    [
        {"bmi": 24.99}, {"sbp": 129.9}, {"dbp": 84.9}, {"hdl_mgdl": 40}, {"tg_mgdl": 149.9},
        {"fasting_glucose_mgdl": 99.9},
    ],
)  # fmt: skip
def test_framingham_diabetes_counts_nothing_below_its_limits(change: dict[str, Any]) -> None:
    assert shifted("framingham_diabetes_8y", **change).value == pytest.approx(
        shifted("framingham_diabetes_8y").value
    )


def test_the_hdl_of_a_woman_is_low_below_50() -> None:
    low = shifted("framingham_diabetes_8y", sex="female", hdl_mgdl=49.9)
    enough = shifted("framingham_diabetes_8y", sex="female", hdl_mgdl=50)
    assert (low.value or 0) > (enough.value or 0)


# Ranges and what is missing

RANGES = [
    ("findrisc", "age", 25, 24.99),
    ("ncdrs_china", "age", 20, 19.99),
    ("ncdrs_china", "age", 74.99, 75),
    ("ada_risk_test", "age", 18, 17.9),
    ("ckd_epi_2021", "age", 18, 17.9),
    ("china_par_10y_ascvd", "age", 35, 34.99),
    ("china_par_10y_ascvd", "age", 74.99, 75),
    ("china_par_10y_ascvd", "sbp", 70, 69.9),
    ("china_par_10y_ascvd", "sbp", 200, 200.1),
    ("china_par_10y_ascvd", "dbp", 140, 140.1),
    ("china_par_10y_ascvd", "dbp", 40, 39.9),
    ("china_par_10y_ascvd", "tc_mmol", 2, 1.99),
    ("china_par_10y_ascvd", "tc_mmol", 11, 11.01),
    ("china_par_10y_ascvd", "hdl_mmol", 0.5, 0.49),
    ("china_par_10y_ascvd", "hdl_mmol", 4, 4.01),
    ("china_par_10y_ascvd", "waist", 50, 49.9),
    ("china_par_10y_ascvd", "waist", 130, 130.1),
    ("framingham_hypertension", "age", 20, 19.99),
    ("framingham_hypertension", "age", 69.99, 70),
    ("framingham_hypertension", "sbp", 139.9, 140),
    ("framingham_hypertension", "dbp", 89.9, 90),
    ("framingham_diabetes_8y", "age", 45, 44.99),
    ("framingham_diabetes_8y", "age", 64.99, 65),
    ("framingham_diabetes_8y", "fasting_glucose_mgdl", 125.9, 126),
    ("prevent_base", "age", 30, 29.99),
    ("prevent_base", "age", 79.99, 80),
    ("prevent_base", "sbp", 90, 89.9),
    ("prevent_base", "sbp", 180, 180.1),
    ("prevent_base", "total_c", 130, 129.9),
    ("prevent_base", "total_c", 320, 320.1),
    ("prevent_base", "hdl_c", 20, 19.9),
    ("prevent_base", "hdl_c", 100, 100.1),
    ("prevent_base", "bmi", 18.5, 18.4),
    ("prevent_base", "bmi", 39.9, 40),
    ("prevent_base", "egfr", 15, 14.9),
    ("prevent_base", "egfr", 140, 140.1),
    *[(it, "age", 40, 39.99) for it in ("score2", "score2_asia_pacific")],
    *[(it, "age", 69.99, 70) for it in ("score2", "score2_asia_pacific")],
]


@pytest.mark.parametrize(("model", "name", "inside", "outside"), RANGES)
def test_outside_its_range_a_model_says_nothing(
    model: str, name: str, inside: float, outside: float
) -> None:
    assert shifted(model, **{name: inside}).value is not None
    found = shifted(model, **{name: outside})
    assert (found.value, found.category, found.outcomes, found.contributions) == (
        None,
        None,
        (),
        (),
    )
    assert found.not_applicable is not None
    label = next(it.label for it in LATEST[model].inputs if it.name == name)
    assert label.zh in found.not_applicable.zh
    assert label.en in found.not_applicable.en
    assert f"{outside:g}" in found.not_applicable.en


@pytest.mark.parametrize("model", LATEST)
def test_a_missing_input_is_named(model: str) -> None:
    needed = [it for it in LATEST[model].inputs if it.required]
    assert needed
    for it in needed:
        for absent in ({k: v for k, v in BASE[model].items() if k != it.name},
                       BASE[model] | {it.name: None}):  # fmt: skip
            found = score(model, **absent)
            assert found.value is None
            assert found.not_applicable is not None
            assert it.label.en in found.not_applicable.en
            assert it.label.zh in found.not_applicable.zh


def test_all_that_is_missing_is_named_at_once() -> None:
    found = score("prevent_base", sex="male", age=50)
    assert found.not_applicable is not None
    assert found.not_applicable.en == (
        "Missing: systolic blood pressure, blood pressure medicine, total cholesterol, "
        "HDL cholesterol, statin, diabetes, current smoking, eGFR."
    )


def test_men_are_asked_more_by_china_par() -> None:
    found = shifted("china_par_10y_ascvd", sex="male")
    assert found.not_applicable is not None
    assert found.not_applicable.en == "Missing: living in a city, ASCVD in a parent or sibling."
    assert shifted("china_par_10y_ascvd", sex="male", urban=0, family_history=0).value is not None


@pytest.mark.parametrize(
    ("model", "name"),
    [(code, it.name) for code, model in LATEST.items() for it in model.inputs if it.excludes],
)
def test_whom_a_model_is_not_for_gets_the_reason(model: str, name: str) -> None:
    found = shifted(model, **{name: 1})
    assert found.value is None
    assert found.not_applicable is not None
    assert shifted(model, **{name: 0}).value == shifted(model).value


def test_without_a_body_mass_index_prevent_knows_all_but_heart_failure() -> None:
    inputs = {name: value for name, value in BASE["prevent_base"].items() if name != "bmi"}
    found = score("prevent_base", **inputs)
    assert found.value is not None
    absent = {it.name for it in found.outcomes if it.value is None}
    assert absent == {"10y.heart_failure", "30y.heart_failure"}
    assert all(it.not_applicable for it in found.outcomes if it.value is None)
    assert found.value == shifted("prevent_base").value


def test_prevent_looks_30_years_ahead_until_59() -> None:
    def ahead(age: float) -> list[Outcome]:
        found = shifted("prevent_base", age=age).outcomes
        return [it for it in found if it.name.startswith("30y") and it.value is not None]

    assert len(ahead(59.9)) == 5
    assert ahead(60) == []
    assert shifted("prevent_base", age=60).value is not None


@pytest.mark.parametrize(
    ("model", "change", "allowed"),
    [
        ("findrisc", {"age": "50"}, "a number, ≥ 0, ≤ 130 a"),
        ("findrisc", {"age": True}, "a number, ≥ 0, ≤ 130 a"),
        ("findrisc", {"age": -1}, "a number, ≥ 0, ≤ 130 a"),
        ("findrisc", {"bmi": math.nan}, "a number, ≥ 10, ≤ 80 kg/m2"),
        ("findrisc", {"bmi": math.inf}, "a number, ≥ 10, ≤ 80 kg/m2"),
        ("findrisc", {"bmi": 10**400}, "a number, ≥ 10, ≤ 80 kg/m2"),
        ("findrisc", {"fam": "cousin"}, "none or second_degree or first_degree"),
        ("findrisc", {"sex": "MALE"}, "male or female"),
        ("findrisc", {"active": 2}, "0 or 1"),
        ("findrisc", {"active": [1]}, "0 or 1"),
        ("findrisc", {"weight": 80}, "one of age, sex"),
        ("score2", {"region": "china"}, "low or moderate or high or very_high"),
        ("framingham_hypertension", {"parents_htn": 3}, "0 or 1 or 2"),
        ("ncdrs_china", {"sbp": 9000}, "a number, ≥ 50, ≤ 300 mm[Hg]"),
        ("ada_risk_test", {"male": 1, "gdm": 1}, "0 for a man"),
    ],
)
def test_what_cannot_be_meant_is_refused(model: str, change: dict[str, Any], allowed: str) -> None:
    with pytest.raises(InputInvalid) as error:
        shifted(model, **change)
    (name, value), *_ = list(change.items())[-1:]
    assert str(error.value).startswith(f"{name}: ")
    assert f" is not allowed; allowed: {allowed}" in str(error.value)
    assert len(repr(value)) > 80 or f": {value!r} is" in str(error.value)


def test_flags_may_be_booleans() -> None:
    assert shifted("findrisc", active=False) == shifted("findrisc", active=0)
    assert shifted("findrisc", active=1.0) == shifted("findrisc", active=1)


def test_completed_years_end_with_the_next_birthday() -> None:
    assert [years(40, 69).holds(it) for it in (39.99, 40, 69, 69.99, 70)] == [
        False, True, True, True, False,
    ]  # fmt: skip


# Properties

_NUMBERS: dict[str, tuple[float, float]] = {
    "bmi": (18.5, 39), "waist": (55, 125), "scr_mgdl": (0.3, 8),
    "tc_mmol": (2.1, 10.9), "hdl_mmol": (0.5, 3.9), "total_c": (130, 320), "hdl_c": (20, 100),
    "egfr": (15, 140), "hdl_mgdl": (20, 100), "tg_mgdl": (40, 500),
    "fasting_glucose_mgdl": (60, 125),
}  # fmt: skip
_BY_MODEL: dict[str, dict[str, tuple[float, float]]] = {
    "findrisc": {"age": (25, 90)},
    "ncdrs_china": {"age": (20, 74), "sbp": (90, 200)},
    "ada_risk_test": {"age": (18, 90)},
    "china_par_10y_ascvd": {"age": (35, 74), "sbp": (90, 199)},
    "framingham_hypertension": {"age": (20, 69), "sbp": (90, 139), "dbp": (55, 89)},
    "framingham_diabetes_8y": {"age": (45, 64), "sbp": (90, 180), "dbp": (55, 110)},
    "prevent_base": {"age": (30, 79), "sbp": (90, 180)},
    "score2": {"age": (40, 69), "sbp": (90, 200)},
    "score2_asia_pacific": {"age": (40, 69), "sbp": (90, 200)},
    "ckd_epi_2021": {"age": (18, 90)},
}


def people(model: str) -> st.SearchStrategy[dict[str, Any]]:
    """Anybody whom the model is for."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for it in LATEST[model].inputs:
        ends = _BY_MODEL[model].get(it.name, _NUMBERS.get(it.name))
        if it.excludes is not None or (it.name == "dbp" and ends is None):
            continue
        if it.options:
            fields[it.name] = st.sampled_from([int(o) if o.isdigit() else o for o in it.options])
        else:
            assert ends is not None, it.name
            fields[it.name] = st.floats(*ends)
    made = st.fixed_dictionaries(fields)
    if model == "ada_risk_test":
        return made.map(lambda it: it | {"gdm": 0} if it["male"] else it)
    return made


@pytest.mark.parametrize("model", LATEST)
def test_contributions_add_up_to_the_result(model: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(people(model))
    def check(inputs: dict[str, Any]) -> None:
        found = score(model, **inputs)
        assert found.not_applicable is None
        assert sum(it.value for it in found.contributions) == pytest.approx(found.value, abs=1e-6)
        if found.unit == "%":
            assert all(it.value is None or 0 <= it.value <= 100
                       for it in found.outcomes if it.unit == "%")  # fmt: skip
        assert score(model, **inputs) == found

    check()


RISES = [
    *[("findrisc", it) for it in ("age", "bmi", "waist", "bpmed", "highglu")],
    *[("ncdrs_china", it) for it in ("age", "sbp", "bmi", "waist", "fam")],
    *[("ada_risk_test", it) for it in ("age", "bmi", "family", "htn")],
    *[("framingham_hypertension", it) for it in ("age", "sbp", "dbp", "bmi", "smoker",
                                                 "parents_htn")],
    *[("framingham_diabetes_8y", it) for it in ("sbp", "dbp", "bmi", "tg_mgdl",
                                                "fasting_glucose_mgdl", "parental_history",
                                                "bp_treated")],
    *[("score2", it) for it in ("smoker", "sbp", "tc_mmol")],
    *[("score2_asia_pacific", it) for it in ("smoker", "sbp", "tc_mmol")],
    *[("china_par_10y_ascvd", it) for it in ("tc_mmol", "diabetes", "north")],
    ("prevent_base", "dm"),
]  # fmt: skip
"""Where the published equation is monotone over its whole range. It is not everywhere: in
China-PAR the slopes of blood pressure and smoking fall with age, Framingham diabetes falls
slightly with age, and PREVENT rises again below 110 mmHg."""
FALLS = [
    ("findrisc", "active"), ("findrisc", "veg"), ("ada_risk_test", "active"),
    ("framingham_diabetes_8y", "hdl_mgdl"), ("score2", "hdl_mmol"),
    ("score2_asia_pacific", "hdl_mmol"), ("china_par_10y_ascvd", "hdl_mmol"),
    ("ckd_epi_2021", "scr_mgdl"), ("ckd_epi_2021", "age"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "name", "sign"),
    [(*it, 1) for it in RISES] + [(*it, -1) for it in FALLS],
)
def test_a_model_is_monotone_in_a_risk_factor(model: str, name: str, sign: int) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.tuples(people(model), people(model)))
    def check(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
        inputs, other = pair
        low, high = sorted((inputs[name], other[name]))
        first, second = (score(model, **inputs | {name: it}).value for it in (low, high))
        assert first is not None and second is not None
        assert sign * (second - first) >= -1e-9

    check()


@pytest.mark.parametrize("sex", ["male", "female"])
@pytest.mark.parametrize("age", [35, 45, 55, 65])
@pytest.mark.parametrize("treated", [0, 1])
def test_china_par_rises_with_blood_pressure(sex: str, age: int, treated: int) -> None:
    rest = dict(BASE["china_par_10y_ascvd"], sex=sex, age=age, treated=treated, urban=1,
                family_history=0)  # fmt: skip
    found = [score("china_par_10y_ascvd", **rest | {"sbp": it}).value or 0 for it in
             range(90, 200, 10)]  # fmt: skip
    assert found == sorted(found)


@pytest.mark.parametrize("age", [30, 45, 60, 79])
def test_prevent_rises_with_blood_pressure_above_110(age: int) -> None:
    found = [shifted("prevent_base", age=age, sbp=it).value or 0 for it in range(110, 181, 5)]
    assert found == sorted(found)


@pytest.mark.parametrize("limit", [5, 10])
def test_china_par_flags_half_a_point_around_a_limit(limit: int) -> None:
    rest = dict(BASE["china_par_10y_ascvd"], age=60, sbp=100)
    seen = set()
    for tenth in range(1000):
        found = score("china_par_10y_ascvd", **rest | {"sbp": 100 + tenth / 10})
        assert found.value is not None
        if abs(found.value - limit) < 3:
            close = abs(found.value - limit) <= 0.5
            other = abs(found.value - (15 - limit)) <= 0.5
            assert found.near_limit == (close or other)
            seen.add(found.near_limit)
    assert seen == {True, False}


# The command line


def wellward(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "risk", *arguments],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False,
    )  # fmt: skip


def test_the_command_line_prints_the_same_result_as_json() -> None:
    inputs = BASE["prevent_base"] | {"age": 65}
    done = wellward("score", "prevent_base", "--inputs", json.dumps(inputs))
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    found = score("prevent_base", **inputs)
    assert printed["value"] == pytest.approx(found.value, abs=1e-8)
    assert printed["unit"] == "%"
    assert printed["outcomes"]["10y"]["total_cvd"] == printed["value"]
    assert printed["outcomes"]["30y"]["total_cvd"] is None
    assert printed["outcomesNotApplicable"]["30y.total_cvd"].startswith("The 30-year risk")
    assert printed["notApplicableReason"] is None
    assert sum(it["value"] for it in printed["contributions"]) == pytest.approx(printed["value"])


def test_the_command_line_says_why_a_model_does_not_apply() -> None:
    done = wellward("score", "findrisc", "--inputs", '{"age": 20}', "--locale", "zh-CN")
    assert done.returncode == 0
    printed = json.loads(done.stdout)
    assert printed["value"] is None
    assert printed["notApplicableReason"] == "年龄 20 不在该模型的适用范围(≥ 25)内。"


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        ("findrisc", '{"age": "x"}', "age: 'x' is not allowed; allowed: a number, ≥ 0, ≤ 130 a"),
        ("findrisc", "[1]", "--inputs: '[1]' is not allowed; allowed: a JSON object"),
        ("findrisc", '{"age": 50, "age": 20}', "age: 20 is not allowed; allowed: given once"),
        ("findrisc", "{", "--inputs: '{' is not allowed; allowed: a JSON object"),
        ("magic", "{}", "model: 'magic' is not allowed; allowed: findrisc, "),
    ],
)
def test_the_command_line_refuses_what_cannot_be_meant(model: str, inputs: str, said: str) -> None:
    done = wellward("score", model, "--inputs", inputs)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)


def test_the_command_line_refuses_a_language_that_it_does_not_speak() -> None:
    done = wellward("score", "findrisc", "--inputs", "{}", "--locale", "fr")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "--locale: 'fr' is not allowed; allowed: zh-CN or en\n"


@pytest.mark.parametrize("value", ["1" * 3000, '"' + "x" * 3000 + '"'])
def test_the_command_line_does_not_repeat_a_value_of_any_length(value: str) -> None:
    done = wellward("score", "findrisc", "--inputs", f'{{"age": {value}}}')
    assert (done.returncode, done.stdout) == (2, "")
    assert "age: " in done.stderr and "..." in done.stderr
    assert len(done.stderr) < 200


def test_the_command_line_lists_the_models() -> None:
    done = wellward("models")
    assert done.returncode == 0
    for code, model in LATEST.items():
        assert f"{code} {model.version}: " in done.stdout
        for it in model.inputs:
            assert f"    {it.name} (" in done.stdout
