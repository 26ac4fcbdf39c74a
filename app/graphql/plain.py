"""The part of an answer that is only looked up: compiled once for a document.

Most fields have no resolver: their value is an attribute. For a selection that holds nothing
else, `Plans` makes one function from the object to its part of the answer. The function knows
the ordinary case alone. Whatever is not ordinary (a null that may not be, a value of another
class, something to await, an exception) makes it raise `Unusual`; then graphql-core completes
the same value from the beginning, so its results and errors are the only ones there are.

Reading twice is harmless: attributes, and resolvers that take neither arguments nor `info`,
depend on their object alone.
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLAbstractType,
    GraphQLEnumType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
    Visitor,
    visit,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, GroupedFieldSet
from graphql.utilities import type_from_ast
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.cast import TYPE_CAST_ATTRIBUTE
from strawberry.types.field import StrawberryField

from app.graphql import leaves
from app.graphql.flat_inputs import FlatLists
from app.graphql.leaves import UNUSUAL, Complete, NotPlain

Step = tuple[str, FieldDetailsList, Complete | None]
"""A field of a selection: its key in the answer, its nodes, and how the object that has it
becomes its value; None when graphql-core must run it."""

_DEFINITION = "strawberry-definition"


class Plans:
    """What is compiled of one document; made when first needed, and kept with it."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self.document = document
        self.constant = not _varies(document)
        """Whether each execution collects the same fields: so what was collected once, and the
        functions for it, hold for all. Nothing else may be asked of other plans."""
        self.flat_lists = FlatLists(schema, document)
        self._schema = schema
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._roots: dict[int, GroupedFieldSet] = {}
        self._collected: dict[tuple[GraphQLObjectType, int], CollectedFields] = {}
        self._steps_of: dict[int, list[Step]] = {}
        self._values: dict[tuple[GraphQLOutputType, int], Complete | None] = {}

    # Lists that graphql-core makes for each execution are kept from the first one, so that
    # they can be told by their identity.

    def root(self, operation: OperationDefinitionNode, found: GroupedFieldSet) -> GroupedFieldSet:
        """The fields of an operation as they were collected first."""
        return self._roots.setdefault(id(operation), found)

    def collected(
        self,
        kind: GraphQLObjectType,
        details: FieldDetailsList,
        collect: Callable[[GraphQLObjectType, FieldDetailsList], CollectedFields],
    ) -> CollectedFields:
        """The fields below a field."""
        key = (kind, id(details))
        found = self._collected.get(key)
        if found is None:
            found = self._collected[key] = collect(kind, details)
        return found

    def steps(self, parent: GraphQLObjectType, grouped: GroupedFieldSet) -> list[Step]:
        """The fields of a selection, each with its function if it is only looked up."""
        found = self._steps_of.get(id(grouped))
        if found is None:
            found = self._steps_of[id(grouped)] = [
                (name, details, self._make(partial(self._whole_field, parent, _nodes(details))))
                for name, details in grouped.items()
            ]
        return found

    def value(self, kind: GraphQLOutputType, details: FieldDetailsList) -> Complete | None:
        """For what a resolver has returned for a field of type `kind`."""
        key = (kind, id(details))
        try:
            return self._values[key]
        except KeyError:
            made = self._make(partial(self._completed, kind, _nodes(details)))
            self._values[key] = made
            return made

    def _make(self, compile: Callable[[], Complete]) -> Complete | None:
        try:
            return compile()
        except NotPlain:
            return None

    def _whole_field(self, parent: GraphQLObjectType, nodes: Sequence[FieldNode]) -> Complete:
        get, complete = self._step(parent, nodes)
        return lambda source: complete(get(source))

    def _step(
        self, parent: GraphQLObjectType, nodes: Sequence[FieldNode]
    ) -> tuple[Callable[[Any], Any], Complete]:
        """How the value of a field is read, and how it is completed."""
        name = nodes[0].name.value
        if name == "__typename":
            return lambda _: parent.name, _same
        field = parent.fields.get(name)
        if field is None or field.args or nodes[0].arguments:
            raise NotPlain
        return _reader(field.extensions.get(_DEFINITION)), self._completed(field.type, nodes)

    def _completed(self, kind: GraphQLOutputType, nodes: Sequence[FieldNode]) -> Complete:
        if isinstance(kind, GraphQLNonNull):
            return self._nullable(kind.of_type, nodes)
        return _optional(self._nullable(kind, nodes))

    def _nullable(self, kind: GraphQLOutputType, nodes: Sequence[FieldNode]) -> Complete:
        """For values that are not null; null is as unusual as any other class."""
        if isinstance(kind, GraphQLList):
            return _list(self._completed(kind.of_type, nodes))
        if isinstance(kind, GraphQLObjectType):
            return self._object(kind, nodes)
        if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
            return self._abstract(kind, nodes)
        assert isinstance(kind, GraphQLScalarType | GraphQLEnumType)
        return leaves.leaf(kind)

    def _object(self, kind: GraphQLObjectType, nodes: Sequence[FieldNode]) -> Complete:
        definition = _definition(kind)
        classes = [definition.origin]
        if definition.concrete_of is not None:
            classes.append(definition.concrete_of.origin)
        fields = self._steps(kind, nodes)
        first, last = classes[0], classes[-1]
        uncast = kind.is_type_of is None

        def complete(value: Any) -> dict[str, Any]:
            found = value.__class__
            if found is not first and found is not last:
                raise UNUSUAL
            if not uncast and TYPE_CAST_ATTRIBUTE in value.__dict__:
                raise UNUSUAL
            return {key: complete(get(value)) for key, get, complete in fields}

        return complete

    def _abstract(self, kind: GraphQLAbstractType, nodes: Sequence[FieldNode]) -> Complete:
        """By the class of the value: that of exactly one possible type."""
        definition = kind.extensions.get(_DEFINITION)
        if getattr(definition, "resolve_type", None) is not None:
            raise NotPlain
        by_class: dict[type, Complete] = {}
        for possible in self._schema.get_possible_types(kind):
            found = _definition(possible)
            if found.concrete_of is not None or found.is_graphql_generic:
                raise NotPlain
            by_class[found.origin] = self._object(possible, nodes)

        def complete(value: Any) -> Any:
            known = by_class.get(value.__class__)
            if known is None or TYPE_CAST_ATTRIBUTE in value.__dict__:
                raise UNUSUAL
            return known(value)

        return complete

    def _steps(
        self, kind: GraphQLObjectType, nodes: Sequence[FieldNode]
    ) -> list[tuple[str, Callable[[Any], Any], Complete]]:
        grouped: dict[str, list[FieldNode]] = {}
        seen: set[str] = set()
        for node in nodes:
            if node.selection_set is not None:
                self._collect(node.selection_set, kind, grouped, seen)
        return [(key, *self._step(kind, found)) for key, found in grouped.items()]

    def _collect(
        self,
        selections: SelectionSetNode,
        kind: GraphQLObjectType,
        grouped: dict[str, list[FieldNode]],
        seen: set[str],
    ) -> None:
        """As graphql-core does, without directives."""
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                key = (selection.alias or selection.name).value
                grouped.setdefault(key, []).append(selection)
                continue
            part: Any = selection
            if isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                part = self._fragments[name]
                if name in seen or not self._applies(part, kind):
                    continue
                seen.add(name)
            elif not self._applies(part, kind):
                continue
            self._collect(part.selection_set, kind, grouped, seen)

    def _applies(
        self, part: FragmentDefinitionNode | InlineFragmentNode, kind: GraphQLObjectType
    ) -> bool:
        if part.type_condition is None:
            return True
        condition = type_from_ast(self._schema, part.type_condition)
        if condition is kind:
            return True
        return isinstance(
            condition, GraphQLInterfaceType | GraphQLUnionType
        ) and self._schema.is_sub_type(condition, kind)


def _nodes(details: FieldDetailsList) -> list[FieldNode]:
    return [detail.node for detail in details]


def _varies(document: DocumentNode) -> bool:
    """Whether variables decide what is collected: by directives, or by those of fragments."""
    found = False

    class Search(Visitor):
        def enter(self, node: Node, *_: Any) -> Any:
            nonlocal found
            of_fragment = isinstance(node, FragmentDefinitionNode) and node.variable_definitions
            if isinstance(node, DirectiveNode) or of_fragment:
                found = True
                return self.BREAK
            return None

    visit(document, Search())
    return found


def _definition(kind: GraphQLObjectType) -> StrawberryObjectDefinition:
    """Of a type whose objects are ordinary: neither exceptions nor awaitable, and what they
    are is decided by their class."""
    definition = (kind.extensions or {}).get(_DEFINITION)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.is_type_of is not None:
        raise NotPlain
    origin = definition.origin
    if issubclass(origin, Exception) or hasattr(origin, "__await__"):
        raise NotPlain
    if definition.concrete_of is None and origin.__strawberry_definition__ is not definition:
        raise NotPlain
    return definition


def _reader(field: StrawberryField | None) -> Callable[[Any], Any]:
    if field is None or field.extensions:
        raise NotPlain
    resolver = field.base_resolver
    if resolver is None:
        if field.default_resolver is not getattr:
            raise NotPlain
        return attrgetter(field.python_name)
    if resolver.is_async or resolver.arguments or resolver.info_parameter is not None:
        raise NotPlain
    if resolver.self_parameter is None:
        raise NotPlain
    reader: Callable[[Any], Any] = resolver._unbound_wrapped_func
    return reader


def _same(value: Any) -> Any:
    return value


def _optional(complete: Complete) -> Complete:
    def optional(value: Any) -> Any:
        return None if value is None else complete(value)

    return optional


def _list(complete: Complete) -> Complete:
    def items(value: Any) -> list[Any]:
        if value.__class__ is not list:
            raise UNUSUAL
        return [complete(item) for item in value]

    return items
