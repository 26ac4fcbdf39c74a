"""Readings with their provenance."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "measurements",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("value", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("sent_value", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("sent_unit", sa.Text(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("context", sa.Text(), nullable=True),
        sa.Column("trust", sa.Text(), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "method in ('SENSED', 'SELF_REPORTED', 'CLINICAL')",
            name=op.f("measurements_method_known"),
        ),
        sa.CheckConstraint(
            "trust in ('HIGH', 'MEDIUM', 'LOW', 'UNVERIFIED')",
            name=op.f("measurements_trust_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("measurements_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("measurements_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "code",
            "measured_at",
            "source_id",
            name=op.f("measurements_member_id_code_measured_at_source_id_key"),
        ),
    )
    op.create_index(
        "measurements_newest",
        "measurements",
        ["member_id", "code", "measured_at", "id"],
        unique=False,
    )
