"""The register of devices, connections and their silences, alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "devices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=True),
        sa.Column("loan_id", sa.Uuid(), nullable=True),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("registered_by", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "(state = 'WITH_MEMBER') = (member_id is not null) and (member_id is null) = (loan_id is null)",
            name=op.f("devices_held_whole"),
        ),
        sa.CheckConstraint(
            "kind in ('BP_MONITOR', 'GLUCOMETER', 'SCALE', 'WEARABLE', 'OXIMETER', 'THERMOMETER', 'APP', 'GATEWAY')",
            name=op.f("devices_kind_known"),
        ),
        sa.CheckConstraint("owner in ('PROGRAMME', 'MEMBER')", name=op.f("devices_owner_known")),
        sa.CheckConstraint(
            "state in ('IN_STOCK', 'WITH_MEMBER', 'LOST', 'RETIRED')",
            name=op.f("devices_state_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("devices_pkey")),
        sa.UniqueConstraint("serial", name=op.f("devices_serial_key")),
    )
    op.create_index(
        "devices_of_member",
        "devices",
        ["member_id"],
        unique=False,
        postgresql_where="member_id is not null",
    )
    op.create_table(
        "device_loans",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("lent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lent_by", sa.Uuid(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Uuid(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome in ('RETURNED', 'LOST')", name=op.f("device_loans_outcome_known")
        ),
        sa.CheckConstraint("ended_at >= lent_at", name=op.f("device_loans_period_ordered")),
        sa.CheckConstraint(
            "num_nulls(ended_at, outcome, ended_by) in (0, 3)",
            name=op.f("device_loans_ended_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("device_loans_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("device_loans_pkey")),
    )
    op.create_index("device_loans_of_device", "device_loans", ["device_id"], unique=False)
    op.create_table(
        "connections",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("days_heard", sa.Integer(), nullable=False),
        sa.Column("silent_after_days", sa.Integer(), nullable=False),
        sa.Column("silent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disconnected_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'DISCONNECTED') = (disconnected_at is not null)",
            name=op.f("connections_disconnected_whole"),
        ),
        sa.CheckConstraint(
            "kind in ('BP_MONITOR', 'GLUCOMETER', 'SCALE', 'WEARABLE', 'OXIMETER', 'THERMOMETER', 'APP', 'GATEWAY')",
            name=op.f("connections_kind_known"),
        ),
        sa.CheckConstraint(
            "state in ('CONNECTED', 'SILENT', 'DISCONNECTED')", name=op.f("connections_state_known")
        ),
        sa.CheckConstraint(
            "silent_after_days between 1 and 366",
            name=op.f("connections_silent_after_days_in_range"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("connections_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("connections_pkey")),
        sa.UniqueConstraint(
            "member_id", "source_id", name=op.f("connections_member_id_source_id_key")
        ),
    )
    op.create_index(
        "connections_silent_at",
        "connections",
        ["silent_at"],
        unique=False,
        postgresql_where="state = 'CONNECTED'",
    )
    op.create_table(
        "device_silences",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("silent_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("ended_at >= silent_from", name=op.f("device_silences_period_ordered")),
        sa.ForeignKeyConstraint(
            ["member_id", "connection_id"],
            ["connections.member_id", "connections.id"],
            name=op.f("device_silences_member_id_connection_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("device_silences_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "connection_id",
            "silent_from",
            name=op.f("device_silences_member_id_connection_id_silent_from_key"),
        ),
    )
    op.create_index(
        "device_silences_open",
        "device_silences",
        ["member_id"],
        unique=False,
        postgresql_where="ended_at is null",
    )
    op.create_table(
        "alerts",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("rules_version", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("message_zh", sa.Text(), nullable=False),
        sa.Column("message_en", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("measurement_id", sa.Uuid(), nullable=True),
        sa.Column("raised_by_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=True),
        sa.Column("asks_confirmation", sa.Boolean(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tell_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(kind = 'SILENCE') = (connection_id is not null)", name=op.f("alerts_silence_of")
        ),
        sa.CheckConstraint(
            "closed_reason in ('NORMAL_AGAIN', 'WRONG_READING', 'CONFIRMED', 'SYNCED', 'DISCONNECTED', 'HANDLED')",
            name=op.f("alerts_closed_reason_known"),
        ),
        sa.CheckConstraint(
            "kind in ('THRESHOLD', 'TREND', 'SILENCE')", name=op.f("alerts_kind_known")
        ),
        sa.CheckConstraint(
            "severity in ('INFO', 'WARNING', 'URGENT')", name=op.f("alerts_severity_known")
        ),
        sa.CheckConstraint(
            "(closed_at is null) = (closed_reason is null)", name=op.f("alerts_closed_with_reason")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "connection_id"],
            ["connections.member_id", "connections.id"],
            name=op.f("alerts_member_id_connection_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("alerts_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("alerts_pkey")),
    )
    op.create_index("alerts_newest", "alerts", ["member_id", "opened_at", "id"], unique=False)
    op.create_index(
        "alerts_open_rule",
        "alerts",
        ["member_id", "rule"],
        unique=True,
        postgresql_where="closed_at is null",
    )
    op.create_index(
        "alerts_untold",
        "alerts",
        ["tell_at"],
        unique=False,
        postgresql_where="told_at is null and closed_at is null",
    )
    op.create_table(
        "trend_checks",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("trend_checks_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", name=op.f("trend_checks_pkey")),
    )
    op.create_index("trend_checks_due", "trend_checks", ["due_at"], unique=False)
