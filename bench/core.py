"""`wellward serve` with graphql-core's executor in the place of ours: what is compared with, and
nothing that a product could be told to do."""

from collections.abc import Mapping
from typing import Any

from graphql import ExecutionResult

from app import cli
from app.graphql import executor
from app.graphql.executor import Plan


async def execute(
    plan: Plan, *, variables: Mapping[str, Any], context: Any = None, root: Any = None
) -> ExecutionResult:
    """As graphql-core does it, with Strawberry's layers. Raises CoercionFailed."""
    run = plan.handed_over(variables, context=context, root=root)
    result: Any = run.execute_operation()
    if run.is_awaitable(result):
        result = await result
    return result  # type: ignore[no-any-return]


if __name__ == "__main__":
    executor.execute = execute
    cli.serve()
