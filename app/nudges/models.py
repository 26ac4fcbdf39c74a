"""Reminders, messages and their pushes, installations and preferences."""

from datetime import date, datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import Holds, column

_MESSAGE = ["messages.member_id", "messages.id"]


class Reminder(SQLModel, table=True):
    """Recurs in the member's local time; fires once a local day, over DST and travel."""

    __tablename__ = "reminders"
    __table_args__ = (
        CheckConstraint(
            "kind in ('TASK', 'MEDICATION', 'MEASUREMENT', 'APPOINTMENT')", name="kind_known"
        ),
        CheckConstraint("ends_on is null or ends_on >= starts_on", name="period_ordered"),
        CheckConstraint("char_length(title) between 1 and 80", name="title_length"),
        CheckConstraint("(next_at is null) = (next_on is null)", name="next_complete"),
        Index("reminders_due", "next_at", postgresql_where="deleted_at is null"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    title: str = column(str, Holds.FREE_TEXT)
    kind: str = column(str, Holds.HEALTH)
    local_time: time = column(time)
    recurrence: str = column(str)
    """RFC 5545 RRULE without DTSTART."""
    starts_on: date = column(date)
    ends_on: date | None = column(date, null=True)
    last_on: date | None = column(date, null=True)
    """The local day on which it fired last: no day fires twice."""
    next_on: date | None = column(date, null=True)
    next_at: datetime | None = column(datetime, null=True)
    """When it fires next; null when it will not. Zones are converted when it is set."""
    created_at: datetime = column(datetime)
    changed_at: datetime = column(datetime)
    deleted_at: datetime | None = column(datetime, null=True)


class MedicationReminder(SQLModel, table=True):
    """The reminder that a medication has made for one of its times. When the member deletes
    that reminder it stays deleted, as long as the medication keeps the time."""

    __tablename__ = "medication_reminders"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "reminder_id"], ["reminders.member_id", "reminders.id"]),
    )

    member_id: UUID = column(UUID, key=True)
    medication_id: UUID = column(UUID, key=True)
    local_time: time = column(time, key=True)
    reminder_id: UUID = column(UUID)


class Message(SQLModel, table=True):
    """One message, planned once a (member, cause). In the inbox when `in_inbox`; a
    suppressed one keeps its reason."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("member_id", "cause_key"),
        Index("messages_unread", "member_id", postgresql_where="in_inbox and read_at is null"),
        Index("messages_inbox", "member_id", "sent_at", "id", postgresql_where="in_inbox"),
        Index(
            "messages_suppressed",
            "planned_at",
            "id",
            postgresql_where="suppressed_reason is not null",
        ),
        Index(
            "messages_of_source",
            "source_id",
            "member_id",
            postgresql_where="source_id is not null",
        ),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    cause_key: str = column(str)
    """As `reminder:<id>:<local day>`."""
    topic: str = column(str)
    template: str = column(str, Holds.HEALTH)
    """Code of the wording, which tells of a medication; the push shows its neutral text, the
    app the message."""
    title: str = column(str, Holds.FREE_TEXT)
    body: str = column(str, Holds.FREE_TEXT)
    action_label: str | None = column(str, null=True)
    action_url: str | None = column(str, null=True)
    local_date: date = column(date)
    planned_at: datetime = column(datetime)
    sent_at: datetime | None = column(datetime, null=True)
    """When it reached the inbox; null while planned, or when it never did."""
    in_inbox: bool = column(bool, default=False)
    suppressed_reason: str | None = column(str, null=True)
    """Why it went nowhere: CONSENT_REFUSED, OPTED_OUT, PROGRAMME_PAUSED ..."""
    read_at: datetime | None = column(datetime, null=True)
    priority: str = column(str, default="NORMAL", older_rows="'NORMAL'")
    source_id: UUID | None = column(UUID, null=True)
    """The policy or campaign that wanted it; null for a reminder or a notice."""
    arm: str | None = column(str, null=True)
    """Of that policy or campaign."""
    expires_at: datetime | None = column(datetime, null=True)
    """Until when it may still be sent; null: for an hour."""
    is_public: bool = column(bool, default=False, older_rows="false")
    """It says nothing about the member: an SMS or e-mail may carry its words."""


class PushDelivery(SQLModel, table=True):
    """One push to one installation, or one SMS or e-mail. QUEUED -> ATTEMPTING -> SENT, or
    FAILED, TOKEN_REMOVED, SUPPRESSED; UNKNOWN when it may have been delivered: it is not sent
    again."""

    __tablename__ = "push_deliveries"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "message_id"], _MESSAGE),
        CheckConstraint(
            "state in ('QUEUED', 'ATTEMPTING', 'SENT', 'FAILED', 'TOKEN_REMOVED',"
            " 'SUPPRESSED', 'UNKNOWN')",
            name="state_known",
        ),
        Index(
            "push_deliveries_open",
            "batch_id",
            "next_attempt_at",
            postgresql_where="state in ('QUEUED', 'ATTEMPTING')",
        ),
        Index("push_deliveries_by_result", "changed_at", "state"),
        CheckConstraint("channel in ('PUSH', 'SMS', 'EMAIL')", name="channel_known"),
        # Whoever opts out waits for what is on its way.
        Index("push_deliveries_attempting", "member_id", postgresql_where="state = 'ATTEMPTING'"),
    )

    member_id: UUID = column(UUID, key=True)
    message_id: UUID = column(UUID, key=True)
    installation_id: UUID = column(UUID, key=True)
    """Of an SMS or e-mail a constant (`queued.PLACE`): there is one a message."""
    batch_id: UUID = column(UUID)
    """Which job sends it."""
    state: str = column(str)
    reason: str | None = column(str, null=True)
    """Of a state other than SENT: the provider's code, or why the gate held it back."""
    attempts: int = column(int, default=0)
    next_attempt_at: datetime = column(datetime)
    attempting_since: datetime | None = column(datetime, null=True)
    provider_message_id: str | None = column(str, null=True)
    changed_at: datetime = column(datetime)
    channel: str = column(str, default="PUSH", older_rows="'PUSH'")
    has_link: bool = column(bool, default=False, older_rows="false")
    """It carries a link of ours, so that clicks are counted."""
    awaits_receipt: bool = column(bool, default=False, older_rows="false")
    """The gateway has taken it and will tell whether it has arrived."""


class PushBatch(SQLModel, table=True):
    """Up to 500 pushes that one job sends, leased by the worker that has it in hand."""

    __tablename__ = "push_batches"
    __table_args__ = (
        Index("push_batches_unfinished", "created_at", postgresql_where="finished_at is null"),
    )

    id: UUID = column(UUID, key=True)
    created_at: datetime = column(datetime)
    leased_until: datetime | None = column(datetime, null=True)
    leased_by: UUID | None = column(UUID, null=True)
    finished_at: datetime | None = column(datetime, null=True)


class Installation(SQLModel, table=True):
    """One installation of the app or the site; not a measuring device."""

    __tablename__ = "installations"
    __table_args__ = (
        CheckConstraint("platform in ('IOS', 'ANDROID', 'WEB')", name="platform_known"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    """Made by the app at first start and kept."""
    platform: str = column(str)
    push_provider: str = column(str)
    app_version: str = column(str)
    locale: str = column(str)
    registered_at: datetime = column(datetime)
    refreshed_at: datetime = column(datetime)


class PushToken(SQLModel, table=True):
    """Where a push goes. The key is global: a phone handed to another member moves, and the
    old member's pushes end with it."""

    __tablename__ = "push_tokens"
    __table_args__ = (
        UniqueConstraint("installation_id"),
        Index("push_tokens_of_member", "member_id", "installation_id"),
    )

    token: str = column(str, Holds.SECRET, key=True)
    provider: str = column(str, key=True)
    member_id: UUID = column(UUID)
    installation_id: UUID = column(UUID)
    registered_at: datetime = column(datetime)
    stale_since: datetime | None = column(datetime, null=True)
    """The app has not been opened for so long that nothing is pushed there."""


class NotificationPreference(SQLModel, table=True):
    """One row a member; without one the defaults hold."""

    __tablename__ = "notification_preferences"
    __table_args__ = (
        CheckConstraint("(quiet_from is null) = (quiet_to is null)", name="quiet_hours_complete"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    quiet_from: time | None = column(time, null=True)
    quiet_to: time | None = column(time, null=True)
    topics: dict[str, Any] = column(dict)
    """Topic to its channels, of the topics that the member has chosen."""
    paused_until: datetime | None = column(datetime, null=True)
    changed_at: datetime = column(datetime)


class Engagement(SQLModel, table=True):
    """What happened to a message: exposed, opened, clicked, dismissed. Once each."""

    __tablename__ = "engagements"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "message_id"], _MESSAGE),
        CheckConstraint("kind in ('EXPOSED', 'OPENED', 'CLICKED', 'DISMISSED')", name="kind_known"),
    )

    member_id: UUID = column(UUID, key=True)
    message_id: UUID = column(UUID, key=True)
    kind: str = column(str, key=True)
    occurred_at: datetime = column(datetime)
    received_at: datetime = column(datetime)
