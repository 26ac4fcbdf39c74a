"""`wellward product backtest`: a draft over the portfolio's history."""

import asyncio
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.clock import wall_clock
from app.config import Settings
from app.errors import ConfigurationError
from app.place import Place
from app.premiums import backtest as running
from app.premiums import backtest_claims, backtest_page, backtest_report, product
from app.premiums.backtest import Progress
from app.premiums.backtest_history import Period
from app.premiums.backtest_report import Asked
from app.progress import bar
from app.risk import rulesets

commands = typer.Typer()
_console = Console(stderr=True)
_DAY = ["%Y-%m-%d"]
_FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_PROCESSES_MAX = 8


@commands.command("backtest")
def backtest(
    document: Annotated[Path, typer.Argument(help="A product document (YAML).")],
    since: Annotated[
        datetime, typer.Option("--from", formats=_DAY, help="First day on which terms began.")
    ] = _FIRST_DAY,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=_DAY, help="Last one; today if none.")
    ] = None,
    product_code: Annotated[
        str | None, typer.Option("--product", help="Whose history; the draft's own if none.")
    ] = None,
    claims: Annotated[
        Path | None, typer.Option(help="Claims (CSV); see docs/portfolio.md.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for JSON, CSV and pages; made if it is not there.")
    ] = None,
    locale: Annotated[str, typer.Option(help="Of the table: zh-CN or en.")] = "en",
    processes: Annotated[int, typer.Option(min=1, max=64, help="How many price at a time.")] = min(
        _PROCESSES_MAX, os.cpu_count() or 1
    ),
    with_ids: Annotated[
        bool, typer.Option("--with-ids", help="Name extremes by their opaque member ids.")
    ] = False,
) -> None:
    """What a draft would have charged for every term that began in a period, against what was
    charged. Nothing is stored; cut short, nothing is left behind.

    Exit code 1 when rows of the claims were not taken: the rest counts all the same.
    """
    draft = product.read(document)
    last = until.date() if until is not None else wall_clock().date()
    if since.date() > last:
        raise ConfigurationError(f"--from {since.date()} is after --to {last}.")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    given = backtest_claims.read(claims, draft.currency) if claims is not None else None
    period = Period(product_code or draft.code, since.date(), last)
    asked = Asked(draft, period, rulesets.in_force().planned_mix, given, with_ids)
    try:
        with Place.of(Settings()).running() as place:
            found = asyncio.run(_run(place, asked, processes))
    except KeyboardInterrupt:
        sys.stderr.write("Cut short; nothing was stored.\n")
        raise typer.Exit(130) from None
    if found.tally.cells["all", "all"].terms == 0 and not found.tally.unpriced:
        raise ConfigurationError(
            f"No term of product {period.code!r} began from {period.since} to {period.until}; "
            "--product names another product."
        )
    shown = backtest_report.document(asked, found)
    _show(shown, locale)
    if output is not None:
        _write(output, shown)
    if given is not None and shown["claims"]["rejected"]:
        _reject(claims, shown["claims"]["rejected"])
        raise typer.Exit(1)


async def _run(place: Place, asked: Asked, processes: int) -> Progress:
    settings = Settings()
    db = place.open(settings)
    found: Progress | None = None
    try:
        with bar(_console, "Members") as progress:
            async for found in running.run(
                db,
                asked.draft,
                asked.period,
                claims=asked.claims,
                processes=processes,
                prepared_statements=settings.prepared_statements,
            ):
                progress(found.done, found.total)
    finally:
        await db.close()
    assert found is not None
    return found


def _show(shown: backtest_report.Document, locale: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200)
    for text in backtest_page.summary(shown):
        console.print(text.to(locale), markup=False, highlight=False)
    for table in backtest_page.tables(shown, locale):
        console.print(table)


def _write(folder: Path, shown: backtest_report.Document) -> None:
    for name, content in backtest_report.files(shown):
        (folder / name).write_bytes(content)
    for language in ("zh", "en"):
        page = backtest_page.page(shown, language)
        (folder / f"backtest.{language}.html").write_text(page, encoding="utf-8")
    _console.print(f"Written to {folder}.", markup=False)


def _reject(path: Path | None, rejected: Iterable[dict[str, object]]) -> None:
    for row in rejected:
        sys.stderr.write(f"{path}:{row['line']}: {row['reason']}\n")
