"""The only module that opens connections and the only one that commits."""

import asyncio
import re
from collections import namedtuple
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple, Self
from uuid import uuid4

import asyncpg
import orjson
from sqlalchemy import event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.asyncio import AsyncSession as PlainSession
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool
from sqlmodel.ext.asyncio.session import AsyncSession

from app.turns import Turn

_PARAMETER = re.compile(r"(?<!:):(\w+)")


class Session(AsyncSession):
    """SQLModel's session; `execute` is for statements that are no plain select of models."""

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        return await PlainSession.execute(self, *args, **kwargs)

    async def fetch_row(self, sql: str, *arguments: Any) -> Any:
        """As `Database.write_row`, in this transaction."""
        driver = await _driver(self)
        _tell(self, sql)
        return await driver.fetchrow(sql, *arguments)


class Database:
    """Two pools on one database: one that may write, one that the server keeps read-only.

    A FIFO semaphore stands in front of each, because SQLAlchemy's pool is not fair: with
    32 clients on 8 connections it takes the 99th percentile from 207-334 ms to 33-40 ms.
    """

    def __init__(
        self,
        writer: AsyncEngine,
        reader: AsyncEngine,
        connect: Callable[..., Any],
        *,
        pool_size: int,
        pool_timeout_seconds: float,
    ) -> None:
        self.writer = writer
        self.reader = reader
        self.on_fetch: Callable[[str], None] | None = None
        """Told of each statement that the driver itself sends; for counting."""
        self._autocommit = writer.execution_options(isolation_level="AUTOCOMMIT")
        self._writing = Turn(pool_size, pool_timeout_seconds)
        self._reading = Turn(pool_size, pool_timeout_seconds)
        self._direct_writing = _Direct(partial(connect, read_only=False), self._writing)
        self._direct_reading = _Direct(partial(connect, read_only=True), self._reading)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        pool_size: int = 8,
        pool_timeout_seconds: float = 10,
        prepared_statements: bool = True,
    ) -> Self:
        """Prepare the pools; connections are made when first needed.

        `url` is a `postgresql://` URL. `prepared_statements` must be off behind
        transaction pooling.
        """
        connect: dict[str, Any] = {"timeout": pool_timeout_seconds}
        if not prepared_statements:
            connect |= {
                "statement_cache_size": 0,
                "prepared_statement_cache_size": 0,
                "prepared_statement_name_func": lambda: f"__{uuid4()}__",
            }
        address = async_url(url)
        options: dict[str, Any] = {
            "poolclass": AsyncAdaptedQueuePool,
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": pool_timeout_seconds,
            "pool_pre_ping": False,
        }
        writer = create_async_engine(
            address, connect_args=_session(connect, read_only=False), **options
        )
        reader = create_async_engine(
            address,
            connect_args=_session(connect, read_only=True),
            isolation_level="AUTOCOMMIT",
            **options,
        )
        for engine in (writer, reader):
            event.listen(engine.sync_engine, "checkout", _require_open)
        of_driver = {
            name: value for name, value in connect.items() if not name.startswith("prepared_")
        }
        return cls(
            writer,
            reader,
            partial(_connect, driver_url(url), of_driver),
            pool_size=pool_size,
            pool_timeout_seconds=pool_timeout_seconds,
        )

    async def close(self) -> None:
        await self._direct_writing.close()
        await self._direct_reading.close()
        await self.writer.dispose()
        await self.reader.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """One mutation or one job: commit on success, roll back on any exception."""
        async with (
            self._writing,
            Session(self.writer, expire_on_commit=False, info={_DATABASE: self}) as session,
            session.begin(),
        ):
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Statements that each commit by themselves; for writes that are one statement."""
        async with self._writing, self._autocommit.connect() as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One resolver or one loader batch. Sibling resolvers run at the same time and
        must not share a connection; the server refuses any write."""
        async with self._reading, self.reader.connect() as connection:
            yield connection

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """As `read`, for the few statements that are sent most: by the driver itself, since
        SQLAlchemy's part would be half of their cost. Parameters are `$1`, `$2` ...; a value
        of the type `json` comes as what it holds."""
        if self.on_fetch is not None:
            self.on_fetch(sql)
        rows: list[Any] = await self._direct_reading.run(asyncpg.Connection.fetch, sql, arguments)
        return rows

    async def select(self, statement: "Statement", values: Mapping[str, Any]) -> list[Any]:
        """As `fetch`, with parameters by name; the columns of a row are attributes too."""
        found = await self.fetch(statement.sql, *statement.arguments(values))
        return statement.named(found) if found else []

    async def write_row(self, sql: str, *arguments: Any) -> Any:
        """As `write`, by the driver itself: one statement and the first row of what it returns,
        or None."""
        if self.on_fetch is not None:
            self.on_fetch(sql)
        return await self._direct_writing.run(asyncpg.Connection.fetchrow, sql, arguments)

    def connections(self) -> Mapping[str, "Connections"]:
        """Of those that may write and those that may not: SQLAlchemy's and the driver's own."""
        return {
            "write": _connections(self.writer, self._direct_writing),
            "read": _connections(self.reader, self._direct_reading),
        }


class Connections(NamedTuple):
    in_use: int
    idle: int


class _Direct:
    """Connections of the driver itself, the last used first; as many as there are turns."""

    def __init__(self, connect: Callable[[], Any], turn: Turn) -> None:
        self._connect = connect
        self._turn = turn
        self._idle: list[Any] = []
        self._in_use = 0
        self._closed = False

    @property
    def connections(self) -> Connections:
        return Connections(self._in_use, len(self._idle))

    async def run(
        self, method: Callable[..., Awaitable[Any]], sql: str, arguments: Sequence[Any]
    ) -> Any:
        """What this method of a connection answers to one statement. Raises Busy."""
        async with self._turn:
            connection = await self._take()
            self._in_use += 1
            try:
                found = await method(connection, sql, *arguments)
            except asyncpg.PostgresError:
                self._give_back(connection)
                raise
            except BaseException:
                # Nobody knows what it is in the middle of.
                connection.terminate()
                raise
            finally:
                self._in_use -= 1
            self._give_back(connection)
            is_wanted = self._turn.is_wanted
        if is_wanted:
            # Whoever is next sends first, so that the server works on that while we work on this.
            await asyncio.sleep(0)
        return found

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _take(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._connect()

    def _give_back(self, connection: Any) -> None:
        if self._closed:
            connection.terminate()
        elif not connection.is_closed():
            self._idle.append(connection)


def _connections(engine: AsyncEngine, direct: _Direct) -> Connections:
    pool, own = engine.pool, direct.connections
    assert isinstance(pool, QueuePool)
    return Connections(pool.checkedout() + own.in_use, pool.checkedin() + own.idle)


class Statement:
    """SQL with parameters by name, for the driver, which takes them by place. `types` are those
    of parameters whose type the server cannot tell from where they stand."""

    def __init__(self, sql: str, types: Mapping[str, str]) -> None:
        places: dict[str, int] = {}

        def place(found: re.Match[str]) -> str:
            name = found[1]
            at = places.setdefault(name, len(places) + 1)
            return f"${at}::{types[name]}" if name in types else f"${at}"

        self.sql = _PARAMETER.sub(place, sql)
        found = itemgetter(*places)
        self.arguments: Callable[[Mapping[str, Any]], Sequence[Any]] = (
            found if len(places) > 1 else lambda values: (found(values),)
        )
        """By place, of all that are known by name."""
        self._row: Any = None

    def named(self, rows: Sequence[Any]) -> list[Any]:
        """Of rows that the driver gave: named tuples. There is one at least."""
        if self._row is None:
            self._row = namedtuple("Row", rows[0].keys())  # type: ignore[misc]
        return list(map(self._row._make, rows))


_DATABASE, _DRIVER = "database", "driver"


async def fetch(
    session: PlainSession, statement: Statement, values: Mapping[str, Any]
) -> list[Any]:
    """The rows of a statement that the driver itself sends, in this transaction; for those that
    are sent most, because SQLAlchemy's part would be most of their cost."""
    driver = await _driver(session)
    _tell(session, statement.sql)
    found: list[Any] = await driver.fetch(statement.sql, *statement.arguments(values))
    return found


def _tell(session: PlainSession, sql: str) -> None:
    database = session.info.get(_DATABASE)
    if database is not None and database.on_fetch is not None:
        database.on_fetch(sql)


async def _driver(session: PlainSession) -> Any:
    """The driver's connection, in the session's transaction: looked up once in each."""
    driver: Any
    transaction, driver = session.info.get(_DRIVER, (None, None))
    if transaction is None or transaction is not session.sync_session.get_transaction():
        connection = await session.connection()
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        if not driver.is_in_transaction():
            # SQLAlchemy begins when something is executed.
            await connection.execute(text("select 1"))
        session.info[_DRIVER] = session.sync_session.get_transaction(), driver
    return driver


def async_url(url: str) -> str:
    """The same address for SQLAlchemy's asyncpg dialect."""
    scheme, rest = url.split("://", 1)
    assert scheme.split("+")[0] in ("postgresql", "postgres"), scheme
    return f"postgresql+asyncpg://{rest}"


def driver_url(url: str) -> str:
    """The same address for asyncpg itself."""
    return "postgresql://" + url.split("://", 1)[1]


async def _connect(url: str, options: dict[str, Any], *, read_only: bool) -> Any:
    session = _session(options, read_only=read_only)
    # What is sent here looks rows up by their keys, with a plan that is kept: one that was made
    # while a table was empty must not read all of it once it is large.
    session["server_settings"]["enable_seqscan"] = "off"
    connection = await asyncpg.connect(url, **session)
    # Not by way of a text: it would be written as UTF-8 once more to be read.
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=orjson.dumps, decoder=orjson.loads, format="binary"
    )
    return connection


def _session(connect: dict[str, Any], *, read_only: bool) -> dict[str, Any]:
    settings = {
        "application_name": "wellward",
        "timezone": "UTC",
        "datestyle": "ISO",
        # A screen is many small look-ups: compiling them costs more than it saves.
        "jit": "off",
    }
    if read_only:
        settings["default_transaction_read_only"] = "on"
    return {**connect, "server_settings": settings}


def _require_open(connection: Any, _record: Any, _fairy: Any) -> None:
    """Have the pool replace a connection that ended while nobody used it, as after a restart
    of the server. The driver knows without asking: no ping before every request."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


class StatementCount:
    """How many statements the server was sent; for tests and benchmarks."""

    def __init__(self, db: Database) -> None:
        self.statements: list[str] = []
        self._db = db
        self._engines = [db.writer.sync_engine, db.reader.sync_engine]

    def __enter__(self) -> Self:
        for engine in self._engines:
            event.listen(engine, "before_cursor_execute", self._count)
        self._db.on_fetch = self.statements.append
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            event.remove(engine, "before_cursor_execute", self._count)
        self._db.on_fetch = None

    def _count(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.statements.append(statement)

    def __len__(self) -> int:
        return len(self.statements)
