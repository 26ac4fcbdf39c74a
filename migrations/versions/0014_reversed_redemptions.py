"""Redemptions that were reversed after the member had what they bought."""

from app import migration_steps as steps

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
    with steps.live():
        steps.add_columns(
            "redemptions", "reversed_at timestamptz", "reversed_by uuid", "reversal_reason text"
        )
        for name, rule in _CHECKS.items():
            steps.check("redemptions", name, rule)
