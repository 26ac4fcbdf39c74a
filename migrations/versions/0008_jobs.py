"""The queue, the clock's slots, populations that were made."""

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_QUEUE = Path(__file__).resolve().parent.parent / "queue.sql"


def upgrade() -> None:
    op.create_table(
        "clock_slots",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("slot", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job", "slot", name=op.f("clock_slots_pkey")),
    )
    op.create_table(
        "seed_runs",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("seed_runs_pkey")),
    )

    # One statement at a time is all that a prepared statement takes.
    for statement in re.split(r"\n\n(?=CREATE )", _QUEUE.read_text(encoding="utf-8")):
        if not statement.startswith("--"):
            op.get_bind().exec_driver_sql(statement)
