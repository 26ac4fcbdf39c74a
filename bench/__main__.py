"""`make bench`: Home, the statement of points and the check-in, on the real server in
production mode and on a raw handler, in turn, in one run."""

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from app.demo.bulk import BulkMember
from bench import report, series, servers, sign_in
from bench.load import Figures, Order, Plan
from bench.report import Round

ROOT = Path(__file__).resolve().parent.parent
OPERATIONS = ("Home", "PointsHistory", "CheckIn")

_console = Console(stderr=True, highlight=False)


class Load:
    """The process that makes the load."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        path = folder / "plan.json"
        path.write_bytes(orjson.dumps(asdict(plan)))
        command = [sys.executable, "-m", "bench.load", str(path)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )

    def run(self, order: Order) -> Figures:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(orjson.dumps(asdict(order)) + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The load ended while {order.series} ran; see above.")
        return Figures(**orjson.loads(answer))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def main(
    seconds: Annotated[float, typer.Option(min=0.2, help="Length of one window.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Windows of each series.")] = 3,
    members: Annotated[int, typer.Option(min=32, help="Members in the database.")] = 2000,
    readers: Annotated[int, typer.Option(min=1, help="How many of them read, in turn.")] = 256,
    days: Annotated[
        int, typer.Option(min=26, help="Days of history; two points entries each.")
    ] = 30,
    connections: Annotated[int, typer.Option(min=1, help="Requests under way.")] = 32,
    only: Annotated[str | None, typer.Option(help="One operation: Home, PointsHistory ...")] = None,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "bench.json",
) -> None:
    """Speed against a handler written by hand, in the same run."""
    operations = [it for it in OPERATIONS if only in (None, it)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wellward-bench-")))
        place = stack.enter_context(servers.database())
        now = datetime.now(UTC)  # noqa: TID251 - the benchmark is an edge
        with _console.status(f"Loading {members} members"):
            made = asyncio.run(servers.load_members(place, members=members, days=days, now=now))
        issuer = stack.enter_context(sign_in.issuing())
        product = stack.enter_context(servers.product(place, issuer, folder / "wellward.log"))
        raw = stack.enter_context(servers.raw_handler(place, folder / "raw.log"))
        assert place.embedded is not None
        postgres_pid = place.embedded.running_pid()
        assert postgres_pid is not None
        plan = Plan(postgres_pid, connections, {})
        tokens = _tokens(issuer, made, now)
        for operation in operations:
            plan.series.update(series.make(operation, product, raw, tokens, made, readers, now))
        load = Load(plan, folder)
        stack.callback(load.close)
        load_before = os.getloadavg()[0]
        results = _measure(load, operations, rounds, seconds)
    _report(results, output, now, load_before)


def _tokens(issuer: sign_in.Issuer, members: Sequence[BulkMember], now: datetime) -> dict[Any, str]:
    return {it.member_id: issuer.token(it.subject, now=now) for it in members}


def _measure(
    load: Load, operations: Sequence[str], rounds: int, seconds: float
) -> dict[str, list[Round]]:
    results: dict[str, list[Round]] = {operation: [] for operation in operations}
    with _console.status("Measuring") as status:
        for number in range(rounds):
            for operation in operations:
                found = {}
                # The order changes, so that neither server is always the first.
                for server in ("wellward", "raw")[:: 1 if number % 2 else -1]:
                    status.update(f"Round {number + 1} of {rounds}: {operation}, {server}")
                    order = Order(f"{operation}/{server}", seconds, min(1.5, seconds))
                    found[server] = load.run(order)
                if any(it.exhausted for it in found.values()):
                    _console.print(f"{operation}: no task is left to tick; load more --members.")
                    continue
                results[operation].append(Round(**found))
    return results


def _report(
    results: dict[str, list[Round]], output: Path, now: datetime, load_before: float
) -> None:
    report.show(results, Console(width=120))
    cpus = os.cpu_count() or 1
    if load_before > cpus / 2:
        _console.print(
            f"The machine was busy before the measurement (load {load_before:.1f} on {cpus} CPUs): "
            "req/s and ratios are those of a shared machine; look at the spread and at CPU ms.",
            style="yellow",
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "at": now,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "load_before": load_before,
        "cpus": cpus,
        "command": " ".join(["python -m bench", *sys.argv[1:]]),
        "operations": report.summary(results),
        "markdown": report.markdown(results),
    }
    output.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    _console.print(f"Written to {output}.")


if __name__ == "__main__":
    typer.run(main)
