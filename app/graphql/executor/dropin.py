"""The executor as an `executor_class` of graphql-core, for whoever calls graphql-core itself.

    execute(schema, document, executor_class=CompiledExecutor)

Plans are kept for the documents that came last, told by their identity: parse a document once and
pass the same `DocumentNode`. What is not compiled is run by graphql-core's own executor.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    assert_valid_schema,
)
from graphql.execution import Executor, MiddlewareManager, default_field_resolver
from graphql.execution.executor import default_type_resolver

from .dialect import Dialect
from .plan import Plan
from .run import Run

PLANS_MAX = 256
_SEVERAL = (list, tuple)


class CompiledExecutor(Run):
    """What `build` gives is one execution of a plan."""

    fallback: type[Executor[Any]] = Dialect.executor_class
    """Runs what is not compiled."""
    plans: ClassVar[OrderedDict[tuple[Any, ...], Plan]] = OrderedDict()

    @classmethod
    def build(
        cls,
        schema: GraphQLSchema,
        document: DocumentNode,
        root_value: Any = None,
        context_value: Any = None,
        raw_variable_values: dict[str, Any] | None = None,
        operation_name: str | None = None,
        field_resolver: Callable[..., Any] | None = None,
        type_resolver: Callable[..., Any] | None = None,
        subscribe_field_resolver: Callable[..., Any] | None = None,
        max_coercion_errors: int = 50,
        enable_early_execution: bool = False,
        middleware: Any = None,
        is_awaitable: Any = None,
        is_async_iterable: Any = None,
        hide_suggestions: bool = False,
        abort_signal: Any = None,
        hooks: Any = None,
        **custom_args: Any,
    ) -> list[GraphQLError] | Executor[Any]:
        """As `Executor.build`."""

        def hand_over() -> list[GraphQLError] | Executor[Any]:
            return cls.fallback.build(
                schema, document, root_value, context_value, raw_variable_values, operation_name,
                field_resolver, type_resolver, subscribe_field_resolver, max_coercion_errors,
                enable_early_execution, middleware, is_awaitable, is_async_iterable,
                hide_suggestions, abort_signal, hooks, **custom_args,
            )  # fmt: skip

        assert_valid_schema(schema)
        operation = _operation(document, operation_name)
        plan = None
        manager = MiddlewareManager(*middleware) if isinstance(middleware, _SEVERAL) else middleware
        known = manager is None or isinstance(manager, MiddlewareManager)
        if operation is not None and not custom_args and known:
            plan = cls._plan(schema, document, operation, field_resolver, type_resolver, manager)
        if plan is None or plan.unsupported is not None:
            return hand_over()
        coerced = plan.variables.coerce(
            raw_variable_values or {},
            errors_max=max_coercion_errors,
            hide_suggestions=hide_suggestions,
        )
        if isinstance(coerced, list):
            return coerced
        if plan.delivers_in_parts(coerced):
            return hand_over()
        run = cls(
            plan,
            coerced,
            context_value=context_value,
            root_value=root_value,
            is_awaitable=is_awaitable,
        )
        run.subscribe_field_resolver = subscribe_field_resolver or default_field_resolver
        run.hide_suggestions = hide_suggestions
        run.abort_signal = abort_signal
        run.hooks = hooks
        if is_async_iterable is not None:
            run.is_async_iterable = is_async_iterable
        return run

    @classmethod
    def _plan(
        cls,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        field_resolver: Callable[..., Any] | None,
        type_resolver: Callable[..., Any] | None,
        middleware: MiddlewareManager | None,
    ) -> Plan:
        key = (id(schema), id(document), id(operation), field_resolver, type_resolver, middleware)
        plan = cls.plans.get(key)
        if plan is not None:
            cls.plans.move_to_end(key)
            return plan
        dialect = Dialect(
            field_resolver or default_field_resolver,
            type_resolver or default_type_resolver,
            middleware,
            cls.fallback,
        )
        # The plan holds all that is told by its identity, so no identity is used again.
        plan = cls.plans[key] = Plan(schema, document, operation, dialect)
        if len(cls.plans) > PLANS_MAX:
            cls.plans.popitem(last=False)
        return plan


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode | None:
    """The one to run; None when graphql-core will say that there is none."""
    found = [
        it
        for it in document.definitions
        if isinstance(it, OperationDefinitionNode)
        and (name is None or (it.name is not None and it.name.value == name))
    ]
    if name is not None:
        return found[-1] if found else None
    return found[0] if len(found) == 1 else None
