"""The driver's own connections, beside SQLAlchemy's."""

import asyncio

from sqlalchemy import text

from app.db import Database, StatementCount
from tests.job_worker import eventually


async def test_they_are_among_those_that_are_counted(db: Database) -> None:
    before = db.connections()
    assert [it.in_use for it in before.values()] == [0, 0]
    await db.fetch("select 1")
    assert db.connections()["read"].idle >= 1

    async with db.transaction() as session:
        await session.execute(text("select pg_advisory_xact_lock(7)"))
        assert db.connections()["write"].in_use == 1
        waiting = asyncio.create_task(db.write_row("select pg_advisory_lock_shared(7)"))
        await eventually(lambda: _in_use(db, 2))
    await waiting
    assert db.connections()["write"].in_use == 0
    assert db.connections()["write"].idle >= 2


async def _in_use(db: Database, count: int) -> bool:
    return db.connections()["write"].in_use == count


async def test_what_the_driver_sends_in_a_transaction_is_counted(db: Database) -> None:
    with StatementCount(db) as sent:
        async with db.transaction() as session:
            await session.execute(text("select 1"))
            assert tuple(await session.fetch_row("select 2")) == (2,)
        await db.write_row("select 3")
    assert sent.statements == ["select 1", "select 2", "select 3"]
