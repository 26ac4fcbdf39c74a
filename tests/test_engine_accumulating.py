"""What is carried from term to term: improvement, worsening, leaving, levels (PRM-6 to PRM-9)."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import pytest

from app.premiums import engine
from app.premiums.facts import Diagnosed, Facts, MildCondition
from app.premiums.quote import DiagnosisEvidence
from tests.engine_cases import (
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

BETTER = series({1: "140", 12: "135"})
WORSE = series({1: "5.5", 12: "7.5"}, "FASTING_GLUCOSE")
BOTH = product(improvement(), worsening())


def carried(**percents: str) -> Mapping[str, Decimal]:
    return {code.replace("_", "-"): Decimal(it) for code, it in percents.items()}


def carry(product_: object, known: Facts) -> dict[str, Decimal]:
    return dict(engine.price(product_, known).carry)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after"),
    [("0", "-5"), ("-5", "-10"), ("-25", "-30"), ("-27", "-30"), ("-30", "-30"), ("-40", "-30")],
)
def test_each_term_of_improvement_adds_down_to_the_bound(before, after):
    priced = engine.price(BOTH, facts(series=(BETTER,), carried=carried(PRM_6=before)))
    assert lines(priced) == [("PRM-6", int(after) * 3000)]
    assert priced.carry == carried(PRM_6=after, PRM_8="0")


def test_a_term_that_adds_nothing_keeps_what_was_carried():
    priced = engine.price(BOTH, facts(carried=carried(PRM_6="-15", PRM_8="10")))
    assert lines(priced) == [("PRM-6", -45000), ("PRM-8", 30000)]
    assert priced.carry == carried(PRM_6="-15", PRM_8="10")


def test_what_is_kept_is_cut_to_the_bound_of_the_version_that_prices():
    priced = engine.price(BOTH, facts(carried=carried(PRM_6="-40", PRM_8="35")))
    assert priced.carry == carried(PRM_6="-30", PRM_8="30")


@pytest.mark.parametrize("before", [{"PRM_6": "25"}, {"PRM_8": "-25"}])
def test_what_another_version_carried_under_the_code_changes_no_sign(before):
    """A discount is never a surcharge, nor the other way round."""
    priced = engine.price(BOTH, facts(carried=carried(**before)))
    assert (priced.total, set(priced.carry.values())) == (300000, {Decimal(0)})


def test_worsening_removes_the_discount_and_then_adds_its_surcharge():
    priced = engine.price(BOTH, facts(series=(WORSE,), carried=carried(PRM_6="-15", PRM_8="5")))
    assert lines(priced) == [("PRM-8", 30000)]
    assert priced.carry == carried(PRM_6="0", PRM_8="10")
    assert reason(priced, "PRM-6") == (
        "Something got worse in this term (PRM-8): the accumulated discount of 15 % is lost."
    )
    line = line_of(priced, "PRM-8")
    assert line is not None
    assert "the accumulated 15 % (PRM-6) is lost" in line.explanation.en


def test_worsening_outweighs_improvement_of_the_same_term():
    known = facts(series=(BETTER, WORSE), carried=carried(PRM_6="-15", PRM_8="5"))
    for document in (BOTH, product(worsening(), improvement())):
        priced = engine.price(document, known)
        assert lines(priced) == [("PRM-8", 30000)]
        assert priced.carry == carried(PRM_6="0", PRM_8="10")


def test_improvement_first_takes_the_surcharge_away_and_then_brings_its_discount():
    priced = engine.price(BOTH, facts(series=(BETTER,), carried=carried(PRM_6="-5", PRM_8="20")))
    assert lines(priced) == [("PRM-6", -30000)]
    assert priced.carry == carried(PRM_6="-10", PRM_8="0")
    assert reason(priced, "PRM-8") == (
        "Your readings have improved: the earlier surcharge of 20 % is taken away."
    )


def test_improvement_without_a_surcharge_says_why_there_is_none():
    priced = engine.price(product(improvement(), worsening(metrics=[])), facts(series=(BETTER,)))
    assert reason(priced, "PRM-8") == "Nothing was newly diagnosed in this term."


def test_one_worsening_keeps_the_surcharge_of_another_though_something_improved():
    other = worsening("PRM-8b", metrics=[metric("BMI", "1")], diagnoses=[])
    known = facts(series=(BETTER, WORSE), carried=carried(PRM_8b="10"))
    priced = engine.price(product(improvement(), worsening(), other), known)
    assert lines(priced) == [("PRM-8", 15000), ("PRM-8b", 30000)]
    assert priced.carry == carried(PRM_6="0", PRM_8="5", PRM_8b="10")


@pytest.mark.parametrize(
    ("before", "after"), [("0", "5"), ("5", "10"), ("25", "30"), ("28", "30"), ("30", "30")]
)
def test_each_term_of_worsening_adds_up_to_the_bound(before, after):
    known = facts(series=(WORSE,), carried=carried(PRM_8=before))
    assert carry(BOTH, known) == carried(PRM_6="0", PRM_8=after)
    assert engine.price(BOTH, known).total == 300000 + int(after) * 3000


@pytest.mark.parametrize(("end", "worse"), [("7.5", True), ("7.49", False)])
def test_worsening_of_exactly_the_change_counts(end, worse):
    known = series({1: "5.5", 12: end}, "FASTING_GLUCOSE")
    priced = engine.price(BOTH, facts(series=(known,)))
    assert lines(priced) == ([("PRM-8", 15000)] if worse else [])


def test_glucose_of_another_context_is_no_worsening():
    asked = worsening(metrics=[metric("RANDOM_GLUCOSE", "2")], diagnoses=[])
    before = series({1: "5.5"}, "RANDOM_GLUCOSE", context="BEFORE_MEAL")
    after = series({12: "9.5"}, "RANDOM_GLUCOSE", context="AFTER_MEAL")
    assert engine.price(product(asked), facts(series=(before, after))).total == 300000
    same = series({1: "5.5", 12: "7.5"}, "RANDOM_GLUCOSE", context="AFTER_MEAL")
    assert engine.price(product(asked), facts(series=(same,))).total == 315000


def test_a_better_month_in_between_does_not_hide_a_worsening():
    known = series({1: "5.5", 6: "4.5", 12: "7.5"}, "FASTING_GLUCOSE")
    assert engine.price(BOTH, facts(series=(known,))).total == 315000


@pytest.mark.parametrize(
    ("known", "counts"),
    [
        ([("I10", "2026-01-01")], True),
        ([("I10", "2026-12-31")], True),
        ([("I10.9", "2026-06-01")], True),
        ([("I10", "2025-12-31")], False),
        ([("I10", "2027-01-01")], False),
        ([("I10.9", "2020-01-01"), ("I10", "2026-06-01")], False),
        ([("I100", "2026-06-01")], False),
        ([("I1", "2026-06-01")], False),
        ([("E11.9", "2026-06-01")], False),
        ([], False),
    ],
)
def test_a_diagnosis_counts_when_it_is_first_made_in_the_term(known, counts):
    made = tuple(Diagnosed(code, date.fromisoformat(day)) for code, day in known)
    priced = engine.price(BOTH, facts(diagnoses=made))
    assert lines(priced) == ([("PRM-8", 15000)] if counts else [])
    if counts:
        assert priced.lines[0].evidence == tuple(
            DiagnosisEvidence(it.icd10, it.diagnosed_on) for it in made
        )


def test_another_code_for_a_known_illness_is_nothing_new():
    asked = product(worsening(diagnoses=["I10", "I11"]))
    other = Diagnosed("I11.9", date(2026, 6, 1))
    known = facts(diagnoses=(Diagnosed("I10", date(2020, 1, 1)), other))
    assert lines(engine.price(asked, known)) == []
    assert lines(engine.price(asked, facts(diagnoses=(other,)))) == [("PRM-8", 15000)]


def test_a_new_diagnosis_counts_in_a_term_too_short_for_averages():
    from app.premiums.rules import Term

    short = Term(date(2026, 1, 1), date(2026, 5, 31))
    known = facts(ending=short, diagnoses=(Diagnosed("I10", date(2026, 2, 1)),))
    assert engine.price(BOTH, known).total == 315000


def test_readings_and_a_diagnosis_are_one_worsening():
    known = facts(series=(WORSE,), diagnoses=(Diagnosed("I10", date(2026, 2, 1)),))
    priced = engine.price(BOTH, known)
    assert lines(priced) == [("PRM-8", 15000)]
    assert len(priced.lines[0].evidence) == 2


def test_a_worsening_without_a_surcharge_takes_the_discount_and_says_so():
    asked = worsening(percent=None, percent_at_most=None)
    priced = engine.price(
        product(improvement(), asked), facts(series=(WORSE,), carried=carried(PRM_6="-15"))
    )
    assert lines(priced) == [("PRM-8", 0)]
    assert (priced.total, priced.carry) == (300000, carried(PRM_6="0"))
    assert priced.lines[0].evidence


def test_a_surcharge_without_a_bound_is_of_one_term():
    asked = worsening(percent_at_most=None)
    document = product(improvement(), asked)
    assert carry(document, facts(series=(WORSE,))) == carried(PRM_6="0")
    assert engine.price(document, facts(series=(WORSE,))).total == 315000
    assert engine.price(document, facts(carried=carried(PRM_8="5"))).total == 300000


def test_a_worsening_that_removes_nothing_leaves_the_discount():
    document = product(improvement(), worsening(removes_discounts=False))
    known = facts(series=(BETTER, WORSE), carried=carried(PRM_6="-10", PRM_8="5"))
    priced = engine.price(document, known)
    assert lines(priced) == [("PRM-6", -45000), ("PRM-8", 30000)]
    assert "lost" not in priced.lines[1].explanation.en


def test_worsening_leaves_what_does_not_accumulate():
    single = improvement("ONCE", percent="-3", percent_at_most=None)
    part = rule(
        "participation",
        "PART",
        month_counts_from_percent="80",
        percent_per_month="-1",
        percent_at_most="-10",
    )
    mild = rule(
        "mild_condition_improvement",
        "PRM-5",
        metrics=[metric()],
        months=3,
        percent="-10",
        cover_uplift_percent="5",
    )
    known = facts(
        series=(series({1: "140", 4: "130", 12: "135"}), WORSE),
        participation=took_part(range(1, 5)),
        mild_conditions=(MildCondition("GRADE_1_HYPERTENSION", date(2026, 1, 9)),),
    )
    priced = engine.price(product(improvement(), single, part, mild, worsening()), known)
    assert lines(priced) == [
        ("ONCE", -9000),
        ("PART", -12000),
        ("PRM-5", -30000),
        ("PRM-8", 15000),
    ]


def test_a_single_improvement_is_not_carried_and_takes_no_surcharge_away():
    document = product(improvement("ONCE", percent_at_most=None), worsening())
    priced = engine.price(document, facts(series=(BETTER,), carried=carried(PRM_8="10")))
    assert lines(priced) == [("ONCE", -15000), ("PRM-8", 30000)]
    assert priced.carry == carried(PRM_8="10")


def test_leaving_loses_what_was_carried():
    document = product(improvement(), worsening(), rule("exit", "PRM-9"))
    known = facts(left_on=date(2026, 6, 30), carried=carried(PRM_6="-15", PRM_8="10"))
    priced = engine.price(document, known)
    assert lines(priced) == [("PRM-9", 0)]
    assert (priced.total, priced.carry) == (300000, carried(PRM_6="0", PRM_8="0"))
    assert priced.lines[0].explanation.en == (
        "Your earlier cover ended on 2026-06-30; what had been accumulated is lost: "
        "15 % (PRM-6), 10 % (PRM-8)."
    )


def test_without_the_rule_leaving_loses_nothing():
    known = facts(left_on=date(2026, 6, 30), carried=carried(PRM_6="-15"))
    assert engine.price(BOTH, known).total == 255000


def test_a_first_term_keeps_what_it_was_given():
    known = facts(ending=None, carried=carried(PRM_6="-15"), series=(BETTER,))
    priced = engine.price(BOTH, known)
    assert priced.carry == carried(PRM_6="-15", PRM_8="0")


def test_what_the_product_does_not_have_is_not_carried_on():
    assert carry(product(), facts(carried=carried(PRM_6="-15"))) == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [("0", "-5"), ("-5", "-9.75"), ("-9.75", "-14.2625"), ("-26.4908109375", "-30")],
)
def test_compounding_discounts_multiply(before, after):
    document = product(improvement(), stacking="compound")
    known = facts(series=(BETTER,), carried=carried(PRM_6=before))
    assert carry(document, known) == carried(PRM_6=after)


def test_compounded_percentages_are_kept_to_ten_decimals():
    document = product(improvement(percent="-1.11"), stacking="compound")
    known = facts(series=(BETTER,), carried=carried(PRM_6="-3.2933213631"))
    # 100 - 96.7066786369 x 0.9889 = 4.36676549596...
    assert carry(document, known) == carried(PRM_6="-4.3667654960")


FLEX = rule(
    "benefit_from_points",
    "flex",
    initial_percent="-10",
    step_by_level={"BRONZE": "2", "SILVER": "1", "GOLD": "0", "PLATINUM": "-2"},
    percent_min="-20",
    percent_max="0",
)


@pytest.mark.parametrize(
    ("before", "level", "after"),
    [
        (None, "PLATINUM", "-10"),
        ("-10", "PLATINUM", "-12"),
        ("-10", "GOLD", "-10"),
        ("-10", "BRONZE", "-8"),
        ("-10", None, "-10"),
        ("-10", "EMERALD", "-10"),
        ("-19", "PLATINUM", "-20"),
        ("-1", "BRONZE", "0"),
        ("0", "BRONZE", "0"),
        ("0", "SILVER", "0"),
        ("0", "PLATINUM", "-2"),
    ],
)
@pytest.mark.parametrize("stacking", ["additive", "compound"])
def test_a_level_moves_what_is_carried_within_its_bounds(before, level, after, stacking):
    known = facts(level=level, carried=carried(flex=before) if before is not None else {})
    priced = engine.price(product(FLEX, stacking=stacking), known)
    assert lines(priced) == [("flex", int(after) * 3000)]
    assert priced.carry == carried(flex=after)


def test_a_level_begins_again_after_leaving():
    known = facts(level="PLATINUM", left_on=date(2026, 6, 30), carried=carried(flex="-18"))
    priced = engine.price(product(FLEX, rule("exit", "PRM-9")), known)
    assert priced.carry == carried(flex="-10")
