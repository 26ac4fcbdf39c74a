"""Runs an operation that is parsed and validated already. The only module that calls
graphql-core's execution, so that a compiled executor can take its place.

Strawberry's own `Schema.execute` parses and validates each time; this calls the executor
class of the schema directly. Extensions of the *schema* therefore do not run (those of
fields do); `check_schema` refuses a schema that has some.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, cast

import strawberry
from graphql import (
    ExecutionResult,
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
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, GroupedFieldSet
from graphql.pyutils import Path
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.graphql.documents import Operation
from app.graphql.flat_inputs import put_back
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
    """graphql-core's executor, which first tries whether a value is only looked up (see
    `plain.py`). For documents whose plans are constant."""

    plans: Plans

    def execute_collected_root_fields(
        self,
        root_type: GraphQLObjectType,
        root_value: Any,
        grouped_field_set: GroupedFieldSet,
        serially: bool,
        new_defer_usages: Any,
    ) -> Any:
        kept = self.plans.root(self.operation, grouped_field_set)
        return super().execute_collected_root_fields(
            root_type, root_value, kept, serially, new_defer_usages
        )

    def collect_subfields(
        self, return_type: GraphQLObjectType, field_details_list: FieldDetailsList
    ) -> CollectedFields:
        collect = super().collect_subfields
        return self.plans.collected(return_type, field_details_list, collect)

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: Any,
    ) -> Any:
        looked_up: dict[str, Any] = {}
        left: GroupedFieldSet = {}
        for name, details, plain in self.plans.steps(parent_type, grouped_field_set):
            if plain is not None:
                try:
                    looked_up[name] = plain(source_value)
                    continue
                except Exception:  # noqa: BLE001, S110 - graphql-core will say what is wrong
                    pass
            left[name] = details
        if not left:
            return looked_up
        run: Any = super().execute_fields(parent_type, source_value, path, left, position_context)
        if not looked_up:
            return run
        if self.is_awaitable(run):
            return _merged_later(grouped_field_set, looked_up, run)
        return _merged(grouped_field_set, looked_up, run)

    def complete_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        plain = self.plans.value(return_type, field_details_list)
        if plain is not None:
            try:
                return plain(result)
            except Exception:  # noqa: BLE001, S110 - as above
                pass
        return super().complete_value(
            return_type, field_details_list, info, path, result, position_context
        )


def _merged(
    wanted: Iterable[str], looked_up: dict[str, Any], run: dict[str, Any]
) -> dict[str, Any]:
    """In the order in which the fields were asked for."""
    return {
        name: looked_up[name] if name in looked_up else run[name]
        for name in wanted
        if name in looked_up or name in run
    }


async def _merged_later(
    wanted: Iterable[str], looked_up: dict[str, Any], run: Awaitable[dict[str, Any]]
) -> dict[str, Any]:
    return _merged(wanted, looked_up, await run)


def _build(
    schema: strawberry.Schema, operation: Operation, variables: dict[str, Any], context: Any
) -> Executor[Any]:
    plans = operation.plans or Plans(schema._schema, operation.document)
    kind = PlainFirst if plans.constant else StrawberryGraphQLCoreExecutionContext
    left, made = plans.flat_lists.take_out(operation.name, variables)

    def build(values: dict[str, Any]) -> Any:
        return kind.build(
            schema._schema,
            operation.document,
            context_value=context,
            raw_variable_values=values,
            operation_name=operation.name,
            is_awaitable=cast(Any, optimized_is_awaitable),
            operation_extensions=None,
        )

    built = build(left)
    if isinstance(built, list) and made:
        built = build(variables)  # for errors that show what was sent
    if isinstance(built, list):
        raise CoercionFailed(built)
    executor: Executor[Any] = built
    put_back(executor.variable_values.coerced, made)
    if isinstance(executor, PlainFirst):
        executor.plans = plans
    return executor
