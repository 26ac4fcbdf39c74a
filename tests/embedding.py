"""Supervisors of embedded PostgreSQL servers for the tests of the supervisor itself."""

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from app.adapters.embedded_postgres import APP_ROLE, DATABASE, EmbeddedPostgres
from tests.database import UNSAFE_AND_FAST, fast_folder

PROJECT = Path(__file__).parent.parent
START = """
import sys
from pathlib import Path
from app.adapters.embedded_postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]))
postgres.start()
print(postgres.running_pid())
"""

Embed = Callable[..., EmbeddedPostgres]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that everybody may enter."""
    with tempfile.TemporaryDirectory(dir=fast_folder(), ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def embed(place: Path) -> Iterator[Embed]:
    """Makes supervisors, in folders of this test's own, and removes what they started."""
    made: list[EmbeddedPostgres] = []
    mine = Path(tempfile.mkdtemp(dir=place))
    mine.chmod(0o755)

    def embed(
        name: str = "postgres", *, bin_dir: Path | None = None, **settings: str
    ) -> EmbeddedPostgres:
        made.append(
            EmbeddedPostgres(mine / name, bin_dir=bin_dir, settings={**UNSAFE_AND_FAST, **settings})
        )
        return made[-1]

    yield embed
    for postgres in made:
        EmbeddedPostgres(postgres.root).remove()


@pytest.fixture(scope="module")
def running(place: Path) -> Iterator[EmbeddedPostgres]:
    """One server for the tests that do not stop it."""
    postgres = EmbeddedPostgres(place / "running")
    postgres.start()
    yield postgres
    postgres.remove()


@asynccontextmanager
async def connected(
    postgres: EmbeddedPostgres, database: str = DATABASE, user: str = APP_ROLE
) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.dsn(database, user))
    try:
        yield connection
    finally:
        await connection.close()


def starter(root: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", START, str(root)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
