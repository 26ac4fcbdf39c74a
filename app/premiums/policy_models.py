"""What belongs to a policy besides its terms: history, underwriting, offers, rescissions."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import Holds, column

_POLICY = ["policies.member_id", "policies.id"]


def _of_policy() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["member_id", "policy_id"], _POLICY)


class PolicyEvent(SQLModel, table=True):
    """Something happened to a policy. Append-only."""

    __tablename__ = "policy_events"
    __table_args__ = (
        _of_policy(),
        UniqueConstraint("member_id", "policy_id", "place"),
        CheckConstraint("actor in ('MEMBER', 'STAFF', 'PROGRAMME')", name="actor_known"),
        CheckConstraint("(actor = 'PROGRAMME') = (actor_id is null)", name="actor_whole"),
        Index("policy_events_at", "at"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID)
    place: int = column(int)
    kind: str = column(str)
    state: str = column(str)
    """The one that it led to; GRACE is one of them."""
    actor: str = column(str)
    actor_id: UUID | None = column(UUID, null=True)
    """The member or guardian, or the employee."""
    reason: str | None = column(str, Holds.FREE_TEXT, null=True)
    at: datetime = column(datetime)


class Underwriting(SQLModel, table=True):
    """What an applicant declared, what underwriting found, and who decided."""

    __tablename__ = "underwritings"
    __table_args__ = (
        _of_policy(),
        CheckConstraint("decision in ('ACCEPT', 'DECLINE')", name="decision_known"),
        CheckConstraint(
            "(decision is null) = (decided_at is null)"
            " and (decided_by is null or decision is not null)",
            name="decided_whole",
        ),
    )

    member_id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID, key=True)
    conditions: list[str] = column(list, Holds.HEALTH)
    """ICD-10, as declared."""
    answers: dict[str, Any] = column(dict, Holds.HEALTH)
    """Yes or no to each of the product's declarations, by code."""
    declared_at: datetime | None = column(datetime, null=True)
    declared_by: UUID | None = column(UUID, null=True)
    looked_at: datetime | None = column(datetime, null=True)
    waits_for: list[str] = column(list, Holds.HEALTH)
    """ASSESSMENT, RECHECK, EXAMINATION_REPORT, DECLARATIONS."""
    findings: list[str] = column(list, Holds.HEALTH)
    """Why an employee decides, or why it was declined."""
    tier: str | None = column(str, Holds.HEALTH, null=True)
    assessment_id: UUID | None = column(UUID, null=True)
    decision: str | None = column(str, null=True)
    decided_by: UUID | None = column(UUID, null=True)
    """Null when the terms of the product decided."""
    reason: str | None = column(str, Holds.FREE_TEXT, null=True)
    decided_at: datetime | None = column(datetime, null=True)


class RenewalOffer(SQLModel, table=True):
    """The next term as it was announced, and what the member said to it."""

    __tablename__ = "renewal_offers"
    __table_args__ = (
        _of_policy(),
        CheckConstraint("answer in ('ACCEPTED', 'DECLINED')", name="answer_known"),
        CheckConstraint("(answer is null) = (answered_at is null)", name="answered_whole"),
        CheckConstraint("(amount is null) = (priced_at is null)", name="priced_whole"),
        Index("renewal_offers_untold", "offered_at", postgresql_where="answer is null"),
    )

    member_id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID, key=True)
    starts_on: date = column(date, key=True)
    """First day of the term that is offered."""
    product_version_id: UUID = column(UUID, foreign_key="product_versions.id")
    offered_at: datetime = column(datetime)
    amount: int | None = column(int, big=True, null=True)
    """What a year of it costs at most, before credits, in minor units of the product's currency:
    what came later may make it cheaper, and not dearer. Null when nothing was promised."""
    priced_at: datetime | None = column(datetime, null=True)
    answer: str | None = column(str, null=True)
    answered_at: datetime | None = column(datetime, null=True)


class Rescission(SQLModel, table=True):
    """Somebody says that something was concealed; another person confirms it."""

    __tablename__ = "rescissions"
    __table_args__ = (
        _of_policy(),
        CheckConstraint("proposed_by <> confirmed_by", name="two_people"),
        CheckConstraint("num_nulls(confirmed_by, confirmed_at) in (0, 2)", name="confirmed_whole"),
        Index(
            "rescissions_open", "member_id", "policy_id", unique=True,
            postgresql_where="confirmed_at is null and dropped_at is null",
        ),
    )  # fmt: skip

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID)
    reason: str = column(str, Holds.FREE_TEXT)
    refunds: bool = column(bool)
    """Whether what was paid is given back."""
    proposed_by: UUID = column(UUID)
    proposed_at: datetime = column(datetime)
    confirmed_by: UUID | None = column(UUID, null=True)
    confirmed_at: datetime | None = column(datetime, null=True)
    dropped_at: datetime | None = column(datetime, null=True)


class Clawback(SQLModel, table=True):
    """What a member earned under a policy that never was is taken back, by a job."""

    __tablename__ = "points_clawbacks"
    __table_args__ = (
        _of_policy(),
        Index("points_clawbacks_due", "look_at", postgresql_where="look_at is not null"),
    )

    member_id: UUID = column(UUID, key=True)
    policy_id: UUID = column(UUID, key=True)
    ordered_at: datetime = column(datetime)
    earned_from: datetime = column(datetime)
    """By tasks that were asked for from then until it was ordered."""
    look_at: datetime | None = column(datetime, null=True)
    """When the clock looks for more: what is sent late still earns. Null when nothing comes any
    more."""
    points: int = column(int, default=0, big=True)
    """How many were taken back, or are owed for it."""


class InsuredGroup(SQLModel, table=True):
    """Who is insured together (PRM-13): an employer's staff, a community."""

    __tablename__ = "insured_groups"
    __table_args__ = (
        UniqueConstraint("code"),
        CheckConstraint("payer in ('MEMBER', 'EMPLOYER', 'GOVERNMENT')", name="payer_known"),
        CheckConstraint(
            "num_nulls(closed_at, closed_by) in (0, 2) and (closed_at is null or not active)",
            name="closed_whole",
        ),
    )

    id: UUID = column(UUID, key=True)
    code: str = column(str)
    """With which its members apply."""
    name: str = column(str)
    product_code: str = column(str)
    payer: str = column(str)
    active: bool = column(bool, default=True)
    """Whether anybody new joins."""
    created_at: datetime = column(datetime)
    created_by: UUID = column(UUID)
    people: int | None = column(int, null=True)
    """How many its payer wants to have insured, as said when it was made."""
    closed_at: datetime | None = column(datetime, null=True)
    closed_by: UUID | None = column(UUID, null=True)
