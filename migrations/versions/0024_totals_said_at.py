"""When a gateway's total was said, so that an event that is read late replaces nothing newer."""

from app import migration_steps as steps

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    steps.add_columns("daily_totals", "said_at timestamptz")
