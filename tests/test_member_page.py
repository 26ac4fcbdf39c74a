"""The member's page of the console: the document the console ships, on the real schema."""

from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.documents import Documents, TrustedDocuments
from app.graphql.ids import Kind, encode
from app.graphql.limits import Limits
from app.graphql.params import Params
from app.main import OPERATIONS
from app.measurements import service as measurements
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    counts,
    execute,
    make_member,
    make_staff,
    operation,
    refused,
)

PAGE = operation("MemberPage", "console")
SINCE = (NOON - timedelta(days=30)).isoformat()


async def open_page(db: Database, staff: UUID, member: UUID, *roles: str):
    variables = {"id": encode(Kind.MEMBER, member), "since": SINCE}
    return (await execute(PAGE, variables, context=as_staff(db, staff, *roles)))["member"]


async def make_patient(db: Database) -> tuple[UUID, UUID]:
    """A health manager and a member of theirs, with readings."""
    manager, member = await make_staff(db), await make_member(db, display_name="李强", sex="MALE")
    await assign(db, manager, member)
    async with db.transaction() as session:
        for days, value in ((40, "150"), (10, "138"), (1, "134")):
            at = NOON - timedelta(days=days)
            readings = measurements.clinical([("SYSTOLIC_BP", Decimal(value), "mm[Hg]")], at=at)
            await measurements.record(
                session, member_id=member, time_zone="Asia/Shanghai", readings=readings, now=NOON
            )
    return manager, member


async def test_the_page_of_a_member(db: Database):
    manager, member = await make_patient(db)
    page = await open_page(db, manager, member)
    readings = page.pop("measurements")
    assert [edge["node"]["value"] for edge in readings["edges"]] == ["134", "138"]
    assert readings["edges"][0]["node"]["trust"] == "HIGH"
    assert readings["pageInfo"]["hasNextPage"] is False
    consents = page.pop("consents")
    assert [consent["state"] for consent in consents] == ["GRANTED"] + ["NOT_ASKED"] * 6
    assert page == {
        "id": encode(Kind.MEMBER, member),
        "displayName": "李强",
        "birthDate": date(1975, 5, 17),
        "sex": "MALE",
        "segment": None,
        "pause": None,
        "lifecycle": None,
        "risk": None,
        "tasksToday": [],
        "points": {
            "id": encode(Kind.POINTS_ACCOUNT, member),
            "available": 0,
            "pending": 0,
            "earnedTotal": 0,
        },
        "policy": None,
    }


async def test_the_page_costs_four_statements_and_one_record(db: Database):
    manager, member = await make_patient(db)
    with StatementCount(db) as sent:
        await open_page(db, manager, member)
    # May they, record, facets, readings.
    assert len(sent) == 4
    async with db.read() as connection:
        rows = (await connection.execute(text("select * from audit_reads"))).all()
    (row,) = rows
    assert (row.member_id, row.staff_id) == (member, manager)
    assert (row.operation, row.request_id, row.read_at) == ("Test", "test", NOON)


@pytest.mark.parametrize("role", ["ADMIN", "AUDITOR"])
async def test_who_sees_everybody_is_recorded_too(db: Database, role):
    member, employee = await make_member(db), await make_staff(db, role)
    assert (await open_page(db, employee, member, role))["id"]
    assert (await counts(db))["audit_reads"] == 1


@pytest.mark.parametrize("role", ["HEALTH_MANAGER", "CAMPAIGN_MANAGER", "ACTUARY"])
async def test_a_page_that_is_not_theirs_looks_like_none(db: Database, role):
    member, employee = await make_member(db), await make_staff(db, role)
    before = await counts(db)
    assert await open_page(db, employee, member, role) is None
    assert await open_page(db, employee, uuid4(), role) is None
    assert await counts(db) == before


async def test_a_member_has_no_such_page_not_even_of_themselves(db: Database):
    member = await make_member(db)
    variables = {"id": encode(Kind.MEMBER, member), "since": SINCE}
    data = await refused_or_null(db, member, variables)
    assert data in (None, "FORBIDDEN")


async def refused_or_null(db: Database, member: UUID, variables):
    from app.schema import schema

    answer = await schema.execute(PAGE, variables, context_value=as_member(db, member))
    if answer.errors:
        return getattr(answer.errors[0].original_error, "code", None)
    return answer.data["member"]


@pytest.mark.parametrize("id", ["", "nonsense", encode(Kind.STAFF, UUID(int=7))])
async def test_an_id_that_names_no_member_finds_none(db: Database, id):
    admin = await make_staff(db, "ADMIN")
    data = await execute(PAGE, {"id": id, "since": SINCE}, context=as_staff(db, admin, "ADMIN"))
    assert data == {"member": None}
    assert (await counts(db))["audit_reads"] == 0


async def test_since_must_be_an_instant(db: Database):
    manager, member = await make_patient(db)
    variables = {"id": encode(Kind.MEMBER, member), "since": "2026-01-01"}
    with pytest.raises(AssertionError):
        await execute(PAGE, variables, context=as_staff(db, manager))
    assert (await counts(db))["audit_reads"] == 0


@pytest.mark.parametrize("name", ["MemberPage", "Members", "Worklist", "FollowUps"])
def test_the_consoles_documents_are_within_the_limits(name):
    from app.schema import schema

    trusted = TrustedDocuments.load(OPERATIONS)
    documents = Documents(schema, trusted, limits=Limits(), free=False)
    found = [one for one in trusted.by_id.values() if one.file == f"console/{name}.graphql"]
    assert found
    for one in found:
        params = Params(query=None, variables={}, operation_name=None, document_id=one.id)
        assert documents.find(params).name == one.name


async def test_anonymous_sees_no_page(db: Database):
    from app.graphql.context import ANONYMOUS
    from tests.factories import context

    variables = {"id": encode(Kind.MEMBER, uuid4()), "since": SINCE}
    from app.schema import schema

    answer = await schema.execute(PAGE, variables, context_value=context(db, ANONYMOUS))
    assert answer.data == {"member": None}
    assert answer.errors[0].original_error.code == "UNAUTHENTICATED"
    assert await refused("{ staff { id } }", context=context(db, ANONYMOUS)) == "UNAUTHENTICATED"
