"""Every premium with what it was priced from; why months had nothing due; restated months."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app import migration_steps as steps

revision = "0030"
down_revision = "0027"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_POLICY = ["policies.member_id", "policies.id"]


def upgrade() -> None:
    with steps.live():
        steps.add_columns(
            "participation_months",
            "silent integer not null default 0",
            "refused integer not null default 0",
            "withdrawn integer not null default 0",
        )
        steps.run(
            "alter table premium_projections alter column projected_adjustment_percent drop not null"
        )
        # Who was assessed since: their projections follow.
        steps.index("risk_profiles_assessed", "risk_profiles (assessed_at)")
        steps.index("consents_recorded", "consents (recorded_at)")
        steps.index("pending_benefits_granted", "pending_benefits (granted_at)")
    _restatements()
    _premiums()
    _credit_uses()
    _recalculations()


def _restatements() -> None:
    op.create_table(
        "participation_restatements",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("changed_at", _INSTANT, nullable=False),
        sa.Column("due", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("percent", sa.Numeric(12, 3), nullable=True),
        sa.Column("paused", sa.Integer(), nullable=False),
        sa.Column("silent", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("withdrawn", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id", "month"],
            ["participation_months.member_id", "participation_months.month"],
            name=op.f("participation_restatements_member_id_month_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "month", "changed_at", name=op.f("participation_restatements_pkey")
        ),
    )


def _premiums() -> None:
    op.create_table(
        "premiums",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("moment", sa.Text(), nullable=False),
        sa.Column("product_version_id", sa.Uuid(), nullable=False),
        sa.Column("as_of", _INSTANT, nullable=False),
        sa.Column("term_starts_on", sa.Date(), nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("base", sa.BigInteger(), nullable=False),
        sa.Column("rated_base", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("adjustment_percent", sa.Numeric(5, 2), nullable=False),
        sa.Column("cover_uplift_percent", sa.Numeric(5, 2), nullable=False),
        sa.Column("lines", postgresql.JSONB(), nullable=False),
        sa.Column("carry", postgresql.JSONB(), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("facts_hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("number > 0", name=op.f("premiums_number_positive")),
        sa.CheckConstraint(
            "moment in ('ENROLMENT', 'RENEWAL', 'MID_TERM')", name=op.f("premiums_moment_known")
        ),
        sa.CheckConstraint("base > 0", name=op.f("premiums_base_positive")),
        sa.CheckConstraint(
            "octet_length(facts_hash) = 32", name=op.f("premiums_facts_hash_is_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"], _POLICY, name=op.f("premiums_member_id_policy_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["product_version_id"],
            ["product_versions.id"],
            name=op.f("premiums_product_version_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("premiums_pkey")),
        sa.UniqueConstraint(
            "member_id", "policy_id", "number", name=op.f("premiums_member_id_policy_id_number_key")
        ),
    )


def _credit_uses() -> None:
    op.create_table(
        "premium_credit_uses",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("redemption_id", sa.Uuid(), nullable=False),
        sa.Column("premium_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("used_at", _INSTANT, nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("premium_credit_uses_amount_positive")),
        sa.ForeignKeyConstraint(
            ["member_id", "premium_id"],
            ["premiums.member_id", "premiums.id"],
            name=op.f("premium_credit_uses_member_id_premium_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "redemption_id"],
            ["redemptions.member_id", "redemptions.id"],
            name=op.f("premium_credit_uses_member_id_redemption_id_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "redemption_id", "premium_id", name=op.f("premium_credit_uses_pkey")
        ),
    )


def _recalculations() -> None:
    op.create_table(
        "premium_recalculations",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.CheckConstraint(
            "extract(day from month) = 1", name=op.f("premium_recalculations_month_is_first_day")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            _POLICY,
            name=op.f("premium_recalculations_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "policy_id", name=op.f("premium_recalculations_pkey")),
    )
    op.create_index("premium_recalculations_due", "premium_recalculations", ["month"])
