"""`wellward ledger`: the points ledger, checked and exported."""

import asyncio
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from app.config import Settings
from app.db import Database
from app.place import Place
from app.points.export import Format, export
from app.points.reconcile import ReconcileReport, reconcile
from app.points.verify import VerifyReport, verify
from app.progress import bar

commands = typer.Typer()
_console = Console(stderr=True)


@commands.command("verify")
def verify_ledger(
    since: Annotated[
        datetime | None, typer.Option(help="Only members with a transfer since then (UTC).")
    ] = None,
) -> None:
    """Recompute every member's chain, balances and lots, and the roots; name the first bad row."""
    settings = Settings()
    start = since.replace(tzinfo=UTC) if since else None
    with Place.of(settings).running() as place:
        report = asyncio.run(_verify(place.open(settings), settings, start))
    if report.first_bad is not None:
        sys.stdout.write(f"NOT SOUND: {report.first_bad}\n")
        sys.exit(1)
    sys.stdout.write(
        f"Sound: {report.members} members, {report.transfers} transfers, {report.roots} roots.\n"
    )


async def _verify(db: Database, settings: Settings, since: datetime | None) -> VerifyReport:
    try:
        with bar(_console, "Members") as progress:
            async for report in verify(db, roots_path=settings.roots_path, since=since):
                progress(report.members, report.members_total)
    finally:
        await db.close()
    return report


@commands.command("reconcile")
def reconcile_ledger() -> None:
    """Rebuild wallets, lots and holds from the transfers, and name the rows that differ."""
    settings = Settings()
    place = Place.of(settings).start()
    report = asyncio.run(_reconcile(place.open(settings)))
    if report.differences:
        for difference in report.first:
            sys.stdout.write(f"DIFFERS: {difference}\n")
        sys.stdout.write(f"{report.differences} of {report.members} members differ.\n")
        sys.exit(1)
    sys.stdout.write(f"Reconciled: {report.members} members, {report.transfers} transfers.\n")


async def _reconcile(db: Database) -> ReconcileReport:
    try:
        with bar(_console, "Members") as progress:
            async for report in reconcile(db):
                progress(report.members, report.members_total)
    finally:
        await db.close()
    return report


@commands.command("export")
def export_ledger(
    file: Annotated[Path | None, typer.Argument(help="Where to; standard output if none.")] = None,
    format: Annotated[Format, typer.Option(help="One JSON object a line, or CSV.")] = Format.JSONL,
    since: Annotated[
        datetime | None, typer.Option(help="Only transfers posted since then (UTC).")
    ] = None,
) -> None:
    """Every transfer, by member and number: ids and numbers, nobody's name."""
    settings = Settings()
    place = Place.of(settings).start()
    start = since.replace(tzinfo=UTC) if since else None
    with file.open("w", encoding="utf-8") if file else nullcontext(sys.stdout) as target:
        count = asyncio.run(_export(place.open(settings), target, format, start))
    _console.print(f"{count} transfers.")


async def _export(db: Database, target: TextIO, format: Format, since: datetime | None) -> int:
    done = 0
    try:
        with bar(_console, "Transfers") as progress:
            async for chunk, done, total in export(db, format, since=since):
                target.write(chunk)
                progress(done, total)
    finally:
        await db.close()
    return done
