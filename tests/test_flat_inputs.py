"""Lists of flat inputs: what comes out, and what is refused, is as graphql-core has it."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
import strawberry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strawberry.schema.config import StrawberryConfig

from app.graphql import executor
from app.graphql.documents import Documents, TrustedDocuments
from app.graphql.flat_inputs import flat, holding, rows
from app.graphql.limits import Limits
from app.graphql.params import Params
from app.graphql.scalars import SCALARS


@strawberry.enum
class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@strawberry.input
class ItemInput:
    a_value: Decimal
    at: datetime
    colour: Colour
    name: str | None = None
    count: int = 3
    is_good: bool = False


@strawberry.input
class BoxInput:
    request_id: UUID
    items: list[ItemInput]
    label: str | None = None
    best: ItemInput | None = None


FlatItemInput = flat(strawberry.input(type("FlatItemInput", (ItemInput,), {})))
RowItemInput = rows(strawberry.input(type("RowItemInput", (ItemInput,), {})))


@holding(items=FlatItemInput, best=FlatItemInput)
@strawberry.input
class FlatBoxInput:
    request_id: UUID
    items: list[FlatItemInput]  # type: ignore[valid-type]
    label: str | None = None
    best: FlatItemInput | None = None  # type: ignore[valid-type]


@holding(items=RowItemInput, best=RowItemInput)
@strawberry.input
class RowBoxInput:
    request_id: UUID
    items: list[RowItemInput]  # type: ignore[valid-type]
    label: str | None = None
    best: RowItemInput | None = None  # type: ignore[valid-type]


def told(box: Any) -> str:
    return repr((box.request_id, box.label, [*map(_row, box.items)], box.best and _row(box.best)))


def _row(item: Any) -> tuple[Any, ...]:
    if isinstance(item, tuple):
        return item
    assert isinstance(item, ItemInput)
    return item.a_value, item.at, item.colour, item.name, item.count, item.is_good


@strawberry.type
class Query:
    @strawberry.field
    def usual(self, input: BoxInput) -> str:
        return told(input)

    @strawberry.field
    def flat(self, input: FlatBoxInput) -> str:
        return told(input)

    @strawberry.field
    def rows(self, input: RowBoxInput) -> str:
        return told(input)


SCHEMA = strawberry.Schema(Query, config=StrawberryConfig(scalar_map=SCALARS))
DOCUMENTS = Documents(SCHEMA, TrustedDocuments(), limits=Limits(), free=True)
ID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
GOOD = {"aValue": "1.50", "at": "2026-03-02T12:00:00+08:00", "colour": "BLUE"}


async def ask(name: str, kind: str, variables: dict[str, Any]) -> tuple[Any, list[str]]:
    """The answer, and the messages of errors."""
    body = f"query ($input: {kind}!) {{ answer: {name}(input: $input) }}"
    operation = DOCUMENTS.find(Params(body, None, None, {}))
    try:
        result = await executor.execute(operation.plan, variables=variables, context=None)
    except executor.CoercionFailed as error:
        return None, [re.sub("Flat|Row", "", it.message) for it in error.errors]
    assert not result.errors, result.errors
    return result.data, []


async def both(input: Any) -> tuple[Any, list[str]]:
    """What all of them say, which must be the same."""
    usual = await ask("usual", "BoxInput", {"input": input})
    assert await ask("flat", "FlatBoxInput", {"input": input}) == usual
    assert await ask("rows", "RowBoxInput", {"input": input}) == usual
    return usual


async def test_values_are_those_of_the_scalars_with_defaults() -> None:
    items = [GOOD, GOOD | {"name": None, "count": 7, "isGood": True}]
    data, errors = await both({"requestId": ID, "items": items})
    at = datetime(2026, 3, 2, 4, tzinfo=UTC)
    assert errors == []
    assert f"{Decimal('1.50')!r}" in data["answer"] and "Colour.BLUE" in data["answer"]
    assert "None, 3, False" in data["answer"] and "None, 7, True" in data["answer"]
    assert at == datetime.fromisoformat(GOOD["at"])


BAD = [
    [GOOD | {"colour": "GREEN"}],
    [GOOD | {"colour": None}],
    [GOOD | {"colour": ["BLUE"]}],
    [GOOD | {"count": None}],
    [GOOD | {"count": "7"}],
    [GOOD | {"aValue": 1.5}],
    [GOOD | {"at": "yesterday"}],
    [GOOD | {"more": 1}],
    [GOOD, {"aValue": "1", "colour": "RED"}],
    [GOOD, None],
    [GOOD, "x"],
    [[GOOD]],
    None,
    "x",
    7,
]


@pytest.mark.parametrize("items", BAD)
async def test_what_is_unusual_is_refused_in_the_same_words(items: Any) -> None:
    data, errors = await both({"requestId": ID, "items": items})
    assert data is None and errors


@pytest.mark.parametrize("items", [[], GOOD, (GOOD,)])
async def test_what_is_unusual_but_good_is_taken(items: Any) -> None:
    _, errors = await both({"requestId": ID, "items": items})
    assert errors == []


@pytest.mark.parametrize("input", [None, {}, [], "x", {"items": [GOOD]}, {"requestId": ID}])
async def test_what_surrounds_the_list_is_checked_as_ever(input: Any) -> None:
    data, errors = await both(input)
    assert data is None and errors


async def test_literals_in_the_document_are_built_as_well() -> None:
    item = '{ aValue: "2", at: "2026-03-02T12:00:00+08:00", colour: RED }'
    answers = []
    for name in ("usual", "flat", "rows"):
        sent = f'requestId: "{ID}", items: [{item}], best: {item}'
        body = f"{{ answer: {name}(input: {{ {sent} }}) }}"
        operation = DOCUMENTS.find(Params(body, None, None, {}))
        result = await executor.execute(operation.plan, variables={}, context=None)
        assert not result.errors
        answers.append(result.data)
    assert answers[0] == answers[1] == answers[2]


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3), st.lists(st.none(), max_size=1),
    st.sampled_from(["RED", "1.5", "2026-03-02T12:00:00Z"]),
)  # fmt: skip


_ITEMS = st.dictionaries(
    st.sampled_from(["aValue", "at", "colour", "name", "count", "isGood", "x"]), _VALUES
).map(lambda changes: GOOD | changes)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_ITEMS, max_size=3), st.none() | _ITEMS)
async def test_any_items_come_out_as_graphql_core_has_them(items: list[Any], best: Any) -> None:
    await both({"requestId": ID, "items": items, "best": best})
