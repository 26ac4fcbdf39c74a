"""Framingham Offspring: type 2 diabetes within eight years, in middle age.

The logistic equation is the model; the printed points are given beside it and differ from it
strongly above 20 points.
"""

import math

from app.risk.models.base import (
    HAS_DIABETES,
    PERCENT,
    SCORE,
    SEX,
    Model,
    Outcome,
    OutcomeKind,
    Range,
    Result,
    Values,
    age,
    bmi,
    dbp,
    flag,
    number,
    sbp,
    shares,
    years,
)
from app.risk.models.data import published
from app.texts import Text

_TABLE = published("framingham_diabetes_8y")
_BETA = _TABLE["coefficients"]
_POINTS = _TABLE["points"]
_PERCENTS = _TABLE["points_risk_pct"]
_LOW_HDL = {"male": 40, "female": 50}


def _compute(values: Values) -> Result:
    age_years, body = float(values["age"]), float(values["bmi"])
    base = _BETA["intercept"] + (_BETA["male"] if values["sex"] == "male" else 0.0)
    if age_years >= 50:
        base += _BETA["age_50_64"]  # 65 and over is outside the model's range
    present = {
        "parental_history": "parental_history" if values["parental_history"] else None,
        "bmi": "bmi_ge_30" if body >= 30 else "bmi_25_30" if body >= 25 else None,
        "blood_pressure": "bp_ge_130_85_or_treated" if _raised_pressure(values) else None,
        "hdl": "low_hdl" if float(values["hdl_mgdl"]) < _LOW_HDL[str(values["sex"])] else None,
        "triglycerides": "tg_ge_150" if float(values["tg_mgdl"]) >= 150 else None,
        "glucose": (
            "fasting_glucose_100_126" if float(values["fasting_glucose_mgdl"]) >= 100 else None
        ),
    }
    parts = {factor: _BETA[item] if item else 0.0 for factor, item in present.items()}
    total = sum(_points(item) for item in present.values() if item)

    def risk(predictor: float) -> float:
        return 100 / (1 + math.exp(-predictor))

    percent = risk(base + sum(parts.values()))
    return Result(
        percent,
        PERCENT,
        None,
        (
            Outcome("8y", percent, PERCENT),
            Outcome("points", float(total), SCORE),
            Outcome("points_risk_pct", float(_printed(total)), PERCENT),
        ),
        shares(base, parts, risk),
    )


def _raised_pressure(values: Values) -> bool:
    return bool(values["bp_treated"] or float(values["sbp"]) >= 130 or float(values["dbp"]) >= 85)


def _points(item: str) -> int:
    found: int = _POINTS["bp" if item == "bp_ge_130_85_or_treated" else item]
    return found


def _printed(total: int) -> int:
    """The printed percent of these points."""
    key = "<=10" if total <= 10 else ">=25" if total >= 25 else str(total)
    found: int = _PERCENTS[key]
    return found


FRAMINGHAM_DIABETES = Model(
    code="framingham_diabetes_8y",
    version="1.0",
    title=Text(zh="Framingham 8 年糖尿病风险", en="Framingham 8-year diabetes risk"),
    source=_TABLE["citation"],
    outcome=OutcomeKind.DIABETES,
    horizon_years=8,
    unit=PERCENT,
    inputs=(
        age(years(*_TABLE["valid"]["age"])),
        SEX,
        sbp(),
        dbp(),
        bmi(),
        number("hdl_mgdl", "高密度脂蛋白胆固醇", "HDL cholesterol", "mg/dL", 3, 200),
        number("tg_mgdl", "甘油三酯", "triglycerides", "mg/dL", 8, 5320),
        number(
            "fasting_glucose_mgdl",
            "空腹血糖",
            "fasting glucose",
            "mg/dL",
            18,
            901,
            valid=Range(None, _TABLE["valid"]["glucose_max_exclusive"], open_end=True),
        ),
        flag("parental_history", "父母有糖尿病", "diabetes in a parent"),
        flag("bp_treated", "服用降压药", "blood pressure medicine"),
        HAS_DIABETES,
    ),
    compute=_compute,
)
