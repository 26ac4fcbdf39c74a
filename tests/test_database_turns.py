"""Who waits for a database connection, and for how long."""

import asyncio

import pytest

from app.db import Database
from app.errors import Busy


async def test_who_waits_too_long_is_told_and_holds_nothing(database_url: str):
    db = Database.open(database_url, pool_size=1, pool_timeout_seconds=0.2)
    try:
        async with db.transaction():
            for holding in (db.transaction, db.write):
                with pytest.raises(Busy):
                    async with holding():
                        raise AssertionError("there is no place")
        # The one place is free again, and nobody who gave up has kept it.
        async with db.write() as connection:
            assert await connection.exec_driver_sql("select 1")
    finally:
        await db.close()


async def test_connections_go_to_who_came_first(database_url: str):
    db = Database.open(database_url, pool_size=1)
    served: list[int] = []

    async def one(number: int) -> None:
        async with db.read() as connection:
            served.append(number)
            await connection.exec_driver_sql("select pg_sleep(0.005)")

    try:
        waiting = []
        for number in range(20):
            waiting.append(asyncio.create_task(one(number)))
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
    finally:
        await db.close()
    assert served == list(range(20))


async def test_a_reading_connection_cannot_write(db: Database):
    async with db.read() as connection:
        with pytest.raises(Exception, match="read-only transaction"):
            await connection.exec_driver_sql("delete from members")


async def test_who_is_cancelled_as_its_turn_comes_passes_it_on(database_url: str):
    db = Database.open(database_url, pool_size=1)

    async def one() -> None:
        async with db.read() as connection:
            await connection.exec_driver_sql("select 1")

    try:
        async with db.read():
            gives_up, goes_on = asyncio.create_task(one()), asyncio.create_task(one())
            await asyncio.sleep(0)
        # The place is the first one's now, who has not run since.
        gives_up.cancel()
        await asyncio.wait_for(goes_on, 30)
        with pytest.raises(asyncio.CancelledError):
            await gives_up
        await asyncio.wait_for(one(), 30)
    finally:
        await db.close()
