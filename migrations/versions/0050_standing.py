"""Dimensions of members, where they stand with its history, and saved segments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app import migration_steps as steps

revision = "0050"
down_revision = "0040"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    with steps.live():
        steps.add_columns("members", "occupation text", "income_band text", "residence text")
        steps.index("requests_by_time", "requests using brin (created_at)")
    _standing()
    _saved_segments()


def _of_member(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["member_id"], ["members.member_id"], name=op.f(f"{table}_member_id_fkey")
    )


def _standing() -> None:
    op.create_table(
        "member_standing",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("segment", sa.Text(), nullable=True),
        sa.Column("segment_rule", sa.Text(), nullable=True),
        sa.Column("segment_since", _INSTANT, nullable=True),
        sa.Column("lifecycle", sa.Text(), nullable=False),
        sa.Column("lifecycle_since", _INSTANT, nullable=False),
        sa.Column("last_used_at", _INSTANT, nullable=True),
        sa.Column("returned_at", _INSTANT, nullable=True),
        sa.Column("look_at", _INSTANT, nullable=True),
        sa.CheckConstraint(
            "segment is null or segment in"
            " ('URBAN_EMPLOYEE', 'RURAL_RESIDENT', 'NEW_CITIZEN', 'ELDERLY', 'CHILD')",
            name=op.f("member_standing_segment_known"),
        ),
        sa.CheckConstraint(
            "lifecycle in ('PROSPECT', 'NEW', 'ACTIVE', 'DORMANT', 'LAPSED')",
            name=op.f("member_standing_lifecycle_known"),
        ),
        _of_member("member_standing"),
        sa.PrimaryKeyConstraint("member_id", name=op.f("member_standing_pkey")),
    )
    op.create_index("member_standing_due", "member_standing", ["look_at"])
    op.create_table(
        "standing_events",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rules_version", sa.Text(), nullable=False),
        sa.Column("since", _INSTANT, nullable=False),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.CheckConstraint(
            "kind in ('SEGMENT', 'LIFECYCLE')", name=op.f("standing_events_kind_known")
        ),
        _of_member("standing_events"),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("standing_events_pkey")),
    )
    op.create_index("standing_events_history", "standing_events", ["member_id", "kind", "since"])
    op.create_table(
        "standing_marks",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("through", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("job", name=op.f("standing_marks_pkey")),
    )


def _saved_segments() -> None:
    op.create_table(
        "saved_segments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("definition", postgresql.JSONB(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("counted", sa.Integer(), nullable=True),
        sa.Column("refreshed_at", _INSTANT, nullable=True),
        sa.Column("archived_at", _INSTANT, nullable=True),
        sa.CheckConstraint(
            "(kind = 'LIST') = (definition = '{}')", name=op.f("saved_segments_kind_whole")
        ),
        sa.CheckConstraint("kind in ('FILTER', 'LIST')", name=op.f("saved_segments_kind_known")),
        sa.CheckConstraint(
            "char_length(name) between 1 and 80", name=op.f("saved_segments_name_length")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("saved_segments_pkey")),
    )
    op.create_table(
        "segment_memberships",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("segment_id", sa.Uuid(), nullable=False),
        sa.Column("entered_at", _INSTANT, nullable=False),
        sa.Column("left_at", _INSTANT, nullable=True),
        sa.CheckConstraint(
            "left_at is null or left_at >= entered_at",
            name=op.f("segment_memberships_period_ordered"),
        ),
        _of_member("segment_memberships"),
        sa.PrimaryKeyConstraint(
            "member_id", "segment_id", "entered_at", name=op.f("segment_memberships_pkey")
        ),
    )
    op.create_index(
        "segment_memberships_of",
        "segment_memberships",
        ["segment_id", "member_id"],
        postgresql_where=sa.text("left_at is null"),
    )
