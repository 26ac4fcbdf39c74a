"""`python -m bench.measurements`: readings in and out.

In: requests of 500 readings on the real server in production mode and on a raw `unnest` insert,
in turn, in one run. Every member has synced once before: the first request of a day completes
tasks and pays, about fifteen statements that a raw insert has nothing like; it is a figure of its
own. Out: pages and series of members among many readings (`--readings`, or
`--full` for 10,000,000).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import typer
from rich.console import Console

from app.adapters.embedded_postgres import DATABASE, SUPERUSER
from app.config import Settings
from app.db import Database
from app.demo.bulk import BulkMember
from app.measurements import known, queries, reads
from app.place import Place
from bench import measurements_raw, report, servers, sign_in
from bench.__main__ import Load
from bench.ledger_report import Figure, table
from bench.load import FRESH_ID, Figures, Order, Plan, Series
from bench.report import Round
from bench.series import document_id, request

ROOT = Path(__file__).resolve().parent.parent
READINGS_A_REQUEST = 500
READINGS_A_MEMBER = 2_000
CODES = (
    ("SYSTOLIC_BP", 1220, 80, "mm[Hg]"),
    ("DIASTOLIC_BP", 780, 60, "mm[Hg]"),
    ("WEIGHT", 705, 9, "kg"),
    ("BODY_TEMPERATURE", 366, 4, "Cel"),
    ("RESTING_HEART_RATE", 610, 50, "/min"),
)
"""What is sent: around which tenths, how far from them at most, in which unit."""
_EXPECTS = f'"accepted":{READINGS_A_REQUEST}'
_FIRST_SECONDS_MAX = 120.0
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
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of one window.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Windows of each server.")] = 3,
    connections: Annotated[int, typer.Option(min=1, help="Requests under way.")] = 16,
    readings: Annotated[int, typer.Option(min=10_000, help="Among which is read.")] = 200_000,
    full: Annotated[bool, typer.Option(help="10,000,000 of them; a quarter of an hour.")] = False,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "bench-measurements.json",
) -> None:
    """Exit code 1 when a figure is not what is promised."""
    size = 10_000_000 if full else readings
    now = datetime.now(UTC)  # noqa: TID251 - the benchmark is an edge
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="wellward-bench-")))
        place = stack.enter_context(servers.database())
        with _console.status("Loading members"):
            made = asyncio.run(_load(place, now))
        first, results = _ingest(stack, place, folder, made, (seconds, rounds, connections), now)
        found = report.summary({"RecordMeasurements": results})["RecordMeasurements"]
        figures = [
            Figure("500 readings a request ÷ raw insert", found["ratio_raw"], "", "median"),
            Figure(
                "readings a second", found["wellward"]["per_second"] * READINGS_A_REQUEST, "",
                f"{connections} connections",
            ),
            Figure(
                "the same, first of a day", first.per_second * READINGS_A_REQUEST, "",
                "each completes tasks and pays",
            ),
        ]  # fmt: skip
        figures += asyncio.run(_reads(place, size, now))
    report.show({"RecordMeasurements": results}, Console(width=120))
    Console(width=120).print(table(figures))
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = {"ingest": found, "figures": [asdict(it) | {"kept": it.kept} for it in figures]}
    output.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))
    if any(it.kept is False for it in figures):
        raise typer.Exit(1)


# In


async def _load(place: Place, now: datetime) -> list[BulkMember]:
    made = await servers.load_members(place, members=256, days=2, now=now)
    owner = await _owner(place)
    try:
        await owner.execute(measurements_raw.TABLES)
        await owner.execute(
            "insert into consents (member_id, purpose, version, state, text_version, recorded_at,"
            " recorded_by) select member_id, 'DEVICE_DATA', 1, 'GRANTED', '1', $1, member_id"
            " from members on conflict do nothing",
            now,
        )
        await owner.execute("vacuum analyze")
    finally:
        await owner.close()
    return made


def _ingest(
    stack: ExitStack,
    place: Place,
    folder: Path,
    made: Sequence[BulkMember],
    size: tuple[float, int, int],
    now: datetime,
) -> tuple[Figures, list[Round]]:
    """The first request of each member; then the windows."""
    seconds, rounds, connections = size
    issuer = stack.enter_context(sign_in.issuing())
    product = stack.enter_context(servers.product(place, issuer, folder / "wellward.log"))
    raw = stack.enter_context(
        servers.raw_handler(place, folder / "raw.log", "bench.measurements_raw:create")
    )
    variables = {"input": {"requestId": FRESH_ID, "measurements": _sent(now)}}
    name = "RecordMeasurements"
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": document_id(name)}}
    body = {"operationName": name, "variables": variables}
    tokens = {it.member_id: issuer.token(it.subject, now=now) for it in made}
    of_product = [
        request(
            {"authorization": f"Bearer {tokens[it.member_id]}"}, body | {"extensions": persisted}
        )
        for it in made
    ]
    of_raw = [request({"x-member": str(it.member_id)}, body) for it in made]
    assert place.embedded is not None
    postgres_pid = place.embedded.running_pid()
    assert postgres_pid is not None
    plan = Plan(
        postgres_pid,
        connections,
        {
            "first": Series(product.port, product.pid, _with_ids(of_product), _EXPECTS, once=True),
            "wellward": Series(product.port, product.pid, of_product, _EXPECTS, once=False),
            "raw": Series(raw.port, raw.pid, of_raw, _EXPECTS, once=False),
        },
    )
    load = Load(plan, folder)
    stack.callback(load.close)
    results = []
    with _console.status("Recording"):
        first = load.run(Order("first", _FIRST_SECONDS_MAX, 0))
        for number in range(rounds):
            found = {
                server: load.run(Order(server, seconds, min(1.5, seconds)))
                for server in ("wellward", "raw")[:: 1 if number % 2 else -1]
            }
            results.append(Round(**found))
    return first, results


def _with_ids(requests: Sequence[str]) -> list[str]:
    return [it.replace(FRESH_ID, str(uuid4())) for it in requests]


def _sent(now: datetime) -> list[dict[str, str]]:
    """Each request names another source, so that all of it is new."""
    dice = Random(2)
    return [
        {
            "code": code,
            "value": str(Decimal(middle + dice.randint(-spread, spread)) / 10),
            "unit": unit,
            "measuredAt": (now - timedelta(minutes=3 * n)).isoformat(),
            "sourceId": FRESH_ID,
            "method": "SENSED",
        }
        for n in range(READINGS_A_REQUEST // len(CODES))
        for code, middle, spread, unit in CODES
    ]


# Out


async def _reads(place: Place, size: int, now: datetime) -> list[Figure]:
    owner = await _owner(place)
    db = place.open(Settings())
    try:
        members = [row[0] for row in await owner.fetch("select member_id from members")]
        await owner.execute("truncate measurements cascade")
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
