"""Rewards, redemptions, voucher codes, benefits; items that the programme settles itself."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app import migration_steps as steps

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.check("worklist_items", "closed_reason_known", "closed_reason in ('DONE', 'SETTLED')")
        steps.check(
            "worklist_events",
            "kind_known",
            "kind in ('OPENED', 'NOTED', 'SNOOZED', 'DONE', 'HANDED_OVER', 'SETTLED')",
        )
    op.create_table(
        "rewards",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=True),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.CheckConstraint("stock >= 0", name=op.f("rewards_stock_not_negative")),
        sa.CheckConstraint("version > 0 and events > 0", name=op.f("rewards_counters_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("rewards_pkey")),
        sa.UniqueConstraint("code", name=op.f("rewards_code_key")),
    )
    op.create_table(
        "reward_events",
        sa.Column("reward_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("stock_change", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind in ('CHANGED', 'CREATED', 'IMPORTED', 'STOCKED')",
            name=op.f("reward_events_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["reward_id"], ["rewards.id"], name=op.f("reward_events_reward_id_fkey")
        ),
        sa.PrimaryKeyConstraint("reward_id", "place", name=op.f("reward_events_pkey")),
    )
    op.create_table(
        "reward_versions",
        sa.Column("reward_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("price", sa.Integer(), nullable=False),
        sa.Column("visible_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("visible_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("definition", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint("price > 0", name=op.f("reward_versions_price_positive")),
        sa.CheckConstraint("version > 0", name=op.f("reward_versions_version_positive")),
        sa.ForeignKeyConstraint(
            ["reward_id"], ["rewards.id"], name=op.f("reward_versions_reward_id_fkey")
        ),
        sa.PrimaryKeyConstraint("reward_id", "version", name=op.f("reward_versions_pkey")),
    )
    op.create_table(
        "voucher_codes",
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reward_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=True),
        sa.Column("redemption_id", sa.Uuid(), nullable=True),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "num_nulls(member_id, redemption_id, given_at) in (0, 3)",
            name=op.f("voucher_codes_given_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["reward_id"], ["rewards.id"], name=op.f("voucher_codes_reward_id_fkey")
        ),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("voucher_codes_pkey")),
        sa.UniqueConstraint("id", name=op.f("voucher_codes_id_key")),
    )
    op.create_index(
        "voucher_codes_left",
        "voucher_codes",
        ["reward_id", "id"],
        unique=False,
        postgresql_where="redemption_id is null",
    )
    op.create_index(
        "voucher_codes_of_member",
        "voucher_codes",
        ["member_id"],
        unique=False,
        postgresql_where="member_id is not null",
    )
    op.create_index(
        "voucher_codes_of_redemption",
        "voucher_codes",
        ["redemption_id"],
        unique=True,
        postgresql_where="redemption_id is not null",
    )
    op.create_table(
        "redemptions",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reward_id", sa.Uuid(), nullable=False),
        sa.Column("reward_version", sa.Integer(), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("code_id", sa.Uuid(), nullable=True),
        sa.Column("code_key_id", sa.Text(), nullable=True),
        sa.Column("code_sealed", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "(state = 'RESERVED') = (ended_at is null)", name=op.f("redemptions_ended_once")
        ),
        sa.CheckConstraint(
            "num_nulls(code_id, code_key_id, code_sealed) in (0, 3)"
            " and (code_id is null or state = 'FULFILLED')",
            name=op.f("redemptions_code_when_fulfilled"),
        ),
        sa.CheckConstraint(
            "state in ('CANCELLED', 'EXPIRED', 'FULFILLED', 'RESERVED')",
            name=op.f("redemptions_state_known"),
        ),
        sa.CheckConstraint("points > 0", name=op.f("redemptions_points_positive")),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("redemptions_member_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["reward_id", "reward_version"],
            ["reward_versions.reward_id", "reward_versions.version"],
            name=op.f("redemptions_reward_id_reward_version_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("redemptions_pkey")),
    )
    op.create_index(
        "redemptions_of_reward", "redemptions", ["member_id", "reward_id"], unique=False
    )
    op.create_index(
        "redemptions_to_expire",
        "redemptions",
        ["expires_at"],
        unique=False,
        postgresql_where="state = 'RESERVED'",
    )
    op.create_table(
        "pending_benefits",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("percent", sa.Numeric(precision=5, scale=2), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "case kind when 'COVER_UPLIFT' then percent > 0 and amount is null and currency is null"
            " else percent is null and amount > 0 and currency ~ '^[A-Z]{3}$' end",
            name=op.f("pending_benefits_worth_of_kind"),
        ),
        sa.CheckConstraint(
            "kind in ('COVER_UPLIFT', 'PREMIUM_CREDIT')", name=op.f("pending_benefits_kind_known")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "id"],
            ["redemptions.member_id", "redemptions.id"],
            name=op.f("pending_benefits_member_id_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("pending_benefits_pkey")),
    )
    op.create_index(
        "pending_benefits_open",
        "pending_benefits",
        ["member_id"],
        unique=False,
        postgresql_where="applied_at is null",
    )
