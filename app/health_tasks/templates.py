"""Task templates: data files, validated, published once and never changed."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ConfigurationError
from app.health_tasks import rules
from app.health_tasks.models import TaskTemplate
from app.measurements.catalogue import MeasurementCode

_FILE = Path(__file__).with_name("templates.yaml")
_DAYS_MIN = {rules.Period.DAY: 1, rules.Period.WEEK: 7, rules.Period.MONTH: 28}
_WITH_DATA = (rules.Verification.NONE, rules.Verification.DEVICE)
_Quantity = Field(gt=0, max_digits=12, decimal_places=3)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Title(_Strict):
    zh: str = Field(min_length=1, max_length=80)
    en: str = Field(min_length=1, max_length=80)


class ValueRange(_Strict):
    """What one check-in may report, both ends included."""

    minimum: Decimal = Field(ge=0, max_digits=12, decimal_places=3)
    maximum: Decimal = _Quantity

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError("minimum exceeds maximum")
        return self


class Place(_Strict):
    """A coarse fence: somebody within it is where the task is done."""

    code: str = Field(pattern=r"^[a-z][a-z0-9-]{1,39}$")
    name: Title
    latitude: Decimal = Field(ge=-90, le=90, decimal_places=4)
    """Degrees, WGS 84."""
    longitude: Decimal = Field(ge=-180, le=180, decimal_places=4)
    radius_metres: int = Field(ge=200, le=20_000)


class FromData(_Strict):
    """Readings or totals that complete a task without a tick. A day counts when its amount (of
    what adds up), or each of its readings, lies within the bounds; with REACH_TOTAL the amount
    itself counts."""

    code: MeasurementCode
    at_least: Decimal | None = Field(default=None, ge=0, max_digits=12, decimal_places=3)
    """In the code's canonical unit, as is `at_most`; both included."""
    at_most: Decimal | None = Field(default=None, ge=0, max_digits=12, decimal_places=3)
    self_reported: bool = False
    """Whether what the member types counts as well, and not only what a device or a clinic
    measured."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if None not in (self.at_least, self.at_most) and self.at_least > self.at_most:  # type: ignore[operator]
            raise ValueError("at_least exceeds at_most")
        return self


class Template(_Strict):
    code: str = Field(pattern=r"^[a-z][a-z0-9-]{1,39}$")
    version: int = Field(ge=1)
    title: Title
    kind: rules.TaskKind
    period: rules.Period
    within_days: int | None = Field(default=None, ge=1, le=3660)
    """How long a one-off task stays open."""
    target: Decimal = _Quantity
    """In `unit`."""
    unit: str = Field(min_length=1, max_length=40)
    """UCUM."""
    per_day: int = Field(default=1, ge=1, le=100)
    """How many check-ins of one local day count."""
    value: ValueRange
    verification: rules.Verification = rules.Verification.NONE
    places: tuple[Place, ...] = ()
    """Where it is done; with the verification PLACE, and with no other."""
    data: FromData | None = None
    """What completes it without a tick; needed with the verification DEVICE."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        once = self.period is rules.Period.ONCE
        if once != (self.within_days is not None):
            raise ValueError("within_days belongs to the period `once`, and to no other")
        if self.kind is rules.TaskKind.ONE_OFF and not once:
            raise ValueError("a one-off task has the period `once`")
        if (self.verification is rules.Verification.PLACE) != bool(self.places):
            raise ValueError("places belong to the verification PLACE, and to no other")
        if self.verification is rules.Verification.DEVICE and self.data is None:
            raise ValueError("the verification DEVICE needs `data`: nothing else completes it")
        if self.data is not None and self.verification not in _WITH_DATA:
            raise ValueError(f"`data` completes no task with the verification {self.verification}")
        days = _DAYS_MIN.get(self.period, self.within_days)
        by_days = self.kind in (rules.TaskKind.DAYS_IN_A_ROW, rules.TaskKind.ABSTAIN)
        if by_days and days is not None and self.target > days:
            raise ValueError(f"not every {self.period} has {self.target} days")
        return self

    @property
    def definition(self) -> dict[str, Any]:
        # What came later is left out where it says nothing: published versions stay the same.
        silent = {name for name in ("places", "data") if not getattr(self, name)}
        return self.model_dump(mode="json", exclude=silent)

    @property
    def hash(self) -> bytes:
        """SHA-256 of the definition in one spelling."""
        return sha256(orjson.dumps(self.definition, option=orjson.OPT_SORT_KEYS)).digest()


class _TemplateFile(_Strict):
    templates: list[Template]


class TemplateChanged(ConfigurationError):
    def __init__(self, code: str, version: int) -> None:
        super().__init__(
            f"Task template {code!r} version {version} is published and differs from the data "
            f"file; give the change version {version + 1} instead."
        )


def read_templates(path: Path = _FILE) -> list[Template]:
    """The templates of a data file. Raises pydantic.ValidationError, ConfigurationError."""
    found = _TemplateFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    seen: set[tuple[str, int]] = set()
    for template in found.templates:
        key = (template.code, template.version)
        if key in seen:
            raise ConfigurationError(f"{path.name} holds {key[0]!r} version {key[1]} twice.")
        seen.add(key)
    return found.templates


@cache
def published() -> Mapping[tuple[str, int], Template]:
    """Every template of the programme's own file, by code and version."""
    return {(template.code, template.version): template for template in read_templates()}


async def load_templates(
    connection: AsyncConnection | AsyncSession, templates: Iterable[Template] | None = None
) -> int:
    """Publish the versions that are new, by default those of the programme's own file; how
    many they were. Raises TemplateChanged when a published one differs from its data file."""
    rows = await connection.execute(
        select(TaskTemplate.code, TaskTemplate.version, TaskTemplate.hash)
    )
    known = {(code, version): bytes(hashed) for code, version, hashed in rows.all()}
    added = 0
    for template in templates if templates is not None else published().values():
        earlier = known.get((template.code, template.version))
        if earlier is None:
            values = {
                "code": template.code,
                "version": template.version,
                "hash": template.hash,
                "definition": template.definition,
            }
            await connection.execute(insert(TaskTemplate).values(values))
            added += 1
        elif earlier != template.hash:
            raise TemplateChanged(template.code, template.version)
    return added
