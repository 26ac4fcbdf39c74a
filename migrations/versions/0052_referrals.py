"""Referrals, what they give, and claim stories."""

import sqlalchemy as sa
from alembic import op

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _directories()
    _referrals()
    _stories()


def _of_member(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["member_id"], ["members.member_id"], name=op.f(f"{table}_member_id_fkey")
    )


def _directories() -> None:
    op.create_table(
        "referral_codes",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("code", name=op.f("referral_codes_pkey")),
        sa.UniqueConstraint("member_id", name=op.f("referral_codes_member_id_key")),
    )
    op.create_table(
        "referral_devices",
        sa.Column("installation_id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("claimed_at", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("installation_id", name=op.f("referral_devices_pkey")),
    )


def _referrals() -> None:
    op.create_table(
        "referrals",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("referrer_id", sa.Uuid(), nullable=False),
        sa.Column("claimed_at", _INSTANT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("enrolled_on", sa.Date(), nullable=True),
        sa.Column("settled_at", _INSTANT, nullable=True),
        sa.CheckConstraint("member_id <> referrer_id", name=op.f("referrals_not_of_oneself")),
        sa.CheckConstraint(
            "state in ('PENDING', 'QUALIFIED', 'BLOCKED')", name=op.f("referrals_state_known")
        ),
        _of_member("referrals"),
        sa.PrimaryKeyConstraint("member_id", name=op.f("referrals_pkey")),
    )
    op.create_index("referrals_of_referrer", "referrals", ["referrer_id", "state"])
    op.create_index(
        "referrals_pending",
        "referrals",
        ["claimed_at"],
        postgresql_where=sa.text("state = 'PENDING'"),
    )
    op.create_table(
        "referral_benefits",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("referrals", sa.Integer(), nullable=False),
        sa.Column("granted_at", _INSTANT, nullable=False),
        sa.CheckConstraint(
            "kind in ('VIP_HEALTH_MANAGER')", name=op.f("referral_benefits_kind_known")
        ),
        _of_member("referral_benefits"),
        sa.PrimaryKeyConstraint("member_id", "kind", name=op.f("referral_benefits_pkey")),
    )


def _stories() -> None:
    op.create_table(
        "claim_stories",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("is_named", sa.Boolean(), nullable=False),
        sa.Column("consent_version", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("submitted_at", _INSTANT, nullable=False),
        sa.Column("moderated_by", sa.Uuid(), nullable=True),
        sa.Column("moderated_at", _INSTANT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("published_at", _INSTANT, nullable=True),
        sa.Column("withdrawn_at", _INSTANT, nullable=True),
        sa.CheckConstraint(
            "state in ('SUBMITTED', 'PUBLISHED', 'REJECTED', 'WITHDRAWN')",
            name=op.f("claim_stories_state_known"),
        ),
        sa.CheckConstraint(
            "char_length(title) between 1 and 80", name=op.f("claim_stories_title_length")
        ),
        sa.CheckConstraint(
            "char_length(body) between 1 and 2000", name=op.f("claim_stories_body_length")
        ),
        sa.CheckConstraint(
            "(state in ('PUBLISHED', 'REJECTED')) <= (moderated_by is not null)",
            name=op.f("claim_stories_moderated_by_somebody"),
        ),
        _of_member("claim_stories"),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("claim_stories_pkey")),
    )
    op.create_index(
        "claim_stories_published",
        "claim_stories",
        ["published_at", "id"],
        postgresql_where=sa.text("state = 'PUBLISHED'"),
    )
    op.create_index(
        "claim_stories_submitted",
        "claim_stories",
        ["submitted_at"],
        postgresql_where=sa.text("state = 'SUBMITTED'"),
    )
