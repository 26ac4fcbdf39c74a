"""What must hold of a row of the tables that are written most, in one function each: the text of
each check was read anew by each statement."""

from app import migration_steps as steps
from app.row_rules import RowRules

revision = "0071"
down_revision = "0070"
branch_labels = None
depends_on = None

_BALANCES = ("pending", "available", "held", "owed", "earned_total", "spent", "expired")
_PARTS = ("remaining", "pending", "held", "used", "expired", "reversed")
_CAUSE_KINDS = "'CHECK_IN', 'TASK', 'REDEMPTION', 'DAILY_TOTAL', 'TRANSFER', 'STAFF'"
_ROUTES = (
    "EARNED issued available",
    "EARNED issued owed",
    "EARNED issued pending",
    "HELD available held",
    "HELD available pending",
    "RELEASED held available",
    "RELEASED held owed",
    "RELEASED pending available",
    "RELEASED pending owed",
    "REDEEMED available redeemed",
    "REDEEMED held redeemed",
    "EXPIRED available expired",
    "EXPIRED held expired",
    "EXPIRED pending expired",
    "REVERSED available reversed",
    "REVERSED held reversed",
    "REVERSED owed reversed",
    "REVERSED pending reversed",
    "REVERSED redeemed available",
    "REVERSED redeemed owed",
    "RESTATED available reversed",
    "RESTATED held reversed",
    "RESTATED issued available",
    "RESTATED issued owed",
    "RESTATED issued pending",
    "RESTATED owed reversed",
    "RESTATED pending reversed",
    "ADJUSTED available reversed",
    "ADJUSTED expired available",
    "ADJUSTED expired owed",
    "ADJUSTED held reversed",
    "ADJUSTED issued available",
    "ADJUSTED issued owed",
    "ADJUSTED issued pending",
    "ADJUSTED owed reversed",
    "ADJUSTED pending reversed",
)
_ROUTES_SQL = ", ".join(f"'{route}'" for route in _ROUTES)
_RULES = (
    RowRules(
        "wallets",
        {
            **dict.fromkeys(_BALANCES, "bigint"),
            "seq": "bigint",
            "head": "bytea",
            "rooted_seq": "bigint",
        },
        {
            "balances_not_negative": f"least({', '.join(_BALANCES)}) >= 0",
            "rooted_seq_in_range": "rooted_seq between 0 and seq",
            "head_follows_seq": "(seq = 0) = (head = '')",
        },
    ),
    RowRules(
        "points_transfers",
        {
            **dict.fromkeys(("seq", "amount", "balance_after"), "bigint"),
            **dict.fromkeys(("kind", "debit", "credit", "cause_kind"), "text"),
            "cause_id": "uuid",
            "expires_on": "date",
            "hash": "bytea",
        },
        {
            "seq_positive": "seq > 0",
            "amount_positive": "amount > 0",
            "balance_not_negative": "balance_after >= 0",
            "accounts_differ": "debit <> credit",
            "route_allowed": f"kind || ' ' || debit || ' ' || credit in ({_ROUTES_SQL})",
            "cause_kind_known": f"cause_kind is null or cause_kind in ({_CAUSE_KINDS})",
            "cause_complete": "(cause_kind is null) = (cause_id is null)",
            "expires_when_earned": "case when credit not in ('pending', 'available')"
            " then expires_on is null when debit = 'issued' then expires_on is not null"
            " else true end",
            "hash_is_sha256": "octet_length(hash) = 32",
        },
    ),
    RowRules(
        "points_lots",
        dict.fromkeys((*_PARTS, "amount"), "bigint"),
        {
            "parts_within_amount": f"least({', '.join(_PARTS)}) >= 0"
            f" and {' + '.join(_PARTS)} <= amount"
        },
    ),
    RowRules(
        "tasks",
        {"starts_on": "date", "ends_on": "date", "state": "text", "closed_at": "timestamptz"},
        {
            "state_known": "state in ('OPEN', 'IN_REVIEW', 'DONE', 'MISSED', 'PAUSED',"
            " 'DEVICE_SILENT', 'CONSENT_REFUSED', 'CONSENT_WITHDRAWN')",
            "period_ordered": "starts_on <= ends_on",
            "closed_is_settled": "closed_at is null or state <> 'OPEN'",
        },
    ),
)


def upgrade() -> None:
    with steps.live():
        for it in _RULES:
            steps.run(it.function_sql)
            steps.check(it.table, RowRules.NAME, it.check_sql)
            # Only once the function holds for the rows that are there.
            steps.drop_constraint(it.table, *(f"{it.table}_{name}" for name in it.rules))
        steps.run("drop function if exists wellward_route_allowed(text, text, text)")
