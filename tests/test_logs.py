"""What the real processes write while members use them: nothing about anybody."""

import json
import re
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.civil_time import zone
from app.db import Database
from app.graphql.ids import Kind, encode
from tests import processes
from tests.job_worker import eventually
from tests.nudges import make_reminder, rows
from tests.phones import check_in_of, http_client, make_phone, wall_clock
from tests.test_member_events import listening

NAME = "王芳"
NOTE = "Dizzy after Quixomab"
TITLE = "Quixomab 250 mg"
VALUE = 73519
PUSH_TOKEN = "push-token-of-her-phone"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with http_client() as http:
        yield http


def lines(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


async def test_no_name_note_title_token_or_value_is_logged(
    db: Database, database_url: str, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with (
        processes.web(database_url, tmp_path, WELLWARD_LOG_LEVEL="DEBUG") as (site,),
        processes.worker(database_url, tmp_path, WELLWARD_LOG_LEVEL="DEBUG") as worker,
    ):
        member = await make_phone(db, tmp_path, http, site.base, login="member")
        device = {
            "installationId": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
            "platform": "ANDROID",
            "pushToken": PUSH_TOKEN,
            "appVersion": "1.0",
            "locale": "en",
            "timeZone": "Asia/Shanghai",
        }
        assert (await member.send("RegisterDevice", {"input": device})).result is not None
        task = (await member.tasks())["Walk 8000 steps today"]
        sent = check_in_of(task["id"], at=wall_clock())["input"] | {"value": VALUE, "note": NOTE}
        accepted = await member.send("CheckIn", {"input": sent})
        assert accepted.result is not None and accepted.result["__typename"] == "CheckInPayload"
        refused = await member.send("CheckIn", {"input": sent | {"value": VALUE * 1000}})
        assert refused.result is not None and refused.result["__typename"] == "UserError"
        # What fits no type, what PostgreSQL cannot store, what is no JSON, and a bad token.
        for bad in ({"note": [NOTE]}, {"value": f"{VALUE} steps"}, {"note": f"{NOTE}\0"}):
            other = check_in_of(task["id"], at=wall_clock())["input"]
            await member.send("CheckIn", {"input": sent | {"requestId": other["requestId"]} | bad})
        acting = {"x-acting-for": encode(Kind.MEMBER, member.member_id)}
        for token, headers in ((member.token, acting), (f"{member.token}x", {})):
            async with http.post(
                f"{site.base}/graphql?note={NOTE}",
                data=f'{{"query": "{{ me {{ id }} }}", "variables": {{"note": "{NOTE}"',
                headers={
                    "authorization": f"Bearer {token}",
                    "content-type": "application/json",
                    **headers,
                },
            ) as response:
                assert response.status in (400, 401, 403)

        async with listening(site.base, member.token) as app:
            due = wall_clock() - timedelta(seconds=1)
            await make_reminder(
                db,
                member.member_id,
                title=TITLE,
                at=due.astimezone(zone("Asia/Shanghai")).time().replace(microsecond=0),
                set_at=due - timedelta(minutes=1),
                seen_at=due - timedelta(minutes=1),
                starts_on=date(2026, 1, 1),
            )
            assert await app.until("message", "title", TITLE)

        async def pushed() -> bool:
            found = await rows(
                db,
                "select d.state from push_deliveries d"
                " join messages m on m.member_id = d.member_id and m.id = d.message_id"
                " where m.template like 'reminder.%'",
            )
            return found == [("SENT",)]

        await eventually(pushed)
        # By day, what has become of the cover is told too.
        shown = [line for line in lines(worker.said()) if line["event"] == "push"]
        operations = {line.get("operation") for line in lines(site.said())}
        logs = site.said() + worker.said()

    assert {"CheckIn", "Home", "RegisterDevice"} <= operations
    assert shown and all(line["title"] and line["body"] for line in shown)
    secrets = (NAME, NOTE, TITLE, PUSH_TOKEN, member.token, "Quixomab", "Walk 8000", "Bearer")
    assert [secret for secret in secrets if secret in logs] == []
    assert not re.search(rf"(?<![\w-]){VALUE}", logs)
    assert json.dumps(NAME)[1:-1] not in logs
