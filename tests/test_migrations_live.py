"""Migrations on a database that the release of 0008 has filled, and that it goes on writing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app import migrate
from app.adapters.embedded_postgres import APP_ROLE, OWNER_ROLE
from app.db import Database
from app.points import service as points
from tests import previous_release as before
from tests.database import TestServer
from tests.factories import NOON
from tests.points_ledger import balances, do, sound

INDEXES = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


@pytest.fixture
async def name(server: TestServer) -> AsyncIterator[str]:
    """A database of the release before, without rows."""
    name = await server.empty()
    await migrate.migrate(server.url(name, OWNER_ROLE), APP_ROLE, to="0008")
    yield name
    await server.drop(name)


@pytest.fixture
async def old(server: TestServer, name: str) -> AsyncIterator[asyncpg.Connection]:
    """A process of the release before."""
    connection = await asyncpg.connect(server.url(name, APP_ROLE))
    yield connection
    await connection.close()


@pytest.fixture
async def now(server: TestServer, name: str) -> AsyncIterator[Database]:
    """The same database, as this release opens it."""
    db = Database.open(server.url(name, APP_ROLE))
    yield db
    await db.close()


async def test_a_filled_database_comes_to_the_present_and_its_ledger_is_sound(
    server, name, old, now, monkeypatch
):
    # Fewer in a batch than there are members.
    monkeypatch.setattr("app.migration_steps.MEMBERS_A_BATCH", 2)
    owner_url = server.url(name, OWNER_ROLE)
    histories = {}
    for history in (
        before.PLAIN,
        before.WAITS,
        before.REVERSED_INTO_DEBT,
        before.ADJUSTED,
        before.REFUSED,
        (),
    ):
        member_id = await before.member(old)
        histories[history] = member_id, await before.post(old, member_id, history)
    plain, waits = histories[before.PLAIN][0], histories[before.WAITS][0]
    await before.paid_task(old, plain)
    for place, value in enumerate((Decimal("62.500"), Decimal("70.000"))):
        await before.reading(old, plain, value, at=NOON - timedelta(days=place))

    await migrate.migrate(owner_url, APP_ROLE)

    assert await migrate.check_drift(owner_url) == []
    assert await old.fetchval(INDEXES) == 0
    assert await sound(now)
    rows = await old.fetch("SELECT sent_value, channel FROM measurements ORDER BY measured_at")
    assert [tuple(row) for row in rows] == [("70", "EXAMINATION"), ("62.5", "EXAMINATION")]
    assert await old.fetchval("SELECT revision FROM tasks") == 0
    parts = """SELECT array_agg((used, expired, reversed)::text ORDER BY earned_seq)
                 FROM points_lots WHERE member_id = $1"""
    told = {history: await old.fetchval(parts, its[0]) for history, its in histories.items()}
    assert told == {
        before.PLAIN: ["(0,0,0)"],
        before.WAITS: ["(0,0,0)"],
        before.REVERSED_INTO_DEBT: ["(0,0,4)", "(0,0,0)"],
        before.ADJUSTED: ["(0,0,10)", "(0,0,2)"],
        before.REFUSED: ["(0,0,9)"],
        (): None,
    }

    # What waited is decided by this release, and the two parts of the earning that paid a debt
    # are one.
    earned = histories[before.WAITS][1]["walk:0"]
    await do(now, points.settle, member_id=waits, transfer_id=earned, accept=True)
    assert await balances(now, waits) == {"available": 7, "earned_total": 7}
    debtor, ids = histories[before.REVERSED_INTO_DEBT]
    await do(now, points.reverse, member_id=debtor, transfer_id=ids["swim:0/2"])
    assert await balances(now, debtor) == {}
    assert await sound(now)


async def test_the_release_before_goes_on_writing_on_the_newer_database(server, name, old, now):
    await before.member(old)
    await migrate.migrate(server.url(name, OWNER_ROLE), APP_ROLE)

    member_id = await before.member(old)
    ids = await before.post(old, member_id, before.PLAIN)
    await before.paid_task(old, member_id)
    await old.execute(
        """INSERT INTO measurements (member_id, id, code, value, unit, sent_value, sent_unit,
             measured_at, local_date, recorded_at, method, source_id, trust)
           VALUES ($1, $2, 'body-weight', 62.5, 'kg', $3::numeric, 'kg', $4, '2026-03-02', $4,
             'CLINICAL', 'examination', 'HIGH') ON CONFLICT DO NOTHING""",
        member_id,
        UUID(int=5),
        Decimal("62.5"),
        NOON,
    )

    assert await sound(now)
    assert await old.fetchval("SELECT sent_value || channel FROM measurements") == "62.5EXAMINATION"
    # And this release works with what it wrote.
    await do(now, points.reverse, member_id=member_id, transfer_id=ids["walk:0"])
    assert await balances(now, member_id) == {}
    assert await sound(now)


async def test_a_migration_gives_way_to_whoever_has_a_table_locked(
    server, name, old, now, monkeypatch
):
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr(migrate, "LOCK_PAUSE_SECONDS", 0.05)
    member_id = await before.member(old)
    migrating = asyncio.create_task(migrate.migrate(server.url(name, OWNER_ROLE), APP_ROLE))
    reader = await asyncpg.connect(server.url(name, APP_ROLE))
    async with reader.transaction():
        await reader.execute("SELECT FROM wallets")
        for _ in range(3):
            # Nobody waits behind the waiting migration for longer than its timeout.
            await asyncio.wait_for(
                old.execute("UPDATE wallets SET version = 1 WHERE member_id = $1", member_id), 2
            )
            await asyncio.sleep(0.02)
        assert not migrating.done()
    await migrating
    await reader.close()

    assert await migrate.check_drift(server.url(name, OWNER_ROLE)) == []


async def test_a_lock_that_nobody_lets_go_of_fails_the_run_and_the_next_one_goes_on(
    server, name, old, monkeypatch
):
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr(migrate, "LOCK_PAUSE_SECONDS", 0.0)
    owner_url = server.url(name, OWNER_ROLE)
    async with old.transaction():
        await old.execute("SELECT FROM checkins")
        with pytest.raises(DBAPIError, match="lock timeout"):
            await migrate.migrate(owner_url, APP_ROLE)
    assert (await migrate.pending(owner_url))[0] == "0012"

    await migrate.migrate(owner_url, APP_ROLE)

    assert await migrate.check_drift(owner_url) == []


async def test_an_index_that_was_left_half_built_is_built_anew(server, name, old):
    owner_url = server.url(name, OWNER_ROLE)
    watcher = await asyncpg.connect(owner_url)
    # An index that is built concurrently waits for those who look at an older state.
    async with old.transaction(isolation="repeatable_read", readonly=True):
        await old.execute("SELECT FROM points_transfers")
        await watcher.execute("SET lock_timeout = '100ms'")
        with suppress(asyncpg.LockNotAvailableError):
            await watcher.execute(
                "CREATE INDEX CONCURRENTLY points_lots_due ON points_lots (expires_at)"
            )
    assert await watcher.fetchval(INDEXES) == 1

    await migrate.migrate(owner_url, APP_ROLE)

    assert await watcher.fetchval(INDEXES) == 0
    assert await migrate.check_drift(owner_url) == []
    await watcher.close()
