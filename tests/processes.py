"""Real processes of the product: `wellward serve`, `worker` and other commands, on free ports."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import randint
from tempfile import TemporaryDirectory

from app.adapters.embedded_postgres import EmbeddedPostgres
from app.up import STOP_WITH_PARENT

PROJECT = Path(__file__).parent.parent
FULL_COUNTS = os.environ.get("WELLWARD_PROVE") == "1"
"""Whether the promises are proven with their full counts, or with some of it."""


def free_port() -> int:
    """One that nobody listens on now, and that no outgoing connection will be given."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", randint(20_000, 32_000)))
            port: int = probe.getsockname()[1]
            return port


def environment(**settings: str) -> dict[str, str]:
    """What a process sees: of our own settings, only these."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name != "PORT" and (name == "WELLWARD_PG_BIN" or not name.startswith("WELLWARD_"))
    }
    return inherited | settings


@dataclass
class Process:
    """A process of its own session, and the file that its output goes to."""

    popen: "subprocess.Popen[bytes]"
    output: Path
    base: str = ""
    """Address of a web process."""

    def said(self) -> str:
        return self.output.read_text("utf-8", errors="replace")

    def terminate(self) -> None:
        self.popen.send_signal(signal.SIGTERM)

    async def ended(self, seconds: float = 120) -> int:
        """Its exit code; negative when a signal killed it."""
        return await asyncio.to_thread(self.popen.wait, seconds)

    def kill_group(self) -> None:
        """Everything that it started in its own session, and itself."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        assert self.popen.stdin is not None
        self.popen.stdin.close()

    async def until_said(self, text: str, seconds: float = 60) -> str:
        """All it said so far, once that holds `text`."""
        deadline = time.monotonic() + seconds
        while text not in (said := self.said()):
            assert self.popen.poll() is None, f"it ended with {self.popen.returncode}: {said}"
            assert time.monotonic() < deadline, f"not said within {seconds} s: {said}"
            await asyncio.sleep(0.02)
        return said


def start(arguments: list[str], output: Path, settings: dict[str, str]) -> Process:
    with output.open("ab") as file:
        popen = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=PROJECT,
            env=environment(**settings),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=_heed_signals,  # noqa: PLW1509 - one thread, and nothing but two system calls
        )
    return Process(popen, output)


def _heed_signals() -> None:
    """As a terminal starts it: in the background, or under nohup, we may have been told to
    ignore them, and a child inherits that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@asynccontextmanager
async def running(
    arguments: list[str], output: Path, settings: dict[str, str]
) -> AsyncIterator[Process]:
    """A process that is killed at the end, if it still runs."""
    process = start(arguments, output, settings)
    try:
        yield process
    finally:
        process.kill_group()


@asynccontextmanager
async def web(
    database_url: str, folder: Path, count: int = 1, **settings: str
) -> AsyncIterator[list[Process]]:
    """`count` web processes on ports of their own, ready for requests. They trust the local
    issuer of `folder`."""
    async with AsyncExitStack() as stack:
        started = []
        for number in range(count):
            port = free_port()
            process = await stack.enter_async_context(
                running(
                    ["app.cli", "serve", STOP_WITH_PARENT],
                    folder / f"web-{number}.log",
                    {
                        "WELLWARD_DATABASE_URL": database_url,
                        "WELLWARD_DATA_DIR": str(folder),
                        "WELLWARD_PORT": str(port),
                        **settings,
                    },
                )
            )
            process.base = f"http://127.0.0.1:{port}"
            started.append(process)
        await asyncio.gather(*(ready(process) for process in started))
        yield started


async def ready(process: Process, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(answers, f"{process.base}/readyz"):
        assert process.popen.poll() is None, process.said()
        assert time.monotonic() < deadline, process.said()
        await asyncio.sleep(0.02)


async def until(fact: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for something that happens meanwhile."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        await asyncio.sleep(0.005)


def answers(url: str) -> bool:
    """Whether it answers, with a success."""
    try:
        with urllib.request.urlopen(url, timeout=3):
            return True
    except OSError:
        return False


def using(data_dir: str) -> list[int]:
    """Processes that were started with this data directory, and its PostgreSQL."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            if f"WELLWARD_DATA_DIR={data_dir}".encode() in variables:
                found.append(int(folder.name))
    postgres = EmbeddedPostgres(Path(data_dir) / "postgres").running_pid()
    return found + ([] if postgres is None else [postgres])


@asynccontextmanager
async def worker(database_url: str, folder: Path, **settings: str) -> AsyncIterator[Process]:
    """A worker that has begun to take jobs."""
    given = {"WELLWARD_DATABASE_URL": database_url, "WELLWARD_DATA_DIR": str(folder), **settings}
    async with running(
        ["app.cli", "worker", STOP_WITH_PARENT], folder / "worker.log", given
    ) as process:
        await process.until_said("worker_started")
        yield process


async def command(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `wellward ARGUMENTS`; without a data
    directory in an empty one: what `make up` keeps in the checkout is none of the tests'."""
    with TemporaryDirectory() as empty:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app.cli",
            *arguments,
            cwd=PROJECT,
            env=environment(**{"WELLWARD_DATA_DIR": empty, **settings}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said, complained = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(), complained.decode()
