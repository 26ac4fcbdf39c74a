"""Bounds, stacking, the fee for not taking part, and credits."""

from datetime import date
from decimal import Decimal

import pytest

from app.premiums import engine
from app.premiums.facts import Credit, MildChoice, MildCondition, NoData, Participated
from app.premiums.quote import (
    ParticipationEvidence,
    Section,
)
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
    took_part,
    worsening,
)

PART = rule(
    "participation",
    "PART",
    month_counts_from_percent="80",
    percent_per_month="-1",
    percent_at_most="-10",
)
MILD = rule(
    "mild_condition_improvement",
    "PRM-5",
    metrics=[metric(), metric("FASTING_GLUCOSE", "-0.5")],
    months=3,
    percent="-10",
    cover_uplift_percent="5",
)
ABSENT = rule("non_participation", "PRM-10", months=3, fee_percent="10")
CREDIT = rule("benefit_from_points", "PTS-4", credit=True)


def mild(day: str, choice: MildChoice = MildChoice.PREMIUM, code: str = "A") -> MildCondition:
    return MildCondition(code, date.fromisoformat(day), choice)


FELL = series({3: "145", 6: "140"})


# ── Bounds and stacking ──────────────────────────────────────────────────────────────────────


def flat(code: str, percent: str) -> dict[str, object]:
    """A level that has just begun."""
    step = {"gold": "1" if percent.startswith("-") else "-1"}
    return rule("benefit_from_points", code, initial_percent=percent, step_by_level=step)


@pytest.mark.parametrize(
    ("percents", "bound"),
    [
        (("-15", "-15"), None),
        (("-15", "-15.01"), 30),
        (("-20", "-25"), 45000),
        (("15", "15"), None),
        (("20", "25"), -45000),
        (("40", "-20"), None),
    ],
)
def test_the_sum_of_adjustments_ends_at_the_bounds(percents, bound):
    rules = [flat(f"R-{place}", it) for place, it in enumerate(percents)]
    priced = engine.price(product(*rules), facts())
    found = line_of(priced, engine.BOUNDS)
    assert (found.amount if found else None) == bound
    if found is not None:
        assert (found.section, found.percent, found.of) == (Section.BOUNDS, None, 300000)
        assert abs(priced.total - 300000) == 90000


def test_bounds_are_of_the_rated_base():
    tier = rule("tier", "PRM-1", multipliers={"LOW": "0.8", "MEDIUM": "1", "HIGH": "1.2"})
    known = facts(tier=assessed("HIGH"))
    priced = engine.price(product(tier, flat("R", "-50"), bounds=("-30", "30")), known)
    assert lines(priced) == [("PRM-1", 60000), ("R", -180000), ("BOUNDS", 72000)]
    assert priced.total == 252000


def test_additive_adjustments_are_of_the_rated_base_and_compound_ones_of_what_is_left():
    rules = [flat("A", "-10"), flat("B", "-10"), flat("C", "5")]
    assert lines(engine.price(product(*rules), facts())) == [
        ("A", -30000),
        ("B", -30000),
        ("C", 15000),
    ]
    compound = engine.price(product(*rules, stacking="compound"), facts())
    assert [(line.of, line.amount) for line in compound.lines] == [
        (300000, -30000),
        (270000, -27000),
        (243000, 12150),
    ]


# ── The fee for not taking part ──────────────────────────────────────────────────────────────


def absent(*months: int, silent: dict[int, NoData] | None = None) -> tuple[Participated, ...]:
    """Nothing done in these months, half in the others."""
    others = [it for it in range(1, 13) if it not in months]
    return took_part(others, percent="50", silent=silent)


@pytest.mark.parametrize(
    ("participation", "fee"),
    [
        (absent(4, 5, 6), True),
        (absent(10, 11, 12), True),
        (absent(1, 2, 3, 4), True),
        (absent(4, 5), False),
        (absent(4, 5, 7, 8), False),
        (absent(4, 5, 7, silent={6: NoData.PAUSED}), False),
        (absent(4, 5, 6, silent={5: NoData.DEVICE_SILENT}), False),
        (absent(4, 5, 7, 8, silent={6: NoData.NOTHING_DUE}), False),
        (tuple(it for it in absent(4, 5, 7) if it.month.month != 6), False),
        (took_part([], silent=dict.fromkeys(range(1, 13), NoData.REFUSED)), False),
        ((), False),
    ],
)
def test_three_months_in_a_row_without_anything_done_cost_a_fee(participation, fee):
    priced = engine.price(product(ABSENT), facts(participation=participation))
    assert lines(priced) == ([("PRM-10", 30000)] if fee else [])
    if fee:
        [line] = priced.lines
        assert line.section is Section.FEE
        [shown] = line.evidence
        assert isinstance(shown, ParticipationEvidence)
        assert len(shown.months) == 3


@pytest.mark.parametrize(("counts", "fee"), [(True, True), (False, False)])
def test_a_refusal_costs_only_where_the_product_says_so(counts, fee):
    asked = {**ABSENT, "counts_refusal": counts}
    priced = engine.price(product(asked), facts(refuses_upload=True))
    assert lines(priced) == ([("PRM-10", 30000)] if fee else [])


def test_the_fee_takes_every_discount_away_and_lies_outside_of_the_bounds():
    worse = series({1: "5.5", 12: "7.5"}, "FASTING_GLUCOSE")
    rules = [PART, flat("MORE", "28"), flat("LESS", "-28"), worsening(), ABSENT, improvement()]
    known = facts(
        participation=took_part([1, 2, 3, 4], percent="90"),
        series=(worse,),
        carried={"PRM-6": Decimal(-15)},
    )
    priced = engine.price(product(*rules), known)
    assert lines(priced) == [
        ("MORE", 84000),
        ("PRM-8", 15000),
        ("BOUNDS", -9000),
        ("PRM-10", 30000),
    ]
    assert priced.total == 420000
    assert reason(priced, "PART") == (
        "Because of not taking part (PRM-10) this discount (4 % less) does not hold in this term."
    )


def test_what_is_carried_is_not_lost_by_a_term_with_the_fee():
    known = facts(participation=absent(4, 5, 6), carried={"PRM-6": Decimal(-15)})
    priced = engine.price(product(improvement(), ABSENT), known)
    assert (lines(priced), dict(priced.carry)) == (
        [("PRM-10", 30000)],
        {"PRM-6": Decimal(-15)},
    )


def test_more_cover_is_no_discount_that_the_fee_could_take_away():
    known = facts(
        series=(FELL,),
        mild_conditions=(mild("2026-03-20", MildChoice.COVER),),
        participation=absent(4, 5, 6),
    )
    priced = engine.price(product(MILD, ABSENT), known)
    assert (lines(priced), priced.cover_uplift_percent) == (
        [("PRM-5", 0), ("PRM-10", 30000)],
        5,
    )


def test_the_fee_is_of_the_rated_base():
    tier = rule("tier", "PRM-1", multipliers={"LOW": "0.8", "MEDIUM": "1", "HIGH": "1.2"})
    known = facts(tier=assessed("LOW"), participation=absent(4, 5, 6))
    priced = engine.price(product(tier, flat("MORE", "20"), ABSENT), known)
    assert lines(priced) == [("PRM-1", -60000), ("MORE", 48000), ("PRM-10", 24000)]


# ── Credits ──────────────────────────────────────────────────────────────────────────────────


def credit(id: str, amount: int, day: str) -> Credit:
    return Credit(id, amount, date.fromisoformat(day))


def test_credits_pay_the_oldest_first_and_the_rest_stays():
    known = facts(
        credits=(
            credit("c", 250000, "2026-05-01"),
            credit("z", 30000, "2026-03-01"),
            credit("y", 40000, "2026-03-01"),
            credit("d", 5000, "2026-06-01"),
        )
    )
    priced = engine.price(product(CREDIT), known)
    assert lines(priced) == [("PTS-4", -40000), ("PTS-4", -30000), ("PTS-4", -230000)]
    assert priced.total == 0
    assert dict(priced.credits_used) == {"y": 40000, "z": 30000, "c": 230000}
    assert priced.adjustment_percent == -100
    assert priced.lines[2].explanation.en == (
        "Premium credit redeemed on 2026-05-01: 2,300.00 CNY; 200.00 CNY are left."
    )


def test_a_product_without_credits_leaves_them_alone():
    priced = engine.price(product(), facts(credits=(credit("a", 5000, "2026-01-01"),)))
    assert (priced.total, dict(priced.credits_used)) == (300000, {})


def test_credits_come_after_everything_else():
    known = facts(credits=(credit("a", 5000, "2026-01-01"),), participation=absent(4, 5, 6))
    priced = engine.price(product(CREDIT, ABSENT, flat("MORE", "50")), known)
    assert lines(priced) == [
        ("MORE", 150000),
        ("BOUNDS", -60000),
        ("PRM-10", 30000),
        ("PTS-4", -5000),
    ]


def test_a_credit_stays_when_nothing_is_left_to_be_paid():
    known = facts(credits=(credit("a", 5000, "2026-01-01"),))
    priced = engine.price(product(flat("FREE", "-100"), CREDIT, bounds=("-100", "0")), known)
    assert (priced.total, dict(priced.credits_used)) == (0, {})
    assert reason(priced, "PTS-4") == "Nothing is left to be paid; the credit stays."


def test_one_rule_of_points_may_have_levels_and_credits():
    both = {**flat("PTS-4", "-10"), "credit": True}
    known = facts(credits=(credit("a", 5000, "2026-01-01"),))
    priced = engine.price(product(both), known)
    assert [(it.section, it.amount) for it in priced.lines] == [
        (Section.ADJUSTMENT, -30000),
        (Section.CREDIT, -5000),
    ]
