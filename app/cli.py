"""The command line: everything an operator or a developer starts."""

import asyncio
import os
import signal
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import asyncpg
import typer
import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from sqlalchemy.exc import DBAPIError

from app import clinic_commands, importing
from app import up as everything
from app import worker as working
from app.adapters import fcm_sandbox, payment_sandbox
from app.adapters.embedded_postgres import EmbeddedPostgresError
from app.adapters.local_issuer import open_local_issuer
from app.adapters.sealing import Sealer, open_sealer
from app.cli_premiums import commands as premium_commands
from app.cli_products import commands as product_commands
from app.cli_risk import commands as risk_commands
from app.config import Mode, Settings
from app.db import Database
from app.demo import making, subjects
from app.errors import ConfigurationError
from app.graphql import documents as trusted
from app.graphql.limits import Limits
from app.migrate import MigrationError, check_drift
from app.observability import configure_logging
from app.place import Place
from app.points.export import Format, export
from app.points.reconcile import ReconcileReport, reconcile
from app.points.verify import VerifyReport, verify
from app.premiums.catalogue import PublishedVersionChanged
from app.premiums.product import ProductInvalid
from app.premiums.regime import RegimeForbids
from app.rewards import codes as voucher_codes
from app.schema import schema

ROOT = Path(__file__).resolve().parent.parent
SDL = ROOT / "schema" / "schema.graphql"
OPERATIONS = ROOT / "schema" / "operations"
MANIFEST = OPERATIONS / "persisted-query-manifest.json"

app = typer.Typer(
    help="Wellward: the backend of a programme that pays people for staying well.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
schema_commands = typer.Typer(help="The API's schema.", no_args_is_help=True)
document_commands = typer.Typer(help="The documents that the clients send.", no_args_is_help=True)
ledger_commands = typer.Typer(help="The points ledger.", no_args_is_help=True)
app.add_typer(schema_commands, name="schema")
app.add_typer(document_commands, name="documents")
reward_commands = typer.Typer(help="What points can buy.", no_args_is_help=True)
app.add_typer(ledger_commands, name="ledger")
app.add_typer(reward_commands, name="rewards")
app.add_typer(clinic_commands.commands, name="clinics")
app.add_typer(risk_commands, name="risk")
app.add_typer(product_commands, name="product")
app.add_typer(premium_commands, name="premium")
importing.add_to(app)

_console = Console(stderr=True)

_SENTENCES = (
    ConfigurationError,
    EmbeddedPostgresError,
    MigrationError,
    PublishedVersionChanged,
    ProductInvalid,
    RegimeForbids,
    everything.CannotStart,
    subjects.NobodyOfThatName,
)
"""Failures whose text says what to do; anything else is a bug and shows its stack."""

_UNREACHABLE = (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError, DBAPIError)


def main() -> None:
    try:
        app()
    except ValidationError as error:
        for fault in error.errors():
            _say(f"{_setting(str(fault['loc'][0]))}: {fault['msg']}")
        sys.exit(2)
    except SettingsError as error:
        _say(f"{error}: it must be JSON, as the README's table of settings says.")
        sys.exit(2)
    except _SENTENCES as error:
        _say(str(error))
    except _UNREACHABLE as error:
        _say(f"The database does not answer: {_first_line(error)}")
    except OSError as error:
        _say(f"{error.filename or 'The system'}: {error.strerror or error}")
    else:
        return
    sys.exit(1)


def _say(sentence: str) -> None:
    _console.print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)


def _setting(location: str) -> str:
    """The environment variable that a fault of the settings is about."""
    name = location.upper()
    return name if name.startswith("WELLWARD") or name == "PORT" else f"WELLWARD_{name}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@app.command()
def up() -> None:
    """Everything in one place: database, migrations, demo population, web and worker."""
    everything.run(Settings())


_StopWithParent = Annotated[
    bool, typer.Option(everything.STOP_WITH_PARENT, hidden=True, help="Until standard input ends.")
]


@app.command()
def serve(stop_with_parent: _StopWithParent = False) -> None:
    """The web server."""
    if stop_with_parent:
        everything.stop_at_end_of_input()
    settings = Settings()
    # Once it has stopped, uvicorn raises the signal that stopped it again: that is a success.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    place = Place.of(settings).start()
    os.environ["WELLWARD_DATABASE_URL_RESOLVED"] = place.database_url
    uvicorn.run(
        "app.main:create",
        factory=True,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # Nothing here asks for a client's address.
        timeout_graceful_shutdown=int(settings.shutdown_timeout_seconds),
        ws_max_size=settings.body_bytes_max,
    )


@app.command()
def worker(stop_with_parent: _StopWithParent = False) -> None:
    """Runs jobs and keeps the clock; any number may run."""
    if stop_with_parent:
        everything.stop_at_end_of_input()
    settings = Settings()
    configure_logging(settings.log_level, messages=settings.mode is Mode.DEVELOPMENT)
    place = Place.of(settings).start()
    asyncio.run(working.run(settings, database_url=place.database_url))


@app.command()
def migrate(
    check_drift_only: Annotated[
        bool,
        typer.Option("--check-drift", help="Change nothing: compare the models with migrations."),
    ] = False,
) -> None:
    """Bring the database to the present: migrations, rights, task templates, products."""
    settings = Settings()
    if check_drift_only:
        _report_drift(settings)
        return
    with Place.of(settings).running() as place:
        asyncio.run(place.migrate())
    _console.print("The database is up to date.")


def _report_drift(settings: Settings) -> None:
    """On a scratch database of the embedded server, so that nobody's data is touched."""
    with everything.scratch_place(settings) as place:

        async def compare() -> list[str]:
            await place.migrate()
            return await check_drift(place.migration_url)

        differences = asyncio.run(compare())
    for difference in differences:
        _console.print(difference, markup=False)
    if differences:
        raise ConfigurationError("The models and the migrations differ: write a migration.")
    _console.print("Models and migrations agree.")


@app.command()
def seed(
    members: Annotated[int, typer.Option(min=1, max=8000, help="How many members.")] = 50,
    days: Annotated[int, typer.Option(min=0, max=800, help="Days of history of each.")] = 30,
    seed: Annotated[int, typer.Option(help="The same seed makes the same members.")] = 1,
) -> None:
    """More members, from real survey data, with a history made by the real services."""
    settings = Settings()
    configure_logging("WARNING", messages=False)

    async def run(place: Place) -> None:
        db = place.open(settings)
        try:
            await making.make_more(
                db,
                settings,
                members=members,
                days=days,
                seed=seed,
                now=working.wall_clock(),
                console=_console,
            )
        finally:
            await db.close()

    with everything.sole_owner(settings), Place.of(settings).running() as place:
        asyncio.run(run(place))
    _console.print(f"{members} members with {days} days of history.")


@app.command()
def token(
    member: Annotated[str | None, typer.Option(help="A member's login, as `demo`.")] = None,
    staff: Annotated[str | None, typer.Option(help="An employee's login, as `manager`.")] = None,
) -> None:
    """A sign-in token of the embedded mode's own issuer, and nothing else, on one line."""
    if (member is None) == (staff is None):
        raise ConfigurationError("Name one: --member LOGIN or --staff LOGIN.")
    settings = Settings()
    issuer = open_local_issuer(settings)
    subject = f"member:{member}" if member is not None else f"staff:{staff}"
    with Place.of(settings).running() as place:
        asyncio.run(subjects.require(place, settings, subject))
    sys.stdout.write(issuer.mint(subject, now=working.wall_clock()) + "\n")


@schema_commands.command("export")
def export_schema(
    check: Annotated[bool, typer.Option("--check", help="Only compare; fail on a change.")] = False,
) -> None:
    """Write the schema, and the manifest of trusted documents, from the code."""
    manifest = trusted.TrustedDocuments.load(OPERATIONS).manifest_bytes()
    written = {SDL: (schema.as_str() + "\n").encode(), MANIFEST: manifest}
    for path, wanted in written.items():
        if not check:
            path.write_bytes(wanted)
        elif not path.exists() or path.read_bytes() != wanted:
            raise ConfigurationError(
                f"{path.relative_to(ROOT)} is not what the code says: run `wellward schema export`."
            )
    _console.print("Unchanged." if check else f"Wrote {SDL} and {MANIFEST}.")


@document_commands.command("check")
def check_documents() -> None:
    """Validate every trusted document against the schema and the limits."""
    faults = trusted.check(schema, OPERATIONS, Limits())
    for fault in faults:
        _console.print(fault, markup=False)
    if faults:
        raise ConfigurationError(f"{len(faults)} documents do not validate.")
    _console.print("All documents validate.")


@ledger_commands.command("verify")
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
        with making.bar(_console, "Members") as progress:
            async for report in verify(db, roots_path=settings.roots_path, since=since):
                progress(report.members, report.members_total)
    finally:
        await db.close()
    return report


@reward_commands.command("import-codes")
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
        with making.bar(_console, "Codes") as progress:
            async for report in voucher_codes.import_codes(
                db, sealer, reward_code=reward, codes=given, now=working.wall_clock()
            ):
                progress(report.done, report.lines)
    finally:
        await db.close()
    return report


@ledger_commands.command("reconcile")
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
        with making.bar(_console, "Members") as progress:
            async for report in reconcile(db):
                progress(report.members, report.members_total)
    finally:
        await db.close()
    return report


@ledger_commands.command("export")
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
        with making.bar(_console, "Transfers") as progress:
            async for chunk, done, total in export(db, format, since=since):
                target.write(chunk)
                progress(done, total)
    finally:
        await db.close()
    return done


@app.command("fcm-sandbox")
def sandbox(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8090,
    host: Annotated[str, typer.Option(help="Loopback only makes sense.")] = "127.0.0.1",
) -> None:
    """A loopback FCM on which a developer sees pushes arrive."""
    settings = Settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    fcm_sandbox.run(host, port, settings.data_dir / "fcm-sandbox.json")


@app.command("payment-sandbox")
def payments(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8091,
    host: Annotated[str, typer.Option(help="Loopback only makes sense.")] = "127.0.0.1",
    secret: Annotated[
        str | None, typer.Option(envvar="WELLWARD_PAYMENT_SANDBOX_SECRET", help="whsec_...")
    ] = None,
    pays_after_seconds: Annotated[float, typer.Option(min=0)] = 5,
) -> None:
    """A loopback payment provider: takes what it is told and says that it was paid."""
    settings = Settings()
    webhook = f"http://127.0.0.1:{settings.port}/payments/{payment_sandbox.NAME}/events"
    payment_sandbox.run(
        host,
        port,
        secret=secret or payment_sandbox.new_secret(),
        webhook=webhook,
        pays_after_seconds=pays_after_seconds,
    )


if __name__ == "__main__":
    main()
