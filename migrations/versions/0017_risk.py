"""Risk assessments, profiles, re-checks and shadow runs; reviews of contested tiers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app import migration_steps as steps

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_TIER = "tier in ('LOW', 'MEDIUM', 'HIGH')"


def upgrade() -> None:
    with steps.live():
        steps.check("reviews", "kind_known", "kind in ('CHECK_IN', 'APPEAL', 'RISK')")
    _assessments()
    _profiles()
    _rechecks()
    op.create_table(
        "risk_shadow_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rules_version", sa.Text(), nullable=False),
        sa.Column("against_version", sa.Text(), nullable=False),
        sa.Column("run_at", _INSTANT, nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("moves", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("risk_shadow_runs_pkey")),
    )


def _of_member(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["member_id"], ["members.member_id"], name=op.f(f"{table}_member_id_fkey")
    )


def _assessments() -> None:
    op.create_table(
        "risk_assessments",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("assessed_at", _INSTANT, nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("rules_version", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("matched", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("inputs", postgresql.JSONB(), nullable=False),
        sa.Column("classes", postgresql.JSONB(), nullable=False),
        sa.Column("results", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint(_TIER, name=op.f("risk_assessments_tier_known")),
        _of_member("risk_assessments"),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("risk_assessments_pkey")),
    )
    op.create_index(
        "risk_assessments_history", "risk_assessments", ["member_id", "assessed_at", "id"]
    )


def _profiles() -> None:
    op.create_table(
        "risk_profiles",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("assessment_id", sa.Uuid(), nullable=True),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("assessed_at", _INSTANT, nullable=True),
        sa.Column("checked_at", _INSTANT, nullable=True),
        sa.Column("contests", sa.Integer(), nullable=False),
        sa.Column("review_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(_TIER, name=op.f("risk_profiles_tier_known")),
        sa.CheckConstraint(
            "(assessment_id is null) = (assessed_at is null)",
            name=op.f("risk_profiles_assessed_whole"),
        ),
        _of_member("risk_profiles"),
        sa.PrimaryKeyConstraint("member_id", name=op.f("risk_profiles_pkey")),
    )
    op.create_index("risk_profiles_checked", "risk_profiles", ["checked_at"])


def _rechecks() -> None:
    op.create_table(
        "risk_rechecks",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("assessment_id", sa.Uuid(), nullable=False),
        sa.Column("proposed_at", _INSTANT, nullable=False),
        sa.Column("proposed_on", sa.Date(), nullable=False),
        sa.Column("taken_at", _INSTANT, nullable=True),
        sa.Column("settled_at", _INSTANT, nullable=True),
        sa.CheckConstraint(
            "kind in ('BLOOD_PRESSURE', 'GLUCOSE')", name=op.f("risk_rechecks_kind_known")
        ),
        _of_member("risk_rechecks"),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("risk_rechecks_pkey")),
    )
    op.create_index(
        "risk_rechecks_open",
        "risk_rechecks",
        ["member_id", "kind"],
        unique=True,
        postgresql_where=sa.text("settled_at is null"),
    )
    op.create_index(
        "risk_rechecks_untaken",
        "risk_rechecks",
        ["proposed_at"],
        postgresql_where=sa.text("taken_at is null"),
    )
