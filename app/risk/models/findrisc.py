"""FINDRISC: points for type 2 diabetes within ten years."""

from app.risk.models.base import (
    HAS_DIABETES,
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
    bmi,
    flag,
    points,
    scored,
    waist,
)
from app.risk.models.data import published
from app.texts import Text

_TABLE = published("findrisc")
_ITEMS = _TABLE["items"]


def _compute(values: Values) -> Result:
    sex = str(values["sex"])
    total, contributions = scored(
        {
            "age": points(_ITEMS["age_years"], float(values["age"])),
            "bmi": points(_ITEMS["bmi_kg_m2"]["bands"], float(values["bmi"])),
            "waist": points(_ITEMS["waist_cm"][sex], float(values["waist"])),
            "active": _answer("physical_activity_30min_daily", values["active"]),
            "veg": _answer("vegetables_fruit_berries_daily", values["veg"]),
            "bpmed": _answer("ever_antihypertensive_medication", values["bpmed"]),
            "highglu": _answer("ever_high_blood_glucose", values["highglu"]),
            "fam": _ITEMS["family_history_diabetes"][values["fam"]],
        }
    )
    category = next(it for it in _TABLE["categories"] if it["min"] <= total <= it["max"])
    return Result(
        float(total),
        SCORE,
        category["label"],
        (
            Outcome("score", float(total), SCORE),
            Outcome("risk_10y", category["risk_10y"] * 100, PERCENT),
        ),
        contributions,
    )


def _answer(item: str, value: float | str) -> int:
    found: int = _ITEMS[item]["yes" if value else "no"]
    return found


FINDRISC = Model(
    code="findrisc",
    version="1.0",
    title=Text(zh="芬兰糖尿病风险评分 (FINDRISC)", en="Finnish Diabetes Risk Score (FINDRISC)"),
    source=_TABLE["citation"],
    outcome=OutcomeKind.DIABETES,
    horizon_years=10,
    unit=SCORE,
    inputs=(
        age(Range(_TABLE["valid"]["age_min"])),
        SEX,
        bmi(),
        waist(),
        flag("active", "每天至少活动30分钟", "30 minutes of activity a day"),
        flag("veg", "每天吃蔬菜水果", "vegetables or fruit every day"),
        flag("bpmed", "用过降压药", "ever took blood pressure medicine"),
        flag("highglu", "曾经血糖偏高", "ever had high blood glucose"),
        Input(
            "fam",
            Text(zh="糖尿病家族史", en="family history of diabetes"),
            options=("none", "second_degree", "first_degree"),
        ),
        HAS_DIABETES,
    ),
    compute=_compute,
)
