"""What a health manager is asked to look at, and what became of it."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import Holds, column
from app.worklist.rules import (
    ClosedReason,
    Decision,
    EventKind,
    ReviewKind,
    ReviewState,
    WorklistItemKind,
)


def _one_of(name: str, values: type[StrEnum]) -> str:
    return f"{name} in ({', '.join(repr(value.value) for value in values)})"


class WorklistItem(SQLModel, table=True):
    """Who, what, why now, by when. A cause opens one item of a member, however often it is
    reported."""

    __tablename__ = "worklist_items"
    __table_args__ = (
        UniqueConstraint("member_id", "cause_key"),
        CheckConstraint(_one_of("kind", WorklistItemKind), name="kind_known"),
        CheckConstraint(_one_of("closed_reason", ClosedReason), name="closed_reason_known"),
        CheckConstraint("priority between 0 and 100", name="priority_in_range"),
        CheckConstraint("(closed_at is null) = (closed_reason is null)", name="closed_with_reason"),
        CheckConstraint("(subject_kind is null) = (subject_id is null)", name="subject_whole"),
        Index("worklist_items_open", "member_id", postgresql_where="closed_at is null"),
        Index("worklist_items_of_assignee", "assignee_id", postgresql_where="closed_at is null"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    kind: str = column(str)
    reason_zh: str = column(str, Holds.FREE_TEXT)
    reason_en: str = column(str, Holds.FREE_TEXT)
    priority: int = column(int)
    """0 to 100, higher is more pressing."""
    due_at: datetime = column(datetime)
    opened_at: datetime = column(datetime)
    snoozed_until: datetime | None = column(datetime, null=True)
    closed_at: datetime | None = column(datetime, null=True)
    closed_reason: str | None = column(str, null=True)
    assignee_id: UUID | None = column(UUID, null=True)
    """The employee it was handed over to; null: whoever looks after the member."""
    subject_kind: str | None = column(str, null=True)
    """What to act on; null when it is the member as a whole."""
    subject_id: UUID | None = column(UUID, null=True)
    subject_on: date | None = column(date, null=True)
    """First day of the period, where the subject is one of several."""
    cause_key: str = column(str)
    events: int = column(int, default=0)
    """How many there are: the place of the newest."""
    script: str | None = column(str, Holds.FREE_TEXT, null=True)
    """What is to be said to the member, in their language."""


class WorklistEvent(SQLModel, table=True):
    """What happened to an item. Append-only."""

    __tablename__ = "worklist_events"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "item_id"], ["worklist_items.member_id", "worklist_items.id"]
        ),
        CheckConstraint(_one_of("kind", EventKind), name="kind_known"),
        UniqueConstraint("member_id", "item_id", "place"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    item_id: UUID = column(UUID)
    place: int = column(int)
    """1 for the first of its item; the item is locked while one is added."""
    kind: str = column(str)
    staff_id: UUID | None = column(UUID, null=True)
    """Who did it; null when the programme did."""
    note: str | None = column(str, Holds.FREE_TEXT, null=True)
    snoozed_until: datetime | None = column(datetime, null=True)
    to_staff_id: UUID | None = column(UUID, null=True)
    at: datetime = column(datetime)


class Review(SQLModel, table=True):
    """A question that one person answers, or two who agree. A cause opens one review of a
    member, and its worklist item, however often it is reported."""

    __tablename__ = "reviews"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "item_id"], ["worklist_items.member_id", "worklist_items.id"]
        ),
        UniqueConstraint("member_id", "cause_key"),
        CheckConstraint(_one_of("kind", ReviewKind), name="kind_known"),
        CheckConstraint(_one_of("state", ReviewState), name="state_known"),
        CheckConstraint(_one_of("decision", Decision), name="decision_known"),
        CheckConstraint("points >= 0 and second_person_above >= 0", name="points_not_negative"),
        CheckConstraint(
            "(state = 'OPEN') = (decided_by is null)"
            " and num_nulls(decision, decided_by, decided_at, reason) in (0, 4)",
            name="decided_whole",
        ),
        CheckConstraint(
            "(second_by is null) = (second_at is null) and second_by <> decided_by"
            " and (second_by is null or state in ('ACCEPTED', 'REJECTED'))",
            name="second_is_another",
        ),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    kind: str = column(str)
    cause_key: str = column(str)
    item_id: UUID = column(UUID)
    subject_id: UUID = column(UUID)
    """Of the check-in, the points entry that is contested, or the risk assessment."""
    check_in_id: UUID | None = column(UUID, null=True)
    """What the entry was given for, or what is reviewed; null when it is no check-in."""
    findings: list[str] = column(list)
    """Why it was opened, the most telling first."""
    points: int = column(int, big=True)
    """That are decided about."""
    second_person_above: int = column(int, big=True)
    """Two people decide about more points than this."""
    text: str | None = column(str, Holds.FREE_TEXT, null=True)
    """What the member says."""
    state: str = column(str)
    opened_at: datetime = column(datetime)
    due_at: datetime = column(datetime)
    decision: str | None = column(str, null=True)
    """The last one, final or not."""
    decided_by: UUID | None = column(UUID, null=True)
    decided_at: datetime | None = column(datetime, null=True)
    reason: str | None = column(str, Holds.FREE_TEXT, null=True)
    """The decision in words, shown to the member."""
    second_by: UUID | None = column(UUID, null=True)
    """Who agreed, where two must."""
    second_at: datetime | None = column(datetime, null=True)
    events: int = column(int)
    """How many there are: the place of the newest."""


class ReviewEvent(SQLModel, table=True):
    """What was decided about a review, by whom. Append-only."""

    __tablename__ = "review_events"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "review_id"], ["reviews.member_id", "reviews.id"]),
        UniqueConstraint("member_id", "review_id", "place"),
        CheckConstraint(_one_of("decision", Decision), name="decision_known"),
        CheckConstraint(_one_of("state", ReviewState), name="state_known"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    review_id: UUID = column(UUID)
    place: int = column(int)
    """1 for its opening; the review is locked while one is added."""
    state: str = column(str)
    """After it."""
    decision: str | None = column(str, null=True)
    """Null: it was opened."""
    staff_id: UUID | None = column(UUID, null=True)
    reason: str | None = column(str, Holds.FREE_TEXT, null=True)
    at: datetime = column(datetime)
