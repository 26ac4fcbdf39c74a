"""Random schemas of Strawberry: classes, attributes, resolvers with and without info and arguments,
extensions and permissions; see random_graphql.py."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from random import Random
from typing import Annotated, Any, Union

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.permission import BasePermission
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.graphql import plans
from app.graphql.scalars import SCALARS
from tests.random_graphql import Bare, Later, Raises, World

CLASSES = 4


class Colour(Enum):
    RED = "RED"
    BLUE = 2
    DARK = "dark"


class Shade(Enum):
    RED = "RED"


class Marked(FieldExtension):
    def resolve(self, next_: Callable[..., Any], source: Any, info: Any, **kwargs: Any) -> Any:
        found = next_(source, info, **kwargs)
        return f"*{found}" if isinstance(found, str) else found

    async def resolve_async(
        self, next_: Callable[..., Any], source: Any, info: Any, **kwargs: Any
    ) -> Any:
        found = await next_(source, info, **kwargs)
        return f"*{found}" if isinstance(found, str) else found


class Asked(BasePermission):
    message = "not yours"

    def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        return info.context["sees"]  # type: ignore[no-any-return]


def strawberry_world(rng: Random) -> World:
    colour: Any = strawberry.enum(Colour)
    leaves: list[Any] = [str, int, float, bool, strawberry.ID, colour, datetime, date, Decimal]
    named = strawberry.interface(_class("Named", (), {"name": str | None}, {}))
    classes: list[Any] = []
    for number in range(CLASSES):
        bases = (named,) if number != 1 else ()
        kinds: dict[str, Any] = {} if bases else {"name": str | None}
        composites = [*classes, named]
        if len(classes) >= 2:
            union = strawberry.union(f"Either{number}")
            composites.append(Annotated[Union[classes[0], classes[1]], union])  # noqa: UP007
        classes.append(
            strawberry.type(_fields(rng, f"T{number}", bases, kinds, leaves, composites))
        )
    roots = [*classes, named]
    query = strawberry.type(_fields(rng, "Query", (), {}, leaves, roots, async_fields=True))
    mutation = strawberry.type(_fields(rng, "Mutation", (), {}, leaves, roots, async_fields=True))
    made = strawberry.Schema(
        query, mutation, types=classes, config=StrawberryConfig(scalar_map=SCALARS)
    )
    by_name = {it.__name__: it for it in (*classes, query, mutation)}

    def make(chance: Random, kind: str, values: dict[str, Any]) -> Any:
        python_class = by_name[kind]
        if chance.random() < 0.03:
            return strawberry.cast(python_class, Bare(values))
        found = object.__new__(python_class)
        found.__dict__.update(values)
        if chance.random() < 0.03:
            return strawberry.cast(chance.choice(classes), found)
        return found

    instant = datetime(2026, 3, 1, tzinfo=UTC)
    values = (Colour.RED, Colour.BLUE, Colour.DARK, Shade.RED, "RED", 2, instant, Decimal("1.50"))
    return World(
        made._schema,
        make,
        values,
        lambda document, operation: plans.compile(made, document, operation),
        StrawberryGraphQLCoreExecutionContext,
    )


def _class(
    name: str, bases: tuple[type, ...], kinds: dict[str, Any], members: dict[str, Any]
) -> type:
    return type(name, bases, {"__annotations__": kinds, "__module__": __name__, **members})


def _fields(
    rng: Random,
    name: str,
    bases: tuple[type, ...],
    kinds: dict[str, Any],
    leaves: list[Any],
    composites: list[Any],
    *,
    async_fields: bool = False,
) -> type:
    kinds, members = dict(kinds), dict[str, Any]()
    for number in range(6):
        field = f"f{number}"
        kind = _wrapped(rng, rng.choice(leaves if rng.random() < 0.5 else composites))
        if rng.random() < (0.3 if async_fields else 0.6):
            kinds[field] = kind
        else:
            members[field] = _resolver(rng, field, kind)
    return _class(name, bases, kinds, members)


def _wrapped(rng: Random, kind: Any) -> Any:
    if rng.random() < 0.6:
        kind = kind | None if isinstance(kind, type) else Union[kind, None]  # noqa: UP007
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        kind = list[kind]
        if rng.random() < 0.5:
            kind = kind | None
    return kind


def _resolver(rng: Random, name: str, kind: Any) -> Any:
    function = rng.choice(_functions(name, rng.randrange(3)))
    kind = function.__annotations__.setdefault("return", kind)
    function.__name__ = name
    chance = rng.random()
    if chance < 0.15:
        return strawberry.field(resolver=function, extensions=[Marked()])
    if chance < 0.3:
        return strawberry.field(resolver=function, permission_classes=[Asked])
    return strawberry.field(resolver=function)


def _functions(name: str, turns: int) -> list[Any]:
    """One of each shape. What the first argument of a method is called decides what it gets."""

    def read(source: Any) -> Any:
        value = source.__dict__.get(name)
        if isinstance(value, Raises):
            raise value.error
        return value

    def alone(self):  # type: ignore[no-untyped-def]
        return read(self)

    def with_info(self, info: strawberry.Info):  # type: ignore[no-untyped-def]
        assert info.field_name == name and info.path.key in (name, f"other_{name}")
        return read(self)

    def with_argument(self: Any, by: int | None = 2) -> str:
        return f"{by} {type(self).__name__}"

    async def later(self):  # type: ignore[no-untyped-def]
        await Later(None, turns)
        return read(self)

    async def later_with_all(self: Any, info: strawberry.Info, by: int = 3) -> str:
        await Later(None, turns)
        return f"{by} {info.field_name}"

    async def later_with_info(self, info: strawberry.Info):  # type: ignore[no-untyped-def]
        await Later(None, turns)
        return read(self)

    return [alone, alone, with_info, with_argument, later, later_with_all, later_with_info]
