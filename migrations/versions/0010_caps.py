"""Caps of a year, of a member and of one rule; which cap left less than a task pays."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("points_per_year_max", "points_per_member_max", "points_of_rule_max"):
        op.add_column("task_assignments", sa.Column(name, sa.Integer(), nullable=True))
    op.add_column("task_assignments", sa.Column("points_of_rule_per", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("task_assignments_rule_cap_whole"),
        "task_assignments",
        "(points_of_rule_max is null) = (points_of_rule_per is null)"
        " and points_of_rule_per in ('day', 'month', 'year')",
    )
    op.add_column("tasks", sa.Column("capped_by", sa.Text(), nullable=True))
