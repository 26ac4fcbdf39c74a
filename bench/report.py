"""What a run found: tables for the terminal and for the documentation."""

import re
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.floors import FLOORS
from bench.results import Found

Row = tuple[str, ...]

SPEED = (
    "Operation", "Server", "req/s", "÷ this (rounds)", "p50 ms", "p99 ms", "web CPU ms",
    "PostgreSQL CPU ms", "answer kB", "memory MB",
)  # fmt: skip
INSTRUCTIONS = ("Operation", "Server", "web, thousands", "PostgreSQL, thousands")
PROMISES = ("Promised of", "Measured", "Floor", "Aim", "Kept")
SCALE = ("Operation", "Transfers", "p50 ms, one request at a time", "÷ few (rounds)")
PROCESSES = ("Operation", "req/s, two web processes", "÷ one (rounds)", "memory of each, MB")

_SERVERS = (
    ("", "wellward"), ("raw_", "raw"), ("raw_kept_", "raw, kept"), ("graphql_core_", "graphql-core"),
)  # fmt: skip
_LATENCY = re.compile(r"latency_(\d+[km])_ms")


def spread(figures: Mapping[str, float], name: str) -> str:
    """A median and the range of the rounds; nothing when it was not measured."""
    if name not in figures:
        return ""
    least, most = figures[f"{name}_min"], figures[f"{name}_max"]
    return f"{figures[name]:.2f} ({least:.2f}–{most:.2f})"


def speed(found: Found) -> list[Row]:
    rows: list[Row] = []
    for operation, figures in found.items():
        for prefix, server in _SERVERS:
            if f"{prefix}per_second" not in figures:
                continue
            values = [
                figures[f"{prefix}{it}"]
                for it in ("p50_ms", "p99_ms", "server_cpu_ms", "postgres_cpu_ms")
            ]
            rows.append(
                (
                    "" if prefix else operation,
                    server,
                    f"{figures[f'{prefix}per_second']:,.0f}",
                    spread(figures, f"ratio_{prefix[:-1]}") if prefix else "",
                    *(f"{it:.1f}" for it in values[:2]),
                    *(f"{it:.2f}" for it in values[2:]),
                    f"{figures[f'{prefix}bytes'] / 1000:.1f}",
                    f"{figures[f'{prefix}memory_mb']:.0f}",
                )
            )
    return rows


def instructions(found: Found) -> list[Row]:
    return [
        (
            "" if prefix else operation,
            server,
            f"{figures[f'{prefix}server_instructions']:,.0f}",
            f"{figures[f'{prefix}postgres_instructions']:,.0f}",
        )
        for operation, figures in found.items()
        for prefix, server in _SERVERS
        if f"{prefix}server_instructions" in figures
    ]


def promises(found: Found) -> list[Row]:
    rows: list[Row] = []
    for floor in FLOORS:
        value, kept = floor.value(found), floor.kept(found)
        rows.append(
            (
                floor.text,
                "" if value is None else f"{value:.2f}",
                floor.promised,
                f"{floor.aim:g}",
                "not measured" if kept is None else "yes" if kept else "**no**",
            )
        )
    return rows


def scale(found: Found) -> list[Row]:
    rows: list[Row] = []
    for operation, figures in found.items():
        sizes = [it[1] for it in map(_LATENCY.fullmatch, figures) if it is not None]
        for size in sorted(sizes, key=lambda it: (it[-1], int(it[:-1]))):
            against = next(
                (spread(figures, f"latency_{size}_to_{it}") for it in sizes
                 if f"latency_{size}_to_{it}" in figures), "",
            )  # fmt: skip
            words = f"{size[:-1]} {'M' if size.endswith('m') else 'k'}"
            rows.append((operation, words, f"{figures[f'latency_{size}_ms']:.2f}", against))
    return rows


def processes(found: Found) -> list[Row]:
    return [
        (
            operation,
            f"{figures['two_processes_per_second']:,.0f}",
            spread(figures, "two_processes_to_one"),
            f"{figures['two_processes_memory_mb_each']:.0f}",
        )
        for operation, figures in found.items()
        if "two_processes_to_one" in figures
    ]


def tables(found: Found) -> list[tuple[str, Row, list[Row]]]:
    """Each with its title and headings; those that say something."""
    made: list[tuple[str, Row, list[Row]]] = [
        ("Promises", PROMISES, promises(found)),
        ("Speed", SPEED, speed(found)),
        ("Instructions a request, of user mode", INSTRUCTIONS, instructions(found)),
        ("Many transfers", SCALE, scale(found)),
        ("Web processes", PROCESSES, processes(found)),
    ]
    return [it for it in made if it[2]]


def show(found: Found, console: Console) -> None:
    for title, headings, rows in tables(found):
        table = Table(title=title)
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*row, style="bold red" if row[-1] == "**no**" else None)
        console.print(table)


def markdown(headings: Row, rows: Sequence[Row]) -> str:
    texts = {"Operation", "Server", "Promised of", "Kept", "Floor"}
    aligned = tuple("---" if it in texts else "---:" for it in headings)
    return "\n".join(f"| {' | '.join(line)} |" for line in [headings, aligned, *rows])
