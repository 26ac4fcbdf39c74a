"""When points expire that were announced too late."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("points_expiry_notices", sa.Column("ends_on", sa.Date(), nullable=True))
    op.add_column(
        "points_expiry_notices", sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_check_constraint(
        op.f("points_expiry_notices_ends_later"),
        "points_expiry_notices",
        "(ends_on is null) = (ends_at is null) and (ends_on is null or ends_on >= expires_on)",
    )
