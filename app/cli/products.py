"""`wellward product publish`: documents into the database, for ever."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.clock import wall_clock
from app.config import Settings
from app.place import Place
from app.premiums import catalogue, product, product_checks
from app.premiums.product import Product

commands = typer.Typer()


@commands.command("publish")
def publish(
    documents: Annotated[list[Path], typer.Argument(help="Product documents (YAML).")],
) -> None:
    """Publish product versions: for ever, all of them or none.

    A published version never changes; publishing the same document again does nothing. Members
    in force keep theirs until they renew. A document with `pilot` is offered to the first
    `members_max` members of its regions only; everybody else keeps being offered the newest
    version without one.
    """
    found = [product.read(path) for path in documents]
    with Place.of(Settings()).running() as place:
        asyncio.run(_publish(place, found))
    for it in found:
        for where, what in product_checks.warnings(it):
            sys.stdout.write(f"WARNING {it.code} {it.version}: {where}: {what}\n")
        sys.stdout.write(f"{it.code} {it.version} is published{_to_whom(it)}.\n")


def _to_whom(it: Product) -> str:
    if it.pilot is None:
        return ""
    regions = ", ".join(it.pilot.regions)
    return f" to a pilot of at most {it.pilot.members_max} members in {regions}"


async def _publish(place: Place, found: list[Product]) -> None:
    db = place.open(Settings())
    try:
        async with db.transaction() as session:
            for it in found:
                await catalogue.publish(session, it, now=wall_clock())
    finally:
        await db.close()
