"""`wellward up`, stopped and killed in every way, and started again on the same data."""

import asyncio
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from app.adapters.embedded_postgres import SUPERUSER, EmbeddedPostgres
from tests.processes import FULL_COUNTS, Process, command, free_port, ready, running, until, using
from tests.small_up import MEMBERS

WELCOME = "Ctrl-C stops everything."
LATER_START_SECONDS = 5 if FULL_COUNTS else 30
"""The suite's other half may be using the machine."""


NOT_THERE_YET = (asyncpg.PostgresError, asyncpg.InternalClientError, asyncpg.InterfaceError)
"""The server refuses, or ends while it is asked."""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, str]]:
    folder = tmp_path / "var"
    yield {"WELLWARD_DATA_DIR": str(folder), "PORT": str(free_port())}
    for pid in using(str(folder)):
        os.kill(pid, signal.SIGKILL)
    EmbeddedPostgres(folder / "postgres").remove()


@asynccontextmanager
async def up(settings: dict[str, str], tmp_path: Path) -> AsyncIterator[Process]:
    output = tmp_path / f"up-{uuid4().hex}.log"
    async with running(["tests.small_up", "up"], output, settings) as process:
        process.base = f"http://127.0.0.1:{settings['PORT']}"
        yield process


async def stopped(process: Process, number: signal.Signals, settings: dict[str, str]) -> None:
    """By this signal, in order, with all that it started."""
    process.popen.send_signal(number)
    assert await process.ended(120) == 0, process.said()
    assert process.said().endswith("Stopped.\n")
    assert using(settings["WELLWARD_DATA_DIR"]) == []
    assert "Traceback" not in process.said()


async def test_killed_it_starts_again_and_stopped_it_leaves_nothing(
    settings: dict[str, str], tmp_path: Path
) -> None:
    data_dir = settings["WELLWARD_DATA_DIR"]
    async with up(settings, tmp_path) as process:
        said = await process.until_said(WELCOME)
        await assert_the_printed_curl_works(said)
        await assert_another_is_refused(settings, tmp_path)
        for pid in using(data_dir):
            os.kill(pid, signal.SIGKILL)
        await process.ended()
    await until(lambda: using(data_dir) == [])

    began = time.monotonic()
    async with up(settings, tmp_path) as process:
        await ready(process)
        assert time.monotonic() - began < LATER_START_SECONDS
        await process.until_said(WELCOME)
        process.popen.kill()  # and nobody is left to stop the others
        await process.ended()

    async with up(settings, tmp_path) as process:
        said = await process.until_said(WELCOME)
        await assert_the_printed_curl_works(said)
        await stopped(process, signal.SIGINT, settings)


async def test_an_interrupted_first_run_leaves_a_whole_population_to_the_next(
    settings: dict[str, str], tmp_path: Path
) -> None:
    runs: set[object] = set()
    async with up(settings, tmp_path) as process:
        await seeding(settings, runs)
        await stopped(process, signal.SIGTERM, settings)
    async with up(settings, tmp_path) as process:
        await process.until_said("making it anew")
        await seeding(settings, runs)
        process.popen.kill()
        await process.ended()
    async with up(settings, tmp_path) as process:
        await process.until_said(WELCOME)
        population = (
            "select (select count(*) from members), (select count(*) from staff),"
            " (select count(*) from installations), (select finished_at is not null from seed_runs)"
        )
        assert await fetch(settings, population) == (MEMBERS, 8, MEMBERS, True)
        code, said, _ = await command("ledger", "verify", **settings)
        assert (code, said.startswith(f"Sound: {MEMBERS} members")) == (0, True), said
        await stopped(process, signal.SIGHUP, settings)  # its terminal is closed


async def seeding(settings: dict[str, str], runs: set[object]) -> None:
    """Until it is in the middle of a run that is not among `runs`."""
    middle = "select started_at, finished_at, (select count(*) > 10 from checkins) from seed_runs"
    async with asyncio.timeout(60):
        while True:
            with suppress(OSError, TypeError, *NOT_THERE_YET):
                started_at, finished_at, in_the_middle = await fetch(settings, middle)
                if started_at not in runs and in_the_middle:
                    assert finished_at is None
                    runs.add(started_at)
                    return
            await asyncio.sleep(0.02)


async def fetch(settings: dict[str, str], statement: str) -> tuple[object, ...]:
    postgres = EmbeddedPostgres(Path(settings["WELLWARD_DATA_DIR"]) / "postgres")
    connection = await asyncpg.connect(postgres.url(user=SUPERUSER))
    try:
        return tuple(await connection.fetchrow(statement))
    finally:
        await connection.close()


async def assert_the_printed_curl_works(said: str) -> None:
    curl = said[said.index("curl -s") : said.index(WELCOME)].replace("\\\n", " ")
    ran = await asyncio.create_subprocess_exec(*shlex.split(curl), stdout=subprocess.PIPE)
    answer, _ = await ran.communicate()
    me = json.loads(answer)["data"]["me"]
    assert me["points"]["available"] > 0 and me["tasksToday"]


async def assert_another_is_refused(settings: dict[str, str], tmp_path: Path) -> None:
    """On the same data, and on the same port; each is told what to do."""
    code, _, told = await command("up", **settings)
    assert code == 1
    assert f"port {settings['PORT']}). Stop it first, or use another WELLWARD_DATA_DIR" in plain(
        told
    )

    elsewhere = {"WELLWARD_DATA_DIR": str(tmp_path / "other")}
    code, _, told = await command("up", **(settings | elsewhere))
    assert code == 1
    assert plain(told).startswith(f"Port {settings['PORT']} on 127.0.0.1 cannot be used")
    assert "set PORT to a free one" in plain(told)


def plain(told: str) -> str:
    return " ".join(told.split())
