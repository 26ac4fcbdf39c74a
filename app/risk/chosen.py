"""One input of an assessment, and all of them; as they are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID


class Provenance(StrEnum):
    """Where an input is from."""

    SENSED = "SENSED"
    SELF_REPORTED = "SELF_REPORTED"
    CLINICAL = "CLINICAL"
    PROFILE = "PROFILE"
    DERIVED = "DERIVED"


class Chosen(NamedTuple):
    """One input, by the name that all models share."""

    value: float | int | str
    unit: str | None
    """UCUM."""
    on: date | None
    """The member's local day; of a profile's fact none."""
    provenance: Provenance
    readings: tuple[UUID, ...] = ()

    def stored(self) -> list[Any]:
        day = self.on.isoformat() if self.on else None
        return [
            self.value,
            self.unit,
            day,
            self.provenance.value,
            [str(it) for it in self.readings],
        ]

    @classmethod
    def of(cls, stored: Sequence[Any]) -> "Chosen":
        value, unit, day, provenance, readings = stored
        on = date.fromisoformat(day) if day else None
        ids = tuple(UUID(it) for it in readings)
        return cls(value, unit, on, Provenance(provenance), ids)


@dataclass(frozen=True, slots=True)
class Taken:
    """All that an assessment rests on."""

    inputs: Mapping[str, Chosen]
    areas: Mapping[str, str]
    """Clinical class by area."""
    groups: tuple[str, ...]
    """The product's own."""
