"""One execution of a plan.

A `Run` is one of graphql-core's executors, so that whatever takes an executor takes it too: the
source of a subscription, hooks, an abort signal, settling what is left behind. It replaces what
graphql-core does for each field of each object by the functions of the plan. What most requests
never need is made when it is asked for.
"""

from collections.abc import Awaitable, Callable
from copy import copy
from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    OperationType,
)
from graphql.execution import ExecutionResult, Executor
from graphql.execution.executor import SELECTIONS_NESTED_TOO_DEEPLY, CollectedErrors
from graphql.execution.values import VariableValues
from graphql.pyutils import Path
from graphql.type.definition import GraphQLResolveInfoHelpers

from .paths import Link

if TYPE_CHECKING:
    from .plan import Plan
    from .slots import Field


class Errors(CollectedErrors):
    """graphql-core's, with links for paths."""

    __slots__ = ()

    def has_nulled_position(self, start_path: Any) -> bool:
        positions = self._error_positions
        if not positions:
            return False
        link = start_path
        while link is not None:
            if link in positions:
                return True
            link = link[0]
        return None in positions


_MADE: dict[str, Callable[["Run"], Any]] = {
    "collected_errors": lambda _: Errors(),
    "background_futures": lambda _: set(),
    "pending_incremental_futures": lambda _: set(),
    "async_work_finished_hook_task": lambda _: None,
    "schema": lambda run: run.plan.schema,
    "operation": lambda run: run.plan.operation,
    "fragments": lambda run: run.plan.fragments,
    "fragment_definitions": lambda run: run.plan.fragment_definitions,
    "middleware_manager": lambda run: run.plan.dialect.middleware,
    "field_resolver": lambda run: run.plan.dialect.field_resolver,
    "type_resolver": lambda run: run.plan.dialect.type_resolver,
    "error_propagation": lambda run: run.plan.error_propagation,
}


class Run(Executor[None]):
    """`is_awaitable` and `is_async_iterable` are what graphql-core's executor takes."""

    plan: "Plan"

    def __init__(  # not super().__init__: see above
        self,
        plan: "Plan",
        variable_values: VariableValues,
        *,
        context_value: Any = None,
        root_value: Any = None,
        is_awaitable: Callable[[Any], bool] | None = None,
    ) -> None:
        self.plan = plan
        self.variable_values = variable_values
        self.coerced = variable_values.coerced
        self.context_value = context_value
        self.root_value = root_value
        if is_awaitable is not None:
            self.is_awaitable = is_awaitable  # type: ignore[assignment]

    abort_signal: Any = None
    hooks: Any = None
    hide_suggestions = False
    enable_early_execution = False
    subscribe_field_resolver: Any = None

    def __getattr__(self, name: str) -> Any:
        make = _MADE.get(name)
        if make is None:
            raise AttributeError(name)
        made = make(self)
        setattr(self, name, made)
        return made

    def execute_operation(self, serially: bool | None = None) -> Any:
        """The result, or something to await for it. As graphql-core does it, by the plan."""
        signal = self.abort_signal
        if signal is not None and signal.aborted:
            self.run_async_work_finished_hook()
            raise self.abort_error()
        try:
            result = self._data(serially)
            if self.is_awaitable(result):
                later = self._later(result)
                return later if signal is None else self.with_aborted_execution_error(later)
        except GraphQLError as error:
            self.collected_errors.add(error, None)
            result = None
        return self.finish(self._response(result))

    def _data(self, serially: bool | None) -> Any:
        plan = self.plan
        if plan.root_type is None:
            kind = plan.operation.operation.value
            message = f"Schema is not configured to execute {kind} operation."
            raise GraphQLError(message, plan.operation)
        if serially is None:
            serially = plan.operation.operation is OperationType.MUTATION
        try:
            root = plan.root(self.variable_values, serially)
        except RecursionError:
            root = None
        if root is None:
            # Outside of the block above: the frames of the recursion are not kept.
            raise GraphQLError(SELECTIONS_NESTED_TOO_DEEPLY, plan.operation)
        return root(self.root_value, None, self)

    async def _later(self, data: Awaitable[Any]) -> ExecutionResult:
        try:
            found = await data
        except GraphQLError as error:
            self.collected_errors.add(error, None)
            found = None
        except Exception:
            await self.cancel_incremental_work()
            self.run_async_work_finished_hook()
            raise
        return self._response(found)

    def _response(self, data: Any) -> ExecutionResult:
        if self.hooks is not None:
            self.run_async_work_finished_hook()
        errors = self.__dict__.get("collected_errors")
        return ExecutionResult(data, (errors.errors or None) if errors is not None else None)

    def build_per_event_executor(self, payload: Any) -> "Run":
        run = copy(self)
        run.root_value = payload
        run.collected_errors = Errors()
        return run

    def build_resolve_info(
        self,
        field_def: GraphQLField,
        field_nodes: list[FieldNode],
        parent_type: GraphQLObjectType,
        path: Path,
    ) -> GraphQLResolveInfo[Any]:
        """For the source of a subscription."""
        field = self.plan.field(parent_type, field_def, field_nodes)
        return self.info(field, path)

    def info(self, field: "Field", link: Link) -> GraphQLResolveInfo[Any]:
        return self.plan.dialect.info(self, field, link)

    @property
    def async_helpers(self) -> GraphQLResolveInfoHelpers:  # type: ignore[override]
        # By the tuple's own constructor, several times as fast as the class's.
        helpers = (self.gather_async_work, self.track_async_work)
        return tuple.__new__(GraphQLResolveInfoHelpers, helpers)

    def awaiting(self, value: Awaitable[Any]) -> Awaitable[Any]:
        return value if self.abort_signal is None else self.with_abort_signal(value)
