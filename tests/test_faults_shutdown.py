"""SIGTERM under load: what was begun is finished and answered, and nothing else is begun."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import aiohttp
import asyncpg

from app.db import Database
from app.graphql.ids import Kind, encode
from app.jobs import queue
from tests.phones import DOCUMENTS, Phone, check_in_of, http_client, make_phone, wall_clock
from tests.processes import FULL_COUNTS, Process, answers, until, web, worker
from tests.tasks_at_work import rows

PHONES = 12 if FULL_COUNTS else 6
WALK = "Walk 8000 steps today"
GOING_AWAY = (1001, 1012)
RESTATE = "health_tasks.restate_month"


@asynccontextmanager
async def wallets_locked(owner_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Every write of points waits until the end."""
    connection = await asyncpg.connect(owner_url)
    try:
        async with connection.transaction():
            await connection.execute("select from wallets for update")
            yield connection
    finally:
        await connection.close()


async def waiting(connection: asyncpg.Connection, count: int) -> None:
    """Until as many sessions of this database wait for a lock."""
    found = 0
    async with asyncio.timeout(10):
        while found < count:
            # A transaction reads the statistics once, unless it is told otherwise.
            await connection.execute("select pg_stat_clear_snapshot()")
            found = await connection.fetchval(
                "select count(distinct pid) from pg_locks join pg_stat_activity using (pid)"
                " where not granted and datname = current_database()"
            )
            await asyncio.sleep(0.01)


async def refuses_connections(site: Process) -> None:
    """Waits until it does."""
    host, port = site.base.removeprefix("http://").split(":")
    async with asyncio.timeout(10):
        with suppress(ConnectionRefusedError):
            while True:
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                await asyncio.sleep(0.01)


async def test_a_stopped_web_process_answers_what_is_in_flight(
    db: Database, database_url: str, owner_url: str, tmp_path: Path
) -> None:
    async with web(database_url, tmp_path) as [site], http_client() as http:
        phones = await make_phones(db, tmp_path, http, site)
        wanted = [(phone, task) for phone in phones for task in (await phone.tasks()).values()]
        at = wall_clock()
        async with wallets_locked(owner_url) as connection:
            in_flight = [
                asyncio.create_task(phone.send("CheckIn", check_in_of(task["id"], at=at)))
                for phone, task in wanted
            ]
            await waiting(connection, 8)
            assert await asyncio.to_thread(answers, f"{site.base}/healthz")
            await asyncio.sleep(0.2)  # the last of them is read

            site.terminate()
            await refuses_connections(site)
            await asyncio.sleep(0.3)
            assert site.popen.poll() is None
            assert not any(request.done() for request in in_flight)
        results = [answer.result for answer in await asyncio.gather(*in_flight)]
        assert {result["__typename"] for result in results if result} == {"CheckInPayload"}
        assert [result["replayed"] for result in results if result] == [False] * len(wanted)
        assert await site.ended() == 0
        assert "Traceback" not in site.said()
    assert await rows(db, "select count(*) from checkins") == [(len(wanted),)]


async def test_a_web_process_stopped_under_load_does_nothing_unanswered(
    db: Database, database_url: str, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    wanted: list[int] = []

    async def check_in_until_refused(phone: Phone) -> None:
        tasks = await phone.tasks()
        wanted.append(len(tasks) + 23)
        at = wall_clock() - timedelta(seconds=1)
        for number, task in enumerate([*tasks.values(), *[tasks[WALK]] * 23]):
            instant = at - timedelta(milliseconds=number)  # two ticks of one instant are one
            try:
                answer = await phone.send("CheckIn", check_in_of(task["id"], at=instant))
            except aiohttp.ClientConnectionError:
                return
            assert answer.result is not None, answer
            acknowledged.append(answer.result["checkIn"]["id"])

    async with web(database_url, tmp_path) as [site], http_client() as http:
        phones = await make_phones(db, tmp_path, http, site)
        listening = await subscribed(http, phones[0])
        crowd = asyncio.gather(*(check_in_until_refused(phone) for phone in phones))
        await until(lambda: len(acknowledged) >= PHONES * 5)
        site.terminate()
        await crowd
        assert await site.ended() == 0
        while (message := await listening.receive(timeout=30)).type != aiohttp.WSMsgType.CLOSE:
            assert message.type == aiohttp.WSMsgType.TEXT, message
        assert message.data in GOING_AWAY

    assert len(acknowledged) < sum(wanted), "it was stopped too late to show anything"
    stored = await rows(db, "select member_id, id from checkins")
    assert {encode(Kind.CHECK_IN, *row) for row in stored} == set(acknowledged)


async def test_a_stopped_worker_finishes_its_job(
    db: Database, database_url: str, owner_url: str, tmp_path: Path
) -> None:
    async with http_client() as http:
        phone = await make_phone(db, tmp_path, http, "", login="phone")
    async with worker(database_url, tmp_path) as process:
        async with wallets_locked(owner_url) as connection:
            await enqueue_restatement(db, phone)
            await waiting(connection, 1)
            process.terminate()
            await process.until_said("worker_stopping")
            await enqueue_restatement(db, phone)  # too late for this worker
            await asyncio.sleep(0.3)
            assert process.popen.poll() is None
        assert await process.ended() == 0
        assert "jobs_interrupted" not in process.said()

    left = "select status::text from pgqueuer where entrypoint = :name"
    assert await rows(db, left, name=RESTATE) == [("queued",)]
    finished = (
        "select count(*) from pgqueuer_log where entrypoint = :name and status = 'successful'"
    )
    assert await rows(db, finished, name=RESTATE) == [(1,)]


async def make_phones(
    db: Database, folder: Path, http: aiohttp.ClientSession, site: Process
) -> list[Phone]:
    return [
        await make_phone(db, folder, http, site.base, login=f"phone{number}")
        for number in range(PHONES)
    ]


async def enqueue_restatement(db: Database, phone: Phone) -> None:
    """A job that takes the member's wallet."""
    now = wall_clock()
    payload = {"member_id": str(phone.member_id), "month": f"{now:%Y-%m}-01"}
    async with db.transaction() as session:
        await queue.enqueue(session, RESTATE, payload, now=now)


async def subscribed(http: aiohttp.ClientSession, phone: Phone) -> aiohttp.ClientWebSocketResponse:
    """A phone that listens to what changes."""
    listening = await http.ws_connect(f"{phone.base}/graphql", protocols=["graphql-transport-ws"])
    first = {"type": "connection_init", "payload": {"authorization": f"Bearer {phone.token}"}}
    await listening.send_json(first)
    assert (await listening.receive_json(timeout=30))["type"] == "connection_ack"
    query = {"query": DOCUMENTS["MemberEvents"]}
    await listening.send_json({"id": "1", "type": "subscribe", "payload": query})
    return listening
