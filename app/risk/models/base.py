"""What every model is made of: its inputs, its result, and how a result is shared out.

A model takes numbers by name and gives a `Result`. Outside its valid range, or without an
input, it is not applicable and says why; nothing is ever clamped. What cannot be meant at all
(a word for a number, a blood pressure of 9,000) is refused with `InputInvalid`.
"""

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.texts import Text

PERCENT = "%"
SCORE = "{score}"
EGFR_UNIT = "mL/min/{1.73_m2}"
_WRITTEN = {"mm[Hg]": "mmHg", EGFR_UNIT: "mL/min/1.73 m²", "kg/m2": "kg/m²", "umol/L": "µmol/L"}


def shown_unit(unit: str | None) -> str:
    """As people write it, after a space; an age has none."""
    return "" if unit in (None, "a") else f" {_WRITTEN.get(unit, unit)}"


Value = float | str
Values = Mapping[str, Value]
"""Inputs that were checked: numbers, flags as 0.0 and 1.0, choices as words."""


class OutcomeKind(StrEnum):
    """What a model is about."""

    HYPERTENSION = "HYPERTENSION"
    DIABETES = "DIABETES"
    CARDIOVASCULAR_DISEASE = "CARDIOVASCULAR_DISEASE"
    KIDNEY_FUNCTION = "KIDNEY_FUNCTION"


_REPEATED_MAX = 80
_SHORT = reprlib.Repr()
"""What was given is repeated, shortened in the middle."""
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = _REPEATED_MAX


class InputInvalid(ValueError):
    """An input that cannot be meant. Names the field, what was given and what is allowed."""

    def __init__(self, field: str, value: Any, allowed: str) -> None:
        name, given = field[:_REPEATED_MAX], _SHORT.repr(value)
        super().__init__(f"{name}: {given} is not allowed; allowed: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class Range:
    """From `minimum`, included, to `maximum`, included unless said."""

    minimum: float | None = None
    maximum: float | None = None
    open_end: bool = False
    """`maximum` itself is outside."""
    words: str | None = None

    def holds(self, value: float) -> bool:
        if self.minimum is not None and value < self.minimum:
            return False
        if self.maximum is None:
            return True
        return value < self.maximum if self.open_end else value <= self.maximum

    def __str__(self) -> str:
        if self.words is not None:
            return self.words
        if self.maximum is None:
            return f"≥ {self.minimum:g}"
        end = f"{'< ' if self.open_end else '≤ '}{self.maximum:g}"
        return end if self.minimum is None else f"≥ {self.minimum:g}, {end}"


def years(first: int, last: int) -> Range:
    """Ages in completed years, both ends included: who is 74 is so until the next birthday."""
    return Range(first, last + 1, open_end=True, words=f"{first}-{last}")


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a model. Exactly one of `possible` and `options` is given."""

    name: str
    label: Text
    unit: str | None = None
    """UCUM."""
    possible: Range | None = None
    """Of a number: outside of it no person is."""
    options: tuple[str, ...] = ()
    """Of a choice; `("0", "1")` is a flag."""
    valid: Range | None = None
    """The model's own range: outside of it the model is not applicable."""
    required: bool = True
    excludes: Text | None = None
    """Of a flag: whom the model is not for."""

    @property
    def allowed(self) -> str:
        """In words, with the unit in UCUM."""
        if self.possible is not None:
            unit = f" {self.unit}" if self.unit else ""
            return f"a number, {self.possible}{unit}"
        return " or ".join(self.options)

    def read(self, value: Any) -> Value:
        """Checked. Raises InputInvalid."""
        if self.possible is not None:
            return self._number(value, self.possible)
        if isinstance(value, bool) and self.is_numeric:
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or str(value) not in self.options:
            raise InputInvalid(self.name, value, self.allowed)
        return float(value) if self.is_numeric else str(value)

    @property
    def is_numeric(self) -> bool:
        return self.possible is not None or all(option.isdigit() for option in self.options)

    def _number(self, value: Any, possible: Range) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Compared before it is converted: an integer may be too large for a float.
        if not is_number or not possible.holds(value) or not math.isfinite(value):
            raise InputInvalid(self.name, value, self.allowed)
        return float(value)


@dataclass(frozen=True, slots=True)
class Contribution:
    """How much a factor adds to or takes from the result, in the result's unit."""

    factor: str
    value: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One number that a model gives: `10y.ascvd`. `value` is None with a reason."""

    name: str
    value: float | None
    unit: str
    not_applicable: Text | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a model says; `value` is the main outcome, in `unit`."""

    value: float | None
    unit: str
    category: str | None = None
    """The model's own name for the band; None where it has no bands."""
    outcomes: tuple[Outcome, ...] = ()
    """All of them, the main one too."""
    contributions: tuple[Contribution, ...] = ()
    """They add up to `value`."""
    near_limit: bool = False
    """Within the model's stated accuracy of the limit of a category."""
    not_applicable: Text | None = None


Compute = Callable[[Values], Result]


@dataclass(frozen=True, slots=True)
class Model:
    """A published model. `compute` is only called when the model applies."""

    code: str
    version: str
    """Raised whenever a result may differ for the same inputs."""
    title: Text
    source: str
    outcome: OutcomeKind
    horizon_years: int | None
    unit: str
    inputs: tuple[Input, ...]
    compute: Compute
    also_required: Callable[[Values], Iterable[str]] = lambda _: ()
    """Inputs that only some need, as by sex."""
    by_name: Mapping[str, Input] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {it.name: it for it in self.inputs})

    def read(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """The inputs that are given, checked; a null is as good as nothing.
        Raises InputInvalid."""
        known = self.by_name
        found: dict[str, Value] = {}
        for name, value in given.items():
            if name not in known:
                raise InputInvalid(name, value, f"one of {', '.join(known)}")
            if value is not None:
                found[name] = known[name].read(value)
        return found

    def score(self, given: Mapping[str, Any]) -> Result:
        """The same inputs give the same result. Raises InputInvalid."""
        values = self.read(given)
        reason = self.not_applicable(values)
        if reason is not None:
            return Result(None, self.unit, not_applicable=reason)
        return self.compute(values)

    def not_applicable(self, values: Values) -> Text | None:
        """Why the model says nothing; None when it applies. Whom it is not for comes before
        what is missing: nobody need measure what would not help."""
        for it in self.inputs:
            value = values.get(it.name)
            if it.excludes is not None and value:
                return it.excludes
            if it.valid is not None and isinstance(value, float) and not it.valid.holds(value):
                return _outside(it, value)
        also = frozenset(self.also_required(values))
        missing = [
            it for it in self.inputs if it.name not in values and (it.required or it.name in also)
        ]
        return _missing(missing) if missing else None


def _outside(it: Input, value: float) -> Text:
    unit = shown_unit(it.unit)
    return Text(
        zh=f"{it.label.zh} {value:g}{unit} 不在该模型的适用范围({it.valid}{unit})内。",
        en=f"{it.label.en} {value:g}{unit} is outside the range of this model ({it.valid}{unit}).",
    )


def _missing(inputs: Sequence[Input]) -> Text:
    return Text(
        zh=f"缺少：{'、'.join(it.label.zh for it in inputs)}。",
        en=f"Missing: {', '.join(it.label.en for it in inputs)}.",
    )


def flag(name: str, zh: str, en: str, **options: Any) -> Input:
    return Input(name, Text(zh=zh, en=en), options=("0", "1"), **options)


def exclusion(name: str, zh: str, en: str, reason: Text) -> Input:
    """A flag, off unless given, of those whom the model is not for."""
    return flag(name, zh, en, required=False, excludes=reason)


SEX = Input("sex", Text(zh="性别", en="sex"), options=("male", "female"))
_DIABETES = Text(
    zh="已诊断糖尿病者不适用该模型，请遵医嘱管理。",
    en="This model is not for people who have diabetes; follow your doctor's plan.",
)
HAS_DIABETES = exclusion("diabetes", "已诊断糖尿病", "diagnosed diabetes", _DIABETES)
HAS_CVD = exclusion(
    "cvd",
    "已有心血管疾病",
    "cardiovascular disease",
    Text(
        zh="已有心血管疾病者不适用该模型：风险已属很高。",
        en="This model is not for people with cardiovascular disease: their risk is very high.",
    ),
)


def age(valid: Range | None = None) -> Input:
    return Input("age", Text(zh="年龄", en="age"), "a", Range(0, 130), valid=valid)


def number(
    name: str, zh: str, en: str, unit: str, low: float, high: float, **options: Any
) -> Input:
    return Input(name, Text(zh=zh, en=en), unit, Range(low, high), **options)


def sbp(valid: Range | None = None) -> Input:
    return number("sbp", "收缩压", "systolic blood pressure", "mm[Hg]", 50, 300, valid=valid)


def dbp(valid: Range | None = None, *, required: bool = True) -> Input:
    zh, en = "舒张压", "diastolic blood pressure"
    return number("dbp", zh, en, "mm[Hg]", 20, 200, valid=valid, required=required)


def bmi(valid: Range | None = None, *, required: bool = True) -> Input:
    zh, en = "体质指数", "body mass index"
    return number("bmi", zh, en, "kg/m2", 10, 80, valid=valid, required=required)


def waist(valid: Range | None = None) -> Input:
    return number("waist", "腰围", "waist", "cm", 40, 222, valid=valid)


# Bands and shares


def band(bands: Iterable[Mapping[str, Any]], value: float) -> Mapping[str, Any]:
    """The band that holds a value: half-open `[min, max)` unless its keys say otherwise."""
    for it in bands:
        above = it.get("min_exclusive")
        if above is not None and value <= above:
            continue
        lowest = it.get("min")
        if lowest is not None and value < lowest:
            continue
        end = it.get("max_exclusive", it.get("max"))
        if end is not None and value >= end:
            continue
        last = it.get("max_inclusive")
        if last is not None and value > last:
            continue
        return it
    raise AssertionError(f"no band holds {value}")


def points(bands: Iterable[Mapping[str, Any]], value: float) -> int:
    found: int = band(bands, value)["points"]
    return found


def scored(parts: Mapping[str, int]) -> tuple[int, tuple[Contribution, ...]]:
    """The sum of the points, and what each factor gave."""
    given = tuple(Contribution(factor, float(value)) for factor, value in parts.items())
    return sum(parts.values()), given


BASE = "base"
"""The factor that holds what age and sex alone give, everything else at the reference."""


def shares(
    base: float, parts: Mapping[str, float], curve: Callable[[float], float]
) -> tuple[Contribution, ...]:
    """How a probability comes about. `curve(base + sum(parts))` is the result, and `parts` is
    how much each factor moves the linear predictor away from the reference `base`. The factors
    share what lies between the two results by what they moved: the shares add up to the
    result exactly, whatever the order (Aumann-Shapley along the straight line)."""
    total = sum(parts.values())
    at_base = curve(base)
    slope = _slope(curve, base, total)
    found = [Contribution(BASE, at_base)]
    found += [Contribution(factor, moved * slope) for factor, moved in parts.items()]
    return tuple(found)


def _slope(curve: Callable[[float], float], base: float, total: float) -> float:
    """Of the chord; of the curve itself where the two points all but coincide."""
    if abs(total) > 1e-9:
        return (curve(base + total) - curve(base)) / total
    return (curve(base + 1e-6) - curve(base - 1e-6)) / 2e-6


def is_near(value: float, limits: Iterable[float], accuracy: float) -> bool:
    """Whether a value is within `accuracy` of a limit."""
    return any(abs(value - limit) <= accuracy + 1e-12 for limit in limits)
