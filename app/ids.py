"""UUIDv7 keys, made here and not by the database: rows of one moment lie together."""

from datetime import datetime
from uuid import UUID

import uuid_utils
from asyncpg.pgproto.pgproto import UUID as DriverUUID


def new_id(now: datetime) -> UUID:
    """A UUIDv7 of the instant `now` (timezone-aware)."""
    return UUID(int=uuid_utils.uuid7(nanoseconds=int(now.timestamp() * 1_000_000) * 1_000).int)


def read_id(text: str) -> UUID:
    """Of a UUID's usual form. Raises ValueError. The driver's kind of UUID: equal to others,
    and read in a fraction of the time."""
    found: UUID = DriverUUID(text)
    return found
