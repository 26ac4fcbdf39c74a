"""`wellward premium`: past premiums again, to the cent."""

import asyncio
import sys
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from sqlalchemy import text

from app.config import Settings
from app.db import Database
from app.errors import ConfigurationError
from app.place import Place
from app.premiums import recompute as recomputing
from app.premiums.recompute import Recomputed
from app.progress import bar

commands = typer.Typer()
_console = Console(stderr=True)


@commands.command("recompute")
def recompute(
    member: Annotated[
        str | None, typer.Option(help="One member: the login, or the id in the database.")
    ] = None,
) -> None:
    """Compute every stored premium again: from the facts that were kept, and from what was known
    at that instant. Names each difference by its place; exit code 1 when there is any."""
    settings = Settings()
    with Place.of(settings).running() as place:
        found = asyncio.run(_recompute(place, settings, member))
    for difference in found.differences:
        sys.stdout.write(f"{difference}\n")
    premiums = "premium" if found.premiums == 1 else "premiums"
    if found.differences:
        sys.stdout.write(f"{found.premiums} {premiums}, {len(found.differences)} differ.\n")
        sys.exit(1)
    sys.stdout.write(f"{found.premiums} {premiums}, all the same to the cent.\n")


async def _recompute(place: Place, settings: Settings, member: str | None) -> Recomputed:
    db = place.open(settings)
    try:
        member_id = await _member(db, member) if member is not None else None
        with bar(_console, "Premiums") as progress:
            return await recomputing.recompute(db, member_id=member_id, progress=progress)
    finally:
        await db.close()


async def _member(db: Database, name: str) -> UUID:
    """By login or id. Raises ConfigurationError."""
    try:
        return UUID(name)
    except ValueError:
        pass
    by_login = text("select member_id from member_sign_ins where login = :login limit 2")
    async with db.read() as reading:
        found = list((await reading.execute(by_login, {"login": name})).scalars())
    if len(found) != 1:
        raise ConfigurationError(f"There is no member with the login or id {name!r}.")
    return UUID(str(found[0]))
