"""What is known of a product's whole portfolio, year by year: nobody's own data."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import column

_YEARS = "year between 2000 and 2200"
_FIGURES = "premium > 0 and claims >= 0 and operating_cost >= 0"
_CEDED = "ceded_tier_claims between 0 and claims"


class PortfolioProposal(SQLModel, table=True):
    """The figures of a year as one employee recorded them; they count once another confirms."""

    __tablename__ = "portfolio_proposals"
    __table_args__ = (
        CheckConstraint(_YEARS, name="year_possible"),
        CheckConstraint(_FIGURES, name="figures_possible"),
        CheckConstraint(_CEDED, name="ceded_within_claims"),
        CheckConstraint(
            "num_nulls(decided_by, decided_at, confirmed) in (0, 3)", name="decided_whole"
        ),
        CheckConstraint("not (confirmed and decided_by = proposed_by)", name="two_people"),
        Index(
            "portfolio_proposals_open", "product_code", "year", unique=True,
            postgresql_where="decided_at is null",
        ),
    )  # fmt: skip

    id: UUID = column(UUID, key=True)
    product_code: str = column(str)
    year: int = column(int)
    """Calendar year, as everywhere here."""
    currency: str = column(str)
    premium: int = column(int, big=True)
    """Earned in the year, by days of cover; minor units of `currency`, as all amounts."""
    claims: int = column(int, big=True)
    ceded_tier_claims: int = column(int, big=True)
    """Of `claims`, those of the tiers whose liability the product cedes in part (ACT-2)."""
    operating_cost: int = column(int, big=True)
    reference: str = column(str)
    """Of the document in the books."""
    proposed_by: UUID = column(UUID)
    proposed_at: datetime = column(datetime)
    decided_by: UUID | None = column(UUID, null=True)
    decided_at: datetime | None = column(datetime, null=True)
    confirmed: bool | None = column(bool, null=True)


class LossRatio(SQLModel, table=True):
    """A year's loss ratio, which premiums are priced with. Append-only: a correction is the next
    revision, and there is none once a premium rests on the year."""

    __tablename__ = "loss_ratios"
    __table_args__ = (
        CheckConstraint(_YEARS, name="year_possible"),
        CheckConstraint(_FIGURES, name="figures_possible"),
        CheckConstraint(_CEDED, name="ceded_within_claims"),
        CheckConstraint("revision > 0", name="revision_positive"),
        CheckConstraint("percent >= 0", name="percent_not_negative"),
        CheckConstraint("proposed_by <> confirmed_by", name="two_people"),
        UniqueConstraint("proposal_id"),
    )

    product_code: str = column(str, key=True)
    year: int = column(int, key=True, sa_column_kwargs={"autoincrement": False})
    revision: int = column(int, key=True, sa_column_kwargs={"autoincrement": False})
    """From 1; the highest counts."""
    proposal_id: UUID = column(UUID, foreign_key="portfolio_proposals.id")
    currency: str = column(str)
    premium: int = column(int, big=True)
    claims: int = column(int, big=True)
    ceded_tier_claims: int = column(int, big=True)
    operating_cost: int = column(int, big=True)
    percent: Decimal = column(Decimal)
    """(claims + operating cost) / premium, to two decimals, half up: what is compared is what is
    published."""
    proposed_by: UUID = column(UUID)
    confirmed_by: UUID = column(UUID)
    recorded_at: datetime = column(datetime)
    published: dict[str, Any] = column(dict)
    """The numbers of the payout report, small cells already left out (`payouts`)."""


class PreventionSpending(SQLModel, table=True):
    """Something paid for from the prevention reserve (ACT-1). Append-only: what was booked by
    mistake is booked back."""

    __tablename__ = "prevention_spendings"
    __table_args__ = (
        CheckConstraint(_YEARS, name="year_possible"),
        CheckConstraint(
            "purpose in ('HEALTH_SERVICE', 'EARLY_INTERVENTION')", name="purpose_known"
        ),
        CheckConstraint("amount <> 0 and (amount < 0) = (reverses is not null)", name="signed"),
        CheckConstraint("extract(year from spent_on) = year", name="spent_in_year"),
        UniqueConstraint("reverses"),
        Index("prevention_spendings_of_year", "product_code", "year", "id"),
    )

    id: UUID = column(UUID, key=True)
    product_code: str = column(str)
    year: int = column(int)
    spent_on: date = column(date)
    purpose: str = column(str)
    """The only two that the reserve may be spent on."""
    amount: int = column(int, big=True)
    """Minor units of `currency`; below 0 when it takes another back."""
    currency: str = column(str)
    reference: str = column(str)
    reverses: UUID | None = column(UUID, null=True, foreign_key="prevention_spendings.id")
    booked_by: UUID = column(UUID)
    booked_at: datetime = column(datetime)
