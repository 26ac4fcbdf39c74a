"""The rated base: table, loss ratio, group, region, tier, and the way back to base (PRM-16)."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.members.rules import Sex
from app.premiums import engine
from app.premiums.facts import LossRatio
from app.premiums.quote import (
    LossRatioEvidence,
    ProfileEvidence,
    ReadingsEvidence,
    Section,
    TierEvidence,
)
from app.risk.rulesets import Tier
from tests.engine_cases import (
    assessed,
    facts,
    improvement,
    line_of,
    lines,
    metric,
    product,
    reason,
    rule,
    series,
)

TIER = rule("tier", "PRM-1", multipliers={"LOW": "0.8", "MEDIUM": "1", "HIGH": "1.2"})
REGION = rule("region", "PRM-12", percent_by_region={"CN-31": "20", "CN": "5", "CN-44-1": "0"})
GROUP = rule("group", "PRM-13", percent_by_members_from={50: "-5", 10: "-2", 200: "-10"})
LOSS = rule(
    "loss_ratio",
    "PRM-14",
    above_percent="120",
    above_change="10",
    below_percent="80",
    below_change="-10",
)
RETURN = rule(
    "window_improvement",
    "PRM-3",
    metrics=[metric()],
    months=3,
    tiers=["HIGH"],
    returns_to_base=True,
    consecutive=False,
)


@pytest.mark.parametrize(("tier", "total"), [("LOW", 240000), ("MEDIUM", 300000), ("HIGH", 360000)])
def test_the_tier_multiplies(tier, total):
    priced = engine.price(product(TIER), facts(tier=assessed(tier)))
    assert (priced.total, priced.rated_base) == (total, total)
    [line] = priced.lines
    assert (line.section, line.of) == (Section.RATED_BASE, 300000)
    assert line.evidence == (TierEvidence(Tier(tier), datetime(2026, 12, 1, tzinfo=UTC), None),)


@pytest.mark.parametrize(
    ("refuses", "why"),
    [
        (False, "You have not been assessed yet"),
        (True, "You have not allowed the use of health data: there is no assessment"),
    ],
)
def test_without_an_assessment_nothing_is_multiplied(refuses, why):
    priced = engine.price(product(TIER), facts(refuses_upload=refuses))
    assert priced.total == 300000
    assert reason(priced, "PRM-1") == f"{why}, and it costs you nothing."


@pytest.mark.parametrize(
    ("region", "percent"),
    [
        ("CN-31", 20),
        ("CN-31-2", 20),
        ("CN-3", 5),
        ("CN-32", 5),
        ("CN", 5),
        ("CN-44-1", 0),
        ("CN-44", 5),
        ("CNX", None),
        ("TH-10", None),
        (None, None),
    ],
)
def test_a_region_holds_its_parts_and_the_most_exact_code_counts(region, percent):
    priced = engine.price(product(REGION), facts(region=region))
    line = line_of(priced, "PRM-12")
    assert (line.percent if line else None) == percent
    if line is not None:
        [shown] = line.evidence
        assert isinstance(shown, ProfileEvidence)
        assert shown.detail.en == region


@pytest.mark.parametrize(
    ("members", "percent"),
    [(None, None), (1, None), (9, None), (10, -2), (49, -2), (50, -5), (199, -5), (5000, -10)],
)
def test_a_group_pays_by_the_largest_size_it_reaches(members, percent):
    line = line_of(engine.price(product(GROUP), facts(group_members=members)), "PRM-13")
    assert (line.percent if line else None) == percent


@pytest.mark.parametrize(
    ("ratio", "total"),
    [("121", 330000), ("120", 300000), ("120.01", 330000), ("80", 300000), ("79.99", 270000)],
)
def test_the_loss_ratio_acts_strictly_beyond_its_limits(ratio, total):
    priced = engine.price(product(LOSS), facts(loss_ratio=LossRatio(2026, Decimal(ratio))))
    assert priced.total == total
    if total != 300000:
        assert priced.lines[0].evidence == (LossRatioEvidence(Decimal(ratio), 2026),)


def test_an_unpublished_loss_ratio_moves_nothing():
    priced = engine.price(product(LOSS), facts())
    assert (priced.total, priced.lines) == (300000, ())
    assert reason(priced, "PRM-14") == "No loss ratio of the last year is published yet."


def test_the_order_is_loss_ratio_group_region_tier_whatever_the_document_says():
    priced = engine.price(
        product(TIER, REGION, GROUP, LOSS, amount="1234.57"),
        facts(
            tier=assessed("HIGH"),
            region="CN-31",
            group_members=60,
            loss_ratio=LossRatio(2026, Decimal(150)),
        ),
    )
    # 123457 + 12345.7 -> 135803; 5 % -> 6790.15; 129013 + 25802.6 -> 154816; 30963.2
    assert lines(priced) == [
        ("PRM-14", 12346),
        ("PRM-13", -6790),
        ("PRM-12", 25803),
        ("PRM-1", 30963),
    ]
    assert [line.of for line in priced.lines] == [123457, 135803, 129013, 154816]
    assert priced.rated_base == priced.total == 185779
    assert priced.adjustment_percent == Decimal("50.48")


@pytest.mark.parametrize(
    ("multiplier", "amount"), [("1.005", 1), ("0.995", -1), ("1.004", 0), ("0.996", 0)]
)
def test_half_a_minor_unit_rounds_away_from_zero(multiplier, amount):
    of_one = rule("tier", "T", multipliers=dict.fromkeys(Tier, multiplier))
    priced = engine.price(product(of_one, amount="1.00"), facts(tier=assessed("LOW")))
    assert lines(priced) == [("T", amount)]


def test_high_risk_that_improves_pays_the_base_again():
    known = series({10: "150", 11: "155", 12: "145"})
    priced = engine.price(
        product(TIER, RETURN),
        facts(tier=assessed("HIGH"), tier_at_start=assessed("HIGH"), series=(known,)),
    )
    assert lines(priced) == [("PRM-1", 60000), ("PRM-3", -60000)]
    assert (priced.rated_base, priced.total) == (300000, 300000)
    [shown] = priced.lines[1].evidence
    assert isinstance(shown, ReadingsEvidence)
    assert (shown.from_average, shown.to_average, shown.readings) == (150, 145, 8)


def test_what_returns_is_the_tier_line_to_the_cent():
    known = series({10: "150", 12: "140"})
    priced = engine.price(
        product(TIER, REGION, RETURN, amount="1234.57"),
        facts(
            tier=assessed("HIGH"), tier_at_start=assessed("HIGH"), series=(known,), region="CN-31"
        ),
    )
    assert lines(priced) == [("PRM-12", 24691), ("PRM-1", 29630), ("PRM-3", -29630)]


@pytest.mark.parametrize("tier", ["MEDIUM", "LOW", None])
def test_without_a_loading_nothing_returns(tier):
    priced = engine.price(
        product(TIER, RETURN),
        facts(
            tier=assessed(tier) if tier else None,
            tier_at_start=assessed("HIGH"),
            series=(series({10: "150", 12: "140"}),),
        ),
    )
    assert reason(priced, "PRM-3") == "There is no loading to take away."


def test_a_loading_returns_once():
    twice = {**RETURN, "code": "PRM-3b"}
    priced = engine.price(
        product(TIER, RETURN, twice),
        facts(
            tier=assessed("HIGH"),
            tier_at_start=assessed("HIGH"),
            series=(series({10: "150", 12: "140"}),),
        ),
    )
    assert priced.total == 300000
    assert line_of(priced, "PRM-3b") is None


def test_who_became_high_in_the_term_was_not_high_at_its_start():
    priced = engine.price(
        product(TIER, RETURN),
        facts(
            tier=assessed("HIGH"),
            tier_at_start=assessed("MEDIUM"),
            series=(series({10: "150", 12: "140"}),),
        ),
    )
    assert priced.total == 360000
    assert reason(priced, "PRM-3") == (
        "It is for members who began as high risk; you were medium risk."
    )


def test_adjustments_are_of_the_base_that_returned():
    priced = engine.price(
        product(TIER, RETURN, improvement(percent_at_most=None, months=3)),
        facts(
            tier=assessed("HIGH"),
            tier_at_start=assessed("HIGH"),
            series=(series({10: "150", 12: "140"}),),
        ),
    )
    assert lines(priced)[-1] == ("PRM-6", -15000)


def test_the_first_row_of_the_table_that_fits_is_the_base():
    by_age = [
        {"age_from": 50, "age_to": 120, "amount": "3300", "health": ["hypertension"]},
        {"age_from": 20, "age_to": 30, "amount": "1500", "health": ["healthy"]},
        {"age_from": 18, "age_to": 45, "amount": "1900", "sex": "FEMALE"},
        {"age_from": 18, "age_to": 120, "amount": "2000"},
    ]
    table = product(base_premium={"by_age": by_age})

    def base(age, *health, sex=Sex.MALE):
        return engine.price(table, facts(age=age, sex=sex, health=frozenset(health))).base

    assert base(50, "hypertension") == 330000
    assert base(49, "hypertension") == 200000
    assert base(50) == 200000
    assert base(25, "healthy") == 150000
    assert base(25) == 200000
    assert base(25, sex=Sex.FEMALE) == 190000
    assert base(25, "healthy", sex=Sex.FEMALE) == 150000
    with pytest.raises(engine.NoPremium, match="age 17 has no base premium in product 'case'"):
        base(17)


def test_a_currency_without_decimals_has_no_cents():
    priced = engine.price(
        product(TIER, amount="30001", currency="JPY"), facts(tier=assessed("LOW"))
    )
    assert (priced.base, priced.total, priced.currency) == (30001, 24001, "JPY")
