"""Everything in one place: what `wellward up` starts, watches and stops."""

import asyncio
import contextlib
import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from rich.console import Console

from app.adapters.local_issuer import open_local_issuer
from app.clock import wall_clock
from app.config import Mode, Settings
from app.demo import making
from app.errors import Explained
from app.observability import configure_logging
from app.place import Place, lock_path

READY_WITHIN_SECONDS = 60
STOP_WITHIN_SECONDS = 30
PORT_FREE_WITHIN_SECONDS = 3
"""The web process of an `up` that was killed needs a moment to notice."""
STOP_WITH_PARENT = "--stop-with-parent"

_console = Console(stderr=True, highlight=False)


class CannotStart(Explained):
    """What stands in the way, in a sentence that says what to do."""


@dataclass
class _Process:
    name: str
    popen: subprocess.Popen[bytes]


def run(settings: Settings) -> None:
    """Start all, print how to use it, wait for Ctrl-C or SIGTERM, stop all.

    Raises CannotStart, EmbeddedPostgresError, MigrationError, ConfigurationError.
    """
    configure_logging("WARNING", messages=False)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    stopping = _StopSignal()
    with sole_owner(settings):
        _require_free_port(settings)
        place = Place.of(settings).start()
        try:
            asyncio.run(_prepare_unless_stopped(place, settings, stopping))
            if not stopping.asked:
                _serve(place, settings, stopping)
        finally:
            if place.embedded is not None:
                place.embedded.stop(STOP_WITHIN_SECONDS)
    _console.print("Stopped.")


@contextlib.contextmanager
def scratch_place(settings: Settings) -> Iterator[Place]:
    """An embedded server of its own that leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="wellward-") as folder:
        scratch = settings.model_copy(update={"data_dir": Path(folder), "database_url": None})
        place = Place.of(scratch).start()
        assert place.embedded is not None
        try:
            yield place
        finally:
            place.embedded.remove()


class _StopSignal:
    """Ctrl-C, SIGTERM and a closed terminal ask to stop; a second time they are obeyed at
    once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


async def _prepare_unless_stopped(place: Place, settings: Settings, stopping: _StopSignal) -> None:
    """A population that is interrupted here is made anew by the next start."""
    preparing = asyncio.create_task(_prepare(place, settings))
    while not preparing.done():
        if stopping.asked:
            preparing.cancel()
        await asyncio.wait({preparing}, timeout=0.1)
    if not preparing.cancelled():
        preparing.result()


async def _prepare(place: Place, settings: Settings) -> None:
    await place.migrate()
    if not settings.embedded:
        return
    db = place.open(settings)
    try:
        if await making.is_unfinished(db):
            _console.print("The demo population was interrupted on the way: making it anew.")
            await db.close()
            await place.make_anew()
            db = place.open(settings)
        await making.make_demo_once(db, settings, now=wall_clock(), console=_console)
    finally:
        await db.close()


def _serve(place: Place, settings: Settings, stopping: _StopSignal) -> None:
    environment = {**os.environ, "WELLWARD_DATABASE_URL_RESOLVED": place.database_url}
    processes = [
        _start("web", ["serve", STOP_WITH_PARENT], environment),
        _start("worker", ["worker", STOP_WITH_PARENT], environment),
    ]
    try:
        _wait_until_ready(settings, processes, stopping)
        if not stopping.asked:
            _introduce(settings)
        while not stopping.asked:
            _require_alive(processes)
            time.sleep(0.2)
    finally:
        _stop(processes)


def _start(name: str, arguments: list[str], environment: dict[str, str]) -> _Process:
    command = [sys.executable, "-m", "app.cli", *arguments]
    # In a session of its own: Ctrl-C at the terminal is for us, and we stop it in order. Should
    # we be killed, it reads the end of its input and stops.
    popen = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, start_new_session=True
    )
    return _Process(name, popen)


def stop_at_end_of_input() -> None:
    """Have this process stop, as by SIGTERM, when the one that holds its input is gone."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _stop(processes: list[_Process]) -> None:
    for process in processes:
        process.popen.terminate()
    deadline = time.monotonic() + STOP_WITHIN_SECONDS
    for process in processes:
        try:
            process.popen.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()


def _require_alive(processes: list[_Process]) -> None:
    for process in processes:
        status = process.popen.poll()
        if status is not None:
            raise CannotStart(f"The {process.name} process ended with status {status}; see above.")


def _wait_until_ready(settings: Settings, processes: list[_Process], stopping: _StopSignal) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while not stopping.asked:
        _require_alive(processes)
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{_address(settings)}/readyz", timeout=3),
        ):
            return
        if time.monotonic() > deadline:
            raise CannotStart(f"The web process was not ready in {READY_WITHIN_SECONDS} s.")
        time.sleep(0.05)


def _address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{host}:{settings.port}"


def _introduce(settings: Settings) -> None:
    """What a person needs first; on standard output, so that it can be kept."""
    address = _address(settings)
    lines = ["", f"GraphQL   {address}/graphql"]
    if settings.mode is Mode.DEVELOPMENT:
        lines.append(f"GraphiQL  {address}/graphiql")
    if settings.mode is Mode.DEVELOPMENT and settings.embedded:
        issuer = open_local_issuer(settings)
        member = issuer.mint("member:demo", now=wall_clock())
        manager = issuer.mint("staff:manager", now=wall_clock())
        query = (
            '{"query": "{ me { displayName today points { available } tasksToday { title } } }"}'
        )
        lines += [
            "",
            f"Member demo:            {member}",
            f"Health manager manager: {manager}",
            "",
            f"curl -s {address}/graphql -H 'content-type: application/json' \\",
            f"  -H 'authorization: Bearer {member}' \\",
            f"  -d {shlex.quote(query)}",
        ]
    lines += ["", "Ctrl-C stops everything.", ""]
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()


@contextlib.contextmanager
def sole_owner(settings: Settings) -> Iterator[None]:
    """One `up` on one data directory; the kernel lets go of the lock when its holder dies."""
    path = lock_path(settings)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(_somebody_else(file, settings)) from None
        file.truncate(0)
        file.write(f"{os.getpid()} {settings.port}")
        file.flush()
        yield


def _somebody_else(file: IO[str], settings: Settings) -> str:
    file.seek(0)
    pid, _, port = file.read().partition(" ")
    return (
        f"Wellward already runs on {settings.data_dir} (process {pid or 'unknown'}, "
        f"port {port or 'unknown'}). Stop it first, or use another WELLWARD_DATA_DIR and PORT."
    )


def _require_free_port(settings: Settings) -> None:
    deadline = time.monotonic() + PORT_FREE_WITHIN_SECONDS
    while (trouble := _in_the_way(settings)) is not None:
        if time.monotonic() > deadline:
            raise CannotStart(
                f"Port {settings.port} on {settings.host} cannot be used ({trouble.strerror}); "
                "set PORT to a free one."
            ) from trouble
        time.sleep(0.1)


def _in_the_way(settings: Settings) -> OSError | None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return error
    return None
