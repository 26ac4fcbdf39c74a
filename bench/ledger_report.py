"""What the benchmark of the ledger found: a table for the terminal, Markdown to keep."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

TARGETS = {
    "earnings, one programme ÷ spread": (">=", 0.7),
    "statements of a check-in": ("<=", 2.0),
    "balance latency, many ÷ few transfers": ("<=", 1.1),
    "1,000,000 lots expire in": ("<=", 300.0),
    "planning ÷ bare insert, median": ("<=", 1.5),
    "pushes ÷ firebase-admin": (">=", 5.0),
    "executor alone, graphql-core ÷ ours": (">=", 10.0),
}
"""What is promised, by the name of a figure."""
AIMS = {"verified a second": 50_000.0}
"""Depends on how busy the machine is, so it is an aim."""


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: float
    unit: str = ""
    remark: str = ""

    @property
    def kept(self) -> bool | None:
        """None when nothing is promised."""
        if self.name not in TARGETS:
            return None
        sign, limit = TARGETS[self.name]
        return self.value >= limit if sign == ">=" else self.value <= limit


def _cells(figures: Sequence[Figure]) -> list[tuple[str, str, str, str]]:
    cells = []
    for it in figures:
        shown = f"{it.value:,.2f}" if it.value < 100 else f"{it.value:,.0f}"
        promised = f"aim: {AIMS[it.name]:,g}" if it.name in AIMS else ""
        if it.name in TARGETS:
            sign, limit = TARGETS[it.name]
            promised = f"{'at least' if sign == '>=' else 'at most'} {limit:,g}"
        cells.append((it.name, f"{shown} {it.unit}".rstrip(), promised, it.remark))
    return cells


HEADINGS = ("Figure", "Measured", "Promised", "")


def table(figures: Sequence[Figure]) -> Table:
    found = Table()
    for heading in HEADINGS:
        found.add_column(heading)
    for figure, cells in zip(figures, _cells(figures), strict=True):
        found.add_row(*cells, style="bold red" if figure.kept is False else None)
    return found


def markdown(figures: Sequence[Figure]) -> str:
    lines = [HEADINGS, ("---", "---:", "---:", "---"), *_cells(figures)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
