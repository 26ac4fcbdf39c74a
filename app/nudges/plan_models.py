"""What is planned for many: sources, planned messages, caps, rhythms, templates, runs."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Numeric
from sqlmodel import Field, SQLModel

from app.columns import Holds, column


class MessageSource(SQLModel, table=True):
    """Who wants messages sent: a nudge policy or a campaign. Halted, nothing of it leaves."""

    __tablename__ = "message_sources"
    __table_args__ = (
        CheckConstraint("state in ('ACTIVE', 'HALTED', 'CANCELLED')", name="state_known"),
    )

    id: UUID = column(UUID, key=True)
    kind: str = column(str)
    """Which of `sources.KINDS` knows what it says."""
    name: str = column(str)
    state: str = column(str)
    changed_at: datetime = column(datetime)


class PlannedMessage(SQLModel, table=True):
    """A member is to be told of a cause, or is held out for the comparison. Once a (member,
    cause), whatever plans it again.

    It holds no text and no fact: both are looked up when it is due. `PLANNED` becomes
    `RELEASED` (there is a message, sent or suppressed) or `CANCELLED`.
    """

    __tablename__ = "planned_messages"
    __table_args__ = (
        CheckConstraint(
            "state in ('PLANNED', 'HOLDOUT', 'RELEASED', 'CANCELLED')", name="state_known"
        ),
        CheckConstraint("propensity > 0 and propensity <= 1", name="propensity_in_range"),
        Index("planned_messages_due", "source_id", "send_at", postgresql_where="state = 'PLANNED'"),
        Index("planned_messages_of_source", "source_id", "planned_at"),
    )

    member_id: UUID = column(UUID, key=True)
    """Without a foreign key: whoever plans reads the members, and to look a million up again
    is a third of the time of the insert."""
    cause_key: str = column(str, key=True)
    source_id: UUID = column(UUID)
    arm: str = column(str)
    """Of the variants, or `holdout`."""
    propensity: Decimal = Field(
        sa_type=Numeric, nullable=False, sa_column_kwargs={"info": {"class": Holds.NONE}}
    )
    """How probable this arm was, to learn from what became of it."""
    state: str = column(str)
    local_date: date = column(date)
    send_at: datetime = column(datetime)
    expires_at: datetime = column(datetime)
    planned_at: datetime = column(datetime)


class MessageCount(SQLModel, table=True):
    """How much a member was told in a local week, over all senders. Locked while a message is
    counted, so that twenty campaigns at once keep to the caps."""

    __tablename__ = "message_counts"

    member_id: UUID = column(UUID, key=True)
    week_from: date = column(date, key=True)
    """The Monday."""
    days: dict[str, Any] = column(dict)
    """Local day to how many."""


class MemberRhythm(SQLModel, table=True):
    """When a member checks in and opens messages: made anew by the clock."""

    __tablename__ = "member_rhythms"
    __table_args__ = (CheckConstraint("quarter between 0 and 95", name="quarter_of_day"),)

    member_id: UUID = column(UUID, key=True)
    quarter: int = column(int, Holds.HEALTH)
    """Of an hour, since the start of the local day."""
    signs: int = column(int)
    """On how many it rests."""
    computed_at: datetime = column(datetime)


class MessageTemplate(SQLModel, table=True):
    """One version of a wording that employees published. Append-only: the newest is in force,
    before the one that ships."""

    __tablename__ = "message_templates"
    __table_args__ = (
        CheckConstraint("char_length(title) between 1 and 80", name="title_length"),
        CheckConstraint("char_length(body) between 1 and 1000", name="body_length"),
    )

    code: str = column(str, key=True)
    arm: str = column(str, key=True)
    segment: str = column(str, key=True)
    """Empty: of everybody without a wording of their own."""
    locale: str = column(str, key=True)
    version: int = column(int, key=True)
    title: str = column(str)
    body: str = column(str)
    published_by: UUID = column(UUID)
    published_at: datetime = column(datetime)


class NudgeRun(SQLModel, table=True):
    """A policy is planned for the members of the zones in which its hour has come. A run that
    was cut short goes on after `after`."""

    __tablename__ = "nudge_runs"
    __table_args__ = (
        Index("nudge_runs_open", "planned_for", postgresql_where="finished_at is null"),
    )

    source_id: UUID = column(UUID, key=True)
    planned_for: datetime = column(datetime, key=True)
    """The instant at which its hour came."""
    local_date: date = column(date, key=True)
    after: UUID = column(UUID)
    """The last member that was looked at."""
    planned: int = column(int, default=0)
    finished_at: datetime | None = column(datetime, null=True)
