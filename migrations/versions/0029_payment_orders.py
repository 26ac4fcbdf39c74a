"""What a payment provider is told of invoices and refunds, and what it tells of refunds."""

import sqlalchemy as sa
from alembic import op

from app import migration_steps as steps

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_OUTCOMES = "outcome in ('PAID', 'FAILED', 'UNMATCHED', 'REFUNDED', 'REFUND_FAILED')"


def upgrade() -> None:
    with steps.live():
        steps.add_columns("invoices", "asks_at timestamptz")
        steps.add_columns("refunds", "asks_at timestamptz", "failures integer not null default 0")
        steps.add_columns("payments", "refund_id uuid")
        steps.check("payments", "outcome_known", _OUTCOMES)
        steps.check(
            "payments",
            "failure_whole",
            "(outcome in ('FAILED', 'REFUND_FAILED')) = (failure is not null)",
        )
        steps.check(
            "payments",
            "refund_whole",
            "(outcome in ('REFUNDED', 'REFUND_FAILED')) = (refund_id is not null)",
        )
        steps.index("invoices_to_ask", "invoices (asks_at)", where="asks_at is not null")
        steps.index("refunds_to_ask", "refunds (asks_at)", where="asks_at is not null")
        # What is open has not been told to anybody yet.
        steps.backfill(
            "update invoices set asks_at = issues_at where state = 'ISSUED' and asks_at is null"
            " and member_id > :after and member_id <= :upto",
            "update refunds set asks_at = owed_at where paid_at is null and asks_at is null"
            " and member_id > :after and member_id <= :upto",
        )
    op.create_table(
        "payment_orders",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("payer", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind in ('COLLECT', 'STOP', 'REFUND')", name=op.f("payment_orders_kind_known")
        ),
        sa.CheckConstraint(
            "state in ('WAITING', 'TOLD', 'REFUSED', 'DROPPED')",
            name=op.f("payment_orders_state_known"),
        ),
        sa.CheckConstraint(
            "(kind = 'REFUND') = (subject_id <> invoice_id)",
            name=op.f("payment_orders_subject_whole"),
        ),
        sa.CheckConstraint("number > 0", name=op.f("payment_orders_number_positive")),
        sa.CheckConstraint(
            "(state = 'WAITING') = (next_at is not null)"
            " and (state = 'WAITING') = (ended_at is null)",
            name=op.f("payment_orders_waiting_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["member_id", "invoice_id"],
            ["invoices.member_id", "invoices.id"],
            name=op.f("payment_orders_member_id_invoice_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("member_id", "id", name=op.f("payment_orders_pkey")),
        sa.UniqueConstraint(
            "member_id",
            "subject_id",
            "number",
            name=op.f("payment_orders_member_id_subject_id_number_key"),
        ),
    )
    op.create_index(
        "payment_orders_due",
        "payment_orders",
        ["next_at"],
        unique=False,
        postgresql_where="state = 'WAITING'",
    )
