"""Product versions, policies with their terms, and the premium shown on the first screen."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Numeric, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.columns import Holds, column

_POLICY = ["policies.member_id", "policies.id"]


def _percent(holds: Holds = Holds.NONE) -> Any:
    return Field(sa_type=Numeric(5, 2), sa_column_kwargs={"info": {"class": holds}})


class ProductVersion(SQLModel, table=True):
    """A published product version; never changed afterwards."""

    __tablename__ = "product_versions"
    __table_args__ = (UniqueConstraint("code", "version"),)

    id: UUID = column(UUID, key=True)
    code: str = column(str)
    version: str = column(str)
    hash: bytes = column(bytes)
    definition: dict[str, Any] = column(dict)
    published_at: datetime = column(datetime)


class Policy(SQLModel, table=True):
    """A member's cover, from term to term, under one product version."""

    __tablename__ = "policies"
    __table_args__ = (
        CheckConstraint("state in ('IN_FORCE', 'ENDED')", name="state_known"),
        # One policy in force a member; the key starts with the member like every other.
        Index("policies_in_force", "member_id", unique=True, postgresql_where="state = 'IN_FORCE'"),
        Index("policies_to_renew", "term_ends_at", postgresql_where="state = 'IN_FORCE'"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    product_version_id: UUID = column(UUID, foreign_key="product_versions.id")
    state: str = column(str)
    started_on: date = column(date)
    term_ends_at: datetime = column(datetime)
    """The local midnight after the current term's last day, as an instant."""
    created_at: datetime = column(datetime)


class PolicyTerm(SQLModel, table=True):
    """One term and what it costs: fixed when it begins, kept for ever."""

    __tablename__ = "policy_terms"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "policy_id"], _POLICY),
        CheckConstraint("starts_on <= ends_on", name="period_ordered"),
        CheckConstraint("base > 0", name="base_positive"),
    )

    member_id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID, key=True)
    starts_on: date = column(date, key=True)
    ends_on: date = column(date)
    """Last day of cover."""
    base: int = column(int, big=True)
    """A year's premium before any line, in minor units of `currency`."""
    total: int = column(int, big=True)
    currency: str = column(str)
    adjustment_percent: Decimal = _percent()
    created_at: datetime = column(datetime)


class PremiumProjection(SQLModel, table=True):
    """What the first screen shows; rewritten when a month closes or is restated."""

    __tablename__ = "premium_projections"
    __table_args__ = (ForeignKeyConstraint(["member_id", "policy_id"], _POLICY),)

    member_id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID, key=True)
    adjustment_percent: Decimal = _percent()
    projected_adjustment_percent: Decimal = _percent()
    renews_on: date = column(date)
    """First day of the next term."""
    as_of: datetime = column(datetime)


class ProjectionMark(SQLModel, table=True):
    """How far the projection job has read the closed months."""

    __tablename__ = "projection_marks"

    job: str = column(str, key=True)
    changed_through: datetime = column(datetime)
