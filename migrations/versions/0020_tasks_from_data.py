"""Which readings and totals complete a task without a tick."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("task_assignments", sa.Column("data_code", sa.Text(), nullable=True))
    for name in ("data_at_least", "data_at_most"):
        op.add_column("task_assignments", sa.Column(name, sa.Numeric(12, 3), nullable=True))
    op.add_column(
        "task_assignments",
        sa.Column("data_self_reported", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.alter_column("task_assignments", "data_self_reported", server_default=None)
