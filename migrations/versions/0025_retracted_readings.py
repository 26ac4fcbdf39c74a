"""What a member took back stays taken back, however often a phone sends it again."""

from app import migration_steps as steps

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with steps.live():
        steps.add_columns("measurements", "retracted boolean not null default false")
        steps.index(
            "measurements_retracted",
            "measurements (member_id, code, measured_at, source_id)",
            where="retracted",
        )
