"""Which running totals are taken, and what is said about the others. No I/O, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

import orjson

from app.errors import ErrorCode
from app.measurements import rules
from app.measurements.catalogue import Unit, units
from app.measurements.kinds import Channel, Method, trust
from app.measurements.rules import Refused
from app.texts import Text

SOURCES_MAX = 20
"""Of one code on one local day."""
INTERVALS_MAX = 288
_BEFORE, _AFTER = timedelta(hours=26), timedelta(hours=50)
"""How far from midnight UTC of a day its intervals may lie: the day in any zone, and the
evening before, where a night's sleep begins."""


class SentInterval(NamedTuple):
    start_at: datetime
    end_at: datetime
    value: Decimal


@dataclass(frozen=True, slots=True)
class Total:
    """What a source has counted so far on one local day, as it was sent."""

    code: str
    local_date: date
    value: Decimal
    unit: str
    source_id: str
    method: Method
    intervals: Sequence[SentInterval] = ()


class JudgedTotal(NamedTuple):
    """A total that is taken; columns of `daily_totals`."""

    code: str
    local_date: date
    source_id: str
    value: Decimal
    unit: str
    sent_value: str
    sent_unit: str
    intervals: str | None
    """As JSON, in order: [start, end, value] in milliseconds since 1970 and as text."""
    method: str
    trust: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides besides the total itself."""

    now: datetime
    today: date
    """The member's local day."""
    late_days: int | None
    """None where any age is accepted."""
    channel: Channel
    senses: bool


def judge(total: Total, terms: Terms) -> JudgedTotal | Refused:
    """Refused: CODE_INVALID, UNIT_UNKNOWN, VALUE_OUT_OF_RANGE, IN_FUTURE, TOO_OLD,
    PERIOD_INVALID, BATCH_TOO_LARGE, CONSENT_MISSING."""
    found = units().get((total.code, total.unit))
    if found is None:
        return rules.unit_unknown(total.code)
    quantity, unit = found
    if not quantity.is_daily_total:
        return _NOT_A_TOTAL
    fault = _day_fault(total.local_date, terms)
    if fault is not None:
        return fault
    if not rules.is_plausible(total.value, unit):
        return rules.out_of_range(quantity, unit)
    source = total.source_id
    if not source or not rules.is_name(source):
        return rules.SOURCE_INVALID
    ordered = sorted(total.intervals)
    fault = _intervals_fault(total, ordered, terms)
    if fault is not None:
        return fault
    if total.method is Method.SENSED and not terms.senses:
        return rules.DEVICES_NOT_CONSENTED
    return JudgedTotal(
        code=total.code,
        local_date=total.local_date,
        source_id=source,
        value=rules.canonical(total.value, unit),
        unit=quantity.canonical.ucum,
        sent_value=str(total.value),
        sent_unit=total.unit,
        intervals=_kept(ordered, unit) if ordered else None,
        method=total.method.value,
        trust=trust(total.method, terms.channel, has_source=True).value,
    )


def within_limit(
    judged: Sequence[JudgedTotal | Refused], known: Mapping[tuple[str, date], set[str]]
) -> list[JudgedTotal | Refused]:
    """With the totals of sources that are one too many for their day refused; `known` are the
    sources that each code and day has already."""
    found: list[JudgedTotal | Refused] = []
    sources = {key: set(names) for key, names in known.items()}
    for it in judged:
        if isinstance(it, JudgedTotal):
            of_day = sources.setdefault((it.code, it.local_date), set())
            if it.source_id not in of_day and len(of_day) >= SOURCES_MAX:
                found.append(_TOO_MANY_SOURCES)
                continue
            of_day.add(it.source_id)
        found.append(it)
    return found


def _day_fault(day: date, terms: Terms) -> Refused | None:
    if day > terms.today:
        return _DAY_IN_FUTURE
    if terms.late_days is not None and day < terms.today - timedelta(days=terms.late_days):
        return rules.too_old(terms.late_days)
    return None


def _intervals_fault(total: Total, ordered: Sequence[SentInterval], terms: Terms) -> Refused | None:
    if not ordered:
        return None
    if len(ordered) > INTERVALS_MAX:
        return _TOO_MANY
    midnight = datetime.combine(total.local_date, time.min, tzinfo=UTC)
    if any(_milliseconds(it.start_at) >= _milliseconds(it.end_at) for it in ordered):
        return _UNORDERED
    if any(earlier.end_at > later.start_at for earlier, later in pairwise(ordered)):
        return _OVERLAP
    if ordered[0].start_at < midnight - _BEFORE or ordered[-1].end_at > midnight + _AFTER:
        return _NOT_OF_THE_DAY
    if ordered[-1].end_at > terms.now + rules.CLOCK_SKEW:
        return rules.IN_FUTURE
    values = [it.value for it in ordered]
    if min(values) < 0 or sum(values) > total.value:
        return _NOT_PARTS
    return None


def _kept(ordered: Sequence[SentInterval], unit: Unit) -> str:
    """Not rounded, so that the parts never become more than the whole."""
    return orjson.dumps(
        [
            [_milliseconds(it.start_at), _milliseconds(it.end_at), _in_canonical(it.value, unit)]
            for it in ordered
        ]
    ).decode()


def _in_canonical(value: Decimal, unit: Unit) -> str:
    if not unit.is_canonical:
        value = value * unit.multiply / unit.divide
    return format(value.normalize(), "f")


def _milliseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MILLISECOND


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_NOT_A_TOTAL = Refused(
    ErrorCode.CODE_INVALID,
    Text(
        zh="这不是一天的累计值，请用 recordMeasurements 发送。",
        en="This is no running total of a day; send it with recordMeasurements.",
    ),
)
_DAY_IN_FUTURE = Refused(
    ErrorCode.IN_FUTURE,
    Text(zh="日期不能晚于今天。", en="The day has not begun where the member is."),
)
_TOO_MANY_SOURCES = Refused(
    ErrorCode.LIMIT_REACHED,
    Text(
        zh=f"一天的同一项数据最多来自 {SOURCES_MAX} 个来源。",
        en=f"A day has at most {SOURCES_MAX} sources of one code.",
    ),
)
_TOO_MANY = Refused(
    ErrorCode.BATCH_TOO_LARGE,
    Text(
        zh=f"一天最多 {INTERVALS_MAX} 个时段。", en=f"A day has at most {INTERVALS_MAX} intervals."
    ),
)
_UNORDERED = Refused(
    ErrorCode.PERIOD_INVALID,
    Text(zh="时段的结束必须晚于开始。", en="An interval must end after it starts."),
)
_OVERLAP = Refused(
    ErrorCode.PERIOD_INVALID,
    Text(zh="同一来源的时段不能重叠。", en="The intervals of one source must not overlap."),
)
_NOT_OF_THE_DAY = Refused(
    ErrorCode.PERIOD_INVALID,
    Text(zh="时段不在这一天之内。", en="The intervals do not lie in this day."),
)
_NOT_PARTS = Refused(
    ErrorCode.VALUE_OUT_OF_RANGE,
    Text(
        zh="各时段的数值不能为负，且合计不能超过当天累计值。",
        en="The values of intervals are not negative and add up to at most the total.",
    ),
)
