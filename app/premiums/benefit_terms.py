"""What a product pays and does besides its premium, as parts of its document: sums insured,
benefits (COV-1 … COV-4, COV-13) and entitlements to services (SVC-1 … SVC-7).

Amounts are in major units of the product's currency. Whatever is left out is not part of the
product.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.premiums.documents import Months, Share, Strict, Words
from app.risk.rulesets import Tier

Amount = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=2)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Atc = Annotated[str, Field(pattern=r"^[A-Z]([0-9]{2}([A-Z]([A-Z]([0-9]{2})?)?)?)?$")]
"""ATC code; it holds its parts: A10 holds A10BA02."""
Icd10 = Annotated[str, Field(pattern=r"^[A-Z][0-9][0-9A-Z](\.[0-9A-Z]{1,4})?$")]
"""ICD-10 code; it holds its parts: H36 holds H36.0."""
Days = Annotated[int, Field(ge=0, le=366)]


class MildConditionKind(StrEnum):
    """What triggers the benefit (COV-1). It is no diagnosis, and no clinical class."""

    FASTING_GLUCOSE = "FASTING_GLUCOSE"
    GRADE_1_HYPERTENSION = "GRADE_1_HYPERTENSION"


class _Clause(Strict):
    label: Words
    explanation: Words
    """In plain language (TRU-1)."""
    example: Words | None = None


class Cover(_Clause):
    """What is paid at most for one kind of event, before any uplift."""

    code: Key
    amount: Amount
    uplift: bool = False
    """Whether a cover uplift (PRM-5, PTS-4) adds to it."""


class MildConditionDrugs(Strict):
    condition: MildConditionKind
    drugs: tuple[Atc, ...] = Field(min_length=1)
    """That lower the glucose or the blood pressure."""


class MildConditionBenefit(_Clause):
    """COV-1, COV-2: part of the cost of drugs bought within so many months of the trigger."""

    code: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,59}$")
    conditions: tuple[MildConditionDrugs, ...] = Field(min_length=1)
    months: Months
    share_percent: Share = Field(gt=0)
    amount_max: Amount
    """Of all that is paid in one case."""
    again_after_months: Months | None = None
    """The same condition opens no other case sooner after the trigger of the one before; left
    out: as soon as that one has closed."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        named = [it.condition for it in self.conditions]
        if len(set(named)) < len(named):
            raise ValueError("conditions: a condition stands twice")
        if self.again_after_months is not None and self.again_after_months < self.months:
            raise ValueError(
                f"again_after_months {self.again_after_months} ends before the case does, after "
                f"{self.months} months"
            )
        return self

    def drugs_of(self, condition: MildConditionKind) -> tuple[str, ...]:
        """Empty when the product does not know the condition."""
        return next((it.drugs for it in self.conditions if it.condition is condition), ())


class ComplicationCover(_Clause):
    """COV-4: for those who have long been insured and taken part. A month is good when so many
    percent of its due tasks were done; one without a percentage (paused, or without consent)
    is left out, and an earlier one counts instead."""

    code: Key
    icd10: tuple[Icd10, ...] = Field(min_length=1)
    amount: Amount
    insured_months_min: Months
    window_months: Months
    good_months_min: Annotated[int, Field(ge=0, le=60)]
    month_counts_from_percent: Share = Field(gt=0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.good_months_min > self.window_months:
            raise ValueError(
                f"good_months_min {self.good_months_min} exceeds window_months "
                f"{self.window_months}, so that nobody ever has it"
            )
        return self


class Benefits(Strict):
    waiting_days: Days = 0
    """Whoever falls ill within so many days of enrolment is not covered for it (COV-13)."""
    covers: tuple[Cover, ...] = ()
    uplift_months: Months = 12
    """How long a cover uplift that points bought holds, from the local day it was fulfilled."""
    uplift_percent_max: Share | None = None
    """Of all uplifts of one day together; left out for no limit."""
    mild_condition: MildConditionBenefit | None = None
    complication_covers: tuple[ComplicationCover, ...] = ()

    @model_validator(mode="after")
    def _codes_are_unique(self) -> Self:
        codes = [it.code for it in self.covers] + [it.code for it in self.complication_covers]
        if len(set(codes)) < len(codes):
            raise ValueError("covers, complication_covers: a code stands twice")
        return self


class QuotaPeriod(StrEnum):
    MONTH = "month"
    """Calendar month in the member's zone."""
    YEAR = "year"
    """Policy year: twelve months from the day on which the policy began, and so on."""


class Quota(Strict):
    units: Annotated[int, Field(ge=1, le=1000)]
    per: QuotaPeriod


class Entitlement(_Clause):
    """A service that the member may use; `service` names it across products."""

    service: Key
    tiers: tuple[Tier, ...] = ()
    """Whom it is for, each named; empty: everybody. No assessment, no tier."""
    quota: Quota | None = None
    """Left out: as often as they like."""
    reserved_days: Annotated[int, Field(ge=1, le=366)] = 30
    """How long a reservation may wait for the service."""
    shared_with_spouse: bool = False
    """SVC-7: of one and the same quota."""
    needs: Literal["mild_condition"] | None = None
    """COV-3: only while such a case is open."""
    discount_percent: Share | None = None
    """Off what a partner asks for it (SVC-5)."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len(set(self.tiers)) < len(self.tiers):
            raise ValueError("tiers: a tier stands twice")
        if self.shared_with_spouse and (self.tiers or self.needs):
            raise ValueError(
                "shared_with_spouse: a service that depends on tiers or needs would tell the "
                "spouse about the member's health"
            )
        return self
