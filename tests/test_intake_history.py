"""What imports do besides: points for days that still count and for no others, the command line,
and logs that say nothing of anybody's health."""

import asyncio
import json
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from app.db import Database
from app.intake import service
from app.intake.gateways import receiving
from tests import processes
from tests.factories import NOON, consent, make_member
from tests.health_exports import SHANGHAI, record, write
from tests.job_worker import eventually
from tests.phones import wall_clock
from tests.recordings import make_recorder
from tests.tasks_at_work import earned, make_tasked, rows
from tests.test_intake_gateways import NEW, auth, daily, event, terra_headers

STEPS = "52734"
DAY = timedelta(days=1)
SECRET = json.dumps({"terra": [NEW]})


def walked(day: datetime, steps: str = STEPS) -> str:
    return record(
        "StepCount",
        day + timedelta(hours=9),
        steps,
        "count",
        until=day + timedelta(hours=10),
        source="王芳的 Apple Watch",
    )


async def consent_to_devices(db: Database, member_id: Any) -> None:
    async with db.transaction() as session:
        session.add(consent(member_id, "DEVICE_DATA", "GRANTED"))


# Points


async def test_history_is_kept_and_pays_only_for_days_that_still_count(
    db: Database, tmp_path: Path
) -> None:
    member_id, _ = await make_tasked(db, "walk 2")
    await consent_to_devices(db, member_id)
    midnight = datetime(2026, 3, 2, tzinfo=SHANGHAI)
    days = [midnight - timedelta(days=back) for back in (0, 40, 400, 4000)]
    path = write(
        tmp_path / "export.xml",
        *(walked(day, "9000") for day in days[1:]),
        record("StepCount", midnight, "9000", "count", until=midnight + timedelta(hours=1)),
    )
    report = await service.apple_health(db, path, member=str(member_id), now=NOON)
    assert (report.daily_totals.accepted, report.rejected) == (4, {})
    assert await rows(db, "select count(*) from daily_total_days where value = 9000") == [(4,)]
    assert await earned(db, member_id) == (10, 1)
    await service.apple_health(db, path, member=str(member_id), now=NOON)
    assert await earned(db, member_id) == (10, 1)


async def test_old_extremes_alarm_nobody(db: Database, tmp_path: Path) -> None:
    member_id = await make_member(db)
    await consent_to_devices(db, member_id)

    def pressure(at: datetime) -> str:
        return record("BloodPressureSystolic", at, "214", "mmHg") + record(
            "BloodPressureDiastolic", at, "122", "mmHg"
        )

    old = write(tmp_path / "old.xml", pressure(NOON - timedelta(days=200)))
    await service.apple_health(db, old, member=str(member_id), now=NOON)
    assert await rows(db, "select 1 from worklist_items") == []
    new = write(tmp_path / "new.xml", pressure(NOON - timedelta(hours=1)))
    await service.apple_health(db, new, member=str(member_id), now=NOON)
    assert len(await rows(db, "select 1 from worklist_items")) >= 1


async def test_a_file_does_not_say_that_a_device_syncs(db: Database, tmp_path: Path) -> None:
    member_id = await make_recorder(db)
    at = NOON - timedelta(hours=1)
    path = write(tmp_path / "export.xml", record("BodyMass", at, "70", "kg"), walked(at - DAY))

    report = await service.apple_health(db, path, member=str(member_id), now=NOON)

    assert (report.readings.accepted, report.daily_totals.accepted) == (1, 1)
    assert await rows(db, "select * from connections") == []


# The command line


async def test_the_command_tells_what_it_did_and_by_its_exit_code(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    member_id = await make_member(db, login="wang")
    await consent_to_devices(db, member_id)
    settings = {"WELLWARD_DATABASE_URL": database_url, "WELLWARD_DATA_DIR": str(tmp_path)}
    at = NOON - timedelta(days=3)
    good = write(tmp_path / "good.xml", record("BodyMass", at, "70.25", "kg"), walked(at))
    mixed = write(tmp_path / "mixed.xml", record("BodyMass", at, "7025", "kg"))
    told = tmp_path / "report.json"

    async def run(*arguments: str) -> tuple[int, str, str]:
        return await processes.command("import", *arguments, **settings)

    outcomes = await asyncio.gather(
        run("apple-health", str(good), "--member", "wang", "--dry-run"),
        run("apple-health", str(mixed), "--member", "wang", "--report", str(told)),
        run("apple-health", str(good), "--member", "nobody"),
        run("apple-health", str(good)),
    )
    assert [it[0] for it in outcomes] == [0, 3, 1, 2], outcomes
    assert "1 would be new" in outcomes[0][1]
    assert "VALUE_OUT_OF_RANGE: 1 (line " in outcomes[1][1]
    assert "no such member" in outcomes[2][2]
    assert "--member" in outcomes[3][2]
    report = json.loads(await asyncio.to_thread(told.read_text, "utf-8"))
    assert report["rejected"]["VALUE_OUT_OF_RANGE"]["count"] == 1
    assert await rows(db, "select 1 from measurements") == []

    code, said, complained = await run("apple-health", str(good), "--member", str(member_id))
    assert (code, "readings: 1 new" in said) == (0, True)
    assert await rows(db, "select value from measurements") == [(Decimal("70.25"),)]
    everything = "".join(part for it in outcomes for part in it[1:]) + said + complained
    for secret in ("70.25", "7025", STEPS, "王芳"):
        assert secret not in everything
    for name in ("apple-health", "fhir", "examination"):
        code, said, _ = await run(name, "--help")
        assert (code, "--dry-run" in said) == (0, True)


async def test_a_gateways_user_is_linked_by_hand(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    member_id = await make_member(db, login="wang")
    await make_member(db, login="li")
    settings = {"WELLWARD_DATABASE_URL": database_url, "WELLWARD_DATA_DIR": str(tmp_path)}
    link = ("gateways", "link", "open-wearables", "ow-7", "--member")
    for login, code in (("wang", 0), ("wang", 0), ("li", 1), ("nobody", 1)):
        found, _, complained = await processes.command(*link, login, **settings)
        assert found == code, complained
    assert await rows(db, "select user_id, member_id from gateway_users") == [("ow-7", member_id)]


# Logs


async def test_no_value_and_no_secret_is_logged(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    member_id = await make_member(db)
    await consent_to_devices(db, member_id)
    level = {"WELLWARD_LOG_LEVEL": "DEBUG", "WELLWARD_GATEWAY_SECRETS": SECRET}
    async with (
        processes.web(database_url, tmp_path, **level) as (site,),
        processes.worker(database_url, tmp_path, **level) as worker,
        httpx.AsyncClient() as client,
    ):

        async def send(body: Any, *, secret: str = NEW) -> int:
            content = json.dumps(body).encode() if not isinstance(body, bytes) else body
            headers = terra_headers(content, wall_clock(), secret)
            url = f"{site.base}/gateways/terra/events"
            return (await client.post(url, content=content, headers=headers)).status_code

        assert await send(auth(member_id)) == 202
        assert await send(event("daily", daily(int(STEPS)))) == 202
        odd = event("daily", daily(steps=STEPS + "x"), {"metadata": {"start_time": STEPS}})  # type: ignore[arg-type]
        assert await send(odd) == 202
        assert (
            await send(event("daily", daily(int(STEPS))), secret="another secret entirely") == 401
        )
        assert await send(f'{{"type": "daily", "user": "{STEPS}"}}'.encode()) == 400
        assert await send(event("daily", daily(int(STEPS)), user_id="unknown")) == 404

        async def read() -> bool:
            found = await rows(db, "select state from gateway_events")
            return [it.state for it in found] == ["DONE", "DONE"]

        await eventually(read)
        await worker.until_said("gateway_event")
        logs = site.said() + worker.said()
    assert "gateway_refused" in logs and "/gateways/terra/events" in logs
    for secret in (STEPS, NEW, "terra-signature", "bpm", "8123"):
        assert secret not in logs
    assert receiving.JOB
