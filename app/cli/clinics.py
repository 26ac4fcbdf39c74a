"""`wellward clinics`: partner clinics and their keys."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from app.clock import wall_clock
from app.config import Settings
from app.db import Database
from app.members import clinics
from app.place import Place

T = TypeVar("T")
commands = typer.Typer()
_console = Console(stderr=True)


def _run(work: Callable[[Database], Awaitable[T]]) -> T:
    settings = Settings()
    place = Place.of(settings).start()

    async def run() -> T:
        db = place.open(settings)
        try:
            return await work(db)
        finally:
            await db.close()

    return asyncio.run(run())


@commands.command("add")
def add(
    name: Annotated[str, typer.Argument(help="As members know it.")],
    locale: Annotated[str, typer.Option(help="BCP 47, of what it is told.")] = "zh-CN",
) -> None:
    """A new clinic and its first key, which is shown once: on one line, and nothing else."""

    async def work(db: Database) -> str:
        now = wall_clock()
        async with db.transaction() as session:
            staff_id = await clinics.add(session, name=name, locale=locale, now=now)
            await session.flush()
            return await clinics.issue(session, staff_id=staff_id, now=now)

    sys.stdout.write(_run(work) + "\n")
    _console.print("Keep this key safe: it is not shown again.")


@commands.command("issue-key")
def issue_key(clinic: Annotated[UUID, typer.Argument(help="The id of the clinic.")]) -> None:
    """Another key of a clinic; those that it has stay good until they are revoked."""

    async def work(db: Database) -> str:
        async with db.transaction() as session:
            return await clinics.issue(session, staff_id=clinic, now=wall_clock())

    sys.stdout.write(_run(work) + "\n")
    _console.print("Keep this key safe: it is not shown again.")


@commands.command("revoke-key")
def revoke_key(key: Annotated[UUID, typer.Argument(help="The id of the key.")]) -> None:
    """Within half a minute the key signs nobody in."""

    async def work(db: Database) -> None:
        async with db.transaction() as session:
            await clinics.revoke(session, key_id=key, now=wall_clock())

    _run(work)
    _console.print("Revoked.")


@commands.command("list")
def show() -> None:
    """Clinics, and the ids of their keys."""
    table = Table("clinic", "name", "key", "issued", "revoked")
    for it in _run(clinics.everyone):
        instants = (it.issued_at, it.revoked_at)
        shown = [f"{at:%Y-%m-%d %H:%M}" if at else "" for at in instants]
        table.add_row(str(it.staff_id), it.name, str(it.key_id or ""), *shown)
    Console(width=160).print(table)
