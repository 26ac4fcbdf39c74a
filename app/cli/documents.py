"""The API's schema and the documents that the clients send, against the code."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.errors import ConfigurationError
from app.graphql import documents as trusted
from app.graphql.limits import Limits
from app.schema import schema

ROOT = Path(__file__).resolve().parents[2]
SDL = ROOT / "schema" / "schema.graphql"
OPERATIONS = ROOT / "schema" / "operations"
MANIFEST = OPERATIONS / "persisted-query-manifest.json"

schema_commands = typer.Typer()
document_commands = typer.Typer()
_console = Console(stderr=True)


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
