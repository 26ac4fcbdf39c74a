"""The command line: everything an operator or a developer starts.

A command's module is imported when the command is asked for: all of them need the whole
product, which takes seconds to import, and most need little of it.
"""

import sys
from typing import ClassVar

import asyncpg
import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from sqlalchemy.exc import DBAPIError

from app.cli.late import LateGroup, Root
from app.errors import Explained


class _Commands(Root):
    lines: ClassVar = {
        "app.cli.running:commands": {
            "up": "Everything in one place: database, migrations, demo population, web and worker.",
            "serve": "The web server.",
            "worker": "Runs jobs and keeps the clock; any number may run.",
            "migrate": "Bring the database to the present: migrations, rights, task templates, "
            "products.",
            "seed": "More members, from real survey data, with a history made by the real "
            "services.",
            "token": "A sign-in token of the embedded mode's own issuer, and nothing else, on one "
            "line.",
        },
        "app.cli.sandboxes:commands": {
            "fcm-sandbox": "A loopback FCM on which a developer sees pushes arrive.",
            "payment-sandbox": "A loopback payment provider: takes what it is told and says that "
            "it was paid.",
        },
    }
    groups = (
        LateGroup("schema", "The API's schema.", "app.cli.documents:schema_commands"),
        LateGroup(
            "documents",
            "The documents that the clients send.",
            "app.cli.documents:document_commands",
        ),
        LateGroup("ledger", "The points ledger.", "app.cli.ledger:commands"),
        LateGroup("rewards", "What points can buy.", "app.cli.rewards:commands"),
        LateGroup("clinics", "Partner clinics and their keys.", "app.cli.clinics:commands"),
        LateGroup(
            "risk",
            "The risk models and the tiers.",
            "app.risk.commands:commands",
            "app.cli.risk:commands",
        ),
        LateGroup(
            "product",
            "Product versions: documents and prices.",
            "app.premiums.commands:commands",
            "app.cli.products:commands",
            "app.cli.backtest:commands",
            "app.cli.payouts:commands",
        ),
        LateGroup("premium", "What members pay.", "app.cli.premiums:commands"),
        LateGroup(
            "import",
            "Files from health apps, hospitals and examinations, into members' records. Exit code 0: "
            "everything that is ours was kept, or known before; 3: some of it was rejected, see the "
            "report; 1: the file was refused as a whole and nothing was changed.",
            "app.cli.imports:commands",
        ),
        LateGroup("gateways", "Device gateways.", "app.cli.imports:gateway_commands"),
    )


app = typer.Typer(
    help="Wellward: the backend of a programme that pays people for staying well.",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.callback()(lambda: None)  # a group, though it has no command of its own

_console = Console(stderr=True)

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
    except Explained as error:
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
