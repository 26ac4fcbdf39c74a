"""How check-ins are looked at, from `checks.yaml`, validated when first read."""

from datetime import timedelta
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from app.checkins.anomalies import Thresholds

_FILE = Path(__file__).with_name("checks.yaml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Cadence(_Strict):
    check_ins: int = Field(ge=3, le=50)
    tolerance_seconds: int = Field(ge=0, le=60)


class _Place(_Strict):
    accuracy_metres_max: int = Field(gt=0)


class _Devices(_Strict):
    owner_days: int = Field(ge=2)


class _Photos(_Strict):
    bytes_max: int = Field(ge=10_000)
    per_day_max: int = Field(ge=1)
    unused_days: int = Field(ge=1)
    link_minutes: int = Field(ge=1, le=60)


class _Reviews(_Strict):
    due_days: int = Field(ge=1, le=60)
    second_person_above: int = Field(ge=0)


class _Appeals(_Strict):
    within_days: int = Field(ge=1)
    due_days: int = Field(ge=1, le=60)


class Checks(_Strict):
    per_hour_max: dict[str, Decimal]
    cadence: _Cadence
    place: _Place
    devices: _Devices
    photos: _Photos
    reviews: _Reviews
    appeals: _Appeals

    @cached_property
    def thresholds(self) -> Thresholds:
        return Thresholds(
            per_hour_max=self.per_hour_max,
            cadence_check_ins=self.cadence.check_ins,
            cadence_tolerance=timedelta(seconds=self.cadence.tolerance_seconds),
        )


@cache
def checks() -> Checks:
    """Raises pydantic's ValidationError for a file that makes no sense."""
    return Checks.model_validate(yaml.safe_load(_FILE.read_text(encoding="utf-8")))
