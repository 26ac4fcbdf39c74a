"""Real worker processes that start in milliseconds: forked from one that has read all modules.

`python -m tests.forked_workers` forks for each line that it reads, a JSON object with the variables
of the environment and the `log` of the worker, and says the pid. Its workers end with it.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.processes import PROJECT


class Workers:
    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log
        self.alive: list[int] = []
        """Their pids."""

    def start(self, settings: Mapping[str, str]) -> int:
        asked = {"settings": dict(settings), "log": str(self._log)}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        self.alive.append(pid)
        return pid

    def kill(self, pid: int) -> None:
        """SIGKILL; it runs no more when this returns. Raises ProcessLookupError when it had ended
        by itself."""
        self.alive.remove(pid)
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [])
        finally:
            os.close(process)


@contextmanager
def forked_workers(log: Path) -> Iterator[Workers]:
    """None of them runs when this ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    workers = Workers(process, log)
    try:
        yield workers
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _serve() -> None:
    from app import worker

    worker.import_jobs()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _work(asked["settings"], asked["log"])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    os.killpg(0, signal.SIGKILL)  # whoever started it has gone


def _work(settings: Mapping[str, str], log: str) -> None:
    from app import worker

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(settings)
    random.seed()
    try:
        worker.main()
    finally:
        os._exit(1)


if __name__ == "__main__":
    _serve()
