"""What was priced, with all it was priced from; and what was paid with premium credit."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Numeric, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.columns import Holds, column

_POLICY = ["policies.member_id", "policies.id"]


def _percent() -> Any:
    return Field(sa_type=Numeric(5, 2), sa_column_kwargs={"info": {"class": Holds.NONE}})


class Premium(SQLModel, table=True):
    """A term, or what is left of one, as it was priced. Append-only: the version and the facts
    that stand here are enough to compute it again, to the cent (PRM-19)."""

    __tablename__ = "premiums"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "policy_id"], _POLICY),
        UniqueConstraint("member_id", "policy_id", "number"),
        CheckConstraint("number > 0", name="number_positive"),
        CheckConstraint("moment in ('ENROLMENT', 'RENEWAL', 'MID_TERM')", name="moment_known"),
        CheckConstraint("base > 0", name="base_positive"),
        CheckConstraint("octet_length(facts_hash) = 32", name="facts_hash_is_sha256"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID)
    number: int = column(int)
    """From 1, without a gap: two rivals cannot both be next."""
    moment: str = column(str)
    product_version_id: UUID = column(UUID, foreign_key="product_versions.id")
    as_of: datetime = column(datetime)
    """The facts are those known at this instant."""
    term_starts_on: date = column(date)
    effective_on: date = column(date)
    """First day that costs this; of a change in the term, later than `term_starts_on`."""
    base: int = column(int, big=True)
    """A year's premium before any line; all amounts are minor units of `currency`."""
    rated_base: int = column(int, big=True)
    total: int = column(int, big=True)
    currency: str = column(str)
    adjustment_percent: Decimal = _percent()
    cover_uplift_percent: Decimal = _percent()
    lines: list[Any] = column(dict, Holds.HEALTH)
    """In the order of application; see `stored_lines`."""
    carry: dict[str, Any] = column(dict, Holds.HEALTH)
    """Percentage by the code of each accumulating rule, for the next term."""
    facts: dict[str, Any] = column(dict, Holds.HEALTH)
    """See `facts_json`."""
    facts_hash: bytes = column(bytes)
    """SHA-256 of the product version's hash and the canonical facts."""


class PremiumCreditUse(SQLModel, table=True):
    """How much of a redeemed premium credit paid for which premium. Append-only."""

    __tablename__ = "premium_credit_uses"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "premium_id"], ["premiums.member_id", "premiums.id"]),
        ForeignKeyConstraint(
            ["member_id", "redemption_id"], ["redemptions.member_id", "redemptions.id"]
        ),
        CheckConstraint("amount > 0", name="amount_positive"),
    )

    member_id: UUID = column(UUID, key=True)
    redemption_id: UUID = column(UUID, key=True)
    premium_id: UUID = column(UUID, key=True)
    amount: int = column(int, big=True)
    """Minor units."""
    used_at: datetime = column(datetime)


class RecalculationMark(SQLModel, table=True):
    """Which calendar month a policy has been recalculated for; locked while that is done."""

    __tablename__ = "premium_recalculations"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "policy_id"], _POLICY),
        CheckConstraint("extract(day from month) = 1", name="month_is_first_day"),
        Index("premium_recalculations_due", "month"),
    )

    member_id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID, key=True)
    month: date = column(date)
    """First day of the month in which it was done last."""
