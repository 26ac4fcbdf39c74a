"""The Chinese diabetes risk score: who should have a glucose tolerance test."""

from app.risk.models.base import (
    HAS_DIABETES,
    SCORE,
    SEX,
    Model,
    Outcome,
    OutcomeKind,
    Result,
    Values,
    age,
    bmi,
    flag,
    points,
    sbp,
    scored,
    waist,
    years,
)
from app.risk.models.data import published
from app.texts import Text

_TABLE = published("ncdrs_china")
_ITEMS = _TABLE["items"]
_FAMILY = _ITEMS["family_history_diabetes_first_degree"]


def _compute(values: Values) -> Result:
    sex = str(values["sex"])
    total, contributions = scored(
        {
            "age": points(_ITEMS["age_years"], float(values["age"])),
            "sbp": points(_ITEMS["sbp_mmhg"], float(values["sbp"])),
            "bmi": points(_ITEMS["bmi_kg_m2"], float(values["bmi"])),
            "waist": points(_ITEMS["waist_cm"][sex], float(values["waist"])),
            "fam": _FAMILY["yes" if values["fam"] else "no"],
            "sex": _ITEMS["sex"][sex],
        }
    )
    return Result(
        float(total),
        SCORE,
        "high" if total >= _TABLE["cutoff_high"] else "not_high",
        (Outcome("score", float(total), SCORE),),
        contributions,
    )


NCDRS = Model(
    code="ncdrs_china",
    version="1.0",
    title=Text(zh="中国糖尿病风险评分", en="New Chinese Diabetes Risk Score (NCDRS)"),
    source=_TABLE["citation"],
    outcome=OutcomeKind.DIABETES,
    horizon_years=None,
    unit=SCORE,
    inputs=(
        age(years(_TABLE["valid"]["age_min"], _TABLE["valid"]["age_max"])),
        SEX,
        sbp(),
        bmi(),
        waist(),
        flag("fam", "一级亲属有糖尿病", "diabetes in a parent, sibling or child"),
        HAS_DIABETES,
    ),
    compute=_compute,
)
