"""Risk in words that a member understands."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

from app.risk.models import VERSIONS
from app.risk.models.base import BASE, PERCENT, SCORE, Contribution, Result, shown_unit
from app.texts import Text

FACTORS: Mapping[str, Text] = {
    BASE: Text(zh="年龄和性别", en="Age and sex"),
    "age": Text(zh="年龄", en="Age"),
    "sex": Text(zh="性别", en="Sex"),
    "male": Text(zh="性别", en="Sex"),
    "bmi": Text(zh="体质指数", en="Body mass index"),
    "waist": Text(zh="腰围", en="Waist"),
    "sbp": Text(zh="收缩压", en="Upper blood pressure"),
    "dbp": Text(zh="舒张压", en="Lower blood pressure"),
    "blood_pressure": Text(zh="血压", en="Blood pressure"),
    "cholesterol": Text(zh="胆固醇", en="Cholesterol"),
    "hdl": Text(zh="高密度脂蛋白胆固醇", en="HDL cholesterol"),
    "triglycerides": Text(zh="甘油三酯", en="Triglycerides"),
    "glucose": Text(zh="空腹血糖", en="Fasting glucose"),
    "creatinine": Text(zh="血肌酐", en="Creatinine"),
    "egfr": Text(zh="肾功能", en="Kidney function"),
    "smoker": Text(zh="吸烟", en="Smoking"),
    "smoking": Text(zh="吸烟", en="Smoking"),
    "diabetes": Text(zh="糖尿病", en="Diabetes"),
    "dm": Text(zh="糖尿病", en="Diabetes"),
    "north": Text(zh="居住在北方", en="Living in the north"),
    "urban": Text(zh="居住在城市", en="Living in a city"),
    "family_history": Text(zh="心脑血管病家族史", en="Heart attack or stroke in the family"),
    "parents_htn": Text(zh="父母患高血压", en="Parents with high blood pressure"),
    "parental_history": Text(zh="父母患糖尿病", en="A parent with diabetes"),
    "fam": Text(zh="糖尿病家族史", en="Diabetes in the family"),
    "family": Text(zh="糖尿病家族史", en="Diabetes in the family"),
    "active": Text(zh="运动", en="Exercise"),
    "veg": Text(zh="蔬菜水果", en="Vegetables and fruit"),
    "bpmed": Text(zh="降压药", en="Blood pressure medicine"),
    "highglu": Text(zh="曾经血糖偏高", en="High blood glucose before"),
    "gdm": Text(zh="妊娠糖尿病史", en="Diabetes in pregnancy"),
    "htn": Text(zh="高血压", en="High blood pressure"),
}
"""Every factor of every model."""

_INPUT_OF_FACTOR: Mapping[str, tuple[str, ...]] = {
    "cholesterol": ("tc_mmol", "total_c"),
    "hdl": ("hdl_mmol", "hdl_mgdl", "hdl_c"),
    "triglycerides": ("tg_mgdl",),
    "glucose": ("fasting_glucose_mgdl",),
    "creatinine": ("scr_mgdl",),
    BASE: ("age",),
}
_NOTHING = Decimal("0.05")
_TENTH = Decimal("0.1")
NOT_ENOUGH = Text(zh="信息不足", en="Not enough is known")
NONE_MET = Text(zh="没有发现危险因素", en="No risk factor was found")
NONE_MET_DETAIL = Text(
    zh="已知的血压、体重和回答都在正常范围内。",
    en="Blood pressure, weight and answers are all within the normal range.",
)
_NAMES: Mapping[str, Text] = {
    "sbp": Text(zh="血压", en="blood pressure"),
    "bmi": Text(zh="身高和体重", en="height and weight"),
    "age": Text(zh="年龄", en="age"),
}


def not_enough(missing: list[str]) -> Text:
    known = [_NAMES[name] for name in missing if name in _NAMES]
    return Text(
        zh=f"还需要：{'、'.join(it.zh for it in known)}。",
        en=f"Still needed: {', '.join(it.en for it in known)}.",
    )


def factor(code: str) -> Text:
    return FACTORS[code]


def tenth(value: float | Decimal) -> Decimal:
    """As numbers of a result are shown."""
    return Decimal(str(value)).quantize(_TENTH, rounding=ROUND_HALF_UP)


def rounded(result: Result) -> list[Decimal]:
    """The contributions to three decimals, in their order: together the rounded result. What
    rounding leaves over is on the largest."""
    shown = [_thousandth(it.value) for it in result.contributions]
    if shown and result.value is not None:
        largest = max(range(len(shown)), key=lambda place: abs(shown[place]))
        shown[largest] += _thousandth(result.value) - sum(shown)
    return shown


def _thousandth(value: float) -> Decimal:
    return Decimal(str(round(value, 3)))


def contribution(
    it: Contribution, model: tuple[str, str], values: Mapping[str, float | int | str]
) -> Text:
    """What a factor does to the result, with the value that it had."""
    name = FACTORS[it.factor]
    own = _value(it.factor, model, values)
    unit = VERSIONS[model].unit
    amount = tenth(abs(it.value))
    if it.factor == BASE:
        return Text(
            zh=f"按你的年龄和性别，其他各项理想时为 {_with_unit(amount, unit).zh}。",
            en=f"With your age and sex, and all else ideal, it would be "
            f"{_with_unit(amount, unit).en}.",
        )
    if abs(Decimal(str(it.value))) < _NOTHING:
        return Text(zh=f"{name.zh}{own}：没有影响。", en=f"{name.en}{own}: makes no difference.")
    measure = _with_unit(amount, unit, step=True)
    if it.value > 0:
        return Text(
            zh=f"{name.zh}{own}：增加 {measure.zh}。", en=f"{name.en}{own}: adds {measure.en}."
        )
    return Text(
        zh=f"{name.zh}{own}：减少 {measure.zh}。", en=f"{name.en}{own}: takes away {measure.en}."
    )


def _value(code: str, model: tuple[str, str], values: Mapping[str, float | int | str]) -> str:
    """The measured value behind a factor, when it is a number with a unit."""
    for name in _INPUT_OF_FACTOR.get(code, (code,)):
        known = next((it for it in VERSIONS[model].inputs if it.name == name), None)
        value = values.get(name)
        if known is not None and known.possible is not None and isinstance(value, int | float):
            return f" {tenth(value).normalize():f}{shown_unit(known.unit)}"
    return ""


def _with_unit(amount: Decimal, unit: str, *, step: bool = False) -> Text:
    number = f"{amount.normalize():f}"
    if unit == PERCENT:
        if step:
            return Text(zh=f"{number} 个百分点", en=f"{number} percentage points")
        return Text(zh=f"{number} %", en=f"{number} %")
    if unit == SCORE:
        return Text(zh=f"{number} 分", en=f"{number} points" if amount != 1 else "1 point")
    shown = f"{number}{shown_unit(unit)}"
    return Text(zh=shown, en=shown)
