"""What a run found: a table for the terminal, Markdown for the documentation, JSON to keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.load import Figures

HEADINGS = (
    "Operation",
    "Server",
    "req/s",
    "÷ raw (rounds)",
    "p50 ms",
    "p99 ms",
    "server CPU ms",
    "PostgreSQL CPU ms",
    "answer kB",
    "memory MB",
)


@dataclass(frozen=True, slots=True)
class Round:
    """Two windows, one after the other."""

    wellward: Figures
    raw: Figures

    @property
    def ratio(self) -> float:
        return self.wellward.per_second / self.raw.per_second


Results = Mapping[str, Sequence[Round]]
"""By operation."""


def _median(figures: Sequence[Figures]) -> dict[str, float]:
    names = [field.name for field in fields(Figures) if field.name != "exhausted"]
    return {name: float(median(getattr(it, name) for it in figures)) for name in names}


def summary(results: Results) -> dict[str, Any]:
    """Medians over the rounds; the ratio is that of the two windows of a round."""
    return {
        operation: {
            "wellward": _median([it.wellward for it in rounds]),
            "raw": _median([it.raw for it in rounds]),
            "ratio_raw": float(median(it.ratio for it in rounds)),
            "ratios": [round(it.ratio, 3) for it in rounds],
        }
        for operation, rounds in results.items()
        if rounds
    }


def _cells(results: Results) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = []
    for operation, found in summary(results).items():
        for server in ("wellward", "raw"):
            figures = found[server]
            ratios = found["ratios"]
            spread = f"{found['ratio_raw']:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
            ratio = spread if server == "wellward" else ""
            cells.append(
                (
                    operation if server == "wellward" else "",
                    server,
                    f"{figures['per_second']:.0f}",
                    ratio,
                    f"{figures['p50_ms']:.1f}",
                    f"{figures['p99_ms']:.1f}",
                    f"{figures['server_cpu_ms']:.2f}",
                    f"{figures['postgres_cpu_ms']:.2f}",
                    f"{figures['bytes'] / 1000:.1f}",
                    f"{figures['memory_mb']:.0f}",
                )
            )
    return cells


def show(results: Results, console: Console) -> None:
    table = Table(title="Medians of the rounds; ratios paired within a round")
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if place < 2 else "right")
    for row in _cells(results):
        table.add_row(*row)
    console.print(table)


def markdown(results: Results) -> str:
    aligned = ["---" if place < 2 else "---:" for place in range(len(HEADINGS))]
    lines = [HEADINGS, aligned, *_cells(results)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
