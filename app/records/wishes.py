"""What somebody wants recorded, and why it may be refused. No I/O, no clock."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, time
from typing import Any

from app.errors import ErrorCode, UserError
from app.records import health
from app.texts import Text


class CodeInvalid(UserError):
    def __init__(self, *, field: str, example: str) -> None:
        system = "ICD-10" if field == "icd10" else "ATC"
        super().__init__(
            ErrorCode.CODE_INVALID,
            Text(
                zh=f"请填写 {system} 编码，例如 {example}。",
                en=f"This takes a code of {system}, as {example}.",
            ),
            field=field,
        )


class PeriodInvalid(UserError):
    def __init__(self, *, field: str) -> None:
        super().__init__(
            ErrorCode.PERIOD_INVALID,
            Text(
                zh="末日不能早于首日；疾病的日期不能晚于今天。",
                en="The last day must not be before the first, nor a condition's day after today.",
            ),
            field=field,
        )


class TextInvalid(UserError):
    def __init__(self, *, field: str, length_max: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"请填写 1 至 {length_max} 个字符，须为一行。",
                en=f"Write one line of 1 to {length_max} characters.",
            ),
            field=field,
        )


class TimesInvalid(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"每天最多 {health.TIMES_MAX} 个不同的时间。",
                en=f"At most {health.TIMES_MAX} different times a day.",
            ),
            field="times",
        )


@dataclass(frozen=True, slots=True)
class ConditionWish:
    icd10: str
    label: str | None
    onset_on: date | None
    abated_on: date | None


@dataclass(frozen=True, slots=True)
class MedicationWish:
    name: str
    atc: str | None
    dose: str
    times: Sequence[time]
    starts_on: date
    ends_on: date | None
    remind: bool


def checked_condition(wish: ConditionWish, *, today: date) -> dict[str, Any]:
    """The columns. Raises CodeInvalid, PeriodInvalid, TextInvalid."""
    code = health.icd10(wish.icd10)
    if code is None:
        raise CodeInvalid(field="icd10", example="E11.9")
    fault = health.period_fault(wish.onset_on, wish.abated_on, today=today)
    if fault is not None:
        raise PeriodInvalid(field=fault)
    label = wish.label
    if label is not None:
        label = _line(label, field="label", length_max=health.LABEL_LENGTH_MAX)
    return {**asdict(wish), "icd10": code, "label": label}


def checked_medication(wish: MedicationWish) -> dict[str, Any]:
    """The columns. Raises CodeInvalid, PeriodInvalid, TextInvalid, TimesInvalid."""
    atc = health.atc(wish.atc) if wish.atc is not None else None
    if wish.atc is not None and atc is None:
        raise CodeInvalid(field="atc", example="A10BA02")
    if wish.ends_on is not None and wish.ends_on < wish.starts_on:
        raise PeriodInvalid(field="endsOn")
    times = health.daily(wish.times)
    if times is None:
        raise TimesInvalid
    return {
        "name": _line(wish.name, field="name", length_max=health.NAME_LENGTH_MAX),
        "atc": atc,
        "dose": _line(wish.dose, field="dose", length_max=health.DOSE_LENGTH_MAX),
        "times": times,
        "starts_on": wish.starts_on,
        "ends_on": wish.ends_on,
        "remind": wish.remind,
    }


def _line(text: str, *, field: str, length_max: int) -> str:
    """Raises TextInvalid."""
    found = text.strip()
    if not found or len(text) > length_max or not found.isprintable():
        raise TextInvalid(field=field, length_max=length_max)
    return found
