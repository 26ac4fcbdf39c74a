"""No text that a client may send, in any document, is more than the server can take. (The one
character that no text of the database holds is refused before, see test_graphql_http.)"""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    print_ast,
)
from graphql.utilities import type_from_ast

from app.db import Database
from app.errors import RequestFailed, UserError
from app.graphql.documents import TrustedDocument, prepare
from app.graphql.limits import Limits
from app.schema import schema
from tests.database import Start, TestServer
from tests.factories import as_member, as_staff
from tests.test_executor_operations import DOCUMENTS, ROLES, people, sample

EXPECTED = (type(None), GraphQLError, RequestFailed, UserError)
TEXTS = ("x" * 20_000, "\ud7ff\u202e\x1f", " ")


def places(kind: Any, name: str, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Of each text in an input, lists by their first element."""
    while isinstance(kind, GraphQLNonNull | GraphQLList):
        kind = kind.of_type
    if isinstance(kind, GraphQLInputObjectType):
        if name not in path:
            for field, it in kind.fields.items():
                yield from places(it.type, field, (*path, name))
    elif kind.name == "String":
        yield (*path, name)


def filled(kind: Any, name: str, path: tuple[str, ...], text: str) -> Any:
    """A value of the type with `text` at its place."""
    if isinstance(kind, GraphQLNonNull):
        return filled(kind.of_type, name, path, text)
    if isinstance(kind, GraphQLList):
        return [filled(kind.of_type, name, path, text)]
    if not isinstance(kind, GraphQLInputObjectType):
        return text
    given = {field: sample(it.type, {}, field) for field, it in kind.fields.items()}
    given[path[1]] = filled(kind.fields[path[1]].type, path[1], path[1:], text)
    return {field: value for field, value in given.items() if value is not None}


START = Start(partial(people, days=1))


@pytest_asyncio.fixture
async def database_name(server: TestServer) -> AsyncIterator[str]:
    async with START.clone(server) as name:
        yield name


@pytest.mark.parametrize("document", DOCUMENTS, ids=[f"{it.name}-{it.id[:4]}" for it in DOCUMENTS])
async def test_any_text_is_taken_or_refused(db: Database, document: TrustedDocument) -> None:
    operation = prepare(schema, document, Limits())
    kinds = {
        node.variable.name.value: type_from_ast(schema._schema, node.type)
        for node in operation.node.variable_definitions or ()
    }
    found = [(name, path) for name, kind in kinds.items() for path in places(kind, name)]
    if not found:
        return
    member, staff_id = START.made
    written = print_ast(operation.document)
    for name, path in found:
        for text in TEXTS:
            sent = {other: sample(kind, {}, other) for other, kind in kinds.items()}
            sent[name] = filled(kinds[name], name, path, text)
            given = {key: value for key, value in sent.items() if value is not None}
            context: Any = (
                as_staff(db, staff_id, *ROLES)
                if document.file.startswith("console")
                else as_member(db, member.member_id)
            )
            result = await schema.execute(written, given, context_value=context)
            causes = [error.original_error for error in result.errors or ()]
            wrong = [it for it in causes if not isinstance(it, EXPECTED)]
            assert wrong == [], (path, text[:5], repr(wrong)[:300])
