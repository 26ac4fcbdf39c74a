"""The product's worked examples, to the cent: docs/premium-examples.md, years in a row, and the
published tables of Vitality."""

import csv
import json
import re
from collections.abc import Iterator
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.premiums import engine, facts_json, money
from app.premiums.product import Product, read, shipped
from app.premiums.quote import Priced
from app.risk.rulesets import Tier
from tests.engine_cases import (
    assessed,
    facts,
    improvement,
    line_of,
    lines,
    product,
    rule,
    series,
    took_part,
    worsening,
)

ROOT = Path(__file__).parents[1]
SHIPPED = {f"{it.code} {it.version}": it for it in shipped()}
CHRONIC_CARE = SHIPPED["chronic-care 1.0.0"]


class Example(NamedTuple):
    title: str
    product: Product
    facts: str
    answer: str


def written() -> Iterator[Example]:
    text = (ROOT / "docs" / "premium-examples.md").read_text(encoding="utf-8")
    for section in text.split("\n## ")[1:]:
        found = re.search(
            r"^(.*)\n.*Product: `(.*)`\.\n\n```json\n(.*)```\n\n```text\n(.*)\n```",
            section,
            re.DOTALL,
        )
        assert found is not None, section
        title, name, known, answer = found.groups()
        yield Example(title.split("\n")[0], SHIPPED[name], known, answer)


def answered(priced: Priced) -> str:
    """As the document writes it."""

    def major(amount: int) -> Decimal:
        return money.major(amount, priced.currency)

    rows = [f"base {major(priced.base)}"]
    for line in priced.lines:
        percent = "-" if line.percent is None else f"{facts_json.number(line.percent)} %"
        rows.append(f"{line.rule} {percent} {major(line.amount):+}")
    rows.append(f"total {major(priced.total)} ({priced.adjustment_percent} %)")
    rows += [
        f"carries {code} {facts_json.number(percent)} %"
        for code, percent in priced.carry.items()
        if percent
    ]
    if priced.cover_uplift_percent:
        rows.append(f"cover +{priced.cover_uplift_percent} %")
    return "\n".join(rows)


EXAMPLES = list(written())


def test_the_document_has_them_all():
    assert len(EXAMPLES) == 16


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda it: it.title)
def test_an_example_of_the_document_holds(example):
    assert answered(engine.price(example.product, facts_json.read(example.facts))) == example.answer


# ── Years in a row ───────────────────────────────────────────────────────────────────────────


def years(document: Product, readings: object, count: int) -> list[int]:
    """Totals of terms that follow such years, each carrying what the one before did."""
    totals, carried = [], {}
    for _ in range(count):
        priced = engine.price(document, facts(series=(readings,), carried=carried))
        totals.append(priced.total)
        carried = priced.carry
    return totals


BETTER = series({1: "140", 12: "135"})
WORSE = series({1: "5.5", 12: "7.5"}, "FASTING_GLUCOSE")


def test_five_percent_a_year_reach_thirty_in_six_years():
    totals = [285000, 270000, 255000, 240000, 225000, 210000, 210000]
    assert years(CHRONIC_CARE, BETTER, 7) == totals
    assert years(product(improvement()), BETTER, 7) == totals


def test_compounding_they_are_powers_of_0_95():
    document = product(improvement(), stacking="compound")
    # The discount is what is rounded: of 3000 x (1 - 0.95^3) = 427.875 it is 427.88.
    discounts = [
        (300000 * (1 - Decimal("0.95") ** n)).quantize(Decimal(1), rounding=ROUND_HALF_UP)
        for n in range(1, 7)
    ]
    assert discounts == [15000, 29250, 42788, 55648, 67866, 79472]
    totals = [300000 - int(it) for it in discounts]
    assert years(document, BETTER, 7) == [*totals, 210000]


def test_worsening_adds_five_a_year_up_to_thirty():
    totals = [315000, 330000, 345000, 360000, 375000, 390000, 390000]
    assert years(CHRONIC_CARE, WORSE, 7) == totals


def test_the_document_says_these_years():
    text = (ROOT / "docs" / "premium-examples.md").read_text(encoding="utf-8")
    compound = product(improvement(), stacking="compound")
    for found, decimals in (
        (years(CHRONIC_CARE, BETTER, 6), 0),
        (years(compound, BETTER, 6), 2),
        (years(CHRONIC_CARE, WORSE, 6), 0),
    ):
        said = ", ".join(f"{Decimal(total) / 100:.{decimals}f}" for total in found)
        assert f"{said}, and " in text.replace("\n  ", " ")


def test_after_worsening_a_year_of_improvement_begins_again():
    document = product(improvement(), worsening())
    story = [BETTER, BETTER, WORSE, None, BETTER, BETTER]
    carried, totals = {}, []
    for readings in story:
        known = facts(series=(readings,) if readings else (), carried=carried)
        priced = engine.price(document, known)
        totals.append(priced.total)
        carried = priced.carry
    assert totals == [285000, 270000, 315000, 315000, 285000, 270000]


# ── The portfolio ────────────────────────────────────────────────────────────────────────────


def test_the_planning_mix_pays_1_02_of_the_table():
    mix = {Tier.LOW: 20, Tier.MEDIUM: 50, Tier.HIGH: 30}
    totals = [
        engine.price(CHRONIC_CARE, facts(tier=assessed(tier))).total * count
        for tier, count in mix.items()
    ]
    assert Decimal(sum(totals)) / (300000 * 100) == Decimal("1.02")


# ── Vitality (published tables; AIA Thailand, AIA New Zealand) ───────────────────────────────


def vitality(country: str) -> Product:
    return read(ROOT / "tests" / "data" / "products" / f"vitality-{country}-1.0.0.yaml")


def discounts(document: Product, levels: list[str]) -> list[int]:
    """In percent, of each year; the status is that shown in the year."""
    found, carried = [], {}
    for level in levels:
        priced = engine.price(document, facts(level=level, carried=carried, age=40))
        line = line_of(priced, "flex")
        assert line is not None and line.percent is not None
        assert priced.total == priced.base * (100 + line.percent) / 100
        found.append(-int(line.percent))
        carried = priced.carry
    return found


def published(id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and expected output of a row of examples.csv."""
    with (ROOT / "tests" / "data" / "examples.csv").open(encoding="utf-8", newline="") as file:
        [row] = [it for it in csv.DictReader(file) if it["id"] == id]
    return json.loads(row["inputs"]), json.loads(row["expected"])


def test_the_twelve_years_of_thailand():
    given, expected = published("vitality_flex-001")
    short = {"B": "bronze", "S": "silver", "G": "gold", "P": "platinum"}
    levels = [short[it] for it in given["status_by_year"]]
    assert discounts(vitality("thailand"), levels) == expected["discount_by_year"]


def test_the_second_year_of_new_zealand():
    given, expected = published("vitality_flex_nz-001")
    assert expected["year2"] == {
        level: discounts(vitality("new-zealand"), [level, level])[1] for level in given["flex"]
    }


@pytest.mark.parametrize(
    ("level", "table"),
    [
        ("platinum", [10, 12, 14, 16, 18, 20, 20]),
        ("bronze", [10, 8, 6, 4, 2, 0, 0]),
    ],
)
def test_new_zealand_ends_at_nothing_and_at_twenty(level, table):
    assert discounts(vitality("new-zealand"), [level] * 7) == table


# ── Published versions stay what they are ────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "1.2.0"])
def test_the_starter_product_costs_what_it_always_has(version):
    starter = SHIPPED[f"starter {version}"]
    found = [
        engine.price(starter, facts(age=age, participation=took_part(range(1, months + 1)))).total
        for age, months in ((50, 0), (50, 7), (50, 12), (17, 3), (66, 10))
    ]
    assert found == [300000, 279000, 270000, 116400, 468000]


def test_running_sums_are_shown_by_of():
    tier = rule("tier", "PRM-1", multipliers={"LOW": "0.8", "MEDIUM": "1", "HIGH": "1.2"})
    region = rule("region", "PRM-12", percent_by_region={"CN-31": "17.33"})
    known = facts(tier=assessed("HIGH"), region="CN-31", effective_on=date(2027, 2, 3))
    priced = engine.price(product(tier, region, amount="999.99"), known)
    running = list(accumulate([amount for _, amount in lines(priced)], initial=priced.base))
    assert [line.of for line in priced.lines] == running[:-1]
    assert {line.effective_on for line in priced.lines} == {date(2027, 2, 3)}
