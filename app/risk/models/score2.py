"""SCORE2 and SCORE2 Asia-Pacific: a first cardiovascular event within ten years.

One equation, calibrated to the risk region that the programme is in.
"""

import math
from collections.abc import Mapping
from typing import Any

from app.risk.models.base import (
    HAS_CVD,
    HAS_DIABETES,
    PERCENT,
    SEX,
    Compute,
    Input,
    Model,
    Outcome,
    OutcomeKind,
    Result,
    Values,
    age,
    flag,
    number,
    sbp,
    shares,
    years,
)
from app.risk.models.data import published
from app.texts import Text

_TABLE = published("score2")
_REFERENCE = {"smoker": 0.0, "csbp": 0.0, "ctc": -1.0, "chdl": 0.0}
"""No smoking, 120 mmHg, cholesterol 5 mmol/L, HDL 1.3 mmol/L, in the equation's own units."""
REGIONS = ("low", "moderate", "high", "very_high")


def _calibrated(scales: Mapping[str, Any]) -> Compute:
    def compute(values: Values) -> Result:
        sex = str(values["sex"])
        beta = _TABLE[sex]
        low, high = scales[str(values["region"])][sex]
        cage = (float(values["age"]) - 60) / 5
        taken = {
            "smoker": float(values["smoker"]),
            "csbp": (float(values["sbp"]) - 120) / 20,
            "ctc": float(values["tc_mmol"]) - 6,
            "chdl": (float(values["hdl_mmol"]) - 1.3) / 0.5,
        }
        weights = {name: beta[name] + cage * beta[f"cage_x_{name}"] for name in taken}
        base = beta["cage"] * cage + sum(
            weights[name] * reference for name, reference in _REFERENCE.items()
        )
        moved = {name: weights[name] * (taken[name] - _REFERENCE[name]) for name in taken}
        parts = {
            "smoker": moved["smoker"],
            "sbp": moved["csbp"],
            "cholesterol": moved["ctc"],
            "hdl": moved["chdl"],
        }
        baseline = math.log(-math.log(beta["S0"]))

        def risk(predictor: float) -> float:
            # ln(-ln(1-u)) with u = 1 - S0^exp(predictor) is baseline + predictor.
            return 100 * (1 - math.exp(-math.exp(low + high * (baseline + predictor))))

        percent = risk(base + sum(parts.values()))
        return Result(
            percent,
            PERCENT,
            None,
            (Outcome("10y.cvd", percent, PERCENT),),
            shares(base, parts, risk),
        )

    return compute


def _model(code: str, title: Text, scales: Mapping[str, Any]) -> Model:
    return Model(
        code=code,
        version="1.0",
        title=title,
        source=_TABLE["citation"],
        outcome=OutcomeKind.CARDIOVASCULAR_DISEASE,
        horizon_years=10,
        unit=PERCENT,
        inputs=(
            age(years(*_TABLE["valid"]["age"])),
            SEX,
            flag("smoker", "目前吸烟", "current smoking"),
            sbp(),
            number("tc_mmol", "总胆固醇", "total cholesterol", "mmol/L", 1, 20),
            number("hdl_mmol", "高密度脂蛋白胆固醇", "HDL cholesterol", "mmol/L", 0.1, 5),
            Input("region", Text(zh="风险地区", en="risk region"), options=REGIONS),
            HAS_DIABETES,
            HAS_CVD,
        ),
        compute=_calibrated(scales),
    )


SCORE2 = _model("score2", Text(zh="SCORE2 (欧洲)", en="SCORE2 (Europe)"), _TABLE["scales_europe"])
SCORE2_ASIA_PACIFIC = _model(
    "score2_asia_pacific",
    Text(zh="SCORE2 亚太版", en="SCORE2 Asia-Pacific"),
    _TABLE["scales_asia_pacific"],
)
