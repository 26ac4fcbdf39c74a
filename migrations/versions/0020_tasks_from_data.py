"""Which readings and totals complete a task without a tick."""

from app import migration_steps as steps

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.add_columns(
            "task_assignments",
            "data_code text",
            "data_at_least numeric(12, 3)",
            "data_at_most numeric(12, 3)",
            "data_self_reported boolean not null default false",
        )
