"""`make bench`: what the product costs on the real server in production mode, beside a handler
written by hand and the same server on graphql-core's executor; in turn, in one run.

The whole of it takes about ten minutes, and with `--full` (10,000,000 transfers) half an hour more.
"""

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.status import Status

from app.graphql.documents import TrustedDocuments
from app.main import OPERATIONS as DOCUMENTS
from bench import floors, population, publish, report, results, scale, servers, sign_in, windows
from bench.agreement import Disagreement
from bench.executor import not_compiled
from bench.load import BadAnswer
from bench.operations import CORE, OPERATIONS, OURS, RAW, RAW_KEPT, Bench
from bench.population import Population, Where
from bench.results import Found
from bench.windows import ROOT, Load, Shape

MEMBERS_FULL = 200_000
CHECK_INS_ALONE = 80
_MOST_OF_THEM = 0.85
"""Tasks that are ticked with all connections; the others one at a time."""

_console = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Size:
    members: int
    days: int
    rounds: int
    seconds: float
    connections: int
    instructions: bool
    full: bool

    @property
    def shape(self) -> Shape:
        return Shape(self.rounds, self.seconds, self.connections, instructions=self.instructions)


def main(
    members: Annotated[int, typer.Option(min=200, help="Members in the database.")] = 20_000,
    days: Annotated[
        int, typer.Option(min=26, help="Days of history of each; two transfers a day.")
    ] = 26,
    rounds: Annotated[int, typer.Option(min=1, help="Windows of each server.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.2, help="Length of one window.")] = 4,
    connections: Annotated[int, typer.Option(min=1, help="Requests under way.")] = 32,
    only: Annotated[str | None, typer.Option(help="One operation: Home, CheckIn ...")] = None,
    full: Annotated[bool, typer.Option(help="Also with 10,000,000 transfers.")] = False,
    instructions: Annotated[bool, typer.Option(help="Count them, with perf.")] = False,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "bench.json",
    published: Annotated[
        bool | None,
        typer.Option(
            "--publish/--no-publish",
            help="Write docs/performance.md and bench/latest.json: unless only one is measured.",
        ),
    ] = None,
) -> None:
    """Speed against a handler written by hand, in the same run. Exit code 1 when a trusted document
    is not compiled, or servers do not answer alike; a floor that is missed is said."""
    if only is not None and only not in OPERATIONS:
        raise typer.BadParameter(f"--only takes one of {', '.join(OPERATIONS)}")
    compiled = _require_compiled()
    load_before = os.getloadavg()[1]
    now = datetime.now(UTC)  # noqa: TID251 - the benchmark is an edge
    size = Size(members, days, rounds, seconds, connections, instructions, full)
    wanted = [only] if only else OPERATIONS
    failed: list[str] = []
    with _console.status("Starting") as status:
        found, big = measure(wanted, size, now, status, failed)
        layers = around(found, status) if "Home" in found else ()
    about = publish.Circumstances(
        day=f"{now:%Y-%m-%d}",
        command=" ".join(["python -m bench", *sys.argv[1:]]),
        machine=f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        load_before=load_before,
        cpus=os.cpu_count() or 1,
        rows=big.rows,
        load_seconds=big.seconds,
        connections=connections,
        rounds=rounds,
        seconds=seconds,
        documents=compiled,
        layers=layers,
    )
    whole = only is None and not failed
    _tell(found, about, output, published=whole if published is None else published)
    for line in failed:
        _console.print(f"not measured: {line}", style="red", markup=False)
    if failed:
        raise typer.Exit(1)


def _require_compiled() -> int:
    """How many trusted documents there are, of two forms each. Ends the program when one is not
    compiled."""
    left_over = not_compiled()
    for line in left_over:
        _console.print(f"not compiled: {line}", markup=False)
    if left_over:
        raise typer.Exit(1)
    return len({it.name for it in TrustedDocuments.load(DOCUMENTS).by_id.values()})


def measure(
    operations: Sequence[str], size: Size, now: datetime, status: Status, failed: list[str]
) -> tuple[Found, Population]:
    """Figures by operation and name, and who was in the database, as they were first. Adds to
    `failed` what could not be measured."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wellward-bench-")))
        issuer = stack.enter_context(sign_in.issuing())
        load = stack.enter_context(windows.loading())
        status.update(f"Loading {size.members:,} members")
        where = _database(stack)
        status.stop()  # the bar takes its line
        big = asyncio.run(
            population.make(where, members=size.members, days=size.days, now=now, console=_console)
        )
        status.start()
        ours = {OURS: stack.enter_context(servers.product(where, issuer, folder / "ours.log"))}
        bench = Bench(big, issuer, load, ours)
        first = replace(big)
        found: Found = {}
        with compared(bench, folder) as beside:
            for operation in operations:
                with _told(operation, failed, folder):
                    found[operation] = _one(beside, operation, size, status)
        wanted = [it for it in scale.OPERATIONS if it in found]
        if wanted:
            with _told("many transfers, two processes", failed, folder):
                small = _few(stack, size, issuer, load, folder, now)
                _scale(small, bench, size, folder, wanted, found, status)
    return found, first


def _database(stack: ExitStack) -> Where:
    place = stack.enter_context(servers.database())
    asyncio.run(place.migrate())
    return Where.of(place)


@contextmanager
def compared(bench: Bench, folder: Path) -> Iterator[Bench]:
    """With what our server is compared with, for as long as that takes: more processes than these
    would need more connections than PostgreSQL has by itself."""
    where, issuer = bench.population.where, bench.issuer
    core = servers.product(where, issuer, folder / "core.log", program=servers.GRAPHQL_CORE)
    pooled = servers.raw_handler(where, folder / "raw.log")
    kept = servers.raw_handler(where, folder / "kept.log", kept=True)
    with pooled as raw, kept as raw_kept, core as on_core:
        beside = {RAW: raw, RAW_KEPT: raw_kept, CORE: on_core}
        yield replace(bench, servers={**bench.servers, **beside})


@contextmanager
def _told(title: str, failed: list[str], folder: Path) -> Iterator[None]:
    """What went wrong is said, with what servers logged, and the rest is measured all the same."""
    try:
        yield
    except (BadAnswer, Disagreement) as error:
        failed.append(f"{title}: {error}")
        _console.print(failed[-1], style="red", markup=False)
        for log in sorted(folder.glob("*.log")):
            lines = log.read_text("utf-8", errors="replace").splitlines()
            for line in [it for it in lines if '"level":"error"' in it or "Error" in it][-3:]:
                _console.print(f"{log.name}: {line[:2000]}", markup=False)


def _one(bench: Bench, operation: str, size: Size, status: Status) -> dict[str, float]:
    status.update(f"{operation}: do the servers agree?")
    found: dict[str, float] = {}
    if operation == "RecordMeasurements":
        found["first_of_a_day_per_second"] = bench.first_readings(size.connections)
    bench.require_agreement(operation)
    shape = _with_check_ins(bench, size)
    rounds = windows.run(
        bench.load,
        bench.series(operation, shape),
        shape,
        lambda text: status.update(f"{operation}, {text}"),
    )
    return found | results.of_rounds(rounds)


def _with_check_ins(bench: Bench, size: Size) -> Shape:
    """Each window may have so many check-ins that tasks are left for all of the others: two
    servers here, then one and two processes, then one request at a time."""
    each = int(bench.population.ticks_total * _MOST_OF_THEM) // (4 * size.rounds)
    return replace(size.shape, requests_max=max(each, 1))


def _few(
    stack: ExitStack, size: Size, issuer: sign_in.Issuer, load: Load, folder: Path, now: datetime
) -> Bench:
    """A database of its own with about 10,000 transfers."""
    where = _database(stack)
    few = asyncio.run(
        population.make(
            where,
            members=min(size.members, population.ORIGINALS),
            days=size.days,
            now=now,
            console=_console,
        )
    )
    started = {OURS: stack.enter_context(servers.product(where, issuer, folder / "few.log"))}
    return Bench(few, issuer, load, started)


def _scale(
    few: Bench,
    many: Bench,
    size: Size,
    folder: Path,
    operations: Sequence[str],
    found: Found,
    status: Status,
) -> None:
    """Adds to `found`."""
    # Some for either size, and for looking whether servers agree.
    left = min(int(many.population.ticks_total * (1 - _MOST_OF_THEM)), few.population.ticks_total)
    alone = replace(
        size.shape, requests_max=min(max(left // (2 * size.rounds) - 1, 1), CHECK_INS_ALONE)
    )
    parts = [
        scale.processes(many, folder, _with_check_ins(many, size), operations, told=status.update),
        scale.latency(few, many, alone, operations, told=status.update),
    ]
    if size.full:
        status.stop()
        asyncio.run(population.grow(many.population, MEMBERS_FULL, _console))
        status.start()
        parts.append(scale.latency(few, many, alone, operations, told=status.update))
    for part in parts:
        for operation, figures in part.items():
            found[operation] |= figures


def around(found: Found, status: Status) -> tuple[tuple[str, float], ...]:
    """The executor alone and the layers around it, in processes of their own. Adds to the figures
    of Home; each layer and its CPU time, µs."""
    status.update("The layers around Home, and the executor alone")
    layers = _figures("bench.layers")
    alone = _figures("bench.executor")
    found["Home"] |= {
        "layers_share": layers.pop("layers ÷ whole request"),
        "executor_alone_us": alone["Home by our plan"],
        "executor_alone_graphql_core": alone["executor alone, graphql-core ÷ ours"],
    }
    return tuple(layers.items())


def _figures(module: str) -> dict[str, float]:
    """Of another benchmark, by name."""
    with tempfile.TemporaryDirectory(prefix="wellward-bench-") as folder:
        path = Path(folder) / "figures.json"
        ended = subprocess.run(
            [sys.executable, "-m", module, "--output", str(path)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not path.exists():
            raise RuntimeError(f"{module} ended with status {ended.returncode}: {ended.stderr}")
        return {it["name"]: it["value"] for it in orjson.loads(path.read_bytes())["figures"]}


def _tell(found: Found, about: publish.Circumstances, output: Path, *, published: bool) -> None:
    report.show(found, Console(width=140))
    if about.busy:
        _console.print(
            f"The machine was busy before the run (load {about.load_before:.1f} on {about.cpus}"
            " CPUs): look at the ranges.",
            style="yellow",
        )
    for floor in floors.missed(found):
        _console.print(f"missed: {floor.text}, {floor.promised}", style="red")
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = {"circumstances": asdict(about), "operations": results.rounded(found)}
    output.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))
    if published:
        for path in publish.publish(found, about, ROOT):
            _console.print(f"Written to {path}.")
    _console.print(f"Written to {output}.")


if __name__ == "__main__":
    typer.run(main)
