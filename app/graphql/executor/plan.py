"""A validated operation, compiled once and run any number of times."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from typing import Any

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLDeferDirective,
    GraphQLError,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    GraphQLStreamDirective,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution import Executor, create_source_event_stream, map_source_to_response_event
from graphql.execution.collect_fields import FieldDetails, FragmentDetails
from graphql.execution.get_variable_signature import get_variable_signature
from graphql.execution.values import VariableValues
from graphql.type.directives import GraphQLDisableErrorPropagationDirective

from .dialect import Dialect
from .run import Run
from .slots import Complete, Field
from .variables import Variables
from .writing import Writer

_PARTS = (GraphQLDeferDirective.name, GraphQLStreamDirective.name)
_DECIDING = (*_PARTS, GraphQLSkipDirective.name, GraphQLIncludeDirective.name)
_STATES = frozenset({bool, type(None), type(Ellipsis)})
VARIANTS_MAX = 64
"""Sets of functions that are kept for one operation: one for each answer to all of its `@skip` and
`@include` that came lately."""


class CoercionFailed(Exception):
    """The variables do not fit the operation; nothing was run."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


class Plan:
    """One operation of a document that is valid against the schema."""

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        dialect: Dialect | None = None,
    ) -> None:
        self.schema: GraphQLSchema = schema
        self.document = document
        self.operation: OperationDefinitionNode = operation
        self.dialect: Dialect = dialect or Dialect()
        found = _look(document)
        self._is_awaitable = self.dialect.is_awaitable
        self.unsupported = found.unsupported
        """Why graphql-core runs it; None when it is compiled."""
        self._parts = found.parts
        self.title = operation.name.value if operation.name else "an operation"
        self.root_type = schema.get_root_type(operation.operation)
        self.fragment_definitions: dict[str, FragmentDefinitionNode] = {
            it.name.value: it for it in found.fragments
        }
        self.fragments: dict[str, FragmentDetails] = {
            it.name.value: self._fragment(it) for it in found.fragments
        }
        self._scoped = any(it.variable_signatures for it in self.fragments.values())
        self.error_propagation: bool = not any(
            it.name.value == GraphQLDisableErrorPropagationDirective.name
            for it in operation.directives or ()
        )
        self.variables = Variables(schema, operation, self.dialect)
        self._conditions = found.conditions
        self._writers: OrderedDict[tuple[Any, ...], Writer] = OrderedDict()
        self._unconditional = Writer(self, VariableValues({}, {}))

    def executor(
        self, variables: Mapping[str, Any], *, context: Any = None, root: Any = None
    ) -> Executor[Any]:
        """One execution, by the plan or by graphql-core. Raises CoercionFailed."""
        if self.unsupported is not None:
            return self.handed_over(variables, context=context, root=root)
        coerced = self.variables.coerce(variables)
        if isinstance(coerced, list):
            raise CoercionFailed(coerced)
        if self._parts and self.delivers_in_parts(coerced):
            return self.handed_over(variables, context=context, root=root)
        return Run(
            self,
            coerced,
            context_value=context,
            root_value=root,
            is_awaitable=self._is_awaitable,
        )

    def delivers_in_parts(self, values: VariableValues) -> bool:
        """Whether `@defer` or `@stream` depends on a variable, and is asked for."""
        return any(values.coerced.get(name) is not False for name in self._parts)

    def root(self, values: VariableValues, serially: bool) -> Complete:
        """The function for the root fields. Raises GraphQLError, RecursionError."""
        return self._writer(values).root(serially)

    def _writer(self, values: VariableValues) -> Writer:
        names = self._conditions
        if self._scoped:
            # Variables of fragments (an experiment) may decide anything: nothing is kept.
            return Writer(self, values)
        if not names:
            return self._unconditional
        # Booleans, but for a null where none may be, which graphql-core finds when it looks.
        key = tuple(values.coerced.get(name, Ellipsis) for name in names)
        if not _STATES.issuperset(map(type, key)):
            return Writer(self, values)  # Not valid, so not worth keeping.
        found = self._writers.get(key)
        if found is not None:
            self._writers.move_to_end(key)
            return found
        sources = {name: it for name, it in values.sources.items() if name in names}
        coerced = {name: it for name, it in values.coerced.items() if name in names}
        found = self._writers[key] = Writer(self, VariableValues(sources, coerced))
        if len(self._writers) > VARIANTS_MAX:
            self._writers.popitem(last=False)
        return found

    def field(
        self, parent: GraphQLObjectType, definition: GraphQLField, nodes: list[FieldNode]
    ) -> Field:
        details = [FieldDetails(node, None) for node in nodes]
        return Field("", parent, definition, details, raises=False)

    def _fragment(self, node: FragmentDefinitionNode) -> FragmentDetails:
        signatures = {}
        for variable in node.variable_definitions or ():
            signature = get_variable_signature(self.schema, variable)
            if isinstance(signature, GraphQLError):
                self.unsupported = signature.message
            else:
                signatures[signature.name] = signature
        return FragmentDetails(node, signatures or None)

    def handed_over(
        self, variables: Mapping[str, Any], *, context: Any = None, root: Any = None
    ) -> Executor[Any]:
        """graphql-core's executor, for what is not compiled. Raises CoercionFailed."""
        name = self.operation.name.value if self.operation.name else None
        built = self.dialect.executor_class.build(
            self.schema,
            self.document,
            root,
            context,
            dict(variables),
            name,
            self.dialect.field_resolver,
            self.dialect.type_resolver,
            middleware=self.dialect.middleware,
            is_awaitable=self.dialect.is_awaitable,  # type: ignore[arg-type]
        )
        if isinstance(built, list):
            raise CoercionFailed(built)
        return built


async def execute(
    plan: Plan, *, variables: Mapping[str, Any], context: Any = None, root: Any = None
) -> ExecutionResult:
    """Run a query or a mutation. Raises CoercionFailed."""
    run = plan.executor(variables, context=context, root=root)
    result: Any = run.execute_operation()
    if run.is_awaitable(result):
        result = await result
    return result  # type: ignore[no-any-return]


async def subscribe(
    plan: Plan,
    *,
    variables: Mapping[str, Any],
    make_context: Callable[[], Any],
    root: Any = None,
) -> AsyncGenerator[ExecutionResult, None] | ExecutionResult:
    """The results of a subscription, or why there will be none. Raises CoercionFailed.

    Each event runs in a context of its own, so that what a context says of the moment holds
    for the event and not for the beginning.
    """
    first = plan.executor(variables, context=make_context(), root=root)

    def run(event: Executor[Any]) -> Any:
        event.context_value = make_context()
        return event.execute_operation(False)

    source: AsyncIterable[Any] | ExecutionResult | Awaitable[Any]
    source = create_source_event_stream(first)
    if first.is_awaitable(source):
        source = await source
    if isinstance(source, ExecutionResult):
        return source
    return map_source_to_response_event(first, source, run)  # type: ignore[arg-type]


class _Look(Visitor):
    """What decides how a document is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.unsupported: str | None = None
        self.fragments: list[FragmentDefinitionNode] = []
        self.conditions: tuple[str, ...] = ()
        """Variables that decide what is collected."""
        self.parts: tuple[str, ...] = ()
        """Variables of `@defer` and `@stream`, none of which may ask for them."""

    def enter_fragment_definition(self, node: FragmentDefinitionNode, *_: Any) -> None:
        self.fragments.append(node)

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        name = node.name.value
        if name not in _DECIDING:
            return
        value = next((it.value for it in node.arguments or () if it.name.value == "if"), None)
        if isinstance(value, VariableNode):
            asked = value.name.value
            self.conditions = tuple(dict.fromkeys((*self.conditions, asked)))
            if name in _PARTS:
                self.parts = tuple(dict.fromkeys((*self.parts, asked)))
        elif name in _PARTS and not (isinstance(value, BooleanValueNode) and not value.value):
            self.unsupported = f"@{name} delivers an answer in parts"


def _look(document: DocumentNode) -> _Look:
    found = _Look()
    visit(document, found)
    return found
