"""Figures that tests measure on their way, for `make prove`.

With WELLWARD_FIGURES a file gets one JSON object a line; without it nothing is kept.
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

VARIABLE = "WELLWARD_FIGURES"


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: float | str
    unit: str = ""


def record_figure(name: str, value: float | str, unit: str = "") -> None:
    """Safe from any number of test processes: a line is one append."""
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    with Path(path).open("ab", buffering=0) as file:
        file.write(orjson.dumps(asdict(Figure(name, value, unit))) + b"\n")


def read_figures(path: Path) -> list[Figure]:
    """What was recorded, in order; nothing when nobody recorded anything."""
    if not path.exists():
        return []
    return [Figure(**orjson.loads(line)) for line in path.read_bytes().splitlines()]
