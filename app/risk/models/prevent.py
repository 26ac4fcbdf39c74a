"""PREVENT base equations: cardiovascular disease and its parts within 10 and 30 years.

Only heart failure uses the body mass index: without one, the other outcomes still stand. The
30-year equations end at an age of 59.
"""

import math
from collections.abc import Mapping

from app.risk.models.base import (
    EGFR_UNIT,
    HAS_CVD,
    PERCENT,
    SEX,
    Contribution,
    Model,
    Outcome,
    OutcomeKind,
    Range,
    Result,
    Values,
    age,
    bmi,
    flag,
    number,
    sbp,
    shares,
    years,
)
from app.risk.models.data import published
from app.texts import Text

_TABLE = published("prevent_base")
_VALID = _TABLE["valid"]
_OUTCOMES = ("total_cvd", "ascvd", "heart_failure", "chd", "stroke")
_MAIN = "total_cvd"
_MMOL_A_MGDL = 0.02586
_TERMS = (
    "age", "age_sq", "non_hdl", "hdl", "sbp_lt110", "sbp_ge110", "dm", "smoking", "bmi_lt30",
    "bmi_ge30", "egfr_lt60", "egfr_ge60", "bp_tx", "statin", "treated_sbp", "treated_non_hdl",
    "age_x_non_hdl", "age_x_hdl", "age_x_sbp_ge110", "age_x_dm", "age_x_smoking",
    "age_x_bmi_ge30", "age_x_egfr_lt60", "constant",
)  # fmt: skip
"""The order of the published tables; `age_sq` is in those of 30 years only."""
_FACTORS = {
    "non_hdl": "cholesterol", "hdl": "hdl", "sbp_lt110": "sbp", "sbp_ge110": "sbp", "dm": "dm",
    "smoking": "smoking", "bmi_lt30": "bmi", "bmi_ge30": "bmi", "egfr_lt60": "egfr",
    "egfr_ge60": "egfr", "bp_tx": "sbp", "statin": "cholesterol", "treated_sbp": "sbp",
    "treated_non_hdl": "cholesterol", "age_x_non_hdl": "cholesterol", "age_x_hdl": "hdl",
    "age_x_sbp_ge110": "sbp", "age_x_dm": "dm", "age_x_smoking": "smoking",
    "age_x_bmi_ge30": "bmi", "age_x_egfr_lt60": "egfr",
}  # fmt: skip
"""Which factor a term speaks of; age and the constant are the base."""
_REFERENCE: Values = {
    "sbp": 120.0, "total_c": 187.0, "hdl_c": 50.0, "dm": 0.0, "smoking": 0.0, "bmi": 25.0,
    "egfr": 90.0, "bp_tx": 0.0, "statin": 0.0,
}  # fmt: skip
"""Near where the equation is centred (non-HDL 3.5, HDL 1.3 mmol/L), at 120 mmHg."""


def _terms(values: Values) -> Mapping[str, float]:
    """The transformed inputs; those of an absent body mass index are 0 and not used."""
    years_from = (float(values["age"]) - 55) / 10
    pressure = (max(float(values["sbp"]), 110) - 130) / 20
    non_hdl = (float(values["total_c"]) - float(values["hdl_c"])) * _MMOL_A_MGDL - 3.5
    hdl = (float(values["hdl_c"]) * _MMOL_A_MGDL - 1.3) / 0.3
    diabetes, smoking = float(values["dm"]), float(values["smoking"])
    body = float(values.get("bmi", 25.0))
    egfr = float(values["egfr"])
    egfr_low = (min(egfr, 60) - 60) / -15
    bmi_high = (max(body, 30) - 30) / 5
    treated, statin = float(values["bp_tx"]), float(values["statin"])
    return {
        "age": years_from,
        "age_sq": years_from**2,
        "non_hdl": non_hdl,
        "hdl": hdl,
        "sbp_lt110": (min(float(values["sbp"]), 110) - 110) / 20,
        "sbp_ge110": pressure,
        "dm": diabetes,
        "smoking": smoking,
        "bmi_lt30": (min(body, 30) - 25) / 5,
        "bmi_ge30": bmi_high,
        "egfr_lt60": egfr_low,
        "egfr_ge60": (max(egfr, 60) - 90) / -15,
        "bp_tx": treated,
        "statin": statin,
        "treated_sbp": treated * pressure,
        "treated_non_hdl": statin * non_hdl,
        "age_x_non_hdl": years_from * non_hdl,
        "age_x_hdl": years_from * hdl,
        "age_x_sbp_ge110": years_from * pressure,
        "age_x_dm": years_from * diabetes,
        "age_x_smoking": years_from * smoking,
        "age_x_bmi_ge30": years_from * bmi_high,
        "age_x_egfr_lt60": years_from * egfr_low,
        "constant": 1.0,
    }


def _weights(horizon: int, sex: str, outcome: str) -> Mapping[str, float]:
    names = _TERMS if horizon == 30 else [name for name in _TERMS if name != "age_sq"]
    table = _TABLE[f"base_{horizon}yr"][f"{sex}_{outcome}"]
    return dict(zip(names, table, strict=True))


_WEIGHTS = {
    (horizon, sex, outcome): _weights(horizon, sex, outcome)
    for horizon in (10, 30)
    for sex in ("female", "male")
    for outcome in _OUTCOMES
}
_YEARS_30 = years(*_VALID["age_30y"])
_NO_BMI = Text(zh="缺少：体质指数。", en="Missing: body mass index.")
_TOO_OLD = Text(
    zh=f"30 年风险只适用于 {_YEARS_30} 岁。", en=f"The 30-year risk is for ages {_YEARS_30}."
)


def _risk(predictor: float) -> float:
    return 100 / (1 + math.exp(-predictor))


def _compute(values: Values) -> Result:
    sex = str(values["sex"])
    terms = _terms(values)
    outcomes = tuple(
        _outcome(values, terms, sex, horizon, outcome)
        for horizon in (10, 30)
        for outcome in _OUTCOMES
    )
    main = outcomes[0].value
    assert main is not None
    return Result(main, PERCENT, None, outcomes, _contributions(values, terms, sex))


def _outcome(
    values: Values, terms: Mapping[str, float], sex: str, horizon: int, outcome: str
) -> Outcome:
    name = f"{horizon}y.{outcome}"
    if horizon == 30 and not _YEARS_30.holds(float(values["age"])):
        return Outcome(name, None, PERCENT, _TOO_OLD)
    if outcome == "heart_failure" and "bmi" not in values:
        return Outcome(name, None, PERCENT, _NO_BMI)
    weights = _WEIGHTS[horizon, sex, outcome]
    predictor = sum(weight * terms[term] for term, weight in weights.items())
    return Outcome(name, _risk(predictor), PERCENT)


def _contributions(
    values: Values, terms: Mapping[str, float], sex: str
) -> tuple[Contribution, ...]:
    """Of the 10-year risk of cardiovascular disease. Treatment counts with what it treats."""
    weights = _WEIGHTS[10, sex, _MAIN]
    at_reference = _terms({**_REFERENCE, "sex": sex, "age": values["age"]})
    base = sum(weight * at_reference[term] for term, weight in weights.items())
    parts = dict.fromkeys(("sbp", "cholesterol", "hdl", "dm", "smoking", "egfr"), 0.0)
    for term, weight in weights.items():
        factor = _FACTORS.get(term)
        if factor in parts:
            parts[factor] += weight * (terms[term] - at_reference[term])
    return shares(base, parts, _risk)


PREVENT = Model(
    code="prevent_base",
    version="1.0",
    title=Text(zh="PREVENT 心血管病风险", en="PREVENT cardiovascular risk"),
    source=_TABLE["citation"],
    outcome=OutcomeKind.CARDIOVASCULAR_DISEASE,
    horizon_years=10,
    unit=PERCENT,
    inputs=(
        age(years(*_VALID["age_10y"])),
        SEX,
        sbp(Range(*_VALID["sbp"])),
        flag("bp_tx", "服用降压药", "blood pressure medicine"),
        number(
            "total_c", "总胆固醇", "total cholesterol", "mg/dL", 38, 775,
            valid=Range(*_VALID["tc"]),
        ),
        number(
            "hdl_c", "高密度脂蛋白胆固醇", "HDL cholesterol", "mg/dL", 3, 200,
            valid=Range(*_VALID["hdl"]),
        ),
        flag("statin", "服用他汀类药", "statin"),
        flag("dm", "糖尿病", "diabetes"),
        flag("smoking", "目前吸烟", "current smoking"),
        number("egfr", "肾小球滤过率", "eGFR", EGFR_UNIT, 0, 300, valid=Range(*_VALID["egfr"])),
        bmi(Range(*_VALID["bmi"]), required=False),
        HAS_CVD,
    ),
    compute=_compute,
)  # fmt: skip
