"""What was told to a member about their readings, and what became of it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlmodel import SQLModel

from app.columns import Holds, column
from app.measurements.alerts_rules import AlertClosed, AlertKind, AlertSeverity
from app.measurements.devices_models import one_of


class Alert(SQLModel, table=True):
    """A rule was met. A member has at most one open alert of a rule."""

    __tablename__ = "alerts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "connection_id"], ["connections.member_id", "connections.id"]
        ),
        CheckConstraint(one_of("kind", AlertKind), name="kind_known"),
        CheckConstraint(one_of("severity", AlertSeverity), name="severity_known"),
        CheckConstraint(one_of("closed_reason", AlertClosed), name="closed_reason_known"),
        CheckConstraint("(closed_at is null) = (closed_reason is null)", name="closed_with_reason"),
        CheckConstraint("(kind = 'SILENCE') = (connection_id is not null)", name="silence_of"),
        Index(
            "alerts_open_rule",
            "member_id",
            "rule",
            unique=True,
            postgresql_where="closed_at is null",
        ),
        Index("alerts_newest", "member_id", "opened_at", "id"),
        Index("alerts_untold", "tell_at", postgresql_where="told_at is null and closed_at is null"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    rule: str = column(str, Holds.HEALTH)
    """Of `alerts.yaml`; with what it is about, where one rule serves several."""
    rules_version: str = column(str)
    kind: str = column(str)
    severity: str = column(str)
    message_zh: str = column(str, Holds.HEALTH)
    message_en: str = column(str, Holds.HEALTH)
    code: str | None = column(str, Holds.HEALTH, null=True)
    """Of the quantity; null for a silence."""
    measurement_id: UUID | None = column(UUID, null=True)
    """The reading that raised it; null for trends and silences."""
    raised_by_at: datetime = column(datetime)
    """When that was measured: only what comes later can close the alert."""
    connection_id: UUID | None = column(UUID, null=True)
    asks_confirmation: bool = column(bool)
    confirmed_at: datetime | None = column(datetime, null=True)
    """When the member said that the reading was right."""
    opened_at: datetime = column(datetime)
    tell_at: datetime = column(datetime)
    """When a message is due: at once, or on a day that has room for it."""
    told_at: datetime | None = column(datetime, null=True)
    """When a message was written, or held back by the gate."""
    closed_at: datetime | None = column(datetime, null=True)
    closed_reason: str | None = column(str, Holds.HEALTH, null=True)


class TrendCheck(SQLModel, table=True):
    """A member has new readings, so that trends are to be looked at."""

    __tablename__ = "trend_checks"
    __table_args__ = (Index("trend_checks_due", "due_at"),)

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    due_at: datetime = column(datetime)
