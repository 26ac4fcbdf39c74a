"""Lists whose objects are made only when they are needed: by tuples or by objects, the answer is
graphql-core's."""

from typing import Any

import pytest
import strawberry
from graphql import OperationDefinitionNode, parse
from strawberry.schema.schema import validate_document

from app.graphql.documents import Operation
from app.graphql.executor import Layout, Plan, Rows
from app.graphql.executor.strawberry import StrawberryDialect
from tests.test_executor import both


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Mark:
    at: str
    points: int
    hidden: strawberry.Private[str] = "hidden"

    @strawberry.field
    def words(self) -> str:
        return f"{self.points} {self.hidden}"


@strawberry.type
class Entry(Named):
    size: int
    mark: Mark | None
    secret: str = "secret"


class Entries(Rows):
    layout = Layout(
        (None, "name", "mark", "size"), {"mark": Layout(("at", None, "points"), nested={})}
    )
    made_count = 0

    def made(self, row: tuple[Any, ...]) -> Entry:
        Entries.made_count += 1
        _, name, mark, size = row
        return Entry(
            name=name, size=size, mark=None if mark is None else Mark(at=mark[0], points=mark[2])
        )

    def first(self, count: int) -> "Entries":
        return Entries(self.rows[:count])


ROWS = [
    (1, "a", ("2026-03-02", "unused", 5), 10),
    (2, "b", None, 20),
    (3, "c", ("2026-03-03", "unused", 0), -1),
]


@strawberry.type
class Query:
    kept: strawberry.Private[Entries]

    @strawberry.field
    def entries(self, first: int = 2) -> list[Entry]:
        return self.kept.first(first)  # type: ignore[return-value]

    @strawberry.field
    async def later(self) -> list[Entry] | None:
        return self.kept  # type: ignore[return-value]

    @strawberry.field
    def names(self) -> list[Named]:
        return self.kept  # type: ignore[return-value]

    @strawberry.field
    def holder(self) -> "Holder":
        return Holder(entries=self.kept)  # type: ignore[arg-type]


@strawberry.type
class Holder:
    entries: list[Entry | None]


@strawberry.type
class Root:
    @strawberry.field
    def root(self, info: strawberry.Info) -> Query:
        return Query(kept=Entries(info.context))


schema = strawberry.Schema(Root, types=[Entry])
DIALECT = StrawberryDialect(schema=schema, listed={Entry: Entries})


def operation(selection: str) -> Operation:
    text = f"query ($yes: Boolean = true, $no: Boolean = false) {{ root {{ {selection} }} }}"
    document = parse(text + " fragment Whole on Entry { size mark { points } }")
    assert validate_document(schema._schema, document, ()) == []
    [node, _] = document.definitions
    assert isinstance(node, OperationDefinitionNode)
    plan = Plan(schema._schema, document, node, DIALECT)
    return Operation(document, node, None, False, plan)


AS_ROWS = {
    "all": "entries(first: 9) { name size mark { at points } }",
    "order of the document": "entries { size mark { points at } name }",
    "one field": "entries { name }",
    "aliases": "entries { a: name b: name one: mark { at } two: mark { points } }",
    "type names": "entries { __typename mark { __typename points } }",
    "nothing but its type name": "entries { __typename }",
    "fragments": "entries { ... on Named { name } ...Whole ... @include(if: $yes) { size } }",
    "conditions": "entries { name @skip(if: $yes) size @include(if: $no) mark { at } }",
    "merged": "entries { mark { at } mark { points } }",
    "awaited": "later { name mark { at } }",
    "attribute": "holder { entries { name mark { at } } }",
    "several": "a: entries(first: 1) { name } b: entries { size } later { name }",
}
AS_OBJECTS = {
    "an attribute that is in no tuple": "entries { name secret }",
    "a resolver": "entries { name mark { words } }",
    "an abstract type": "names { name ... on Entry { size } }",
}


@pytest.mark.parametrize("rows", [ROWS, []], ids=["three", "none"])
@pytest.mark.parametrize("name", [*AS_ROWS, *AS_OBJECTS])
async def test_both_executors_give_the_same(name: str, rows: list[Any]) -> None:
    asked = operation((AS_ROWS | AS_OBJECTS)[name])
    for _ in range(2):  # The second time everything is compiled.
        ours, theirs = await both(asked, lambda: rows, of=schema)
        assert ours == theirs
        assert ours[1] == []


@pytest.mark.parametrize("name", [*AS_ROWS, *AS_OBJECTS])
async def test_objects_are_made_only_when_they_are_needed(name: str) -> None:
    plan = operation((AS_ROWS | AS_OBJECTS)[name]).plan
    before = Entries.made_count
    run: Any = plan.executor({}, context=ROWS).execute_operation()
    data = (await run if hasattr(run, "__await__") else run).data
    assert data["root"]
    assert (Entries.made_count > before) is (name in AS_OBJECTS)


async def test_a_condition_that_is_null_is_an_error_where_it_stands() -> None:
    asked = operation("entries { name @skip(if: $yes) }")
    ours, theirs = await both(asked, lambda: ROWS, of=schema, variables={"yes": None})
    assert ours == theirs
    assert ours[1]
