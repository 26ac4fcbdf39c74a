"""Versions of readings, aggregates of streams, running totals of days, and what requests did."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_METHOD = "method in ('SENSED', 'SELF_REPORTED', 'CLINICAL')"
_TRUST = "trust in ('HIGH', 'MEDIUM', 'LOW', 'UNVERIFIED')"
_CHANNEL = "channel in ('APP', 'GATEWAY', 'EXPORT', 'STAFF', 'CLINIC', 'EXAMINATION')"
_QUANTITY = sa.Numeric(precision=12, scale=3)
_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _measurements()
    _streams()
    _daily_totals()
    op.create_table(
        "recordings",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.Column("outcome", postgresql.JSONB(), nullable=False),
        _of_member("recordings"),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("recordings_pkey")),
    )
    op.create_table(
        "clinic_keys",
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", _INSTANT, nullable=False),
        sa.Column("revoked_at", _INSTANT, nullable=True),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.staff_id"], name=op.f("clinic_keys_staff_id_fkey")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("clinic_keys_pkey")),
    )


def _of_member(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["member_id"], ["members.member_id"], name=op.f(f"{table}_member_id_fkey")
    )


def _measurements() -> None:
    op.drop_index("measurements_newest", "measurements")
    op.drop_constraint("measurements_member_id_fkey", "measurements")
    op.drop_constraint("measurements_member_id_code_measured_at_source_id_key", "measurements")
    op.alter_column(
        "measurements",
        "sent_value",
        type_=sa.Text(),
        postgresql_using="trim_scale(sent_value)::text",
    )
    for added in (
        sa.Column("recorded_by", sa.Uuid(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("app", sa.Text(), nullable=True),
        sa.Column("confirmed", sa.Boolean(), nullable=True),
        sa.Column("supersedes", sa.Uuid(), nullable=True),
    ):
        op.add_column("measurements", added)
    # Only the programme has recorded any so far: examinations.
    op.execute("update measurements set channel = 'EXAMINATION'")
    op.alter_column("measurements", "channel", nullable=False)
    op.create_check_constraint(op.f("measurements_channel_known"), "measurements", _CHANNEL)
    op.create_index(
        "measurements_in_force",
        "measurements",
        ["member_id", "code", "measured_at", "source_id"],
        unique=True,
        postgresql_where=sa.text("superseded_at is null"),
    )
    op.create_index(
        "measurements_superseded",
        "measurements",
        ["member_id", "code", "measured_at"],
        unique=False,
        postgresql_where=sa.text("superseded_at is not null"),
    )


def _streams() -> None:
    op.create_table(
        "measurement_streams",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("starts_at", _INSTANT, nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("minimum", _QUANTITY, nullable=False),
        sa.Column("maximum", _QUANTITY, nullable=False),
        sa.Column("total", _QUANTITY, nullable=False),
        sa.Column("seconds", sa.LargeBinary(), nullable=False),
        sa.Column("trust", sa.Text(), nullable=False),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.Column("changed_at", _INSTANT, nullable=False),
        sa.CheckConstraint("n > 0", name=op.f("measurement_streams_n_positive")),
        sa.CheckConstraint("minimum <= maximum", name=op.f("measurement_streams_range_ordered")),
        sa.CheckConstraint(
            "octet_length(seconds) = 113", name=op.f("measurement_streams_seconds_whole")
        ),
        sa.CheckConstraint(_TRUST, name=op.f("measurement_streams_trust_known")),
        _of_member("measurement_streams"),
        sa.PrimaryKeyConstraint(
            "member_id", "code", "starts_at", "source_id", name=op.f("measurement_streams_pkey")
        ),
    )


def _daily_totals() -> None:
    op.create_table(
        "daily_totals",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("value", _QUANTITY, nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("sent_value", sa.Text(), nullable=False),
        sa.Column("sent_unit", sa.Text(), nullable=False),
        sa.Column("intervals", postgresql.JSONB(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("trust", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=True),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.Column("recorded_by", sa.Uuid(), nullable=True),
        sa.Column("supersedes", sa.Uuid(), nullable=True),
        sa.Column("superseded_at", _INSTANT, nullable=True),
        sa.CheckConstraint("value >= 0", name=op.f("daily_totals_value_not_negative")),
        sa.CheckConstraint(_METHOD, name=op.f("daily_totals_method_known")),
        sa.CheckConstraint(_TRUST, name=op.f("daily_totals_trust_known")),
        sa.CheckConstraint(_CHANNEL, name=op.f("daily_totals_channel_known")),
        _of_member("daily_totals"),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("daily_totals_pkey")),
    )
    op.create_index(
        "daily_totals_in_force",
        "daily_totals",
        ["member_id", "code", "local_date", "source_id"],
        unique=True,
        postgresql_where=sa.text("superseded_at is null"),
    )
    op.create_index(
        "daily_totals_superseded",
        "daily_totals",
        ["member_id", "code", "local_date"],
        unique=False,
        postgresql_where=sa.text("superseded_at is not null"),
    )
    op.create_table(
        "daily_total_days",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("value", _QUANTITY, nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("trusted_value", _QUANTITY, nullable=True),
        sa.Column("changed_at", _INSTANT, nullable=False),
        _of_member("daily_total_days"),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("daily_total_days_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "code",
            "local_date",
            name=op.f("daily_total_days_member_id_code_local_date_key"),
        ),
    )
