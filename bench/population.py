"""Who is in the database of a run: a first hundred or two by COPY, past the services, and the
rest as copies of them, made by the server itself."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Self
from uuid import UUID

import asyncpg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.adapters.embedded_postgres import DATABASE, SUPERUSER
from app.db import Database
from app.demo import bulk
from app.demo.bulk import BulkMember
from app.place import Place
from bench import copies, raw_writes, sign_in
from bench.series import Tick

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ORIGINALS = 200
NOON = 12


@dataclass(frozen=True, slots=True)
class Where:
    """A migrated database."""

    database_url: str
    """As the application's role."""
    superuser_url: str
    postgres_pid: int | None
    """None when it runs elsewhere: then its CPU time is not known."""

    @classmethod
    def of(cls, place: Place) -> Self:
        """An embedded one that has been started."""
        assert place.embedded is not None
        superuser_url = place.embedded.dsn(DATABASE, SUPERUSER)
        return cls(place.database_url, superuser_url, place.embedded.running_pid())


@dataclass(slots=True)
class Population:
    where: Where
    members: list[BulkMember]
    now: datetime
    seconds: float
    """Until all of it was there."""
    rows: dict[str, int]
    """By table."""
    _order: list[BulkMember] = field(default_factory=list)
    _subjects: dict[UUID, str] = field(default_factory=dict)
    _ticks: list[Tick] | None = None

    @property
    def subjects(self) -> dict[UUID, str]:
        """With which each member signs in."""
        if len(self._subjects) != len(self.members):
            self._subjects = {it.member_id: it.subject for it in self.members}
        return self._subjects

    def some(self, count: int) -> list[BulkMember]:
        """So many of them, from everywhere; the same first ones each time."""
        if len(self._order) != len(self.members):
            self._order = Random(1).sample(self.members, len(self.members))
        return self._order[:count]

    def ticks(self, count: int) -> list[Tick]:
        """Tasks that nobody else is given, those of a member in a row; as many as are left."""
        left = self._ticks_left()
        given = left[-count:] if count else []
        del left[len(left) - len(given) :]
        return given[::-1]

    @property
    def ticks_total(self) -> int:
        return sum(len(it.ticks) for it in self.members)

    def _ticks_left(self) -> list[Tick]:
        if self._ticks is None:
            order = Random(3).sample(self.members, len(self.members))
            self._ticks = [(it.member_id, *tick) for it in order for tick in it.ticks]
        return self._ticks


async def make(
    where: Where, *, members: int, days: int, now: datetime, console: Console
) -> Population:
    """So many members with so many days of history, and the raw handler's tables."""
    began = time.perf_counter()
    db = Database.open(where.database_url)
    first = min(members, ORIGINALS)
    try:
        made = await bulk.load(
            db,
            members=first,
            days=days,
            issuer=sign_in.ISSUER,
            now=now,
            zone_name=zone_name(now),
        )
    finally:
        await db.close()
    found = Population(where, made, now, 0, {})
    await _copy(found, members, console)
    async with as_superuser(where) as owner:
        await owner.execute(raw_writes.TABLES)
    await _settle(found)
    found.seconds = time.perf_counter() - began
    return found


async def grow(found: Population, members: int, console: Console) -> None:
    """Until there are so many members."""
    await _copy(found, members, console)
    await _settle(found)


def zone_name(now: datetime) -> str:
    """Where the day does not end while it is measured."""
    return "Asia/Shanghai" if now.astimezone(UTC).hour < NOON else "America/Los_Angeles"


async def _copy(found: Population, members: int, console: Console) -> None:
    originals = found.members[:ORIGINALS]
    before = len(found.members)
    async with as_superuser(found.where) as one, as_superuser(found.where) as another:
        with _bar(console) as progress:
            task = progress.add_task("members", total=members, completed=before)
            found.members += await copies.copy(
                [one, another],
                originals,
                max(members - before, 0),
                first=-(-before // len(originals)),
                on_progress=lambda count: progress.update(task, completed=before + count),
            )


async def _settle(found: Population) -> None:
    """Have the server do now what it would do during the measurement."""
    async with as_superuser(found.where) as owner:
        await owner.execute("vacuum analyze")
        await owner.execute("checkpoint")
        found.rows = await copies.counts(owner)


@asynccontextmanager
async def as_superuser(where: Where) -> "AsyncIterator[asyncpg.Connection]":
    connection = await asyncpg.connect(where.superuser_url)
    try:
        yield connection
    finally:
        await connection.close()


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    return Progress(*columns, console=console, transient=True)


def consent_to_devices(where: Where, members: Sequence[BulkMember], now: datetime) -> None:
    """Members without that consent have their readings refused."""

    async def insert() -> None:
        async with as_superuser(where) as owner:
            await owner.execute(
                "insert into consents (member_id, purpose, version, state, text_version,"
                " recorded_at, recorded_by) select it, 'DEVICE_DATA', 1, 'GRANTED', '1', $2, it"
                " from unnest($1::uuid[]) as it on conflict do nothing",
                [it.member_id for it in members],
                now,
            )

    asyncio.run(insert())
