"""Framingham: new hypertension within one, two and four years.

The Weibull equation is the model; the printed points are given beside it and may differ.
"""

import math

from app.risk.models.base import (
    PERCENT,
    SCORE,
    SEX,
    Input,
    Model,
    Outcome,
    OutcomeKind,
    Range,
    Result,
    Values,
    age,
    band,
    bmi,
    dbp,
    exclusion,
    flag,
    points,
    sbp,
    shares,
    years,
)
from app.risk.models.data import published
from app.texts import Text

_TABLE = published("framingham_hypertension")
_BETA = _TABLE["coefficients"]
_SCALE = _TABLE["scale"]
_OPTIMAL = _TABLE["optimal_reference_profile"]
_POINTS = _TABLE["points"]
_YEARS = (1, 2, 4)
_MAIN = 4


def _compute(values: Values) -> Result:
    age_years, dbp_now = float(values["age"]), float(values["dbp"])
    dbp_weight = _BETA["dbp"] + _BETA["age_x_dbp"] * age_years
    base = (
        _BETA["intercept"]
        + _BETA["age"] * age_years
        + (_BETA["female"] if values["sex"] == "female" else 0.0)
        + _BETA["bmi"] * _OPTIMAL["bmi"]
        + _BETA["sbp"] * _OPTIMAL["sbp"]
        + dbp_weight * _OPTIMAL["dbp"]
    )
    parts = {
        "bmi": _BETA["bmi"] * (float(values["bmi"]) - _OPTIMAL["bmi"]),
        "sbp": _BETA["sbp"] * (float(values["sbp"]) - _OPTIMAL["sbp"]),
        "dbp": dbp_weight * (dbp_now - _OPTIMAL["dbp"]),
        "smoker": _BETA["smoker"] * float(values["smoker"]),
        "parents_htn": _BETA["parents_with_hypertension"] * float(values["parents_htn"]),
    }
    predictor = base + sum(parts.values())

    def risk(predictor: float, in_years: int = _MAIN) -> float:
        return 100 * (1 - math.exp(-math.exp((math.log(in_years) - predictor) / _SCALE)))

    total = _total(values)
    outcomes = [Outcome(f"{it}y", risk(predictor, it), PERCENT) for it in _YEARS]
    outcomes.append(Outcome("points", float(total), SCORE))
    outcomes += [
        Outcome(f"points_risk_pct.{it}y", _POINTS["risk_pct_from_minus12"][f"{it}y"][total + 12],
                PERCENT)
        for it in _YEARS
    ]  # fmt: skip
    percent = risk(predictor)
    return Result(
        percent,
        PERCENT,
        band(_TABLE["tiers_4y"], percent / 100)["label"],
        tuple(outcomes),
        shares(base, parts, risk),
    )


def _total(values: Values) -> int:
    """The printed points, from -12 to 28."""
    by_age = _place(_POINTS["age_by_dbp"]["age_bands"], float(values["age"]))
    by_dbp = _place(_POINTS["age_by_dbp"]["dbp_bands"], float(values["dbp"]))
    parents = {0: 0, 1: _POINTS["one_parent"], 2: _POINTS["two_parents"]}
    found: int = (
        points(_POINTS["sbp"], float(values["sbp"]))
        + points(_POINTS["bmi"], float(values["bmi"]))
        + _POINTS["age_by_dbp"]["table"][by_age][by_dbp]
        + (_POINTS["female"] if values["sex"] == "female" else 0)
        + (_POINTS["smoker"] if values["smoker"] else 0)
        + parents[int(values["parents_htn"])]
    )
    return found


def _place(bands: list[tuple[float | None, float]], value: float) -> int:
    return next(
        place
        for place, (low, high) in enumerate(bands)
        if (low is None or value >= low) and value < high
    )


FRAMINGHAM_HYPERTENSION = Model(
    code="framingham_hypertension",
    version="1.0",
    title=Text(zh="Framingham 高血压发病风险", en="Framingham near-term hypertension risk"),
    source=_TABLE["citation"],
    outcome=OutcomeKind.HYPERTENSION,
    horizon_years=_MAIN,
    unit=PERCENT,
    inputs=(
        age(years(*_TABLE["valid"]["age"])),
        SEX,
        sbp(Range(None, _TABLE["valid"]["sbp_max_exclusive"], open_end=True)),
        dbp(Range(None, _TABLE["valid"]["dbp_max_exclusive"], open_end=True)),
        bmi(),
        flag("smoker", "目前吸烟", "current smoking"),
        Input(
            "parents_htn",
            Text(zh="患高血压的父母人数", en="parents with hypertension"),
            options=("0", "1", "2"),
        ),
        exclusion(
            "hypertension",
            "已诊断高血压",
            "diagnosed hypertension",
            Text(
                zh="已有高血压者不适用该模型。",
                en="This model is not for people who have hypertension.",
            ),
        ),
        exclusion(
            "bp_treated",
            "服用降压药",
            "blood pressure medicine",
            Text(
                zh="正在服用降压药者不适用该模型。",
                en="This model is not for people who take blood pressure medicine.",
            ),
        ),
        exclusion(
            "diabetes",
            "已诊断糖尿病",
            "diagnosed diabetes",
            Text(
                zh="糖尿病患者不适用该模型。",
                en="This model is not for people who have diabetes.",
            ),
        ),
    ),
    compute=_compute,
)
