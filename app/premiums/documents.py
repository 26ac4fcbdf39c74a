"""What every part of a product document is made of."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """An unknown key is an error with its path."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, given: Any) -> Any:
        for name, field in cls.model_fields.items():
            wanted = field.annotation is bool or not isinstance(given, dict)
            if not wanted and isinstance(given.get(name), bool):
                raise ValueError(f"{name}: not {str(given[name]).lower()}, but a value of its own")
        return given


class Words(Strict):
    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)

    def to(self, locale: str) -> str:
        return self.zh if locale[:2].lower() == "zh" else self.en


class Clause(Strict):
    label: Words
    explanation: Words
    """In plain language (TRU-1)."""
    example: Words | None = None


Code = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,59}$")]
Percent = Annotated[Decimal, Field(ge=-100, le=100, max_digits=5, decimal_places=2)]
Share = Annotated[Decimal, Field(ge=0, le=100, max_digits=5, decimal_places=2)]
Months = Annotated[int, Field(ge=1, le=60)]
Region = Annotated[str, Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3}){0,2}$")]
"""ISO 3166-1 or 3166-2 and parts of those: a region holds its parts, CN-31 holds CN-31-01."""


def holds(code: str, region: str) -> bool:
    """Whether a region is this one or a part of it."""
    return region == code or region.startswith(f"{code}-")


class HealthGroup(StrEnum):
    """What a rule or a row of the table may ask about a member's health. No group at all is
    "not known" (no consent, nothing measured): it is never dearer than being known."""

    HEALTHY = "healthy"
    """Known to be in none of the others."""
    PRE_CHRONIC = "pre_chronic"
    PRE_DIABETES = "pre_diabetes"
    HYPERTENSION = "hypertension"
    DIABETES = "diabetes"
    MILD_CONDITION = "mild_condition"
