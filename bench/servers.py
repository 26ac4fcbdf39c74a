"""The servers of a run: PostgreSQL with its members, the product, the raw handler."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncpg
import orjson

from app.adapters.embedded_postgres import DATABASE, SUPERUSER
from app.config import Settings
from app.demo import bulk
from app.place import Place
from app.up import scratch_place
from bench import raw, sign_in

_READY_WITHIN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    pid: int


@contextmanager
def database() -> Iterator[Place]:
    """An embedded server with its ordinary settings that leaves nothing behind."""
    with scratch_place(Settings()) as place:
        yield place


async def load_members(
    place: Place, *, members: int, days: int, now: datetime
) -> list[bulk.BulkMember]:
    """The population of the run, and the raw handler's own tables."""
    await place.migrate()
    db = place.open(Settings())
    try:
        made = await bulk.load(db, members=members, days=days, issuer=sign_in.ISSUER, now=now)
    finally:
        await db.close()
    assert place.embedded is not None
    superuser = await asyncpg.connect(place.embedded.dsn(DATABASE, SUPERUSER))
    try:
        await superuser.execute(raw.TABLES)
        await superuser.execute("vacuum analyze")
        await superuser.execute("checkpoint")
    finally:
        await superuser.close()
    return made


@contextmanager
def product(place: Place, issuer: sign_in.Issuer, log: Path) -> Iterator[Server]:
    """`wellward serve` in production mode."""
    port = _free_port()
    environment = {
        "WELLWARD_MODE": "production",
        "WELLWARD_DATABASE_URL": place.database_url,
        "WELLWARD_OIDC_ISSUERS": orjson.dumps([issuer.setting]).decode(),
        "WELLWARD_DATA_DIR": str(log.parent),
        "PORT": str(port),
    }
    command = [sys.executable, "-m", "app.cli", "serve"]
    with _running(command, environment, log, f"http://127.0.0.1:{port}/readyz") as pid:
        yield Server(port, pid)


@contextmanager
def raw_handler(place: Place, log: Path, app: str = "bench.raw:create") -> Iterator[Server]:
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--factory"]
    command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    environment = {"BENCH_DATABASE_URL": place.database_url}
    with _running(command, environment, log, f"http://127.0.0.1:{port}/") as pid:
        yield Server(port, pid)


@contextmanager
def _running(
    command: list[str], environment: dict[str, str], log: Path, probe: str
) -> Iterator[int]:
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output
        )
        try:
            _wait_until_ready(process, probe, log)
            yield process.pid
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_ready(process: subprocess.Popen[bytes], probe: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(probe, timeout=2):
                return
        except urllib.error.HTTPError as answer:
            if answer.code == 404:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"A server did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
