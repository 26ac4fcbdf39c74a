"""`make prove`: every promise shown with its full counts, in one table.

Each promise runs in a process of its own, one after the other, because several measure or
kill. Tests write figures on their way (`tests/figures.py`). The table goes to standard output,
everything else beside it: `var/prove.json`, and the output of each run in `var/prove/`.
"""

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.conformance import NOT_RUN
from bench.floors import FLOORS
from bench.promises import PROMISES, Alone, Conformance, Ledger, Promise, Speed, Tests
from tests.figures import VARIABLE, Figure, read_figures

ROOT = Path(__file__).resolve().parent.parent
TAIL_LINES = 30
"""Of the output of what failed."""
_STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Shown:
    """How a promise fared."""

    promise: str
    by: str
    passed: bool
    remark: str
    """How many tests, or why not."""
    figures: Sequence[Figure]
    seconds: float
    log: str
    skipped: bool = False
    """It could not be tried, for want of something that is not ours."""


class _NotFinished(Exception):
    pass


def main(
    only: Annotated[
        str | None, typer.Option(help="Promises whose text or tests hold this.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "prove.json",
) -> None:
    """Show every promise with its full counts. Exit code 1 when one is not kept."""
    wanted = [it for it in PROMISES if only is None or only.lower() in _words(it).lower()]
    if not wanted:
        raise typer.BadParameter(f"no promise holds {only!r}")
    at = datetime.fromtimestamp(time.time(), UTC)
    shown = prove(wanted, output.with_suffix(""), Console(stderr=True, highlight=False))
    _keep(shown, output, at)
    Console(width=_width()).print(table(shown))
    if not all(it.passed or it.skipped for it in shown):
        raise typer.Exit(1)


def prove(promises: Sequence[Promise], folder: Path, console: Console) -> list[Shown]:
    """Show one after the other. `folder` is emptied and gets a folder for each."""
    shutil.rmtree(folder, ignore_errors=True)
    shown: list[Shown] = []
    columns = (
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(promises))
        for number, promise in enumerate(promises, 1):
            progress.update(task, description=promise.text)
            found = show(promise, folder / f"{number:02}")
            shown.append(found)
            progress.advance(task)
            mark = "kept    " if found.passed else "not run " if found.skipped else "NOT KEPT"
            console.print(f"{mark} {found.seconds:6.1f} s  {found.promise}", markup=False)
            if not found.passed and not found.skipped:
                console.print(f"{found.remark}\n{_tail(Path(found.log))}", markup=False)
    return shown


def show(promise: Promise, folder: Path) -> Shown:
    folder.mkdir(parents=True)
    log = folder / "output.log"
    began = time.perf_counter()
    figures: Sequence[Figure] = ()
    skipped = False
    try:
        status = _run(promise, folder, log)
    except _NotFinished:
        passed, remark = False, f"not finished within {promise.minutes_max:g} minutes"
    else:
        match promise.by:
            case Tests():
                passed, remark = _of_tests(folder, status)
                figures = read_figures(folder / "figures.jsonl")
            case Speed():
                passed, remark, figures = _of_speed(promise.by, folder, status)
            case Ledger() | Alone():
                passed, remark, figures = _of_figures(folder, status)
            case Conformance():
                skipped = status == NOT_RUN
                passed, remark, figures = _of_conformance(folder, status, log)
    seconds = time.perf_counter() - began
    return Shown(promise.text, promise.shown, passed, remark, figures, seconds, str(log), skipped)


def _run(promise: Promise, folder: Path, log: Path) -> int:
    """The exit code. Raises _NotFinished."""
    environment = {
        **os.environ,
        "WELLWARD_PROVE": "1",
        VARIABLE: str((folder / "figures.jsonl").absolute()),
    }
    with log.open("wb") as file, _process(_command(promise, folder), environment, file) as process:
        try:
            return process.wait(promise.minutes_max * 60)
        except subprocess.TimeoutExpired:
            raise _NotFinished from None


@contextmanager
def _process(
    command: Sequence[str], environment: Mapping[str, str], output: Any
) -> "Iterator[subprocess.Popen[bytes]]":
    """Ends with what is inside; first gently, so that servers under test are stopped too."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _command(promise: Promise, folder: Path) -> list[str]:
    match promise.by:
        case Tests(selections=selections, processes=processes):
            options = ["-n", str(processes), "-ra", "--junitxml", str(folder / "tests.xml")]
            return [sys.executable, "-m", "pytest", *options, *selections]
        case Speed(operation=operation, full=full):
            options = ["--only", operation, "--output", str(folder / "bench.json")]
            return [sys.executable, "-m", "bench", *options, *(["--full"] if full else [])]
        case Ledger():
            options = ["--full", "--output", str(folder / "figures.json")]
            return [sys.executable, "-m", "bench.ledger", *options]
        case Alone():
            options = ["--output", str(folder / "figures.json")]
            return [sys.executable, "-m", "bench.executor", *options]
        case Conformance():
            options = ["--output", str(folder / "conformance.json")]
            return [sys.executable, "-m", "bench.conformance", *options]


def _of_tests(folder: Path, status: int) -> tuple[bool, str]:
    """Kept when at least one test ran and every one passed: one that was left out shows
    nothing."""
    report = folder / "tests.xml"
    if not report.exists():
        return False, f"pytest ended with status {status}"
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))

    def count(name: str) -> int:
        return sum(int(suite.get(name, 0)) for suite in suites)

    failed, skipped = count("failures") + count("errors"), count("skipped")
    passed = count("tests") - failed - skipped
    parts = ["1 test" if passed == 1 else f"{passed} tests"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{skipped} not run"] if skipped else []
    return status == 0 and passed > 0 and not failed and not skipped, ", ".join(parts)


def _of_speed(speed: Speed, folder: Path, status: int) -> tuple[bool, str, Sequence[Figure]]:
    report = folder / "bench.json"
    if status != 0 or not report.exists():
        return False, f"the benchmark ended with status {status}", ()
    found = orjson.loads(report.read_bytes())["operations"]
    ours = found.get(speed.operation)
    if ours is None:
        return False, "nothing was measured", ()
    wanted = [
        it
        for it in FLOORS
        if it.operation == speed.operation and (speed.full or it.kept(found) is not None)
    ]
    figures = [Figure(it.text, _shown(it.value(found)), it.promised) for it in wanted]
    figures += [
        Figure("requests a second", round(ours["per_second"])),
        Figure("99th percentile", round(ours["p99_ms"], 1), "ms"),
    ]
    missed = [it.text for it in wanted if not it.kept(found)]
    kept = bool(wanted) and not missed
    return kept, f"missed: {'; '.join(missed)}" if missed else "", figures


def _shown(value: float | None) -> float | str:
    return "not measured" if value is None else round(value, 2)


def _of_conformance(folder: Path, status: int, log: Path) -> tuple[bool, str, Sequence[Figure]]:
    if status == NOT_RUN:
        return False, log.read_text("utf-8", errors="replace").strip().splitlines()[-1], ()
    report = folder / "conformance.json"
    if not report.exists():
        return False, f"the tests ended with status {status}", ()
    found = orjson.loads(report.read_bytes())
    figures = [
        Figure("on our plans", found["compiled"], "tests"),
        Figure("left out", round(found["share_left_out"] * 100, 1), "%"),
        Figure("of experimental incremental delivery, handed over", found["experimental"], "tests"),
    ]
    failed = [*found["failed"], *found["unexplained"]]
    return status == 0 and found["kept"], f"{len(failed)} failed" if failed else "", figures


def _of_figures(folder: Path, status: int) -> tuple[bool, str, Sequence[Figure]]:
    report = folder / "figures.json"
    if not report.exists():
        return False, f"the benchmark ended with status {status}", ()
    found = orjson.loads(report.read_bytes())["figures"]
    figures = [Figure(it["name"], round(it["value"], 2), it["unit"]) for it in found]
    missed = [it["name"] for it in found if it["kept"] is False]
    return status == 0 and not missed, f"missed: {', '.join(missed)}" if missed else "", figures


def table(shown: Iterable[Shown]) -> Table:
    found = Table(title="What Wellward promises, and what was measured", show_lines=True)
    found.add_column("Promise", ratio=4)
    found.add_column("Shown by", ratio=3)
    found.add_column("Measured", ratio=4)
    found.add_column("Kept", justify="center")
    found.add_column("Seconds", justify="right")
    for it in shown:
        measured = "\n".join([*_grouped(it.figures), it.remark])
        mark = "[green]yes[/]" if it.passed else "[bold red]NO[/]"
        if it.skipped:
            mark = "[yellow]not run[/]"
        found.add_row(it.promise, it.by, measured, mark, f"{it.seconds:.1f}")
    return found


def _grouped(figures: Iterable[Figure]) -> list[str]:
    """One line a name: a test that runs several times measures it several times."""
    values: dict[tuple[str, str], list[str]] = {}
    for it in figures:
        shown = it.value if isinstance(it.value, str) else f"{it.value:,.10g}"
        values.setdefault((it.name, it.unit), []).append(shown)
    return [
        f"{name}: {' · '.join(dict.fromkeys(found))} {unit}".rstrip()
        for (name, unit), found in values.items()
    ]


def _keep(shown: Sequence[Shown], output: Path, at: datetime) -> None:
    kept = {
        "at": at,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}",
        "seconds": sum(it.seconds for it in shown),
        "passed": all(it.passed or it.skipped for it in shown),
        "promises": [asdict(it) for it in shown],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))


def _words(promise: Promise) -> str:
    named: Sequence[str] = ()
    match promise.by:
        case Tests(selections=selections):
            named = selections
        case Speed(operation=operation):
            named = (operation,)
    return " ".join([promise.text, promise.shown, *named])


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-TAIL_LINES:])


def _width() -> int:
    return max(120, shutil.get_terminal_size((140, 40)).columns)


if __name__ == "__main__":
    typer.run(main)
