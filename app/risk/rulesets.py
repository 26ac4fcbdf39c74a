"""Rule sets: which inputs are taken, by which versions of the models, and what makes a tier.

One file a version in `tiers/`, never changed once released. The highest released version is
in force; a higher one may run in shadow first.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.errors import ConfigurationError
from app.measurements.kinds import TrustGrade
from app.records import thresholds
from app.records.thresholds import Area
from app.risk.models import LATEST, VERSIONS
from app.texts import Text

_FOLDER = Path(__file__).with_name("tiers")


WORDS = frozenset({"sex", "region", "family_diabetes"})
"""Facts that are a word: only a detail may name them."""
FACTS = frozenset({
    "active_daily", "age", "alcohol_g_per_day", "bmi", "bp_treated", "bp_treated_ever",
    "creatinine_umol", "cvd", "dbp", "diabetes", "diabetes_range", "egfr",
    "exercise_minutes_a_week", "family_ascvd", "family_diabetes_first_degree",
    "family_hypertension_first_degree", "fasting_glucose_mmol", "gestational_diabetes",
    "hdl_mmol", "high_glucose_ever", "hypertension", "north", "parental_diabetes", "parents_htn",
    "pressure_confirmed", "sbp", "smoker", "smoking_years", "statin", "tc_mmol", "tg_mmol",
    "urban", "vegetables_daily", "waist",
})  # fmt: skip
"""Inputs of an assessment that are a number or a flag, by the names that all models share."""
CATEGORIES: Mapping[str, frozenset[str]] = {
    "china_par_10y_ascvd": frozenset({"low", "intermediate", "high"}),
    "framingham_hypertension": frozenset({"low", "medium", "high"}),
    "findrisc": frozenset({"low", "slightly_elevated", "moderate", "high", "very_high"}),
    "ncdrs_china": frozenset({"not_high", "high"}),
    "ada_risk_test": frozenset({"not_high", "high"}),
    "ckd_epi_2021": frozenset({"G1", "G2", "G3a", "G3b", "G4", "G5"}),
}
"""Of the models that have any."""


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
        if self.count is not None and not self.count <= len(self.of):
            raise ValueError(f"count: {self.count} of {len(self.of)}")
        if self.of and self.count is None:
            raise ValueError("of: only with count")
        if (self.of_men is None) != (self.of_women is None):
            raise ValueError("of_men and of_women: both or neither")
        limits = [it for it in (self.at_least, self.below, self.of_men) if it is not None]
        if len(limits) > 1:
            raise ValueError("one limit at most: at_least, below, or of_men and of_women")
        if limits and self.fact is None and (self.model is None or self.at_least is None):
            raise ValueError("a limit: only of a fact, or at_least of a model")
        return self

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        if self.fact is not None:
            _all_of("fact", [self.fact], FACTS)
        if self.group is not None:
            _all_of("group", [self.group], [it.code for it in thresholds.groups()])
        if self.model is not None:
            if bool(self.categories) == (self.at_least is not None):
                raise ValueError(f"{self.model}: categories or at_least")
            _all_of(f"categories of {self.model}", self.categories, CATEGORIES.get(self.model, ()))
        elif self.categories:
            raise ValueError("categories: only of a model")
        if (self.area is None) == bool(self.classes):
            raise ValueError("area and classes: both or neither")
        for area in self.area or ():
            _all_of(f"classes of {area}", self.classes, _classes(area))
        return self

    @property
    def parts(self) -> tuple["Condition", ...]:
        """The conditions that it is made of."""
        return (*(self.any or ()), *(self.all or ()), *(self.none or ()), *self.of)

    def models(self) -> Iterator[str]:
        """Whose results it asks about."""
        if self.model is not None:
            yield self.model
        for it in self.parts:
            yield from it.models()


def _all_of(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    unknown = [it for it in given if it not in known]
    if unknown:
        raise ValueError(f"{what}: no {unknown[0]!r}; there are: {', '.join(sorted(known))}")


def _classes(area: Area) -> set[str]:
    guidelines = thresholds.guidelines()
    if area in guidelines.values:
        return {it.code for bands in guidelines.values[area].bands.values() for it in bands}
    pressure = guidelines.pressure[area]
    isolated = pressure.isolated_systolic
    return {it.code for it in (*pressure.levels, *((isolated,) if isolated else ()))}


class Rule(_Strict):
    """What makes a tier, and how it is said. `{name}` in the detail is an input, `{model}` a
    model's result."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")
    source: str
    tier: Tier
    when: Condition
    label: Words
    detail: Words

    @field_validator("detail")
    @classmethod
    def _fillable(cls, detail: Words) -> Words:
        for text in (detail.zh, detail.en):
            named = [name for _, name, _, _ in Formatter().parse(text) if name is not None]
            _all_of("detail", named, [*FACTS, *WORDS, *LATEST])
        return detail


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

    @field_validator("needed_for_low")
    @classmethod
    def _facts(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        _all_of("facts", names, [*FACTS, *WORDS])
        return names

    @model_validator(mode="after")
    def _known(self) -> Self:
        for code, version in self.models.items():
            if (code, version) not in VERSIONS:
                raise ValueError(f"no model {code!r} in version {version!r}")
        for place, rule in enumerate(self.rules):
            _all_of(f"rules.{place}.when: models", rule.when.models(), self.models)
        codes = [it.code for it in self.rules]
        if len(set(codes)) < len(codes):
            raise ValueError("two rules have one code")
        if set(self.planned_mix) != set(Tier):
            raise ValueError("the planned mix names each tier")
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
        raise RulesInvalid(
            f"{path.name}: {where}: {first['msg'].removeprefix('Value error, ')}"
        ) from error
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
