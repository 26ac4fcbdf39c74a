"""Loss ratios by year, as two employees recorded them, and what the reserve was spent on."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

_YEARS = "year between 2000 and 2200"
_FIGURES = "premium > 0 and claims >= 0 and operating_cost >= 0"
_CEDED = "ceded_tier_claims between 0 and claims"


def _figures() -> list[sa.Column[int]]:
    names = ("premium", "claims", "ceded_tier_claims", "operating_cost")
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "portfolio_proposals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("product_code", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        *_figures(),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.Uuid(), nullable=False),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed", sa.Boolean(), nullable=True),
        sa.CheckConstraint(_YEARS, name=op.f("portfolio_proposals_year_possible")),
        sa.CheckConstraint(_FIGURES, name=op.f("portfolio_proposals_figures_possible")),
        sa.CheckConstraint(_CEDED, name=op.f("portfolio_proposals_ceded_within_claims")),
        sa.CheckConstraint(
            "num_nulls(decided_by, decided_at, confirmed) in (0, 3)",
            name=op.f("portfolio_proposals_decided_whole"),
        ),
        sa.CheckConstraint(
            "not (confirmed and decided_by = proposed_by)",
            name=op.f("portfolio_proposals_two_people"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("portfolio_proposals_pkey")),
    )
    op.create_index(
        "portfolio_proposals_open",
        "portfolio_proposals",
        ["product_code", "year"],
        unique=True,
        postgresql_where="decided_at is null",
    )
    op.create_table(
        "loss_ratios",
        sa.Column("product_code", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("proposal_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        *_figures(),
        sa.Column("percent", sa.Numeric(precision=12, scale=3), nullable=False),
        sa.Column("proposed_by", sa.Uuid(), nullable=False),
        sa.Column("confirmed_by", sa.Uuid(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint(_YEARS, name=op.f("loss_ratios_year_possible")),
        sa.CheckConstraint(_FIGURES, name=op.f("loss_ratios_figures_possible")),
        sa.CheckConstraint(_CEDED, name=op.f("loss_ratios_ceded_within_claims")),
        sa.CheckConstraint("revision > 0", name=op.f("loss_ratios_revision_positive")),
        sa.CheckConstraint("percent >= 0", name=op.f("loss_ratios_percent_not_negative")),
        sa.CheckConstraint("proposed_by <> confirmed_by", name=op.f("loss_ratios_two_people")),
        sa.ForeignKeyConstraint(
            ["proposal_id"],
            ["portfolio_proposals.id"],
            name=op.f("loss_ratios_proposal_id_fkey"),
        ),
        sa.UniqueConstraint("proposal_id", name=op.f("loss_ratios_proposal_id_key")),
        sa.PrimaryKeyConstraint("product_code", "year", "revision", name=op.f("loss_ratios_pkey")),
    )
    op.create_table(
        "prevention_spendings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("product_code", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("spent_on", sa.Date(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("reverses", sa.Uuid(), nullable=True),
        sa.Column("booked_by", sa.Uuid(), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(_YEARS, name=op.f("prevention_spendings_year_possible")),
        sa.CheckConstraint(
            "purpose in ('HEALTH_SERVICE', 'EARLY_INTERVENTION')",
            name=op.f("prevention_spendings_purpose_known"),
        ),
        sa.CheckConstraint(
            "amount <> 0 and (amount < 0) = (reverses is not null)",
            name=op.f("prevention_spendings_signed"),
        ),
        sa.CheckConstraint(
            "extract(year from spent_on) = year", name=op.f("prevention_spendings_spent_in_year")
        ),
        sa.ForeignKeyConstraint(
            ["reverses"],
            ["prevention_spendings.id"],
            name=op.f("prevention_spendings_reverses_fkey"),
        ),
        sa.UniqueConstraint("reverses", name=op.f("prevention_spendings_reverses_key")),
        sa.PrimaryKeyConstraint("id", name=op.f("prevention_spendings_pkey")),
    )
    op.create_index(
        "prevention_spendings_of_year",
        "prevention_spendings",
        ["product_code", "year", "id"],
        unique=False,
    )
