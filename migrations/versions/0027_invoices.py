"""What is to be paid for a term, what was paid, and what is given back."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _invoices()
    _payments()
    _refunds()


def _invoices() -> None:
    op.create_table(
        "invoices",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("term_starts_on", sa.Date(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("covers_from", sa.Date(), nullable=False),
        sa.Column("covers_to", sa.Date(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("payer", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("issues_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dun_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminders", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'PAID') = (paid_at is not null)", name=op.f("invoices_paid_whole")
        ),
        sa.CheckConstraint(
            "state <> 'ISSUED' or due_at is not null", name=op.f("invoices_issued_whole")
        ),
        sa.CheckConstraint(
            "state in ('SCHEDULED', 'ISSUED', 'PAID', 'SUSPENDED', 'VOID')",
            name=op.f("invoices_state_known"),
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("invoices_amount_not_negative")),
        sa.CheckConstraint("covers_from <= covers_to", name=op.f("invoices_period_ordered")),
        sa.CheckConstraint("part between 1 and parts", name=op.f("invoices_part_of_parts")),
        sa.ForeignKeyConstraint(
            ["member_id", "policy_id"],
            ["policies.member_id", "policies.id"],
            name=op.f("invoices_member_id_policy_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("invoices_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "policy_id",
            "term_starts_on",
            "part",
            name=op.f("invoices_member_id_policy_id_term_starts_on_part_key"),
        ),
    )
    op.create_index(
        "invoices_of_member", "invoices", ["member_id", "issues_at", "id"], unique=False
    )
    op.create_index(
        "invoices_to_dun", "invoices", ["dun_at"], unique=False, postgresql_where="state = 'ISSUED'"
    )
    op.create_index(
        "invoices_to_issue",
        "invoices",
        ["issues_at"],
        unique=False,
        postgresql_where="state = 'SCHEDULED'",
    )


def _payments() -> None:
    op.create_table(
        "payments",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("recorded_by", sa.Uuid(), nullable=True),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(outcome = 'FAILED') = (failure is not null)", name=op.f("payments_failure_whole")
        ),
        sa.CheckConstraint(
            "outcome in ('PAID', 'FAILED', 'UNMATCHED')", name=op.f("payments_outcome_known")
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "invoice_id"],
            ["invoices.member_id", "invoices.id"],
            name=op.f("payments_member_id_invoice_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("payments_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "provider",
            "reference",
            name=op.f("payments_member_id_provider_reference_key"),
        ),
    )
    op.create_index("payments_of_invoice", "payments", ["member_id", "invoice_id"], unique=False)


def _refunds() -> None:
    op.create_table(
        "refunds",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("owed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("recorded_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(paid_at is null) = (reference is null)", name=op.f("refunds_paid_whole")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("refunds_amount_positive")),
        sa.ForeignKeyConstraint(
            ["member_id", "invoice_id"],
            ["invoices.member_id", "invoices.id"],
            name=op.f("refunds_member_id_invoice_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("refunds_pkey")),
    )
    op.create_index("refunds_of_invoice", "refunds", ["member_id", "invoice_id"], unique=False)
    op.create_index(
        "refunds_open", "refunds", ["owed_at"], unique=False, postgresql_where="paid_at is null"
    )
