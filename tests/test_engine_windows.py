"""Averages at both ends of a window, and the run between them (PRM-6, PRM-18)."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from app.premiums import engine, windows
from app.premiums.facts import MonthOfReadings, NoData, Series
from app.premiums.quote import ReadingsEvidence
from app.premiums.rules import Term
from app.premiums.wording import counted
from tests.engine_cases import (
    facts,
    improvement,
    line_of,
    metric,
    month,
    product,
    reason,
    series,
    took_part,
)


def percent(rule: dict[str, Any], *known: Series, **changed: Any) -> Decimal | None:
    """What the rule brings; None when it makes no line."""
    line = line_of(engine.price(product(rule), facts(series=known, **changed)), rule["code"])
    return line.percent if line else None


@pytest.mark.parametrize(
    ("start", "end", "applies"),
    [
        ("140", "135", True),
        ("140", "135.001", False),
        ("140", "134.999", True),
        ("140", "145", False),
        ("140", "140", False),
    ],
)
def test_a_fall_of_exactly_the_change_counts_and_no_less(start, end, applies):
    known = series({1: start, 12: end})
    assert percent(improvement(), known) == (Decimal(-5) if applies else None)


def test_averages_are_compared_exactly_not_as_they_are_shown():
    # 421/3 - 406/3 is exactly 5; one unit of the sum less is not.
    def thirds(total: str, place: int) -> MonthOfReadings:
        begins = date(2026, place, 1)
        return MonthOfReadings(begins, 3, 3, Decimal(total), begins, begins.replace(day=3))

    def known(end: str) -> Series:
        return Series("SYSTOLIC_BP", None, "mm[Hg]", (thirds("421", 1), thirds(end, 12)))

    assert percent(improvement(), known("406")) == -5
    assert percent(improvement(), known("406.0000001")) is None


@pytest.mark.parametrize(
    ("readings", "days", "applies"), [(2, 2, True), (2, 1, False), (1, 1, False), (3, 2, True)]
)
@pytest.mark.parametrize("place", [1, 12])
def test_each_end_needs_two_readings_on_two_days(place, readings, days, applies):
    months = {1: month(1, "140"), 12: month(12, "130")}
    months[place] = month(place, "140" if place == 1 else "130", readings=readings, days=days)
    known = Series("SYSTOLIC_BP", None, "mm[Hg]", tuple(months[it] for it in (1, 12)))
    assert percent(improvement(), known) == (Decimal(-5) if applies else None)


def test_readings_of_the_months_of_an_end_are_counted_together():
    rule = improvement(end_months=2)
    known = Series(
        "SYSTOLIC_BP",
        None,
        "mm[Hg]",
        tuple(
            month(place, average, readings=1, days=1)
            for place, average in ((1, "142"), (2, "138"), (11, "136"), (12, "134"))
        ),
    )
    priced = engine.price(product(rule), facts(series=(known,)))
    line = line_of(priced, "PRM-6")
    assert line is not None
    assert line.evidence == (
        ReadingsEvidence(
            code="SYSTOLIC_BP",
            context=None,
            unit="mm[Hg]",
            from_average=Decimal("140.000"),
            to_average=Decimal("135.000"),
            from_first=date(2026, 1, 1),
            from_last=date(2026, 2, 1),
            to_first=date(2026, 11, 1),
            to_last=date(2026, 12, 1),
            readings=4,
        ),
    )


@pytest.mark.parametrize(
    ("context", "applies"), [(None, True), ("AT_REST", True), ("BEDTIME", False)]
)
def test_a_context_is_compared_with_itself(context, applies):
    rule = improvement(metrics=[metric(context=context)])
    resting = series({1: "140", 12: "135"}, context="AT_REST")
    evening = series({1: "150", 12: "149"}, context="BEDTIME")
    assert percent(rule, evening, resting) == (Decimal(-5) if applies else None)


def test_what_was_measured_in_another_context_at_the_other_end_is_no_improvement():
    rule = improvement()
    assert percent(rule, series({1: "150"}, context="BEDTIME"), series({12: "120"})) is None


def test_the_series_without_a_context_is_shown_first():
    with_context = series({1: "150", 12: "130"}, context="AT_REST")
    without = series({1: "140", 12: "134"})
    priced = engine.price(product(improvement()), facts(series=(with_context, without)))
    line = line_of(priced, "PRM-6")
    assert line is not None
    [shown] = line.evidence
    assert isinstance(shown, ReadingsEvidence)
    assert (shown.context, shown.from_average) == (None, 140)


@pytest.mark.parametrize(
    ("between", "applies"),
    [
        ({}, True),
        ({6: "140"}, True),
        ({6: "139", 7: "136"}, True),
        ({6: "140.001"}, False),
        ({6: "120", 7: "150"}, False),
        ({2: "141"}, False),
        ({11: "141"}, False),
    ],
)
def test_a_month_worse_than_the_beginning_ends_the_run(between, applies):
    known = series({1: "140", **between, 12: "130"})
    assert percent(improvement(), known) == (Decimal(-5) if applies else None)
    assert percent(improvement(consecutive=False), known) == -5


def test_a_month_of_a_single_reading_does_not_end_the_run():
    months = (month(1, "140"), month(6, "190", readings=1, days=1), month(12, "130"))
    assert percent(improvement(), Series("SYSTOLIC_BP", None, "mm[Hg]", months)) == -5


def test_paused_months_in_between_do_not_end_the_run():
    paused = took_part([1, 12], silent={place: NoData.PAUSED for place in range(2, 12)})
    known = series({1: "140", 12: "130"})
    assert percent(improvement(), known, participation=paused) == -5


@pytest.mark.parametrize(
    ("needs", "systolic", "bmi", "applies"),
    [
        ("any", True, False, True),
        ("any", False, True, True),
        ("any", False, False, False),
        ("all", True, False, False),
        ("all", True, True, True),
    ],
)
def test_one_metric_is_enough_unless_all_are_needed(needs, systolic, bmi, applies):
    rule = improvement(metrics=[metric(), metric("BMI", "-1")], needs=needs)
    known = (
        series({1: "140", 12: "135" if systolic else "139"}),
        series({1: "29", 12: "28" if bmi else "28.5"}, "BMI"),
    )
    assert percent(rule, *known) == (Decimal(-5) if applies else None)


def test_a_rise_is_an_improvement_where_the_rule_says_so():
    rule = improvement(metrics=[metric(by="5")])
    assert percent(rule, series({1: "100", 12: "105"})) == -5
    assert percent(rule, series({1: "100", 6: "99", 12: "105"})) is None
    assert percent(rule, series({1: "100", 12: "104.9"})) is None


def test_a_shorter_window_is_the_last_months_of_the_term():
    rule = improvement(months=3, percent_at_most=None)
    assert percent(rule, series({10: "140", 12: "135"})) == -5
    assert percent(rule, series({9: "140", 12: "135"})) is None
    assert percent(rule, series({1: "150", 10: "140", 12: "136"})) is None


def test_months_count_for_the_term_in_which_they_close():
    term = Term(date(2026, 3, 15), date(2027, 3, 14))
    known = series({3: "140", 14: "135"})
    assert percent(improvement(), known, ending=term) == -5
    assert percent(improvement(), series({3: "140", 15: "135"}), ending=term) is None
    whole = Term(date(2026, 3, 1), date(2027, 2, 28))
    assert percent(improvement(), known, ending=whole) == -5


@pytest.mark.parametrize(
    ("starts_on", "ends_on", "months"),
    [
        (date(2026, 1, 1), date(2026, 12, 31), 12),
        (date(2026, 1, 2), date(2026, 12, 30), 11),
        (date(2026, 1, 31), date(2026, 1, 31), 1),
        (date(2026, 1, 1), date(2026, 1, 30), 0),
        (date(2028, 2, 10), date(2028, 2, 29), 1),
        (date(2028, 2, 10), date(2028, 2, 28), 0),
    ],
)
def test_a_term_too_short_for_the_window_says_how_many_months_it_had(starts_on, ends_on, months):
    term = Term(starts_on, ends_on)
    assert len(windows.closing_in(term)) == months
    if months < 12:
        priced = engine.price(product(improvement()), facts(ending=term))
        assert reason(priced, "PRM-6") == (
            f"This term has {counted(months, 'whole month')}; 12 are needed."
        )


def test_other_terms_months_move_nothing():
    known = series({0: "150", 1: "140", 12: "136", 13: "120"})
    assert percent(improvement(), known) is None


@pytest.mark.parametrize(("tier", "applies"), [("HIGH", True), ("MEDIUM", False), (None, False)])
def test_a_rule_for_a_tier_asks_for_the_one_that_the_term_was_priced_with(tier, applies):
    from tests.engine_cases import assessed

    rule = improvement(tiers=["HIGH"])
    found = percent(
        rule,
        series({1: "140", 12: "130"}),
        tier=assessed("HIGH"),
        tier_at_start=assessed(tier) if tier else None,
    )
    assert found == (Decimal(-5) if applies else None)


def test_readings_in_another_unit_are_our_mistake():
    known = Series("SYSTOLIC_BP", None, "kPa", (month(1, "18"), month(12, "16")))
    with pytest.raises(ValueError, match="SYSTOLIC_BP is in kPa"):
        percent(improvement(), known)


@pytest.mark.parametrize(
    ("averages", "met"),
    [
        ({1: "135", 2: "145", 11: "128", 12: "141"}, True),
        ({1: "135", 2: "145", 6: "140", 11: "128", 12: "141"}, True),
        ({1: "135", 2: "145", 6: "141", 11: "128", 12: "141"}, False),
    ],
)
def test_months_of_the_start_and_of_the_end_are_not_judged_alone(averages, met):
    """February and December are worse than the 140 of the start."""
    priced = engine.price(product(improvement(end_months=2)), facts(series=(series(averages),)))
    assert bool(priced.lines) == met


def test_a_worse_month_of_many_readings_on_one_day_ends_no_run():
    months = (month(1, "140"), month(6, "150", readings=9, days=1), month(12, "135"))
    known = facts(series=(Series("SYSTOLIC_BP", None, "mm[Hg]", months),))
    assert engine.price(product(improvement()), known).total == 285000
    months = (months[0], month(6, "150", readings=9, days=2), months[2])
    known = facts(series=(Series("SYSTOLIC_BP", None, "mm[Hg]", months),))
    assert engine.price(product(improvement()), known).total == 300000
