"""Alerts through the API: what recording answers, confirming, the worklist, who sees them."""

from datetime import timedelta
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
)
from tests.tasks_at_work import give_tasks

HOUR = timedelta(hours=1)
LATER = NOON + 25 * HOUR
RECORD = operation("RecordMeasurements")
CONFIRM = operation("ConfirmMeasurement")
ALERTS = operation("Alerts")
WORKLIST = operation("Worklist", "console")
COMPLETE = """mutation ($input: CompleteWorklistItemInput!) { completeWorklistItem(input: $input) {
  __typename ... on UserError { code } } }"""


@pytest.fixture
async def member(db: Database) -> UUID:
    member_id = await make_member(db)
    await give_tasks(db, member_id, "measure-blood-pressure 2", points_each=20)
    async with db.transaction() as session:
        session.add(consent(member_id, "DEVICE_DATA", "GRANTED"))
    return member_id


async def record(
    db: Database, member_id: UUID, systolic: int, diastolic: int, now: Any = NOON
) -> dict[str, Any]:
    measured = [
        {
            "code": code,
            "value": str(value),
            "unit": "mm[Hg]",
            "measuredAt": now.isoformat(),
            "sourceId": "cuff-1",
            "method": "SENSED",
        }
        for code, value in (("SYSTOLIC_BP", systolic), ("DIASTOLIC_BP", diastolic))
    ]
    answer = await execute(
        RECORD,
        {"input": {"requestId": str(uuid4()), "measurements": measured}},
        context=as_member(db, member_id, now=now),
    )
    found: dict[str, Any] = answer["recordMeasurements"]
    assert found["__typename"] == "RecordMeasurementsPayload", found
    return found


async def alerts_of(db: Database, member_id: UUID) -> list[dict[str, Any]]:
    answer = await execute(ALERTS, context=as_member(db, member_id))
    return [edge["node"] for edge in answer["me"]["alerts"]["edges"]]


async def confirm(
    db: Database, member_id: UUID, measurement_id: str, is_right: bool, **more: Any
) -> dict[str, Any]:
    sent = {"requestId": str(uuid4()), "measurementId": measurement_id, "isRight": is_right} | more
    answer = await execute(CONFIRM, {"input": sent}, context=as_member(db, member_id, now=LATER))
    found: dict[str, Any] = answer["confirmMeasurement"]
    return found


async def one(db: Database, sql: str) -> Any:
    async with db.read() as reading:
        return (await reading.execute(text(sql))).scalar_one()


async def test_recording_answers_the_alert_and_asks_for_confirmation(
    db: Database, member: UUID
) -> None:
    found = await record(db, member, 190, 100)

    [alert] = found["alerts"]
    assert alert["severity"] == "URGENT" and "call 120" in alert["message"]
    [shown] = await alerts_of(db, member)
    assert shown["id"] == alert["id"]
    assert shown["asksConfirmation"] is True and shown["measurementId"]


async def test_a_reading_that_was_wrong_counts_for_nothing_any_more(
    db: Database, member: UUID
) -> None:
    await record(db, member, 120, 80)
    found = await record(db, member, 190, 100, NOON + 24 * HOUR)
    assert found["points"]["available"] == 20, found
    [shown] = await alerts_of(db, member)
    request = str(uuid4())

    done = await confirm(db, member, shown["measurementId"], False, requestId=request)

    assert done["__typename"] == "ConfirmMeasurementPayload", done
    assert [it["closedReason"] for it in done["alerts"]] == ["WRONG_READING"]
    # The task that it had completed is not complete, and its points are taken back.
    assert done["points"]["available"] == 0
    # Both halves are superseded, and neither deleted.
    assert await one(db, "select count(*) from measurements where superseded_at is not null") == 2
    assert await one(db, "select closed_reason from worklist_items") == "SETTLED"
    replayed = await confirm(db, member, shown["measurementId"], False, requestId=request)
    assert replayed["replayed"] is True
    again = await confirm(db, member, shown["measurementId"], False)
    assert again["code"] == "STATE_INVALID"


async def test_a_confirmed_crisis_goes_on_until_it_is_over(db: Database, member: UUID) -> None:
    await record(db, member, 190, 100)
    [shown] = await alerts_of(db, member)

    done = await confirm(db, member, shown["measurementId"], True)

    [alert] = done["alerts"]
    assert alert["confirmedAt"] is not None and alert["closedAt"] is None
    assert alert["asksConfirmation"] is False
    assert await one(db, "select closed_at is null from worklist_items") is True
    await record(db, member, 130, 80, NOON + HOUR)
    [over] = await alerts_of(db, member)
    assert over["closedReason"] == "NORMAL_AGAIN"


async def test_what_a_clinic_measured_is_not_the_members_to_take_back(
    db: Database, member: UUID
) -> None:
    await record(db, member, 190, 100)
    async with db.write() as connection:
        await connection.execute(
            text("update measurements set method = 'CLINICAL', trust = 'HIGH'")
        )
    [shown] = await alerts_of(db, member)

    refused = await confirm(db, member, shown["measurementId"], False)

    assert refused["code"] == "NOT_ELIGIBLE"
    assert await one(db, "select count(*) from measurements where superseded_at is not null") == 0


async def test_the_worklist_shows_the_alert_and_finishing_it_lets_the_next_one_open(
    db: Database, member: UUID
) -> None:
    manager = await make_staff(db)
    await assign(db, manager, member)
    await record(db, member, 190, 100)

    async def items() -> list[dict[str, Any]]:
        answer = await execute(WORKLIST, context=as_staff(db, manager))
        return [edge["node"] for edge in answer["staff"]["worklist"]["edges"]]

    [item] = await items()
    assert (item["kind"], item["priority"]) == ("ALERT", 95)
    assert item["subject"]["__typename"] == "Alert"
    assert "190/100" in item["subject"]["message"] and "190" not in item["reason"]

    sent = {"requestId": str(uuid4()), "itemId": item["id"]}
    await execute(COMPLETE, {"input": sent}, context=as_staff(db, manager))
    [handled] = await alerts_of(db, member)
    assert handled["closedReason"] == "HANDLED"
    await record(db, member, 195, 100, NOON + HOUR)
    assert len(await items()) == 1 and len(await alerts_of(db, member)) == 2

    # Without the consent the item stays, its values do not.
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    [item] = await items()
    assert item["subject"] is None


async def test_as_many_statements_for_alerts_of_many_members_as_of_one(db: Database) -> None:
    manager = await make_staff(db)
    document = """{ members(first: 50) { edges { node { id
      alerts { edges { node { id message } } } deviceLoans { id } dataSources { id } } } } }"""
    counts = []
    for number in (1, 5):
        for _ in range(number):
            member_id = await make_member(db)
            await assign(db, manager, member_id)
            async with db.transaction() as session:
                session.add(consent(member_id, "DEVICE_DATA", "GRANTED"))
            await give_tasks(db, member_id, "walk")
            await record(db, member_id, 190, 100)
        with StatementCount(db) as statements:
            await execute(document, context=as_staff(db, manager))
        counts.append(len(statements))

    assert counts[0] == counts[1]


async def test_a_device_of_the_programme_is_trusted_more_while_the_member_has_it(
    db: Database, member: UUID
) -> None:
    from app.measurements import devices
    from app.measurements.devices_rules import DeviceKind

    await record(db, member, 121, 81, NOON - HOUR)
    staff = await make_staff(db)
    async with db.transaction() as session:
        by = {"staff_id": staff, "now": NOON}
        device, _ = await devices.add(
            session,
            request_id=uuid4(),
            serial="cuff-1",
            kind=DeviceKind.BP_MONITOR,
            model="Cuff",
            **by,
        )
        await devices.lend(session, request_id=uuid4(), device_id=device.id, member_id=member, **by)
    await record(db, member, 120, 80)

    grades = "select string_agg(distinct trust, ',' order by trust) from measurements"
    assert await one(db, grades) == "HIGH,MEDIUM"


async def test_a_foreign_reading_is_not_found(db: Database, member: UUID) -> None:
    await record(db, member, 190, 100)
    [shown] = await alerts_of(db, member)
    other = await make_member(db)

    assert (await confirm(db, other, shown["measurementId"], False))["code"] == "NOT_FOUND"
    made_up = encode(Kind.MEASUREMENT, other, uuid4())
    assert (await confirm(db, other, made_up, False))["code"] == "NOT_FOUND"
