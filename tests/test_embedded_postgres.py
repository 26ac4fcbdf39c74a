"""The supervisor of the embedded PostgreSQL, against real servers, crashes included."""

import asyncio
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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
from tests.embedding import Embed, connected, embed, place, running

POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")
__all__ = ["embed", "place", "running"]


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


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit", "full_page_writes"])
async def test_keeps_what_is_written_safe_unless_told_otherwise(
    running: EmbeddedPostgres, setting: str
):
    async with connected(running) as connection:
        assert await connection.fetchval(f"SHOW {setting}") == "on"


def test_a_second_start_adopts_the_server_that_runs(embed: Embed):
    first, second = embed(), embed()
    first.start()
    pid = first.running_pid()

    second.start()
    first.start()

    assert first.running_pid() == second.running_pid() == pid


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


async def test_databases_are_made_once_also_by_eight_at_once(running: EmbeddedPostgres):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(running.ensure_database, ["another"] * 8))

    async with connected(running, "postgres", SUPERUSER) as connection:
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1"
        assert await connection.fetchval(owner, "another") == OWNER_ROLE


@pytest.mark.parametrize("name", ["", "A", "a;b", "a'b", "a b", "x" * 64, "-a", "ä"])
def test_an_odd_name_for_a_database_is_refused(running: EmbeddedPostgres, name: str):
    with pytest.raises(EmbeddedPostgresError, match="is not a name for a database"):
        running.ensure_database(name)


async def test_the_log_holds_no_values_of_rows(running: EmbeddedPostgres):
    before = running.log_path.read_text().count("ERROR:")
    async with connected(running, user=OWNER_ROLE) as connection:
        await connection.execute(
            "CREATE TABLE readings (glucose text UNIQUE CHECK (glucose > '5'))"
        )
        await connection.execute("INSERT INTO readings VALUES ('7.77')")
        for statement in ("VALUES ('7.77')", "VALUES ('4.44')", "SELECT '7.77' FROM nowhere"):
            with pytest.raises(asyncpg.PostgresError):
                await connection.execute(f"INSERT INTO readings {statement}")

    log = running.log_path.read_text()
    assert log.count("ERROR:") == before + 3
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

    assert time.monotonic() - before < 25
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


@pytest.mark.parametrize("programs", ["none", "others"])
def test_programs_that_are_not_postgresql_are_named(embed: Embed, programs: str):
    folder = embed().root.with_name("bin")
    folder.mkdir()
    if programs == "others":
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
