"""The ADA's type 2 diabetes risk test."""

from app.risk.models.base import (
    HAS_DIABETES,
    SCORE,
    InputInvalid,
    Model,
    Outcome,
    OutcomeKind,
    Range,
    Result,
    Values,
    age,
    bmi,
    flag,
    points,
    scored,
)
from app.risk.models.data import published
from app.texts import Text

_TABLE = published("ada_risk_test")
_ITEMS = _TABLE["items"]


def _compute(values: Values) -> Result:
    if values["male"] and values["gdm"]:
        raise InputInvalid("gdm", 1, "0 for a man")
    total, contributions = scored(
        {
            "age": points(_ITEMS["age_years"], float(values["age"])),
            "male": _ITEMS["male"] if values["male"] else 0,
            "gdm": _ITEMS["gestational_diabetes_history_women"] if values["gdm"] else 0,
            "family": _ITEMS["first_degree_family_history"] if values["family"] else 0,
            "htn": _ITEMS["hypertension"] if values["htn"] else 0,
            "active": 0 if values["active"] else _ITEMS["not_physically_active"],
            "bmi": points(_ITEMS["bmi_kg_m2"], float(values["bmi"])),
        }
    )
    return Result(
        float(total),
        SCORE,
        "high" if total >= _TABLE["cutoff_high_diabetes"] else "not_high",
        (Outcome("score", float(total), SCORE),),
        contributions,
    )


ADA = Model(
    code="ada_risk_test",
    version="1.0",
    title=Text(zh="美国糖尿病协会 2 型糖尿病风险测试", en="ADA type 2 diabetes risk test"),
    source=_TABLE["citation"],
    outcome=OutcomeKind.DIABETES,
    horizon_years=None,
    unit=SCORE,
    inputs=(
        age(Range(18)),  # a test for adults
        flag("male", "男性", "male"),
        flag("gdm", "妊娠糖尿病史", "diabetes in pregnancy"),
        flag("family", "一级亲属有糖尿病", "diabetes in a parent, sibling or child"),
        flag("htn", "高血压", "high blood pressure"),
        flag("active", "经常运动", "physically active"),
        bmi(),
        HAS_DIABETES,
    ),
    compute=_compute,
)
