"""What the system says of processes: CPU time, memory and, with `perf`, instructions."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used, all its threads."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * _TICK_SECONDS


def children(parent: int) -> list[int]:
    """The processes that `parent` has started and that run."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if int(_stat(int(folder.name))[1]) == parent:
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def children_cpu_seconds(parent: int) -> float:
    """The sum over the processes that `parent` has started and that run."""
    total = 0.0
    for pid in children(parent):
        try:
            total += cpu_seconds(pid)
        except OSError:
            continue
    return total


def memory_mb(pid: int) -> float:
    """Resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("a process without memory")


class Instructions:
    """Counts instructions of user mode, which do not depend on what else the machine does."""

    def __init__(self, pids: Sequence[int]) -> None:
        command = ["perf", "stat", "-x,", "-e", "instructions:u", "-p", ",".join(map(str, pids))]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def stop(self) -> float:
        """How many there were; 0 when the machine does not count them."""
        self._process.send_signal(signal.SIGINT)
        _, said = self._process.communicate(timeout=30)
        for line in said.splitlines():
            count, _, rest = line.partition(",")
            if "instructions" in rest and count.isdigit():
                return float(count)
        return 0.0

    @staticmethod
    def are_counted() -> bool:
        return shutil.which("perf") is not None


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold spaces: the state is the first."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
