"""Names and numbers in the sentences of a premium, each as (Chinese, English)."""

from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from app.measurements import catalogue
from app.points.programme import programme
from app.premiums import windows
from app.premiums.facts import NoData, Participated
from app.risk.rulesets import Tier

Pair = tuple[str, str]

_TIERS: dict[Tier, Pair] = {
    Tier.LOW: ("低风险", "low risk"),
    Tier.MEDIUM: ("中风险", "medium risk"),
    Tier.HIGH: ("高风险", "high risk"),
}
_CONTEXTS: dict[str, Pair] = {
    "FASTING": ("空腹", "fasting"),
    "BEFORE_MEAL": ("餐前", "before meals"),
    "AFTER_MEAL": ("餐后", "after meals"),
    "BEDTIME": ("睡前", "at bedtime"),
    "AT_REST": ("静息", "at rest"),
    "AFTER_EXERCISE": ("运动后", "after exercise"),
}
_GROUPS: dict[str, Pair] = {
    "healthy": ("健康人群", "healthy"),
    "pre_chronic": ("慢病前期", "pre-chronic"),
    "pre_diabetes": ("糖尿病前期", "pre-diabetic"),
    "hypertension": ("高血压", "high blood pressure"),
    "diabetes": ("糖尿病", "diabetes"),
    "mild_condition": ("轻症", "mild condition"),
}
NO_DATA: dict[NoData, Pair] = {
    NoData.REFUSED: ("你没有同意使用健康数据", "you did not agree to the use of health data"),
    NoData.WITHDRAWN: ("你撤回了健康数据授权", "you withdrew the consent to health data"),
    NoData.PAUSED: ("你的计划处于暂停", "your programme was paused"),
    NoData.DEVICE_SILENT: ("设备没有传来数据", "your device sent nothing"),
    NoData.NOTHING_DUE: ("没有到期的任务", "nothing was due"),
}
_DIAGNOSES: dict[str, Pair] = {
    **dict.fromkeys(("I10", "I11", "I12", "I13", "I15", "I16"), ("高血压", "high blood pressure")),
    **dict.fromkeys(("E10", "E11", "E12", "E13", "E14"), ("糖尿病", "diabetes")),
}
_SMALL = Decimal("0.01")


def number(value: Decimal) -> str:
    """To two decimals, half away from zero, without zeros at the end."""
    rounded = value.quantize(_SMALL, rounding=ROUND_HALF_UP)
    if rounded == 0:
        return "0"
    return format(rounded, "f").rstrip("0").rstrip(".")


def change(percent: Decimal) -> Pair:
    """减5% and 5 % less."""
    size = number(abs(percent))
    if percent == 0:
        return "不变", "no change"
    return (f"减{size}%", f"{size} % less") if percent < 0 else (f"加{size}%", f"{size} % more")


def tier(of: Tier) -> Pair:
    return _TIERS[of]


def tiers(of: Iterable[Tier]) -> Pair:
    return together(tier(it) for it in of)


def groups(of: Iterable[str]) -> Pair:
    return together(_GROUPS.get(it, (it, it)) for it in of)


def level(code: str) -> Pair:
    """As the points programme names it."""
    named = next((it.name for it in programme().levels if it.code == code), None)
    return (named.zh, named.en) if named else (code, code)


def diagnosis(icd10: str) -> Pair:
    """高血压（I10）, and only the code where there is no everyday name."""
    named = _DIAGNOSES.get(icd10[:3])
    return (f"{named[0]}（{icd10}）", f"{named[1]} ({icd10})") if named else (icd10, icd10)


def together(pairs: Iterable[Pair]) -> Pair:
    found = list(pairs)
    return "、".join(zh for zh, _ in found), ", ".join(en for _, en in found)


def month(day: date) -> Pair:
    return f"{day.year}年{day.month}月", f"{day:%Y-%m}"


def months(numbers: range) -> Pair:
    """From the first to the last of consecutive months (`windows.month_number`)."""
    first = month(windows.first_day(numbers[0]))
    if len(numbers) == 1:
        return first
    last = month(windows.first_day(numbers[-1]))
    return f"{first[0]}至{last[0]}", f"{first[1]} to {last[1]}"


def quantity(code: str, context: str | None) -> Pair:
    known = catalogue.quantities().get(code)
    zh, en = (known.name_zh, known.name_en) if known else (code, code)
    if context is None:
        return zh, en
    context_zh, context_en = _CONTEXTS.get(context, (context, context))
    return f"{zh}（{context_zh}）", f"{en} ({context_en})"


def unit(ucum: str) -> str:
    """As people write it."""
    return ucum.replace("mm[Hg]", "mmHg").replace("kg/m2", "kg/m²").replace("umol", "µmol")


def averages(moved: windows.Moved) -> Pair:
    """收缩压从140降到134 mmHg（共8次测量）."""
    series = moved.series
    zh, en = quantity(series.code, series.context)
    before, after = moved.start.exact, moved.end.exact
    numbers = number(before), number(after)
    count = moved.start.readings + moved.end.readings
    verb_zh, verb_en = ("降到", "fell") if after < before else ("升到", "rose")
    in_unit = unit(series.unit)
    return (
        f"{zh}的平均值从{numbers[0]}{verb_zh}{numbers[1]} {in_unit}（{count}次测量）",
        f"the average of {en} {verb_en} from {numbers[0]} to {numbers[1]} {in_unit} ({counted(count, 'reading')})",
    )


def all_averages(moved: Iterable[windows.Moved]) -> Pair:
    found = [averages(it) for it in moved]
    return "；".join(zh for zh, _ in found), "; ".join(en for _, en in found)


def silences(known: Iterable[Participated]) -> Pair:
    """How many months are known for having no data, each kind apart; empty for none."""
    counts: dict[NoData, int] = {}
    for it in known:
        if it.no_data is not None:
            counts[it.no_data] = counts.get(it.no_data, 0) + 1
    parts = [(NO_DATA[kind], counts[kind]) for kind in NoData if kind in counts]
    zh = "".join(f"；{count}个月里{words[0]}" for words, count in parts)
    en = "".join(f"; in {counted(count, 'month')} {words[1]}" for words, count in parts)
    return zh, en


def counted(count: int, noun: str) -> str:
    """1 month and 2 months."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def capital(text: str) -> str:
    """As a sentence begins."""
    return text[:1].upper() + text[1:]
