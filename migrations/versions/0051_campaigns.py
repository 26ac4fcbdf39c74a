"""Campaigns with their variants, steps, history and members."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _campaigns()
    _texts()
    _members()


def _campaigns() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("filter", postgresql.JSONB(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("timing", sa.Text(), nullable=False),
        sa.Column("local_time", sa.Time(), nullable=True),
        sa.Column("recurrence", sa.Text(), nullable=True),
        sa.Column("goal", sa.Text(), nullable=False),
        sa.Column("goal_days", sa.Integer(), nullable=False),
        sa.Column("holdout_percent", sa.Numeric(5, 2), nullable=False),
        sa.Column("starts_at", _INSTANT, nullable=False),
        sa.Column("ends_at", _INSTANT, nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("audience_size", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("submitted_at", _INSTANT, nullable=True),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("started_at", _INSTANT, nullable=True),
        sa.Column("assigned_upto", sa.Uuid(), nullable=True),
        sa.Column("assigned_at", _INSTANT, nullable=True),
        sa.Column("ended_at", _INSTANT, nullable=True),
        *_campaign_checks(),
        sa.PrimaryKeyConstraint("id", name=op.f("campaigns_pkey")),
    )
    op.create_index(
        "campaigns_running", "campaigns", ["id"], postgresql_where=sa.text("state = 'RUNNING'")
    )
    op.create_index("campaigns_newest", "campaigns", ["created_at", "id"])


def _campaign_checks() -> list[sa.CheckConstraint]:
    checks = {
        "state_known": "state in ('DRAFT', 'IN_REVIEW', 'RUNNING', 'PAUSED', 'DONE')",
        "topic_known": "topic in ('TASKS', 'REMINDERS', 'MEASUREMENTS', 'POINTS', 'PREMIUM',"
        " 'SERVICES', 'EDUCATION', 'MARKETING', 'SERVICE_NOTICE')",
        "channel_known": "channel in ('PUSH', 'IN_APP', 'SMS', 'EMAIL', 'BROADCAST',"
        " 'PHONE_CALL', 'HOME_VISIT')",
        "audience_known": "audience in ('FROZEN', 'LIVE')",
        "timing_known": "timing in ('AT_ONCE', 'LOCAL_TIME', 'RECURRING')",
        "goal_known": "goal in ('CHECK_IN', 'ENROL', 'REDEEM', 'USE')",
        "holdout_in_range": "holdout_percent between 0 and 50",
        "period_ordered": "ends_at is null or ends_at > starts_at",
        "timing_whole": "(timing = 'AT_ONCE') = (local_time is null)",
        "recurs_whole": "(timing = 'RECURRING') = (recurrence is not null)",
    }
    return [
        sa.CheckConstraint(rule, name=op.f(f"campaigns_{name}")) for name, rule in checks.items()
    ]


def _of_campaign(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["campaign_id"], ["campaigns.id"], name=op.f(f"{table}_campaign_id_fkey")
    )


def _texts() -> None:
    op.create_table(
        "campaign_variants",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("action_label", sa.Text(), nullable=True),
        sa.Column("action_url", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "weight between 1 and 10000", name=op.f("campaign_variants_weight_in_range")
        ),
        sa.CheckConstraint("step >= 0", name=op.f("campaign_variants_step_not_negative")),
        sa.CheckConstraint(
            "char_length(title) between 1 and 80", name=op.f("campaign_variants_title_length")
        ),
        sa.CheckConstraint(
            "char_length(body) between 1 and 1000", name=op.f("campaign_variants_body_length")
        ),
        _of_campaign("campaign_variants"),
        sa.PrimaryKeyConstraint(
            "campaign_id", "step", "key", "locale", name=op.f("campaign_variants_pkey")
        ),
    )
    op.create_table(
        "campaign_steps",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("wait_hours", sa.Integer(), nullable=False),
        sa.Column("exits", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.CheckConstraint("wait_hours >= 0", name=op.f("campaign_steps_wait_not_negative")),
        _of_campaign("campaign_steps"),
        sa.PrimaryKeyConstraint("campaign_id", "step", name=op.f("campaign_steps_pkey")),
    )
    op.create_table(
        "campaign_events",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("at", _INSTANT, nullable=False),
        _of_campaign("campaign_events"),
        sa.PrimaryKeyConstraint("campaign_id", "place", name=op.f("campaign_events_pkey")),
    )


def _members() -> None:
    op.create_table(
        "campaign_members",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("assigned_at", _INSTANT, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=True),
        sa.Column("next_at", _INSTANT, nullable=True),
        sa.Column("exited", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("member_id", "campaign_id", name=op.f("campaign_members_pkey")),
    )
    op.create_index(
        "campaign_members_of_campaign", "campaign_members", ["campaign_id", "member_id"]
    )
    op.create_index(
        "campaign_members_due",
        "campaign_members",
        ["campaign_id", "next_at"],
        postgresql_where=sa.text("next_at is not null"),
    )
