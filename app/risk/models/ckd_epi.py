"""CKD-EPI 2021: estimated filtration of the kidneys from creatinine, without race.

The categories G1 to G5 are those of KDIGO 2012, which the equation is read with.
"""

import math

from app.risk.models.base import (
    EGFR_UNIT,
    SEX,
    Model,
    Outcome,
    OutcomeKind,
    Range,
    Result,
    Values,
    age,
    number,
    shares,
)
from app.risk.models.data import published
from app.texts import Text

_TABLE = published("ckd_epi_2021")
_STAGES = ((90, "G1"), (60, "G2"), (45, "G3a"), (30, "G3b"), (15, "G4"), (-math.inf, "G5"))


def stage(egfr: float) -> str:
    """KDIGO's, of mL/min/1.73 m2."""
    return next(name for least, name in _STAGES if egfr >= least)


def _compute(values: Values) -> Result:
    sex = str(values["sex"])
    ratio = float(values["scr_mgdl"]) / _TABLE["k"][sex]
    # 142 min(ratio,1)^a max(ratio,1)^-1.2 0.9938^age, 1.012 times that for women; as logarithms.
    base = math.log(142) + float(values["age"]) * math.log(0.9938)
    if sex == "female":
        base += math.log(1.012)
    power = _TABLE["a"][sex] if ratio < 1 else -1.2
    parts = {"creatinine": power * math.log(ratio)}
    egfr = math.exp(base + sum(parts.values()))
    return Result(
        egfr,
        EGFR_UNIT,
        stage(egfr),
        (Outcome("egfr", egfr, EGFR_UNIT),),
        shares(base, parts, math.exp),
    )


CKD_EPI = Model(
    code="ckd_epi_2021",
    version="1.0",
    title=Text(zh="估算肾小球滤过率 (CKD-EPI 2021)", en="eGFR (CKD-EPI 2021)"),
    source="Inker LA, et al. N Engl J Med 2021;385:1737-1749",
    outcome=OutcomeKind.KIDNEY_FUNCTION,
    horizon_years=None,
    unit=EGFR_UNIT,
    inputs=(
        number("scr_mgdl", "血肌酐", "serum creatinine", "mg/dL", 0.1, 29),
        age(Range(18)),  # derived in adults
        SEX,
    ),
    compute=_compute,
)
