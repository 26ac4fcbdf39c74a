"""What /proc says of a process: CPU time and memory."""

import os
from pathlib import Path

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used, all its threads."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * _TICK_SECONDS


def children_cpu_seconds(parent: int) -> float:
    """The sum over the processes that `parent` has started and that run."""
    total = 0.0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if int(_stat(int(folder.name))[1]) == parent:
                total += cpu_seconds(int(folder.name))
        except OSError:
            continue  # it has ended meanwhile
    return total


def memory_mb(pid: int) -> float:
    """Resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("a process without memory")


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold spaces: the state is the first."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
