"""The health managers' worklist and its history."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worklist_items",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason_zh", sa.Text(), nullable=False),
        sa.Column("reason_en", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("snoozed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_reason", sa.Text(), nullable=True),
        sa.Column("assignee_id", sa.Uuid(), nullable=True),
        sa.Column("subject_kind", sa.Text(), nullable=True),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("subject_on", sa.Date(), nullable=True),
        sa.Column("cause_key", sa.Text(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "closed_reason in ('DONE')", name=op.f("worklist_items_closed_reason_known")
        ),
        sa.CheckConstraint(
            "kind in ('ALERT', 'DEVICE_SILENT', 'REVIEW', 'APPEAL', 'RISK_CONTESTED', 'RECHECK_DUE', 'EXAMINATION_DUE', 'FOLLOW_UP', 'FULFILMENT', 'OUTREACH')",
            name=op.f("worklist_items_kind_known"),
        ),
        sa.CheckConstraint(
            "(closed_at is null) = (closed_reason is null)",
            name=op.f("worklist_items_closed_with_reason"),
        ),
        sa.CheckConstraint(
            "(subject_kind is null) = (subject_id is null)",
            name=op.f("worklist_items_subject_whole"),
        ),
        sa.CheckConstraint(
            "priority between 0 and 100", name=op.f("worklist_items_priority_in_range")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("worklist_items_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("worklist_items_pkey")),
        sa.UniqueConstraint(
            "member_id", "cause_key", name=op.f("worklist_items_member_id_cause_key_key")
        ),
    )
    op.create_index(
        "worklist_items_of_assignee",
        "worklist_items",
        ["assignee_id"],
        unique=False,
        postgresql_where="closed_at is null",
    )
    op.create_index(
        "worklist_items_open",
        "worklist_items",
        ["member_id"],
        unique=False,
        postgresql_where="closed_at is null",
    )
    op.create_table(
        "worklist_events",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("snoozed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("to_staff_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind in ('OPENED', 'NOTED', 'SNOOZED', 'DONE', 'HANDED_OVER')",
            name=op.f("worklist_events_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "item_id"],
            ["worklist_items.member_id", "worklist_items.id"],
            name=op.f("worklist_events_member_id_item_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("worklist_events_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "item_id",
            "place",
            name=op.f("worklist_events_member_id_item_id_place_key"),
        ),
    )
