"""Threshold sets: what a guideline calls which value, and what the product does. Two files,
since the two may differ; each set has a name, a version and a source."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.errors import ConfigurationError
from app.records.forms import Words

_GUIDELINES = Path(__file__).with_name("thresholds.yaml")
_PRODUCT = Path(__file__).with_name("product_thresholds.yaml")
_CODE = r"^[a-z][a-z0-9_-]{0,59}$"
Loaded = TypeVar("Loaded", bound=BaseModel)


class ThresholdsInvalid(ConfigurationError):
    """Names the file, and what is wrong in it."""


class Area(StrEnum):
    """What is classified; each on its own."""

    BLOOD_PRESSURE_OFFICE = "BLOOD_PRESSURE_OFFICE"
    BLOOD_PRESSURE_HOME = "BLOOD_PRESSURE_HOME"
    FASTING_GLUCOSE = "FASTING_GLUCOSE"
    FASTING_GLUCOSE_SELF_MEASURED = "FASTING_GLUCOSE_SELF_MEASURED"
    OGTT_2H = "OGTT_2H"
    RANDOM_GLUCOSE = "RANDOM_GLUCOSE"
    HBA1C = "HBA1C"
    BMI = "BMI"
    WAIST = "WAIST"
    TOTAL_CHOLESTEROL = "TOTAL_CHOLESTEROL"
    LDL = "LDL"
    HDL = "HDL"
    NON_HDL = "NON_HDL"
    TRIGLYCERIDES = "TRIGLYCERIDES"


class WhoseBands(StrEnum):
    ANY = "ANY"
    FEMALE = "FEMALE"
    MALE = "MALE"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Band(_Strict):
    """From `low` until before `high`; open where there is none."""

    code: str = Field(pattern=_CODE)
    label: Words
    advice: Words | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    diabetes_range: bool = False

    def holds(self, value: Decimal) -> bool:
        return (self.low is None or self.low <= value) and (self.high is None or value < self.high)


class Level(_Strict):
    """Of blood pressure (mm[Hg]), from either number on."""

    code: str = Field(pattern=_CODE)
    label: Words
    advice: Words | None = None
    systolic: Decimal
    diastolic: Decimal
    hypertension: bool = False


class _Set(_Strict):
    code: str = Field(pattern=_CODE)
    version: int = Field(ge=1)
    source: str = Field(min_length=5)
    area: Area
    title: Words
    age_min: int = 0
    """In completed years: of younger people it says nothing."""
    look_back_days: int = Field(default=730, ge=1)
    """Older readings say nothing about today."""


class ValueSet(_Set):
    """One number, cut into bands without gaps."""

    unit: str
    """UCUM, the canonical one of the catalogue."""
    diagnostic: bool = True
    """Whether a clinical reading may found a diagnosis: one of a finger's blood may not."""
    bands: Mapping[WhoseBands, tuple[Band, ...]]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        whose = set(self.bands)
        if whose not in ({WhoseBands.ANY}, {WhoseBands.FEMALE, WhoseBands.MALE}):
            raise ValueError("bands are of ANY, or of FEMALE and MALE")
        for bands in self.bands.values():
            if bands[0].low is not None or bands[-1].high is not None:
                raise ValueError("the first and the last band are open")
            for lower, upper in pairwise(bands):
                if lower.high is None or lower.high != upper.low:
                    raise ValueError(f"{upper.code!r} must begin where {lower.code!r} ends")
            if any(band.low >= band.high for band in bands if band.low and band.high):
                raise ValueError("a band ends before it begins")
        return self


class PressureSet(_Set):
    """The higher of the two levels wins."""

    levels: tuple[Level, ...]
    isolated_systolic: Level | None = None
    """Said besides the level: from its systolic on, and below its diastolic."""
    days_measured: int = Field(ge=1)
    """Readings of so many days, up to the newest, are averaged."""
    days_enough: int = Field(ge=1)
    """On so many days it must have been measured (home), or too high (office), to be sure."""
    leaves_out_first_day: bool = False

    @model_validator(mode="after")
    def _rising(self) -> Self:
        first = self.levels[0]
        if first.systolic != 0 or first.diastolic != 0:
            raise ValueError("the first level begins at 0/0")
        for lower, upper in pairwise(self.levels):
            if lower.systolic >= upper.systolic or lower.diastolic >= upper.diastolic:
                raise ValueError(f"{upper.code!r} must begin above {lower.code!r}")
        return self


class _GuidelineFile(_Strict):
    blood_pressure: tuple[PressureSet, ...]
    values: tuple[ValueSet, ...]


class Criterion(_Strict):
    """A number of an area within [low, high), or one of its classes."""

    areas: tuple[Area, ...] = Field(min_length=1)
    quantity: str | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.quantity is None) == (not self.classes):
            raise ValueError("a criterion names a quantity or classes")
        if self.quantity is not None and self.low is None and self.high is None:
            raise ValueError(f"{self.quantity} needs an end")
        return self


class Group(_Strict):
    """Members whom the product treats alike: one of `any_of` holds, and none of `unless`."""

    code: str = Field(pattern=_CODE)
    version: int = Field(ge=1)
    source: str = Field(min_length=3)
    title: Words
    any_of: tuple[Criterion, ...] = Field(min_length=1)
    unless: tuple[Criterion, ...] = ()


class _ProductFile(_Strict):
    groups: tuple[Group, ...]


class Guidelines(_Strict):
    pressure: Mapping[Area, PressureSet]
    values: Mapping[Area, ValueSet]

    @property
    def look_back_days_max(self) -> int:
        return max(it.look_back_days for it in [*self.pressure.values(), *self.values.values()])


def read_guidelines(path: Path) -> Guidelines:
    """Raises ThresholdsInvalid."""
    found = _load(path, _GuidelineFile)
    sets: Sequence[_Set] = [*found.blood_pressure, *found.values]
    if sorted(it.area for it in sets) != sorted(Area):
        raise ThresholdsInvalid(f"{path.name}: each area has one set")
    return Guidelines(
        pressure={it.area: it for it in found.blood_pressure},
        values={it.area: it for it in found.values},
    )


def read_groups(path: Path) -> Sequence[Group]:
    """Raises ThresholdsInvalid."""
    return _load(path, _ProductFile).groups


@cache
def guidelines() -> Guidelines:
    """Those in force."""
    return read_guidelines(_GUIDELINES)


@cache
def groups() -> Sequence[Group]:
    """The product's own, in force."""
    return read_groups(_PRODUCT)


def _load(path: Path, kind: type[Loaded]) -> Loaded:
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ThresholdsInvalid(f"{path.name} is no YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ThresholdsInvalid(f"{path.name}: {where}: {first['msg']}") from error
