"""Which readings raise or close an alert, by the rules of `alerts.yaml`. No I/O, no clock."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from app.measurements.catalogue import quantities
from app.measurements.streams import SLOT
from app.texts import Text


class AlertKind(StrEnum):
    THRESHOLD = "THRESHOLD"
    TREND = "TREND"
    SILENCE = "SILENCE"


class AlertSeverity(StrEnum):
    INFO = "INFO"
    WARNING = "WARNING"
    URGENT = "URGENT"


class AlertClosed(StrEnum):
    """Why an alert is over."""

    NORMAL_AGAIN = "NORMAL_AGAIN"
    """A later reading, or the mean of later ones."""
    WRONG_READING = "WRONG_READING"
    """The member says that it was not right."""
    CONFIRMED = "CONFIRMED"
    """The member says that it was right, and nothing else was asked."""
    SYNCED = "SYNCED"
    DISCONNECTED = "DISCONNECTED"
    """Nothing is expected of the device any more."""
    HANDLED = "HANDLED"
    """An employee has done what was to be done."""


_LEAST, _LARGEST = Decimal("-Infinity"), Decimal("Infinity")

ENOUGH = 10
"""Values of a stream: one that slipped hardly moves their mean."""
PRIORITY = {AlertSeverity.INFO: 30, AlertSeverity.WARNING: 60, AlertSeverity.URGENT: 95}
"""In the worklist, 0 to 100."""


class Kept(Protocol):
    """A reading in force, as it is stored: a row of `measurements`, or what is like one."""

    @property
    def id(self) -> UUID | None:
        """Null for what is kept as an aggregate."""

    @property
    def code(self) -> str: ...
    @property
    def value(self) -> Decimal:
        """In the canonical unit of its code."""

    @property
    def measured_at(self) -> datetime: ...
    @property
    def method(self) -> str: ...
    @property
    def source_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Quarter:
    """A quarter of an hour of a sensor's stream: its mean stands for it, so that one value that
    slipped raises nothing. While the quarter goes on, the mean of a few may still be such a one:
    it raises when there are more, or when the quarter is over."""

    code: str
    value: Decimal
    measured_at: datetime
    source_id: str
    n: int
    method: str = "SENSED"
    id: None = None

    def may_raise(self, *, now: datetime) -> bool:
        return self.n >= ENOUGH or self.measured_at + SLOT <= now


@dataclass(frozen=True, slots=True)
class Limit:
    """One end: `at_least` is a high one, `below` a low one."""

    code: str
    at_least: Decimal | None
    below: Decimal | None
    clears: Decimal

    def is_met(self, value: Decimal) -> bool:
        if self.at_least is not None:
            return value >= self.at_least
        return self.below is not None and value < self.below

    def is_clear(self, value: Decimal) -> bool:
        return value < self.clears if self.at_least is not None else value >= self.clears


@dataclass(frozen=True, slots=True)
class Threshold:
    rule: str
    group: str
    severity: AlertSeverity
    asks_confirmation: bool
    due_hours: int
    limits: Sequence[Limit]
    message: Text

    def limit(self, code: str) -> Limit | None:
        return next((limit for limit in self.limits if limit.code == code), None)


@dataclass(frozen=True, slots=True)
class Trend:
    rule: str
    code: str
    days: int
    baseline_days: int
    readings_min: int
    days_min: int
    baseline_readings_min: int
    baseline_days_min: int
    rises_by: Decimal
    """In the canonical unit; negative: falls by."""
    severity: AlertSeverity
    due_hours: int
    message: Text


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert as a rule words it."""

    rule: str
    kind: AlertKind
    severity: AlertSeverity
    asks_confirmation: bool
    due_hours: int
    message: Text
    code: str | None = None
    """Of the quantity."""
    reading: Kept | None = None
    connection_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    version: str
    per_day_max: int
    thresholds: Sequence[Threshold]
    extreme: Threshold
    trends: Sequence[Trend]
    silence: Threshold

    def threshold(self, rule: str) -> Threshold | None:
        return next((it for it in self.thresholds if it.rule == rule), None)


def raised_by(readings: Sequence[Kept], rules: Rules, *, fresh_since: datetime) -> list[Raised]:
    """The alerts of these readings, one a rule: of several that meet it, by the latest, then
    the first. Of the rules of one group a moment raises the first only. What is extreme is said
    by a rule of its own where no limit was met. What was measured before `fresh_since` meets no
    limit: what one should do at once is no longer to be said."""
    found: dict[str, Raised] = {}
    if not _may_raise(readings, rules):
        return []
    for measured_at, moment in _moments(readings):
        groups: set[str] = set()
        told: set[str] = set()
        for threshold in rules.thresholds if measured_at > fresh_since else ():
            if threshold.group in groups:
                continue
            hits = _hits(moment, threshold)
            if hits:
                groups.add(threshold.group)
                told.update(hit.code for hit in hits)
                found[threshold.rule] = _raised(threshold, threshold.rule, moment, hits[0])
        for reading in moment:
            if reading.code not in told and _is_extreme(reading):
                rule = f"{rules.extreme.rule}:{reading.code}"
                found[rule] = _raised(rules.extreme, rule, [reading], reading)
    return list(found.values())


def _may_raise(readings: Iterable[Kept], rules: Rules) -> bool:
    """Whether a value reaches any limit of its code: of hundreds of readings rarely one does."""
    values: dict[str, list[Decimal]] = defaultdict(list)
    for reading in readings:
        values[reading.code].append(reading.value)
    for code, found in values.items():
        limits = [limit for it in rules.thresholds for limit in it.limits if limit.code == code]
        quantity = quantities()[code]
        low = max(
            [
                _LEAST if quantity.extreme_low is None else quantity.extreme_low,
                *(it.below for it in limits if it.below is not None),
            ]
        )
        high = min(
            [
                _LARGEST if quantity.extreme_high is None else quantity.extreme_high,
                *(it.at_least for it in limits if it.at_least is not None),
            ]
        )
        if min(found) <= low or max(found) >= high:
            return True
    return False


def clearing_moment(
    readings: Iterable[Kept], rule: str, code: str, *, since: datetime, rules: Rules
) -> datetime | None:
    """When a reading of `code` after `since` was clear of the alert of this rule, and so was
    all that was read with it; None: it goes on."""
    threshold = rules.threshold(rule)
    for measured_at, moment in reversed(list(_moments(readings))):
        own = [reading for reading in moment if reading.code == code]
        if measured_at <= since or not own:
            continue
        if threshold is None:
            return measured_at if not any(_is_extreme(it) for it in own) else None
        limits = [(threshold.limit(it.code), it.value) for it in moment]
        is_clear = all(limit is None or limit.is_clear(value) for limit, value in limits)
        return measured_at if is_clear else None
    return None


def risen(trend: Trend, *, mean: Decimal, baseline: Decimal) -> bool:
    change = mean - baseline
    return change >= trend.rises_by if trend.rises_by > 0 else change <= trend.rises_by


def worded(trend: Trend, *, mean: Decimal, baseline: Decimal) -> Raised:
    quantity = quantities()[trend.code]
    values = {
        "mean": said(mean),
        "baseline": said(baseline),
        "unit": _unit(quantity.canonical.ucum),
    }
    return Raised(
        rule=trend.rule,
        kind=AlertKind.TREND,
        severity=trend.severity,
        asks_confirmation=False,
        due_hours=trend.due_hours,
        message=Text(
            zh=trend.message.zh.format_map(values), en=trend.message.en.format_map(values)
        ),
        code=trend.code,
    )


def said(value: Decimal) -> str:
    """To one decimal, rounded half up, without a zero at the end."""
    rounded = value.quantize(Decimal("0.1"), ROUND_HALF_UP)
    return (
        str(rounded.to_integral_value()) if rounded == rounded.to_integral_value() else str(rounded)
    )


_UNITS = {"mm[Hg]": "mmHg", "{steps}": "", "Cel": "°C", "/min": "/min"}
"""As people write them."""


def _unit(ucum: str) -> str:
    return _UNITS.get(ucum, ucum)


def _moments(readings: Iterable[Kept]) -> Iterator[tuple[datetime, list[Kept]]]:
    """What was read at one instant by one source belongs together; oldest first."""
    found: dict[tuple[datetime, str], list[Kept]] = {}
    for reading in readings:
        found.setdefault((reading.measured_at, reading.source_id), []).append(reading)
    for (measured_at, _), moment in sorted(found.items()):
        yield measured_at, moment


def _hits(moment: Sequence[Kept], threshold: Threshold) -> list[Kept]:
    """The readings that meet a limit, in the order of the limits."""
    return [
        reading
        for limit in threshold.limits
        for reading in moment
        if reading.code == limit.code and limit.is_met(reading.value)
    ]


def _is_extreme(reading: Kept) -> bool:
    quantity = quantities()[reading.code]
    low, high = quantity.extreme_low, quantity.extreme_high
    return (low is not None and reading.value <= low) or (
        high is not None and reading.value >= high
    )


def _raised(threshold: Threshold, rule: str, moment: Sequence[Kept], hit: Kept) -> Raised:
    quantity = quantities()[hit.code]
    values = {"value": _value(moment, hit), "unit": _unit(quantity.canonical.ucum)}
    return Raised(
        rule=rule,
        kind=AlertKind.THRESHOLD,
        severity=threshold.severity,
        asks_confirmation=threshold.asks_confirmation,
        due_hours=threshold.due_hours,
        message=Text(
            zh=threshold.message.zh.format_map(values | {"name": quantity.name_zh}),
            en=threshold.message.en.format_map(values | {"name": quantity.name_en}),
        ),
        code=hit.code,
        reading=hit,
    )


def _value(moment: Sequence[Kept], hit: Kept) -> str:
    """A pair is said as one: 185/110."""
    by_code = {reading.code: reading.value for reading in moment}
    pair = ("SYSTOLIC_BP", "DIASTOLIC_BP")
    if hit.code in pair and all(code in by_code for code in pair):
        return "/".join(said(by_code[code]) for code in pair)
    return said(hit.value)
