"""PostgreSQL is killed under the members' check-ins; what was acknowledged stays, once."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest_asyncio

from app import migrate
from app.adapters.embedded_postgres import APP_ROLE, OWNER_ROLE, EmbeddedPostgres
from app.db import Database
from app.graphql.ids import Kind, encode
from app.place import publish_data
from tests.figures import record_figure
from tests.phones import Answer, Phone, check_in_of, http_client, make_phone, wall_clock
from tests.processes import FULL_COUNTS, answers, command, until, web
from tests.tasks_at_work import rows

CLIENTS = 50
EACH = 30 if FULL_COUNTS else 8
KILLS = 4 if FULL_COUNTS else 1
WALK = "Walk 8000 steps today"
WALKS_PER_DAY = 24


@dataclass
class Server:
    """A PostgreSQL of the test's own that keeps its promises about the disk."""

    postgres: EmbeddedPostgres

    @property
    def url(self) -> str:
        return self.postgres.url(user=APP_ROLE)

    async def kill(self) -> None:
        pid = self.postgres.running_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: self.postgres.running_pid() is None)

    async def start(self) -> None:
        await asyncio.to_thread(self.postgres.start)


@pytest_asyncio.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[Server]:
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    server = Server(postgres)
    try:
        await server.start()
        owner_url = postgres.url(user=OWNER_ROLE)
        await migrate.migrate(owner_url, APP_ROLE, after=publish_data)
        yield server
    finally:
        await asyncio.to_thread(postgres.remove)


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[Database]:
    db = Database.open(server.url)
    try:
        yield db
    finally:
        await db.close()


@dataclass
class Sent:
    """What all clients were told."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """The check-in by the request that it was acknowledged for."""
    failures: list[Answer] = field(default_factory=list)

    async def reach(self, count: int) -> None:
        await until(lambda: len(self.acknowledged) >= count)


async def send_until_answered(phone: Phone, variables: dict[str, Any], sent: Sent) -> None:
    while True:
        answer = await phone.send("CheckIn", variables)
        result = answer.result
        if result is not None:
            assert result["__typename"] == "CheckInPayload", result
            sent.acknowledged[variables["input"]["requestId"]] = result["checkIn"]["id"]
            return
        sent.failures.append(answer)
        await asyncio.sleep(0.05)


async def check_in_all(phone: Phone, sent: Sent, rng: Random) -> None:
    """The member's tasks of today, in some order, one after the other."""
    tasks = await phone.tasks()
    wanted = [WALK] * WALKS_PER_DAY + [title for title in tasks if title != WALK]
    rng.shuffle(wanted)
    at = wall_clock() - timedelta(seconds=1)
    for number, title in enumerate(wanted[:EACH]):
        # Two ticks of one instant would be one.
        instant = at + timedelta(milliseconds=number)
        await send_until_answered(phone, check_in_of(tasks[title]["id"], at=instant), sent)


async def test_no_acknowledged_check_in_is_lost_or_counted_twice(
    own_server: Server, tmp_path: Path
) -> None:
    async with web(own_server.url, tmp_path) as [site], http_client() as http:
        async with opened(own_server) as db:
            phones = [
                await make_phone(db, tmp_path, http, site.base, login=f"phone{number}")
                for number in range(CLIENTS)
            ]
        sent, total = Sent(), CLIENTS * EACH
        crowd = asyncio.gather(
            *(check_in_all(phone, sent, Random(number)) for number, phone in enumerate(phones))
        )
        try:
            for kill in range(1, KILLS + 1):
                await sent.reach(total * kill // (KILLS + 1))
                await own_server.kill()
                failures = len(sent.failures) + CLIENTS  # until everybody has met the outage
                await until(lambda failures=failures: len(sent.failures) >= failures)
                assert not await asyncio.to_thread(answers, f"{site.base}/readyz")
                assert await asyncio.to_thread(answers, f"{site.base}/healthz")
                acknowledged = len(sent.acknowledged)
                await own_server.start()
                # By itself, and soon.
                await asyncio.wait_for(sent.reach(acknowledged + 1), 20)
            await crowd
        finally:
            crowd.cancel()
        assert await asyncio.to_thread(answers, f"{site.base}/readyz")
        assert site.popen.poll() is None

    record_figure("kills of PostgreSQL", KILLS)
    record_figure("check-ins acknowledged", len(sent.acknowledged))
    record_figure("requests that failed and were sent again", len(sent.failures))
    assert_clean(sent.failures)
    async with opened(own_server) as db:
        await assert_all_counted_once(db, sent, total)
    code, said, _ = await command("ledger", "verify", WELLWARD_DATABASE_URL=own_server.url)
    assert (code, said.startswith(f"Sound: {CLIENTS} members")) == (0, True), said


async def test_connections_that_died_while_idle_cost_nobody_an_error(
    own_server: Server, tmp_path: Path
) -> None:
    async with web(own_server.url, tmp_path) as [site], http_client() as http:
        async with opened(own_server) as db:
            phone = await make_phone(db, tmp_path, http, site.base, login="phone")
        tasks = await phone.tasks()
        walks = [
            check_in_of(tasks[WALK]["id"], at=wall_clock() - timedelta(seconds=number))
            for number in range(20)
        ]
        await asyncio.gather(*(phone.send("CheckIn", walk) for walk in walks))

        await own_server.kill()
        await own_server.start()

        again = await asyncio.gather(*(phone.send("CheckIn", walk) for walk in walks))
        homes = await asyncio.gather(*(phone.send("Home", {}) for _ in range(20)))
        assert [answer.body for answer in (*again, *homes) if "errors" in answer.body] == []
        assert all(answer.result and answer.result["replayed"] for answer in again)


def assert_clean(failures: list[Answer]) -> None:
    """A client learns that it failed and where to ask, and nothing of how it is built."""
    assert failures
    for answer in failures:
        assert answer.status in (200, 500, 503), answer
        [error] = answer.body["errors"]
        assert error["message"] == "Internal error", error
        assert set(error) <= {"message", "extensions", "path", "locations"}, error
        assert set(error["extensions"]) == {"code", "correlationId"}, error


async def assert_all_counted_once(db: Database, sent: Sent, total: int) -> None:
    stored = await rows(db, "select member_id, request_id, id from checkins")
    record_figure("check-ins stored", len(stored))
    assert len(sent.acknowledged) == total
    assert len(stored) == total
    assert sent.acknowledged == {
        str(request_id): encode(Kind.CHECK_IN, member_id, id)
        for member_id, request_id, id in stored
    }
    [twice] = await rows(
        db,
        "select count(*) - count(distinct (member_id, assignment_id, local_date, slot)),"
        " (select count(*) - count(distinct (member_id, cause_key)) from points_transfers)"
        " from checkins",
    )
    assert tuple(twice) == (0, 0)
    wrong = await rows(
        db,
        "select w.member_id from wallets w where (available, earned_total, version) <> ("
        " (select coalesce(sum(amount), 0) from points_transfers t where t.member_id = w.member_id),"
        " (select coalesce(sum(points_awarded), 0) from checkins c where c.member_id = w.member_id),"
        " (select count(*) from checkins c where c.member_id = w.member_id))",
    )
    assert wrong == []
