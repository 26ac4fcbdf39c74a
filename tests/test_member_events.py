"""`memberEvents` over real WebSockets: between processes, for the right member only."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import websockets
from sqlalchemy import text

from app import main
from app.adapters import local_issuer
from app.civil_time import zone
from app.config import Settings
from app.db import Database
from app.events import Event, Events
from app.graphql.ids import Kind, encode, parse
from app.health_tasks import jobs
from tests import processes
from tests.factories import guard, operation
from tests.job_worker import eventually
from tests.nudges import make_reminder
from tests.phones import Phone, check_in_of, http_client, make_phone, wall_clock
from tests.tasks_at_work import about_noon, make_tasked, tick
from tests.toy_server import Toy, run_app

MEMBER_EVENTS = operation("MemberEvents")
SILENT = 0.7
"""Seconds after which nothing more is expected; an event takes a tenth of that."""


class App:
    """An open app: one WebSocket with one subscription."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.kept: list[dict[str, Any]] = []

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self, seconds: float = 20) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), seconds))
        return found

    async def event(self, seconds: float = 20) -> dict[str, Any]:
        """The next event, which must have no errors."""
        answer = await self.receive(seconds)
        assert (answer["type"], answer["id"]) == ("next", "events"), answer
        assert "errors" not in answer["payload"], answer
        event: dict[str, Any] = answer["payload"]["data"]["memberEvents"]
        return event

    async def events(self, count: int) -> dict[str, dict[str, Any]]:
        """The next ones, by their type."""
        found = [await self.event() for _ in range(count)]
        return {event["__typename"]: event for event in found}

    async def until(self, name: str, field: str, value: Any) -> dict[str, Any]:
        """The next event about the object `name` with this value; the others are kept."""
        while True:
            for place, event in enumerate(self.kept):
                if event.get(name, {}).get(field) == value:
                    return self.kept.pop(place)
            self.kept.append(await self.event())

    async def owners(self) -> set[UUID]:
        """Whose objects arrived and were not asked for, until nothing more does."""
        with suppress(TimeoutError):
            while True:
                self.kept.append(await self.event(SILENT))
        named = [parse(id) for id in re.findall(r'"id": "([^"]+)"', json.dumps(self.kept))]
        return {found.owner_id for found in named if found is not None}

    async def is_silent(self) -> bool:
        with suppress(TimeoutError):
            await self.receive(SILENT)
            return False
        return True

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close."""
        with pytest.raises(websockets.ConnectionClosed) as caught:
            while True:
                await self.receive()
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code, caught.value.rcvd.reason


@asynccontextmanager
async def connected(base: str) -> AsyncIterator[App]:
    url = f"{base.replace('http', 'ws', 1)}/graphql"
    async with websockets.connect(url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        yield App(socket)


@asynccontextmanager
async def listening(base: str, token: str, **payload: str) -> AsyncIterator[App]:
    async with connected(base) as app:
        payload["authorization"] = f"Bearer {token}"
        await app.send(type="connection_init", payload=payload)
        assert (await app.receive())["type"] == "connection_ack"
        await app.send(type="subscribe", id="events", payload={"query": MEMBER_EVENTS})
        # The subscription stands before a query that was sent after it is answered.
        await app.send(type="subscribe", id="ready", payload={"query": "{ me { id } }"})
        answers = [await app.receive(), await app.receive()]
        assert [(it["id"], it["type"]) for it in answers] == [
            ("ready", "next"),
            ("ready", "complete"),
        ]
        yield app


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Toy]:
    settings = Settings(data_dir=tmp_path, database_url=database_url)
    with run_app(main.create_app(settings)) as site:
        yield site


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with http_client() as http:
        yield http


@pytest.fixture
async def teller(database_url: str) -> AsyncIterator[Events]:
    """Another process that publishes."""
    events = Events(database_url)
    await events.start()
    yield events
    await events.close()


async def listeners(db: Database) -> list[int]:
    """Backends that listen for events."""
    async with db.read() as connection:
        found = await connection.scalars(
            text(
                "select pid from pg_stat_activity where datname = current_database()"
                " and application_name = 'wellward-events' and query ~ 'LISTEN|pg_notify'"
            )
        )
        return list(found)


async def until_listening(db: Database, count: int) -> None:
    async def ready() -> bool:
        return len(await listeners(db)) >= count

    await eventually(ready)


def points_of(member_id: UUID) -> Event:
    return Event(member_id, "points", encode(Kind.POINTS_ACCOUNT, member_id))


async def test_across_processes(
    db: Database, database_url: str, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """Sent to one web process, seen at another; fired by the worker, seen at the web."""
    async with (
        processes.web(database_url, tmp_path, count=2) as (here, there),
        processes.worker(database_url, tmp_path),
    ):
        member = await make_phone(db, tmp_path, http, here.base, login="member")
        other = await make_phone(db, tmp_path, http, here.base, login="other")
        await until_listening(db, 3)
        async with (
            listening(there.base, member.token) as app,
            listening(there.base, other.token) as strangers,
        ):
            task = (await member.tasks())["Move for 30 minutes after a meal"]
            sent = await member.send("CheckIn", check_in_of(task["id"], at=wall_clock()))
            assert sent.result is not None
            # Meanwhile the worker closes the days since the enrolment, and tells that too.
            assert await app.until("points", "id", sent.result["points"]["id"]) == {
                "__typename": "PointsChanged",
                "points": sent.result["points"],
            }
            latest = sent.result["checkIn"]
            assert await app.until("task", "id", task["id"]) == {
                "__typename": "TaskChanged",
                "task": {
                    **sent.result["task"],
                    "latestCheckIn": {it: latest[it] for it in ("id", "occurredAt", "state")},
                },
            }

            await fire_reminder(db, member)
            arrived = await app.until("message", "title", "Metformin 500 mg")
            inbox = await member.send("Inbox", {})
            # By day, what has become of the cover is told too.
            messages = [it["node"] for it in inbox.body["data"]["me"]["inbox"]["edges"]]
            [shown] = [it for it in messages if it["title"] == "Metformin 500 mg"]
            assert 1 <= arrived["member"].pop("unreadCount") <= len(messages)
            me = encode(Kind.MEMBER, member.member_id)
            assert arrived == {
                "__typename": "MessageArrived",
                "message": shown,
                "member": {"id": me},
            }
            assert await strangers.owners() <= {other.member_id}
            assert await app.owners() <= {member.member_id}


async def fire_reminder(db: Database, member: Phone) -> None:
    """Have a reminder that is due now."""
    due = wall_clock() - timedelta(seconds=1)
    earlier = due - timedelta(minutes=1)
    at = due.astimezone(zone("Asia/Shanghai")).time().replace(microsecond=0)
    await make_reminder(
        db, member.member_id, at=at, set_at=earlier, seen_at=earlier, starts_on=date(2026, 1, 1)
    )


async def test_nothing_of_another_member_and_nothing_unknown(
    db: Database, tmp_path: Path, site: Toy, http: aiohttp.ClientSession, teller: Events
) -> None:
    member = await make_phone(db, tmp_path, http, site.base, login="member")
    other = await make_phone(db, tmp_path, http, site.base, login="other")
    await until_listening(db, 2)
    async with listening(site.base, member.token) as app:
        teller.publish(
            points_of(other.member_id),
            # Named for the member, but of somebody else; of another version; of no kind we show.
            Event(member.member_id, "points", encode(Kind.POINTS_ACCOUNT, other.member_id)),
            Event(member.member_id, "task", "t1"),
            Event(member.member_id, "weather", encode(Kind.REMINDER, member.member_id, uuid4())),
            points_of(member.member_id),
        )
        account = (await app.event())["points"]
        assert account["id"] == encode(Kind.POINTS_ACCOUNT, member.member_id)
        assert await app.is_silent()


async def test_each_event_shows_what_stands_when_it_arrives(
    db: Database, tmp_path: Path, site: Toy, http: aiohttp.ClientSession
) -> None:
    member = await make_phone(db, tmp_path, http, site.base, login="member")
    await until_listening(db, 1)
    task = (await member.tasks())["Walk 8000 steps today"]
    async with listening(site.base, member.token) as app:
        for done in ("3000", "8000"):
            variables = check_in_of(task["id"], at=wall_clock())
            variables["input"]["value"] = int(done) - (3000 if done == "8000" else 0)
            assert (await member.send("CheckIn", variables)).result is not None
            paid = done == "8000"
            arrived = await app.events(2 if paid else 1)
            assert float(arrived["TaskChanged"]["task"]["done"]) == float(done)
            assert ("PointsChanged" in arrived) == paid
        # A retry is answered again, but nothing has changed.
        answer = await member.send("CheckIn", variables)
        assert answer.result is not None and answer.result["replayed"]
        assert await app.is_silent()


async def test_a_guardian_hears_of_the_child_until_the_guardianship_ends(
    db: Database, tmp_path: Path, site: Toy, http: aiohttp.ClientSession, teller: Events
) -> None:
    guardian = await make_phone(db, tmp_path, http, site.base, login="guardian")
    child = await make_phone(db, tmp_path, http, site.base, login="child")
    await guard(db, child_id=child.member_id, guardian_id=guardian.member_id)
    await until_listening(db, 2)
    acting = {"actingFor": encode(Kind.MEMBER, child.member_id)}
    async with listening(site.base, guardian.token, **acting) as app:
        teller.publish(points_of(guardian.member_id), points_of(child.member_id))
        account = (await app.event())["points"]
        assert account["id"] == encode(Kind.POINTS_ACCOUNT, child.member_id)
        async with db.write() as connection:
            await connection.execute(text("update guardianships set ended_at = now()"))
        teller.publish(points_of(child.member_id))
        assert await app.receive() == {"id": "events", "type": "complete"}
    async with connected(site.base) as app:
        stranger = {"actingFor": encode(Kind.MEMBER, uuid4())}
        payload = {"authorization": f"Bearer {guardian.token}", **stranger}
        await app.send(type="connection_init", payload=payload)
        assert await app.closed() == (4401, "Unauthorized")


async def test_4401_before_a_token_with_a_bad_one_and_when_it_expires(
    db: Database, tmp_path: Path, site: Toy, http: aiohttp.ClientSession
) -> None:
    await make_phone(db, tmp_path, http, site.base, login="member")
    issuer = local_issuer.LocalIssuer(tmp_path)

    async with connected(site.base) as app:
        await app.send(type="subscribe", id="events", payload={"query": MEMBER_EVENTS})
        assert await app.closed() == (4401, "Unauthorized")

    expired = issuer.mint("member:member", now=wall_clock() - timedelta(days=1))
    for token in (expired, issuer.mint("member:nobody", now=wall_clock()), "x.y.z"):
        async with connected(site.base) as app:
            payload = {"authorization": f"Bearer {token}"}
            await app.send(type="connection_init", payload=payload)
            assert await app.closed() == (4401, "Unauthorized")

    brief = issuer.mint("member:member", now=wall_clock(), lifetime=timedelta(seconds=3))
    async with listening(site.base, brief) as app:
        assert await app.closed() == (4401, "The token has expired")


async def test_staff_who_are_no_members_have_no_events(
    db: Database, tmp_path: Path, site: Toy
) -> None:
    async with db.transaction() as session:
        staff = "insert into staff (staff_id, display_name, roles, locale, active, created_at)"
        await session.execute(
            text(f"{staff} values (:id, 'Zhou', '{{AUDITOR}}', 'en', true, now())"),
            {"id": UUID(int=1)},
        )
        await session.execute(
            text(
                "insert into staff_sign_ins (issuer, subject, staff_id) values (:i, 'staff:z', :id)"
            ),
            {"i": local_issuer.ISSUER, "id": UUID(int=1)},
        )
    token = local_issuer.LocalIssuer(tmp_path).mint("staff:z", now=wall_clock())
    async with connected(site.base) as app:
        await app.send(type="connection_init", payload={"authorization": f"Bearer {token}"})
        assert (await app.receive())["type"] == "connection_ack"
        await app.send(type="subscribe", id="events", payload={"query": MEMBER_EVENTS})
        answer = await app.receive()
        assert answer["type"] == "error"
        assert answer["payload"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_listener_that_was_terminated_listens_again(
    db: Database,
    owner_url: str,
    tmp_path: Path,
    site: Toy,
    http: aiohttp.ClientSession,
    teller: Events,
) -> None:
    member = await make_phone(db, tmp_path, http, site.base, login="member")
    await until_listening(db, 2)
    async with listening(site.base, member.token) as app:
        before = await listeners(db)
        async with db.write() as connection:
            for pid in before:
                await connection.execute(text("select pg_terminate_backend(:pid)"), {"pid": pid})

        async def replaced() -> bool:
            now = await listeners(db)
            return len(now) == 2 and not set(now) & set(before)

        await eventually(replaced)
        teller.publish(points_of(member.member_id))
        assert (await app.event())["__typename"] == "PointsChanged"


async def test_closing_a_period_tells_the_task_and_the_points_it_paid(
    db: Database, database_url: str, teller: Events
) -> None:
    member_id, tasks = await make_tasked(db, "stretch", "smoke-free")
    for day in range(2, 32):
        at = about_noon(day - 2)
        await jobs.close_periods(db, now=at)
        await tick(db, member_id, tasks["smoke-free"], date(2026, 3, 2), at=at)
    received = Events(database_url)
    await received.start()
    await until_listening(db, 2)
    try:
        async with received.subscribe(member_id) as subscription:
            # Midnight of 1 April in Shanghai: a day and the month have ended.
            april = datetime.fromisoformat("2026-04-01T00:00:00+08:00")
            assert await jobs.close_periods(db, now=april, events=teller) == 1
            found = [await asyncio.wait_for(anext(subscription), 30) for _ in range(3)]
            assert await jobs.close_periods(db, now=april, events=teller) == 0
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(subscription), SILENT)
    finally:
        await received.close()
    assert set(found) == {
        Event(
            member_id,
            "task",
            encode(Kind.TASK, member_id, tasks["stretch"], date(2026, 3, 31)),
        ),
        Event(
            member_id,
            "task",
            encode(Kind.TASK, member_id, tasks["smoke-free"], date(2026, 3, 2)),
        ),
        points_of(member_id),
    }
