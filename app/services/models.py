"""How often services were used in a period, and what became of each reservation."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlmodel import SQLModel

from app.columns import Holds, column
from app.services.granted import Source
from app.services.rules import UseState

_SOURCES = ", ".join(repr(it.value) for it in Source if it is not Source.PRODUCT)
_STATES = ", ".join(repr(state.value) for state in UseState)


class EntitlementQuota(SQLModel, table=True):
    """Units of one service in one period of a policy: the accumulator, with whoever holds the
    policy. Whoever reserves, consumes or gives back locks it."""

    __tablename__ = "entitlement_quotas"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "policy_id"], ["policies.member_id", "policies.id"]),
        CheckConstraint("starts_on <= ends_on", name="period_ordered"),
        CheckConstraint("reserved >= 0 and consumed >= 0", name="counts_not_negative"),
    )

    member_id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID, key=True)
    service: str = column(str, key=True)
    starts_on: date = column(date, key=True)
    ends_on: date = column(date)
    """Last day."""
    reserved: int = column(int, default=0)
    consumed: int = column(int, default=0)


class EntitlementGrant(SQLModel, table=True):
    """A service that a member has earned, whatever their product. It stays when it is taken
    back."""

    __tablename__ = "entitlement_grants"
    __table_args__ = (
        CheckConstraint(f"source in ({_SOURCES})", name="source_known"),
        CheckConstraint("ends_on is null or ends_on >= starts_on", name="period_ordered"),
        CheckConstraint(
            "(revoked_at is null) = (revoked_because is null)", name="revoked_with_reason"
        ),
        # Given once, however many do it at the same time.
        Index(
            "entitlement_grants_current",
            "member_id",
            "service",
            "source",
            unique=True,
            postgresql_where="revoked_at is null",
        ),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    service: str = column(str)
    """Of `granted.yaml`."""
    source: str = column(str)
    starts_on: date = column(date)
    """The member's local day."""
    ends_on: date | None = column(date, null=True)
    """Last day; null for none."""
    granted_at: datetime = column(datetime)
    revoked_at: datetime | None = column(datetime, null=True)
    revoked_because: str | None = column(str, null=True)


class GrantQuota(SQLModel, table=True):
    """As `EntitlementQuota`, of what was granted."""

    __tablename__ = "entitlement_grant_quotas"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "grant_id"], ["entitlement_grants.member_id", "entitlement_grants.id"]
        ),
        CheckConstraint("starts_on <= ends_on", name="period_ordered"),
        CheckConstraint("reserved >= 0 and consumed >= 0", name="counts_not_negative"),
    )

    member_id: UUID = column(UUID, key=True)
    grant_id: UUID = column(UUID, key=True)
    starts_on: date = column(date, key=True)
    ends_on: date = column(date)
    """Last day."""
    reserved: int = column(int, default=0)
    consumed: int = column(int, default=0)


class EntitlementUse(SQLModel, table=True):
    """One unit of a service: reserved, then consumed, released or expired. It lives with whoever
    uses it; the quota may be that of the spouse (SVC-7)."""

    __tablename__ = "entitlement_uses"
    __table_args__ = (
        ForeignKeyConstraint(["member_id"], ["members.member_id"]),
        CheckConstraint(f"state in ({_STATES})", name="state_known"),
        CheckConstraint("(state = 'RESERVED') = (ended_at is null)", name="ended_once"),
        CheckConstraint("state <> 'CONSUMED' or staff_id is not null", name="consumed_by"),
        CheckConstraint(
            "num_nonnulls(policy_id, grant_id) = 1"
            " and (policy_id is null) = (product_version_id is null)",
            name="of_one",
        ),
        Index("entitlement_uses_of_member", "member_id", "reserved_at", "id"),
        # For the clock: whose time is over.
        Index("entitlement_uses_to_expire", "expires_at", postgresql_where="state = 'RESERVED'"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    holder_id: UUID = column(UUID)
    """Whose quota it is of."""
    policy_id: UUID | None = column(UUID, null=True)
    """Of the holder; null for what was granted."""
    product_version_id: UUID | None = column(UUID, null=True, foreign_key="product_versions.id")
    """The terms that it was reserved under."""
    grant_id: UUID | None = column(UUID, null=True)
    """Null for what a product gives."""
    service: str = column(str)
    period_starts_on: date = column(date)
    state: str = column(str)
    reserved_at: datetime = column(datetime)
    reserved_by: UUID | None = column(UUID, null=True)
    """The employee; null when the member did."""
    expires_at: datetime = column(datetime)
    """From then on the clock gives the unit back."""
    consumed_at: datetime | None = column(datetime, null=True)
    ended_at: datetime | None = column(datetime, null=True)
    """When it was consumed, released or expired."""
    staff_id: UUID | None = column(UUID, null=True)
    """Who consumed or released it; null when the member or the programme did."""
    note: str | None = column(str, Holds.FREE_TEXT, null=True)
    """Theirs, for the member to read."""
