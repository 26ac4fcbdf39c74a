import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from app import events as module
from app.db import Database
from app.events import Event, Events, Subscription
from tests.job_worker import enqueue, make_runs, rows, workers

MEMBER = UUID(int=1)
OTHER = UUID(int=2)


@asynccontextmanager
async def started(url: str) -> AsyncIterator[Events]:
    """Connected and listening."""
    events = Events(url)
    await events.start()
    try:
        async with events.subscribe(UUID(int=0)) as probe:
            events.publish(Event(UUID(int=0), "task", "probe"))
            await one(probe)
        yield events
    finally:
        await events.close()


async def one(subscription: Subscription) -> Event:
    async with asyncio.timeout(10):
        return await anext(subscription)


async def test_two_processes_tell_each_other_and_only_the_member_concerned(
    database_url: str,
) -> None:
    async with started(database_url) as here, started(database_url) as there:
        async with (
            there.subscribe(MEMBER) as theirs,
            here.subscribe(MEMBER) as ours,
            there.subscribe(OTHER) as others,
        ):
            here.publish(Event(MEMBER, "points", "p"))
            assert await one(theirs) == await one(ours) == Event(MEMBER, "points", "p")
            there.publish(Event(OTHER, "task", "t"))
            assert await one(others) == Event(OTHER, "task", "t")
            assert not theirs._waiting
        assert here._subscriptions == there._subscriptions == {}


async def test_a_worker_process_tells_this_one(
    db: Database, database_url: str, owner_url: str
) -> None:
    await make_runs(owner_url)
    async with (
        started(database_url) as events,
        events.subscribe(MEMBER) as subscription,
        workers(database_url),
    ):
        await enqueue(db, "test.publishes", {"member": str(MEMBER)})
        assert await one(subscription) == Event(MEMBER, "task", "t1")


async def test_a_burst_is_one_batch_without_duplicates(database_url: str) -> None:
    received: list[str] = []
    listener = await asyncpg.connect(database_url)
    await listener.add_listener(module.CHANNEL, lambda *given: received.append(given[3]))
    async with started(database_url) as events:
        for number in range(1000):
            events.publish(Event(MEMBER, "task", f"{number % 7}"), Event(OTHER, "points", ""))
        await asyncio.sleep(0.5)
    await listener.close()

    _probe, burst = received
    assert sorted(orjson.loads(burst)) == sorted(
        [[str(MEMBER), "task", f"{number}"] for number in range(7)] + [[str(OTHER), "points", ""]]
    )


async def test_events_survive_the_loss_of_the_connection(db: Database, database_url: str) -> None:
    async with started(database_url) as events, events.subscribe(MEMBER) as subscription:
        ((before,),) = await sessions(db)
        connection = await asyncpg.connect(database_url)
        assert await connection.fetchval("SELECT pg_terminate_backend($1)", before)
        await connection.close()
        events.publish(Event(MEMBER, "message", "during"))

        assert await one(subscription) == Event(MEMBER, "message", "during")
        events.publish(Event(MEMBER, "message", "after"))
        assert await one(subscription) == Event(MEMBER, "message", "after")
        ((after,),) = await sessions(db)
        assert after != before


async def sessions(db: Database) -> list[tuple[int]]:
    return await rows(
        db,
        """SELECT pid FROM pg_stat_activity
            WHERE application_name = 'wellward-events' AND datname = current_database()""",
    )


async def test_without_a_database_nothing_waits_or_fails_and_memory_is_bounded() -> None:
    events = Events("postgresql://nobody@127.0.0.1:1/nothing")
    await events.start()
    began = time.monotonic()
    for number in range(2 * module.BUFFER_MAX):
        events.publish(Event(MEMBER, "task", f"{number}"))
    assert time.monotonic() - began < 2
    assert len(events._buffer) == module.BUFFER_MAX
    assert list(events._buffer)[-1].key == f"{2 * module.BUFFER_MAX - 1}"

    async with events.subscribe(MEMBER) as subscription:
        reading = asyncio.create_task(drain(subscription))
        await asyncio.sleep(0)
        async with asyncio.timeout(3):
            await events.close()
            assert await reading == []


async def drain(subscription: Subscription) -> list[Event]:
    return [event async for event in subscription]


async def test_a_slow_reader_finds_each_thing_once_and_the_newest_ones() -> None:
    events = Events("postgresql://unused")
    async with events.subscribe(MEMBER) as subscription:
        for number in range(module.SUBSCRIPTION_MAX + 5):
            for _ in range(3):
                subscription._put(Event(MEMBER, "task", f"{number}"))
        await events.close()
        found = await drain(subscription)

    assert [event.key for event in found] == [
        f"{number}" for number in range(5, module.SUBSCRIPTION_MAX + 5)
    ]


async def test_closing_sends_what_is_left(database_url: str) -> None:
    async with started(database_url) as there, there.subscribe(MEMBER) as subscription:
        async with started(database_url) as here:
            here.publish(Event(MEMBER, "points", "last"))
        assert await one(subscription) == Event(MEMBER, "points", "last")


@pytest.mark.parametrize("key", ["k", "健康" * 40, '"' * 200])
def test_payloads_fit_and_lose_nothing(key: str) -> None:
    events = [Event(uuid4(), "task", f"{key}{number}") for number in range(500)]
    found = module.payloads(events)

    assert max(len(payload.encode()) for payload in found) <= module.PAYLOAD_BYTES_MAX
    told = [Event(UUID(m), k, key) for payload in found for m, k, key in orjson.loads(payload)]
    assert told == events


def test_what_cannot_be_told_is_left_out_and_the_rest_is_told() -> None:
    empty = len(module.payloads([Event(MEMBER, "task", "")])[0])
    longest = Event(MEMBER, "task", "x" * (module.PAYLOAD_BYTES_MAX - 1 - empty))
    too_long = Event(MEMBER, "task", longest.key + "x")
    nonsense = Event(MEMBER, "task", object())  # type: ignore[arg-type]

    (payload,) = module.payloads([too_long, nonsense, longest])
    assert orjson.loads(payload) == [[str(MEMBER), "task", longest.key]]


async def test_an_unreadable_payload_disturbs_nobody(database_url: str) -> None:
    async with started(database_url) as events, events.subscribe(MEMBER) as subscription:
        connection = await asyncpg.connect(database_url)
        for payload in ("", "{}", "[1]", '[["x","y","z"]]', "[[]]"):
            await connection.execute("SELECT pg_notify($1, $2)", module.CHANNEL, payload)
        await connection.close()
        events.publish(Event(MEMBER, "task", "t"))
        assert await one(subscription) == Event(MEMBER, "task", "t")
