"""`python -m bench.ledger`: how the points ledger keeps its pace.

Earnings at 50 clients, members of one programme against members spread over many; statements
of a check-in as the server counts them; the balance with few and with many transfers; lots
that expire; verification and reconciliation. `--full` has 10,000,000 transfers and 1,000,000
lots; without it there are fewer, so that it ends in a minute.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg
import orjson
import typer
from rich.console import Console
from sqlalchemy import DateTime, bindparam, text

from app.adapters.embedded_postgres import DATABASE, SUPERUSER, EmbeddedPostgres
from app.checkins import service as checkins
from app.config import Settings
from app.db import Database
from app.demo import bulk
from app.ids import new_id
from app.place import Place
from app.points import expiry, rules
from app.points import service as points
from app.points.reconcile import reconcile
from app.points.rules import CauseKind
from app.points.verify import verify
from bench import ledger_data
from bench.ledger_balance import Ledger, balance
from bench.ledger_report import Figure, markdown, table

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 50
PROGRAMMES = 50
PAIRS = 5
POOL_SIZE = 20
ZONE = ZoneInfo("Asia/Shanghai")
RECONCILED_MAX = 1_000_000
"""Transfers, or a few more."""
ANNOUNCED_DAYS = 20
"""Last days that are announced at a time."""


@dataclass(frozen=True, slots=True)
class Size:
    members: int
    few: int
    """Transfers at first."""
    transfers: int
    """And in the end."""
    lots: int
    """How many of them expire."""
    seconds: float
    """Of one window of earnings."""


def main(
    full: Annotated[bool, typer.Option(help="10 M transfers, 1 M lots; half an hour.")] = False,
    transfers: Annotated[int, typer.Option(min=20_000, help="In the ledger.")] = 200_000,
    lots: Annotated[int, typer.Option(min=1_000, help="That expire.")] = 20_000,
    seconds: Annotated[float, typer.Option(min=0.5, help="One window of earnings.")] = 2,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = ROOT
    / "var"
    / "bench-ledger.json",
) -> None:
    """Exit code 1 when a figure is not what is promised."""
    size = Size(2_000, 10_000, transfers, lots, seconds)
    if full:
        size = Size(100_000, 10_000, 10_000_000, 1_000_000, max(seconds, 10))
    console = Console(stderr=True, highlight=False)
    figures = asyncio.run(_measure(size, console))
    Console(width=120).print(table(figures))
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "size": asdict(size),
        "figures": [asdict(it) | {"kept": it.kept} for it in figures],
        "markdown": markdown(figures),
    }
    output.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))
    if any(it.kept is False for it in figures):
        raise typer.Exit(1)


async def _measure(size: Size, console: Console) -> list[Figure]:
    now = datetime.now(UTC)  # noqa: TID251 - the benchmark is an edge
    figures = [
        Figure("load of the machine before", os.getloadavg()[0], "", f"{os.cpu_count()} CPUs")
    ]
    async with _database() as (place, db, owner), _database() as (_, small_db, small_owner):
        with console.status("Loading") as status:
            # A member's own history is as long in both: what differs is everybody else's.
            per_member = max(1, size.transfers // size.members)
            askers = max(1, size.few // per_member)
            few = await ledger_data.make_members(small_owner, askers, now=now)
            await ledger_data.earn(small_owner, few, per_member, now=now)
            status.update(f"Loading {size.transfers:,} transfers")
            members = await ledger_data.make_members(owner, size.members, now=now)
            began = time.perf_counter()
            await ledger_data.earn(owner, members, per_member, now=now)
            loaded = per_member * size.members
            rate = loaded / max(time.perf_counter() - began, 0.001)
            figures.append(Figure("loaded a second", rate, "transfers", "chained by SQL"))
            status.update("Balance")
            asked = Random(2).sample(members, askers)
            ledgers = [Ledger(small_db, few, askers * per_member), Ledger(db, asked, loaded)]
            figures += await balance(ledgers, Ledger(db, members, loaded), now)
            status.update("Earning")
            figures += await _earnings(db, members, size.seconds, now)
            status.update("Checking in")
            figures.append(await _statements(place, db, owner, now))
            status.update("Verifying")
            figures.append(await _verified(db))
            status.update("Reconciling")
            figures.append(await _reconciled(db))
            status.update("Expiring")
            days = max(1, size.lots // size.members)
            figures += await _expired(db, days)
            status.update("Verifying again")
            again = await _verified(db)
            assert again.value > 0
    return figures


@asynccontextmanager
async def _database() -> AsyncIterator[tuple[Place, Database, asyncpg.Connection]]:
    """An embedded server with its ordinary settings, that counts statements, and leaves
    nothing behind."""
    with TemporaryDirectory(prefix="wellward-bench-") as folder:
        server = EmbeddedPostgres(
            Path(folder) / "postgres",
            bin_dir=Settings().pg_bin,
            settings={"shared_preload_libraries": "pg_stat_statements"},
        )
        place = Place("", "", server).start()
        try:
            await place.migrate()
            owner = await asyncpg.connect(server.dsn(DATABASE, SUPERUSER))
            await owner.execute("create extension if not exists pg_stat_statements")
            db = Database.open(place.database_url, pool_size=POOL_SIZE)
            try:
                yield place, db, owner
            finally:
                await db.close()
                await owner.close()
        finally:
            server.remove()


# Earnings


async def _earnings(
    db: Database, members: Sequence[UUID], seconds: float, now: datetime
) -> list[Figure]:
    """The two in turn, so that neither is always the first; compared within a pair, since
    the machine may be busy with something else."""
    programmes = [points.Rule(uuid4(), f"rule-{number}") for number in range(PROGRAMMES)]
    given = {"one": programmes[:1], "spread": programmes}
    pairs: list[dict[str, float]] = []
    for number in range(PAIRS):
        pairs.append({})
        for name in sorted(given, reverse=number % 2 == 1):
            pairs[-1][name] = await _earning(db, members, given[name], seconds, now)
    return [
        Figure(
            "earnings a second, one programme", median(it["one"] for it in pairs), "",
            f"{CLIENTS} clients, {POOL_SIZE} connections",
        ),
        Figure(
            "earnings a second, spread", median(it["spread"] for it in pairs), "",
            f"{PROGRAMMES} programmes",
        ),
        Figure(
            "earnings, one programme ÷ spread",
            median(it["one"] / it["spread"] for it in pairs), "", f"median of {PAIRS} pairs",
        ),
    ]  # fmt: skip


async def _earning(
    db: Database,
    members: Sequence[UUID],
    programmes: Sequence[points.Rule],
    seconds: float,
    now: datetime,
) -> float:
    """Earnings a second, by clients that each take another member every time."""
    day = now.astimezone(ZONE).date()
    until = rules.expiry(day, 12, ZONE)
    ends = time.perf_counter() + seconds

    async def client(number: int) -> int:
        dice = Random(number)
        done = 0
        while time.perf_counter() < ends:
            async with db.transaction() as session:
                await points.earn(
                    session,
                    member_id=dice.choice(members),
                    amount=10,
                    cause=points.Cause(CauseKind.STAFF, uuid4(), f"bench:{uuid4()}"),
                    rule=programmes[number % len(programmes)],
                    local_date=day,
                    expires=until,
                    now=now,
                )
            done += 1
        return done

    began = time.perf_counter()
    done = await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return sum(done) / (time.perf_counter() - began)


# Check-ins


async def _statements(
    place: Place, db: Database, owner: asyncpg.Connection, now: datetime
) -> Figure:
    """How many statements of the application the server ran for each check-in."""
    made = await bulk.load(db, members=64, days=2, issuer="https://bench.test", now=now)
    ticks = [(it.member_id, *tick) for it in made for tick in it.ticks]
    # Each connection asks once for the types that it does not know.
    await asyncio.gather(*(_check_in(db, *ticks.pop(), now=now) for _ in range(POOL_SIZE * 3)))
    await owner.execute("select pg_stat_statements_reset()")
    for tick in ticks:
        await _check_in(db, *tick, now=now)
    calls = await owner.fetchval(
        "select sum(s.calls) from pg_stat_statements s join pg_roles r on r.oid = s.userid"
        " where r.rolname = $1 and s.toplevel", place.app_role,
    )  # fmt: skip
    return Figure(
        "statements of a check-in", float(calls) / len(ticks), "", "as the server counts them"
    )


async def _check_in(
    db: Database, member_id: UUID, assignment_id: UUID, starts_on: date, *, now: datetime
) -> None:
    sent = checkins.NewCheckIn(new_id(now), assignment_id, starts_on, now, None, None)
    await checkins.check_in(db, member_id=member_id, acted_by=member_id, sent=sent, now=now)


# The whole ledger


async def _verified(db: Database) -> Figure:
    began = time.perf_counter()
    [report] = [it async for it in verify(db, roots_path=None) if it.done]
    assert report.first_bad is None, report.first_bad
    rate = report.transfers / (time.perf_counter() - began)
    return Figure("verified a second", rate, "transfers", f"{report.transfers:,} transfers")


async def _reconciled(db: Database) -> Figure:
    """Of the first members: a rate, and the same for all of them."""
    began = time.perf_counter()
    async with aclosing(reconcile(db)) as reports:
        async for report in reports:
            if report.transfers >= RECONCILED_MAX:
                break
    assert report.differences == 0, report.first
    rate = report.transfers / (time.perf_counter() - began)
    return Figure("reconciled a second", rate, "transfers", f"{report.transfers:,} transfers")


_DUE = text(
    "select count(*) from points_lots where remaining > 0 and expires_at <= :now"
).bindparams(bindparam("now", type_=DateTime(timezone=True)))


async def _expired(db: Database, days: int) -> list[Figure]:
    """The job, once so many of the lots' last days are over; all were announced before."""
    began = time.perf_counter()
    noted = 0
    for day in range(0, days, ANNOUNCED_DAYS):
        at = ledger_data.ends_at(ledger_data.FIRST_DAY, day + 1) - timedelta(days=8)
        noted += await expiry.announce(db, now=at)
    announced = noted / (time.perf_counter() - began)
    now = ledger_data.ends_at(ledger_data.FIRST_DAY, days)
    async with db.read() as connection:
        lots = await connection.scalar(_DUE, {"now": now}) or 0
    began = time.perf_counter()
    while await expiry.expire_due(db, now=now) is not None:
        pass
    seconds = time.perf_counter() - began
    async with db.read() as connection:
        left = await connection.scalar(_DUE, {"now": now})
    assert lots > 0 and left == 0, f"{left} of {lots} lots are left"
    return [
        Figure("announced a second", announced, "days", f"{noted:,} last days of a member"),
        Figure("lots expired a second", lots / seconds, "lots", f"{lots:,} lots"),
        Figure(
            "1,000,000 lots expire in", 1_000_000 / lots * seconds, "s",
            "" if lots >= 1_000_000 else f"at the rate of {lots:,} lots",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
