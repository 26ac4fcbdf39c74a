"""What a member cannot do to what a clinic has measured, nor without consent."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from app.db import Database
from app.graphql.ids import Kind, encode
from app.intake import service as intake
from app.measurements.devices import OWN_DEVICES_MAX
from app.risk import requests as risk_requests
from tests.factories import NOON, as_member, consent, execute, operation
from tests.recordings import make_recorder, pressure, reading, record, rows

LATER = NOON + timedelta(minutes=1)


async def examine(db: Database, folder: Path, header: str, values: str) -> Any:
    """An examination of `wang`; when it was."""
    path = folder / "examination.csv"
    path.write_text(f"member,date,{header}\nwang,2026-03-01,{values}\n", encoding="utf-8")
    await intake.examinations(db, path, now=NOON)
    [at] = {row[0] for row in await rows(db, "select measured_at from measurements")}
    return at


async def say(db: Database, member: UUID, code: str, *, is_right: bool) -> Any:
    wanted = "select id from measurements where code = :code and superseded_at is null"
    async with db.read() as connection:
        id = (await connection.execute(text(wanted), {"code": code})).scalar_one()
    sent = {"requestId": str(uuid4()), "isRight": is_right}
    sent["measurementId"] = encode(Kind.MEASUREMENT, member, id)
    context = as_member(db, member, now=LATER)
    done = await execute(operation("ConfirmMeasurement"), {"input": sent}, context=context)
    return done["confirmMeasurement"]


async def own_device(db: Database, member: UUID, serial: str) -> Any:
    sent = {"requestId": str(uuid4()), "serial": serial, "kind": "BP_MONITOR", "model": "x"}
    document = operation("AddOwnHealthDevice")
    done = await execute(document, {"input": sent}, context=as_member(db, member))
    return done["addOwnHealthDevice"]


async def test_a_device_of_ones_own_is_no_clinic(db: Database, tmp_path: Path) -> None:
    member = await make_recorder(db, login="wang")
    at = (await examine(db, tmp_path, "血压", "168/104")).isoformat()
    assert (await own_device(db, member, "examination"))["__typename"] != "UserError"
    claims = {"sourceId": "examination", "measuredAt": at}
    await record(
        db,
        member,
        reading("118", "mm[Hg]", "SYSTOLIC_BP", **claims),
        reading("76", "mm[Hg]", "DIASTOLIC_BP", **claims),
    )
    in_force = "select code, value, trust from measurements where superseded_at is null order by 1"
    assert await rows(db, in_force) == [
        ("DIASTOLIC_BP", Decimal(104), "HIGH"),
        ("SYSTOLIC_BP", Decimal(168), "HIGH"),
    ]


async def test_what_one_registers_oneself_is_trusted_as_any_device(db: Database) -> None:
    member = await make_recorder(db)
    await own_device(db, member, "cuff-of-mine")
    await record(db, member, reading("70", "kg", "WEIGHT", sourceId="cuff-of-mine"))
    assert await rows(db, "select trust from measurements") == [("MEDIUM",)]


async def test_a_half_of_ones_own_takes_back_no_clinical_one(db: Database, tmp_path: Path) -> None:
    member = await make_recorder(db, login="wang")
    at = (await examine(db, tmp_path, "SYSTOLIC_BP", "168")).isoformat()
    half = {"sourceId": "examination", "measuredAt": at, "method": "SELF_REPORTED"}
    await record(db, member, reading("60", "mm[Hg]", "DIASTOLIC_BP", **half))
    answer = await say(db, member, "DIASTOLIC_BP", is_right=False)
    assert (answer["__typename"], answer["code"]) == ("UserError", "NOT_ELIGIBLE")
    clinical = "select value, superseded_at from measurements where code = 'SYSTOLIC_BP'"
    assert await rows(db, clinical) == [(Decimal(168), None)]


async def test_what_is_taken_back_is_assessed_anew(db: Database) -> None:
    risk_requests.follow_recordings()
    member = await make_recorder(db)
    await record(db, member, *pressure("210", "95"))
    async with db.transaction() as session:
        await session.execute(text("delete from pgqueuer"))
    assert (await say(db, member, "SYSTOLIC_BP", is_right=False))["__typename"] != "UserError"
    assert ("risk.reassess",) in await rows(db, "select entrypoint from pgqueuer")


async def test_without_consent_nothing_is_confirmed_but_may_be_taken_back(db: Database) -> None:
    member = await make_recorder(db)
    await record(db, member, *pressure("210", "95"))
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2, now=NOON))
    assert (await say(db, member, "SYSTOLIC_BP", is_right=True))["code"] == "CONSENT_MISSING"
    assert await rows(db, "select count(*) from measurements") == [(2,)]
    assert (await say(db, member, "SYSTOLIC_BP", is_right=False))["__typename"] != "UserError"
    in_force = "select count(*) from measurements where superseded_at is null"
    assert await rows(db, in_force) == [(0,)]


async def test_rivals_for_the_last_device_that_may_be_registered(db: Database) -> None:
    member = await make_recorder(db)
    for number in range(OWN_DEVICES_MAX - 1):
        await own_device(db, member, f"own-{number}")
    answers = await asyncio.gather(*(own_device(db, member, f"rival-{it}") for it in range(8)))
    codes = [it.get("code") for it in answers if it["__typename"] == "UserError"]
    assert codes == ["LIMIT_REACHED"] * 7
    assert await rows(db, "select count(*) from devices") == [(OWN_DEVICES_MAX,)]


async def test_what_was_taken_back_stays_so_when_the_phone_sends_it_again(db: Database) -> None:
    member = await make_recorder(db)
    await record(db, member, *pressure("210", "95"))
    await say(db, member, "SYSTOLIC_BP", is_right=False)
    again = await record(db, member, *pressure("210", "95"), now=LATER)
    assert (again["accepted"], again["duplicates"], again["alerts"]) == (0, 2, [])
    in_force = "select code, value from measurements where superseded_at is null order by code"
    assert await rows(db, in_force) == []
    # Another value at that instant is news.
    other = await record(db, member, *pressure("120", "95"), now=LATER)
    assert (other["accepted"], other["duplicates"]) == (1, 1)
    assert await rows(db, in_force) == [("SYSTOLIC_BP", Decimal(120))]


async def test_a_clinic_that_says_the_same_is_believed_more(db: Database, tmp_path: Path) -> None:
    await make_recorder(db, login="wang")
    at = await examine(db, tmp_path, "SYSTOLIC_BP", "168")
    async with db.transaction() as session:
        await session.execute(text("update measurements set trust = 'UNVERIFIED'"))
    assert await examine(db, tmp_path, "SYSTOLIC_BP", "168.0") == at
    grades = "select trust, superseded_at is null from measurements order by recorded_at, trust"
    assert sorted(await rows(db, grades)) == [("HIGH", True), ("UNVERIFIED", False)]


async def test_what_is_refused_is_no_sign_of_life(db: Database) -> None:
    member = await make_recorder(db)
    names = ["a\x1fb", "x" * 9000, *(f"watch-{number}" for number in range(100))]
    await record(db, member, *(reading("9999", sourceId=name) for name in names))
    assert await rows(db, "select count(*) from connections") == [(0,)]
    await record(db, member, *(reading("70", sourceId=name) for name in names))
    assert await rows(db, "select count(*) from connections") == [(50,)]
