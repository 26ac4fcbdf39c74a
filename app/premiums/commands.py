"""`wellward product`: product documents by hand, without a database."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from app.premiums import (
    clauses,
    engine,
    facts_json,
    product,
    product_checks,
    product_diff,
    quote_json,
)
from app.premiums.product import Product

SCHEMA = Path(__file__).parents[2] / "schema" / "product.schema.json"
"""For editors: `# yaml-language-server: $schema=…` at the top of a document."""

commands = typer.Typer()

_Document = Annotated[Path, typer.Argument(help="A product document (YAML).")]


@commands.command("validate")
def validate(
    documents: Annotated[list[Path], typer.Argument(help="Product documents (YAML).")],
) -> None:
    """Everything that is wrong with product documents: path, value, what is allowed.

    Exit code 1 when one is refused. What may be said but should be looked at is a warning.
    """
    refused = 0
    for path in documents:
        try:
            found = product.read(path)
        except product.ProductInvalid as error:
            refused += 1
            sys.stdout.write(f"REFUSED {error}\n")
            continue
        except OSError as error:
            refused += 1
            sys.stdout.write(f"REFUSED {path.name}: {error.strerror}\n")
            continue
        sys.stdout.write(
            f"{path.name}: {found.code} {found.version} is valid: regime {found.regime}, "
            f"{len(found.rules)} rules, {len(list(clauses.of(found)))} clauses, "
            f"hash {found.hash.hex()}\n"
        )
        for where, what in product_checks.warnings(found):
            sys.stdout.write(f"WARNING {path.name}: {where}: {what}\n")
    if refused:
        raise typer.Exit(1)


@commands.command("diff")
def diff(before: _Document, after: _Document) -> None:
    """What changed from one product document to another, in words and numbers."""
    changes = product_diff.between(product.read(before), product.read(after))
    for change in changes:
        sys.stdout.write(f"{change}\n")
    if not changes:
        sys.stdout.write("No difference.\n")


@commands.command("price")
def price(
    document: _Document,
    facts: Annotated[Path, typer.Option(help="Facts of a member (JSON); see docs/products.md.")],
) -> None:
    """The premium of a member's facts as JSON: base, ordered lines, total, carry.

    Amounts are strings in major units. Exit code 2 for facts that nobody can have, or whom the
    product has no price for.
    """
    offered = product.read(document)
    try:
        known = facts_json.read(facts.read_bytes())
        priced = engine.price(offered, known)
    except (facts_json.FactsInvalid, engine.NoPremium) as error:
        sys.stderr.write(f"{facts.name}: {error}\n")
        raise typer.Exit(2) from None
    printed = quote_json.document(offered, priced)
    sys.stdout.write(f"{json.dumps(printed, ensure_ascii=False, indent=2)}\n")


@commands.command("explain")
def explain(
    document: _Document,
    term: Annotated[str | None, typer.Argument(help="A clause or a word; all if none.")] = None,
    locale: Annotated[str, typer.Option(help="zh-CN or en.")] = "en",
) -> None:
    """The clauses of a product in plain language, each with its example."""
    offered = product.read(document)
    shown = list(clauses.of(offered))
    if term is not None:
        found = clauses.explain(offered, term)
        if found is None:
            sys.stderr.write(f"{document.name}: no clause and no word {term!r}\n")
            raise typer.Exit(2)
        shown = [found.clause, *found.terms]
    for clause in shown:
        sys.stdout.write(f"{clause.code}: {clause.label.to(locale)}\n")
        sys.stdout.write(f"  {clause.explanation.to(locale)}\n")
        if clause.example is not None:
            sys.stdout.write(f"  {clause.example.to(locale)}\n")


@commands.command("schema")
def schema(
    check: Annotated[bool, typer.Option("--check", help="Only compare; fail on a change.")] = False,
) -> None:
    """Write the JSON Schema of product documents, for editors."""
    wanted = orjson.dumps(document_schema(), option=orjson.OPT_INDENT_2) + b"\n"
    if not check:
        SCHEMA.write_bytes(wanted)
    elif not SCHEMA.exists() or SCHEMA.read_bytes() != wanted:
        sys.stderr.write(
            f"{SCHEMA.name} is not what the code says: run `wellward product schema`.\n"
        )
        raise typer.Exit(1)
    sys.stdout.write("Unchanged.\n" if check else f"Wrote {SCHEMA}.\n")


def document_schema() -> dict[str, Any]:
    """Of what a document may hold before the checks across its parts."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Wellward product version",
        **{
            key: value
            for key, value in Product.model_json_schema(mode="validation").items()
            if key != "title"
        },
    }
