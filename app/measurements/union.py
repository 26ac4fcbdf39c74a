"""What several sources counted on one day, without counting the same steps twice.

Each source tells its running total, and may tell when it counted what: intervals, which do not
overlap within one source. Within an interval the source counts evenly.

The *union* of sources is the larger of two amounts:

1. what they located in time: at each instant covered by any interval, as much as the source
   that counts fastest there. Where one source alone was worn, its count stands; where several
   were, the one that missed least stands for all of them, and overlaps count once.
2. the largest running total of a single source, because what a source did not locate may lie
   anywhere in the day, also where another source counted.

So the union is never less than any source's own total, and never more than the sum of all. It
does not depend on the order of sources; a source that is sent again changes nothing; a source
that is added never lowers it. Sources without intervals overlap as far as anybody knows: of
two of them the larger total stands. No I/O, no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

_KEPT = Decimal("0.001")
_NOTHING = Decimal(0)


class Interval(NamedTuple):
    """Half open."""

    start: int
    """Milliseconds since 1970, as is `end`, which is later."""
    end: int
    value: Decimal
    """Counted in between, not negative."""

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Counted:
    """What one source says about a day."""

    value: Decimal
    intervals: Sequence[Interval] = ()
    """Do not overlap, and add up to at most `value`."""


def union(sources: Sequence[Counted]) -> Decimal:
    """Over all sources, to three decimals, rounded half up; 0 without any."""
    largest = max((source.value for source in sources), default=_NOTHING)
    found = max(largest, _located([source.intervals for source in sources if source.intervals]))
    return found.quantize(_KEPT, rounding=ROUND_HALF_UP)


def _located(sources: Sequence[Sequence[Interval]]) -> Decimal:
    """What is counted at the instants that some interval covers."""
    if len(sources) < 2:
        return sum((it.value for it in sources[0]), _NOTHING) if sources else _NOTHING
    waiting = sorted((it for source in sources for it in source), reverse=True)
    cuts = sorted({edge for it in waiting for edge in (it.start, it.end)})
    # Those that have begun, the fastest first; what has ended is taken out when it comes up.
    begun: list[tuple[float, Interval]] = []
    stands_for: dict[Interval, int] = {}
    for start, end in pairwise(cuts):
        while waiting and waiting[-1].start <= start:
            it = waiting.pop()
            heappush(begun, (-float(it.value) / it.length, it))
        while begun and begun[0][1].end <= start:
            heappop(begun)
        if begun:
            fastest = begun[0][1]
            stands_for[fastest] = stands_for.get(fastest, 0) + end - start
    shares = (
        it.value if length == it.length else it.value * length / it.length
        for it, length in stands_for.items()
    )
    # In an order of its own: adding decimals that were rounded depends on it.
    return sum(sorted(shares), _NOTHING)
