"""The register through the API: who may do what, and what members see of it."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    consent,
    execute,
    make_member,
    make_staff,
    operation,
    refused,
)
from tests.test_alerts import one, record

ADD = operation("AddHealthDevice", "console")
LEND = operation("LendHealthDevice", "console")
END = operation("EndDeviceLoan", "console")
PUT_AWAY = operation("PutAwayHealthDevice", "console")
REGISTER = operation("HealthDevices", "console")
ADD_OWN = operation("AddOwnHealthDevice")
DISCONNECT = operation("DisconnectDataSource")
MINE = operation("Devices")
RECORD = operation("HealthRecord")
NODE = "query ($id: ID!) { node(id: $id) { id } }"


@pytest.fixture
async def manager(db: Database) -> UUID:
    return await make_staff(db)


@pytest.fixture
async def member(db: Database, manager: UUID) -> UUID:
    member_id = await make_member(db)
    await assign(db, manager, member_id)
    return member_id


def device(serial: str = "BP-1") -> dict[str, Any]:
    return {"requestId": str(uuid4()), "serial": serial, "kind": "BP_MONITOR", "model": "Omron"}


async def do(document: str, sent: dict[str, Any], context: Any) -> dict[str, Any]:
    values = {"requestId": str(uuid4())} | sent
    if document is DISCONNECT:
        del values["requestId"]
    [answer] = (await execute(document, {"input": values}, context=context)).values()
    found: dict[str, Any] = answer
    return found


async def make_device(db: Database, manager: UUID, serial: str = "BP-1") -> str:
    added = await do(ADD, device(serial), as_staff(db, manager))
    id: str = added["device"]["id"]
    return id


def lend_to(device_id: str, member_id: UUID) -> dict[str, Any]:
    return {"deviceId": device_id, "memberId": encode(Kind.MEMBER, member_id)}


async def test_a_device_is_lent_seen_by_the_member_and_comes_back(
    db: Database, manager: UUID, member: UUID
) -> None:
    staff, me = as_staff(db, manager), as_member(db, member)
    device_id = await make_device(db, manager)

    lent = await do(LEND, lend_to(device_id, member), as_staff(db, manager))
    assert lent["device"]["state"] == "WITH_MEMBER"
    assert lent["device"]["member"]["id"] == encode(Kind.MEMBER, member)
    mine = (await execute(MINE, context=me))["me"]
    assert [(it["serial"], it["endedAt"]) for it in mine["deviceLoans"]] == [("BP-1", None)]
    assert [(it["name"], it["state"]) for it in mine["dataSources"]] == [
        ("blood pressure monitor", "CONNECTED")
    ]
    again = await do(LEND, lend_to(device_id, member), as_staff(db, manager))
    assert again["code"] == "STATE_INVALID"

    ended = await do(END, {"deviceId": device_id, "outcome": "LOST"}, as_staff(db, manager))
    assert (ended["device"]["state"], ended["device"]["member"]) == ("LOST", None)
    mine = (await execute(MINE, context=as_member(db, member)))["me"]
    assert mine["deviceLoans"][0]["outcome"] == "LOST"
    assert mine["dataSources"][0]["state"] == "DISCONNECTED"

    found = await do(PUT_AWAY, {"deviceId": device_id, "state": "IN_STOCK"}, staff)
    assert found["device"]["state"] == "IN_STOCK"


async def test_the_register_is_for_staff_and_shows_whom_they_may_see(
    db: Database, manager: UUID, member: UUID
) -> None:
    device_id = await make_device(db, manager)
    await do(LEND, lend_to(device_id, member), as_staff(db, manager))
    stranger = await make_member(db)
    await do(ADD_OWN, device("own-1"), as_member(db, stranger))
    elsewhere = await make_staff(db)

    async def seen(context: Any, **values: Any) -> list[tuple[str, bool]]:
        answer = await execute(REGISTER, values, context=context)
        edges = answer["healthDevices"]["edges"]
        return sorted(
            (edge["node"]["serial"], edge["node"]["member"] is not None) for edge in edges
        )

    assert await seen(as_staff(db, manager)) == [("BP-1", True)]
    assert await seen(as_staff(db, elsewhere)) == [("BP-1", False)]
    admin = await make_staff(db, "ADMIN")
    assert await seen(as_staff(db, admin, "ADMIN")) == [("BP-1", True), ("own-1", True)]
    assert await seen(as_staff(db, admin, "ADMIN"), serial="own-1") == [("own-1", True)]
    assert await seen(as_staff(db, admin, "ADMIN"), states=["LOST"]) == []
    assert await refused(REGISTER, context=as_member(db, member)) == "FORBIDDEN"
    actuary = as_staff(db, await make_staff(db, "ACTUARY"), "ACTUARY")
    assert await refused(REGISTER, context=actuary) == "FORBIDDEN"
    assert await refused(ADD, {"input": device("x")}, context=actuary) == "FORBIDDEN"
    assert await refused(ADD, {"input": device("x")}, context=as_member(db, member)) == "FORBIDDEN"


async def test_only_who_may_see_the_member_lends_to_them_or_ends_the_loan(
    db: Database, manager: UUID, member: UUID
) -> None:
    device_id = await make_device(db, manager)
    elsewhere = await make_staff(db)

    lent = await do(LEND, lend_to(device_id, member), as_staff(db, elsewhere))
    assert lent["code"] == "NOT_FOUND"
    await do(LEND, lend_to(device_id, member), as_staff(db, manager))
    sent = {"deviceId": device_id, "outcome": "RETURNED"}
    assert (await do(END, sent, as_staff(db, elsewhere)))["code"] == "NOT_FOUND"
    assert (await do(END, sent, as_staff(db, manager)))["device"]["state"] == "IN_STOCK"


async def test_a_device_of_a_member_is_theirs_to_see(
    db: Database, manager: UUID, member: UUID
) -> None:
    added = await do(ADD_OWN, device("own-1"), as_member(db, member))
    id = {"id": added["device"]["id"]}

    async def sees(context: Any) -> bool:
        return (await execute(NODE, id, context=context))["node"] is not None

    assert await sees(as_member(db, member))
    assert await sees(as_staff(db, manager))
    assert not await sees(as_member(db, await make_member(db)))
    assert not await sees(as_staff(db, await make_staff(db)))


async def test_a_source_is_disconnected_twice_as_once(db: Database, member: UUID) -> None:
    await do(ADD_OWN, device("own-1"), as_member(db, member))
    [source] = (await execute(MINE, context=as_member(db, member)))["me"]["dataSources"]

    for _ in range(2):
        done = await do(DISCONNECT, {"dataSourceId": source["id"]}, as_member(db, member))
        assert done["dataSource"]["state"] == "DISCONNECTED"
    other = as_member(db, await make_member(db))
    assert (await do(DISCONNECT, {"dataSourceId": source["id"]}, other))["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("field", "value"), [("serial", ""), ("serial", "x" * 65), ("model", " "), ("model", "m" * 81)]
)
async def test_texts_that_say_nothing_or_too_much_are_refused(
    db: Database, manager: UUID, field: str, value: str
) -> None:
    refusal = await do(ADD, device() | {field: value}, as_staff(db, manager))

    assert (refusal["code"], refusal["field"]) == ("VALUE_OUT_OF_RANGE", field)


async def test_as_many_statements_for_a_page_of_devices_as_for_one(
    db: Database, manager: UUID
) -> None:
    counts = []
    for number in (1, 6):
        for place in range(number):
            device_id = await make_device(db, manager, f"BP-{number}-{place}")
            member_id = await make_member(db)
            await assign(db, manager, member_id)
            await do(LEND, lend_to(device_id, member_id), as_staff(db, manager))
        with StatementCount(db) as statements:
            await execute(REGISTER, context=as_staff(db, manager))
        counts.append(len(statements))

    assert counts[0] == counts[1]


async def test_the_record_has_the_newest_reading_of_each_code(db: Database, member: UUID) -> None:
    for value, unit, hours in (("70", "kg", 2), ("71", "kg", 1)):
        from datetime import timedelta

        at = NOON - timedelta(hours=hours)
        await record(db, member, one("WEIGHT", value, unit, at), now=NOON)
    await record(db, member, one("BODY_TEMPERATURE", "36.6", "Cel", NOON), now=NOON)

    with StatementCount(db) as statements:
        found = (await execute(RECORD, context=as_member(db, member)))["me"]

    latest = [(it["code"], it["value"]) for it in found["latestMeasurements"]]
    assert latest == [("WEIGHT", "71"), ("BODY_TEMPERATURE", "36.6")]
    assert len(found["dataSources"]) == 1
    assert len(statements) <= 8

    manager = await make_staff(db)
    await assign(db, manager, member)
    document = "query ($id: ID!) { member(id: $id) { latestMeasurements { code } } }"
    values = {"id": encode(Kind.MEMBER, member)}
    seen = await execute(document, values, context=as_staff(db, manager))
    assert len(seen["member"]["latestMeasurements"]) == 2
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    hidden = await execute(document, values, context=as_staff(db, manager))
    assert hidden["member"]["latestMeasurements"] == []


async def test_who_lent_what_to_whom_is_read_with_an_audit(
    db: Database, manager: UUID, member: UUID
) -> None:
    device_id = await make_device(db, manager)
    await do(LEND, lend_to(device_id, member), as_staff(db, manager))
    await execute(REGISTER, context=as_staff(db, manager))

    async with db.read() as reading:
        read = await reading.execute(text("select count(*) from audit_reads"))
        assert read.scalar_one() == 2


async def test_sources_are_shown_to_employees_while_the_member_consents(
    db: Database, manager: UUID, member: UUID
) -> None:
    await do(ADD_OWN, device("com.glucose"), as_member(db, member))
    document = "query ($id: ID!) { member(id: $id) { dataSources { id sourceId } } }"
    values = {"id": encode(Kind.MEMBER, member)}
    seen = await execute(document, values, context=as_staff(db, manager))
    [source] = seen["member"]["dataSources"]
    assert source["sourceId"] == "com.glucose"
    id = {"id": source["id"]}
    assert (await execute(NODE, id, context=as_staff(db, manager)))["node"] == id

    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))

    hidden = await execute(document, values, context=as_staff(db, manager))
    assert hidden["member"]["dataSources"] == []
    assert (await execute(NODE, id, context=as_staff(db, manager)))["node"] is None
    assert (await execute(NODE, id, context=as_member(db, member)))["node"] == id
    mine = (await execute(MINE, context=as_member(db, member)))["me"]
    assert [it["id"] for it in mine["dataSources"]] == [source["id"]]
