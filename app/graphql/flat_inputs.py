"""Lists of inputs that come by the hundred in one request, coerced by functions made once.

graphql-core looks at each value of each item several times, and Strawberry resolves the type of
each field of each item once more: for 500 readings that takes longer than everything that is
done with them. For an input that holds only leaves, put `@flat` above `@strawberry.input`; where
a variable holds a list of such inputs, one function makes them at once. It knows the ordinary
case alone: at anything unusual graphql-core coerces the variables from the beginning, so that
its values and errors are the only ones there are.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from graphql import (
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLScalarType,
    get_nullable_type,
    is_non_null_type,
    is_required_input_field,
)
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.utils.str_converters import to_camel_case

T = TypeVar("T")
Make = Callable[[list[Any]], list[Any]]
"""From the items as they were sent; raises whatever it likes when one is unusual."""

_DEFINITION = "strawberry-definition"
_FLAT: set[Any] = set()
_ROWS: set[Any] = set()


class _Field(NamedTuple):
    name: str
    """In Python."""
    parse: Callable[[Any], Any]
    is_nullable: bool


class _Unusual(Exception):
    pass


def flat(kind: type[T]) -> type[T]:
    """The input's fields are scalars and enums, each with the name that it would have anyway."""
    _FLAT.add(kind)
    return _built(kind, {})


def rows(kind: type[T]) -> type[T]:
    """As `flat`, but what it makes is no object: a tuple of the fields' values, in their order.
    For those of which hundreds are read once."""
    _ROWS.add(kind)
    return flat(kind)


def holding(**held: type) -> Callable[[type[T]], type[T]]:
    """As `flat`, but these fields are inputs of these kinds, or lists of them; each kind is flat
    or holds others."""
    assert all(_definition(kind).from_input for kind in held.values())
    return lambda kind: _built(kind, held)


def _built(kind: type[T], held: Mapping[str, type]) -> type[T]:
    """Have Strawberry build it without a look at each field's type."""
    names = {to_camel_case(it.name): it.name for it in fields(kind)}  # type: ignore[arg-type]
    defaults = _defaults(kind)

    def build(made_of: type, value: Any, context: Any) -> Any:
        if isinstance(value, made_of | tuple):
            return value
        values = {**defaults, **{names[name]: given for name, given in value.items()}}
        for name, inner in held.items():
            given = values[name]
            make: Any = _definition(inner).from_input
            if not isinstance(given, list):
                values[name] = None if given is None else make(inner, given, context)
            elif given and not isinstance(given[0], inner | tuple):
                values[name] = [make(inner, item, context) for item in given]
        if kind in _ROWS:
            return tuple(values[name] for name in names.values())
        made: Any = object.__new__(made_of)
        made.__dict__ = values
        return made

    _definition(kind).from_input = build
    return kind


def _definition(kind: type) -> StrawberryObjectDefinition:
    found: StrawberryObjectDefinition = kind.__strawberry_definition__  # type: ignore[attr-defined]
    return found


def input_list(item: GraphQLInputObjectType) -> Make | None:
    """What makes all items of a list at once, where they are flat inputs."""
    definition: Any = item.extensions.get(_DEFINITION)
    origin = getattr(definition, "origin", None)
    return _make_all(item, origin) if origin is not None and origin in _FLAT else None


def _make_all(item: GraphQLInputObjectType, origin: type) -> Make:
    """Column by column, the items of each shape together: what is sent again and again, as units
    and sources are, is looked at once."""
    names = {to_camel_case(it.name): it.name for it in fields(origin)}
    known = {name: _field(names[name], field) for name, field in item.fields.items()}
    required = {name for name, field in item.fields.items() if is_required_input_field(field)}
    defaults = _defaults(origin)
    new = object.__new__

    def make(shape: tuple[str, ...], sent: list[Any]) -> list[Any]:
        if not required.issubset(shape):
            raise _Unusual
        # One name alone would be no tuple.
        values = map(itemgetter(*shape, shape[0]), sent)
        columns = [
            _parsed(known[name], column)
            for name, column in zip(shape, zip(*values, strict=True))  # noqa: B905
        ]
        given = [known[name].name for name in shape]
        if origin in _ROWS:
            found = dict(zip(given, columns, strict=True))
            ordered = (found.get(name) or repeat(defaults[name]) for name in names.values())
            return list(zip(*ordered))  # noqa: B905 - defaults never end
        left = {name: value for name, value in defaults.items() if name not in given}
        in_order = (*given, *left)
        made = []
        for row in zip(*columns, *map(repeat, left.values())):  # noqa: B905 - they never end
            one: Any = new(origin)
            one.__dict__ = dict(zip(in_order, row, strict=True))
            made.append(one)
        return made

    def make_all(sent: list[Any]) -> list[Any]:
        first = sent[0].keys()
        if set(map(len, sent)) == {len(first)}:
            # As many names, and the same, in whichever order: else `itemgetter` finds one missing.
            with suppress(KeyError):
                return make(tuple(first), sent)
        shapes: dict[tuple[str, ...], list[int]] = {}
        for at, it in enumerate(sent):
            shapes.setdefault(tuple(it), []).append(at)
        made: list[Any] = [None] * len(sent)
        for shape, places in shapes.items():
            for at, one in zip(places, make(shape, [sent[at] for at in places]), strict=True):
                made[at] = one
        return made

    return make_all


def _parsed(field: _Field, column: Sequence[Any]) -> list[Any]:
    parse = field.parse
    distinct = set(column)
    # Nothing but a text equals one, so these are the types of all.
    if set(map(type, distinct)) == {str}:
        found = {text: parse(text) for text in distinct}
        return list(map(found.__getitem__, column))
    if not field.is_nullable and None in column:
        raise _Unusual
    return [None if it is None else parse(it) for it in column]


def _field(name: str, field: GraphQLInputField) -> _Field:
    leaf: Any = get_nullable_type(field.type)
    assert isinstance(leaf, GraphQLScalarType | GraphQLEnumType), f"{name} is no leaf"
    parse: Callable[[Any], Any] = leaf.coerce_input_value
    if isinstance(leaf, GraphQLEnumType):
        parse = {value: parse(value) for value in leaf.values}.__getitem__
    return _Field(name, parse, not is_non_null_type(field.type))


def _defaults(kind: type) -> dict[str, Any]:
    return {it.name: None if it.default is MISSING else it.default for it in fields(kind)}
