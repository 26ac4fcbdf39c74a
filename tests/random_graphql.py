"""Random schemas, data and documents, for comparing executors. Everything follows from the seed
of a `Random`, so that the same data can be made twice: what can be awaited is awaited once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    GraphQLUnionType,
    OperationDefinitionNode,
    is_abstract_type,
    is_leaf_type,
    is_object_type,
)
from graphql.execution import Executor
from graphql.pyutils import Undefined

from app.graphql.executor import Plan

OBJECTS, FIELDS = 4, 6
BUDGET = 60
"""Objects in one piece of data."""


class Later:
    """To be awaited; gives its value, or raises it, after so many turns of the event loop."""

    def __init__(self, value: Any, turns: int) -> None:
        self.value = value
        self.turns = turns

    def __await__(self) -> Iterator[None]:
        for _ in range(self.turns):
            yield
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Raises:
    """A resolver that finds it raises the exception."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Bare:
    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


@dataclass(frozen=True)
class World:
    schema: GraphQLSchema
    make: Callable[[Random, str, dict[str, Any]], Any]
    """An object of a type, by the names of its fields."""
    enum_values: tuple[Any, ...]
    compile: Callable[[DocumentNode, OperationDefinitionNode], Plan]
    executor_class: type[Executor[Any]] = Executor
    """graphql-core's, for comparison."""


# Schemas.


def core_world(rng: Random) -> World:
    """Of graphql-core alone: dictionaries and objects, resolvers of all kinds."""
    colour = GraphQLEnumType("Colour", {"RED": "red", "BLUE": 2, "PALE": None, "DARK": "dark"})
    leaves: list[Any] = [
        GraphQLString, GraphQLInt, GraphQLFloat, GraphQLBoolean, GraphQLID, colour, _odd_scalar(),
    ]  # fmt: skip
    objects: list[GraphQLObjectType] = []
    named = GraphQLInterfaceType(
        "Named", {"name": GraphQLField(GraphQLString)}, resolve_type=_resolve_type(rng)
    )
    plain = GraphQLInterfaceType("Plain", {"name": GraphQLField(GraphQLString)})
    union = GraphQLUnionType("Either", lambda: objects[:2], resolve_type=_resolve_type(rng))
    composites = [lambda: rng.choice(objects), lambda: named, lambda: plain, lambda: union]

    def fields(of: str) -> dict[str, GraphQLField]:
        found = {"name": GraphQLField(GraphQLString, resolve=_resolver(rng, "name"))}
        for number in range(FIELDS):
            name = f"f{number}"
            base = rng.choice(leaves) if rng.random() < 0.55 else rng.choice(composites)()
            arguments = _arguments(rng, colour) if rng.random() < 0.3 else {}
            resolve = told if arguments else _resolver(rng, name)
            kind = GraphQLString if arguments else _wrapped(rng, base)
            found[name] = GraphQLField(kind, arguments, resolve=resolve)
        return found

    for number in range(OBJECTS):
        test = _test(f"T{number}") if number < 3 else None
        objects.append(
            GraphQLObjectType(
                f"T{number}",
                lambda of=f"T{number}": fields(of),
                interfaces=[named, plain] if number != 1 else [plain],
                is_type_of=test if number != 1 else _later_test(test),
            )
        )
    query = GraphQLObjectType("Query", lambda: fields("Query"))
    mutation = GraphQLObjectType("Mutation", lambda: fields("Mutation"))
    schema = GraphQLSchema(query, mutation, types=[*objects, named, plain, union])

    def make(chance: Random, kind: str, values: dict[str, Any]) -> Any:
        values["__typename"] = kind
        return values if chance.random() < 0.6 else Bare({**values, "kind": kind})

    return World(
        schema,
        make,
        ("red", 2, "dark", "RED", None),
        lambda document, operation: Plan(schema, document, operation),
    )


def told(_source: Any, _info: Any, **given: Any) -> str:
    """What the arguments came to."""
    return repr(sorted(given.items(), key=lambda it: it[0]))


def _test(of: str) -> Callable[..., bool]:
    return lambda value, info: _kind(value) == of and _at_field(info)


def _kind(value: Any) -> Any:
    return value.get("__typename") if isinstance(value, dict) else getattr(value, "kind", None)


def _at_field(info: Any) -> bool:
    """The info is that of the field, for the items of its list too."""
    return isinstance(info.path.key, str) and info.path.typename == info.parent_type.name


def _later_test(test: Any) -> Any:
    return lambda value, info: Later(test(value, info), 1)


def _resolve_type(rng: Random) -> Any:
    if rng.random() < 0.3:
        return None
    if rng.random() < 0.3:
        return lambda value, info, _type: Later(_kind(value) if _at_field(info) else 1, 1)
    return lambda value, info, _type: _kind(value) if _at_field(info) else 1


def _odd_scalar() -> GraphQLScalarType:
    def write(value: Any) -> Any:
        if value == 7:
            raise ValueError("no sevens")
        return None if value == "nothing" else f"<{value}>"

    return GraphQLScalarType("Odd", serialize=write, parse_value=lambda value: ("parsed", value))


def _resolver(rng: Random, name: str) -> Any:
    def read(source: Any) -> Any:
        value = source.get(name) if isinstance(source, dict) else getattr(source, name, None)
        if isinstance(value, Raises):
            raise value.error
        return value

    async def resolve_later(source: Any, _info: Any) -> Any:
        await Later(None, turns)
        return read(source)

    turns = rng.randrange(3)
    return rng.choice([None, None, lambda source, _info: read(source), resolve_later])


def _arguments(rng: Random, colour: GraphQLEnumType) -> dict[str, GraphQLArgument]:
    point = GraphQLInputObjectType(
        f"In{rng.randrange(10**9)}",
        {
            "x": GraphQLInputField(GraphQLNonNull(GraphQLInt)),
            "y": GraphQLInputField(GraphQLInt, default_value=3),
            "tags": GraphQLInputField(GraphQLList(GraphQLString), out_name="labels"),
        },
    )
    known = {
        "n": GraphQLArgument(GraphQLInt),
        "d": GraphQLArgument(GraphQLInt, default_value=5, out_name="five"),
        "s": GraphQLArgument(GraphQLString),
        "c": GraphQLArgument(colour, default_value="red"),
        "l": GraphQLArgument(GraphQLList(GraphQLInt)),
        "p": GraphQLArgument(point),
        "r": GraphQLArgument(GraphQLNonNull(GraphQLInt)),
    }
    return {name: known[name] for name in rng.sample(sorted(known), rng.randint(1, 3))}


def _wrapped(rng: Random, kind: Any) -> Any:
    if rng.random() < 0.3:
        kind = GraphQLNonNull(kind)
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        kind = GraphQLList(kind)
        if rng.random() < 0.3:
            kind = GraphQLNonNull(kind)
    return kind


# Data.


def root(rng: Random, world: World, kind: Any, names: Iterable[str]) -> Any:
    made = _Data(rng, world, frozenset(names)).object(kind, 3)
    return made


class _Data:
    def __init__(self, rng: Random, world: World, names: frozenset[str]) -> None:
        self.rng = rng
        self.world = world
        self.names = names
        self.left = BUDGET
        # Most pieces of data are mostly good, so that there are answers to compare.
        self.odd = rng.choice((0.0, 0.01, 0.05, 0.2))

    def object(self, kind: Any, depth: int) -> Any:
        self.left -= 1
        values = {
            name: self.value(field.type, depth)
            for name, field in kind.fields.items()
            if name in self.names
        }
        return self.world.make(self.rng, kind.name, values)

    def value(self, kind: Any, depth: int) -> Any:
        rng = self.rng
        if rng.random() < self.odd:
            return self.unusual()
        made = self.ordinary(kind, depth)
        if rng.random() < 0.05:
            return Later(made, rng.randrange(3))
        return made

    def ordinary(self, kind: Any, depth: int) -> Any:
        rng = self.rng
        required = isinstance(kind, GraphQLNonNull)
        kind = kind.of_type if required else kind
        if not required and rng.random() < 0.1:
            return None
        if isinstance(kind, GraphQLList):
            items = [self.value(kind.of_type, depth) for _ in range(rng.randrange(3))]
            return items if rng.random() < 0.85 else rng.choice((tuple, iter, _async_iter))(items)
        if is_leaf_type(kind):
            return self.leaf(kind)
        if depth == 0 or self.left <= 0:
            return None
        if is_abstract_type(kind):
            possible = self.world.schema.get_possible_types(kind)
            if rng.random() < self.odd:
                possible = [it for it in self.world.schema.type_map.values() if is_object_type(it)]
            kind = rng.choice(list(possible))
            if kind.name.startswith("__"):
                return None
        return self.object(kind, depth - 1)

    def leaf(self, kind: Any) -> Any:
        rng = self.rng
        usual: dict[str, Callable[[], Any]] = {
            "String": lambda: rng.choice(("a", "b", "")),
            "ID": lambda: rng.choice(("i1", 5)),
            "Int": lambda: rng.choice((0, 7, 1, -(2**31), 2**31 - 1, 2**31)),
            "Float": lambda: rng.choice((0.5, 2, -1e300)),
            "Boolean": lambda: rng.random() < 0.5,
            "Odd": lambda: rng.choice((1, "x", (1, 2))),
        }
        made = usual.get(kind.name, lambda: rng.choice(self.world.enum_values))
        return made()

    def unusual(self) -> Any:
        rng = self.rng
        return rng.choice(ODD)(rng)


async def _async_items(items: list[Any]) -> Any:
    for item in items:
        yield item


class _async_iter:
    """An async generator that nobody begins would be reported when it is collected."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __aiter__(self) -> Any:
        return _async_items(self.items)


ODD: tuple[Callable[[Random], Any], ...] = (
    lambda _: None,
    lambda _: None,
    lambda _: Undefined,
    lambda _: ValueError("an exception as value"),
    lambda _: Raises(ValueError("raised by the resolver")),
    lambda rng: Later(ValueError("raised later"), rng.randrange(3)),
    lambda rng: Later(None, rng.randrange(3)),
    lambda rng: Later(Later("twice", 1), rng.randrange(2)),
    lambda _: 7,
    lambda _: 2**40,
    lambda _: float("nan"),
    lambda _: "nothing",
    lambda _: [1, "two", None],
    lambda _: {"__typename": "T0", "name": "a dictionary"},
    lambda _: {"__typename": "Nobody"},
    lambda _: Bare({"name": "a stranger"}),
    lambda _: Bare({"name": lambda _info: "called"}),
    lambda _: lambda *_args, **_named: "called",
    lambda _: True,
)
