"""Readings as rules take them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.measurements.kinds import Method, TrustGrade


@dataclass(frozen=True, slots=True)
class Reading:
    """In the canonical unit of its code."""

    id: UUID
    code: str
    value: Decimal
    measured_at: datetime
    local_date: date
    source_id: str
    method: Method
    trust: TrustGrade

    @property
    def clinical(self) -> bool:
        """Measured by somebody of the profession, who vouches for it."""
        return self.method is Method.CLINICAL and self.trust is TrustGrade.HIGH


def of_row(row: Any) -> Reading:
    """From a row with the columns of `measurements`."""
    return Reading(
        id=row.id,
        code=row.code,
        value=row.value,
        measured_at=row.measured_at,
        local_date=row.local_date,
        source_id=row.source_id,
        method=Method(row.method),
        trust=TrustGrade(row.trust),
    )


def newest(reading: Reading) -> tuple[datetime, UUID]:
    return reading.measured_at, reading.id


def by_code(readings: Iterable[Reading]) -> Mapping[str, list[Reading]]:
    """Newest first."""
    found: dict[str, list[Reading]] = defaultdict(list)
    for reading in sorted(readings, key=newest, reverse=True):
        found[reading.code].append(reading)
    return found
