"""`wellward up` as a person runs it: from nothing, again, into what is in its way, and Ctrl-C.

It makes the whole demo population, so it runs with the full counts only.
"""

import asyncio
import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.adapters.embedded_postgres import EmbeddedPostgres
from tests.figures import record_figure
from tests.phones import wall_clock
from tests.processes import FULL_COUNTS, PROJECT, Process, command, free_port, running, using

pytestmark = pytest.mark.skipif(not FULL_COUNTS, reason="two minutes; WELLWARD_PROVE=1")

LATER_START_SECONDS = 5
HOME = "{ me { points { available } tasksToday { id target state } } }"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {"WELLWARD_DATA_DIR": str(tmp_path / "var"), "PORT": str(free_port())}


@asynccontextmanager
async def up(settings: dict[str, str], folder: Path) -> AsyncIterator[Process]:
    """Stopped by Ctrl-C at the end, and gone with everything that it started."""
    output = folder / f"up-{uuid4().hex}.log"
    async with running(["app.cli", "up"], output, settings) as process:
        process.base = f"http://127.0.0.1:{settings['PORT']}"
        try:
            yield process
        finally:
            process.popen.send_signal(signal.SIGINT)
            code = await process.ended(60)
        assert code == 0, process.said()
    assert using(settings["WELLWARD_DATA_DIR"]) == []


async def first_answer(process: Process, since: float) -> float:
    """Seconds until GraphQL answers."""
    async with httpx.AsyncClient() as http:
        while True:
            assert process.popen.poll() is None, process.said()
            try:
                answer = await http.post(f"{process.base}/graphql", json={"query": "{__typename}"})
            except httpx.TransportError:
                await asyncio.sleep(0.02)
                continue
            assert answer.json() == {"data": {"__typename": "Query"}}
            return time.monotonic() - since


async def ask(process: Process, token: str, query: str, **variables: Any) -> Any:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http:
        sent = {"query": query, "variables": variables}
        answer = await http.post(f"{process.base}/graphql", json=sent)
    assert "errors" not in answer.json(), answer.text
    return answer.json()["data"]


async def test_from_nothing_again_and_into_what_is_in_its_way(
    settings: dict[str, str], tmp_path: Path
) -> None:
    began = time.monotonic()
    async with up(settings, tmp_path) as process:
        said = await process.until_said("Ctrl-C stops everything.", 240)
        record_figure("first start, demo population made", round(time.monotonic() - began, 1), "s")
        await assert_its_words_work(process, said, settings)
        await assert_others_are_told(settings, tmp_path)
    assert process.said().rstrip().endswith("Stopped.")

    starts = []
    for _ in range(2):
        began = time.monotonic()
        async with up(settings, tmp_path) as process:
            starts.append(await first_answer(process, began))
            await process.until_said("Ctrl-C stops everything.")
    record_figure("later start to the first answer", round(min(starts), 1), "s")
    assert min(starts) <= LATER_START_SECONDS

    code, said, _ = await command("ledger", "verify", **settings)
    try:
        assert (code, said.startswith("Sound: 50 members")) == (0, True), said
    finally:
        EmbeddedPostgres(Path(settings["WELLWARD_DATA_DIR"]) / "postgres").remove()


async def assert_its_words_work(process: Process, said: str, settings: dict[str, str]) -> None:
    """The `curl` as printed, the tokens, and a check-in that counts."""
    assert f"{process.base}/graphql\n" in said and f"{process.base}/graphiql\n" in said
    curl = said[said.index("curl -s") : said.index("\n\nCtrl-C")].replace("\\\n", " ")
    ran = await asyncio.create_subprocess_exec(*shlex.split(curl), stdout=subprocess.PIPE)
    answer, _ = await ran.communicate()
    me = json.loads(answer)["data"]["me"]
    assert me["points"]["available"] > 0 and me["tasksToday"]

    manager = re.search(r"Health manager manager: (\S+)", said)
    assert manager
    seen = await ask(
        process, manager[1], "{ members(first: 50) { edges { node { displayName } } } }"
    )
    assert seen["members"]["edges"]

    code, token, complained = await command("token", "--member", "demo2", **settings)
    assert (code, token.count("\n"), complained) == (0, 1, "")
    home = (await ask(process, token.strip(), HOME))["me"]
    simple = [it for it in home["tasksToday"] if (it["target"], it["state"]) == ("1", "OPEN")]
    assert len(simple) >= 2, home
    check_in = (PROJECT / "schema" / "operations" / "app" / "CheckIn.graphql").read_text()
    wanted = {"requestId": str(uuid4()), "taskId": simple[0]["id"]}
    wanted["occurredAt"] = wall_clock().isoformat()
    for replayed in (False, True):
        found = (await ask(process, token.strip(), check_in, input=wanted))["checkIn"]
        assert (found["__typename"], found["replayed"]) == ("CheckInPayload", replayed)


async def assert_others_are_told(settings: dict[str, str], tmp_path: Path) -> None:
    """A second one on this data, and one on this port, end at once and say what to do."""
    code, _, told = await command("up", **settings)
    told = " ".join(told.split())
    assert code == 1
    assert f"port {settings['PORT']}). Stop it first, or use another WELLWARD_DATA_DIR" in told
    elsewhere = str(tmp_path / "other")
    code, _, told = await command("up", **(settings | {"WELLWARD_DATA_DIR": elsewhere}))
    told = " ".join(told.split())
    assert code == 1
    assert told.startswith(f"Port {settings['PORT']} on 127.0.0.1 cannot be used")
    assert "set PORT to a free one" in told
