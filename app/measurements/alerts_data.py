"""The rules of `alerts.yaml`, validated when first read."""

from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.measurements import alerts_rules as rules
from app.measurements.alerts_rules import AlertSeverity
from app.measurements.catalogue import quantities
from app.texts import Text

_FILE = Path(__file__).with_name("alerts.yaml")
_NAME = r"^[a-z][a-z0-9-]{2,59}$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Message(_Strict):
    zh: str = Field(min_length=1, max_length=300)
    en: str = Field(min_length=1, max_length=300)

    def text(self) -> Text:
        return Text(zh=self.zh, en=self.en)


class _Limit(_Strict):
    code: str
    at_least: Decimal | None = None
    below: Decimal | None = None
    clears: Decimal | None = None

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.code not in quantities():
            raise ValueError(f"{self.code} is not in the catalogue")
        if (self.at_least is None) == (self.below is None):
            raise ValueError("give `at_least` or `below`")
        if self.clears is not None and (
            (self.at_least is not None and self.clears > self.at_least)
            or (self.below is not None and self.clears < self.below)
        ):
            raise ValueError("`clears` lies on the far side of the limit")
        return self

    def limit(self) -> rules.Limit:
        clears = self.clears or self.at_least or self.below
        assert clears is not None
        return rules.Limit(self.code, self.at_least, self.below, clears)


class _Alert(_Strict):
    rule: str = Field(pattern=_NAME)
    severity: AlertSeverity
    asks_confirmation: bool = False
    due_hours: int = Field(ge=1, le=24 * 31)
    message: _Message

    def threshold(self, group: str = "", any_: tuple[_Limit, ...] = ()) -> rules.Threshold:
        return rules.Threshold(
            rule=self.rule,
            group=group or self.rule,
            severity=self.severity,
            asks_confirmation=self.asks_confirmation,
            due_hours=self.due_hours,
            limits=[limit.limit() for limit in any_],
            message=self.message.text(),
        )


class _Threshold(_Alert):
    group: str = ""
    any: tuple[_Limit, ...] = Field(min_length=1)


class _Trend(_Alert):
    code: str
    days: int = Field(ge=1, le=31)
    baseline_days: int = Field(ge=7, le=366)
    readings_min: int = Field(ge=1)
    days_min: int = Field(ge=1)
    baseline_readings_min: int = Field(ge=2)
    baseline_days_min: int = Field(ge=2)
    rises_by: Decimal

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.code not in quantities():
            raise ValueError(f"{self.code} is not in the catalogue")
        if self.rises_by == 0 or self.days_min > self.days:
            raise ValueError("this trend is never or always met")
        return self

    def trend(self) -> rules.Trend:
        return rules.Trend(
            rule=self.rule,
            code=self.code,
            days=self.days,
            baseline_days=self.baseline_days,
            readings_min=self.readings_min,
            days_min=self.days_min,
            baseline_readings_min=self.baseline_readings_min,
            baseline_days_min=self.baseline_days_min,
            rises_by=self.rises_by,
            severity=self.severity,
            due_hours=self.due_hours,
            message=self.message.text(),
        )


class _File(_Strict):
    version: str
    per_day_max: int = Field(ge=1, le=100)
    thresholds: tuple[_Threshold, ...]
    extreme: _Alert
    trends: tuple[_Trend, ...]
    silence: _Alert

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [it.rule for it in (*self.thresholds, *self.trends, self.extreme, self.silence)]
        if len(set(names)) != len(names):
            raise ValueError("two rules have one name")
        return self


@cache
def in_force() -> rules.Rules:
    """Raises pydantic's ValidationError for a file that makes no sense."""
    file = _File.model_validate(yaml.safe_load(_FILE.read_text(encoding="utf-8")))
    return rules.Rules(
        version=file.version,
        per_day_max=file.per_day_max,
        thresholds=[it.threshold(it.group, it.any) for it in file.thresholds],
        extreme=file.extreme.threshold(),
        trends=[it.trend() for it in file.trends],
        silence=file.silence.threshold(),
    )
