"""`wellward product payouts`: the public payout report as a file."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from app.config import Settings
from app.errors import ConfigurationError
from app.place import Place
from app.premiums import payout_page
from app.premiums import payouts as reports
from app.premiums.payouts import Published

commands = typer.Typer()


@commands.command("payouts")
def payouts(
    product_code: Annotated[
        str | None, typer.Argument(help="The product; all of them if none.")
    ] = None,
    locale: Annotated[str, typer.Option(help="zh-CN or en.")] = "zh-CN",
    output: Annotated[
        Path | None, typer.Option(help="File for the page; standard output if none.")
    ] = None,
) -> None:
    """The annual payout report (HTML), as `/payouts` shows it to everybody: confirmed years."""
    with Place.of(Settings()).running() as place:
        years = asyncio.run(_published(place, product_code))
    if product_code is not None and not years:
        raise ConfigurationError(f"No year of product {product_code!r} has been confirmed.")
    page = payout_page.page(years, locale)
    if output is None:
        sys.stdout.write(page)
    else:
        output.write_text(page, encoding="utf-8")


async def _published(place: Place, code: str | None) -> Sequence[Published]:
    db = place.open(Settings())
    try:
        async with db.read() as reading:
            return await reports.published(reading, code)
    finally:
        await db.close()
