"""What can be measured: `catalogue.csv`, with LOINC codes, UCUM units and plausible ranges.

The first unit of a code is its canonical one; the others are converted into it.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("catalogue.csv")

# Molar masses in g/mol, for mg/dL to mmol/L: x 10 / mass. Glucose 180.156; cholesterol
# 386.65; triglycerides as triolein 885.4; creatinine 113.12 and uric acid 168.11 (to umol/L:
# x 10,000 / mass). HbA1c IFCC to NGSP: % = 0.09148 x mmol/mol + 2.152 (ngsp.org).
_GLUCOSE = Decimal(10) / Decimal("180.156")
_CHOLESTEROL = Decimal(10) / Decimal("386.65")
_FACTORS: Mapping[str, Decimal] = {
    "FASTING_GLUCOSE": _GLUCOSE,
    "RANDOM_GLUCOSE": _GLUCOSE,
    "POSTPRANDIAL_GLUCOSE": _GLUCOSE,
    "OGTT_2H": _GLUCOSE,
    "TOTAL_CHOLESTEROL": _CHOLESTEROL,
    "LDL": _CHOLESTEROL,
    "HDL": _CHOLESTEROL,
    "TRIGLYCERIDES": Decimal(10) / Decimal("885.4"),
    "CREATININE": Decimal(10_000) / Decimal("113.12"),
    "URIC_ACID": Decimal(10_000) / Decimal("168.11"),
    # A standard drink holds 14 g of ethanol (NIAAA).
    "ALCOHOL": Decimal(1) / Decimal(14),
}


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that a code accepts (UCUM), with the range that is plausible in it."""

    ucum: str
    factor: Decimal
    """To the canonical unit: value x factor + offset."""
    offset: Decimal
    minimum: Decimal | None
    maximum: Decimal | None


@dataclass(frozen=True, slots=True)
class Quantity:
    """One code of the catalogue."""

    code: str
    name_zh: str
    name_en: str
    loinc: str | None
    units: tuple[Unit, ...]

    @property
    def canonical(self) -> Unit:
        return self.units[0]

    def unit(self, ucum: str) -> Unit | None:
        return next((unit for unit in self.units if unit.ucum == ucum), None)


@cache
def quantities() -> Mapping[str, Quantity]:
    """Every code that can be recorded, in the catalogue's order."""
    found: dict[str, Quantity] = {}
    with _FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            code = row["graphql_code"]
            if not code:
                continue  # a panel, or what is kept elsewhere
            known = found.get(code)
            unit = _unit(code, row, first=known is None)
            found[code] = Quantity(
                code=code,
                name_zh=known.name_zh if known else row["name_zh"],
                name_en=known.name_en if known else row["name_en"],
                loinc=known.loinc if known else row["loinc"] or None,
                units=(*(known.units if known else ()), unit),
            )
    return found


def _unit(code: str, row: Mapping[str, str], *, first: bool) -> Unit:
    factor, offset = Decimal(1), Decimal(0)
    if not first and code == "HBA1C":
        factor, offset = Decimal("0.09148"), Decimal("2.152")
    elif not first:
        factor = _FACTORS[code]
    return Unit(
        ucum=row["ucum_unit"],
        factor=factor,
        offset=offset,
        minimum=Decimal(row["plausible_min"]) if row["plausible_min"] else None,
        maximum=Decimal(row["plausible_max"]) if row["plausible_max"] else None,
    )


MeasurementCode = StrEnum("MeasurementCode", {code: code for code in quantities()})  # type: ignore[misc]
