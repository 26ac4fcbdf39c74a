"""Our executor gives what graphql-core gives: data, errors, nulls and order, for ordinary values
and for every odd one."""

import asyncio
import gc
import math
import re
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Annotated, Any, Generic, TypeVar

import pytest
import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    OperationDefinitionNode,
    parse,
    subscribe,
)
from graphql.pyutils import Undefined
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext, validate_document

from app.graphql import executor, plans
from app.graphql.documents import Operation
from app.graphql.scalars import SCALARS


@strawberry.enum
class Colour(StrEnum):
    RED = "RED"
    BLUE = "blue"


class Shade(Enum):
    RED = "RED"


class Blank(str):
    """Written as null when empty, which is no output."""


BLANK = strawberry.scalar(
    name="Blank", serialize=lambda value: value or None, parse_value=lambda value: Blank(value)
)


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Cat(Named):
    lives: int


@strawberry.type
class Dog(Named):
    good: bool | None


@strawberry.type
class Fish:
    """Implements nothing, so nothing asks twice what it is."""

    fins: int | None


Pet = Annotated[Cat | Dog | Fish, strawberry.union("Pet")]


@strawberry.type
class Wolf(Dog):
    """Not among the pets."""


T = TypeVar("T")


@strawberry.type
class Page(Generic[T]):
    items: list[T]
    total: int


@strawberry.type
class Box:
    text: str
    maybe: str | None
    number: int
    ratio: float
    flag: bool
    id: strawberry.ID
    colour: Colour
    at: datetime
    day: date | None
    amount: Decimal
    blank: Blank | None
    numbers: list[int]
    matrix: list[list[int | None] | None]
    named: Named | None
    pet: Pet
    pets: list[Pet]
    box: "Box | None"
    boxes: list["Box"]
    page: Page[Cat]
    pages: list[Page[Named] | None]

    @strawberry.field
    def shout(self) -> str:
        return self.text.upper()

    @strawberry.field
    def fails(self) -> str | None:
        raise ValueError("it fails")

    @strawberry.field
    def fails_hard(self) -> str:
        raise ValueError("it fails hard")

    @strawberry.field
    def times(self, by: int = 2) -> int:
        return self.number * by

    @strawberry.field
    def asked(self, info: strawberry.Info) -> str:
        return f"{info.field_name} at {info.path.key}"

    @strawberry.field
    async def later(self) -> "Box | None":
        await asyncio.sleep(0)
        return self.box

    @strawberry.field
    async def fails_later(self) -> str | None:
        await asyncio.sleep(0)
        raise ValueError("it fails later")


class Text(str):
    pass


class Sub(Box):
    """A class of its own, and no type of the schema."""


async def promised(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def cat(name: Any = "Tom", lives: Any = 9) -> Cat:
    return Cat(name=name, lives=lives)


def box(**changes: Any) -> Box:
    usual: dict[str, Any] = {
        "text": "a", "maybe": None, "number": 7, "ratio": 0.5, "flag": True, "id": "x1",
        "colour": Colour.BLUE, "at": datetime(2026, 3, 1, tzinfo=UTC), "day": date(2026, 3, 1),
        "amount": Decimal("1.50"), "blank": Blank("x"), "numbers": [1, 2], "matrix": [[1, None], None, []],
        "named": cat(), "pet": Dog(name="Rex", good=None), "pets": [cat(), Dog(name="Rex", good=True)],
        "box": None, "boxes": [], "page": Page(items=[cat()], total=1),
        "pages": [None, Page(items=[cat(), Dog(name="R", good=False)], total=2)],
    }  # fmt: skip
    made: Box = object.__new__(Box)
    made.__dict__.update(usual | changes)
    return made


MISSING = object()
ODD: dict[str, Callable[[], Any]] = {
    "null": lambda: None,
    "undefined": lambda: Undefined,
    "text": lambda: "RED",
    "digits": lambda: "12",
    "text of a subclass": lambda: Text("blue"),
    "empty text": lambda: "",
    "int": lambda: 3,
    "int too large": lambda: 2**31,
    "smallest int": lambda: -(2**31),
    "bool": lambda: True,
    "float": lambda: 1.5,
    "whole float": lambda: 2.0,
    "nan": lambda: math.nan,
    "infinity": lambda: math.inf,
    "decimal": lambda: Decimal("3.0"),
    "bytes": lambda: b"x",
    "enum": lambda: Colour.RED,
    "other enum": lambda: Shade.RED,
    "instant": lambda: datetime(2026, 3, 1, tzinfo=UTC),
    "exception": lambda: ValueError("it is an error"),
    "coded exception": lambda: GraphQLError("refused", extensions={"code": "NO"}),
    "promise": lambda: promised("RED"),
    "promise of null": lambda: promised(None),
    "promise of an exception": lambda: promised(ValueError("later")),
    "list": lambda: [1, 2],
    "list with null": lambda: [1, None, 2],
    "list with wrong item": lambda: [1, "two", 3],
    "list with exception": lambda: [1, ValueError("in the list"), 3],
    "list with promise": lambda: [promised(1), 2, promised(None)],
    "list of lists": lambda: [[1], ["x"], None, [2**40]],
    "tuple": lambda: (1, 2),
    "set": lambda: {1},
    "generator": lambda: iter([1, 2]),
    "dict": lambda: {"name": "Tom", "text": "a"},
    "object": object,
    "cat": cat,
    "cat without a name": lambda: cat(name=None),
    "cat with wrong lives": lambda: cat(lives="many"),
    "cats": lambda: [cat(), cat(name=None), cat(lives=[])],
    "cat and null": lambda: [cat(), None],
    "cat and promise": lambda: [cat(), promised(cat(name=None))],
    "dog": lambda: Dog(name="Rex", good=False),
    "wolf": lambda: Wolf(name="W", good=False),
    "cast object": lambda: strawberry.cast(Dog, Bare(name="Rex", good=True)),
    "cat cast to dog": lambda: strawberry.cast(Dog, cat()),
    "fish": lambda: Fish(fins=2),
    "fish cast to dog": lambda: strawberry.cast(Dog, Fish(fins=2)),
    "pets": lambda: [
        cat(),
        Fish(fins=2),
        strawberry.cast(Dog, Fish(fins=2)),
        Dog(name="R", good=1),
    ],
    "bare object": lambda: Bare(name="Rex", lives=2),
    "box": box,
    "box with errors": lambda: box(text=None, number="x"),
    "boxes": lambda: [box(), box(maybe=3)],
    "boxes with errors": lambda: [box(), box(text=None), box(number=2**40)],
    "subclass": lambda: subclass(),
    "page": lambda: Page(items=[cat(name=None)], total=1),
    "pages": lambda: [Page(items=[cat()], total=None), None, Page(items=None, total=1)],
    "missing": lambda: MISSING,
}


class Bare:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def subclass() -> Sub:
    made: Sub = object.__new__(Sub)
    made.__dict__.update(box().__dict__)
    return made


@strawberry.type
class Query:
    @strawberry.field
    async def box(self, info: strawberry.Info) -> Box:
        return info.context()

    @strawberry.field
    def nullable_box(self, info: strawberry.Info) -> Box | None:
        return info.context()

    @strawberry.field
    async def boxes(self, info: strawberry.Info) -> list[Box | None] | None:
        return [info.context(), None, info.context()]

    @strawberry.field
    async def pet(self, info: strawberry.Info) -> Pet | None:
        return info.context()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def boxes(self, info: strawberry.Info, count: int = 2) -> AsyncGenerator[Box, None]:
        for number in range(count):
            yield info.context(number)

    @strawberry.subscription
    async def fails(self) -> AsyncGenerator[Box, None]:
        raise ValueError("no stream")
        yield

    @strawberry.subscription
    async def breaks(self, info: strawberry.Info) -> AsyncGenerator[Box | None, None]:
        yield info.context(1)
        raise ValueError("the stream breaks")


schema = strawberry.Schema(
    query=Query,
    subscription=Subscription,
    types=[Cat, Dog, Wolf],
    config=StrawberryConfig(scalar_map={**SCALARS, Blank: BLANK}),
)

LEAVES = """
fragment Leaves on Box { text maybe number ratio flag id colour at day amount blank numbers matrix }
fragment Deep on Box {
  ...Leaves kind: __typename again: text
  named { __typename name ... on Cat { lives } ... on Dog { good } }
  pet { ... on Named { name } ... on Cat { lives } ... on Dog { good } __typename }
  pets { __typename ... on Cat { name lives } ... on Fish { fins } }
  box { ...Leaves shout }
  boxes { id ...Leaves box { text } text }
  page { total items { name lives } }
  pages { items { name } total }
}
"""
DOCUMENTS = {
    "all": "{ box { ...Deep } }",
    "nullable": "{ nullableBox { ...Deep } }",
    "resolvers": """{ box { shout text fails later { ...Leaves shout } number times(by: 3) asked
      failsLater maybe boxes { asked text ...Leaves } } }""",
    "lists": "{ boxes { ...Deep fails } }",
    "merged": "{ box { box { text } ...Leaves box { number id: text } } other: box { ...Deep } }",
    "directives": """query ($no: Boolean = false, $yes: Boolean = true) { box {
      text @skip(if: $yes) number @include(if: $no) ... @include(if: $yes) { ...Leaves }
      ... on Box @skip(if: $no) { box { ...Leaves @include(if: $yes) maybe } } } }""",
    "hard failure": "{ nullableBox { text failsHard number } box { maybe } }",
}


def operation(text: str, *, of: strawberry.Schema = schema) -> Operation:
    used = text + "".join(
        f"fragment {part}"
        for part in LEAVES.split("fragment ")[1:]
        if f"...{part.split()[0]}" in text or (part.startswith("Leaves") and "...Deep" in text)
    )
    document: DocumentNode = parse(used)
    assert validate_document(of._schema, document, ()) == []
    node = next(it for it in document.definitions if isinstance(it, OperationDefinitionNode))
    name = node.name.value if node.name else None
    plan = plans.compile(of, document, node)
    return Operation(document, node, name, trusted=False, plan=plan)


async def both(
    asked: Operation,
    make: Callable[[], Any],
    *,
    of: strawberry.Schema = schema,
    variables: dict[str, Any] | None = None,
) -> tuple[Any, Any]:
    """What ours and graphql-core's executor answer, as a client would see it; each has a
    context of its own."""
    ours = await executor.execute(asked.plan, variables=variables or {}, context=make())
    built: Any = StrawberryGraphQLCoreExecutionContext.build(
        of._schema,
        asked.document,
        context_value=make(),
        raw_variable_values=variables or {},
        operation_name=asked.name,
        operation_extensions=None,
    )
    theirs = built.execute_operation()
    if asyncio.iscoroutine(theirs):
        theirs = await theirs
    return shown(ours), shown(theirs)


_ADDRESS = re.compile("0x[0-9a-f]+")


def shown(result: Any) -> tuple[str, list[str]]:
    """The data with the order of its keys, and the errors in theirs."""
    errors = [f"{error.formatted} {error.original_error!r}" for error in result.errors or ()]
    return _ADDRESS.sub("", repr(result.data)), [_ADDRESS.sub("", it) for it in errors]


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_ordinary_values(name: str) -> None:
    asked = operation(DOCUMENTS[name])

    def make() -> Any:
        return lambda: box(box=box(), boxes=[box(), box(number=-1)])

    for _ in range(2):  # The second time everything is compiled.
        ours, theirs = await both(asked, make)
        assert ours == theirs
    assert "'text': 'a'" in ours[0] or name in ("directives", "hard failure")


def attributes() -> list[str]:
    return [name for name in box().__dict__]


@pytest.mark.parametrize("document", ["all", "lists", "resolvers", "directives"])
@pytest.mark.parametrize("attribute", attributes())
async def test_every_odd_value_of_every_attribute(document: str, attribute: str) -> None:
    asked = operation(DOCUMENTS[document])
    for name, odd in ODD.items():

        def make(odd: Callable[[], Any] = odd) -> Any:
            def root() -> Box:
                made = box(**{attribute: odd()})
                if made.__dict__[attribute] is MISSING:
                    del made.__dict__[attribute]
                if attribute not in ("box", "boxes"):
                    made.box, made.boxes = box(), [box()]
                return made

            return root

        ours, theirs = await both(asked, make)
        assert ours == theirs, (document, attribute, name)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "text",
    [
        "{ box { text box { id } } }",
        "{ nullableBox { ...Leaves } }",
        "{ boxes { number } }",
        "{ pet { __typename ... on Cat { lives } ... on Dog { good } ... on Fish { fins } } }",
    ],
)
async def test_every_odd_value_of_a_resolver(text: str, odd: str) -> None:
    ours, theirs = await both(operation(text), lambda: ODD[odd])
    assert ours == theirs


async def events(found: Any) -> Any:
    """The results of a subscription, and how it ended."""
    if isinstance(found, ExecutionResult):
        return shown(found)
    said: list[Any] = []
    try:
        async for result in found:
            said.append(shown(result))
    except ValueError as error:
        said.append(repr(error))
    return said


@pytest.mark.parametrize("odd", sorted(ODD))
@pytest.mark.parametrize(
    "text",
    [
        "subscription ($n: Int = 2) { boxes(count: $n) { ...Leaves box { text shout later { id } } } }",
        "subscription { boxes(count: 0) { text } }",
        "subscription { breaks { text maybe @skip(if: true) } }",
        "subscription { fails { text } }",
    ],
)
async def test_each_event_of_a_subscription(text: str, odd: str) -> None:
    asked = operation(text)

    def make() -> Any:
        return lambda number: box(number=number, box=ODD[odd]() if number else box())

    ours = await executor.subscribe(asked.plan, variables={}, make_context=make)
    theirs = subscribe(
        schema._schema,
        asked.document,
        context_value=make(),
        executor_class=StrawberryGraphQLCoreExecutionContext,
        operation_extensions=None,
    )
    theirs = await theirs if asyncio.iscoroutine(theirs) else theirs
    assert await events(ours) == await events(theirs)


async def test_each_event_has_a_context_of_its_own() -> None:
    asked = operation("subscription { boxes { number } }")
    made: list[int] = []

    def make() -> Any:
        made.append(len(made))
        return lambda number: box(number=10 * number)

    ours: Any = await executor.subscribe(asked.plan, variables={}, make_context=make)
    assert [it.data async for it in ours] == [{"boxes": {"number": 0}}, {"boxes": {"number": 10}}]
    assert made == [0, 1, 2]


values = st.sampled_from(sorted(ODD))


@settings(max_examples=150, deadline=None)
@given(
    first=st.dictionaries(st.sampled_from(attributes()), values, max_size=4),
    second=st.dictionaries(st.sampled_from(attributes()), values, max_size=4),
    document=st.sampled_from(sorted(DOCUMENTS)),
)
def test_several_odd_values_at_once(
    first: dict[str, str], second: dict[str, str], document: str
) -> None:
    def odd(chosen: dict[str, str]) -> dict[str, Any]:
        made = {name: ODD[value]() for name, value in chosen.items()}
        return {name: value for name, value in made.items() if value is not MISSING}

    def make() -> Any:
        return lambda: box(**({"box": box(**odd(second)), "boxes": [box()]} | odd(first)))

    async def compare() -> None:
        ours, theirs = await both(operation(DOCUMENTS[document]), make)
        assert ours == theirs

    # Coroutines that nobody awaits are told of when they are collected: not in the middle of
    # formatting a traceback.
    gc.disable()
    try:
        asyncio.run(compare())
    finally:
        gc.enable()
