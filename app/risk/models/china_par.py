"""China-PAR: a first heart attack or stroke within ten years.

The women's baseline survival is printed as 0.99, which is too coarse to compute with; 0.9851
reproduces the official calculator. Published coefficients are rounded to two decimals, so a
result within half a percentage point of a limit is flagged.
"""

import math
from collections.abc import Iterable

from app.risk.models.base import (
    PERCENT,
    SEX,
    Model,
    Outcome,
    OutcomeKind,
    Range,
    Result,
    Values,
    age,
    band,
    dbp,
    exclusion,
    flag,
    is_near,
    number,
    sbp,
    shares,
    waist,
    years,
)
from app.risk.models.data import published
from app.texts import Text

_TABLE = published("china_par_10y_ascvd")
_IDEAL = _TABLE["ideal_profile"]
_LIMITS = _TABLE["valid"]["official_calculator_input_limits"]
_CATEGORIES = _TABLE["categories_2019_guideline"]
_ACCURACY = 0.5
"""Percentage points."""
_MMOL_A_MGDL = 0.0259
"""As the official calculator converts cholesterol."""
_SURVIVAL = {
    "male": _TABLE["men"]["printed_s10"],
    "female": _TABLE["women"]["printed_s10_derived"],
}
_SIDES = {"male": _TABLE["men"], "female": _TABLE["women"]}


def _compute(values: Values) -> Result:
    sex = str(values["sex"])
    beta = _SIDES[sex]["printed"]
    ln_age = math.log(float(values["age"]))
    survival = _SURVIVAL[sex]

    def pressure(kind: str, mmhg: float) -> float:
        """What blood pressure gives at this age."""
        ln_sbp = math.log(mmhg)
        return ln_sbp * (beta[f"ln_{kind}_sbp"] + ln_age * beta[f"ln_age_x_ln_{kind}_sbp"])  # type: ignore[no-any-return]

    def switched(name: str) -> float:
        weight = beta.get(name, 0.0) + ln_age * beta.get(f"ln_age_x_{name}", 0.0)
        return float(values.get(name, 0.0)) * weight  # type: ignore[no-any-return]

    def against(value: float, ideal: float, weight: float) -> float:
        return weight * math.log(value / ideal)

    kind = "treated" if values["treated"] else "untreated"
    total_cholesterol = float(values["tc_mmol"]) / _MMOL_A_MGDL
    hdl = float(values["hdl_mmol"]) / _MMOL_A_MGDL
    base = (
        beta["ln_age"] * ln_age
        + pressure("untreated", _IDEAL["sbp"])
        + beta["ln_tc"] * math.log(_IDEAL["tc_mgdl"])
        + beta["ln_hdl"] * math.log(_IDEAL["hdl_mgdl"])
        + beta["ln_waist"] * math.log(_IDEAL[f"waist_{sex}"])
        - _SIDES[sex]["printed_mean"]
    )
    parts = {
        "sbp": pressure(kind, float(values["sbp"])) - pressure("untreated", _IDEAL["sbp"]),
        "cholesterol": against(total_cholesterol, _IDEAL["tc_mgdl"], beta["ln_tc"]),
        "hdl": against(hdl, _IDEAL["hdl_mgdl"], beta["ln_hdl"]),
        "waist": against(float(values["waist"]), _IDEAL[f"waist_{sex}"], beta["ln_waist"]),
        **{
            name: switched(name)
            for name in ("smoker", "diabetes", "north", "urban", "family_history")
            if name in beta
        },
    }

    def risk(predictor: float) -> float:
        return 100 * (1 - survival ** math.exp(predictor))  # type: ignore[no-any-return]

    percent = risk(base + sum(parts.values()))
    limits = [it["min"] * 100 for it in _CATEGORIES if "min" in it]
    return Result(
        percent,
        PERCENT,
        band(_CATEGORIES, percent / 100)["label"],
        (Outcome("10y.ascvd", percent, PERCENT),),
        shares(base, parts, risk),
        is_near(percent, limits, _ACCURACY),
    )


def _of_men(values: Values) -> Iterable[str]:
    return ("urban", "family_history") if values.get("sex") == "male" else ()


CHINA_PAR = Model(
    code="china_par_10y_ascvd",
    version="1.0",
    title=Text(zh="China-PAR 10 年心脑血管病风险", en="China-PAR 10-year ASCVD risk"),
    source=_TABLE["citation"],
    outcome=OutcomeKind.CARDIOVASCULAR_DISEASE,
    horizon_years=10,
    unit=PERCENT,
    inputs=(
        age(years(*_TABLE["valid"]["derivation_age"])),
        SEX,
        sbp(Range(*_LIMITS["sbp"])),
        dbp(Range(*_LIMITS["dbp"]), required=False),
        flag("treated", "两周内服降压药", "blood pressure medicine in the last two weeks"),
        number(
            "tc_mmol", "总胆固醇", "total cholesterol", "mmol/L", 1, 20,
            valid=Range(*_LIMITS["tc_mmol"]),
        ),
        number(
            "hdl_mmol", "高密度脂蛋白胆固醇", "HDL cholesterol", "mmol/L", 0.1, 5,
            valid=Range(*_LIMITS["hdl_mmol"]),
        ),
        waist(Range(*_LIMITS["waist_cm"])),
        flag("smoker", "目前吸烟", "current smoking"),
        flag("diabetes", "糖尿病", "diabetes"),
        flag("north", "居住在长江以北", "living north of the Yangtze"),
        flag("urban", "居住在城市", "living in a city", required=False),
        flag(
            "family_history", "父母或兄弟姐妹有心脑血管病", "ASCVD in a parent or sibling",
            required=False,
        ),
        exclusion(
            "cvd", "已有心脑血管病", "ASCVD",
            Text(
                zh="已有心脑血管病者不适用该模型：风险已属很高。",
                en="This model is not for people with ASCVD: their risk is very high.",
            ),
        ),
    ),
    compute=_compute,
    also_required=_of_men,
)  # fmt: skip
