"""Participation, a lower tier, and mild conditions."""

from datetime import date
from decimal import Decimal

import pytest

from app.premiums import engine
from app.premiums.facts import MildChoice, MildCondition, NoData, Participated
from app.premiums.quote import (
    ParticipationEvidence,
    ReadingsEvidence,
    TierEvidence,
)
from app.premiums.rules import Term
from tests.engine_cases import (
    assessed,
    facts,
    line_of,
    lines,
    metric,
    product,
    reason,
    rule,
    series,
    took_part,
)

PART = rule(
    "participation",
    "PART",
    month_counts_from_percent="80",
    percent_per_month="-1",
    percent_at_most="-10",
)
LOWER = rule(
    "tier_change",
    "PRM-4",
    participation_months=6,
    month_counts_from_percent="80",
    health=["pre_diabetes"],
    percent="-15",
)
MILD = rule(
    "mild_condition_improvement",
    "PRM-5",
    metrics=[metric(), metric("FASTING_GLUCOSE", "-0.5")],
    months=3,
    percent="-10",
    cover_uplift_percent="5",
)


# ── Participation ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("months", "percent"), [(0, None), (1, -1), (6, -6), (10, -10), (11, -10), (12, -10)]
)
def test_each_month_of_participation_counts_down_to_the_bound(months, percent):
    known = facts(participation=took_part(range(1, months + 1)))
    line = line_of(engine.price(product(PART), known), "PART")
    assert (line.percent if line else None) == percent


@pytest.mark.parametrize(("share", "counts"), [("80", True), ("79.99", False)])
def test_a_month_counts_from_its_share_on(share, counts):
    known = facts(participation=took_part([3], percent=share))
    priced = engine.price(product(PART), known)
    assert lines(priced) == ([("PART", -3000)] if counts else [])
    if counts:
        assert priced.lines[0].evidence == (ParticipationEvidence((date(2026, 3, 1),)),)


def test_months_of_another_term_do_not_count():
    months = tuple(Participated(date(year, 12, 1), Decimal(100)) for year in (2025, 2026, 2027))
    assert lines(engine.price(product(PART), facts(participation=months))) == [("PART", -3000)]
    term = Term(date(2026, 1, 15), date(2027, 1, 14))
    assert lines(engine.price(product(PART), facts(participation=months, ending=term))) == [
        ("PART", -3000)
    ]


def test_months_without_data_are_told_apart_and_none_counts():
    silent = {
        1: NoData.REFUSED,
        2: NoData.WITHDRAWN,
        3: NoData.PAUSED,
        4: NoData.PAUSED,
        5: NoData.DEVICE_SILENT,
        6: NoData.NOTHING_DUE,
    }
    priced = engine.price(product(PART), facts(participation=took_part([], silent=silent)))
    assert reason(priced, "PART") == (
        "In no month of this term 80 % of the tasks were done"
        "; in 1 month you did not agree to the use of health data"
        "; in 1 month you withdrew the consent to health data"
        "; in 2 months your programme was paused"
        "; in 1 month your device sent nothing"
        "; in 1 month nothing was due."
    )
    assert reason(priced, "PART", "zh") == (
        "本期没有完成至少80%任务的月；1个月里你没有同意使用健康数据；1个月里你撤回了健康数据授权"
        "；2个月里你的计划处于暂停；1个月里设备没有传来数据；1个月里没有到期的任务。"
    )


def test_there_is_no_participation_before_the_first_term():
    assert reason(engine.price(product(PART), facts(ending=None)), "PART") == (
        "This is the first term."
    )


# ── A lower tier ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, None),
        ({"participation": took_part([1, 3, 5, 7, 9, 11])}, None),
        (
            {"participation": took_part([1, 3, 5, 7, 9])},
            "5 months with at least 80 % of the tasks done; 6 are needed.",
        ),
        (
            {"tier": assessed("MEDIUM")},
            "The tier is not lower: medium risk at the beginning, medium risk now.",
        ),
        (
            {"tier": assessed("HIGH")},
            "The tier is not lower: medium risk at the beginning, high risk now.",
        ),
        ({"tier": None}, "You have not been assessed yet, and it costs you nothing."),
        (
            {"tier_at_start": None},
            "There was no assessment when the term began, so there is nothing to compare with.",
        ),
        (
            {"health_at_start": frozenset({"hypertension"})},
            "It is for members who were in one of these groups when the term began: pre-diabetic.",
        ),
        ({"health_at_start": frozenset({"hypertension", "pre_diabetes"})}, None),
        ({"ending": None}, "This is the first term."),
    ],
)
def test_six_months_and_a_lower_tier(changed, why):
    known = {
        "participation": took_part(range(1, 7)),
        "tier_at_start": assessed("MEDIUM"),
        "tier": assessed("LOW"),
        "health_at_start": frozenset({"pre_diabetes"}),
    }
    priced = engine.price(product(LOWER), facts(**{**known, **changed}))
    if why is None:
        assert lines(priced) == [("PRM-4", -45000)]
        kinds = [type(it) for it in priced.lines[0].evidence]
        assert kinds == [TierEvidence, TierEvidence, ParticipationEvidence]
    else:
        assert (lines(priced), reason(priced, "PRM-4")) == ([], why)


# ── A mild condition ─────────────────────────────────────────────────────────────────────────


def mild(day: str, choice: MildChoice = MildChoice.PREMIUM, code: str = "A") -> MildCondition:
    return MildCondition(code, date.fromisoformat(day), choice)


FELL = series({3: "145", 6: "140"})


def test_improvement_after_three_months_takes_ten_percent_off():
    priced = engine.price(
        product(MILD), facts(series=(FELL,), mild_conditions=(mild("2026-03-20"),))
    )
    assert lines(priced) == [("PRM-5", -30000)]
    assert priced.cover_uplift_percent == 0
    [shown] = priced.lines[0].evidence
    assert isinstance(shown, ReadingsEvidence)
    assert (shown.from_first, shown.to_first) == (date(2026, 3, 1), date(2026, 6, 1))


def test_or_raises_the_cover_and_leaves_the_premium():
    known = facts(series=(FELL,), mild_conditions=(mild("2026-03-20", MildChoice.COVER),))
    priced = engine.price(product(MILD), known)
    assert lines(priced) == [("PRM-5", 0)]
    assert (priced.total, priced.cover_uplift_percent) == (300000, 5)


@pytest.mark.parametrize(
    ("triggered_on", "months", "applies"),
    [
        ("2025-09-30", (-3, 0), False),
        ("2025-10-01", (-2, 1), True),
        ("2026-09-30", (9, 12), True),
        ("2026-10-01", (10, 13), False),
    ],
)
def test_a_case_counts_in_the_term_in_which_its_window_closes(triggered_on, months, applies):
    start, end = months
    known = facts(
        series=(series({start: "145", end: "140"}),), mild_conditions=(mild(triggered_on),)
    )
    priced = engine.price(product(MILD), known)
    assert bool(priced.lines) is applies
    if not applies:
        assert reason(priced, "PRM-5") == (
            "No 3 months of treating a mild condition ended in this term."
        )


def test_a_worse_month_in_between_does_not_matter_to_a_treatment():
    known = series({3: "145", 4: "155", 6: "140"})
    priced = engine.price(
        product(MILD), facts(series=(known,), mild_conditions=(mild("2026-03-01"),))
    )
    assert priced.total == 270000


def test_the_first_improved_case_counts_and_only_that_one():
    readings = series({1: "145", 3: "145", 4: "145", 6: "140", 7: "139"})
    cases = (
        mild("2026-04-01", MildChoice.PREMIUM),
        mild("2026-03-01", MildChoice.COVER, "B"),
        mild("2026-01-01", MildChoice.PREMIUM),
    )
    priced = engine.price(product(MILD), facts(series=(readings,), mild_conditions=cases))
    assert (lines(priced), priced.cover_uplift_percent) == ([("PRM-5", 0)], 5)


def test_without_improvement_it_says_what_the_averages_were():
    known = facts(series=(series({3: "145", 6: "141"}),), mild_conditions=(mild("2026-03-01"),))
    assert reason(engine.price(product(MILD), known), "PRM-5") == (
        "The average of Systolic blood pressure went from 145 to 141 mmHg; it did not fall by "
        "5 mmHg or more."
    )
