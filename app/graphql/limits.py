"""How large a request may be, before the parser and after it.

The pass over the parsed document visits each fragment once, so it is linear in the size of
the text even where spreads nest: the same fragment spread twice costs a look-up.
"""

from dataclasses import dataclass
from typing import NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    NamedTypeNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

from app.errors import RequestFailed
from app.graphql.paging import PAGE_MAX

_LIST_LENGTH = 10
"""What a plain list without a page size is taken to hold."""

_NESTED_MAX = 100
"""Selection sets inside each other, inline fragments and spreads included: what this pass
itself can follow on Python's stack, far above any useful depth."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Each is the largest that is still accepted."""

    body_bytes: int = 1_000_000
    document_bytes: int = 16_384
    json_depth: int = 32
    """Objects and lists inside each other in the body, which itself is the first."""
    tokens: int = 1_000
    depth: int = 16
    """Fields inside each other. The introspection query of common tools needs 15."""
    aliases: int = 30
    directives: int = 30
    cost: int = 10_000
    """Fields in the answer, estimated: a list multiplies what is selected in it."""


class LimitExceeded(RequestFailed):
    """The document is larger than the server accepts; the message names which limit."""

    code = "LIMIT_EXCEEDED"


class Size(NamedTuple):
    """Of one operation or fragment, with what it spreads counted wherever it is spread."""

    depth: int
    aliases: int
    directives: int
    cost: int


def check_document(schema: GraphQLSchema, document: DocumentNode, limits: Limits) -> None:
    """Raises LimitExceeded. Fragments are held to the same limits as operations, used or
    not, because validation visits all of them."""
    measure = _Measure(schema, document)
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            _check(measure.operation(definition), limits)
        elif isinstance(definition, FragmentDefinitionNode):
            _check(measure.fragment(definition.name.value, 0), limits)


def _check(size: Size, limits: Limits) -> None:
    for found, allowed, what in (
        (size.depth, limits.depth, "deep"),
        (size.aliases, limits.aliases, "aliases"),
        (size.directives, limits.directives, "directives"),
        (size.cost, limits.cost, "fields in the answer, as estimated"),
    ):
        if found > allowed:
            raise LimitExceeded(f"The operation is too large: at most {allowed} {what}.")


class _Measure:
    """Sizes of one document's operations; each fragment is measured once."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._known: dict[str, Size] = {}
        self._open: set[str] = set()

    def operation(self, node: OperationDefinitionNode) -> Size:
        root = self._schema.get_root_type(node.operation)
        directives = len(node.directives or ()) + sum(
            len(variable.directives or ()) for variable in node.variable_definitions or ()
        )
        size = self._selections(node.selection_set, root, 1)
        return size._replace(directives=size.directives + directives)

    def fragment(self, name: str, nested: int) -> Size:
        """Raises LimitExceeded when the fragment spreads itself."""
        known = self._known.get(name)
        if known is not None:
            return known
        node = self._fragments.get(name)
        if node is None:
            return Size(0, 0, 0, 0)  # Validation will say that there is no such fragment.
        if name in self._open:
            raise LimitExceeded("A fragment spreads itself.")
        self._open.add(name)
        size = self._selections(node.selection_set, self._type(node.type_condition), nested + 1)
        self._open.discard(name)
        size = size._replace(directives=size.directives + len(node.directives or ()))
        self._known[name] = size
        return size

    def _selections(
        self, node: SelectionSetNode, parent: GraphQLCompositeType | None, nested: int
    ) -> Size:
        if nested > _NESTED_MAX:
            raise LimitExceeded(f"Selections are nested more than {_NESTED_MAX} deep.")
        depth = aliases = directives = cost = 0
        for selection in node.selections:
            if isinstance(selection, FieldNode):
                size = self._field(selection, parent, nested)
            elif isinstance(selection, FragmentSpreadNode):
                size = self.fragment(selection.name.value, nested)
            else:
                assert isinstance(selection, InlineFragmentNode)
                condition = selection.type_condition
                inner = parent if condition is None else self._type(condition)
                size = self._selections(selection.selection_set, inner, nested + 1)
            depth = max(depth, size.depth)
            aliases += size.aliases
            directives += size.directives + len(selection.directives or ())
            cost += size.cost
        return Size(depth, aliases, directives, cost)

    def _field(self, node: FieldNode, parent: GraphQLCompositeType | None, nested: int) -> Size:
        alias = 1 if node.alias else 0
        if node.selection_set is None:
            return Size(1, alias, 0, 1)
        field = parent and self._schema.get_field(parent, node.name.value)
        inner = get_named_type(field.type) if field else None
        size = self._selections(
            node.selection_set, inner if is_composite_type(inner) else None, nested + 1
        )
        times = _length(node, field, parent) if field and parent else 1
        return Size(size.depth + 1, size.aliases + alias, size.directives, 1 + times * size.cost)

    def _type(self, condition: NamedTypeNode) -> GraphQLCompositeType | None:
        found = self._schema.get_type(condition.name.value)
        return found if is_composite_type(found) else None


def _length(node: FieldNode, field: GraphQLField, parent: GraphQLCompositeType) -> int:
    """How many values of its type a field is taken to hold."""
    if "first" in field.args:
        return _page_size(node, field)
    if not is_list_type(get_nullable_type(field.type)):
        return 1
    # The connection's `first` has multiplied already; introspection lists are in memory and
    # have a validation rule of their own.
    if _is_connection(parent) or parent.name.startswith("__"):
        return 1
    return _LIST_LENGTH


def _page_size(node: FieldNode, field: GraphQLField) -> int:
    for argument in node.arguments or ():
        if argument.name.value == "first":
            if isinstance(argument.value, IntValueNode):
                # The text is short enough to convert: the document's size is bounded.
                digits = argument.value.value
                return max(1, min(int(digits), PAGE_MAX)) if len(digits) < 10 else PAGE_MAX
            if isinstance(argument.value, VariableNode):
                return PAGE_MAX  # Whatever it holds: a document is measured once.
    default = field.args["first"].default_value
    return max(1, min(default, PAGE_MAX)) if isinstance(default, int) else PAGE_MAX


def _is_connection(parent: GraphQLCompositeType) -> bool:
    return isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) and parent.name.endswith(
        "Connection"
    )
