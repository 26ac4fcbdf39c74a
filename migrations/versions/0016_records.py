"""Questionnaires and their answers, conditions, medications and the reminders that they make."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_SOURCE_KNOWN = "source in ('DECLARED', 'CLINICAL', 'IMPORTED')"


def upgrade() -> None:
    _questionnaires()
    _conditions()
    _medications()


def _questionnaires() -> None:
    op.create_table(
        "questionnaires",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("definition", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("code", "version", name=op.f("questionnaires_pkey")),
    )
    op.create_table(
        "questionnaire_responses",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("answers", postgresql.JSONB(), nullable=False),
        sa.Column("scores", postgresql.JSONB(), nullable=False),
        sa.Column("answered_at", _INSTANT, nullable=False),
        sa.Column("answered_by", sa.Uuid(), nullable=False),
        sa.CheckConstraint("place > 0", name=op.f("questionnaire_responses_place_positive")),
        sa.ForeignKeyConstraint(
            ["code", "version"],
            ["questionnaires.code", "questionnaires.version"],
            name=op.f("questionnaire_responses_code_version_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"],
            ["members.member_id"],
            name=op.f("questionnaire_responses_member_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("questionnaire_responses_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "code",
            "place",
            name=op.f("questionnaire_responses_member_id_code_place_key"),
        ),
    )


def _conditions() -> None:
    op.create_table(
        "conditions",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("condition_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("icd10", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("onset_on", sa.Date(), nullable=True),
        sa.Column("abated_on", sa.Date(), nullable=True),
        sa.Column("retracted", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.Column("recorded_by", sa.Uuid(), nullable=False),
        sa.CheckConstraint("abated_on >= onset_on", name=op.f("conditions_abated_after_onset")),
        sa.CheckConstraint(_SOURCE_KNOWN, name=op.f("conditions_source_known")),
        sa.CheckConstraint("version > 0", name=op.f("conditions_version_positive")),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("conditions_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "condition_id", "version", name=op.f("conditions_pkey")
        ),
    )


def _medications() -> None:
    op.create_table(
        "medications",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("medication_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("atc", sa.Text(), nullable=True),
        sa.Column("dose", sa.Text(), nullable=False),
        sa.Column("times", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("remind", sa.Boolean(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("recorded_at", _INSTANT, nullable=False),
        sa.Column("recorded_by", sa.Uuid(), nullable=False),
        sa.CheckConstraint("ends_on >= starts_on - 1", name=op.f("medications_period_ordered")),
        sa.CheckConstraint(_SOURCE_KNOWN, name=op.f("medications_source_known")),
        sa.CheckConstraint("version > 0", name=op.f("medications_version_positive")),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("medications_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "medication_id", "version", name=op.f("medications_pkey")
        ),
    )
    op.create_table(
        "medication_reminders",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("medication_id", sa.Uuid(), nullable=False),
        sa.Column("local_time", sa.Time(), nullable=False),
        sa.Column("reminder_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id", "reminder_id"],
            ["reminders.member_id", "reminders.id"],
            name=op.f("medication_reminders_member_id_reminder_id_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "medication_id", "local_time", name=op.f("medication_reminders_pkey")
        ),
    )
