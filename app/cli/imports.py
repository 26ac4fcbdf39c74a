"""`wellward import`: files from health apps, hospitals and examinations, into members' records."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from app.clock import wall_clock
from app.config import Settings
from app.db import Database
from app.intake import service, who
from app.intake.gateways import receiving
from app.intake.gateways.signatures import Gateway
from app.intake.report import Refused, Report
from app.intake.service import Bar
from app.observability import configure_logging
from app.place import Place

commands = typer.Typer()
gateway_commands = typer.Typer()
SOME_REJECTED = 3

_File = Annotated[Path, typer.Argument(help="The file.")]
_Member = Annotated[str, typer.Option(help="Whose it is: a login, a member's id or its UUID.")]
_Report = Annotated[Path | None, typer.Option("--report", help="Also write the report here, JSON.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Read and judge, but keep nothing.")]
_console = Console(stderr=True)

Import = Callable[[Database, Bar], Awaitable[Report]]


@commands.command("apple-health")
def apple_health(
    file: _File, member: _Member, report: _Report = None, dry_run: _DryRun = False
) -> None:
    """An export of Apple Health: `export.xml`, or the archive as the phone made it.

    Safe to run again: what is known already is not kept twice. History is kept however old it
    is; points follow only for days that the member's product still accepts.
    """
    _run(
        lambda db, bar: service.apple_health(
            db, file, member=member, now=wall_clock(), dry_run=dry_run, bar=bar
        ),
        report,
    )


@commands.command("fhir")
def fhir(
    file: _File,
    member: _Member,
    patient: Annotated[
        str | None,
        typer.Option(help="Which Patient of several; or the subject of a file without one."),
    ] = None,
    report: _Report = None,
    dry_run: _DryRun = False,
) -> None:
    """FHIR R4: a Bundle, or NDJSON of Observation, Condition and Patient, of one person.

    A Patient with another birth date or sex than the member's is refused.
    """
    _run(
        lambda db, bar: service.fhir_records(
            db, file, member=member, patient=patient, now=wall_clock(), dry_run=dry_run, bar=bar
        ),
        report,
    )


@commands.command("examination")
def examination(
    file: _File,
    date: Annotated[
        str | None, typer.Option(help="When, YYYY-MM-DD, where the file has no such column.")
    ] = None,
    report: _Report = None,
    dry_run: _DryRun = False,
) -> None:
    """Results of annual examinations: CSV in UTF-8 or GB18030, a row a member.

    The column `member` (会员) holds a login or an id, `date` (体检日期) the day; the others are
    named by code or in Chinese or English, with the unit behind: `空腹血糖(mmol/L)`.
    """
    _run(
        lambda db, bar: service.examinations(
            db, file, examined=date, now=wall_clock(), dry_run=dry_run, bar=bar
        ),
        report,
    )


@gateway_commands.command("link")
def link(
    gateway: Annotated[Gateway, typer.Argument(help="Which gateway.")],
    user: Annotated[str, typer.Argument(help="The user's id there.")],
    member: _Member,
) -> None:
    """This user of a gateway is this member: for gateways that do not repeat whom we named.

    Safe to run again. A user who is another member's stays theirs.
    """
    settings = Settings()

    async def run(db: Database) -> None:
        try:
            person = await who.find(db, member)
            async with db.transaction() as session:
                await receiving.link(
                    session,
                    gateway=gateway.value,
                    user_id=user,
                    member_id=person.member_id,
                    now=wall_clock(),
                )
        except receiving.UserTaken:
            raise Refused("This user is linked to another member.") from None
        finally:
            await db.close()

    with Place.of(settings).running() as place:
        asyncio.run(run(place.open(settings)))
    _console.print("Linked.")


def _run(work: Import, report_path: Path | None) -> None:
    settings = Settings()
    configure_logging("WARNING", messages=False)
    with Place.of(settings).running() as place:
        report = asyncio.run(_import(place.open(settings), work))
    if report_path is not None:
        report_path.write_bytes(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.write("\n".join(report.lines()) + "\n")
    if report.rejections:
        sys.exit(SOME_REJECTED)


async def _import(db: Database, work: Import) -> Report:
    try:
        with _bars() as bar:
            return await work(db, bar)
    finally:
        await db.close()


@contextmanager
def _bars() -> Iterator[Bar]:
    """A progress bar for each part of the work."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=_console, transient=True) as shown:

        def begin(name: str) -> service.Progress:
            task = shown.add_task(name, total=None)

            def report(done: int, total: int) -> None:
                shown.update(task, completed=done, total=total or None)

            return report

        yield begin
