"""`wellward rewards`: what points can buy."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.adapters.sealing import Sealer, open_sealer
from app.clock import wall_clock
from app.config import Settings
from app.db import Database
from app.errors import ConfigurationError
from app.place import Place
from app.progress import bar
from app.rewards import codes as voucher_codes

commands = typer.Typer()
_console = Console(stderr=True)


@commands.command("import-codes")
def import_codes(
    reward: Annotated[str, typer.Argument(help="The code of the reward.")],
    file: Annotated[Path, typer.Argument(help="CSV in UTF-8: the column `code`, or the first.")],
) -> None:
    """Voucher codes from a file, sealed; each raises the stock by one. Safe to run again."""
    settings = Settings()
    sealer = open_sealer(settings)
    if sealer is None:
        raise ConfigurationError("Set WELLWARD_VOUCHER_KEY: codes are stored sealed.")
    place = Place.of(settings).start()
    report = asyncio.run(_import_codes(place.open(settings), sealer, reward, file))
    sys.stdout.write(f"{report.summary}\n")
    if report.malformed:
        sys.exit(1)


async def _import_codes(
    db: Database, sealer: Sealer, reward: str, file: Path
) -> voucher_codes.Report:
    try:
        given = voucher_codes.read_codes(file)
        report = voucher_codes.Report(lines=len(given))
        with bar(_console, "Codes") as progress:
            async for report in voucher_codes.import_codes(
                db, sealer, reward_code=reward, codes=given, now=wall_clock()
            ):
                progress(report.done, report.lines)
    finally:
        await db.close()
    return report
