"""A product version as one validated document (`app/products/*.yaml`).

An unknown key or an impossible combination is an error with its path. The regime guard
refuses a rule that the product's rating regime forbids (PRM-17).
"""

from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from app.errors import Explained
from app.measurements.kinds import TrustGrade
from app.members.rules import Sex
from app.premiums import product_checks, product_yaml
from app.premiums.benefit_terms import Benefits, Entitlement
from app.premiums.contract_terms import (
    Cancellation,
    Cession,
    ConsentNeeded,
    GlossaryTerm,
    GroupTerms,
    HouseholdTerms,
    Payment,
    Pilot,
    Reinstatement,
    Renewal,
    Reserve,
    RiskShares,
    Underwriting,
)
from app.premiums.documents import HealthGroup, Percent, Share, Strict, Words
from app.premiums.pricing_rules import Rule
from app.premiums.regime import RatingRegime

PRODUCTS = Path(__file__).parents[1] / "products"


_SHOWN = 60
"""Characters of a wrong value."""


class ProductInvalid(Explained, ValueError):
    """The document says what no product can; the message names file and path."""


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

    def without_health(self, row: AgeBand) -> Iterator[tuple[int, Sex, AgeBand]]:
        """For everybody who may pay this row: age, sex, and what they pay when nothing is known
        of their health."""
        for age in range(row.age_from, row.age_to + 1):
            for sex in Sex if row.sex is None else (row.sex,):
                usual = self.row(age=age, sex=sex, health=())
                if usual is not None:
                    yield age, sex, usual

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
_NUMBER = "(0|[1-9][0-9]{0,8})"


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
    version: str = Field(pattern=rf"^{_NUMBER}\.{_NUMBER}\.{_NUMBER}$")
    """Compared number by number; one spelling each, and none beyond what the database holds."""
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
    consents: tuple[ConsentNeeded, ...] = ()
    underwriting: Underwriting | None = None
    renewal: Renewal | None = None
    cancellation: Cancellation | None = None
    reinstatement: Reinstatement | None = None
    payment: Payment | None = None
    households: HouseholdTerms | None = None
    groups: GroupTerms | None = None
    reserve: Reserve | None = None
    cession: Cession | None = None
    risk_share: RiskShares | None = None
    operating_cost_percent: Share | None = None
    """Of premium; counts in the loss ratio (ACT-3)."""
    pilot: Pilot | None = None
    glossary: tuple[GlossaryTerm, ...] = ()

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


def read(path: Path) -> Product:
    """The product version in a file. Raises ProductInvalid with every fault and its path,
    OSError."""
    try:
        return parse(product_yaml.text_of(path))
    except (ProductInvalid, product_yaml.NotYaml) as error:
        raise ProductInvalid(f"{path.name}: {error}") from error


def parse(text: str) -> Product:
    """The product version of a document. Raises ProductInvalid."""
    try:
        product = Product.model_validate(product_yaml.load(text))
    except ValidationError as error:
        faults = [(_path(fault["loc"]), _what(fault)) for fault in error.errors()]
        raise ProductInvalid(_sentence(faults)) from error
    except product_yaml.NotYaml as error:
        raise ProductInvalid(str(error)) from error
    found = product_checks.faults(product)
    if found:
        raise ProductInvalid(_sentence(found))
    return product


def _sentence(faults: Iterable[product_checks.Fault]) -> str:
    return "; ".join(f"{path}: {what}" for path, what in faults)


def _path(location: tuple[int | str, ...]) -> str:
    """As in the document: without the kind that pydantic names after a rule's place."""
    parts = list(location)
    if len(parts) > 2 and parts[0] == "rules" and isinstance(parts[1], int):
        del parts[2]
    return ".".join(str(part) for part in parts) or "document"


def _what(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown key"
    message = str(fault["msg"]).removeprefix("Value error, ")
    given = fault["input"]
    if not isinstance(given, str | int):
        return message
    return f"{message} (given: {repr(given)[:_SHOWN]})"


def shipped() -> Iterator[Product]:
    """Every product version that comes with the programme, the oldest of each product first."""
    products = [read(path) for path in PRODUCTS.glob("*.yaml")]
    yield from sorted(products, key=lambda product: (product.code, product.numbers))
