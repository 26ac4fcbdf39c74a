"""What must hold of a row, in functions that checks call."""

import asyncpg
import pytest

from app.health_tasks.models import TASK_RULES
from app.points.models import LOT_RULES, TRANSFER_RULES, WALLET_RULES
from app.row_rules import RowRules

ALL = (LOT_RULES, TASK_RULES, TRANSFER_RULES, WALLET_RULES)
SOURCE = "select prosrc from pg_proc where oid = $1::regprocedure"


async def test_migrations_make_the_functions_of_the_models(owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    for it in ALL:
        kinds = ", ".join(it.columns.values())
        signature = f"{it.check_sql.partition('(')[0]}({kinds})"
        migrated = await connection.fetchval(SOURCE, signature)
        async with connection.transaction():
            await connection.execute(it.function_sql)
            assert await connection.fetchval(SOURCE, signature) == migrated
    await connection.close()


@pytest.mark.parametrize(
    ("rules", "values", "constraint"),
    [
        (TASK_RULES, "'2026-01-02', '2026-01-01', 'OPEN', null", "tasks_period_ordered"),
        (TASK_RULES, "'2026-01-01', '2026-01-01', 'LOST', null", "tasks_state_known"),
        (TASK_RULES, "'2026-01-01', '2026-01-01', 'OPEN', now()", "tasks_closed_is_settled"),
        (LOT_RULES, "5, 0, 0, 0, 0, 0, 4", "points_lots_parts_within_amount"),
        (LOT_RULES, "-1, 5, 0, 0, 0, 0, 4", "points_lots_parts_within_amount"),
        (WALLET_RULES, "0, 0, 0, 0, 0, 0, 0, 1, '\\x01', 2", "wallets_rooted_seq_in_range"),
        (WALLET_RULES, "0, 0, 0, 0, 0, 0, 0, 1, '', 1", "wallets_head_follows_seq"),
        (WALLET_RULES, "0, 0, 0, 0, 0, -1, 0, 1, '\\x01', 1", "wallets_balances_not_negative"),
    ],
)
async def test_a_broken_rule_is_named_as_a_check_would_be(
    owner_url: str, rules: RowRules, values: str, constraint: str
) -> None:
    connection = await asyncpg.connect(owner_url)
    function = rules.check_sql.partition("(")[0]
    with pytest.raises(asyncpg.CheckViolationError) as raised:
        await connection.execute(f"select {function}({values})")
    assert (raised.value.table_name, raised.value.constraint_name) == (rules.table, constraint)
    await connection.close()


@pytest.mark.parametrize(
    ("rules", "values"),
    [
        (TASK_RULES, "'2026-01-01', '2026-01-01', 'DONE', null"),
        # As in a check, null breaks no rule.
        (TASK_RULES, "'2026-01-01', null, 'OPEN', null"),
        (LOT_RULES, "1, 0, 1, 1, 0, 1, 4"),
        (WALLET_RULES, "0, 0, 0, 0, 0, 0, 0, 0, '', 0"),
    ],
)
async def test_what_breaks_no_rule_is_allowed(owner_url: str, rules: RowRules, values: str) -> None:
    connection = await asyncpg.connect(owner_url)
    function = rules.check_sql.partition("(")[0]
    assert await connection.fetchval(f"select {function}({values})") is True
    await connection.close()
