"""A product version as one validated document (`app/products/*.yaml`).

An unknown key or an impossible combination is an error with its path. The regime guard
refuses a rule that the product's rating regime forbids (PRM-17).
"""

from collections.abc import Collection, Iterator
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

import orjson
import yaml
from pydantic import Field, ValidationError, model_validator

from app.measurements.kinds import TrustGrade
from app.members.rules import Sex
from app.premiums.benefit_terms import Benefits, Entitlement
from app.premiums.documents import HealthGroup, Percent, Strict, Words
from app.premiums.pricing_rules import ParticipationRule, Rule

PRODUCTS = Path(__file__).parents[1] / "products"


class ProductInvalid(ValueError):
    """The document says what no product can; the message names file and path."""


class RatingRegime(StrEnum):
    """What a market allows to move one insured person's premium (PRM-17)."""

    INDIVIDUAL = "individual"
    DISCOUNT_ONLY = "discount_only"
    POOL_ONLY = "pool_only"
    FIXED = "fixed"


class Stacking(StrEnum):
    """How adjustments come together (PRM-16)."""

    ADDITIVE = "additive"
    """Each is a percentage of the rated base."""
    COMPOUND = "compound"
    """Each is a percentage of what the ones before it left."""


class AgeBand(Strict):
    """Completed years, both ends included; `amount` is a year's premium in major units."""

    age_from: int = Field(ge=0)
    age_to: int = Field(le=130)
    amount: Decimal = Field(gt=0, max_digits=12, decimal_places=2)
    sex: Sex | None = None
    """Only for this sex; left out: for everybody."""
    health: tuple[HealthGroup, ...] = ()
    """Only for those in one of these groups; empty: for everybody."""

    @property
    def is_for_everybody(self) -> bool:
        return self.sex is None and not self.health

    def fits(self, *, age: int, sex: Sex, health: Collection[str]) -> bool:
        return (
            self.age_from <= age <= self.age_to
            and self.sex in (None, sex)
            and (not self.health or any(group in health for group in self.health))
        )


class BasePremium(Strict):
    by_age: tuple[AgeBand, ...] = Field(min_length=1)
    """The first row that fits counts, so what is for some stands above what is for everybody."""

    def row(self, *, age: int, sex: Sex, health: Collection[str]) -> AgeBand | None:
        """The row that a member pays; None when the age has none."""
        return next((it for it in self.by_age if it.fits(age=age, sex=sex, health=health)), None)

    @model_validator(mode="after")
    def _bands_follow_one_another(self) -> Self:
        for earlier, later in pairwise(it for it in self.by_age if it.is_for_everybody):
            if later.age_from != earlier.age_to + 1:
                raise ValueError(
                    f"by_age: the band from {later.age_from} must begin at {earlier.age_to + 1}"
                )
        if any(band.age_from > band.age_to for band in self.by_age):
            raise ValueError("by_age: a band ends before it begins")
        return self


class Bounds(Strict):
    """Of the sum of all adjustments, in percent of the rated base."""

    percent_min: Percent
    percent_max: Percent

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.percent_min > self.percent_max:
            raise ValueError("percent_min must not be above percent_max")
        return self


class Eligibility(Strict):
    age_from: int = Field(ge=0)
    age_to: int = Field(le=130)


_Months = Annotated[int, Field(ge=1, le=60)]


class PointsTerms(Strict):
    expire_after_months: _Months


_CapPoints = Annotated[int, Field(ge=0, le=1_000_000_000)]


class Caps(Strict):
    """Most points that a member may earn under this product; left out for no cap. What counts
    is issued and not taken back, by the local day of what earned it."""

    per_day: _CapPoints | None = None
    per_month: _CapPoints | None = None
    per_year: _CapPoints | None = None
    per_member: _CapPoints | None = None
    """As long as they are in the programme."""

    @model_validator(mode="after")
    def _longer_periods_allow_more(self) -> Self:
        known = [
            (name, cap)
            for name, cap in (
                ("per_day", self.per_day),
                ("per_month", self.per_month),
                ("per_year", self.per_year),
                ("per_member", self.per_member),
            )
            if cap is not None
        ]
        for (shorter, less), (longer, more) in pairwise(known):
            if less > more:
                raise ValueError(f"{shorter} {less} exceeds {longer} {more}, so it never applies")
        return self


class TaskCap(Strict):
    """Most points by one task alone, in each period."""

    points: _CapPoints
    per: Literal["day", "month", "year"]


class Reviews(Strict):
    second_person_above: int = Field(ge=0, le=1_000_000_000)
    """Two people decide about more points than this."""


class ProductTask(Strict):
    template: str
    template_version: int = Field(ge=1)
    points: int = Field(ge=0, le=100_000)
    cap: TaskCap | None = None
    expire_after_months: _Months | None = None
    """Left out: as all points of the product."""


class Product(Strict):
    code: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    name: Words
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    regime: RatingRegime
    term_months: int = Field(ge=1, le=60)
    late_data_days: int = Field(ge=0, le=366)
    eligibility: Eligibility
    base_premium: BasePremium
    rules: tuple[Rule, ...]
    stacking: Stacking = Stacking.ADDITIVE
    bounds: Bounds
    trust_min: TrustGrade = TrustGrade.MEDIUM
    """Readings of a lower grade move no premium (MON-9, PRM-18)."""
    points: PointsTerms
    caps: Caps = Caps()
    reviews: Reviews | None = None
    """Left out: as everywhere in the programme."""
    tasks: tuple[ProductTask, ...]
    benefits: Benefits | None = None
    entitlements: tuple[Entitlement, ...] = ()

    @model_validator(mode="after")
    def _the_regime_allows_every_rule(self) -> Self:
        for rule in self.rules:
            reason = _forbidden(self.regime, rule)
            if reason is not None:
                raise ValueError(f"rule {rule.code!r}: regime {self.regime} forbids it: {reason}")
        return self

    @model_validator(mode="after")
    def _codes_are_unique(self) -> Self:
        for what, codes in (
            ("rules", [rule.code for rule in self.rules]),
            ("tasks", [task.template for task in self.tasks]),
            ("entitlements", [it.service for it in self.entitlements]),
        ):
            if len(set(codes)) < len(codes):
                raise ValueError(f"{what}: a code stands twice")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the version, for comparing."""
        return tuple(int(number) for number in self.version.split("."))

    @property
    def hash(self) -> bytes:
        """SHA-256 of the canonical document: spelling and comments do not count, and neither
        does what is left out, so that a version published before a key existed stays the same."""
        document = self.model_dump(mode="json", exclude_defaults=True)
        return sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()


def _forbidden(regime: RatingRegime, rule: Rule) -> str | None:
    if not isinstance(rule, ParticipationRule):
        return None
    if regime in (RatingRegime.POOL_ONLY, RatingRegime.FIXED):
        return "it moves one insured person's premium"
    if regime is RatingRegime.DISCOUNT_ONLY and rule.percent_per_month > 0:
        return "it raises one insured person's premium"
    return None


def read(path: Path) -> Product:
    """The product version in a file. Raises ProductInvalid."""
    try:
        return Product.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ProductInvalid(f"{path.name}: {faults}") from error
    except yaml.YAMLError as error:
        raise ProductInvalid(f"{path.name}: not a YAML document: {error}") from error


def shipped() -> Iterator[Product]:
    """Every product version that comes with the programme, the oldest of each product first."""
    products = [read(path) for path in PRODUCTS.glob("*.yaml")]
    yield from sorted(products, key=lambda product: (product.code, product.numbers))
