"""What every test may ask for. The database is real; `database.py` says where it comes from."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from app.adapters.embedded_postgres import APP_ROLE, OWNER_ROLE
from app.db import Database
from tests import database


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        database.begin_run()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        database.end_run()


@pytest.fixture(scope="session")
def server() -> Iterator[database.TestServer]:
    """The server of this run, with its roles and the migrated template."""
    with database.server_of_this_run() as server:
        yield server


@pytest_asyncio.fixture
async def database_name(server: database.TestServer) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    name = await server.clone()
    yield name
    await server.drop(name)


@pytest.fixture
def database_url(server: database.TestServer, database_name: str) -> str:
    """This test's database, as the application's role."""
    return server.url(database_name, APP_ROLE)


@pytest.fixture
def owner_url(server: database.TestServer, database_name: str) -> str:
    """The same database, as the role that owns the tables."""
    return server.url(database_name, OWNER_ROLE)


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """The same database, as the application opens it."""
    db = Database.open(database_url)
    yield db
    await db.close()
