"""Arguments: what a field's are each time is worked out once, the rest is left to graphql-core."""

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLField,
    ValueNode,
    VariableNode,
    Visitor,
    is_non_null_type,
    visit,
)
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.values import coerce_argument, get_argument_values
from graphql.pyutils import Undefined
from graphql.type import is_required_argument
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_literal

if TYPE_CHECKING:
    from .run import Run

IMMUTABLE = (str, int, float, bool, type(None), Enum)
"""Values of these classes may be shared by all requests."""

Argument = Callable[["Run", dict[str, Any]], None]
"""Puts its value among the others, when there is one. Raises GraphQLError."""


def arguments(
    field: GraphQLField, details: FieldDetails
) -> Callable[["Run"], dict[str, Any]] | None:
    """The arguments of a field by name, as `get_argument_values`; None when it takes none."""
    if not field.args:
        return None
    node = details.node
    if details.fragment_variable_values is not None:
        scope = details.fragment_variable_values
        return lambda run: get_argument_values(
            field, node, run.variable_values, scope, run.hide_suggestions
        )
    nodes = {it.name.value: it.value for it in node.arguments or ()}
    constant: dict[str, Any] = {}
    others: list[Argument] = []
    for name, argument in field.args.items():
        found = _argument(name, argument, nodes.get(name), node)
        if isinstance(found, dict) and not others:
            constant |= found
        elif isinstance(found, dict):
            others.append(partial(_put, found))
        else:
            others.append(found)
    if not others:
        return lambda _: dict(constant)

    def values(run: "Run") -> dict[str, Any]:
        made = dict(constant)
        for put in others:
            put(run, made)
        return made

    return values


def _put(found: dict[str, Any], _: "Run", made: dict[str, Any]) -> None:
    made.update(found)


def _argument(
    name: str, argument: GraphQLArgument, value: ValueNode | None, node: FieldNode
) -> dict[str, Any] | Argument:
    """What is the same each time, or what finds it out."""
    out_name = argument.out_name or name
    default = _default(argument)
    by_graphql_core = partial(_coerce, name, argument, node)
    if value is None:
        return {out_name: default} if default is not Undefined else by_graphql_core
    if isinstance(value, VariableNode):
        return _variable(out_name, argument, value.name.value, by_graphql_core)
    if not _has_variable(value):
        try:
            literal = coerce_input_literal(value, argument.type)
        except Exception:  # noqa: BLE001 - said whenever the field is asked for
            return by_graphql_core
        if literal is not Undefined and isinstance(literal, IMMUTABLE):
            return {out_name: literal}
    return by_graphql_core


def _variable(
    out_name: str, argument: GraphQLArgument, variable: str, by_graphql_core: Argument
) -> Argument:
    nullable = not is_non_null_type(argument.type)

    def put(run: "Run", made: dict[str, Any]) -> None:
        value = run.coerced.get(variable, Undefined)
        if value is not Undefined and (nullable or value is not None):
            made[out_name] = value
        else:
            by_graphql_core(run, made)

    return put


def _coerce(
    name: str, argument: GraphQLArgument, node: FieldNode, run: "Run", made: dict[str, Any]
) -> None:
    given = next((it for it in node.arguments or () if it.name.value == name), None)
    coerce_argument(
        made, node, name, argument, given, run.variable_values, None, run.hide_suggestions
    )


def _default(argument: GraphQLArgument) -> Any:
    """The default when it is the same for all; Undefined when graphql-core must say."""
    if is_required_argument(argument):
        return Undefined
    try:
        found = coerce_default_value(argument)
    except Exception:  # noqa: BLE001 - said whenever it is needed
        return Undefined
    return found if isinstance(found, IMMUTABLE) else Undefined


def _has_variable(value: ValueNode) -> bool:
    found = False

    class Search(Visitor):
        def enter_variable(self, *_: Any) -> Any:
            nonlocal found
            found = True
            return self.BREAK

    visit(value, Search())
    return found
