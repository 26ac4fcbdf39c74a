"""Whether answers fit a questionnaire, and what follows from them. No I/O, no clock.

What is told about a fault names the question and what is allowed, never what was answered.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from math import prod

from app.records import forms
from app.records.forms import Answers, Item, QuestionKind, Questionnaire, Score
from app.texts import Text

_KEPT = Decimal("0.001")
_INTEGER = re.compile(r"-?[0-9]{1,9}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,3})?", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_FIRST_DAY = date(1900, 1, 1)


@dataclass(frozen=True, slots=True)
class Given:
    """One answer as it was sent."""

    key: str
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why answers are refused."""

    field: str
    """Path of the input, as `answers.2.values`."""
    text: Text


@dataclass(frozen=True, slots=True)
class Scored:
    code: str
    value: Decimal
    band: str | None


def check(form: Questionnaire, given: Sequence[Given], *, today: date) -> Answers | Fault:
    """The answers as they are kept, or the first fault. `today` is the member's local day."""
    answers: dict[str, Sequence[str]] = {}
    for place, answer in enumerate(given):
        item = form.item(answer.key)
        if item is None:
            return Fault(f"answers.{place}.key", _UNKNOWN)
        if item.key in answers:
            return Fault(f"answers.{place}.key", _about(item, _TWICE))
        read = _read(item, answer.values, today)
        if isinstance(read, Text):
            return Fault(f"answers.{place}.values", _about(item, read))
        answers[item.key] = read
    return _branches_fault(form, given, answers) or answers


def _branches_fault(form: Questionnaire, given: Sequence[Given], answers: Answers) -> Fault | None:
    asked = {item.key: item for item in forms.shown(form, answers)}
    for place, answer in enumerate(given):
        if answer.key not in asked:
            item = form.item(answer.key)
            assert item is not None
            return Fault(f"answers.{place}.key", _about(item, _NOT_ASKED))
    missing = next((it for it in asked.values() if it.required and it.key not in answers), None)
    return Fault("answers", _about(missing, _MISSING)) if missing is not None else None


def _read(item: Item, values: Sequence[str], today: date) -> Sequence[str] | Text:
    """The values as they are kept, or what is allowed."""
    if item.kind is QuestionKind.MULTIPLE_CHOICE:
        return _read_choices(item, values)
    if len(values) != 1:
        return _ONE_VALUE
    read = _read_one(item, values[0], today)
    return read if isinstance(read, Text) else (read,)


def _read_choices(item: Item, values: Sequence[str]) -> Sequence[str] | Text:
    chosen = [item.option(value) for value in values]
    if not chosen or None in chosen:
        return _one_of(item)
    if len(set(values)) < len(values):
        return _OPTION_TWICE
    if len(chosen) > 1 and any(option is not None and option.exclusive for option in chosen):
        return _ALONE
    # In the order of the form: the same choice is the same answer.
    return tuple(option.value for option in item.options if option.value in values)


def _read_one(item: Item, value: str, today: date) -> str | Text:
    match item.kind:
        case QuestionKind.BOOLEAN:
            return value if value in forms.BOOLEANS else _BOOLEAN
        case QuestionKind.INTEGER | QuestionKind.DECIMAL:
            return _read_number(item, value)
        case QuestionKind.DATE:
            return _read_day(value, today)
        case QuestionKind.TEXT:
            return _read_text(item, value)
        case _:
            return value if item.option(value) is not None else _one_of(item)


def _read_number(item: Item, value: str) -> str | Text:
    assert item.minimum is not None and item.maximum is not None
    pattern = _INTEGER if item.kind is QuestionKind.INTEGER else _DECIMAL
    if not pattern.fullmatch(value) or not item.minimum <= Decimal(value) <= item.maximum:
        return _number(item)
    return plain(Decimal(value))


def _read_day(value: str, today: date) -> str | Text:
    try:
        found = date.fromisoformat(value) if _DAY.fullmatch(value) else None
    except ValueError:
        found = None
    return value if found is not None and _FIRST_DAY <= found <= today else _PAST_DAY


def _read_text(item: Item, value: str) -> str | Text:
    found = value.strip()
    if not found or len(found) > (item.length_max or 0) or "\0" in found:
        return Text(
            zh=f"请填写 1 至 {item.length_max} 个字符。",
            en=f"Write something, at most {item.length_max} characters.",
        )
    return found


def scores(form: Questionnaire, answers: Answers, *, lower_limits: bool) -> list[Scored]:
    """What the questionnaire adds up to. `lower_limits`: of a woman, or of who did not say."""
    found = []
    for score in form.scores:
        value = _score(form, score, answers)
        reached = [
            band.code
            for band in score.bands
            if value
            >= (
                band.minimum_female
                if lower_limits and band.minimum_female is not None
                else band.minimum
            )
        ]
        found.append(Scored(score.code, value, reached[-1] if reached else None))
    return found


def _score(form: Questionnaire, score: Score, answers: Answers) -> Decimal:
    parts = [_points(form, key, answers) for key in score.of]
    total = sum(parts, Decimal(0)) if score.method is forms.ScoreMethod.SUM else prod(parts)
    return (total * score.factor).quantize(_KEPT, rounding=ROUND_HALF_UP)


def _points(form: Questionnaire, key: str, answers: Answers) -> Decimal:
    """What was not shown has no answer and counts nothing."""
    item = form.item(key)
    assert item is not None
    values = answers.get(key, ())
    if item.kind in forms.NUMBERS:
        return sum((Decimal(value) for value in values), Decimal(0))
    options = [item.option(value) for value in values]
    return Decimal(sum(option.score or 0 for option in options if option is not None))


def alerts(form: Questionnaire, answers: Answers) -> list[forms.Alert]:
    """What these answers call for at once."""
    return [alert for alert in form.alerts if forms.holds(alert.when, answers)]


def plain(number: Decimal) -> str:
    """Without trailing zeros or an exponent: equal numbers are spelled equally."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    negative, digits = text.startswith("-"), text.lstrip("-").lstrip("0") or "0"
    digits = f"0{digits}" if digits.startswith(".") else digits
    return f"-{digits}" if negative and digits != "0" else digits


_UNKNOWN = Text(zh="这份问卷没有这个问题。", en="This questionnaire has no such question.")
_TWICE = Text(zh="这个问题回答了两次。", en="is answered twice.")
_NOT_ASKED = Text(
    zh="按前面的回答，不应回答这个问题。", en="is not asked after the answers before it."
)
_MISSING = Text(zh="请回答这个问题。", en="needs an answer.")
_ONE_VALUE = Text(zh="只能有一个值。", en="takes one value.")
_OPTION_TWICE = Text(zh="有选项出现了两次。", en="has an option twice.")
_ALONE = Text(zh="有的选项不能与其他选项同选。", en="has an option that stands alone.")
_BOOLEAN = Text(zh="请用 true 或 false。", en="takes true or false.")
_PAST_DAY = Text(
    zh="请填写存在的日期，例如 2026-03-01，不早于 1900 年，不晚于今天。",
    en="takes a day, as 2026-03-01, from 1900 until today.",
)


def _one_of(item: Item) -> Text:
    values = ", ".join(option.value for option in item.options)
    return Text(zh=f"可选的值：{values}。", en=f"takes these values: {values}.")


def _number(item: Item) -> Text:
    assert item.minimum is not None and item.maximum is not None
    low, high = plain(item.minimum), plain(item.maximum)
    unit = f" ({item.unit.strip('{}')})" if item.unit else ""
    whole = item.kind is QuestionKind.INTEGER
    return Text(
        zh=f"请填写 {low} 至 {high} 的{'整数' if whole else '数，最多三位小数'}{unit}。",
        en=f"takes a {'whole number' if whole else 'number of at most three decimals'} "
        f"from {low} to {high}{unit}.",
    )


def _about(item: Item, what: Text) -> Text:
    return Text(zh=f"“{item.text.zh}”：{what.zh}", en=f'"{item.text.en}" {what.en}')
