"""Members, employees, who acts for whom, consents, pauses, requests, audited reads."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_reads",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("audit_reads_pkey")),
    )
    op.create_index("audit_reads_of_staff", "audit_reads", ["staff_id", "read_at"], unique=False)
    op.create_table(
        "member_sign_ins",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("member_sign_ins_pkey")),
    )
    op.create_index("member_sign_ins_of_member", "member_sign_ins", ["member_id"], unique=False)
    op.create_table(
        "members",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=False),
        sa.Column("sex", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("sex in ('FEMALE', 'MALE', 'UNKNOWN')", name=op.f("members_sex_known")),
        sa.PrimaryKeyConstraint("member_id", name=op.f("members_pkey")),
    )
    op.create_table(
        "requests",
        sa.Column("owner", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("input_hash", sa.LargeBinary(), nullable=False),
        sa.Column("result", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", "request_id", name=op.f("requests_pkey")),
    )
    op.create_table(
        "staff",
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("staff_id", name=op.f("staff_pkey")),
    )
    op.create_table(
        "care_assignments",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("care_assignments_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "staff_id", "role", name=op.f("care_assignments_pkey")
        ),
    )
    op.create_index(
        "care_assignments_of_staff",
        "care_assignments",
        ["staff_id", "member_id"],
        unique=False,
        postgresql_where="ended_at is null",
    )
    op.create_table(
        "consents",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("text_version", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "state in ('GRANTED', 'REFUSED', 'WITHDRAWN')", name=op.f("consents_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("consents_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "purpose", "version", name=op.f("consents_pkey")),
    )
    op.create_table(
        "guardianships",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("guardian_id", sa.Uuid(), nullable=False),
        sa.Column("consented_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("member_id <> guardian_id", name=op.f("guardianships_not_of_oneself")),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("guardianships_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "guardian_id", name=op.f("guardianships_pkey")),
    )
    op.create_table(
        "pauses",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "reason in ('ILLNESS', 'PREGNANCY', 'TRAVEL', 'OTHER')",
            name=op.f("pauses_reason_known"),
        ),
        sa.CheckConstraint(
            "ends_on is null or ends_on >= starts_on - 1", name=op.f("pauses_period_ordered")
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("pauses_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("pauses_pkey")),
    )
    op.create_table(
        "staff_sign_ins",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.staff_id"], name=op.f("staff_sign_ins_staff_id_fkey")
        ),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("staff_sign_ins_pkey")),
    )
