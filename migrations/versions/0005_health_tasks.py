"""Templates, assignments, tasks, check-ins, months of participation."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "task_templates",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("code", "version", name=op.f("task_templates_pkey")),
    )
    op.create_table(
        "participation_months",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("due", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("percent", sa.Numeric(precision=12, scale=3), nullable=True),
        sa.Column("paused", sa.Integer(), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("done between 0 and due", name=op.f("participation_months_done_of_due")),
        sa.CheckConstraint(
            "extract(day from month) = 1", name=op.f("participation_months_month_is_first_day")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("participation_months_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "month", name=op.f("participation_months_pkey")),
    )
    op.create_index(
        "participation_months_changed", "participation_months", ["changed_at"], unique=False
    )
    op.create_index(
        "participation_months_due",
        "participation_months",
        ["closes_at"],
        unique=False,
        postgresql_where="closed_at is null",
    )
    op.create_table(
        "task_assignments",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("template_code", sa.Text(), nullable=False),
        sa.Column("template_version", sa.Integer(), nullable=False),
        sa.Column("title_zh", sa.Text(), nullable=False),
        sa.Column("title_en", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("target", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("per_day", sa.Integer(), nullable=False),
        sa.Column("value_min", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("value_max", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("verification", sa.Text(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("points_per_day_max", sa.Integer(), nullable=True),
        sa.Column("points_per_month_max", sa.Integer(), nullable=True),
        sa.Column("expires_after_months", sa.Integer(), nullable=False),
        sa.Column("late_data_days", sa.Integer(), nullable=False),
        sa.Column("product_version_id", sa.Uuid(), nullable=False),
        sa.Column("rule_code", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "period in ('day', 'week', 'month', 'once')", name=op.f("task_assignments_period_known")
        ),
        sa.CheckConstraint(
            "ends_on is null or ends_on >= starts_on", name=op.f("task_assignments_period_ordered")
        ),
        sa.CheckConstraint(
            "expires_after_months > 0", name=op.f("task_assignments_expires_after_months_positive")
        ),
        sa.CheckConstraint(
            "late_data_days >= 0", name=op.f("task_assignments_late_data_days_not_negative")
        ),
        sa.CheckConstraint(
            "per_day between 1 and 1000", name=op.f("task_assignments_per_day_in_range")
        ),
        sa.CheckConstraint("points >= 0", name=op.f("task_assignments_points_not_negative")),
        sa.CheckConstraint("target > 0", name=op.f("task_assignments_target_positive")),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("task_assignments_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("task_assignments_pkey")),
    )
    op.create_table(
        "tasks",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("target", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("done", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("points_awarded", sa.Integer(), nullable=False),
        sa.Column("participated", sa.Boolean(), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("latest_check_in_id", sa.Uuid(), nullable=True),
        sa.Column("latest_occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "closed_at is null or state <> 'OPEN'", name=op.f("tasks_closed_is_settled")
        ),
        sa.CheckConstraint(
            "state in ('OPEN', 'IN_REVIEW', 'DONE', 'MISSED', 'PAUSED', 'DEVICE_SILENT', 'CONSENT_REFUSED', 'CONSENT_WITHDRAWN')",
            name=op.f("tasks_state_known"),
        ),
        sa.CheckConstraint("starts_on <= ends_on", name=op.f("tasks_period_ordered")),
        sa.ForeignKeyConstraint(
            ["member_id", "assignment_id"],
            ["task_assignments.member_id", "task_assignments.id"],
            name=op.f("tasks_member_id_assignment_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "assignment_id", "starts_on", name=op.f("tasks_pkey")),
    )
    op.create_index(
        "tasks_due", "tasks", ["due_at"], unique=False, postgresql_where="closed_at is null"
    )
    op.create_index("tasks_of_day", "tasks", ["member_id", "ends_on"], unique=False)
    op.create_table(
        "checkins",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("value", sa.Numeric(precision=12, scale=3), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("points_awarded", sa.Integer(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("acted_by", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "state in ('ACCEPTED', 'IN_REVIEW', 'REJECTED')", name=op.f("checkins_state_known")
        ),
        sa.CheckConstraint("slot >= 0", name=op.f("checkins_slot_not_negative")),
        sa.ForeignKeyConstraint(
            ["member_id", "assignment_id", "starts_on"],
            ["tasks.member_id", "tasks.assignment_id", "tasks.starts_on"],
            name=op.f("checkins_member_id_assignment_id_starts_on_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("checkins_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "assignment_id",
            "local_date",
            "slot",
            name=op.f("checkins_member_id_assignment_id_local_date_slot_key"),
        ),
    )
