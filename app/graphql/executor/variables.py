"""Variables: what the operation says about them is worked out once.

A value that is not of the ordinary class is coerced by graphql-core, from the beginning, so that
its values and errors are the only ones there are. (Only a scalar whose parser fails is asked
twice.)
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLError,
    GraphQLID,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    VariableDefinitionNode,
    is_non_null_type,
    is_required_input_field,
)
from graphql.execution.get_variable_signature import (
    GraphQLVariableSignature,
    get_variable_signature,
)
from graphql.execution.values import (
    VariableValues,
    VariableValueSource,
    get_variable_values,
    input_is_nested_too_deeply,
)
from graphql.pyutils import Undefined
from graphql.utilities.coerce_input_value import (
    coerce_default_value,
    coerce_input_value,
)

from .arguments import IMMUTABLE
from .dialect import Dialect

Parse = Callable[[Any], Any]
"""From a value that was sent to the coerced one. Raises anything when it does not fit, or is
merely unusual."""

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1


class _Unusual(Exception):
    pass


class Variables:
    """The variables of an operation."""

    def __init__(
        self, schema: GraphQLSchema, operation: OperationDefinitionNode, dialect: Dialect
    ) -> None:
        self._schema = schema
        self._nodes = operation.variable_definitions or ()
        parsers = _Parsers(dialect)
        self._known = [_Variable.made(schema, node, parsers) for node in self._nodes]
        self._unsent: VariableValues | None = None
        """What there is when none is sent, once that was found out."""

    def coerce(
        self,
        sent: Mapping[str, Any],
        *,
        errors_max: int | None = 50,
        hide_suggestions: bool = False,
    ) -> VariableValues | list[GraphQLError]:
        """As `get_variable_values`."""
        if not sent and self._unsent is not None:
            return VariableValues(self._unsent.sources.copy(), self._unsent.coerced.copy())
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        try:
            for variable in self._known:
                variable.coerce(sent, sources, coerced)
        except Exception:  # noqa: BLE001 - graphql-core will say what is wrong
            return get_variable_values(
                self._schema,
                self._nodes,
                dict(sent),
                max_errors=errors_max,
                hide_suggestions=hide_suggestions,
            )
        if not sent:  # Defaults, all of them such that everybody may share them.
            self._unsent = VariableValues(sources.copy(), coerced.copy())
        return VariableValues(sources, coerced)


class _Variable:
    def __init__(self, signature: GraphQLVariableSignature, parse: Parse) -> None:
        self.name = signature.name
        self.signature = signature
        self.absent = VariableValueSource(signature)
        self.parse = parse
        self.required = is_non_null_type(signature.type) and signature.default is None
        self.default = _immutable_default(signature)

    @classmethod
    def made(
        cls, schema: GraphQLSchema, node: VariableDefinitionNode, parsers: "_Parsers"
    ) -> "_Variable":
        signature = get_variable_signature(schema, node)
        if isinstance(signature, GraphQLError):
            return _Invalid()
        return cls(signature, parsers.of(signature.type))

    def coerce(
        self,
        sent: Mapping[str, Any],
        sources: dict[str, VariableValueSource],
        coerced: dict[str, Any],
    ) -> None:
        """Raises _Unusual, or whatever a parser raises."""
        value = sent.get(self.name, Undefined)
        if value is not Undefined:
            sources[self.name] = VariableValueSource(self.signature, value)
            coerced[self.name] = self.parse(value)
            return
        if self.required:
            raise _Unusual
        sources[self.name] = self.absent
        if self.default is not Undefined:
            coerced[self.name] = self.default
        elif self.signature.default is not None:
            raise _Unusual  # A list or an object, which whoever gets it may change.


class _Invalid(_Variable):
    """Its type is no input type; graphql-core says so."""

    def __init__(self) -> None:
        pass

    def coerce(self, *_: Any) -> None:
        raise _Unusual


def _immutable_default(signature: GraphQLVariableSignature) -> Any:
    if signature.default is None:
        return Undefined
    try:
        found = coerce_default_value(signature)
    except Exception:  # noqa: BLE001 - said whenever it is needed
        return Undefined
    return found if isinstance(found, IMMUTABLE) else Undefined


class _Parsers:
    """Parsers by type, made when first asked for: input types may hold themselves."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._objects: dict[GraphQLInputObjectType, Parse] = {}

    def of(self, kind: GraphQLInputType) -> Parse:
        if isinstance(kind, GraphQLNonNull):
            return self._present(kind.of_type)
        present = self._present(kind)
        return lambda value: None if value is None else present(value)

    def _present(self, kind: Any) -> Parse:
        if isinstance(kind, GraphQLList):
            return self._list(kind)
        if isinstance(kind, GraphQLInputObjectType):
            made = self._objects.get(kind)
            if made is None:
                self._objects[kind] = partial(_by_graphql_core, kind)
                made = self._objects[kind] = self._object(kind)
            return made
        if kind in (GraphQLString, GraphQLID):
            return _text
        if kind is GraphQLBoolean:
            return _flag
        if kind is GraphQLInt:
            return _whole
        return partial(_leaf, kind.coerce_input_value)

    def _list(self, kind: GraphQLList[Any]) -> Parse:
        inner = kind.of_type
        if isinstance(inner, GraphQLNonNull) and isinstance(inner.of_type, GraphQLInputObjectType):
            at_once = self._dialect.input_list(inner.of_type)
            if at_once is not None:
                return partial(_at_once, at_once, kind)
        each = self.of(inner)

        def parse(value: Any) -> Any:
            if value.__class__ is not list:
                raise _Unusual
            return [each(item) for item in value]

        return parse

    def _object(self, kind: GraphQLInputObjectType) -> Parse:
        if kind.is_one_of:
            return partial(_by_graphql_core, kind)
        fields = [
            (name, it.out_name or name, it, self.of(it.type), is_required_input_field(it))
            for name, it in kind.fields.items()
        ]
        known = frozenset(kind.fields)
        built = kind.out_type

        def parse(value: Any) -> Any:
            if value.__class__ is not dict or not known.issuperset(value):
                raise _Unusual
            found: dict[str, Any] = {}
            for name, out_name, field, each, required in fields:
                given = value.get(name, Undefined)
                if given is not Undefined:
                    found[out_name] = each(given)
                elif required:
                    raise _Unusual
                else:
                    default = coerce_default_value(field)
                    if default is not Undefined:
                        found[out_name] = default
            return built(found)

        return parse


def _by_graphql_core(kind: GraphQLInputType, value: Any) -> Any:
    if value is None or input_is_nested_too_deeply(value, kind):
        raise _Unusual
    coerced = coerce_input_value(value, kind)
    if coerced is Undefined:
        raise _Unusual
    return coerced


def _at_once(
    make: Callable[[list[Any]], list[Any]], kind: GraphQLInputType, value: Any
) -> list[Any]:
    if value.__class__ is not list:
        raise _Unusual
    try:
        return make(value)
    except Exception:  # noqa: BLE001 - one of them is unusual
        return _by_graphql_core(kind, value)  # type: ignore[no-any-return]


def _leaf(coerce: Parse, value: Any) -> Any:
    if value is None:
        raise _Unusual
    coerced = coerce(value)
    if coerced is Undefined:
        raise _Unusual
    return coerced


def _text(value: Any) -> Any:
    if value.__class__ is not str:
        raise _Unusual
    return value


def _flag(value: Any) -> Any:
    if value.__class__ is not bool:
        raise _Unusual
    return value


def _whole(value: Any) -> Any:
    if value.__class__ is not int or not _INT_MIN <= value <= _INT_MAX:
        raise _Unusual
    return value
