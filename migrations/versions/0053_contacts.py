"""An address at which nobody can be reached is remembered until it is changed."""

from app import migration_steps as steps

revision = "0053"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.add_columns("members", "phone_dead_at timestamptz", "email_dead_at timestamptz")
