"""`python -m tests.mutation app/points/rules.py --tests tests/test_points_rules.py`: does a
test fail for every mistake?

Each mutant is tried in a process of its own, forked with the libraries loaded, which imports
the module with the mistake in it; no file is touched. A mutant that no test fails for has
survived. The processes share one database server.
"""

import ast
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Annotated
from uuid import uuid4

import orjson
import pytest
import typer
from rich.console import Console
from rich.progress import Progress

from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("asyncpg", "hypothesis", "hypothesis.stateful", "sqlalchemy.ext.asyncio", "sqlmodel",
             "pytest_asyncio", "strawberry", "alembic.command", "yaml", "pydantic")  # fmt: skip

# Only assertions in tests are rewritten, and those are imported later.
_WARNINGS = ("-W", "ignore::pytest.PytestAssertRewriteWarning")


@dataclass(frozen=True, slots=True)
class Outcome:
    module: str
    line: int
    text: str
    change: str
    killed: bool
    seconds: float

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.change}: {self.text}"


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a tree instead of its file."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name, self._path = name, path
        self._code = compile(tree, str(path), "exec")

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=str(self._path))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._path)
        exec(self._code, module.__dict__)  # noqa: S102 - what importing is


def main(
    modules: Annotated[list[Path], typer.Argument(help="Files to make mistakes in.")],
    tests: Annotated[list[str], typer.Option(help="Tests that should notice; quick ones first.")],
    seconds: Annotated[float, typer.Option(help="Longest for one mutant.")] = 120,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    sample: Annotated[int | None, typer.Option(help="So many mutants, not all.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where the outcomes go, as JSON.")] = None,
) -> None:
    """Try every mutant of the modules."""
    for name in LIBRARIES:
        __import__(name)
    console = Console(stderr=True)
    with _one_server():
        if _fails(None, Path(), tests, seconds):
            console.print("The tests fail without any mistake.")
            raise typer.Exit(2)
        found = [(path, mutant) for path in modules for mutant in mutants(path)]
        if sample is not None and sample < len(found):
            found = sorted(Random(1).sample(found, sample), key=lambda it: (it[0], it[1].line))
        outcomes = list(_try_all(found, tests, seconds, processes, console))
    _report(outcomes, console)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(orjson.dumps([asdict(it) for it in outcomes]))


@contextmanager
def _one_server() -> Iterator[None]:
    """A process apart holds the server and its migrated template until the end."""
    os.environ["WELLWARD_TEST_RUN"] = uuid4().hex[:12]
    reading, writing = os.pipe()
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        from tests import database

        with database.server_of_this_run():
            os.write(told, b".")
            os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    os.close(told)
    try:
        if os.read(ready, 1) != b".":
            raise RuntimeError("The database server did not start.")
        yield
    finally:
        os.close(writing)
        os.waitpid(pid, 0)


def _try_all(
    mistakes: Sequence[tuple[Path, Mutant]],
    tests: Sequence[str],
    seconds: float,
    processes: int,
    console: Console,
) -> Iterator[Outcome]:
    """Some at a time. Without threads: a fork would copy their locks."""
    waiting = list(reversed(mistakes))
    running: dict[int, tuple[Path, Mutant, float]] = {}
    with Progress(console=console, auto_refresh=False) as progress:
        task = progress.add_task("Mutants", total=len(mistakes))
        while waiting or running:
            while waiting and len(running) < processes:
                path, mutant = waiting.pop()
                running[_start(mutant, path, tests)] = (path, mutant, time.monotonic())
            for pid, (path, mutant, began) in list(running.items()):
                failed = _failed(pid, late=time.monotonic() - began > seconds)
                if failed is None:
                    continue
                del running[pid]
                progress.update(task, advance=1, refresh=True)
                spent = time.monotonic() - began
                found = Outcome(str(path), mutant.line, mutant.text, mutant.change, failed, spent)
                if not found.killed:
                    console.print(f"survived: {found}", markup=False)
                yield found
            time.sleep(0.01)


def _fails(mutant: Mutant | None, path: Path, tests: Sequence[str], seconds: float) -> bool:
    pid, began = _start(mutant, path, tests), time.monotonic()
    while (failed := _failed(pid, late=time.monotonic() - began > seconds)) is None:
        time.sleep(0.02)
    return failed


def _start(mutant: Mutant | None, path: Path, tests: Sequence[str]) -> int:
    """The process that tries it. None is the module without any mistake."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        _run(mutant, path, tests)
    return pid


def _failed(pid: int, *, late: bool) -> bool | None:
    """Whether a test has failed, or did not end; None while it goes on."""
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        return status != 0
    if not late:
        return None
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def _run(mutant: Mutant | None, path: Path, tests: Iterable[str]) -> None:
    """Never returns. A module that cannot even be imported is noticed, too."""
    status = 3
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2) if mutant is not None else (0,):
            os.dup2(nothing, descriptor)
        if mutant is not None:
            name = ".".join(path.with_suffix("").parts)
            sys.meta_path.insert(0, _Changed(name, path, mutant.tree))
        from tests import database

        # The server outlives this process: the run is not its own.
        database.begin_run = database.end_run = lambda: None
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", "--tb=line"]
        status = pytest.main([*options, "--hypothesis-seed=0", *_WARNINGS, *tests])
    except BaseException:  # noqa: BLE001 - nothing may leave a forked process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(int(status))


def _report(outcomes: Sequence[Outcome], console: Console) -> None:
    killed = sum(it.killed for it in outcomes)
    console.print(
        f"{killed} of {len(outcomes)} mutants killed ({100 * killed / len(outcomes):.1f} %)"
    )


if __name__ == "__main__":
    typer.run(main)
