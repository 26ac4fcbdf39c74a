"""Policies from the application to the end: their history, underwriting, offers, rescissions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app import migration_steps as steps

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_STATES = (
    "APPLIED", "REFERRED", "OFFERED", "ACCEPTED", "IN_FORCE", "LAPSED", "CANCELLED", "ENDED",
    "RESCINDED", "DECLINED", "WITHDRAWN", "EXPIRED",
)  # fmt: skip
_ITEM_KINDS = (
    "ALERT", "DEVICE_SILENT", "REVIEW", "APPEAL", "RISK_CONTESTED", "RECHECK_DUE",
    "EXAMINATION_DUE", "FOLLOW_UP", "FULFILMENT", "UNDERWRITING", "PAYMENT", "OUTREACH",
)  # fmt: skip


def upgrade() -> None:
    with steps.live():
        steps.add_columns(
            "policies",
            "payer text not null default 'MEMBER'",
            "frequency text not null default 'ANNUAL'",
            "group_id uuid",
            "events integer not null default 0",
            "due_at timestamptz",
            "grace_ends_at timestamptz",
            "ended_on date",
            "left_on date",
        )
        steps.check("policies", "state_known", _one_of("state", _STATES))
        steps.check("policies", "payer_known", "payer in ('MEMBER', 'EMPLOYER', 'GOVERNMENT')")
        steps.check("policies", "frequency_known", "frequency in ('ANNUAL', 'MONTHLY')")
        steps.check(
            "policies", "grace_only_in_force", "grace_ends_at is null or state = 'IN_FORCE'"
        )
        steps.index(
            "policies_applied",
            "policies (member_id)",
            unique=True,
            where="state in ('APPLIED', 'REFERRED', 'OFFERED', 'ACCEPTED')",
        )
        steps.index("policies_due", "policies (due_at)", where="due_at is not null")
        steps.index(
            "policies_in_grace", "policies (grace_ends_at)", where="grace_ends_at is not null"
        )
        steps.index("policies_of_group", "policies (group_id)", where="group_id is not null")
        steps.check("worklist_items", "kind_known", _one_of("kind", _ITEM_KINDS))
    _policy_events()
    _underwritings()
    _renewal_offers()
    _rescissions()
    _points_clawbacks()
    _insured_groups()


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} in ({', '.join(repr(it) for it in values)})"


def _policy_events() -> None:
    op.create_table(
        "policy_events",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(actor = 'PROGRAMME') = (actor_id is null)", name=op.f("policy_events_actor_whole")
        ),
        sa.CheckConstraint(
            "actor in ('MEMBER', 'STAFF', 'PROGRAMME')", name=op.f("policy_events_actor_known")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("policy_events_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("policy_events_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "policy_id",
            "place",
            name=op.f("policy_events_member_id_policy_id_place_key"),
        ),
    )
    op.create_index("policy_events_at", "policy_events", ["at"], unique=False)


def _underwritings() -> None:
    op.create_table(
        "underwritings",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("conditions", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("answers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("declared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("declared_by", sa.Uuid(), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("waits_for", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("findings", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("assessment_id", sa.Uuid(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "decision in ('ACCEPT', 'DECLINE')", name=op.f("underwritings_decision_known")
        ),
        sa.CheckConstraint(
            "(decision is null) = (decided_at is null) and (decided_by is null or decision is not null)",
            name=op.f("underwritings_decided_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("underwritings_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "policy_id", name=op.f("underwritings_pkey")),
    )


def _renewal_offers() -> None:
    op.create_table(
        "renewal_offers",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("product_version_id", sa.Uuid(), nullable=False),
        sa.Column("offered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "answer in ('ACCEPTED', 'DECLINED')", name=op.f("renewal_offers_answer_known")
        ),
        sa.CheckConstraint(
            "(answer is null) = (answered_at is null)", name=op.f("renewal_offers_answered_whole")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("renewal_offers_member_id_policy_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["product_version_id"],
            ["product_versions.id"],
            name=op.f("renewal_offers_product_version_id_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "policy_id", "starts_on", name=op.f("renewal_offers_pkey")
        ),
    )
    op.create_index(
        "renewal_offers_untold",
        "renewal_offers",
        ["offered_at"],
        unique=False,
        postgresql_where="answer is null",
    )


def _rescissions() -> None:
    op.create_table(
        "rescissions",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("refunds", sa.Boolean(), nullable=False),
        sa.Column("proposed_by", sa.Uuid(), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_by", sa.Uuid(), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dropped_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "num_nulls(confirmed_by, confirmed_at) in (0, 2)",
            name=op.f("rescissions_confirmed_whole"),
        ),
        sa.CheckConstraint("proposed_by <> confirmed_by", name=op.f("rescissions_two_people")),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("rescissions_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("rescissions_pkey")),
    )
    op.create_index(
        "rescissions_open",
        "rescissions",
        ["member_id", "policy_id"],
        unique=True,
        postgresql_where="confirmed_at is null and dropped_at is null",
    )


def _points_clawbacks() -> None:
    op.create_table(
        "points_clawbacks",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("earned_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("points_clawbacks_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "policy_id", name=op.f("points_clawbacks_pkey")),
    )
    op.create_index(
        "points_clawbacks_due",
        "points_clawbacks",
        ["look_at"],
        unique=False,
        postgresql_where="look_at is not null",
    )


def _insured_groups() -> None:
    op.create_table(
        "insured_groups",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("product_code", sa.Text(), nullable=False),
        sa.Column("payer", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "payer in ('MEMBER', 'EMPLOYER', 'GOVERNMENT')", name=op.f("insured_groups_payer_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("insured_groups_pkey")),
        sa.UniqueConstraint("code", name=op.f("insured_groups_code_key")),
    )
