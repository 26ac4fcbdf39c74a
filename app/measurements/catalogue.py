"""What can be measured: `catalogue.csv`, with LOINC codes, UCUM units, ranges and contexts.

The first unit of a code is its canonical one; the others are converted into it, by the factors
of the published tables: glucose 18.016, cholesterol 38.67, triglycerides 88.57 mg/dL a mmol/L,
creatinine 88.42 and uric acid 59.48 umol/L a mg/dL, HbA1c (NGSP) 0.09148 x IFCC + 2.152,
0.133322 kPa a mm[Hg], 14 g of ethanol a drink. What is outside the plausible range was never
measured; what is at or beyond an extreme end may have been, and is kept and asked about.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("catalogue.csv")


class RecordedAs(StrEnum):
    READING = "reading"
    DAILY_TOTAL = "daily_total"
    """A running total of a local day."""
    EITHER = "either"


class Stream(StrEnum):
    """Whether a sensor sends so many values that they are kept as aggregates."""

    NEVER = ""
    USUAL = "usual"
    """What is sensed is a stream unless it says otherwise."""
    MARKED = "marked"
    """What is sensed is a stream if it says so."""


class Family(StrEnum):
    """Codes of one quantity under different circumstances, or that belong together."""

    GLUCOSE = "GLUCOSE"
    BLOOD_PRESSURE = "BLOOD_PRESSURE"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that a code accepts (UCUM), with the range that is plausible in it."""

    ucum: str
    multiply: Decimal
    divide: Decimal
    """To the canonical unit: value x multiply / divide + add."""
    add: Decimal
    minimum: Decimal | None
    maximum: Decimal | None
    loinc: str | None
    is_canonical: bool


@dataclass(frozen=True, slots=True)
class Quantity:
    """One code of the catalogue."""

    code: str
    name_zh: str
    name_en: str
    family: Family | None
    units: tuple[Unit, ...]
    extreme_low: Decimal | None
    """In the canonical unit; at or below it a reading is possible but extreme."""
    extreme_high: Decimal | None
    recorded_as: RecordedAs
    stream: Stream
    contexts: frozenset[str]
    """Those that do not contradict the code; none at all is always accepted."""
    healthkit: str | None
    health_connect: str | None

    @property
    def canonical(self) -> Unit:
        return self.units[0]

    @property
    def loinc(self) -> str | None:
        return self.canonical.loinc

    def unit(self, ucum: str) -> Unit | None:
        return next((unit for unit in self.units if unit.ucum == ucum), None)

    @property
    def is_reading(self) -> bool:
        return self.recorded_as is not RecordedAs.DAILY_TOTAL

    @property
    def is_daily_total(self) -> bool:
        return self.recorded_as is not RecordedAs.READING


@cache
def quantities() -> Mapping[str, Quantity]:
    """Every code that can be recorded, in the catalogue's order."""
    rows: dict[str, list[Mapping[str, str]]] = {}
    with _FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["graphql_code"], []).append(row)
    return {code: _quantity(code, found) for code, found in rows.items()}


@cache
def by_loinc() -> Mapping[str, tuple[Quantity, Unit]]:
    """The code, and the unit that this LOINC code means."""
    return {
        unit.loinc: (quantity, unit)
        for quantity in quantities().values()
        for unit in quantity.units
        if unit.loinc is not None
    }


@cache
def units() -> Mapping[tuple[str, str], tuple[Quantity, Unit]]:
    """By code and UCUM unit: for many readings at once."""
    return {
        (code, unit.ucum): (quantity, unit)
        for code, quantity in quantities().items()
        for unit in quantity.units
    }


def _quantity(code: str, rows: list[Mapping[str, str]]) -> Quantity:
    first = rows[0]
    return Quantity(
        code=code,
        name_zh=first["name_zh"],
        name_en=first["name_en"],
        family=Family(first["family"]) if first["family"] else None,
        units=tuple(_unit(row, canonical=row is first) for row in rows),
        extreme_low=_number(first["extreme_low"]),
        extreme_high=_number(first["extreme_high"]),
        recorded_as=RecordedAs(first["recorded_as"]),
        stream=Stream(first["stream"]),
        contexts=frozenset(first["contexts"].split()),
        healthkit=first["healthkit"] or None,
        health_connect=first["health_connect"] or None,
    )


def _unit(row: Mapping[str, str], *, canonical: bool) -> Unit:
    return Unit(
        ucum=row["ucum_unit"],
        multiply=_number(row["multiply"]) or Decimal(1),
        divide=_number(row["divide"]) or Decimal(1),
        add=_number(row["add"]) or Decimal(0),
        minimum=_number(row["plausible_min"]),
        maximum=_number(row["plausible_max"]),
        loinc=row["loinc"] or None,
        is_canonical=canonical,
    )


def _number(text: str) -> Decimal | None:
    return Decimal(text) if text else None


MeasurementCode = StrEnum("MeasurementCode", {code: code for code in quantities()})  # type: ignore[misc]
MeasurementCode.__hash__ = str.__hash__  # type: ignore[method-assign]  # as `kinds.Hashed`
