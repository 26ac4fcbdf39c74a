"""Where the items of a file wait until the whole file was read.

So a file that breaks off in the middle changes nothing, and items in any order come out by
time, in memory that does not grow with the file: SQLite keeps them in a temporary file that it
has already unlinked, so that nothing of it stays behind, whatever happens.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple, Self

_CACHE_KIB = 4_096
_ROWS = 2_000


class Sample(NamedTuple):
    """One reading as it stands in the file."""

    at: int
    """Milliseconds since 1970."""
    code: str
    source: str
    value: str
    unit: str
    """UCUM."""
    method: str
    context: str | None
    where: int
    """Place in the file: the line, or the item's number from 1; negative where it is known to
    repeat another."""


class Portion(NamedTuple):
    """A part of what one source counted on a day."""

    start: int
    code: str
    source: str
    end: int
    """Milliseconds since 1970, as `start`."""
    value: str
    unit: str
    method: str
    where: int


class Spool:
    """A context manager; what it holds is gone at its end."""

    def __enter__(self) -> Self:
        # An empty name is a temporary file on disk.
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.execute(f"pragma cache_size = -{_CACHE_KIB}")
        for pragma in ("journal_mode = off", "synchronous = off", "temp_store = file"):
            self._db.execute(f"pragma {pragma}")
        self._db.execute(
            "create table samples (at integer, code, source, value, unit, method, context,"
            " place integer)"
        )
        self._db.execute(
            "create table portions (start integer, code, source, end integer, value, unit,"
            " method, place integer)"
        )
        self._samples: list[Sample] = []
        self._portions: list[Portion] = []
        self.sample_count = 0
        self.portion_count = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add_sample(self, sample: Sample) -> None:
        self._samples.append(sample)
        self.sample_count += 1
        if len(self._samples) >= _ROWS:
            self._flush()

    def add_portion(self, portion: Portion) -> None:
        self._portions.append(portion)
        self.portion_count += 1
        if len(self._portions) >= _ROWS:
            self._flush()

    def samples(self) -> Iterator[Sample]:
        """In order of time; those of one instant by code and source, the first line first."""
        self._flush()
        rows = self._db.execute("select * from samples order by at, code, source, place < 0, place")
        return map(Sample._make, rows)

    def dense(self, code: str, count: int) -> frozenset[tuple[str, int]]:
        """Sources and days since 1970 (UTC) with more than `count` samples of the code."""
        self._flush()
        rows = self._db.execute(
            "select source, at / 86400000 from samples where code = ?"
            " group by 1, 2 having count(*) > ?",
            (code, count),
        )
        return frozenset((source, day) for source, day in rows)

    def portions(self) -> Iterator[Portion]:
        """In order of time, as samples."""
        self._flush()
        rows = self._db.execute("select * from portions order by start, code, source, end, place")
        return map(Portion._make, rows)

    def _flush(self) -> None:
        self._db.executemany("insert into samples values (?, ?, ?, ?, ?, ?, ?, ?)", self._samples)
        self._db.executemany("insert into portions values (?, ?, ?, ?, ?, ?, ?, ?)", self._portions)
        self._samples.clear()
        self._portions.clear()
