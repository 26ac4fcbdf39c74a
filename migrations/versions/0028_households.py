"""Households: who lives together, and invitations by a code."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "household_members",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("household_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("joined_on", sa.Date(), nullable=False),
        sa.Column("left_on", sa.Date(), nullable=True),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "role in ('HOLDER', 'SPOUSE', 'CHILD', 'OTHER')",
            name=op.f("household_members_role_known"),
        ),
        sa.CheckConstraint("left_on >= joined_on", name=op.f("household_members_period_ordered")),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("household_members_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("household_members_pkey")),
    )
    op.create_index(
        "household_members_now",
        "household_members",
        ["member_id"],
        unique=True,
        postgresql_where="left_on is null",
    )
    op.create_index("household_members_of", "household_members", ["household_id"], unique=False)
    op.create_table(
        "household_invitations",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("household_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "role in ('HOLDER', 'SPOUSE', 'CHILD', 'OTHER')",
            name=op.f("household_invitations_role_known"),
        ),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("household_invitations_pkey")),
    )
