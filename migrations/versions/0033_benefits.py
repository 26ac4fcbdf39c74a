"""Cases of the mild-condition benefit with their costs, cover uplifts, complication covers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0033"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mild_condition_cases",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("product_version_id", sa.Uuid(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("clinical_class", sa.Text(), nullable=False),
        sa.Column("diabetes_range", sa.Boolean(), nullable=False),
        sa.Column("readings", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("triggered_on", sa.Date(), nullable=False),
        sa.Column("closes_on", sa.Date(), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_reason", sa.Text(), nullable=True),
        sa.Column("share_percent", sa.Numeric(precision=5, scale=2), nullable=False),
        sa.Column("limit_amount", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(state = 'OPEN') <= (closed_at is null)",
            name=op.f("mild_condition_cases_open_until_closed"),
        ),
        sa.CheckConstraint(
            "closed_reason in ('TIME_OVER', 'READING_CORRECTED', 'POLICY_ENDED')",
            name=op.f("mild_condition_cases_closed_reason_known"),
        ),
        sa.CheckConstraint(
            "condition in ('FASTING_GLUCOSE', 'GRADE_1_HYPERTENSION')",
            name=op.f("mild_condition_cases_condition_known"),
        ),
        sa.CheckConstraint(
            "state <> 'NOT_COVERED' or used = 0",
            name=op.f("mild_condition_cases_not_covered_unpaid"),
        ),
        sa.CheckConstraint(
            "state in ('OPEN', 'CLOSED', 'NOT_COVERED')",
            name=op.f("mild_condition_cases_state_known"),
        ),
        sa.CheckConstraint(
            "(closed_at is null) = (closed_reason is null)",
            name=op.f("mild_condition_cases_closed_with_reason"),
        ),
        sa.CheckConstraint(
            "used between 0 and limit_amount", name=op.f("mild_condition_cases_used_within_limit")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("mild_condition_cases_member_id_policy_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["product_version_id"],
            ["product_versions.id"],
            name=op.f("mild_condition_cases_product_version_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("mild_condition_cases_pkey")),
    )
    op.create_index(
        "mild_condition_cases_due",
        "mild_condition_cases",
        ["closes_at"],
        unique=False,
        postgresql_where="closed_at is null",
    )
    op.create_index(
        "mild_condition_cases_open",
        "mild_condition_cases",
        ["member_id", "condition"],
        unique=True,
        postgresql_where="closed_at is null",
    )
    op.create_table(
        "mild_condition_choices",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("chosen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("chosen_by", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "choice in ('PREMIUM', 'COVER')", name=op.f("mild_condition_choices_choice_known")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "case_id"],
            ["mild_condition_cases.member_id", "mild_condition_cases.id"],
            name=op.f("mild_condition_choices_member_id_case_id_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "case_id", "place", name=op.f("mild_condition_choices_pkey")
        ),
    )
    op.create_table(
        "benefit_costs",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("drug", sa.Text(), nullable=False),
        sa.Column("bought_on", sa.Date(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Uuid(), nullable=False),
        sa.Column("reversed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reversed_by", sa.Uuid(), nullable=True),
        sa.Column("reversal_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "fault in ('DRUG_NOT_COVERED', 'OUTSIDE_PERIOD')",
            name=op.f("benefit_costs_fault_known"),
        ),
        sa.CheckConstraint(
            "(fault is null and reversed_at is null) or paid = 0",
            name=op.f("benefit_costs_paid_when_it_counts"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("benefit_costs_amount_positive")),
        sa.CheckConstraint(
            "num_nulls(reversed_at, reversed_by, reversal_reason) in (0, 3)",
            name=op.f("benefit_costs_reversed_whole"),
        ),
        sa.CheckConstraint(
            "paid between 0 and amount", name=op.f("benefit_costs_paid_within_amount")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "case_id"],
            ["mild_condition_cases.member_id", "mild_condition_cases.id"],
            name=op.f("benefit_costs_member_id_case_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("benefit_costs_pkey")),
        sa.UniqueConstraint(
            "member_id", "case_id", "place", name=op.f("benefit_costs_member_id_case_id_place_key")
        ),
    )
    op.create_table(
        "benefit_movements",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cost_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "kind in ('PAID', 'REVERSED', 'RESTATED')", name=op.f("benefit_movements_kind_known")
        ),
        sa.CheckConstraint("amount <> 0", name=op.f("benefit_movements_amount_moves")),
        sa.ForeignKeyConstraint(
            ["member_id", "cost_id"],
            ["benefit_costs.member_id", "benefit_costs.id"],
            name=op.f("benefit_movements_member_id_cost_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("benefit_movements_pkey")),
    )
    op.create_index(
        "benefit_movements_of_cost", "benefit_movements", ["member_id", "cost_id"], unique=False
    )
    op.create_table(
        "cover_uplifts",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_key", sa.Text(), nullable=False),
        sa.Column("percent", sa.Numeric(precision=5, scale=2), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "source in ('REWARD', 'MILD_CONDITION')", name=op.f("cover_uplifts_source_known")
        ),
        sa.CheckConstraint("percent > 0", name=op.f("cover_uplifts_percent_positive")),
        sa.CheckConstraint("starts_on <= ends_on", name=op.f("cover_uplifts_period_ordered")),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("cover_uplifts_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("cover_uplifts_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "policy_id",
            "source",
            "source_key",
            name=op.f("cover_uplifts_member_id_policy_id_source_source_key_key"),
        ),
    )
    op.create_table(
        "complication_decisions",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("insured_months", sa.Integer(), nullable=False),
        sa.Column("good_months", sa.Integer(), nullable=False),
        sa.Column("counted_months", sa.Integer(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(decision = 'GRANTED') = (ends_on is not null) and starts_on <= ends_on",
            name=op.f("complication_decisions_granted_with_days"),
        ),
        sa.CheckConstraint(
            "decision in ('GRANTED', 'REFUSED')", name=op.f("complication_decisions_decision_known")
        ),
        sa.CheckConstraint(
            "reason in ('GOOD_MEMBER', 'NOT_INSURED_LONG_ENOUGH', 'TOO_FEW_GOOD_MONTHS', 'COMPLICATION_KNOWN')",
            name=op.f("complication_decisions_reason_known"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("complication_decisions_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "member_id", "policy_id", "code", "starts_on", name=op.f("complication_decisions_pkey")
        ),
    )
    op.create_table(
        "benefit_checks",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("benefit_checks_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "policy_id", name=op.f("benefit_checks_pkey")),
    )
    op.create_index("benefit_checks_due", "benefit_checks", ["due_at"], unique=False)
