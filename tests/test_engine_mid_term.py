"""During a term only the rules that say so act, on what has become known since (PRM-16)."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from app.premiums import engine
from app.premiums.facts import Facts, MidTerm, Moment, NoData, Series
from app.premiums.rules import Term
from tests.engine_cases import (
    assessed,
    facts,
    improvement,
    lines,
    metric,
    product,
    reason,
    rule,
    series,
    took_part,
)

TIER = rule("tier", "PRM-1", multipliers={"LOW": "0.8", "MEDIUM": "1", "HIGH": "1.2"})
PART = rule(
    "participation",
    "PART",
    month_counts_from_percent="80",
    percent_per_month="-1",
    percent_at_most="-10",
)
RUNNING = Term(date(2027, 1, 1), date(2027, 12, 31))
FROM = date(2027, 7, 1)


def returns(timing: str = "mid_term", **terms: Any) -> dict[str, Any]:
    return rule(
        "window_improvement",
        "PRM-3",
        **{
            "metrics": [metric()],
            "months": 3,
            "tiers": ["HIGH"],
            "returns_to_base": True,
            "timing": timing,
            **terms,
        },
    )


def at_start(**changed: Any) -> Facts:
    return facts(tier=assessed("HIGH"), participation=took_part(range(1, 6)), **changed)


def since(known: Facts, *readings: Series, effective_on: date = FROM, **more: Any) -> Facts:
    return replace(
        known,
        moment=Moment.MID_TERM,
        as_of=datetime(2027, 6, 30, 17, tzinfo=UTC),
        mid_term=MidTerm(RUNNING, effective_on, readings, **more),
    )


FELL = series({16: "150", 18: "145"})
"""From April to June of 2027."""


def test_high_risk_that_improves_returns_to_base_for_what_is_left_of_the_term():
    before = engine.price(product(TIER, returns(), PART), at_start())
    priced = engine.price(product(TIER, returns(), PART), since(at_start(), FELL))
    assert lines(before) == [("PRM-1", 60000), ("PART", -18000)]
    assert [(it.rule, it.amount, it.effective_on) for it in priced.lines] == [
        ("PRM-1", 60000, date(2027, 1, 1)),
        ("PRM-3", -60000, FROM),
        ("PART", -15000, FROM),
    ]
    assert (before.total, priced.total) == (342000, 285000)


def test_a_rule_of_renewals_does_not_act_during_a_term():
    document = product(TIER, returns("renewal"), PART)
    known = at_start()
    assert engine.price(document, since(known, FELL)).lines == engine.price(document, known).lines


def test_readings_of_the_running_term_move_no_other_rule():
    document = product(TIER, improvement(), PART)
    known = since(at_start(), series({13: "150", 24: "130"}), effective_on=date(2028, 1, 1))
    assert lines(engine.price(document, known)) == [("PRM-1", 60000), ("PART", -18000)]


@pytest.mark.parametrize(
    ("effective_on", "readings", "acts"),
    [
        (date(2027, 7, 1), {16: "150", 18: "145"}, True),
        (date(2027, 7, 31), {16: "150", 18: "145"}, True),
        (date(2027, 6, 30), {16: "150", 18: "145"}, False),
        (date(2027, 8, 1), {16: "150", 18: "145"}, False),
        (date(2027, 6, 30), {15: "150", 17: "145"}, True),
        (date(2027, 4, 1), {13: "150", 15: "145"}, True),
        (date(2027, 3, 31), {12: "150", 14: "145"}, False),
        (date(2028, 2, 1), {22: "150", 24: "145"}, True),
    ],
)
def test_the_window_is_the_last_months_that_are_over(effective_on, readings, acts):
    known = since(at_start(), series(readings), effective_on=effective_on)
    priced = engine.price(product(TIER, returns()), known)
    assert priced.total == (300000 if acts else 360000)


def test_it_asks_for_the_tier_that_the_running_term_was_priced_with():
    known = since(at_start(tier_at_start=assessed("MEDIUM")), FELL)
    assert engine.price(product(TIER, returns()), known).total == 300000


def test_what_returned_when_the_term_began_does_not_return_again():
    known = at_start(tier_at_start=assessed("HIGH"), series=(series({10: "150", 12: "140"}),))
    document = product(TIER, returns())
    before, priced = engine.price(document, known), engine.price(document, since(known, FELL))
    assert before.lines == priced.lines
    assert priced.lines[1].effective_on == date(2027, 1, 1)


def test_a_first_term_has_a_middle_too():
    known = at_start(ending=None)
    assert engine.price(product(TIER, returns()), since(known, FELL)).total == 300000


def test_a_pause_is_told_apart_from_too_few_readings():
    paused = took_part([], silent={4: NoData.PAUSED})
    months = tuple(replace(it, month=it.month.replace(year=2027)) for it in paused)
    known = since(at_start(), series({18: "140"}), participation=months)
    assert reason(engine.price(product(TIER, returns()), known), "PRM-3") == (
        "2027-04 has 0 trusted readings of Systolic blood pressure on 0 days (your programme was "
        "paused); at least 2 on 2 days are needed."
    )
