"""What the days of an instalment cost less since the premium fell during the term."""

from app import migration_steps as steps

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.add_columns("invoices", "cheaper_by bigint", "cheaper_from date")
        steps.check(
            "invoices",
            "cheaper_whole",
            "(cheaper_by is null) = (cheaper_from is null) and coalesce(cheaper_by, 1) > 0",
        )
