"""Home and CheckIn with few and with many transfers, and with one web process and with two."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench import results, servers, windows
from bench.load import Series
from bench.operations import OURS, Bench
from bench.results import Found
from bench.windows import Shape

OPERATIONS = ("Home", "CheckIn")
Told = Callable[[str], object]


def latency(
    few: Bench, many: Bench, shape: Shape, operations: Sequence[str], *, told: Told
) -> Found:
    """Medians of one request at a time, of as many members of each."""
    found: Found = {}
    name, little = (_count(it.population.rows["points_transfers"]) for it in (many, few))
    readers = len(few.population.members)
    shape = replace(shape, connections=1)
    for operation in operations:
        series = {
            "few": few.series(operation, shape, readers)[OURS],
            "many": many.series(operation, shape, readers)[OURS],
        }
        rounds_of = windows.run(
            many.load, series, shape, partial(_tell, told, f"{operation} alone")
        )
        ratios = [it["many"].p50_ms / it["few"].p50_ms for it in rounds_of]
        by_name = {name: "many", little: "few"}
        found[operation] = {
            **results.spread(f"latency_{name}_to_{little}", ratios),
            **{
                f"latency_{label}_ms": sorted(it[server].p50_ms for it in rounds_of)[
                    len(rounds_of) // 2
                ]
                for label, server in by_name.items()
            },
        }
    return found


def processes(
    bench: Bench, folder: Path, shape: Shape, operations: Sequence[str], *, told: Told
) -> Found:
    """Requests a second of two web processes against one."""
    found: Found = {}
    with ExitStack() as stack:
        two = stack.enter_context(
            servers.product(bench.population.where, bench.issuer, folder / "two.log", processes=2)
        )
        both = replace(bench, servers={OURS: bench.servers[OURS], "two processes": two})
        for operation in operations:
            series: dict[str, Series] = both.series(operation, shape)
            rounds = windows.run(bench.load, series, shape, partial(_tell, told, operation))
            of_two = [it["two processes"] for it in rounds]
            found[operation] = {
                **results.ratio("two_processes_to_one", rounds, "two processes", OURS),
                "two_processes_per_second": sorted(it.per_second for it in of_two)[
                    len(of_two) // 2
                ],
                "two_processes_memory_mb_each": max(it.memory_mb for it in of_two),
            }
    return found


def _tell(told: Told, title: str, text: str) -> None:
    told(f"{title}, {text}")


def _count(transfers: int) -> str:
    """As it stands in names: `10k` of 10,400."""
    return f"{transfers // 1_000_000}m" if transfers >= 1_000_000 else f"{transfers // 1000}k"
