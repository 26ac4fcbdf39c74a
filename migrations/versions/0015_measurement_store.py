"""Versions of readings, aggregates of streams, running totals of days, and what requests did."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app import migration_steps as steps

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
    with steps.live():
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
    # Only the programme has recorded any so far, and does until its release is replaced:
    # examinations.
    steps.add_columns(
        "measurements",
        "recorded_by uuid",
        "channel text not null default 'EXAMINATION'",
        "app text",
        "confirmed boolean",
        "supersedes uuid",
    )
    steps.check("measurements", "channel_known", _CHANNEL)
    _sent_value()
    steps.index(
        "measurements_in_force",
        "measurements (member_id, code, measured_at, source_id)",
        unique=True,
        where="superseded_at is null",
    )
    steps.index(
        "measurements_superseded",
        "measurements (member_id, code, measured_at)",
        where="superseded_at is not null",
    )
    steps.drop_index("measurements_newest")
    for name in ("member_id_fkey", "member_id_code_measured_at_source_id_key"):
        steps.drop_constraint("measurements", f"measurements_{name}")


# What came in since is found by the index, so the lock is short.
_SWAP = """
do $$ begin
  lock table measurements in access exclusive mode;
  update measurements set sent_text = trim_scale(sent_value)::text where sent_text is null;
  alter table measurements drop column sent_value;
  alter table measurements rename column sent_text to sent_value;
end $$
"""


def _sent_value() -> None:
    """A number becomes a text in another column that takes its name: a change of the type
    would rewrite the table under a lock. The previous release's numbers fit into a text."""
    known = sa.text(
        "select data_type from information_schema.columns where table_schema = current_schema"
        " and table_name = 'measurements' and column_name = 'sent_value'"
    )
    if op.get_bind().execute(known).scalar_one() != "text":
        steps.add_columns("measurements", "sent_text text")
        steps.backfill(
            "update measurements set sent_text = trim_scale(sent_value)::text"
            " where member_id > :after and member_id <= :upto and sent_text is null"
        )
        steps.index("measurements_unsent", "measurements (id)", where="sent_text is null")
        steps.run(_SWAP)
    steps.drop_index("measurements_unsent")
    steps.not_null("measurements", "sent_value")


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
