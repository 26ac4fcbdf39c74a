"""What employees read of a portfolio: types of the API."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import strawberry

from app.graphql import enums
from app.graphql.ids import Kind, encode
from app.premiums import money_graphql, payouts, portfolio_rules
from app.premiums.money_graphql import Money
from app.premiums.portfolio_rules import PortfolioWarning
from app.premiums.prevention import Purpose
from app.premiums.pricing_rules import LossRatioRule
from app.premiums.product import Product
from app.risk.graphql import RiskTier

enums.register(
    PortfolioWarning,
    {
        "RESERVE_OUTSIDE_RANGE": "The product sets aside less than 10 % or more than 15 %.",
        "RESERVE_ABOVE_CAP": "The product sets aside more than the market allows.",
        "SPENT_ABOVE_CAP": "More was spent on prevention than the market allows of the premium.",
        "SPENT_ABOVE_RESERVE": "More was spent on prevention than was set aside.",
        "TIER_MULTIPLIER_DRIFTS": "The mean tier multiplier is far from the planned one.",
        "LOSS_RATIO_MISSING": "The year is over, and nobody has confirmed its figures.",
    },
)
enums.register(Purpose, {})


@strawberry.type(description="Figures of a calendar year.")
class PortfolioFigures:
    premium: Money = strawberry.field(description="Earned by days of cover.")
    claims: Money
    ceded_tier_claims: Money
    operating_cost: Money
    loss_ratio_percent: Decimal = strawberry.field(
        description="Claims and operating cost in percent of premium."
    )

    @classmethod
    def values(cls, row: Any) -> dict[str, Any]:
        percent = portfolio_rules.loss_ratio(
            row.premium, claims=row.claims, operating_cost=row.operating_cost
        )
        names = ("premium", "claims", "ceded_tier_claims", "operating_cost")
        amounts = {it: money_graphql.of(getattr(row, it), row.currency) for it in names}
        return {**amounts, "loss_ratio_percent": percent}


@strawberry.type(description="As one employee recorded them; another confirms.")
class PortfolioProposal(PortfolioFigures):
    id: strawberry.ID
    year: int
    reference: str = strawberry.field(description="Of the document in the books.")
    proposed_at: datetime
    is_mine: bool = strawberry.field(description="Recorded by you: somebody else confirms.")
    decided_at: datetime | None
    confirmed: bool | None

    @classmethod
    def of(cls, row: Any, staff_id: UUID) -> Self:
        return cls(
            id=strawberry.ID(encode(Kind.PORTFOLIO_PROPOSAL, row.id)),
            year=row.year,
            reference=row.reference,
            proposed_at=row.proposed_at,
            is_mine=row.proposed_by == staff_id,
            decided_at=row.decided_at,
            confirmed=row.confirmed,
            **cls.values(row),
        )


@strawberry.type(description="Confirmed: premiums are priced with it.")
class PortfolioYear(PortfolioFigures):
    year: int
    revision: int = strawberry.field(description="1, and one more for each correction.")
    confirmed_at: datetime
    next_year_percent: Decimal = strawberry.field(
        description="What it does to the table of the terms that begin in the next year."
    )

    @classmethod
    def of(cls, row: Any, product: Product) -> Self:
        values = cls.values(row)
        return cls(
            year=row.year,
            revision=row.revision,
            confirmed_at=row.recorded_at,
            next_year_percent=_next_year(product, row.percent) or Decimal(0),
            **values,
        )


@strawberry.type(description="A party's part of excess loss; the parts sum to it.")
class PartyShare:
    party: str
    name: str
    percent: Decimal
    amount: Money


@strawberry.type(description="Who carries the year's claims, of the figures confirmed or proposed.")
class PortfolioBurden:
    cession_percent: Decimal
    ceded_tiers: list[RiskTier]
    ceded_to: str | None
    ceded: Money
    retained: Money
    excess_loss: Money = strawberry.field(
        description="What retained claims and operating cost exceed premium by."
    )
    shares: list[PartyShare] = strawberry.field(
        description="What does not divide goes to the largest share."
    )

    @classmethod
    def of(cls, row: Any, product: Product, locale: str) -> Self:
        found = payouts.burden(product, row)
        cession, terms = product.cession, product.risk_share
        parties = terms.parties if terms is not None else ()
        amounts = portfolio_rules.divide(found.excess, [it.percent for it in parties]) if parties else []  # fmt: skip
        return cls(
            cession_percent=cession.percent if cession is not None else Decimal(0),
            ceded_tiers=[RiskTier(it) for it in cession.tiers] if cession is not None else [],
            ceded_to=cession.to.to(locale) if cession is not None else None,
            ceded=money_graphql.of(found.ceded, row.currency),
            retained=money_graphql.of(found.retained, row.currency),
            excess_loss=money_graphql.of(found.excess, row.currency),
            shares=[
                PartyShare(
                    party=it.party,
                    name=it.name.to(locale),
                    percent=it.percent,
                    amount=money_graphql.of(amount, row.currency),
                )
                for it, amount in zip(parties, amounts, strict=True)
            ],
        )


@strawberry.type
class PreventionPurposeSum:
    purpose: Purpose
    amount: Money


@strawberry.type(description="The prevention reserve of a year.")
class PreventionReserve:
    percent: Decimal
    cap_percent: Decimal = strawberry.field(description="The most that the market allows.")
    set_aside: Money = strawberry.field(description="Of the premium earned so far.")
    spent: Money
    left: Money = strawberry.field(description="Below zero when more was spent.")
    by_purpose: list[PreventionPurposeSum]


@strawberry.type(description="Policies in force by the tier that their term was priced with.")
class PortfolioTiers:
    planned_multiplier: Decimal = strawberry.field(
        description="Of the planned mix: 0.2 x 0.8 + 0.5 x 1.0 + 0.3 x 1.2 = 1.02."
    )
    actual_multiplier: Decimal | None = strawberry.field(description="Of those with a tier.")
    drift: Decimal | None
    low: int
    medium: int
    high: int
    without_tier: int


@strawberry.type(description="Something paid for from the reserve, or an entry taken back.")
class PreventionSpending:
    id: strawberry.ID
    spent_on: date
    purpose: Purpose
    amount: Money = strawberry.field(description="Below zero for what takes another entry back.")
    reference: str
    booked_at: datetime
    reverses_id: strawberry.ID | None
    is_reversed: bool

    @classmethod
    def of(cls, row: Any, *, is_reversed: bool) -> Self:
        reverses = row.reverses
        return cls(
            id=strawberry.ID(encode(Kind.PREVENTION_SPENDING, row.id)),
            spent_on=row.spent_on,
            purpose=Purpose(row.purpose),
            amount=money_graphql.of(row.amount, row.currency),
            reference=row.reference,
            booked_at=row.booked_at,
            reverses_id=strawberry.ID(encode(Kind.PREVENTION_SPENDING, reverses))
            if reverses is not None
            else None,
            is_reversed=is_reversed,
        )


def _next_year(product: Product, percent: Decimal) -> Decimal | None:
    rule = next((it for it in product.rules if isinstance(it, LossRatioRule)), None)
    return portfolio_rules.change_of_table(percent, rule) if rule is not None else None
