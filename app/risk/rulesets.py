"""Rule sets: which inputs are taken, by which versions of the models, and what makes a tier.

One file a version in `tiers/`, never changed once released. The highest released version is
in force; a higher one may run in shadow first.
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.errors import ConfigurationError
from app.measurements.kinds import TrustGrade
from app.records.thresholds import Area
from app.risk.models import VERSIONS
from app.texts import Text

_FOLDER = Path(__file__).with_name("tiers")


class RulesInvalid(ConfigurationError):
    """Names the file, and what is wrong in it."""


class RulesUnknown(ConfigurationError):
    def __init__(self, version: str) -> None:
        known = ", ".join(every())
        super().__init__(f"There is no rule set {version!r}; there are: {known}.")


class Tier(StrEnum):
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {Tier.LOW: 0, Tier.MEDIUM: 1, Tier.HIGH: 2}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(_Strict):
    zh: str
    en: str

    @property
    def text(self) -> Text:
        return Text(zh=self.zh, en=self.en)


class Condition(_Strict):
    """Exactly one of the kinds. `fact` is an input by its own name: at least, below, or
    (without either) a flag that is set."""

    fact: str | None = None
    model: str | None = None
    area: tuple[Area, ...] | None = None
    group: str | None = None
    any: tuple["Condition", ...] | None = None
    all: tuple["Condition", ...] | None = None
    none: tuple["Condition", ...] | None = None
    count: int | None = Field(default=None, ge=1)
    """So many of `of`, at least."""
    of: tuple["Condition", ...] = ()
    at_least: Decimal | None = None
    below: Decimal | None = None
    categories: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    of_men: Decimal | None = None
    of_women: Decimal | None = None
    """Limits that differ by sex: above them."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = (
            self.fact, self.model, self.area, self.group, self.any, self.all, self.none,
            self.count,
        )  # fmt: skip
        if sum(it is not None for it in kinds) != 1:
            raise ValueError(
                "a condition is exactly one of fact, model, area, group, any, all, none, count"
            )
        if self.model is not None and not (self.categories or self.at_least is not None):
            raise ValueError(f"{self.model}: categories or at_least")
        return self

    @property
    def parts(self) -> tuple["Condition", ...]:
        """The conditions that it is made of."""
        return (*(self.any or ()), *(self.all or ()), *(self.none or ()), *self.of)


class Rule(_Strict):
    """What makes a tier, and how it is said. `{name}` in the detail is an input, `{model}` a
    model's result."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")
    source: str
    tier: Tier
    when: Condition
    label: Words
    detail: Words


class Freshness(_Strict):
    default: int
    days: Mapping[str, int] = {}

    def of(self, code: str) -> timedelta:
        return timedelta(days=self.days.get(code, self.default))


class MinimumTrust(_Strict):
    default: TrustGrade
    codes: Mapping[str, TrustGrade] = {}

    def of(self, code: str) -> TrustGrade:
        return self.codes.get(code, self.default)


class Recheck(_Strict):
    """Who is of high risk measures again, unless a clinic has measured in these days."""

    fresh_days: int = Field(ge=1)


class RuleSet(_Strict):
    version: str
    released: bool
    source: str
    score2_region: str
    north: frozenset[str]
    """ISO 3166-2 codes of the provinces that China-PAR counts as north."""
    look_back: Freshness
    minimum_trust: MinimumTrust
    models: Mapping[str, str]
    """Model to its version, in the order in which they are shown."""
    needed_for_low: tuple[str, ...]
    """Inputs without which nobody is said to be of low risk."""
    planned_mix: Mapping[Tier, Decimal]
    """Percent."""
    recheck: Recheck
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _known(self) -> Self:
        for code, version in self.models.items():
            if (code, version) not in VERSIONS:
                raise ValueError(f"no model {code!r} in version {version!r}")
        codes = [it.code for it in self.rules]
        if len(set(codes)) < len(codes):
            raise ValueError("two rules have one code")
        if sum(self.planned_mix.values()) != 100:
            raise ValueError("the planned mix is 100 % in all")
        return self

    def rule(self, code: str) -> Rule:
        return next(it for it in self.rules if it.code == code)


def read(path: Path) -> RuleSet:
    """Raises RulesInvalid."""
    try:
        found = RuleSet.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise RulesInvalid(f"{path.name} is no YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RulesInvalid(f"{path.name}: {where}: {first['msg']}") from error
    if path.stem != found.version:
        raise RulesInvalid(f"{path.name} holds version {found.version!r}: call it so")
    return found


@cache
def every() -> Mapping[str, RuleSet]:
    """All versions, the lowest first."""
    found = [read(path) for path in _FOLDER.glob("*.yaml")]
    return {it.version: it for it in sorted(found, key=lambda it: int(it.version))}


def of(version: str) -> RuleSet:
    """Raises RulesUnknown."""
    if version not in every():
        raise RulesUnknown(version)
    return every()[version]


@cache
def in_force() -> RuleSet:
    return [it for it in every().values() if it.released][-1]
