"""What a run found, as numbers by operation and name: what `bench/latest.json` holds."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from statistics import median

from bench.load import Figures
from bench.operations import CORE, OURS, RAW, RAW_KEPT
from bench.windows import Round

Found = dict[str, dict[str, float]]
"""Figures by operation and name."""

_NOT_KEPT = frozenset({"requests", "seconds"})


def of_rounds(rounds: Sequence[Round]) -> dict[str, float]:
    """Medians over the rounds; each ratio is that of the two windows of a round."""
    found = dict(_medians([it[OURS] for it in rounds]))
    found["p99_to_p50"] = float(median(it[OURS].p99_ms / it[OURS].p50_ms for it in rounds))
    for server, name in ((RAW, "raw"), (RAW_KEPT, "raw_kept"), (CORE, "graphql_core")):
        if server not in rounds[0]:
            continue
        of_server = _medians([it[server] for it in rounds])
        found |= {f"{name}_{figure}": value for figure, value in of_server.items()}
        found |= ratio(f"ratio_{name}", rounds, OURS, server)
    return found


def ratio(name: str, rounds: Sequence[Round], one: str, other: str) -> dict[str, float]:
    """Of requests a second: the median, the smallest and the largest of the rounds."""
    return spread(name, [it[one].per_second / it[other].per_second for it in rounds])


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: median(values), f"{name}_min": min(values), f"{name}_max": max(values)}


def _medians(figures: Sequence[Figures]) -> Mapping[str, float]:
    names = [field.name for field in fields(Figures) if field.name not in _NOT_KEPT]
    found = {name: float(median(getattr(it, name) for it in figures)) for name in names}
    # Counted only where the machine can.
    return {
        name: value for name, value in found.items() if value or not name.endswith("instructions")
    }


def rounded(found: Found) -> Found:
    """With as many digits as mean something."""
    return {
        operation: {name: float(f"{value:.4g}") for name, value in figures.items()}
        for operation, figures in found.items()
    }
