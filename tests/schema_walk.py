"""Walks the composed schema: every argument that takes an id, and documents that ask for all."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
)

SAMPLES = {
    "Boolean": True,
    "Int": 1,
    "String": "x",
    "Decimal": "1",
    "Date": "2026-03-02",
    "DateTime": "2026-03-02T12:00:00+08:00",
    "LocalTime": "08:00",
    "UUID": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
}
"""A value of each scalar, for arguments that a field cannot do without."""


@dataclass(frozen=True)
class IdArgument:
    """Where an id goes in: `path` leads from the argument to it, through inputs and lists."""

    type: str
    field: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.type}.{self.field}({'.'.join(self.path)})"


def id_arguments(schema: GraphQLSchema) -> Iterator[IdArgument]:
    """Of every field of every type, inputs within inputs included."""
    for type_name, type_ in schema.type_map.items():
        if isinstance(type_, GraphQLObjectType) and not type_name.startswith("__"):
            for field_name, field_ in type_.fields.items():
                for name, argument in field_.args.items():
                    for path in _id_paths(argument.type, (name,), ()):
                        yield IdArgument(type_name, field_name, path)


def _id_paths(
    type_: GraphQLInputType, path: tuple[str, ...], above: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    named = get_named_type(type_)
    if named.name == "ID":
        yield path
    elif isinstance(named, GraphQLInputObjectType) and named.name not in above:
        for name, inner in named.fields.items():
            yield from _id_paths(inner.type, (*path, name), (*above, named.name))


def node_types(schema: GraphQLSchema) -> set[str]:
    node = schema.type_map["Node"]
    assert isinstance(node, GraphQLInterfaceType)
    return {type_.name for type_ in schema.get_possible_types(node)}


@dataclass(frozen=True)
class Asker:
    """Writes documents that select everything down to `depth` objects.

    `values` are those of arguments and input fields, by `Type.field.argument` or
    `Input.field`: they are sent even where the schema could do without.
    """

    schema: GraphQLSchema
    values: Mapping[str, Any] = field(default_factory=dict)
    depth: int = 4

    def root(self, kind: str) -> GraphQLObjectType:
        found = self.schema.type_map[kind]
        assert isinstance(found, GraphQLObjectType)
        return found

    def ask(
        self, way: tuple[tuple[str, str], ...], id_at: tuple[str, ...] = ()
    ) -> tuple[str, dict[str, GraphQLArgument]]:
        """A document for the last field of `way`, (type, field) from the root, and the
        arguments of that field which are its variables."""
        type_name, name = way[-1]
        target = self.root(type_name).fields[name]
        sent = {
            argument_name: argument
            for argument_name, argument in target.args.items()
            if is_required_argument(argument)
            or argument_name in id_at[:1]
            or f"{type_name}.{name}.{argument_name}" in self.values
        }
        selection = f"{name}{_arguments(sent)} {self._selection(target, self.depth)}"
        for _, above in reversed(way[:-1]):
            selection = f"{above} {{ {selection} }}"
        variables = ", ".join(f"${it}: {argument.type}" for it, argument in sent.items())
        declared = f"({variables})" if variables else ""
        return f"{way[0][0].lower()} Asked{declared} {{ {selection} }}", sent

    def variables(
        self,
        way: tuple[tuple[str, str], ...],
        sent: Mapping[str, GraphQLArgument],
        id_at: tuple[str, ...] = (),
        id: str = "",
    ) -> dict[str, Any]:
        """Values for the arguments of `ask`, with `id` in the place `id_at`."""
        type_name, name = way[-1]
        return {
            it: self._value(
                argument.type,
                f"{type_name}.{name}.{it}",
                id_at[1:] if it in id_at[:1] else None,
                id,
            )
            for it, argument in sent.items()
        }

    def _value(
        self, type_: GraphQLInputType, name: str, id_at: tuple[str, ...] | None, id: str
    ) -> Any:
        """`id_at` is the rest of the way to the id; None when it lies elsewhere."""
        if is_non_null_type(type_):
            return self._value(type_.of_type, name, id_at, id)
        if id_at == ():
            return id
        if name in self.values:
            return self.values[name]
        if is_list_type(type_):
            return [self._value(type_.of_type, name, id_at, id)]
        if isinstance(type_, GraphQLInputObjectType):
            return {
                inner: self._value(
                    found.type,
                    f"{type_.name}.{inner}",
                    id_at[1:] if id_at and id_at[0] == inner else None,
                    id,
                )
                for inner, found in type_.fields.items()
                if is_required_input_field(found)
                or (id_at and id_at[0] == inner)
                or f"{type_.name}.{inner}" in self.values
            }
        if isinstance(type_, GraphQLEnumType):
            return next(iter(type_.values))
        return SAMPLES[type_.name]  # type: ignore[union-attr]

    def _selection(self, of: GraphQLField, depth: int) -> str:
        type_: Any = get_named_type(of.type)
        if isinstance(type_, GraphQLObjectType):
            return f"{{ __typename {self._fields(type_, depth)} }}"
        if isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
            parts = [
                f"... on {possible.name} {{ {self._fields(possible, depth)} }}"
                for possible in self.schema.get_possible_types(type_)
            ]
            return f"{{ __typename {' '.join(parts)} }}"
        return ""

    def _fields(self, type_: GraphQLObjectType, depth: int) -> str:
        """Under names of their own: two types may have unlike fields of one name."""
        found = []
        for name, of in type_.fields.items():
            composite = isinstance(
                get_named_type(of.type),
                GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType,
            )
            if composite and depth == 0:
                continue
            literals = ", ".join(
                f"{it}: {self._literal(argument.type, f'{type_.name}.{name}.{it}')}"
                for it, argument in of.args.items()
                if is_required_argument(argument)
            )
            arguments = f"({literals})" if literals else ""
            selection = self._selection(of, depth - 1) if composite else ""
            found.append(f"{type_.name}_{name}: {name}{arguments} {selection}")
        return " ".join(found) or "__typename"

    def _literal(self, type_: GraphQLInputType, name: str) -> str:
        value = self._value(type_, name, None, "")
        return value if isinstance(get_named_type(type_), GraphQLEnumType) else json.dumps(value)


def _arguments(sent: Mapping[str, GraphQLArgument]) -> str:
    return f"({', '.join(f'{name}: ${name}' for name in sent)})" if sent else ""


def strings(value: Any) -> Iterator[str]:
    """Every text in an answer."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def objects(value: Any) -> Iterator[tuple[str, str]]:
    """Type and id of every object with an id in an answer to `Asker.ask`, outermost first."""
    if isinstance(value, Mapping):
        id = value.get(f"{value.get('__typename')}_id")
        if id is not None:
            yield value["__typename"], id
        for inner in value.values():
            yield from objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from objects(inner)
