"""The engine against an implementation that shares nothing with it (tests/premium_oracle.py)."""

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import yaml

from app.premiums import engine, rules
from app.premiums.facts import Facts, Moment
from app.premiums.product import PRODUCTS, Product
from app.premiums.quote import Priced
from tests.figures import record_figure
from tests.premium_histories import facts_of, mid_term, random_history, random_product
from tests.premium_oracle import Oracle
from tests.premium_raw import Answer, History
from tests.processes import FULL_COUNTS

HISTORIES = 500
"""In each part."""
PARTS = 20 if FULL_COUNTS else 1
TERMS = 7
SHIPPED = ("chronic-care-1.0.0", "chronic-care-discount-only-1.0.0", "inclusive-1.0.0")


def shipped(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PRODUCTS / f"{name}.yaml").read_text())
    return document


def same(priced: Priced, expected: Answer, *, seed: int, place: int) -> None:
    lines = [(it.rule, it.amount) for it in priced.lines]
    found = (priced.base, lines, priced.total, priced.cover_uplift_percent)
    wanted = (expected.base, expected.lines, expected.total, expected.cover)
    assert found == wanted, f"history {seed}, term {place}"
    assert priced.base + sum(it.amount for it in priced.lines) == priced.total


def compare(document: dict[str, Any], history: History, *, seed: int) -> Counter[str]:
    """Term after term, each with what the one before it carried; how often each rule made a
    line."""
    product = Product.model_validate(document)
    oracle, chance, seen = Oracle(document, history), random.Random(seed), Counter[str]()
    carried: Any = {}
    credits: dict[str, int] = {}
    months = document["term_months"]
    acts_early = any(it.get("timing") == "mid_term" for it in document["rules"])
    for place in range(len(history.years)):
        first = rules.term(history.started, place, months=months).starts_on
        for day, id, amount in history.credits:
            if day < first:
                credits.setdefault(id, amount)
        facts = facts_of(
            history,
            place=place,
            term_months=months,
            carried=carried,
            credits=credits,
            chance=chance,
        )
        priced = engine.price(product, facts)
        same(priced, oracle.price(place, credits=credits), seed=seed, place=place)
        seen.update(it.rule for it in priced.lines)
        if acts_early or chance.random() < 0.1:
            seen.update(during(product, history, facts, oracle, credits, seed=seed, place=place))
        carried = priced.carry
        for id, used in priced.credits_used.items():
            credits[id] -= used
    return seen


def during(
    product: Product,
    history: History,
    facts: Facts,
    oracle: Oracle,
    credits: dict[str, int],
    *,
    seed: int,
    place: int,
) -> list[str]:
    chance = random.Random(seed + place)
    day = facts.effective_on + timedelta(days=chance.randrange(60, 330))
    running = mid_term(history, place=place, term_months=product.term_months, on=day, chance=chance)
    at = datetime.combine(day, datetime.min.time(), UTC)
    told = replace(facts, moment=Moment.MID_TERM, as_of=at, mid_term=running)
    priced = engine.price(product, told)
    same(priced, oracle.price(place, credits=credits, mid_on=day), seed=seed, place=place)
    return ["mid-term"] if priced.total != engine.price(product, facts).total else []


@pytest.mark.parametrize("part", range(PARTS))
def test_the_engine_and_an_independent_implementation_agree(part: int) -> None:
    """Products and histories at random."""
    seen = Counter[str]()
    for seed in range(part * HISTORIES, (part + 1) * HISTORIES):
        chance = random.Random(seed)
        document = random_product(chance)
        terms = TERMS * 12 // document["term_months"] if document["term_months"] > 12 else TERMS
        history = random_history(chance, terms=terms, term_months=document["term_months"])
        seen += compare(document, history, seed=seed)
    record_figure("histories without a difference", HISTORIES)
    # Each rule was really met, and each makes a line in more than one in a hundred histories.
    kinds = {"LOSS", "GROUP", "REGION", "TIER", "BACK", "ONCE", "YEARLY", "OTHER", "PART", "FALL",
             "WORSE", "MILD", "EXIT", "ABSENT", "LEVEL", "CREDIT", "BOUNDS", "OFFER",
             "mid-term"}  # fmt: skip
    assert {it: seen[it] for it in kinds if seen[it] < HISTORIES // 100} == {}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_products_agree(name: str) -> None:
    document = shipped(name)
    for seed in range(PARTS * HISTORIES // 50):
        chance = random.Random(seed)
        history = random_history(chance, terms=TERMS, term_months=12)
        history.born = date(1960, 1, 1) + timedelta(days=chance.randrange(9000))
        compare(document, history, seed=seed)
