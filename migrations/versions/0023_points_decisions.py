"""Decisions about earnings of which nothing was left to move."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "points_decisions",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("earning_id", sa.Uuid(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "decision in ('ACCEPTED', 'REFUSED', 'REVERSED')",
            name=op.f("points_decisions_decision_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "earning_id"],
            ["points_transfers.member_id", "points_transfers.id"],
            name=op.f("points_decisions_member_id_earning_id_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "earning_id", "decision", name=op.f("points_decisions_pkey")
        ),
    )
