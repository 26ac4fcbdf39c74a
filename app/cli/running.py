"""Starting the product, and what goes with a database: migrations, demo members, tokens."""

import asyncio
import os
import signal
import sys
from typing import Annotated

import typer
import uvicorn
from rich.console import Console

from app import up as everything
from app import worker as working
from app.adapters.local_issuer import open_local_issuer
from app.clock import wall_clock
from app.config import Mode, Settings
from app.demo import making, subjects
from app.errors import ConfigurationError
from app.migrate import check_drift
from app.observability import configure_logging
from app.place import Place

commands = typer.Typer()
_console = Console(stderr=True)


@commands.command()
def up() -> None:
    """Everything in one place: database, migrations, demo population, web and worker."""
    everything.run(Settings())


_StopWithParent = Annotated[
    bool, typer.Option(everything.STOP_WITH_PARENT, hidden=True, help="Until standard input ends.")
]


@commands.command()
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


@commands.command()
def worker(stop_with_parent: _StopWithParent = False) -> None:
    """Runs jobs and keeps the clock; any number may run."""
    if stop_with_parent:
        everything.stop_at_end_of_input()
    settings = Settings()
    configure_logging(settings.log_level, messages=settings.mode is Mode.DEVELOPMENT)
    place = Place.of(settings).start()
    with asyncio.Runner(loop_factory=working.loop_factory()) as runner:
        runner.run(working.run(settings, database_url=place.database_url))


@commands.command()
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


@commands.command()
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
                now=wall_clock(),
                console=_console,
            )
        finally:
            await db.close()

    with everything.sole_owner(settings), Place.of(settings).running() as place:
        asyncio.run(run(place))
    _console.print(f"{members} members with {days} days of history.")


@commands.command()
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
    sys.stdout.write(issuer.mint(subject, now=wall_clock()) + "\n")
