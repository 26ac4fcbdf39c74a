"""UUIDv7 keys, made here and not by the database: rows of one moment lie together."""

from collections.abc import Callable
from datetime import datetime
from itertools import starmap
from os import urandom
from struct import iter_unpack
from uuid import UUID

import uuid_utils
from asyncpg.pgproto.pgproto import UUID as DriverUUID


def new_id(now: datetime) -> UUID:
    """A UUIDv7 of the instant `now` (timezone-aware)."""
    return UUID(int=uuid_utils.uuid7(nanoseconds=int(now.timestamp() * 1_000_000) * 1_000).int)


def new_ids(now: datetime, count: int) -> list[UUID]:
    """As many as `new_id` would make one after the other, in a fraction of the time; of the
    driver's kind, equal to others."""
    return [*starmap(DriverUUID, iter_unpack("16s", new_ids_bytes(now, count)))]


def new_ids_bytes(now: datetime, count: int) -> bytes:
    """Their bytes, one after the other, each 4,096 of them in the order of an index: the first twelve
    bits after the instant count (RFC 9562, 6.2, method 1), the other 62 are random."""
    if count > _COUNTED_MAX:
        return new_ids_bytes(now, _COUNTED_MAX) + new_ids_bytes(now, count - _COUNTED_MAX)
    size = 16 * count
    head = (int(now.timestamp() * 1000) & (1 << 48) - 1).to_bytes(6) + bytes(10)
    random = int.from_bytes(urandom(size)) & int.from_bytes(_RANDOM * count)
    fixed = int.from_bytes(head * count) | int.from_bytes(_COUNTED[:size])
    return (random | fixed).to_bytes(size)


_RANDOM = bytes(8) + bytes.fromhex("3fffffffffffffff")
"""Which bits of an id are random."""
_COUNTED_MAX = 1 << 12
_COUNTED = b"".join(
    bytes(6) + (0x7000 | number).to_bytes(2) + b"\x80" + bytes(7) for number in range(_COUNTED_MAX)
)
"""Version, count and variant of as many ids as can be told apart by it."""


read_id: Callable[[str], UUID] = DriverUUID
"""Of a UUID's usual form. Raises ValueError. The driver's kind of UUID: equal to others, and read
in a fraction of the time."""
id_of: Callable[[bytes], UUID] = DriverUUID
"""Of its sixteen bytes; the same kind."""
