"""Arms that a few of ten thousand draw: how probable they are is kept as it is."""

from app import migration_steps as steps

revision = "0064"
down_revision = "0062"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        # Without its check, and to a type without a scale, the table is neither read nor rewritten.
        steps.drop_constraint("planned_messages", "planned_messages_propensity_in_range")
        steps.run("alter table planned_messages alter column propensity type numeric")
        steps.check("planned_messages", "propensity_in_range", "propensity > 0 and propensity <= 1")
