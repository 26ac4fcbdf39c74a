"""What is known of a schema that Strawberry made.

A field without a resolver is an attribute, an object type is a class, an enum is an `Enum`. A
resolver is called directly, without Strawberry's layers around it, where the field has no
extension (permissions are such) and no exception handler; else as graphql-core would call it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, Flag
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, NamedTuple

import strawberry
from graphql import (
    GraphQLAbstractType,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
)
from strawberry.execution import optimized_is_awaitable
from strawberry.relay import GlobalID
from strawberry.schema.schema import (
    StrawberryGraphQLCoreExecutionContext,
    _OperationContextAwareGraphQLResolveInfo,
)
from strawberry.schema.schema_converter import CustomGraphQLEnumType
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryObjectDefinition,
    StrawberryOptional,
)
from strawberry.types.cast import TYPE_CAST_ATTRIBUTE
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.field import StrawberryField

from . import leaves
from .dialect import Attribute, Dialect, Instances, Possible, Property, Reading, Resolver, Rows
from .leaves import Rule
from .paths import Link, as_path

if TYPE_CHECKING:
    from .run import Run
    from .slots import Field

_DEFINITION = "strawberry-definition"
_CONVERTER = "strawberry.schema.schema_converter"
_RESOLVERS = frozenset({"_resolver", "_async_resolver", "_get_basic_result"})
"""What that gives fields. (That of a subscription passes the event on.)"""

InputList = Callable[[GraphQLInputObjectType], Callable[[list[Any]], list[Any]] | None]


class _Converter(NamedTuple):
    """An argument's name in GraphQL and in Python, and how its value is converted."""

    name: str
    python_name: str
    convert: Callable[[Any, Any], Any] | None


@dataclass(frozen=True, kw_only=True)
class StrawberryDialect(Dialect):
    schema: strawberry.Schema
    passed: Mapping[str, frozenset[type]] = field(default_factory=dict)
    """Classes of values that are written as they are, by the scalar's name."""
    ordinary: frozenset[type] = frozenset()
    """Further classes of values of scalars, of which no object is an exception or awaitable."""
    listed: Mapping[Any, type[Rows]] = field(default_factory=dict)
    """Lists whose objects are made when they are needed, by the class of these; of a generic class
    by it and what it is one of."""
    input_lists: InputList = lambda _: None
    executor_class: type[Any] = StrawberryGraphQLCoreExecutionContext

    def __post_init__(self) -> None:
        # Their hooks are run by `Schema.execute`, which this replaces.
        assert not self.schema.extensions, "extensions of the schema are not run"
        assert not self.schema.directives, "directives with resolvers are not run"

    @property
    def is_awaitable(self) -> Callable[[Any], bool]:
        return optimized_is_awaitable

    def reading(self, parent: GraphQLObjectType, field: GraphQLField) -> Reading | None:
        known = field.extensions.get(_DEFINITION)
        if known is None:
            return super().reading(parent, field)
        if not self._is_bare(field, known):
            return None
        resolver = known.base_resolver
        if resolver is None:
            name = known.python_name
            written = name.isidentifier() and not iskeyword(name)
            return Attribute(name) if known.default_resolver is getattr and written else None
        if resolver.is_async or resolver.arguments:
            return None
        asked = [it for it in resolver.reserved_parameters.values() if it is not None]
        if resolver.self_parameter is None or asked != [resolver.self_parameter]:
            return None
        return Property(resolver.wrapped_func)

    def resolver(self, parent: GraphQLObjectType, field: GraphQLField) -> Resolver:
        known = field.extensions.get(_DEFINITION)
        usual = super().resolver(parent, field)
        if known is None or self.middleware is not None or not self._is_bare(field, known):
            return usual
        if known.base_resolver is None or not callable(known.base_resolver.wrapped_func):
            return usual
        return self._direct(known)

    def leaf(self, kind: GraphQLLeafType) -> Rule | None:
        if isinstance(kind, CustomGraphQLEnumType):
            return _members(kind)
        rule = super().leaf(kind)
        if isinstance(rule, leaves.Written):
            passed = self.passed.get(kind.name, frozenset())
            return leaves.Written(rule.kinds | self.ordinary, rule.write, passed)
        return rule

    def instances(self, kind: GraphQLObjectType) -> Instances | None:
        definition = _definition(kind)
        if definition is None:
            return None if kind.extensions.get(_DEFINITION) else super().instances(kind)
        classes = [definition.origin]
        if definition.concrete_of is not None:
            classes.append(definition.concrete_of.origin)
        unless = None if kind.is_type_of is None else TYPE_CAST_ATTRIBUTE
        return Instances(tuple(dict.fromkeys(classes)), unless)

    def rows(self, kind: GraphQLObjectType) -> type[Rows] | None:
        definition = _definition(kind)
        if definition is None:
            return None
        generic = definition.concrete_of
        if generic is None:
            return self.listed.get(definition.origin)
        return self.listed.get((generic.origin, *definition.type_var_map.values()))

    def possible(self, schema: GraphQLSchema, kind: GraphQLAbstractType) -> Possible | None:
        """By the class of the value, where each is that of exactly one type."""
        own = kind.extensions.get(_DEFINITION)
        if own is None or getattr(own, "resolve_type", None) is not None:
            return None
        found: dict[type, GraphQLObjectType] = {}
        for possible in schema.get_possible_types(kind):
            definition = _definition(possible)
            if definition is None or definition.concrete_of or definition.is_graphql_generic:
                return None
            if definition.origin in found:
                return None
            found[definition.origin] = possible
        return Possible(found, TYPE_CAST_ATTRIBUTE)

    def input_list(self, item: GraphQLInputObjectType) -> Callable[[list[Any]], list[Any]] | None:
        return self.input_lists(item)

    def info(self, run: "Run", field: "Field", link: Link) -> GraphQLResolveInfo[Any]:
        found: Any = tuple.__new__(
            _OperationContextAwareGraphQLResolveInfo,
            (
                field.name,
                field.nodes,
                field.kind,
                field.parent,
                as_path(link),
                self.schema._schema,
                run.plan.fragment_definitions,
                run.root_value,
                run.plan.operation,
                run.coerced,
                run.context_value,
                run.is_awaitable,
                run.abort_signal,
                run.async_helpers,
                None,
            ),
        )
        return found  # type: ignore[no-any-return]

    def _is_bare(self, field: GraphQLField, known: StrawberryField) -> bool:
        """Whether the field's resolver is Strawberry's own and does nothing besides."""
        return (
            not known.extensions
            and getattr(field.resolve, "__module__", None) == _CONVERTER
            and getattr(field.resolve, "__name__", None) in _RESOLVERS
            and not self.schema.schema_converter._get_field_exception_handlers(known)
        )

    def _direct(self, known: StrawberryField) -> Resolver:
        """As `from_resolver` of Strawberry's converter, for the parameters that it has."""
        resolver = known.base_resolver
        assert resolver is not None
        function: Any = resolver.wrapped_func
        make_info = self.schema.config.info_class
        takes_self = resolver.self_parameter is not None
        sources = [
            it.name for it in (resolver.parent_parameter, resolver.root_parameter) if it is not None
        ]
        info_name = resolver.info_parameter.name if resolver.info_parameter else None
        converters = [self._converter(it) for it in known.arguments]
        as_given = all(it.convert is None and it.name == it.python_name for it in converters)
        if takes_self and not sources and as_given:
            if info_name is None:
                return Resolver(function, takes_info=False)
            if info_name == "info":
                return Resolver(
                    lambda source, info, **given: function(
                        source, info=make_info(_raw_info=info, _field=known), **given
                    )
                )

        def resolve(source: Any, info: GraphQLResolveInfo[Any], **given: Any) -> Any:
            wrapped = make_info(_raw_info=info, _field=known)
            values: dict[str, Any] = {}
            for name, python_name, convert in converters:
                if name in given:
                    value = given[name]
                    values[python_name] = value if convert is None else convert(value, wrapped)
            for name in sources:
                values[name] = source
            if info_name is not None:
                values[info_name] = wrapped
            return function(source, **values) if takes_self else function(**values)

        return Resolver(resolve)

    def _converter(self, argument: StrawberryArgument) -> "_Converter":
        assert argument.python_name
        name = self.schema.config.name_converter.from_argument(argument)
        registry = self.schema.schema_converter.scalar_registry
        kind, config = argument.type, self.schema.config
        if self._is_leaf(kind):
            return _Converter(name, argument.python_name, None)

        def convert(value: Any, info: Any) -> Any:
            return convert_argument(value, kind, registry, config, info, path=(name,))

        return _Converter(name, argument.python_name, convert)

    def _is_leaf(self, kind: Any) -> bool:
        """Whether values are converted to themselves."""
        if isinstance(kind, StrawberryOptional) and not isinstance(kind, StrawberryMaybe):
            kind = kind.of_type
        if isinstance(kind, StrawberryOptional | StrawberryList) or kind is GlobalID:
            return False
        if isinstance(kind, StrawberryEnumDefinition):
            return True
        return isinstance(kind, type) and kind in (str, int, float, bool)


def _definition(kind: GraphQLObjectType) -> StrawberryObjectDefinition | None:
    """Of a type whose objects are ordinary: neither exceptions nor awaitable, and what they
    are is decided by their class."""
    found = kind.extensions.get(_DEFINITION)
    if not isinstance(found, StrawberryObjectDefinition) or found.is_type_of is not None:
        return None
    origin = found.origin
    if issubclass(origin, Exception) or not origin.__dictoffset__:
        return None
    if hasattr(origin, "__await__") or hasattr(origin, "__getattr__"):
        return None
    if found.concrete_of is None and origin.__strawberry_definition__ is not found:
        return None
    return found


def _members(kind: GraphQLEnumType) -> Rule | None:
    wanted = getattr(kind, "wrapped_cls", None)
    if not (isinstance(wanted, type) and issubclass(wanted, Enum)) or issubclass(wanted, Flag):
        return None
    try:
        return leaves.Member(wanted, {it._name_: kind.coerce_output_value(it) for it in wanted})
    except ValueError:  # A member that is no value of the type: each is looked at.
        return None
