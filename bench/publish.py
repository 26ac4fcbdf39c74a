"""Writes what a run found to where it is read: `bench/latest.json`, `docs/performance.md` (the part
between two marks; the rest is written by hand) and its chart."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import orjson

from bench import chart, report, results
from bench.results import Found

BEGIN = "<!-- `make bench` writes from here -->"
END = "<!-- to here -->"
LATEST = Path("bench/latest.json")
DOCUMENT = Path("docs/performance.md")
CHART = Path("docs/performance.svg")
WIDTH = 108


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under which it was measured."""

    day: str
    command: str
    machine: str
    load_before: float
    cpus: int
    rows: dict[str, int]
    """Of the database, by table."""
    load_seconds: float
    """Until they were there."""
    connections: int
    rounds: int
    seconds: float
    """Of one window."""
    documents: int
    """That are compiled: all."""
    layers: tuple[tuple[str, float], ...]
    """Each of the layers around Home, and its CPU time, µs."""

    @property
    def busy(self) -> bool:
        return self.load_before > self.cpus / 4


def publish(found: Found, about: Circumstances, root: Path) -> list[Path]:
    """Raises ValueError when the document has no place for it."""
    written = {
        LATEST: orjson.dumps(results.rounded(found), option=orjson.OPT_INDENT_2).decode() + "\n",
        CHART: chart.svg(found),
        DOCUMENT: inserted((root / DOCUMENT).read_text("utf-8"), section(found, about)),
    }
    for path, text in written.items():
        (root / path).write_text(text, "utf-8")
    return list(written)


def inserted(document: str, text: str) -> str:
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT} has lost its marks: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def section(found: Found, about: Circumstances) -> str:
    rows = about.rows
    shared = " **It was shared.**" if about.busy else ""
    parts = [
        f"## {about.day}",
        _filled(
            f"`{about.command}`, {about.machine}. {rows['members']:,} members, {rows['tasks']:,}"
            f" tasks, {rows['checkins']:,} check-ins, {rows['points_transfers']:,} transfers (there"
            f" within {about.load_seconds:.0f} s); {about.connections} connections, {about.rounds}"
            f" rounds of windows of {about.seconds:g} s. Load of the machine before the run:"
            f" {about.load_before:.1f} on {about.cpus} CPUs.{shared}"
        ),
        f"![Requests a second as a part of the raw handler's]({CHART.name})",
        f"All {about.documents} trusted documents are compiled; none is run by graphql-core.",
    ]
    for title, headings, cells in report.tables(found):
        parts += [f"### {title}", report.markdown(headings, cells)]
    if about.layers:
        cells = [(name, f"{value:.1f}") for name, value in about.layers]
        parts += ["### Around the execution of Home", report.markdown(("Layer", "CPU µs"), cells)]
    return "\n\n".join(parts)


def _filled(text: str) -> str:
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
