"""`python -m bench.measurements`: readings out, pages and series of members among many readings
(`--readings`, or `--full` for 10,000,000). Readings in are a part of `python -m bench`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import orjson
import typer
from rich.console import Console

from app.adapters.embedded_postgres import DATABASE, SUPERUSER
from app.config import Settings
from app.db import Database
from app.measurements import known, queries, reads
from app.place import Place
from bench import servers
from bench.ledger_report import Figure, table

ROOT = Path(__file__).resolve().parent.parent
READINGS_A_MEMBER = 2_000
_console = Console(stderr=True, highlight=False)
_FILL = """
insert into measurements (member_id, id, code, value, unit, sent_value, sent_unit, measured_at,
  local_date, recorded_at, channel, method, source_id, trust)
select m, gen_random_uuid(), case n % 2 when 0 then 'SYSTOLIC_BP' else 'DIASTOLIC_BP' end,
  110 + n % 40, 'mm[Hg]', '0', 'mm[Hg]', $2::timestamptz - (n / 2) * interval '8 hours',
  ($2::timestamptz - (n / 2) * interval '8 hours')::date, $2, 'APP', 'SENSED', 'cuff', 'MEDIUM'
from unnest($1::uuid[]) as m, generate_series(0, $3 - 1) as n
"""


def main(
    readings: Annotated[int, typer.Option(min=10_000, help="Among which is read.")] = 200_000,
    full: Annotated[bool, typer.Option(help="10,000,000 of them; a quarter of an hour.")] = False,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "bench-measurements.json",
) -> None:
    """How long the reads of readings take."""
    size = 10_000_000 if full else readings
    now = datetime.now(UTC)  # noqa: TID251 - the benchmark is an edge
    with servers.database() as place:
        figures = asyncio.run(_reads(place, size, now))
    Console(width=120).print(table(figures))
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = {"figures": [asdict(it) | {"kept": it.kept} for it in figures]}
    output.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))


async def _reads(place: Place, size: int, now: datetime) -> list[Figure]:
    await place.migrate()
    owner = await _owner(place)
    db = place.open(Settings())
    try:
        with _console.status(f"Loading {size:,} readings"):
            wanted = max(1, size // READINGS_A_MEMBER)
            members = await _members(owner, wanted, now)
            for first in range(0, len(members), 100):
                batch = members[first : first + 100]
                await owner.execute(_FILL, batch, now, READINGS_A_MEMBER)
            await owner.execute("vacuum analyze measurements")
        with _console.status("Reading"):
            return await _read_figures(db, members, size, now)
    finally:
        await db.close()
        await owner.close()


async def _members(owner: asyncpg.Connection, count: int, now: datetime) -> list[UUID]:
    rows = await owner.fetch(
        "insert into members (member_id, display_name, birth_date, sex, time_zone, locale,"
        " created_at) select gen_random_uuid(), 'bench', date '1980-01-01', 'FEMALE',"
        " 'Asia/Shanghai', 'zh-CN', $1 from generate_series(1, $2) returning member_id",
        now, count,
    )  # fmt: skip
    return [row[0] for row in rows]


async def _read_figures(
    db: Database, members: Sequence[UUID], size: int, now: datetime
) -> list[Figure]:
    page = queries.Wanted("SYSTOLIC_BP", None)
    days = reads.Days("SYSTOLIC_BP", (now - timedelta(days=90)).date(), None, 91)
    weeks = reads.Days(
        "SYSTOLIC_BP", (now - timedelta(days=365)).date(), None, 53, reads.Period.WEEK
    )
    since = now - timedelta(days=28)

    async def newest(connection: Any, member_id: UUID) -> int:
        found = await queries.newest(
            connection, [member_id], page, after=None, limit=21, consented_only=False
        )
        return len(found)

    async def by_day(connection: Any, member_id: UUID) -> int:
        return len((await reads.summaries(connection, [member_id], days, False))[member_id])

    async def by_week(connection: Any, member_id: UUID) -> int:
        return len((await reads.summaries(connection, [member_id], weeks, False))[member_id])

    async def as_known(connection: Any, member_id: UUID) -> int:
        codes = ["SYSTOLIC_BP", "DIASTOLIC_BP"]
        found = await known.readings(
            connection, [member_id], codes, since=since, until=now, as_of=now
        )
        return len(found[member_id])

    wanted: dict[str, Callable[[Any, UUID], Awaitable[int]]] = {
        "page of 20 readings": newest,
        "90 days": by_day,
        "53 weeks": by_week,
        "28 days as known then": as_known,
    }
    return [
        Figure(f"{name}, median", await _latency(db, members, read), "ms", f"{size:,} readings")
        for name, read in wanted.items()
    ]


async def _latency(
    db: Database, members: Sequence[UUID], read: Callable[[Any, UUID], Awaitable[int]]
) -> float:
    """Milliseconds, of random members, one after the other."""
    dice = Random(1)
    taken = []
    async with db.read() as connection:
        for number in range(250):
            member_id = dice.choice(members)
            began = time.perf_counter()
            assert await read(connection, member_id) > 0
            if number >= 50:  # the server has kept its plan by then
                taken.append((time.perf_counter() - began) * 1000)
    return median(taken)


async def _owner(place: Place) -> asyncpg.Connection:
    assert place.embedded is not None
    return await asyncpg.connect(place.embedded.dsn(DATABASE, SUPERUSER))


if __name__ == "__main__":
    typer.run(main)
