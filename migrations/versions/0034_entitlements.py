"""How often services are used, and what became of each reservation."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "entitlement_quotas",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("consumed", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "reserved >= 0 and consumed >= 0", name=op.f("entitlement_quotas_counts_not_negative")
        ),
        sa.CheckConstraint("starts_on <= ends_on", name=op.f("entitlement_quotas_period_ordered")),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("entitlement_quotas_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "policy_id", "service", "starts_on", name=op.f("entitlement_quotas_pkey")
        ),
    )
    op.create_table(
        "entitlement_uses",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("product_version_id", sa.Uuid(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("period_starts_on", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reserved_by", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("consumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'RESERVED') = (ended_at is null)", name=op.f("entitlement_uses_ended_once")
        ),
        sa.CheckConstraint(
            "state <> 'CONSUMED' or staff_id is not null", name=op.f("entitlement_uses_consumed_by")
        ),
        sa.CheckConstraint(
            "state in ('RESERVED', 'CONSUMED', 'RELEASED', 'EXPIRED')",
            name=op.f("entitlement_uses_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("entitlement_uses_member_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["product_version_id"],
            ["product_versions.id"],
            name=op.f("entitlement_uses_product_version_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("entitlement_uses_pkey")),
    )
    op.create_index(
        "entitlement_uses_of_member",
        "entitlement_uses",
        ["member_id", "reserved_at", "id"],
        unique=False,
    )
    op.create_index(
        "entitlement_uses_to_expire",
        "entitlement_uses",
        ["expires_at"],
        unique=False,
        postgresql_where="state = 'RESERVED'",
    )
