"""When points expire that were announced too late."""

from app import migration_steps as steps

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.add_columns("points_expiry_notices", "ends_on date", "ends_at timestamptz")
        steps.check(
            "points_expiry_notices",
            "ends_later",
            "(ends_on is null) = (ends_at is null) and (ends_on is null or ends_on >= expires_on)",
        )
