"""What was sent, as the hash of a request takes it: in one spelling, whatever the client's was."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.measurements.readings_sent import each_once
from app.measurements.rules import Reading
from app.measurements.totals_rules import Total


def readings(sent: Sequence[Reading]) -> list[Any]:
    codes, values, units, instants, methods, sources, contexts, _, continuous, confirmed = zip(
        *sent, strict=True
    )
    return list(
        zip(
            codes, map(str, values), units, each_once(datetime.timestamp, instants), methods, sources, contexts,
            continuous, confirmed,
            strict=True,
        )
    )  # fmt: skip


def total(it: Total) -> tuple[Any, ...]:
    parts = [
        (part.start_at.timestamp(), part.end_at.timestamp(), str(part.value))
        for part in it.intervals
    ]
    return it.code, it.local_date, str(it.value), it.unit, it.source_id, it.method.value, parts
