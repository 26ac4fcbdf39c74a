"""Streams of a sensor as aggregates of a quarter of an hour: number, least, mean, greatest.

One value a second of each source counts. Which seconds have counted is kept with the aggregate,
so that values that are sent again, or in another order, change nothing. No I/O, no clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

SLOT = timedelta(minutes=15)
SLOT_SECONDS = 900
_BYTES = 113


class SlotKey(NamedTuple):
    code: str
    starts_at: datetime
    source_id: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    n: int
    minimum: Decimal
    maximum: Decimal
    total: Decimal
    seconds: bytes
    """A bit for each second that has counted, the first second the lowest bit."""

    @property
    def mean(self) -> Decimal:
        return self.total / self.n


class Point(NamedTuple):
    second: int
    """From 0 to 899, of its slot."""
    value: Decimal


def slot_of(instant: datetime) -> tuple[datetime, int]:
    """The quarter of an hour (UTC) that holds the instant, and its second in there. Offsets of
    all zones are multiples of it, so that no slot lies in two local days."""
    utc = instant.astimezone(UTC)
    second = utc.minute % 15 * 60 + utc.second
    return utc.replace(microsecond=0) - timedelta(seconds=second), second


def merge(known: Aggregate | None, points: Iterable[Point]) -> tuple[Aggregate, int]:
    """The aggregate with these points, and how many of them were new. Of two values of one
    second the one that came first counts."""
    counted = int.from_bytes(known.seconds, "little") if known else 0
    new: list[Decimal] = []
    for point in points:
        bit = 1 << point.second
        if not counted & bit:
            counted |= bit
            new.append(point.value)
    if known is None:
        assert new, "an aggregate of nothing"
        found = Aggregate(len(new), min(new), max(new), sum(new, Decimal(0)), b"")
    elif new:
        found = Aggregate(
            known.n + len(new),
            min(known.minimum, *new),
            max(known.maximum, *new),
            known.total + sum(new),
            b"",
        )
    else:
        return known, 0
    seconds = counted.to_bytes(_BYTES, "little")
    return Aggregate(found.n, found.minimum, found.maximum, found.total, seconds), len(new)


def merge_all(
    known: Mapping[SlotKey, Aggregate], points: Mapping[SlotKey, list[Point]]
) -> tuple[dict[SlotKey, Aggregate], int]:
    """The aggregates that change, and how many points were new."""
    changed: dict[SlotKey, Aggregate] = {}
    count = 0
    for key, found in points.items():
        merged, new = merge(known.get(key), found)
        if new:
            changed[key] = merged
            count += new
    return changed, count
