"""Product versions, policies with their terms, projections."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "product_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("product_versions_pkey")),
        sa.UniqueConstraint("code", "version", name=op.f("product_versions_code_version_key")),
    )
    op.create_table(
        "projection_marks",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("changed_through", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job", name=op.f("projection_marks_pkey")),
    )
    op.create_table(
        "policies",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("product_version_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_on", sa.Date(), nullable=False),
        sa.Column("term_ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state in ('IN_FORCE', 'ENDED')", name=op.f("policies_state_known")),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("policies_member_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["product_version_id"],
            ["product_versions.id"],
            name=op.f("policies_product_version_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("policies_pkey")),
    )
    op.create_index(
        "policies_in_force",
        "policies",
        ["member_id"],
        unique=True,
        postgresql_where="state = 'IN_FORCE'",
    )
    op.create_index(
        "policies_to_renew",
        "policies",
        ["term_ends_at"],
        unique=False,
        postgresql_where="state = 'IN_FORCE'",
    )
    op.create_table(
        "policy_terms",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("base", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("adjustment_percent", sa.Numeric(precision=5, scale=2), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("base > 0", name=op.f("policy_terms_base_positive")),
        sa.CheckConstraint("starts_on <= ends_on", name=op.f("policy_terms_period_ordered")),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("policy_terms_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "policy_id", "starts_on", name=op.f("policy_terms_pkey")
        ),
    )
    op.create_table(
        "premium_projections",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("adjustment_percent", sa.Numeric(precision=5, scale=2), nullable=False),
        sa.Column("projected_adjustment_percent", sa.Numeric(precision=5, scale=2), nullable=False),
        sa.Column("renews_on", sa.Date(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("premium_projections_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "policy_id", name=op.f("premium_projections_pkey")),
    )
