"""Groups: how many people they are said to be, and by whom and when they were closed."""

from app import migration_steps as steps

revision = "0031"
down_revision = "0052"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.add_columns(
            "insured_groups", "people integer", "closed_at timestamptz", "closed_by uuid"
        )
        steps.check(
            "insured_groups",
            "closed_whole",
            "num_nulls(closed_at, closed_by) in (0, 2) and (closed_at is null or not active)",
        )
