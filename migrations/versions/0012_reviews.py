"""Photos, places and devices of check-ins; reviews and appeals; tasks offered in place of others."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app import migration_steps as steps

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        _assignments()
        _check_ins()
        # What was paid so far was paid once.
        steps.add_columns("tasks", "revision integer not null default 0")
    _tables()


def _assignments() -> None:
    steps.add_columns(
        "task_assignments",
        "second_person_above integer",
        "replaces uuid",
        "offered_by uuid",
        "offer_reason text",
    )
    for name, rule in (
        ("period_ordered", "ends_on is null or ends_on >= starts_on - 1"),
        ("second_person_above_not_negative", "second_person_above >= 0"),
    ):
        steps.check("task_assignments", name, rule)


def _check_ins() -> None:
    steps.add_columns("checkins", "decision_note text")
    steps.unique(
        "checkins",
        "checkins_member_id_assignment_id_starts_on_local_date_slot_key",
        "member_id, assignment_id, starts_on, local_date, slot",
    )
    steps.drop_constraint("checkins", "checkins_member_id_assignment_id_local_date_slot_key")


def _tables() -> None:
    op.create_table(
        "photos",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("seen_before", sa.Boolean(), nullable=False),
        sa.Column("uploaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("check_in_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "media_type in ('image/jpeg', 'image/png', 'image/webp')",
            name=op.f("photos_media_type_known"),
        ),
        sa.CheckConstraint(
            "width > 0 and height > 0 and size_bytes > 0", name=op.f("photos_sizes_positive")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "check_in_id"],
            ["checkins.member_id", "checkins.id"],
            name=op.f("photos_member_id_check_in_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.member_id"], name=op.f("photos_member_id_fkey")
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("photos_pkey")),
    )
    op.create_index(
        "photos_unused",
        "photos",
        ["uploaded_at"],
        unique=False,
        postgresql_where="check_in_id is null",
    )
    op.create_table(
        "photo_hashes",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("photo_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("photo_hashes_pkey")),
    )
    op.create_table(
        "device_owners",
        sa.Column("installation_id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("installation_id", name=op.f("device_owners_pkey")),
    )
    op.create_table(
        "check_in_evidence",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("check_in_id", sa.Uuid(), nullable=False),
        sa.Column("photo_id", sa.Uuid(), nullable=True),
        sa.Column("latitude", sa.Numeric(precision=5, scale=2), nullable=True),
        sa.Column("longitude", sa.Numeric(precision=5, scale=2), nullable=True),
        sa.Column("place_code", sa.Text(), nullable=True),
        sa.Column("installation_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(latitude is null) = (longitude is null)", name=op.f("check_in_evidence_place_whole")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "check_in_id"],
            ["checkins.member_id", "checkins.id"],
            name=op.f("check_in_evidence_member_id_check_in_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "photo_id"],
            ["photos.member_id", "photos.id"],
            name=op.f("check_in_evidence_member_id_photo_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "check_in_id", name=op.f("check_in_evidence_pkey")),
    )
    op.create_table(
        "reviews",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cause_key", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("check_in_id", sa.Uuid(), nullable=True),
        sa.Column("findings", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("second_person_above", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("second_by", sa.Uuid(), nullable=True),
        sa.Column("second_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "(second_by is null) = (second_at is null) and second_by <> decided_by and (second_by is null or state in ('ACCEPTED', 'REJECTED'))",
            name=op.f("reviews_second_is_another"),
        ),
        sa.CheckConstraint(
            "(state = 'OPEN') = (decided_by is null) and num_nulls(decision, decided_by, decided_at, reason) in (0, 4)",
            name=op.f("reviews_decided_whole"),
        ),
        sa.CheckConstraint("decision in ('ACCEPT', 'REJECT')", name=op.f("reviews_decision_known")),
        sa.CheckConstraint("kind in ('CHECK_IN', 'APPEAL')", name=op.f("reviews_kind_known")),
        sa.CheckConstraint(
            "state in ('OPEN', 'AWAITING_SECOND_PERSON', 'ACCEPTED', 'REJECTED')",
            name=op.f("reviews_state_known"),
        ),
        sa.CheckConstraint(
            "points >= 0 and second_person_above >= 0", name=op.f("reviews_points_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "item_id"],
            ["worklist_items.member_id", "worklist_items.id"],
            name=op.f("reviews_member_id_item_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("reviews_pkey")),
        sa.UniqueConstraint("member_id", "cause_key", name=op.f("reviews_member_id_cause_key_key")),
    )
    op.create_table(
        "review_events",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("review_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "decision in ('ACCEPT', 'REJECT')", name=op.f("review_events_decision_known")
        ),
        sa.CheckConstraint(
            "state in ('OPEN', 'AWAITING_SECOND_PERSON', 'ACCEPTED', 'REJECTED')",
            name=op.f("review_events_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "review_id"],
            ["reviews.member_id", "reviews.id"],
            name=op.f("review_events_member_id_review_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("review_events_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "review_id",
            "place",
            name=op.f("review_events_member_id_review_id_place_key"),
        ),
    )
