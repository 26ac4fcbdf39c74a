"""Every trusted document, on members with a history: our executor and graphql-core's give the
same answer."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLList, GraphQLNonNull
from graphql.utilities import type_from_ast

from app import main
from app.db import Database
from app.demo import bulk
from app.graphql.documents import Operation, TrustedDocument, TrustedDocuments, prepare
from app.graphql.ids import Kind, encode
from app.graphql.limits import Limits
from app.schema import schema
from bench.executor import not_compiled
from tests.database import Start, TestServer
from tests.factories import ISSUER, NOON, as_member, as_staff, assign, make_staff
from tests.test_executor import both

ROLES = ("HEALTH_MANAGER", "CAMPAIGN_MANAGER", "ADMIN")
DOCUMENTS = [
    document
    for document in TrustedDocuments.load(main.OPERATIONS).by_id.values()
    if document.type.value != "subscription"
]


def variables(operation: Operation, member: bulk.BulkMember) -> list[dict[str, Any]]:
    """What a client may send: first what is asked of the member's own task, where it fits."""
    ids = {
        "taskId": encode(Kind.TASK, member.member_id, *member.ticks[0]),
        "id": encode(Kind.MEMBER, member.member_id),
    }
    wanted = {
        node.variable.name.value: type_from_ast(schema._schema, node.type)
        for node in operation.node.variable_definitions or ()
    }
    return [
        {
            name: found
            for name, kind in wanted.items()
            if (found := sample(kind, known, name)) is not None
        }
        for known in (ids, {})
    ]


def sample(kind: Any, ids: Mapping[str, str], name: str) -> Any:
    """A value of an input type, with what must be given; ids that are not known name nothing."""
    if not isinstance(kind, GraphQLNonNull):
        return None
    kind = kind.of_type
    if getattr(kind, "name", None) in ONE_OF:
        return ONE_OF[kind.name]
    if isinstance(kind, GraphQLInputObjectType):
        fields = {name: sample(field.type, ids, name) for name, field in kind.fields.items()}
        return {name: found for name, found in fields.items() if found is not None}
    if isinstance(kind, GraphQLList):
        return []
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if name in TEXTS:
        return TEXTS[name]
    values = {
        "ID": ids.get(name, "nonsense"),
        "UUID": "00000000-0000-4000-8000-000000000001",
        "DateTime": NOON.isoformat(),
        "Date": NOON.date().isoformat(),
        "LocalTime": "07:30",
        "Decimal": "1",
        "Int": 1,
        "Boolean": True,
        "String": "x",
    }
    return values[kind.name]


ONE_OF = {"MemberFilter": {"sexes": ["FEMALE"]}}
"""A value of each input of which exactly one field is given."""
TEXTS = {
    "recurrence": "FREQ=DAILY",
    "timeZone": "Asia/Shanghai",
    "locale": "en",
    "productCode": "starter",
    "facts": '{"moment": "ENROLMENT", "as_of": "2026-12-01T00:00:00Z",'
    ' "effective_on": "2026-12-01", "age": 50, "sex": "FEMALE"}',
}


def test_every_trusted_document_is_compiled() -> None:
    assert not_compiled() == []


async def people(db: Database, *, days: int = 12) -> tuple[bulk.BulkMember, UUID]:
    """A member with a history, and the employee who looks after them."""
    [member] = await bulk.load(db, members=1, days=days, issuer=ISSUER, now=NOON)
    staff_id = await make_staff(db, *ROLES)
    await assign(db, staff_id, member.member_id)
    return member, staff_id


START = Start(people)


@pytest_asyncio.fixture
async def database_name(server: TestServer) -> AsyncIterator[str]:
    async with START.clone(server) as name:
        yield name


@pytest.mark.parametrize("document", DOCUMENTS, ids=[f"{it.name}-{it.id[:4]}" for it in DOCUMENTS])
async def test_both_executors_give_the_same(db: Database, document: TrustedDocument) -> None:
    member, staff_id = START.made
    operation = prepare(schema, document, Limits())
    assert operation.plan.unsupported is None

    def context() -> Any:
        if document.file.startswith("console"):
            return as_staff(db, staff_id, *ROLES)
        return as_member(db, member.member_id)

    answers = []
    for sent in variables(operation, member):
        if document.type.value == "mutation":
            # From the second time on it is a repeat, which changes nothing.
            await both(operation, context, of=schema, variables=sent)
        ours, theirs = await both(operation, context, of=schema, variables=sent)
        assert ours == theirs
        answers.append(ours)
    assert any(data != "None" and not errors for data, errors in answers), answers
