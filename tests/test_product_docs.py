"""The examples of docs/products.md are what the engine says, by the command that it shows."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from typer.main import get_group

from app import cli
from app.premiums import engine, facts_json, product, quote_json
from app.premiums.pricing_rules import Rule

PAGE = (Path(__file__).parents[1] / "docs" / "products.md").read_text(encoding="utf-8")
PRODUCT = yaml.safe_load(re.search(r"<!-- product -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
FACTS = json.loads(re.search(r"<!-- facts -->\n```json\n(.*?)```", PAGE, re.DOTALL)[1])
EXAMPLES = re.findall(
    r"^### (.+?)\n.*?```yaml\n(.*?)```\n```json\n(.*?)```\n```text\n(.*?)\n```",
    PAGE,
    re.DOTALL | re.MULTILINE,
)


def price_example(rules: str, facts: str) -> str:
    """Base, lines and total of an example, as the page shows them."""
    of = product.parse(yaml.safe_dump(PRODUCT | yaml.safe_load(rules), allow_unicode=True))
    known = facts_json.read(json.dumps(FACTS | json.loads(facts)))
    return shown(quote_json.document(of, engine.price(of, known)))


def shown(priced: dict) -> str:
    rows = [
        f"{line['rule']}: {line['percent']} % of {line['of']}: {line['amount']}"
        if line["percent"] is not None
        else f"{line['rule']}: {line['amount']}"
        for line in priced["lines"]
    ]
    more = [f"carry {code} {percent}" for code, percent in priced["carry"].items()]
    return "\n".join([f"base {priced['base']}", *rows, f"total {priced['total']}", *more])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda it: it[0])
def test_the_example_is_computed(example):
    _, rules, facts, expected = example
    assert price_example(rules, facts) == expected


def test_there_is_an_example_of_every_kind():
    union = get_args(Rule)[0]
    kinds = {get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(union)}
    known = {it["kind"] for _, rules, _, _ in EXAMPLES for it in yaml.safe_load(rules)["rules"]}
    assert known == kinds


def test_every_key_of_the_document_and_of_the_facts_is_described():
    named = set(re.findall(r"`([a-z_]+)(?:\.[a-z_]+)?`", PAGE))
    assert set(product.Product.model_fields) - named - {"version"} == set()
    assert set(facts_json.Facts.__dataclass_fields__) - named == set()


def test_every_command_is_described():
    described = re.findall(r"^wellward product (\w+)", PAGE, re.MULTILINE)
    assert set(described) == set(get_group(cli.app).commands["product"].list_commands(None))
