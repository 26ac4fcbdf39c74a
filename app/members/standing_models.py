"""Where members stand: market segment and stage of the lifecycle, with their history, and
the segments that employees keep."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlmodel import SQLModel

from app.columns import column
from app.members.lifecycle_rules import LifecycleStage
from app.members.rules import SegmentCode


def _known(name: str, values: type, *, null: bool = False) -> CheckConstraint:
    listed = ", ".join(f"'{it}'" for it in values)  # type: ignore[attr-defined]
    rule = f"{name} in ({listed})"
    return CheckConstraint(f"{name} is null or {rule}" if null else rule, name=f"{name}_known")


class MemberStanding(SQLModel, table=True):
    """What holds now. Everything but the last use follows from the facts, and can be made
    anew; `standing_events` says how it came to be."""

    __tablename__ = "member_standing"
    __table_args__ = (
        _known("segment", SegmentCode, null=True),
        _known("lifecycle", LifecycleStage),
        Index("member_standing_due", "look_at"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    segment: str | None = column(str, null=True)
    """Null while too little is known of the member."""
    segment_rule: str | None = column(str, null=True)
    """The rule of `segments.yaml` that assigned it, which has the reason in words."""
    segment_since: datetime | None = column(datetime, null=True)
    lifecycle: str = column(str)
    lifecycle_since: datetime = column(datetime)
    last_used_at: datetime | None = column(datetime, null=True)
    returned_at: datetime | None = column(datetime, null=True)
    """The first use since the member went dormant; null for whoever is not."""
    look_at: datetime | None = column(datetime, null=True)
    """When time alone changes something next; null for never."""


class StandingEvent(SQLModel, table=True):
    """One change of a segment or a stage. Append-only."""

    __tablename__ = "standing_events"
    __table_args__ = (
        CheckConstraint("kind in ('SEGMENT', 'LIFECYCLE')", name="kind_known"),
        Index("standing_events_history", "member_id", "kind", "since"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    kind: str = column(str)
    value: str | None = column(str, null=True)
    """Null: in no segment any more."""
    reason: str = column(str)
    """Rule of the segment, or what moved the stage."""
    rules_version: str = column(str)
    since: datetime = column(datetime)
    recorded_at: datetime = column(datetime)


class StandingMark(SQLModel, table=True):
    """How far the signs of use have been read."""

    __tablename__ = "standing_marks"

    job: str = column(str, key=True)
    through: datetime = column(datetime)


class SavedSegment(SQLModel, table=True):
    """People that employees have named: by a filter, or as a list that was imported. It never
    changes once something runs on it; a new one is made instead."""

    __tablename__ = "saved_segments"
    __table_args__ = (
        CheckConstraint("(kind = 'LIST') = (definition = '{}')", name="kind_whole"),
        CheckConstraint("kind in ('FILTER', 'LIST')", name="kind_known"),
        CheckConstraint("char_length(name) between 1 and 80", name="name_length"),
    )

    id: UUID = column(UUID, key=True)
    name: str = column(str)
    kind: str = column(str)
    definition: dict[str, Any] = column(dict)
    """The filter as it was sent; empty for a list."""
    created_by: UUID = column(UUID)
    created_at: datetime = column(datetime)
    counted: int | None = column(int, null=True)
    """How many it held when it was last looked at."""
    refreshed_at: datetime | None = column(datetime, null=True)
    archived_at: datetime | None = column(datetime, null=True)


class SegmentMembership(SQLModel, table=True):
    """A member is in a saved segment from `entered_at` until before `left_at`."""

    __tablename__ = "segment_memberships"
    __table_args__ = (
        CheckConstraint("left_at is null or left_at >= entered_at", name="period_ordered"),
        Index(
            "segment_memberships_of", "segment_id", "member_id", postgresql_where="left_at is null"
        ),
        Index("segment_memberships_history", "segment_id", "entered_at", "member_id"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    segment_id: UUID = column(UUID, key=True)
    entered_at: datetime = column(datetime, key=True)
    left_at: datetime | None = column(datetime, null=True)
