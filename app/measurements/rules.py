"""Which readings are kept, in which unit, and what is said about the others. No I/O, no clock.

What is kept of a request is decided reading by reading: a bad one is refused with its reason
and the rest is kept. The halves of a blood pressure stay together: see `pairs.py`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache, partial
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


class Judged(NamedTuple):
    """A reading that may be kept; the columns of `measurements` that it decides."""

    code: str
    value: Decimal
    unit: str
    sent_value: str
    sent_unit: str
    measured_at: datetime
    method: str
    source_id: str
    app: str | None
    context: str | None
    trust: str
    confirmed: bool | None


_as_judged: Callable[[tuple[Any, ...]], Judged] = partial(tuple.__new__, Judged)
"""Without a look at each name."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What a member may read about a reading that is not kept; no value is repeated."""

    code: ErrorCode
    text: Text


_Judge = Callable[[Decimal, datetime, bool], Judged | Refused]
"""Of a value, its instant, and whether it was confirmed."""


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
    """As `judge`, of many. What is the same for all that one source sends of one code is
    decided once."""
    judges: dict[Any, _Judge] = {}
    found = []
    for reading in readings:
        code, value, unit, measured_at, method, source_id, context, app, _, confirmed = reading
        # Members of an enumeration are compared and hashed by Python, their ids are not.
        kind = (code, unit, id(method), source_id, id(context), app)
        judge_one = judges.get(kind)
        if judge_one is None:
            judge_one = judges[kind] = _judge_of(reading, terms)
        found.append(judge_one(value, measured_at, confirmed))
    return found


def _judge_of(like: Reading, terms: Terms) -> _Judge:
    """Of readings that differ from this one in value, instant and confirmation only."""
    known = units().get((like.code, like.unit))
    if known is None or not known[0].is_reading:
        refused = unit_unknown(like.code) if known is None else _NOT_A_READING
        return lambda _value, _measured_at, _confirmed: refused
    quantity, unit = known
    fault = _fault(like, quantity, terms)
    # What `Judged` is made of before and after the instant.
    canonical_unit = quantity.canonical.ucum
    method = like.method.value
    context = like.context.value if like.context is not None else None
    grade = trust(
        like.method,
        terms.channel,
        has_source=bool(like.source_id),
        is_registered=like.source_id in terms.held,
    ).value
    code, sent_unit, source_id, app = like.code, like.unit, like.source_id, like.app

    oldest, latest = terms.oldest, terms.now + CLOCK_SKEW
    low, high = unit.minimum, unit.maximum
    has_range, is_canonical = low is not None and high is not None, unit.is_canonical

    def judge_one(value: Decimal, measured_at: datetime, confirmed: bool) -> Judged | Refused:
        if measured_at > latest or (oldest is not None and measured_at < oldest):
            return when(measured_at, terms) or IN_FUTURE
        if not (low <= value <= high if has_range else is_plausible(value, unit)):  # type: ignore[operator]
            return out_of_range(quantity, unit)
        if fault is not None:
            return fault
        kept = value.quantize(_KEPT, ROUND_HALF_UP) if is_canonical else canonical(value, unit)
        return _as_judged(
            (
                code, kept, canonical_unit, str(value), sent_unit, measured_at, method, source_id,
                app, context, grade, confirmed if is_extreme(kept, quantity) else None,
            )
        )  # fmt: skip

    return judge_one


def _fault(like: Reading, quantity: Quantity, terms: Terms) -> Refused | None:
    if like.context is not None and like.context not in quantity.contexts:
        return _contradiction(quantity)
    if not is_name(like.source_id) or not is_name(like.app or ""):
        return SOURCE_INVALID
    if like.method is Method.SENSED and not terms.senses:
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
