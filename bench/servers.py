"""The servers of a run: PostgreSQL, the product, the raw handler."""

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

import orjson
from rich.console import Console

from app.config import Settings
from app.demo import bulk
from app.place import Place
from app.up import scratch_place
from bench import population, raw, sign_in
from bench.population import Where

ROOT = Path(__file__).resolve().parent.parent
OURS = "app.cli"
GRAPHQL_CORE = "bench.core"
_READY_WITHIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Server:
    """One process, or several that share the load."""

    ports: tuple[int, ...]
    pids: tuple[int, ...]


@contextmanager
def database() -> Iterator[Place]:
    """An embedded server with its ordinary settings that leaves nothing behind."""
    with scratch_place(Settings()) as place:
        yield place


async def load_members(
    place: Place, *, members: int, days: int, now: datetime
) -> list[bulk.BulkMember]:
    """Migrations, the population of a run, and the raw handler's own tables."""
    await place.migrate()
    found = await population.make(
        Where.of(place), members=members, days=days, now=now, console=Console(quiet=True)
    )
    return found.members


@contextmanager
def product(
    where: Where,
    issuer: sign_in.Issuer,
    log: Path,
    *,
    program: str = OURS,
    processes: int = 1,
) -> Iterator[Server]:
    """`wellward serve` in production mode, so many times."""
    ports, pids = [], []
    with ExitStack() as stack:
        for number in range(processes):
            port = _free_port()
            environment = {
                "WELLWARD_MODE": "production",
                "WELLWARD_DATABASE_URL": where.database_url,
                "WELLWARD_OIDC_ISSUERS": orjson.dumps([issuer.setting]).decode(),
                "WELLWARD_DATA_DIR": str(log.parent),
                "PORT": str(port),
            }
            command = [sys.executable, "-m", program]
            command += ["serve"] if program == OURS else []
            output = log.with_suffix(f".{number}.log")
            ready = f"http://127.0.0.1:{port}/readyz"
            pids.append(stack.enter_context(_running(command, environment, output, ready)))
            ports.append(port)
        yield Server(tuple(ports), tuple(pids))


@contextmanager
def raw_handler(where: Where, log: Path, *, kept: bool = False) -> Iterator[Server]:
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.raw:create", "--factory"]
    command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    environment = {"BENCH_DATABASE_URL": where.database_url} | ({raw.KEPT: "1"} if kept else {})
    with _running(command, environment, log, f"http://127.0.0.1:{port}/") as pid:
        yield Server((port,), (pid,))


@contextmanager
def _running(
    command: list[str], environment: dict[str, str], log: Path, probe: str
) -> Iterator[int]:
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, cwd=ROOT
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
            with urllib.request.urlopen(probe, timeout=10):
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
