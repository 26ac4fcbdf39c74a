"""A premium as clients see it: a quote in lines, each with what it rests on."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

import strawberry

from app.graphql.ids import Kind, encode
from app.measurements.enums import MeasurementCode
from app.premiums import money_graphql, quote
from app.premiums.money_graphql import Money
from app.premiums.quote import Line, NotApplied, Priced
from app.risk.graphql import RiskTier


@strawberry.type(description="A published version, never changed afterwards.")
class Product:
    code: str
    name: str
    version: str


@strawberry.type
class RiskAssessmentEvidence:
    tier: RiskTier
    assessed_at: datetime


@strawberry.type(
    description="An improvement or worsening, judged on averages: at least 2 readings on at least "
    "2 days at each end."
)
class MeasurementEvidence:
    code: MeasurementCode
    unit: str
    from_average: Decimal = strawberry.field(description="Average at the start, in `unit`.")
    to_average: Decimal = strawberry.field(description="Average at the end, in `unit`.")
    from_date: date
    to_date: date
    readings: int = strawberry.field(description="How many readings the two averages stand on.")


@strawberry.type
class ParticipationEvidence:
    months: int = strawberry.field(description="How many months counted.")


@strawberry.type
class DiagnosisEvidence:
    icd10: str = strawberry.field(
        description="`I10`; not named `code`, which is an enum in MeasurementEvidence and would "
        "clash with it in one selection."
    )
    diagnosed_on: date


@strawberry.type(description="Age band or region.")
class ProfileEvidence:
    label: str
    detail: str


@strawberry.type
class LossRatioEvidence:
    loss_ratio_percent: Decimal = strawberry.field(
        description="Including operating cost, in percent."
    )
    year: int


PremiumEvidence = Annotated[
    RiskAssessmentEvidence
    | MeasurementEvidence
    | ParticipationEvidence
    | DiagnosisEvidence
    | ProfileEvidence
    | LossRatioEvidence,
    strawberry.union("PremiumEvidence"),
]


@strawberry.type(description="What moves a premium, by one rule.")
class PremiumLine:
    why_id: strawberry.ID | None = strawberry.field(
        description="Ask `why(id:)` with it. Null on a simulated line: nothing is stored."
    )
    rule: str = strawberry.field(description="Code of the rule, as PRM-4.")
    label: str
    percent: Decimal | None = strawberry.field(
        description="Of base, signed; null for a line that is an amount of its own."
    )
    amount: Money = strawberry.field(description="Signed.")
    effective_on: date
    explanation: str
    evidence: list[PremiumEvidence]

    @classmethod
    def of(cls, line: Line, currency: str, *, locale: str, why_id: str | None) -> Self:
        return cls(
            why_id=strawberry.ID(why_id) if why_id is not None else None,
            rule=line.rule,
            label=line.label.to(locale),
            percent=line.percent,
            amount=money_graphql.of(line.amount, currency),
            effective_on=line.effective_on,
            explanation=line.explanation.to(locale),
            evidence=[_evidence(it, locale) for it in line.evidence],
        )


@strawberry.type(description="A rule of the product that makes no line, and why.")
class RuleNotApplied:
    rule: str
    label: str
    reason: str

    @classmethod
    def of(cls, it: NotApplied, *, locale: str) -> Self:
        return cls(rule=it.rule, label=it.label.to(locale), reason=it.reason.to(locale))


@strawberry.type
class PremiumQuote:
    as_of: datetime = strawberry.field(description="The facts are those of this instant.")
    total: Money = strawberry.field(description="For one year.")
    adjustment_percent: Decimal = strawberry.field(
        description='Against base, in percent: `"-15"` is 15 % cheaper, `"5"` is 5 % dearer.'
    )
    base: Money = strawberry.field(description="A year's premium before any line.")
    lines: list[PremiumLine] = strawberry.field(
        description="In the order of application; `base` and their amounts add up to `total`. "
        "Empty to whom health data is not shown."
    )
    not_applied: list[RuleNotApplied] = strawberry.field(
        description="Rules that make no line; none for what was paid, which is kept as it was."
    )

    @classmethod
    def of(
        cls,
        priced: Priced,
        *,
        as_of: datetime,
        locale: str,
        why: tuple[UUID, UUID] | None = None,
        shown: bool = True,
    ) -> Self:
        """Computed now. `why`: member and policy whose next term it is."""
        return cls(
            as_of=as_of,
            total=money_graphql.of(priced.total, priced.currency),
            adjustment_percent=priced.adjustment_percent,
            base=money_graphql.of(priced.base, priced.currency),
            lines=lines_of(priced.lines if shown else (), priced.currency, why, locale),
            not_applied=[RuleNotApplied.of(it, locale=locale) for it in priced.not_applied]
            if shown
            else [],
        )


def lines_of(
    lines: Sequence[Line], currency: str, why: tuple[UUID, UUID] | None, locale: str
) -> list[PremiumLine]:
    """`why`: member, and the stored premium or the policy whose next term it is."""
    return [
        PremiumLine.of(
            line, currency, locale=locale, why_id=line_id(*why, place) if why is not None else None
        )
        for place, line in enumerate(lines)
    ]


def line_id(member_id: UUID, of: UUID, place: int) -> str:
    """The id of a line, the first in place 0."""
    return encode(Kind.PREMIUM_LINE, member_id, of, UUID(int=place + 1))


def _evidence(it: Any, locale: str) -> Any:
    match it:
        case quote.TierEvidence():
            return RiskAssessmentEvidence(tier=it.tier, assessed_at=it.assessed_at)
        case quote.ReadingsEvidence():
            return MeasurementEvidence(
                code=MeasurementCode(it.code),
                unit=it.unit,
                from_average=it.from_average,
                to_average=it.to_average,
                from_date=it.from_first,
                to_date=it.to_last,
                readings=it.readings,
            )
        case quote.ParticipationEvidence():
            return ParticipationEvidence(months=len(it.months))
        case quote.DiagnosisEvidence():
            return DiagnosisEvidence(icd10=it.icd10, diagnosed_on=it.diagnosed_on)
        case quote.ProfileEvidence():
            return ProfileEvidence(label=it.label.to(locale), detail=it.detail.to(locale))
        case quote.LossRatioEvidence():
            return LossRatioEvidence(loss_ratio_percent=it.loss_ratio_percent, year=it.year)
    raise AssertionError(type(it).__name__)
