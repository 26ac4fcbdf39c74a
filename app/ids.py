"""UUIDv7 keys, made here and not by the database: rows of one moment lie together."""

from collections.abc import Callable
from datetime import datetime
from os import urandom
from uuid import UUID

import uuid_utils
from asyncpg.pgproto.pgproto import UUID as DriverUUID


def new_id(now: datetime) -> UUID:
    """A UUIDv7 of the instant `now` (timezone-aware)."""
    return UUID(int=uuid_utils.uuid7(nanoseconds=int(now.timestamp() * 1_000_000) * 1_000).int)


def new_ids(now: datetime, count: int) -> list[UUID]:
    """As many as `new_id` would make one after the other, in a fraction of the time; of the
    driver's kind, equal to others."""
    head = (int(now.timestamp() * 1000) & (1 << 48) - 1).to_bytes(6)
    size = 10 * count
    random = int.from_bytes(urandom(size))
    rest = (random & int.from_bytes(_RANDOM * count) | int.from_bytes(_FIXED * count)).to_bytes(
        size
    )
    # Sorted: in the order of an index.
    return [
        DriverUUID(head + tail)
        for tail in sorted([rest[at : at + 10] for at in range(0, size, 10)])
    ]


_RANDOM = bytes.fromhex("0fff3fffffffffffffff")
_FIXED = bytes.fromhex("70008000000000000000")
"""What follows the instant: which bits are random, and version and variant."""


read_id: Callable[[str], UUID] = DriverUUID
"""Of a UUID's usual form. Raises ValueError. The driver's kind of UUID: equal to others, and read
in a fraction of the time."""
id_of: Callable[[bytes], UUID] = DriverUUID
"""Of its sixteen bytes; the same kind."""
