"""What is to be said to a member, in full, with the item of the worklist that asks for it."""

from app import migration_steps as steps

revision = "0060"
down_revision = "0057"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.add_columns("worklist_items", "script text")
