"""Redemptions that were reversed after the member had what they bought."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_CHECKS = {
    "state_known": "state in ('CANCELLED', 'EXPIRED', 'FULFILLED', 'RESERVED', 'REVERSED')",
    "code_when_fulfilled": "num_nulls(code_id, code_key_id, code_sealed) in (0, 3)"
    " and (code_id is null or state in ('FULFILLED', 'REVERSED'))",
    "reversed_whole": "num_nulls(reversed_at, reversed_by, reversal_reason)"
    " = case state when 'REVERSED' then 0 else 3 end",
}


def upgrade() -> None:
    for name, kind in (
        ("reversed_at", sa.DateTime(timezone=True)),
        ("reversed_by", sa.Uuid()),
        ("reversal_reason", sa.Text()),
    ):
        op.add_column("redemptions", sa.Column(name, kind, nullable=True))
    for name in ("state_known", "code_when_fulfilled"):
        op.drop_constraint(op.f(f"redemptions_{name}"), "redemptions", type_="check")
    for name, rule in _CHECKS.items():
        op.create_check_constraint(op.f(f"redemptions_{name}"), "redemptions", rule)
