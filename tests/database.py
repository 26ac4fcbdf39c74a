"""The suite's PostgreSQL: one server for a run, a migrated template, a clone for each test.

The workers of a run share the embedded server, started by whichever comes first. It lives in
a folder named after the run, and each worker holds a shared lock beside it. A folder that
nobody holds is of a run that has ended, well or badly, and is swept away.

With TEST_DATABASE_URL (a superuser's URL) that server is used instead.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Generic, TypeVar
from uuid import uuid4

import asyncpg
from sqlalchemy import make_url

from app import migrate
from app.adapters.embedded_postgres import (
    APP_ROLE,
    OWNER_ROLE,
    SUPERUSER,
    EmbeddedPostgres,
    role_statements,
)
from app.db import Database
from app.place import publish_data

RUN_VARIABLE = "WELLWARD_TEST_RUN"
SERVER_URL = os.environ.get("TEST_DATABASE_URL")
# A test database may be lost: nothing has to reach the disk.
UNSAFE_AND_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES_MIN = 1 << 30
_ADVISORY_LOCK = 7_305_421_003

Made = TypeVar("Made")


class TestServer:
    """Makes and drops databases for the tests of one run."""

    __test__ = False

    def __init__(self, superuser_url: str, run: str, *, strategy: str) -> None:
        self._superuser_url = superuser_url
        self._run = run
        self._strategy = strategy
        self._template = f"wellward_template_{run}"

    def url(self, database: str, role: str) -> str:
        """A role's URL; the roles have the superuser's password, if it has one."""
        url = make_url(self._superuser_url).set(username=role, database=database)
        return url.render_as_string(hide_password=False)

    def superuser_url(self, database: str) -> str:
        url = make_url(self._superuser_url).set(database=database)
        return url.render_as_string(hide_password=False)

    async def prepare(self) -> None:
        """Have the roles and the migrated template; whoever comes first makes them."""
        password = make_url(self._superuser_url).password
        connection = await asyncpg.connect(self._superuser_url)
        try:
            await connection.execute(f"SELECT pg_advisory_lock({_ADVISORY_LOCK})")
            for statement in role_statements():
                await connection.execute(statement)
            for role in (OWNER_ROLE, APP_ROLE) if password else ():
                quoted = await connection.fetchval("SELECT quote_literal($1)", password)
                await connection.execute(f"ALTER ROLE {role} PASSWORD {quoted}")
            if await connection.fetchval(
                "SELECT datistemplate FROM pg_database WHERE datname = $1", self._template
            ):
                return
            await connection.execute(f"DROP DATABASE IF EXISTS {self._template}")
            await connection.execute(f"CREATE DATABASE {self._template} OWNER {OWNER_ROLE}")
            await migrate.migrate(
                self.url(self._template, OWNER_ROLE), APP_ROLE, after=publish_data
            )
            await connection.execute(
                f"ALTER DATABASE {self._template} IS_TEMPLATE true ALLOW_CONNECTIONS false"
            )
        finally:
            await connection.close()

    async def clone(self, of: str | None = None) -> str:
        """A new database that is migrated, or as another to which nobody is connected; returns
        its name."""
        return await self._create(f"TEMPLATE {of or self._template} STRATEGY {self._strategy}")

    async def empty(self) -> str:
        """A new database without tables; returns its name."""
        return await self._create("")

    async def drop(self, database: str) -> None:
        await self._execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    async def drop_all(self) -> None:
        """Leave nothing of this run on the server but the roles."""
        connection = await asyncpg.connect(self._superuser_url)
        try:
            names = await connection.fetch(
                "SELECT datname FROM pg_database WHERE datname ~ $1",
                f"^wellward_(test|template)_{self._run}",
            )
            for (name,) in names:
                await connection.execute(f"ALTER DATABASE {name} IS_TEMPLATE false")
                await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await connection.close()

    async def _create(self, options: str) -> str:
        name = f"wellward_test_{self._run}_{uuid4().hex[:12]}"
        await self._execute(f"CREATE DATABASE {name} OWNER {OWNER_ROLE} {options}")
        return name

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._superuser_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class Start(Generic[Made]):
    """What many tests start from, made once a process: each gets a clone of its database."""

    def __init__(self, make: Callable[[Database], Awaitable[Made]]) -> None:
        self._make = make
        self._known: tuple[str, Made] | None = None

    @property
    def made(self) -> Made:
        """What is in every clone; there has to be one."""
        assert self._known is not None
        return self._known[1]

    @asynccontextmanager
    async def clone(self, server: TestServer) -> AsyncIterator[str]:
        """A database that starts so; its name."""
        if self._known is None:
            origin = await server.clone()
            db = Database.open(server.url(origin, APP_ROLE))
            try:
                self._known = origin, await self._make(db)
            finally:
                await db.close()
        name = await server.clone(self._known[0])
        yield name
        await server.drop(name)


def begin_run() -> None:
    """Called once a run, before its workers start: they inherit the name of the run."""
    os.environ[RUN_VARIABLE] = uuid4().hex[:12]
    _sweep()


def end_run() -> None:
    """Called once a run, after its workers have ended."""
    if SERVER_URL is not None:
        asyncio.run(_external(SERVER_URL).drop_all())
    _sweep()
    with suppress(OSError):  # somebody else's run is still going on
        _runs().rmdir()


@contextmanager
def server_of_this_run() -> Iterator[TestServer]:
    if SERVER_URL is not None:
        server = _external(SERVER_URL)
        asyncio.run(server.prepare())
        yield server
        return
    run = os.environ[RUN_VARIABLE]
    with _held(run):
        postgres = _embedded(run)
        postgres.start()
        # Copying files is the faster way here: 4 ms against 6 ms in memory.
        server = TestServer(postgres.dsn("postgres", SUPERUSER), run, strategy="FILE_COPY")
        asyncio.run(server.prepare())
        yield server


def _external(url: str) -> TestServer:
    # Copying files forces checkpoints, which a server that keeps its data pays for.
    return TestServer(url, os.environ[RUN_VARIABLE], strategy="WAL_LOG")


def _embedded(run: str) -> EmbeddedPostgres:
    binaries = os.environ.get("WELLWARD_PG_BIN")
    return EmbeddedPostgres(
        _runs() / run, bin_dir=Path(binaries) if binaries else None, settings=UNSAFE_AND_FAST
    )


def fast_folder() -> Path:
    """In memory where there is enough of it: a clone takes 4 ms there, 80 ms on a disk."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES_MIN:
        return _MEMORY
    return Path(tempfile.gettempdir())


def _runs() -> Path:
    runs = fast_folder() / f"wellward-tests-{os.geteuid()}"
    runs.mkdir(exist_ok=True)
    if runs.is_symlink() or runs.lstat().st_uid != os.geteuid():
        raise RuntimeError(f"{runs} belongs to somebody else; remove it.")
    return runs


@contextmanager
def _held(run: str) -> Iterator[None]:
    while True:
        path = _runs() / f"{run}.lock"
        with path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            # Somebody may have swept it between opening and locking.
            if path.exists() and os.fstat(lock.fileno()).st_ino == path.stat().st_ino:
                yield
                return


def _sweep() -> None:
    for path in _runs().glob("*.lock"):
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _embedded(path.stem).remove()
            path.unlink(missing_ok=True)
