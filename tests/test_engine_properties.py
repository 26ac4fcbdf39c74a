"""What holds of every premium: it adds up, stays in its bounds, and knows no order."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.premiums import engine, facts_json, rules
from app.premiums.benefit_terms import MildConditionKind
from app.premiums.facts import (
    Credit,
    Diagnosed,
    Facts,
    LossRatio,
    MildChoice,
    MildCondition,
    MonthOfReadings,
    NoData,
    Participated,
    Series,
)
from app.premiums.invoice_rules import split
from app.premiums.product import Product, shipped
from app.premiums.quote import Section
from app.premiums.rules import add_months
from app.risk.rulesets import Tier
from tests.engine_cases import (
    UNITS,
    assessed,
    facts,
    improvement,
    metric,
    product,
    rule,
    worsening,
)

SHIPPED = {it.code: it for it in shipped()}
EXAMPLES = settings(max_examples=60, deadline=None)

ALL_RULES = (
    worsening(metrics=[metric("FASTING_GLUCOSE", "0.5"), metric("SYSTOLIC_BP", "6")]),
    rule(
        "participation",
        "PART",
        month_counts_from_percent="80",
        percent_per_month="-1.37",
        percent_at_most="-10",
    ),
    improvement(metrics=[metric(by="-1.5"), metric("BMI", "-0.3")]),
    improvement("ONCE", percent="-3.33", percent_at_most=None, months=4, end_months=2),
    rule(
        "tier_change",
        "PRM-4",
        participation_months=3,
        month_counts_from_percent="60",
        percent="-15",
    ),
    rule(
        "mild_condition_improvement",
        "PRM-5",
        metrics=[metric(by="-1")],
        months=3,
        percent="-10",
        cover_uplift_percent="5",
    ),
    rule("exit", "PRM-9"),
    rule(
        "benefit_from_points",
        "flex",
        initial_percent="-10",
        step_by_level={"bronze": "2.5", "gold": "-1", "platinum": "-2"},
        percent_min="-20",
        percent_max="3",
    ),
    rule("non_participation", "PRM-10", months=2, fee_percent="10", counts_refusal=True),
    rule("benefit_from_points", "PTS-4", credit=True),
    rule("tier", "PRM-1", multipliers={"LOW": "0.8", "MEDIUM": "1", "HIGH": "1.237"}),
    rule(
        "window_improvement",
        "PRM-3",
        metrics=[metric(by="-2")],
        months=3,
        tiers=["HIGH"],
        returns_to_base=True,
    ),
    rule("region", "PRM-12", percent_by_region={"CN-31": "17.33", "CN": "3"}),
    rule("group", "PRM-13", percent_by_members_from={10: "-2", 50: "-5.55"}),
    rule(
        "loss_ratio",
        "PRM-14",
        above_percent="120",
        above_change="10",
        below_percent="80",
        below_change="-10",
    ),
)


def decimals(low: str, high: str, places: int = 2) -> st.SearchStrategy[Decimal]:
    return st.decimals(low, high, places=places, allow_nan=False, allow_infinity=False)


DAYS = st.dates(date(2025, 10, 1), date(2027, 1, 31))
TIERS = st.none() | st.sampled_from(list(Tier)).map(assessed)


@st.composite
def products(draw: st.DrawFn) -> Product:
    chosen = draw(st.lists(st.sampled_from(ALL_RULES), unique_by=lambda it: it["code"]))
    low, high = draw(decimals("-60", "0")), draw(decimals("0", "60"))
    return product(
        *chosen,
        amount=str(draw(decimals("0.01", "9999.99"))),
        bounds=(str(low), str(high)),
        stacking=draw(st.sampled_from(["additive", "compound"])),
    )


@st.composite
def months(draw: st.DrawFn, low: str, high: str) -> tuple[MonthOfReadings, ...]:
    found = []
    for place in sorted(draw(st.sets(st.integers(-3, 12), max_size=14))):
        readings = draw(st.integers(1, 5))
        days = draw(st.integers(1, readings))
        begins = add_months(date(2026, 1, 1), place - 1)
        total = sum((draw(decimals(low, high, 1)) for _ in range(readings)), Decimal(0))
        last_on = begins + timedelta(days=max(days - 1, 0))
        found.append(MonthOfReadings(begins, readings, days, total, begins, last_on))
    return tuple(found)


@st.composite
def all_series(draw: st.DrawFn) -> tuple[Series, ...]:
    ranges = {
        ("SYSTOLIC_BP", None): ("130", "140"),
        ("SYSTOLIC_BP", "AT_REST"): ("125", "137"),
        ("BMI", None): ("27", "29"),
        ("FASTING_GLUCOSE", "FASTING"): ("5.0", "6.5"),
    }
    kept = draw(st.lists(st.sampled_from(sorted(ranges, key=str)), unique=True))
    return tuple(
        Series(code, context, UNITS[code], draw(months(*ranges[code, context])))
        for code, context in kept
    )


@st.composite
def participation(draw: st.DrawFn) -> tuple[Participated, ...]:
    shares = st.sampled_from([0, 0, 50, 79, 80, 100]).map(Decimal)
    found = []
    for place in sorted(draw(st.sets(st.integers(1, 12)))):
        share = draw(shares | st.none())
        silent = draw(st.sampled_from(list(NoData))) if share is None else None
        found.append(Participated(date(2026, place, 1), share, silent))
    return tuple(found)


@st.composite
def people(draw: st.DrawFn) -> Facts:
    return facts(
        age=draw(st.integers(18, 75)),
        region=draw(st.sampled_from([None, "CN-31", "CN-32", "TH-10"])),
        tier=draw(TIERS),
        tier_at_start=draw(TIERS),
        participation=draw(participation()),
        series=draw(all_series()),
        diagnoses=tuple(
            Diagnosed(code, draw(DAYS))
            for code in draw(st.lists(st.sampled_from(["I10", "I10.9", "E11.9"]), max_size=3))
        ),
        mild_conditions=tuple(
            MildCondition(code, draw(DAYS), draw(st.sampled_from(list(MildChoice))))
            for code in draw(st.lists(st.sampled_from(list(MildConditionKind)), unique=True))
        ),
        level=draw(st.sampled_from([None, "bronze", "silver", "platinum"])),
        credits=tuple(
            Credit(f"{place}", draw(st.integers(1, 400000)), draw(DAYS))
            for place in range(draw(st.integers(0, 3)))
        ),
        loss_ratio=draw(
            st.none() | decimals("50", "150").map(lambda percent: LossRatio(2025, percent))
        ),
        group_members=draw(st.none() | st.integers(1, 80)),
        left_on=draw(st.none() | st.dates(date(2025, 10, 1), date(2026, 12, 31))),
        refuses_upload=draw(st.booleans()),
        carried=draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "PRM-6": decimals("-30", "0"),
                    "PRM-8": decimals("0", "30"),
                    "flex": decimals("-20", "3"),
                },
            )
        ),
    )


def outcome(document: Product, known: Facts) -> tuple[Any, ...]:
    """Everything but the words."""
    priced = engine.price(document, known, words=False)
    return (
        priced.base,
        priced.rated_base,
        [(it.section, it.rule, it.percent, it.of, it.amount) for it in priced.lines],
        priced.total,
        priced.adjustment_percent,
        dict(priced.carry),
        dict(priced.credits_used),
        priced.cover_uplift_percent,
    )


@EXAMPLES
@given(products(), people())
def test_a_premium_adds_up_and_stays_in_its_bounds(document, known):
    priced = engine.price(document, known)
    by_section = {
        section: sum(it.amount for it in priced.lines if it.section is section)
        for section in Section
    }
    assert priced.base + sum(by_section.values()) == priced.total >= 0
    assert priced.base + by_section[Section.RATED_BASE] == priced.rated_base
    adjusted = by_section[Section.ADJUSTMENT] + by_section[Section.BOUNDS]
    bounds = document.bounds
    assert rules.line(priced.rated_base, bounds.percent_min) <= adjusted
    assert adjusted <= rules.line(priced.rated_base, bounds.percent_max)
    assert -by_section[Section.CREDIT] == sum(priced.credits_used.values())
    order = [it.section for it in priced.lines]
    assert order == sorted(order, key=list(Section).index)


@EXAMPLES
@given(products(), people())
def test_each_line_is_rounded_once_half_away_from_zero(document, known):
    for line in engine.price(document, known).lines:
        if line.percent is not None:
            exact = line.of * line.percent / 100
            assert line.amount == int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))
            assert abs(line.amount - exact) <= Decimal("0.5")


@EXAMPLES
@given(products(), people())
def test_every_rule_makes_a_line_or_says_why_not(document, known):
    priced = engine.price(document, known)
    told = {it.rule for it in priced.lines} | {it.rule for it in priced.not_applied}
    codes = {it.code for it in document.rules}
    assert codes <= told <= {*codes, engine.BOUNDS}
    for words in [
        *(it.explanation for it in priced.lines),
        *(it.reason for it in priced.not_applied),
    ]:
        assert words.zh.endswith("。") and words.en.endswith(".")


@EXAMPLES
@given(products(), people(), st.randoms(use_true_random=False))
def test_no_order_of_the_facts_matters(document, known, chance):
    def mixed(them: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(chance.sample(them, len(them)))

    other = replace(
        known,
        participation=mixed(known.participation),
        series=tuple(replace(it, months=mixed(it.months)) for it in mixed(known.series)),
        diagnoses=mixed(known.diagnoses),
        mild_conditions=mixed(known.mild_conditions),
        credits=mixed(known.credits),
    )
    assert engine.price(document, other) == engine.price(document, known)


@EXAMPLES
@given(products(), people())
def test_words_change_no_amount_and_stored_facts_give_the_same_cents(document, known):
    spoken = engine.price(document, known)
    silent = engine.price(document, known, words=False)
    assert [it.amount for it in spoken.lines] == [it.amount for it in silent.lines]
    assert (spoken.total, spoken.carry) == (silent.total, silent.carry)
    stored = facts_json.read(facts_json.write(known))
    assert engine.price(document, stored) == spoken


@EXAMPLES
@given(products(), people())
def test_what_is_carried_stays_within_the_rules(document, known):
    carry = engine.price(document, known, words=False).carry
    assert -30 <= carry.get("PRM-6", 0) <= 0
    assert 0 <= carry.get("PRM-8", 0) <= 30
    assert -20 <= carry.get("flex", 0) <= 3


@EXAMPLES
@given(people())
def test_a_product_of_discounts_raises_nobody_for_their_health_or_behaviour(known):
    document = SHIPPED["chronic-care-discount-only"]
    of_all = replace(known, region=None, loss_ratio=None)
    assert engine.price(document, of_all, words=False).total <= (
        engine.price(document, of_all, words=False).base
    )


@EXAMPLES
@given(st.sampled_from(sorted(SHIPPED)), people())
def test_a_refusal_costs_nothing_where_consent_is_free(code, known):
    document = SHIPPED[code]
    free, refused = (
        outcome(document, replace(known, age=40, refuses_upload=it)) for it in (False, True)
    )
    assert free == refused


@EXAMPLES
@given(people())
def test_a_product_of_the_pool_knows_no_person(known):
    document = SHIPPED["inclusive"]
    nobody = facts(age=40, loss_ratio=known.loss_ratio, credits=known.credits)
    assert outcome(document, replace(known, age=40)) == outcome(document, nobody)


@given(st.integers(0, 10**9), st.integers(1, 60))
def test_instalments_are_equal_but_for_one_and_sum_to_the_premium(total, parts):
    found = split(total, parts)
    assert sum(found) == total and len(found) == parts
    assert max(found) - min(found) <= 1
    assert found == sorted(found, reverse=True)
