"""All transfers as text, one a line, for auditors and other systems.

A server-side cursor over one snapshot, in the order of members and numbers, so the memory does
not grow with the ledger. Ids and numbers only: there is nobody's name in a ledger.
"""

import csv
import io
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from app.db import Database
from app.points.rules import Transfer

ROWS_A_CHUNK = 2_000
COLUMNS = (*Transfer._fields, "hash")

_COUNT = "select count(*) from points_transfers where $1::timestamptz is null or posted_at >= $1"
_TRANSFERS = f"""
select {", ".join(COLUMNS)} from points_transfers
where $1::timestamptz is null or posted_at >= $1 order by member_id, seq
"""


class Format(StrEnum):
    JSONL = "jsonl"
    """One JSON object a line; hashes as hexadecimal text."""
    CSV = "csv"
    """With a line of column names; what is absent is empty."""


async def export(
    db: Database, format: Format, *, since: datetime | None = None
) -> AsyncIterator[tuple[str, int, int]]:
    """Chunks of text, each with how many transfers are out by then, and of how many."""
    write: Callable[[list[Any]], str] = _csv if format is Format.CSV else _jsonl
    async with db.read() as outer:
        connection: Any = (await outer.get_raw_connection()).driver_connection
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            total = await connection.fetchval(_COUNT, since)
            yield ",".join(COLUMNS) + "\n" if format is Format.CSV else "", 0, total
            cursor = await connection.cursor(_TRANSFERS, since)
            done = 0
            while chunk := await cursor.fetch(ROWS_A_CHUNK):
                done += len(chunk)
                yield write(chunk), done, total


def _jsonl(rows: list[Any]) -> str:
    lines = [
        # The driver's UUIDs are a class of its own, which is none of JSON.
        orjson.dumps(
            dict(zip(COLUMNS, (*tuple(row)[:-1], row["hash"].hex()), strict=True)), default=str
        )
        for row in rows
    ]
    return b"\n".join(lines).decode() + "\n"


def _csv(rows: list[Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        *values, hash = row
        writer.writerow([_plain(value) for value in values] + [hash.hex()])
    return text.getvalue()


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
