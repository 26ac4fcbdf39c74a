"""Which readings are kept, in which unit, and what is said about the others. No I/O, no clock.

What is kept of a request is decided reading by reading: a bad one is refused with its reason
and the rest is kept. The halves of a blood pressure stay together: see `pairs.py`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

from app.errors import ErrorCode
from app.measurements.catalogue import Family, Quantity, Stream, Unit, units
from app.measurements.catalogue import quantities as catalogue
from app.measurements.kinds import (
    TRUSTED,
    VOUCHED,
    Channel,
    Context,
    Method,
    TrustGrade,
    trust,
)
from app.texts import Text

__all__ = [
    "TRUSTED", "VOUCHED", "Channel", "Context", "Method", "Reading", "Refused", "Terms",
    "TrustGrade", "canonical", "convert", "is_extreme", "is_plausible", "judge", "judge_all",
    "trust",
]  # fmt: skip

CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of ours a phone's clock may be."""
LATE_DAYS = 30
"""How old data may be when it arrives, unless the member's product says otherwise."""
SOURCE_LENGTH_MAX = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_KEPT = Decimal("0.001")
_TOO_LARGE = Decimal(10) ** 9
"""No column holds it."""


class Reading(NamedTuple):
    """One value as it was sent."""

    code: str
    value: Decimal
    unit: str
    """UCUM, any that the code accepts."""
    measured_at: datetime
    method: Method
    source_id: str = ""
    """What measured it, as the phone names it; empty when it was not said."""
    context: Context | None = None
    app: str | None = None
    """What sends it."""
    continuous: bool | None = None
    """Whether it is one of a sensor's stream; as the catalogue says when it was not said."""
    confirmed: bool = False
    """The member has looked at an extreme value and stands by it."""


as_reading: Callable[[tuple[Any, ...]], Reading] = partial(tuple.__new__, Reading)
"""Of its fields in their order, without a look at each name: for many at once."""


class ReadingKind(NamedTuple):
    """What readings have in common that one source sends of one code; columns of
    `measurements`."""

    code: str
    unit: str
    """The canonical one of the code."""
    sent_unit: str
    method: str
    source_id: str
    app: str | None
    context: str | None
    trust: str


Judged = tuple[ReadingKind, Decimal, str, datetime, bool | None]
"""A reading that may be kept: its value in the canonical unit and as it was sent, its instant, and
whether it was confirmed, None unless it is extreme. No class of its own: there are hundreds."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What a member may read about a reading that is not kept; no value is repeated."""

    code: ErrorCode
    text: Text


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides besides the reading itself."""

    now: datetime
    oldest: datetime | None
    """The first instant that is not too old; None where any age is accepted."""
    late_days: int
    """How many days that are, for the sentence."""
    channel: Channel
    senses: bool
    """The member consents to data of their devices."""
    held: frozenset[str] = frozenset()
    """Serial numbers of the registered devices that the member has."""


def canonical(value: Decimal, unit: Unit) -> Decimal:
    """In the code's canonical unit, to three decimals, rounded half up."""
    if not unit.is_canonical:
        value = value * unit.multiply / unit.divide + unit.add
    return value.quantize(_KEPT, rounding=ROUND_HALF_UP)


def convert(value: Decimal, unit: Unit) -> Decimal:
    """The other way: from the canonical unit into this one, not rounded."""
    return (value - unit.add) * unit.divide / unit.multiply


def is_plausible(value: Decimal, unit: Unit) -> bool:
    """Within the catalogue's range of that unit, both ends included; where it has none, a
    number that can be kept."""
    if unit.minimum is not None and value < unit.minimum:
        return False
    if unit.maximum is not None:
        return value <= unit.maximum
    return -_TOO_LARGE < value.quantize(_KEPT, rounding=ROUND_HALF_UP) < _TOO_LARGE


def is_extreme(value: Decimal, quantity: Quantity) -> bool:
    """Possible, but so far out that somebody should look: at or beyond an end, in the
    canonical unit."""
    low, high = quantity.extreme_low, quantity.extreme_high
    return (low is not None and value <= low) or (high is not None and value >= high)


def is_stream(reading: Reading, quantity: Quantity) -> bool:
    """Whether it is kept in an aggregate. What names its context was measured on its own."""
    if reading.method is not Method.SENSED or reading.context is not None:
        return False
    if quantity.stream is Stream.USUAL:
        return reading.continuous is not False
    return quantity.stream is Stream.MARKED and reading.continuous is True


def judge(reading: Reading, terms: Terms) -> Judged | Refused:
    """Whether a reading is kept. Refused: CODE_INVALID, UNIT_UNKNOWN, VALUE_OUT_OF_RANGE,
    CONTEXT_INVALID, IN_FUTURE, TOO_OLD, CONSENT_MISSING."""
    return judge_all([reading], terms)[0]


def judge_all(readings: Sequence[Reading], terms: Terms) -> list[Judged | Refused]:
    """As `judge`, of many: column by column, because what is the same for all that one source sends
    of one code is decided once, and so is what all have in common that were measured together."""
    if not readings:
        return []
    codes, values, units_, instants, methods, sources, contexts, apps, _, confirmed = zip(
        *readings, strict=True
    )
    judges = _Judges(terms)
    of_kind = list(
        map(
            judges.__getitem__,
            zip(codes, units_, methods, sources, contexts, apps, strict=True),
        )
    )
    late = {at: when(at, terms) for at in dict.fromkeys(instants)}
    said = [
        known.get(id(value)) or _say(value, kind, known)
        for (kind, known, _), value in zip(of_kind, values, strict=True)
    ]
    _, kept, sent_values, are_extreme, out = zip(*said, strict=True)
    kinds, _, faults = zip(*of_kind, strict=True)
    stood_by = [
        it if is_extreme else None for it, is_extreme in zip(confirmed, are_extreme, strict=True)
    ]
    found: list[Any] = list(zip(kinds, kept, sent_values, instants, stood_by, strict=True))
    if any(out) or any(late.values()) or any(judge.fault for judge in judges.values()):
        for at, instant in enumerate(instants):
            fault = faults[at]
            refused = (fault if kinds[at] is None else None) or late[instant] or out[at] or fault
            found[at] = refused or found[at]
    return found


class _Judge(NamedTuple):
    """Of readings that differ in value, instant and confirmation only."""

    kind: ReadingKind | None
    """None when `fault` is all there is to say."""
    known: dict[int, "_Value"]
    """What is said about values of this code and unit, by identity: readings repeat themselves, and
    the parser of decimals hands out the same object for the same text."""
    fault: Refused | None


class _Judges(dict[tuple[Any, ...], _Judge]):
    """By code, unit, method, source, context and app, made when first asked for."""

    def __init__(self, terms: Terms) -> None:
        super().__init__()
        self._terms = terms

    def __missing__(self, key: tuple[Any, ...]) -> _Judge:
        code, unit, method, source_id, context, app = key
        known = units().get((code, unit))
        if known is None or not known[0].is_reading:
            refused = unit_unknown(code) if known is None else _NOT_A_READING
            made = _Judge(None, {}, refused)
        else:
            kind = ReadingKind(
                code=code,
                unit=known[0].canonical.ucum,
                sent_unit=unit,
                method=method.value,
                source_id=source_id,
                app=app,
                context=context.value if context is not None else None,
                trust=trust(
                    method,
                    self._terms.channel,
                    has_source=bool(source_id),
                    is_registered=source_id in self._terms.held,
                ).value,
            )
            made = _Judge(kind, _values_known(code, unit), _fault(kind, known[0], self._terms))
        self[key] = made
        return made


_Value = tuple[Decimal, Decimal, str, bool, Refused | None]
"""The value itself, so that nothing else has its id; as it is kept, as it was sent, whether it is
extreme, and why it is refused."""
_VALUES_MAX = 512
"""Of a unit of a code."""


@cache
def _values_known(_code: str, _ucum: str) -> dict[int, _Value]:
    return {}


def _say(value: Decimal, kind: ReadingKind | None, known: dict[int, _Value]) -> _Value:
    if kind is None:
        return value, value, "", False, None
    quantity, unit = units()[kind.code, kind.sent_unit]
    if value.is_finite() and is_plausible(value, unit):
        kept = canonical(value, unit)
        found: _Value = (value, kept, str(value), is_extreme(kept, quantity), None)
    else:
        found = (value, value, "", False, out_of_range(quantity, unit))
    if len(known) >= _VALUES_MAX:
        known.clear()
    known[id(value)] = found
    return found


def _fault(kind: ReadingKind, quantity: Quantity, terms: Terms) -> Refused | None:
    if kind.context is not None and kind.context not in quantity.contexts:
        return _contradiction(quantity)
    if not is_name(kind.source_id) or not is_name(kind.app or ""):
        return SOURCE_INVALID
    if kind.method == Method.SENSED and not terms.senses:
        return DEVICES_NOT_CONSENTED
    return None


@lru_cache(maxsize=1024)
def is_name(source_id: str) -> bool:
    """Whether a source, or an app, may be called so."""
    return len(source_id) <= SOURCE_LENGTH_MAX and _CONTROL.search(source_id) is None


def when(instant: datetime, terms: Terms) -> Refused | None:
    if instant > terms.now + CLOCK_SKEW:
        return IN_FUTURE
    if terms.oldest is not None and instant < terms.oldest:
        return too_old(terms.late_days)
    return None


# What is said


def out_of_range(quantity: Quantity, unit: Unit) -> Refused:
    low, high = unit.minimum, unit.maximum
    if low is None or high is None:
        text = Text(
            zh=f"{quantity.name_zh}的数值无法保存。",
            en=f"{quantity.name_en}: not a possible value.",
        )
    else:
        text = Text(
            zh=f"{quantity.name_zh}应在 {low} 至 {high} {unit.ucum} 之间。",
            en=f"{quantity.name_en} must be from {low} to {high} {unit.ucum}.",
        )
    return Refused(ErrorCode.VALUE_OUT_OF_RANGE, text)


def too_old(late_days: int) -> Refused:
    return Refused(
        ErrorCode.TOO_OLD,
        Text(
            zh=f"只接受最近 {late_days} 天内的数据。",
            en=f"Data is accepted for {late_days} days.",
        ),
    )


def unit_unknown(code: str) -> Refused:
    quantity = catalogue()[code]
    names = ", ".join(unit.ucum for unit in quantity.units)
    return Refused(
        ErrorCode.UNIT_UNKNOWN,
        Text(
            zh=f"{quantity.name_zh}的单位应为（UCUM）：{names}。",
            en=f"{quantity.name_en} is sent in one of these units (UCUM): {names}.",
        ),
    )


def _contradiction(quantity: Quantity) -> Refused:
    names = ", ".join(sorted(quantity.contexts))
    if not names:
        text = Text(
            zh=f"{quantity.name_zh}不带测量情境。",
            en=f"{quantity.name_en} is sent without a context.",
        )
    else:
        other = quantity.family is Family.GLUCOSE
        text = Text(
            zh=f"与{quantity.name_zh}矛盾；可用的情境：{names}。"
            + ("其他情境请用另一种血糖代码。" if other else ""),
            en=f"This contradicts {quantity.name_en}; its contexts are: {names}."
            + (" Otherwise use another code of glucose." if other else ""),
        )
    return Refused(ErrorCode.CONTEXT_INVALID, text)


_NOT_A_READING = Refused(
    ErrorCode.CODE_INVALID,
    Text(
        zh="这是一天的累计值，请用 recordDailyTotals 发送。",
        en="This is a running total of a day; send it with recordDailyTotals.",
    ),
)
SOURCE_INVALID = Refused(
    ErrorCode.VALUE_OUT_OF_RANGE,
    Text(
        zh=f"来源名称最多 {SOURCE_LENGTH_MAX} 个字符，且不能含控制字符。",
        en=f"The name of a source has at most {SOURCE_LENGTH_MAX} characters and no controls.",
    ),
)
IN_FUTURE = Refused(
    ErrorCode.IN_FUTURE,
    Text(zh="测量时间不能晚于现在。", en="It cannot have been measured in the future."),
)
DEVICES_NOT_CONSENTED = Refused(
    ErrorCode.CONSENT_MISSING,
    Text(
        zh="需要你同意使用设备数据，才能保存设备测得的数值。",
        en="What a device measured is kept only with your consent to device data.",
    ),
)
