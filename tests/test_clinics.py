"""Partner clinics and employees enter what they measured; keys, rights, and what is written down."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app import main
from app.adapters.identity import InvalidToken
from app.config import Settings
from app.db import Database
from app.errors import Forbidden
from app.graphql.context import Context, Viewer
from app.graphql.ids import Kind, encode
from app.members import clinics
from tests import processes
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    consent,
    contents,
    context,
    execute,
    guard,
    make_member,
    make_staff,
    operation,
    refused,
)
from tests.recordings import make_recorder, reading, record, rows
from tests.toy_server import Toy, run_app


async def make_clinic(db: Database, *, now: datetime = NOON) -> tuple[UUID, str]:
    """A clinic and its key."""
    async with db.transaction() as session:
        staff_id = await clinics.add(session, name="社区卫生服务中心", locale="en", now=now)
        await session.flush()
        return staff_id, await clinics.issue(session, staff_id=staff_id, now=now)


async def as_clinic(db: Database, key: str, *, now: datetime = NOON) -> Context:
    viewer = await clinics.ClinicKeys(db).viewer(key, acting=False, now=now)
    return context(db, viewer, now=now)


def entry(value: str = "128", code: str = "SYSTOLIC_BP", unit: str = "mm[Hg]", **changes) -> dict:
    return {"code": code, "value": value, "unit": unit, "measuredAt": NOON.isoformat()} | changes


async def enter(
    asked_by: Context, member_id: UUID, *sent: dict, request_id: UUID | None = None
) -> dict[str, Any]:
    values = {
        "requestId": str(request_id or uuid4()),
        "memberId": encode(Kind.MEMBER, member_id),
        "measurements": list(sent),
    }
    document = operation("RecordClinicalMeasurements", "console")
    data = await execute(document, {"input": values}, context=asked_by)
    return data["recordClinicalMeasurements"]


KEPT = (
    "select value, method, trust, channel, recorded_by, source_id from measurements order by value"
)


async def test_a_clinic_enters_blood_pressure_and_glucose(db: Database) -> None:
    member = await make_member(db)
    clinic, key = await make_clinic(db)
    long_ago = (NOON - timedelta(days=400)).isoformat()

    done = await enter(
        await as_clinic(db, key),
        member,
        entry("128"),
        entry("84", "DIASTOLIC_BP"),
        entry("126", "FASTING_GLUCOSE", "mg/dL", context="FASTING", deviceId="A7", measuredAt=long_ago),
        entry("128", "DIASTOLIC_BP", measuredAt=long_ago),
        entry("400"),
    )  # fmt: skip

    assert (done["__typename"], done["replayed"]) == ("RecordClinicalMeasurementsPayload", False)
    # Of two systolic values of one instant the possible one is kept, with its other half.
    assert [(it["index"], it["code"]) for it in done["rejected"]] == [(4, "VALUE_OUT_OF_RANGE")]
    assert [it["value"] for it in done["measurements"]] == ["128", "84", "6.994", "128"]
    assert {it["trust"] for it in done["measurements"]} == {"HIGH"}
    found = await rows(db, KEPT)
    assert {it[1:5] for it in found} == {("CLINICAL", "HIGH", "CLINIC", clinic)}
    assert {it[5] for it in found} == {f"clinic:{clinic}", f"clinic:{clinic}:A7"}
    assert await rows(db, "select staff_id, member_id, operation from audit_reads") == [
        (clinic, member, "Test")
    ]


async def test_a_health_manager_enters_for_those_assigned_to_them(db: Database) -> None:
    member, stranger = await make_member(db), await make_member(db)
    manager = await make_staff(db)
    await assign(db, manager, member)
    done = await enter(as_staff(db, manager), member, entry())
    assert done["accepted"] == 1
    assert [it[1:5] for it in await rows(db, KEPT)] == [("CLINICAL", "HIGH", "STAFF", manager)]
    before = await contents(db)
    refusal = await enter(as_staff(db, manager), stranger, entry())
    assert (refusal["code"], refusal["field"]) == ("NOT_FOUND", "memberId")
    assert await contents(db) == before


async def test_only_employees_and_clinics_enter(db: Database) -> None:
    member = await make_member(db)
    sent = {
        "input": {
            "requestId": str(uuid4()),
            "memberId": encode(Kind.MEMBER, member),
            "measurements": [entry()],
        }
    }
    document = operation("RecordClinicalMeasurements", "console")
    auditor = as_staff(db, await make_staff(db, "AUDITOR"), "AUDITOR")
    before = await contents(db)
    for asked_by in (as_member(db, member), auditor):
        assert await refused(document, sent, context=asked_by) == "FORBIDDEN"
    assert await refused(document, sent, context=context(db, Viewer())) == "UNAUTHENTICATED"
    assert await contents(db) == before


async def test_a_clinic_sees_nothing_of_anybody(db: Database) -> None:
    member = await make_member(db)
    _, key = await make_clinic(db)
    asked_by = await as_clinic(db, key)
    done = await enter(asked_by, member, entry())
    query = "query ($id: ID!, $m: ID!) { node(id: $id) { id } member(id: $m) { displayName } }"
    ids = {"id": done["measurements"][0]["id"], "m": encode(Kind.MEMBER, member)}
    assert await execute(query, ids, context=await as_clinic(db, key)) == {
        "node": None, "member": None
    }  # fmt: skip
    assert await refused("{ me { id } }", context=await as_clinic(db, key)) == "FORBIDDEN"


async def test_without_consent_and_for_nobody_nothing_is_kept(db: Database) -> None:
    refusing = await make_member(db, consents=False)
    async with db.transaction() as session:
        session.add(consent(refusing, "HEALTH_DATA", "REFUSED"))
    _, key = await make_clinic(db)
    asked_by = await as_clinic(db, key)
    before = await contents(db, "measurements", "requests", "recordings")
    assert (await enter(asked_by, refusing, entry()))["code"] == "CONSENT_MISSING"
    assert (await enter(asked_by, uuid4(), entry()))["code"] == "NOT_FOUND"
    assert (await enter(asked_by, refusing))["code"] == "BATCH_TOO_LARGE"
    assert await contents(db, "measurements", "requests", "recordings") == before


async def test_eight_identical_entries_at_once_are_one(db: Database) -> None:
    member = await make_member(db)
    _, key = await make_clinic(db)
    asked_by, request = await as_clinic(db, key), uuid4()
    done = await asyncio.gather(
        *(enter(asked_by, member, entry(), request_id=request) for _ in range(8))
    )
    assert sorted(it.pop("replayed") for it in done) == [False] + [True] * 7
    assert all(it == done[0] for it in done)
    assert await rows(db, "select count(*) from measurements") == [(1,)]
    other = await enter(asked_by, member, entry("129"), request_id=request)
    assert other["code"] == "REQUEST_REUSED"


async def test_a_clinics_entry_stands_beside_the_members_own_reading(db: Database) -> None:
    member = await make_recorder(db)
    _, key = await make_clinic(db)
    await record(db, member, reading("70"))
    await enter(await as_clinic(db, key), member, entry("71", "WEIGHT", "kg"))
    kept = "select value, trust from measurements where superseded_at is null order by value"
    assert await rows(db, kept) == [(70, "MEDIUM"), (71, "HIGH")]


# Keys


async def test_only_the_hash_of_a_key_is_kept(db: Database) -> None:
    _, key = await make_clinic(db)
    secret = key[-43:]
    stored = str(await contents(db))
    assert secret not in stored
    assert await rows(db, "select octet_length(secret_hash) from clinic_keys") == [(32,)]


@pytest.mark.parametrize("spoiled", ["", "x", "wellward_clinic_x", "changed", "other id", "longer"])
async def test_another_key_signs_nobody_in(db: Database, spoiled: str) -> None:
    _, key = await make_clinic(db)
    head, secret = key[:-44], key[-43:]
    forged = {
        "changed": f"{head}_{'A' if secret[0] != 'A' else 'B'}{secret[1:]}",
        "other id": f"{clinics.PREFIX}{uuid4().hex}_{secret}",
        "longer": key + "A",
    }
    with pytest.raises(InvalidToken):
        await clinics.ClinicKeys(db).viewer(forged.get(spoiled, spoiled), acting=False, now=NOON)
    with pytest.raises(Forbidden):
        await clinics.ClinicKeys(db).viewer(key, acting=True, now=NOON)


async def test_a_revoked_key_ends_within_half_a_minute_and_others_stay(db: Database) -> None:
    clinic, key = await make_clinic(db)
    async with db.transaction() as session:
        second = await clinics.issue(session, staff_id=clinic, now=NOON + timedelta(days=1))
    keys = clinics.ClinicKeys(db)
    assert (await keys.viewer(key, acting=False, now=NOON)).staff_id == clinic
    [first, _] = await clinics.everyone(db)
    assert first.key_id is not None
    for at in (NOON, NOON + timedelta(hours=1)):
        async with db.transaction() as session:
            await clinics.revoke(session, key_id=first.key_id, now=at)
    with pytest.raises(InvalidToken):
        await keys.viewer(key, acting=False, now=NOON + timedelta(seconds=30))
    assert (await keys.viewer(second, acting=False, now=NOON)).roles == {"CLINIC"}
    assert [it.revoked_at for it in await clinics.everyone(db)] == [NOON, None]


async def test_only_clinics_get_keys(db: Database) -> None:
    manager = await make_staff(db)
    for staff_id in (manager, uuid4()):
        with pytest.raises(clinics.NoSuchClinic):
            async with db.transaction() as session:
                await clinics.issue(session, staff_id=staff_id, now=NOON)
    with pytest.raises(clinics.NoSuchClinic):
        async with db.transaction() as session:
            await clinics.revoke(session, key_id=uuid4(), now=NOON)


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Toy]:
    with run_app(main.create_app(Settings(data_dir=tmp_path, database_url=database_url))) as site:
        yield site


async def test_a_clinic_signs_in_over_http(db: Database, site: Toy) -> None:
    now = datetime.now(UTC)  # noqa: TID251 - the server's clock
    member = await make_member(db)
    child = await make_member(db)
    await guard(db, child_id=child, guardian_id=member)
    _, key = await make_clinic(db, now=now)
    sent = {
        "requestId": str(uuid4()),
        "memberId": encode(Kind.MEMBER, member),
        "measurements": [entry()],
    }
    body = {
        "query": operation("RecordClinicalMeasurements", "console"),
        "variables": {"input": sent},
    }
    async with httpx.AsyncClient() as client:
        good, bad = [
            await client.post(site.url, json=body, headers={"authorization": f"Bearer {it}"})
            for it in (key, key[:-1] + ("A" if key[-1] != "A" else "B"))
        ]
        acting = await client.post(
            site.url,
            json=body,
            headers={"authorization": f"Bearer {key}", "x-acting-for": encode(Kind.MEMBER, child)},
        )
    assert good.json()["data"]["recordClinicalMeasurements"]["accepted"] == 1
    assert (bad.status_code, acting.status_code) == (401, 403)


async def test_keys_are_issued_and_revoked_on_the_command_line(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    settings = {"WELLWARD_DATABASE_URL": database_url, "WELLWARD_DATA_DIR": str(tmp_path)}
    code, said, complained = await processes.command("clinics", "add", "Clinic", **settings)
    assert code == 0, complained
    key = said.strip()
    keys = clinics.ClinicKeys(db)
    assert (await keys.viewer(key, acting=False, now=NOON)).roles == {"CLINIC"}
    [found] = await clinics.everyone(db)
    code, said, complained = await processes.command(
        "clinics", "revoke-key", str(found.key_id), **settings
    )
    assert code == 0, complained
    with pytest.raises(InvalidToken):
        await keys.viewer(key, acting=False, now=NOON + timedelta(minutes=1))
