"""What was assessed, with all it was assessed from; and what a member's risk is now."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlmodel import SQLModel

from app.columns import Holds, column

_TIER = "tier in ('LOW', 'MEDIUM', 'HIGH')"


class RiskAssessment(SQLModel, table=True):
    """One assessment by all models. Append-only; written when it differs from the one before.
    What stands here is enough to compute it again, exactly."""

    __tablename__ = "risk_assessments"
    __table_args__ = (
        ForeignKeyConstraint(["member_id"], ["members.member_id"]),
        CheckConstraint(_TIER, name="tier_known"),
        Index("risk_assessments_history", "member_id", "assessed_at", "id"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    assessed_at: datetime = column(datetime)
    local_date: date = column(date)
    """The member's local day then."""
    rules_version: str = column(str)
    """Of the rule set in `tiers/`, which names the version of each model."""
    cause: str = column(str)
    """What it was made for: see `requests.Cause`."""
    tier: str | None = column(str, Holds.HEALTH, null=True)
    """Null when too little is known."""
    matched: list[str] = column(list, Holds.HEALTH)
    """Codes of the rules that were met, the worst first."""
    inputs: dict[str, Any] = column(dict, Holds.HEALTH)
    """Name to [value, unit, day, provenance, ids of readings]."""
    classes: dict[str, Any] = column(dict, Holds.HEALTH)
    """`areas`: clinical class by area; `groups`: the product's groups."""
    results: dict[str, Any] = column(dict, Holds.HEALTH)
    """By model: version, inputs as it took them, value, category, near_limit, outcomes."""


class RiskProfile(SQLModel, table=True):
    """A member's risk now: the newest assessment. Its row is locked while one is made."""

    __tablename__ = "risk_profiles"
    __table_args__ = (
        ForeignKeyConstraint(["member_id"], ["members.member_id"]),
        CheckConstraint(_TIER, name="tier_known"),
        CheckConstraint("(assessment_id is null) = (assessed_at is null)", name="assessed_whole"),
        Index("risk_profiles_checked", "checked_at"),
        Index("risk_profiles_assessed", "assessed_at"),
    )

    member_id: UUID = column(UUID, key=True)
    assessment_id: UUID | None = column(UUID, null=True)
    tier: str | None = column(str, Holds.HEALTH, null=True)
    assessed_at: datetime | None = column(datetime, null=True)
    """When it last differed from the one before."""
    checked_at: datetime | None = column(datetime, null=True)
    """When it was last computed, with whatever result."""
    contests: int = column(int, default=0)
    """How often the member has contested it."""
    review_id: UUID | None = column(UUID, null=True)
    """The review of the last contest."""


class RiskRecheck(SQLModel, table=True):
    """Somebody of high risk is to measure again before underwriting (RSK-8). Proposed here;
    the tasks' domain makes a task of it."""

    __tablename__ = "risk_rechecks"
    __table_args__ = (
        ForeignKeyConstraint(["member_id"], ["members.member_id"]),
        CheckConstraint("kind in ('BLOOD_PRESSURE', 'GLUCOSE')", name="kind_known"),
        Index(
            "risk_rechecks_open", "member_id", "kind", unique=True,
            postgresql_where="settled_at is null",
        ),
        Index("risk_rechecks_untaken", "proposed_at", postgresql_where="taken_at is null"),
    )  # fmt: skip

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    kind: str = column(str)
    assessment_id: UUID = column(UUID)
    proposed_at: datetime = column(datetime)
    """What is measured after it settles it."""
    proposed_on: date = column(date)
    """The member's local day then."""
    taken_at: datetime | None = column(datetime, null=True)
    """When a task was made of it."""
    settled_at: datetime | None = column(datetime, null=True)
    """When it was measured."""


class RiskShadowRun(SQLModel, table=True):
    """How tiers would move under another rule set: counts by segment, nobody's own result."""

    __tablename__ = "risk_shadow_runs"

    id: UUID = column(UUID, key=True)
    rules_version: str = column(str)
    against_version: str = column(str)
    run_at: datetime = column(datetime)
    members: int = column(int)
    moves: dict[str, Any] = column(dict)
    """Segment to `FROM>TO` to how many."""
