"""Product versions, policies with their terms, and the premium shown on the first screen."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Numeric, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.columns import Holds, column
from app.premiums.lifecycle import STORED_STATES

_POLICY = ["policies.member_id", "policies.id"]


def _percent(holds: Holds = Holds.NONE, *, null: bool = False) -> Any:
    return Field(sa_type=Numeric(5, 2), nullable=null, sa_column_kwargs={"info": {"class": holds}})


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
    """A member's cover, from the application on and from term to term, under one product
    version. Whoever asks whether somebody is covered asks for IN_FORCE: the days of grace are
    part of it. What led here stands in `policy_events`."""

    __tablename__ = "policies"
    __table_args__ = (
        CheckConstraint(
            f"state in ({', '.join(repr(it.value) for it in STORED_STATES)})", name="state_known"
        ),
        CheckConstraint("payer in ('MEMBER', 'EMPLOYER', 'GOVERNMENT')", name="payer_known"),
        CheckConstraint("frequency in ('ANNUAL', 'MONTHLY')", name="frequency_known"),
        CheckConstraint(
            "grace_ends_at is null or state = 'IN_FORCE'", name="grace_only_in_force"
        ),
        # One policy in force a member; the key starts with the member like every other.
        Index("policies_in_force", "member_id", unique=True, postgresql_where="state = 'IN_FORCE'"),
        Index(
            "policies_applied", "member_id", unique=True,
            postgresql_where="state in ('APPLIED', 'REFERRED', 'OFFERED', 'ACCEPTED')",
        ),
        Index("policies_to_renew", "term_ends_at", postgresql_where="state = 'IN_FORCE'"),
        Index("policies_due", "due_at", postgresql_where="due_at is not null"),
        Index("policies_in_grace", "grace_ends_at", postgresql_where="grace_ends_at is not null"),
        Index("policies_of_group", "group_id", postgresql_where="group_id is not null"),
    )  # fmt: skip

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    product_version_id: UUID = column(UUID, foreign_key="product_versions.id")
    state: str = column(str)
    started_on: date = column(date)
    """First day of cover: as wished for until the cover begins."""
    term_ends_at: datetime = column(datetime)
    """The local midnight after the current term's last day, as an instant."""
    created_at: datetime = column(datetime)
    payer: str = column(str, default="MEMBER", older_rows="'MEMBER'")
    frequency: str = column(str, default="ANNUAL", older_rows="'ANNUAL'")
    """Of the terms that begin from now on."""
    group_id: UUID | None = column(UUID, null=True)
    events: int = column(int, default=0, older_rows="0")
    """How many of `policy_events` there are."""
    due_at: datetime | None = column(datetime, null=True)
    """When an application or an offer closes of itself, or accepted cover begins."""
    grace_ends_at: datetime | None = column(datetime, null=True)
    """In force all the same, unpaid: when the cover lapses."""
    ended_on: date | None = column(date, null=True)
    """Last day of a cover that has ended; the day before the first when there never was one."""
    left_on: date | None = column(date, null=True)
    """Last day of the cover before it was reinstated."""


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
    projected_adjustment_percent: Decimal | None = _percent(null=True)
    """Null when there is no next term."""
    renews_on: date = column(date)
    """First day of the next term."""
    as_of: datetime = column(datetime)


class ProjectionMark(SQLModel, table=True):
    """How far the projection job has read the closed months."""

    __tablename__ = "projection_marks"

    job: str = column(str, key=True)
    changed_through: datetime = column(datetime)
