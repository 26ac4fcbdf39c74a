"""Witnesses outside the database: a file of Merkle roots over the wallets' heads.

One JSON object a line, only ever appended:

    {"begin": "<instant>"}
    {"member": "<id>", "seq": 7, "head": "<hex>"}     one for each wallet that changed
    {"root": "<hex>", "previous": "<hex>", "members": 1}

A writer that was killed leaves lines without a root; the next `begin` closes them, and what
they say stays true. Whoever rewrites history in the database is found out by this file, from
the next root on; so keep it where the database's administrators cannot write.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import SEEK_END
from pathlib import Path
from typing import BinaryIO, Self
from uuid import UUID

import orjson
from sqlalchemy import text

from app.db import Database

BATCH = 5_000
LOCK_POLL_SECONDS = 0.05
_TAIL_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Witness:
    """A wallet's newest transfer, as it was when the root was written."""

    member_id: UUID
    seq: int
    head: bytes

    def leaf(self) -> bytes:
        return sha256(b"\0" + self.member_id.bytes + self.seq.to_bytes(8) + self.head).digest()


class MerkleTree:
    """The root of any number of leaves, in memory that grows with the logarithm of it.

    Nodes and leaves are hashed with different prefixes, so that neither passes for the
    other; a node without a neighbour moves up as it is.
    """

    def __init__(self) -> None:
        self.leaves = 0
        self._complete: list[tuple[int, bytes]] = []  # (height, hash), the highest first

    def add(self, leaf: bytes) -> None:
        self.leaves += 1
        height = 0
        while self._complete and self._complete[-1][0] == height:
            leaf = _node(self._complete.pop()[1], leaf)
            height += 1
        self._complete.append((height, leaf))

    def root(self) -> bytes:
        """Of at least one leaf."""
        (_, found), *higher = reversed(self._complete)
        for _, left in higher:
            found = _node(left, found)
        return found


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


_CHANGED = text(
    f"""select member_id, seq, head from wallets
         where seq <> rooted_seq and member_id > :after order by member_id limit {BATCH}"""
)
_ROOTED = text(
    """update wallets set rooted_seq = rooted.seq
         from unnest(cast(:member_ids as uuid[]), cast(:seqs as bigint[])) as rooted (id, seq)
        where wallets.member_id = rooted.id and wallets.rooted_seq < rooted.seq"""
)


async def write_root(db: Database, path: Path, *, now: datetime) -> int:
    """Append a root over all wallets that changed since the last one; how many they are.

    What the file says is on the disk before the database knows of it, so a run that is cut
    short is only repeated.
    """
    with _Writer(path, now) as writer:
        # Asked for again and again, not waited for: that would take a thread from whoever
        # holds it.
        while not await asyncio.to_thread(writer.lock):  # noqa: ASYNC110 - maybe another process
            await asyncio.sleep(LOCK_POLL_SECONDS)
        found = await _changed(db, after=UUID(int=0))
        while found:
            await asyncio.to_thread(writer.append, found)
            found = await _changed(db, after=found[-1].member_id)
        if writer.tree.leaves == 0:
            return 0
        await asyncio.to_thread(writer.close_root)
        for batch in writer.batches():
            async with db.write() as connection:
                await connection.execute(
                    _ROOTED,
                    {
                        "member_ids": [witness.member_id for witness in batch],
                        "seqs": [witness.seq for witness in batch],
                    },
                )
        return writer.tree.leaves


async def _changed(db: Database, *, after: UUID) -> list[Witness]:
    async with db.read() as connection:
        return [Witness(*row) for row in await connection.execute(_CHANGED, {"after": after})]


class _Writer:
    """One root under construction. Its methods wait for the disk."""

    def __init__(self, path: Path, now: datetime) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.tree = MerkleTree()
        self._now = now
        self._file = path.open("a+b")
        self._start = 0
        self._previous = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def lock(self) -> bool:
        """Be the only writer; False while somebody else is."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._previous = _last_root(self._file)
        return True

    def append(self, witnesses: Sequence[Witness]) -> None:
        lines = []
        if not self.tree.leaves:
            end = self._file.seek(0, SEEK_END)
            if end and _read_at(self._file, end - 1, end) != b"\n":
                lines.append(b"\n")  # a killed writer's half line stays alone
            self._start = end
            lines.append(_line({"begin": self._now.isoformat()}))
        for witness in witnesses:
            self.tree.add(witness.leaf())
            lines.append(
                _line(
                    {
                        "member": str(witness.member_id),
                        "seq": witness.seq,
                        "head": witness.head.hex(),
                    }
                )
            )
        self._file.write(b"".join(lines))

    def close_root(self) -> None:
        root = {"root": self.tree.root().hex(), "previous": self._previous}
        self._file.write(_line({**root, "members": self.tree.leaves}))
        self._file.flush()
        os.fsync(self._file.fileno())

    def batches(self) -> Iterator[list[Witness]]:
        """What this root holds, read back from the file: it may be more than fits in memory."""
        batch: list[Witness] = []
        self._file.seek(self._start)
        for line in self._file:
            found = read_line(line)
            if isinstance(found, Witness):
                batch.append(found)
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


@dataclass(frozen=True, slots=True)
class Begin:
    at: datetime


@dataclass(frozen=True, slots=True)
class Root:
    root: str
    previous: str
    members: int


Line = Begin | Witness | Root | None


def read_line(line: bytes) -> Line:
    """What one line says; None for one that was cut off or is none of ours."""
    try:
        found = orjson.loads(line)
        if "member" in found:
            member_id, seq = UUID(found["member"]), int(found["seq"])
            return Witness(member_id, seq, bytes.fromhex(found["head"]))
        if "root" in found:
            return Root(str(found["root"]), str(found["previous"]), int(found["members"]))
        return Begin(datetime.fromisoformat(found["begin"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _line(value: dict[str, str | int]) -> bytes:
    return orjson.dumps(value) + b"\n"


def _read_at(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _last_root(file: BinaryIO) -> str:
    """The newest root in the file, read from its end; empty when there is none."""
    start = file.seek(0, SEEK_END)
    tail = b""
    while start > 0:
        end, start = start, max(0, start - _TAIL_BLOCK)
        first, newline, rest = (_read_at(file, start, end) + tail).partition(b"\n")
        # Before the first newline stands the end of a line whose start was not read yet.
        lines, tail = (rest, first + newline) if start else (first + newline + rest, b"")
        for line in reversed(lines.splitlines()):
            found = read_line(line)
            if isinstance(found, Root):
                return found.root
    return ""
