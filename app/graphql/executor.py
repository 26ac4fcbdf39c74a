"""Runs an operation that is parsed and validated already. The only module that calls
graphql-core's execution, so that a compiled executor can take its place.

Strawberry's own `Schema.execute` parses and validates each time; this calls the executor
class of the schema directly. Extensions of the *schema* therefore do not run (those of
fields do); `check_schema` refuses a schema that has some.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import strawberry
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
)
from graphql.execution import (
    Executor,
    create_source_event_stream,
    execute_root_selection_set,
    map_source_to_response_event,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.graphql.documents import Operation
from app.graphql.plain import Plans


class CoercionFailed(Exception):
    """The variables do not fit the operation; nothing was run."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


def check_schema(schema: strawberry.Schema) -> None:
    assert not schema.extensions, "extensions of the schema are not run; see this module"
    assert not schema.directives, "directives with resolvers need an extension; see this module"


async def execute(
    schema: strawberry.Schema, operation: Operation, *, variables: dict[str, Any], context: Any
) -> ExecutionResult:
    """Run a query or a mutation. Raises CoercionFailed."""
    result = execute_root_selection_set(_build(schema, operation, variables, context))
    return await result if optimized_is_awaitable(result) else result  # type: ignore[misc,return-value]


async def subscribe(
    schema: strawberry.Schema,
    operation: Operation,
    *,
    variables: dict[str, Any],
    make_context: Callable[[], Any],
) -> AsyncIterator[ExecutionResult] | ExecutionResult:
    """The results of a subscription, or why there will be none. Raises CoercionFailed.

    Each event runs in a context of its own, so that `now` and what the viewer may see are
    those of the event and not those of the beginning.
    """

    def run(executor: Executor[Any]) -> Any:
        executor.context_value = make_context()
        return execute_root_selection_set(executor)

    executor = _build(schema, operation, variables, make_context())
    source: Any = create_source_event_stream(executor)
    if optimized_is_awaitable(source):
        source = await source
    if isinstance(source, ExecutionResult):
        return source
    return map_source_to_response_event(executor, source, run)


class PlainFirst(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor, which first tries whether a field is only looked up (see
    `plain.py`)."""

    plans: Plans

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        nodes = _plain_nodes(field_details_list)
        plain = nodes and self.plans.field(parent_type, nodes)
        if plain:
            try:
                return plain(source)
            except Exception:  # noqa: BLE001, S110 - graphql-core says what is wrong with it
                pass
        return super().execute_field(
            parent_type, source, field_details_list, path, position_context
        )

    def complete_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        nodes = _plain_nodes(field_details_list)
        plain = nodes and self.plans.value(return_type, nodes)
        if plain:
            try:
                return plain(result)
            except Exception:  # noqa: BLE001, S110
                pass
        return super().complete_value(
            return_type, field_details_list, info, path, result, position_context
        )


def _plain_nodes(details: FieldDetailsList) -> list[FieldNode] | None:
    """None for what is deferred or lies in a fragment with variables."""
    nodes = []
    for node, deferred, fragment_variables in details:
        if deferred is not None or fragment_variables is not None:
            return None
        nodes.append(node)
    return nodes


def _build(
    schema: strawberry.Schema, operation: Operation, variables: dict[str, Any], context: Any
) -> PlainFirst:
    built: Any = PlainFirst.build(
        schema._schema,
        operation.document,
        context_value=context,
        raw_variable_values=variables,
        operation_name=operation.name,
        is_awaitable=cast(Any, optimized_is_awaitable),
        operation_extensions=None,
    )
    if isinstance(built, list):
        raise CoercionFailed(built)
    executor: PlainFirst = built
    executor.plans = operation.plans or Plans(schema._schema, operation.document)
    return executor
