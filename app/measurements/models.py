"""Readings with their provenance. Never edited: a correction supersedes."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import Holds, column


class Measurement(SQLModel, table=True):
    """One reading, as it was sent and in the canonical unit of its code."""

    __tablename__ = "measurements"
    __table_args__ = (
        UniqueConstraint("member_id", "code", "measured_at", "source_id"),
        CheckConstraint("method in ('SENSED', 'SELF_REPORTED', 'CLINICAL')", name="method_known"),
        CheckConstraint("trust in ('HIGH', 'MEDIUM', 'LOW', 'UNVERIFIED')", name="trust_known"),
        Index("measurements_newest", "member_id", "code", "measured_at", "id"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    code: str = column(str, Holds.HEALTH)
    value: Decimal = column(Decimal, Holds.HEALTH)
    """In `unit`, the canonical one of the code."""
    unit: str = column(str)
    sent_value: Decimal = column(Decimal, Holds.HEALTH)
    sent_unit: str = column(str)
    measured_at: datetime = column(datetime)
    local_date: date = column(date)
    """The member's local day, fixed when the reading arrived."""
    recorded_at: datetime = column(datetime)
    method: str = column(str)
    source_id: str = column(str)
    context: str | None = column(str, Holds.HEALTH, null=True)
    trust: str = column(str)
    superseded_at: datetime | None = column(datetime, null=True)
    """When a later version replaced it; what was decided before then knew this one."""
