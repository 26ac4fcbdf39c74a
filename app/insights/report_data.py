"""The rules of `report_advice.yaml`, validated when first read."""

from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.insights.report_rules import Advice, Condition
from app.measurements.catalogue import quantities
from app.texts import Text

_FILE = Path(__file__).with_name("report_advice.yaml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Text(_Strict):
    zh: str = Field(min_length=1, max_length=100)
    en: str = Field(min_length=1, max_length=200)


class _When(_Strict):
    code: str | None = None
    mean_at_least: Decimal | None = None
    mean_below: Decimal | None = None
    maximum_at_least: Decimal | None = None
    change_at_least_percent: Decimal | None = None
    change_at_most_percent: Decimal | None = None
    days_min: int = Field(default=1, ge=1, le=31)
    silent_days_at_least: int | None = None
    done_below_percent: Decimal | None = None
    done_at_least_percent: Decimal | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.code is not None and self.code not in quantities():
            raise ValueError(f"{self.code} is not in the catalogue")
        if not self.model_dump(exclude_none=True, exclude={"days_min", "code"}):
            raise ValueError("a rule asks for something")
        return self


class _Rule(_Strict):
    code: str = Field(pattern=r"^[a-z][a-z0-9-]{2,59}$")
    when: _When
    text: _Text


class _File(_Strict):
    version: str
    said_max: int = Field(ge=1, le=20)
    rules: tuple[_Rule, ...]

    @model_validator(mode="after")
    def _codes_differ(self) -> Self:
        if len({rule.code for rule in self.rules}) != len(self.rules):
            raise ValueError("two rules have one code")
        return self


@cache
def _file() -> _File:
    """Raises pydantic's ValidationError for a file that makes no sense."""
    return _File.model_validate(yaml.safe_load(_FILE.read_text(encoding="utf-8")))


@cache
def advice() -> tuple[Advice, ...]:
    return tuple(
        Advice(
            rule.code,
            Condition(**rule.when.model_dump()),
            Text(zh=rule.text.zh, en=rule.text.en),
        )
        for rule in _file().rules
    )


def said_max() -> int:
    return _file().said_max
