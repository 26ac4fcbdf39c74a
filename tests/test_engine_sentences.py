"""Lines and refusals in the member's own words and numbers, in both languages."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from app.premiums import engine
from app.premiums.facts import Diagnosed, LossRatio, NoData, Participated, Series
from app.premiums.wording import number
from tests.engine_cases import (
    assessed,
    facts,
    improvement,
    line_of,
    metric,
    product,
    reason,
    rule,
    series,
    took_part,
    worsening,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("5", "5"),
        ("5.50", "5.5"),
        ("10", "10"),
        ("-14.2625", "-14.26"),
        ("0.005", "0.01"),
        ("-0.001", "0"),
        ("100", "100"),
        ("1E+2", "100"),
    ],
)
def test_numbers_are_shown_to_two_decimals_without_zeros(value, shown):
    assert number(Decimal(value)) == shown


def explained(code: str, *rules: dict[str, Any], **known: Any) -> tuple[str, str]:
    line = line_of(engine.price(product(*rules), facts(**known)), code)
    assert line is not None
    return line.explanation.zh, line.explanation.en


def test_the_tier():
    tier = rule("tier", "PRM-1", multipliers={"LOW": "0.80", "MEDIUM": "1", "HIGH": "1.2"})
    assert explained("PRM-1", tier, tier=assessed("LOW")) == (
        "你的健康风险评估为低风险，保费乘以0.8。",
        "You were assessed as low risk: the premium is multiplied by 0.8.",
    )


def test_the_region_and_what_holds_it():
    region = rule("region", "PRM-12", percent_by_region={"CN-31": "20"})
    assert explained("PRM-12", region, region="CN-31") == (
        "你所在的地区是CN-31，保费加20%。",
        "You live in CN-31: 20 % more.",
    )
    assert explained("PRM-12", region, region="CN-31-1")[1] == (
        "You live in CN-31-1, part of CN-31: 20 % more."
    )


def test_the_loss_ratio():
    ratio = rule(
        "loss_ratio",
        "PRM-14",
        above_percent="120",
        above_change="10",
        below_percent="80",
        below_change="-10",
    )
    assert explained("PRM-14", ratio, loss_ratio=LossRatio(2025, Decimal("121.5"))) == (
        "2025年全部保单的赔付率（含运营成本）是121.5%，高于120%，今年的基础保费加10%。",
        (
            "In 2025 the loss ratio of all policies, with operating cost, was 121.5 %, above 120 %: "
            "the table is 10 % more."
        ),
    )
    priced = engine.price(product(ratio), facts(loss_ratio=LossRatio(2025, Decimal(100))))
    assert reason(priced, "PRM-14") == (
        "The loss ratio of 2025 was 100 %, between 80 % and 120 %: the table stays as it is."
    )


def test_improvement_with_its_averages_and_what_was_there_before():
    known = series({1: "140.333", 12: "135"})
    assert explained("PRM-6", improvement(), series=(known,), carried={"PRM-6": Decimal(-5)}) == (
        "收缩压的平均值从140.33降到135 mmHg（8次测量），连同以前累积的5%：保费减10%。",
        (
            "The average of Systolic blood pressure fell from 140.33 to 135 mmHg (8 readings), with "
            "the 5 % of earlier terms: 10 % less."
        ),
    )


def test_what_is_kept_says_why_this_term_added_nothing():
    assert explained("PRM-6", improvement(), carried={"PRM-6": Decimal(-5)}) == (
        (
            "保留以前累积的：保费减5%。本期没有变化："
            "2026年1月的收缩压有0次可信的测量，在0天；需要2天里至少2次。"
        ),
        (
            "What earlier terms have brought stays: 5 % less. This term adds nothing: 2026-01 has 0 "
            "trusted readings of Systolic blood pressure on 0 days; at least 2 on 2 days are needed."
        ),
    )


def test_worsening_names_context_and_diagnosis():
    known = series({1: "5.5", 12: "7.5"}, "FASTING_GLUCOSE", context="FASTING")
    zh, en = explained(
        "PRM-8",
        improvement(),
        worsening(),
        series=(known,),
        diagnoses=(Diagnosed("I10", date(2026, 8, 3)),),
    )
    assert zh == (
        "空腹血糖（空腹）的平均值从5.5升到7.5 mmol/L（8次测量）；2026-08-03新诊断高血压（I10）：保费加5%。"
    )
    assert en == (
        "The average of Fasting plasma glucose (fasting) rose from 5.5 to 7.5 mmol/L (8 "
        "readings); high blood pressure (I10) was newly diagnosed on 2026-08-03: 5 % more."
    )


@pytest.mark.parametrize(
    ("level", "zh", "en"),
    [
        ("gold", "你的等级是金卡，", "Your level is Gold: "),
        ("retired", "你的等级是retired，", "Your level is retired: "),
        (None, "你的等级是未知，", "Your level is not known: "),
    ],
)
def test_a_level_has_the_name_that_members_know(level, zh, en):
    flex = rule("benefit_from_points", "flex", step_by_level={"gold": "-1"}, percent_min="-20")
    known = {"level": level, "carried": {"flex": Decimal(-10)}}
    said_zh, said_en = explained("flex", flex, **known)
    assert said_zh.startswith(zh)
    assert said_en.startswith(en)
    line = line_of(engine.price(product(flex), facts(**known)), "flex")
    assert [it.detail.zh for it in line.evidence] == ([zh[5:-1]] if level else [])


@pytest.mark.parametrize(
    ("icd10", "said"),
    [("I11.9", "高血压（I11.9）"), ("E11", "糖尿病（E11）"), ("N18.5", "N18.5")],
)
def test_a_diagnosis_has_its_everyday_name(icd10, said):
    zh, _ = explained(
        "PRM-8",
        worsening(diagnoses=[icd10]),
        diagnoses=(Diagnosed(icd10, date(2026, 8, 3)),),
    )
    assert zh == f"2026-08-03新诊断{said}：保费加5%。"


# ── Why not ──────────────────────────────────────────────────────────────────────────────────

UNTIL_NOVEMBER: dict[int, str | Decimal] = {place: "130" for place in range(2, 12)} | {1: "140"}


@pytest.mark.parametrize(
    ("no_data", "why_zh", "why_en"),
    [
        (None, "", ""),
        (
            NoData.REFUSED,
            "（你没有同意使用健康数据）",
            " (you did not agree to the use of health data)",
        ),
        (
            NoData.WITHDRAWN,
            "（你撤回了健康数据授权）",
            " (you withdrew the consent to health data)",
        ),
        (NoData.PAUSED, "（你的计划处于暂停）", " (your programme was paused)"),
        (NoData.DEVICE_SILENT, "（设备没有传来数据）", " (your device sent nothing)"),
        (NoData.NOTHING_DUE, "", ""),
    ],
)
def test_an_end_without_readings_says_which_kind_of_nothing_it_was(no_data, why_zh, why_en):
    silent = {12: no_data} if no_data else {}
    months = took_part(range(1, 13), silent=silent)
    known = facts(series=(series(UNTIL_NOVEMBER),), participation=months)
    priced = engine.price(product(improvement()), known)
    assert reason(priced, "PRM-6") == (
        f"2026-12 has 0 trusted readings of Systolic blood pressure on 0 days{why_en}; at least 2 "
        "on 2 days are needed."
    )
    assert reason(priced, "PRM-6", "zh") == (
        f"2026年12月的收缩压有0次可信的测量，在0天{why_zh}；需要2天里至少2次。"
    )


def test_an_end_of_two_kinds_of_nothing_tells_both():
    months = took_part(range(3, 13), silent={1: NoData.DEVICE_SILENT, 2: NoData.PAUSED})
    known = facts(participation=months[::-1])
    priced = engine.price(product(improvement(end_months=2, consecutive=False)), known)
    assert "(your programme was paused, your device sent nothing)" in reason(priced, "PRM-6")
    assert "（你的计划处于暂停、设备没有传来数据）" in reason(priced, "PRM-6", "zh")


def test_a_silence_in_another_month_is_not_the_reason():
    months = took_part(range(1, 13), silent={6: NoData.PAUSED})
    known = facts(series=(series(UNTIL_NOVEMBER),), participation=months)
    assert "paused" not in reason(engine.price(product(improvement()), known), "PRM-6")


def test_who_refuses_is_told_so_without_any_month():
    priced = engine.price(product(improvement()), facts(refuses_upload=True))
    assert "(you did not agree to the use of health data)" in reason(priced, "PRM-6")


def test_too_few_readings_are_counted():
    known = series({1: "140", 12: "130"})
    few = replace(known.months[1], readings=3, days=1)
    priced = engine.price(
        product(improvement()), facts(series=(replace(known, months=(known.months[0], few)),))
    )
    assert reason(priced, "PRM-6") == (
        "2026-12 has 3 trusted readings of Systolic blood pressure on 1 day; at least 2 on 2 "
        "days are needed."
    )


def test_an_end_of_several_months_is_named_by_both():
    priced = engine.price(product(improvement(end_months=3)), facts())
    assert reason(priced, "PRM-6", "zh").startswith("2026年1月至2026年3月的收缩压")
    assert reason(priced, "PRM-6").startswith("2026-01 to 2026-03 has 0")


def test_a_broken_run_names_the_month():
    known = series({1: "140", 7: "140.5", 12: "130"})
    priced = engine.price(product(improvement()), facts(series=(known,)))
    assert reason(priced, "PRM-6") == (
        "The average of Systolic blood pressure went from 140 to 130 mmHg, but 2026-07 was worse "
        "than the beginning, so the improvement was not continuous."
    )
    assert reason(priced, "PRM-6", "zh") == (
        "收缩压的平均值从140到130 mmHg，但2026年7月比开始时差，改善没有连续。"
    )


@pytest.mark.parametrize("order", [1, -1])
def test_what_came_closest_is_told(order):
    rules = improvement(metrics=[metric("BMI", "-1"), metric()][::order])
    known = (series({1: "140", 12: "138"}), series({1: "28"}, "BMI"))
    priced = engine.price(product(rules), facts(series=known))
    assert reason(priced, "PRM-6") == (
        "The average of Systolic blood pressure went from 140 to 138 mmHg; it did not fall by 5 "
        "mmHg or more."
    )


def test_of_two_contexts_that_came_as_close_the_first_is_told():
    known = tuple(
        series({1: start, 12: start}, context=context)
        for context, start in (("BEDTIME", "141"), ("AT_REST", "142"))
    )
    assert reason(engine.price(product(improvement()), facts(series=known)), "PRM-6").startswith(
        "The average of Systolic blood pressure (at rest) went from 142 to 142"
    )


def test_a_fee_names_its_months_or_the_refusal():
    asked = rule("non_participation", "PRM-10", months=3, fee_percent="10", counts_refusal=True)
    nothing = tuple(Participated(date(2026, it, 1), Decimal(0)) for it in range(4, 7))
    assert explained("PRM-10", asked, participation=nothing) == (
        "2026年4月至2026年6月连续3个月没有完成任何到期的任务：按条款加收10%。",
        (
            "From 2026-04 to 2026-06, 3 months in a row, nothing that was due was done: the terms ask "
            "for 10 %."
        ),
    )
    assert explained("PRM-10", asked, refuses_upload=True)[0] == (
        "你没有授权使用健康数据：按条款加收10%。"
    )


def test_the_bounds_name_sum_and_limit():
    priced = engine.price(
        product(improvement(percent="-20", percent_at_most="-60")),
        facts(series=(series({1: "140", 12: "130"}),), carried={"PRM-6": Decimal(-20)}),
    )
    line = line_of(priced, engine.BOUNDS)
    assert line is not None
    assert line.explanation.en == (
        "All adjustments together are -1,200.00 CNY; the limit is 30 % less, -900.00 CNY."
    )
    assert line.explanation.zh == (
        "各项调整合计-1,200.00 CNY，超出限度（保费减30%，即-900.00 CNY），以限度为准。"
    )


def test_an_unknown_code_is_shown_as_it_is():
    known = Series("GRIP", None, "kg", ())
    asked = improvement(metrics=[{"measurement": "GRIP", "by": "1", "unit": "kg"}])
    priced = engine.price(product(asked), facts(series=(known,)))
    assert " of GRIP " in reason(priced, "PRM-6")


def test_who_was_not_assessed_is_told_so_and_not_that_they_were_of_another_tier():
    only_high = product(improvement(tiers=["HIGH"]))
    assert reason(engine.price(only_high, facts()), "PRM-6") == (
        "There was no assessment when the term began, so there is nothing to compare with."
    )
    known = facts(tier_at_start=assessed("LOW"))
    assert reason(engine.price(only_high, known), "PRM-6") == (
        "It is for members who began as high risk; you were low risk."
    )
