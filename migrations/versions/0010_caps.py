"""Caps of a year, of a member and of one rule; which cap left less than a task pays."""

from app import migration_steps as steps

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.add_columns(
            "task_assignments",
            "points_per_year_max integer",
            "points_per_member_max integer",
            "points_of_rule_max integer",
            "points_of_rule_per text",
        )
        steps.check(
            "task_assignments",
            "rule_cap_whole",
            "(points_of_rule_max is null) = (points_of_rule_per is null)"
            " and points_of_rule_per in ('day', 'month', 'year')",
        )
        steps.add_columns("tasks", "capped_by text")
