"""One outbox for every sender and channel: sources, planned messages, caps, rhythms, wordings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app import migration_steps as steps

revision = "0040"
down_revision = "0029"
branch_labels = None
depends_on = None


def _instant(name: str, *, null: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)


def _text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text(), nullable=False)


def _id(name: str) -> sa.Column:
    return sa.Column(name, sa.Uuid(), nullable=False)


def upgrade() -> None:
    with steps.live():
        steps.add_columns("members", "email text")
        steps.index("members_of_zone", "members (time_zone)")
        steps.add_columns("push_tokens", "stale_since timestamptz")
        steps.add_columns(
            "messages",
            "priority text not null default 'NORMAL'",
            "source_id uuid",
            "arm text",
            "expires_at timestamptz",
            "is_public boolean not null default false",
        )
        steps.index(
            "messages_suppressed",
            "messages (planned_at, id)",
            where="suppressed_reason is not null",
        )
        steps.index(
            "messages_of_source", "messages (source_id, member_id)", where="source_id is not null"
        )
        steps.add_columns("push_deliveries", "channel text not null default 'PUSH'")
        steps.check("push_deliveries", "channel_known", "channel in ('PUSH', 'SMS', 'EMAIL')")
        steps.index(
            "push_deliveries_attempting",
            "push_deliveries (member_id)",
            where="state = 'ATTEMPTING'",
        )
    op.create_table(
        "message_sources",
        _id("id"),
        _text("kind"),
        _text("name"),
        _text("state"),
        _instant("changed_at"),
        sa.CheckConstraint(
            "state in ('ACTIVE', 'HALTED', 'CANCELLED')", name=op.f("message_sources_state_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("message_sources_pkey")),
    )
    op.create_table(
        "planned_messages",
        _id("member_id"),
        _text("cause_key"),
        _id("source_id"),
        _text("arm"),
        sa.Column("propensity", sa.Numeric(12, 3), nullable=False),
        _text("state"),
        sa.Column("local_date", sa.Date(), nullable=False),
        _instant("send_at"),
        _instant("expires_at"),
        _instant("planned_at"),
        sa.CheckConstraint(
            "state in ('PLANNED', 'HOLDOUT', 'RELEASED', 'CANCELLED')",
            name=op.f("planned_messages_state_known"),
        ),
        sa.CheckConstraint(
            "propensity > 0 and propensity <= 1",
            name=op.f("planned_messages_propensity_in_range"),
        ),
        sa.PrimaryKeyConstraint("member_id", "cause_key", name=op.f("planned_messages_pkey")),
    )
    op.create_index(
        "planned_messages_due",
        "planned_messages",
        ["source_id", "send_at"],
        postgresql_where="state = 'PLANNED'",
    )
    op.create_index("planned_messages_of_source", "planned_messages", ["source_id", "planned_at"])
    op.create_table(
        "message_counts",
        _id("member_id"),
        sa.Column("week_from", sa.Date(), nullable=False),
        sa.Column("days", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("member_id", "week_from", name=op.f("message_counts_pkey")),
    )
    op.create_table(
        "member_rhythms",
        _id("member_id"),
        sa.Column("quarter", sa.Integer(), nullable=False),
        sa.Column("signs", sa.Integer(), nullable=False),
        _instant("computed_at"),
        sa.CheckConstraint("quarter between 0 and 95", name=op.f("member_rhythms_quarter_of_day")),
        sa.PrimaryKeyConstraint("member_id", name=op.f("member_rhythms_pkey")),
    )
    op.create_table(
        "message_templates",
        _text("code"),
        _text("arm"),
        _text("segment"),
        _text("locale"),
        sa.Column("version", sa.Integer(), nullable=False),
        _text("title"),
        _text("body"),
        _id("published_by"),
        _instant("published_at"),
        sa.CheckConstraint(
            "char_length(title) between 1 and 80", name=op.f("message_templates_title_length")
        ),
        sa.CheckConstraint(
            "char_length(body) between 1 and 1000", name=op.f("message_templates_body_length")
        ),
        sa.PrimaryKeyConstraint(
            "code", "arm", "segment", "locale", "version", name=op.f("message_templates_pkey")
        ),
    )
    op.create_table(
        "nudge_runs",
        _id("source_id"),
        _instant("planned_for"),
        sa.Column("local_date", sa.Date(), nullable=False),
        _id("after"),
        sa.Column("planned", sa.Integer(), nullable=False),
        _instant("finished_at", null=True),
        sa.PrimaryKeyConstraint(
            "source_id", "planned_for", "local_date", name=op.f("nudge_runs_pkey")
        ),
    )
    op.create_index(
        "nudge_runs_open",
        "nudge_runs",
        ["planned_for"],
        postgresql_where="finished_at is null",
    )
