"""Tuples for objects of an interface, and lists of what is made from a generic type: the answer is
graphql-core's."""

from typing import Any, Generic, TypeVar

import pytest
import strawberry
from graphql import OperationDefinitionNode, parse
from strawberry.schema.schema import validate_document

from app.graphql.documents import Operation
from app.graphql.executor import CLASS, Layout, Plan, Rows
from app.graphql.executor.strawberry import StrawberryDialect
from tests.test_executor import both

T = TypeVar("T")


@strawberry.interface
class Cause:
    id: str


@strawberry.type
class Walk(Cause):
    steps: int = 7

    @strawberry.field
    def words(self) -> str:
        return f"{self.id} walked"


@strawberry.type
class Meal(Cause):
    steps: int = 8


@strawberry.type
class Line:
    amount: int
    cause: Cause | None
    meal: Meal | Walk | None = None


@strawberry.type
class Edge(Generic[T]):
    cursor: str
    node: T


class Edges(Rows):
    layout = Layout(
        ("cursor", "node"),
        {"node": Layout(("amount", "cause"), {"cause": Layout((CLASS, "id"))})},
    )
    made_count = 0

    def made(self, row: tuple[Any, ...]) -> Edge[Line]:
        Edges.made_count += 1
        cursor, (amount, cause) = row
        found = None if cause is None else cause[0](id=cause[1])
        return Edge(cursor=cursor, node=Line(amount=amount, cause=found))


ROWS = [("a", (1, (Walk, "w"))), ("b", (2, None)), ("c", (3, (Meal, "m")))]


@strawberry.type
class Query:
    @strawberry.field
    def lines(self) -> list[Edge[Line]]:
        return Edges(ROWS)  # type: ignore[return-value]

    @strawberry.field
    def causes(self) -> list[Edge[Cause]]:
        return [Edge(cursor="a", node=Walk(id="w"))]


schema = strawberry.Schema(Query, types=[Walk, Meal])
DIALECT = StrawberryDialect(schema=schema, listed={(Edge, Line): Edges})

AS_ROWS = {
    "types and ids": "lines { cursor node { amount cause { __typename id } } }",
    "a field by type": "lines { node { cause { ... on Walk { id } ... on Meal { key: id } } } }",
    "one type alone": "lines { node { cause { ... on Meal { __typename } } } }",
    "nothing of it": "lines { __typename node { __typename amount } }",
    "twice": "lines { node { a: cause { id } b: cause { __typename } } }",
}
AS_OBJECTS = {
    "more of one type": "lines { node { cause { id ... on Walk { steps } } } }",
    "a resolver of one type": "lines { node { cause { id ... on Walk { words } } } }",
    "an attribute that is in no tuple": "lines { node { meal { __typename } } }",
}
OTHERS = {"another list of edges": "causes { cursor node { id } }"}


def operation(selection: str) -> Operation:
    document = parse(f"{{ {selection} }}")
    assert validate_document(schema._schema, document, ()) == []
    [node] = document.definitions
    assert isinstance(node, OperationDefinitionNode)
    return Operation(document, node, None, False, Plan(schema._schema, document, node, DIALECT))


@pytest.mark.parametrize("name", [*AS_ROWS, *AS_OBJECTS, *OTHERS])
async def test_both_executors_give_the_same(name: str) -> None:
    asked = operation((AS_ROWS | AS_OBJECTS | OTHERS)[name])
    for _ in range(2):  # The second time everything is compiled.
        ours, theirs = await both(asked, lambda: None, of=schema)
        assert ours == theirs
        assert ours[1] == []


@pytest.mark.parametrize("name", [*AS_ROWS, *AS_OBJECTS])
async def test_objects_are_made_only_when_they_are_needed(name: str) -> None:
    plan = operation((AS_ROWS | AS_OBJECTS)[name]).plan
    before = Edges.made_count
    run: Any = plan.executor({}).execute_operation()
    data = (await run if hasattr(run, "__await__") else run).data
    assert len(data["lines"]) == len(ROWS)
    assert (Edges.made_count > before) is (name in AS_OBJECTS)
