"""Who entered a saved segment when, the latest first."""

from app import migration_steps as steps

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.index(
            "segment_memberships_history", "segment_memberships (segment_id, entered_at, member_id)"
        )
