"""Reminders, messages, pushes, installations, preferences, engagement."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "push_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_by", sa.Uuid(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("push_batches_pkey")),
    )
    op.create_index(
        "push_batches_unfinished",
        "push_batches",
        ["created_at"],
        unique=False,
        postgresql_where="finished_at is null",
    )
    op.create_table(
        "push_tokens",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("installation_id", sa.Uuid(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token", "provider", name=op.f("push_tokens_pkey")),
        sa.UniqueConstraint("installation_id", name=op.f("push_tokens_installation_id_key")),
    )
    op.create_index(
        "push_tokens_of_member", "push_tokens", ["member_id", "installation_id"], unique=False
    )
    op.create_table(
        "installations",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("push_provider", sa.Text(), nullable=False),
        sa.Column("app_version", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "platform in ('IOS', 'ANDROID', 'WEB')", name=op.f("installations_platform_known")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("installations_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("installations_pkey")),
    )
    op.create_table(
        "messages",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cause_key", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("action_label", sa.Text(), nullable=True),
        sa.Column("action_url", sa.Text(), nullable=True),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("in_inbox", sa.Boolean(), nullable=False),
        sa.Column("suppressed_reason", sa.Text(), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("messages_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("messages_pkey")),
        sa.UniqueConstraint(
            "member_id", "cause_key", name=op.f("messages_member_id_cause_key_key")
        ),
    )
    op.create_index(
        "messages_inbox",
        "messages",
        ["member_id", "sent_at", "id"],
        unique=False,
        postgresql_where="in_inbox",
    )
    op.create_index(
        "messages_unread",
        "messages",
        ["member_id"],
        unique=False,
        postgresql_where="in_inbox and read_at is null",
    )
    op.create_table(
        "notification_preferences",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("quiet_from", sa.Time(), nullable=True),
        sa.Column("quiet_to", sa.Time(), nullable=True),
        sa.Column("topics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(quiet_from is null) = (quiet_to is null)",
            name=op.f("notification_preferences_quiet_hours_complete"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"],
            ["members.member_id"],
            name=op.f("notification_preferences_member_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", name=op.f("notification_preferences_pkey")),
    )
    op.create_table(
        "reminders",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("local_time", sa.Time(), nullable=False),
        sa.Column("recurrence", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("last_on", sa.Date(), nullable=True),
        sa.Column("next_on", sa.Date(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind in ('TASK', 'MEDICATION', 'MEASUREMENT', 'APPOINTMENT')",
            name=op.f("reminders_kind_known"),
        ),
        sa.CheckConstraint(
            "(next_at is null) = (next_on is null)", name=op.f("reminders_next_complete")
        ),
        sa.CheckConstraint(
            "char_length(title) between 1 and 80", name=op.f("reminders_title_length")
        ),
        sa.CheckConstraint(
            "ends_on is null or ends_on >= starts_on", name=op.f("reminders_period_ordered")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("reminders_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("reminders_pkey")),
    )
    op.create_index(
        "reminders_due",
        "reminders",
        ["next_at"],
        unique=False,
        postgresql_where="deleted_at is null",
    )
    op.create_table(
        "engagements",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind in ('EXPOSED', 'OPENED', 'CLICKED', 'DISMISSED')",
            name=op.f("engagements_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "message_id"],
            ["messages.member_id", "messages.id"],
            name=op.f("engagements_member_id_message_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "message_id", "kind", name=op.f("engagements_pkey")),
    )
    op.create_table(
        "push_deliveries",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("installation_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempting_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state in ('QUEUED', 'ATTEMPTING', 'SENT', 'FAILED', 'TOKEN_REMOVED', 'SUPPRESSED', 'UNKNOWN')",
            name=op.f("push_deliveries_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "message_id"],
            ["messages.member_id", "messages.id"],
            name=op.f("push_deliveries_member_id_message_id_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "message_id", "installation_id", name=op.f("push_deliveries_pkey")
        ),
    )
    op.create_index(
        "push_deliveries_by_result", "push_deliveries", ["changed_at", "state"], unique=False
    )
    op.create_index(
        "push_deliveries_open",
        "push_deliveries",
        ["batch_id", "next_attempt_at"],
        unique=False,
        postgresql_where="state in ('QUEUED', 'ATTEMPTING')",
    )
