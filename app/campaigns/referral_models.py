"""Referrals, what they give, and stories that members tell of their claims."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import Holds, column


class ReferralCode(SQLModel, table=True):
    """What a member hands to others. Without a foreign key: a directory lies elsewhere than the
    members that it leads to."""

    __tablename__ = "referral_codes"
    __table_args__ = (UniqueConstraint("member_id"),)

    code: str = column(str, key=True)
    member_id: UUID = column(UUID)
    created_at: datetime = column(datetime)


class ReferralDevice(SQLModel, table=True):
    """An installation of the app from which a code was named: once and never again."""

    __tablename__ = "referral_devices"

    installation_id: UUID = column(UUID, key=True)
    member_id: UUID = column(UUID)
    claimed_at: datetime = column(datetime)


class Referral(SQLModel, table=True):
    """Who brought a member (`member_id`). One each, for ever."""

    __tablename__ = "referrals"
    __table_args__ = (
        CheckConstraint("member_id <> referrer_id", name="not_of_oneself"),
        CheckConstraint("state in ('PENDING', 'QUALIFIED', 'BLOCKED')", name="state_known"),
        Index("referrals_of_referrer", "referrer_id", "state"),
        Index("referrals_pending", "claimed_at", postgresql_where="state = 'PENDING'"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    referrer_id: UUID = column(UUID)
    claimed_at: datetime = column(datetime)
    state: str = column(str)
    reason: str | None = column(str, null=True)
    """Why it is blocked."""
    enrolled_on: date | None = column(date, null=True)
    settled_at: datetime | None = column(datetime, null=True)


class ReferralBenefit(SQLModel, table=True):
    """That a member has earned something by referring others; what it is, are services that were
    granted for it (`services/granted.yaml`). Never money."""

    __tablename__ = "referral_benefits"
    __table_args__ = (CheckConstraint("kind in ('VIP_HEALTH_MANAGER')", name="kind_known"),)

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    kind: str = column(str, key=True)
    referrals: int = column(int)
    """How many had qualified when it was granted."""
    granted_at: datetime = column(datetime)
    revoked_at: datetime | None = column(datetime, null=True)
    """Fewer count since; the services (`services/granting.py`) went with it."""


class ClaimStory(SQLModel, table=True):
    """What a member tells others of a claim, shown once an employee has read it and as long as
    the member agrees to that (REF-2)."""

    __tablename__ = "claim_stories"
    __table_args__ = (
        CheckConstraint(
            "state in ('SUBMITTED', 'PUBLISHED', 'REJECTED', 'WITHDRAWN')", name="state_known"
        ),
        CheckConstraint("char_length(title) between 1 and 80", name="title_length"),
        CheckConstraint("char_length(body) between 1 and 2000", name="body_length"),
        CheckConstraint(
            "(state in ('PUBLISHED', 'REJECTED')) <= (moderated_by is not null)",
            name="moderated_by_somebody",
        ),
        Index(
            "claim_stories_published", "published_at", "id", postgresql_where="state = 'PUBLISHED'"
        ),
        Index("claim_stories_submitted", "submitted_at", postgresql_where="state = 'SUBMITTED'"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    title: str = column(str, Holds.FREE_TEXT)
    body: str = column(str, Holds.FREE_TEXT)
    is_named: bool = column(bool)
    """Whether the family name is shown."""
    consent_version: str = column(str)
    """Of the text by which the member agreed to its being shown."""
    state: str = column(str)
    submitted_at: datetime = column(datetime)
    moderated_by: UUID | None = column(UUID, null=True)
    moderated_at: datetime | None = column(datetime, null=True)
    reason: str | None = column(str, Holds.FREE_TEXT, null=True)
    """Why it is not shown, in words for the member."""
    published_at: datetime | None = column(datetime, null=True)
    withdrawn_at: datetime | None = column(datetime, null=True)
