"""What was sent, as the hash of a request takes it: in one spelling, whatever the client's was."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from app.measurements.rules import Reading
from app.measurements.totals_rules import Total


def readings(sent: Sequence[Reading]) -> list[Any]:
    codes, values, units, instants, methods, sources, contexts, _, continuous, confirmed = zip(
        *sent, strict=True
    )
    return list(
        zip(
            codes, map(str, values), units, _timestamps(instants), methods, sources, contexts,
            continuous, confirmed,
            strict=True,
        )
    )  # fmt: skip


def _timestamps(instants: Sequence[datetime]) -> Iterable[float]:
    """What was measured together has one instant."""
    found = {it: it.timestamp() for it in dict.fromkeys(instants)}
    return map(found.__getitem__, instants)


def total(it: Total) -> tuple[Any, ...]:
    parts = [
        (part.start_at.timestamp(), part.end_at.timestamp(), str(part.value))
        for part in it.intervals
    ]
    return it.code, it.local_date, str(it.value), it.unit, it.source_id, it.method.value, parts
