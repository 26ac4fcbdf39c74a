"""The shipped products have exactly the numbers of the product's rules, and say them in words."""

import re
from decimal import Decimal

import pytest

from app.premiums import clauses, engine, product
from app.premiums import pricing_rules as kinds
from app.premiums.facts import Assessed, Facts, Moment
from app.premiums.product import PRODUCTS, Product
from tests.factories import NOON

CHRONIC = product.read(PRODUCTS / "chronic-care-1.0.0.yaml")
DISCOUNTS = product.read(PRODUCTS / "chronic-care-discount-only-1.0.0.yaml")
INCLUSIVE = product.read(PRODUCTS / "inclusive-1.0.0.yaml")
SHIPPED = [CHRONIC, DISCOUNTS, INCLUSIVE]
SYSTOLIC = ("SYSTOLIC_BP", None, Decimal(-5), "mm[Hg]")
BMI = ("BMI", None, Decimal(-1), "kg/m2")


def rule(of: Product, code: str):
    return next(it for it in of.rules if it.code == code)


def metrics(of: kinds.Rule):
    return [(it.measurement, it.context, it.by, it.unit) for it in of.metrics]


def test_prm_1_and_2():
    assert rule(CHRONIC, "PRM-1").multipliers == {
        "LOW": Decimal("0.8"),
        "MEDIUM": Decimal("1.0"),
        "HIGH": Decimal("1.2"),
    }
    for age in (45, 50, 55):
        for health in ((), ("pre_diabetes",)):
            row = CHRONIC.base_premium.row(age=age, sex="MALE", health=health)
            assert row.amount == 3000


@pytest.mark.parametrize(
    ("of", "tier", "total"),
    [
        (CHRONIC, "LOW", 2400_00),
        (CHRONIC, "MEDIUM", 3000_00),
        (CHRONIC, "HIGH", 3600_00),
        (DISCOUNTS, "LOW", 2400_00),
        (DISCOUNTS, "HIGH", 3000_00),
        (CHRONIC, None, 3000_00),
    ],
)
def test_prm_2_to_the_cent(of, tier, total):
    assessed = None if tier is None else Assessed(tier, NOON)
    facts = Facts(
        Moment.ENROLMENT, NOON, NOON.date(), 50, "MALE",
        health=frozenset({"pre_diabetes"}), tier=assessed,
    )  # fmt: skip
    assert engine.price(of, facts).total == total


def test_prm_3():
    found = rule(CHRONIC, "PRM-3")
    assert (found.months, found.tiers, found.returns_to_base) == (3, ("HIGH",), True)
    assert found.timing == "renewal"
    assert not found.consecutive
    assert metrics(found) == [SYSTOLIC, BMI]


def test_prm_4():
    for of in (CHRONIC, DISCOUNTS):
        found = rule(of, "PRM-4")
        assert (found.participation_months, found.percent) == (6, -15)
        assert found.health == ("pre_diabetes",)


def test_prm_5():
    for of in (CHRONIC, DISCOUNTS):
        found = rule(of, "PRM-5")
        assert (found.months, found.percent, found.cover_uplift_percent) == (3, -10, 5)


def test_prm_6_and_7():
    for of in (CHRONIC, DISCOUNTS):
        found = rule(of, "PRM-6")
        assert (found.months, found.percent, found.percent_at_most) == (12, -5, -30)
        assert metrics(found) == [SYSTOLIC, BMI]
        assert found.needs == "any"
        assert found.consecutive


def test_prm_8_and_9():
    for of, surcharge, at_most in ((CHRONIC, 5, 30), (DISCOUNTS, None, None)):
        found = rule(of, "PRM-8")
        assert (found.percent, found.percent_at_most) == (surcharge, at_most)
        assert {it.by for it in found.metrics} == {2}
        assert {it.unit for it in found.metrics} == {"mmol/L"}
        assert "FASTING_GLUCOSE" in {it.measurement for it in found.metrics}
        assert "I10" in found.diagnoses
        assert found.removes_discounts
        assert rule(of, "PRM-9").kind == "exit"


def test_prm_10_is_off():
    for of in SHIPPED:
        assert not any(isinstance(it, kinds.NonParticipation) for it in of.rules)


def test_prm_11():
    table = CHRONIC.base_premium
    for age in (20, 30):
        healthy, usual = (
            table.row(age=age, sex="MALE", health=it).amount for it in (("healthy",), ())
        )
        assert healthy < usual
    for age in (50, 75):
        ill, usual = (
            table.row(age=age, sex="MALE", health=it).amount for it in (("hypertension",), ())
        )
        assert usual < ill < usual * Decimal("1.1")
    assert not any("hypertension" in row.health for row in DISCOUNTS.base_premium.by_age)


def test_prm_12():
    for of in (CHRONIC, DISCOUNTS):
        percents = rule(of, "PRM-12").percent_by_region.values()
        assert (min(percents), max(percents)) == (10, 20)


def test_prm_14():
    for of in SHIPPED:
        found = rule(of, "PRM-14")
        assert (found.above_percent, found.above_change) == (120, 10)
        assert (found.below_percent, found.below_change) == (80, -10)


def test_prm_15_to_18():
    assert set(CHRONIC.payment.frequencies) == {"annual", "monthly"}
    assert CHRONIC.payment.stop_any_time
    assert (CHRONIC.bounds.percent_min, CHRONIC.bounds.percent_max) == (-30, 30)
    assert (DISCOUNTS.bounds.percent_min, DISCOUNTS.bounds.percent_max) == (-30, 0)
    assert [it.stacking for it in SHIPPED] == ["additive"] * 3
    assert [it.regime for it in SHIPPED] == ["individual", "discount_only", "pool_only"]
    for of in SHIPPED:
        assert of.trust_min == "MEDIUM"
        assert of.late_data_days == 30  # MON-13
        for it in of.rules:
            if isinstance(it, kinds.WindowImprovement | kinds.Worsening):
                assert (it.readings_min, it.days_min) == (2, 2)


def test_cov():
    for of in (CHRONIC, DISCOUNTS):
        mild = of.benefits.mild_condition
        assert {it.condition for it in mild.conditions} == {
            "FASTING_GLUCOSE",
            "GRADE_1_HYPERTENSION",
        }  # COV-1
        assert (mild.months, mild.share_percent, mild.amount_max) == (3, 50, 2000)  # COV-2
        retinopathy = of.benefits.complication_covers[0]
        assert (retinopathy.code, retinopathy.amount) == ("diabetic_retinopathy", 10_000)  # COV-4
        assert of.underwriting.examination_report_months == 6  # COV-5
        assert {"I10", "E11"} <= set(of.underwriting.accepted)  # COV-6
        assert of.underwriting.recheck.tiers == ("HIGH",)  # RSK-8
    for of in SHIPPED:
        assert (of.cancellation.days, of.cancellation.claws_back_points) == (30, True)  # COV-7
        assert set(of.payment.payers) == {"member", "employer", "government"}  # COV-13
        shares = {it.party: it.percent for it in of.risk_share.parties}
        assert (shares.pop("government"), shares.pop("insurer")) == (20, 60)  # COV-12
        assert sum(shares.values()) == 20
        assert 10 <= of.reserve.percent <= 15 == of.reserve.cap_percent  # ACT-1
    assert CHRONIC.cession.tiers == ("HIGH",)  # ACT-2
    assert INCLUSIVE.base_premium.by_age[0].amount == 200  # CMP-2
    assert INCLUSIVE.benefits.covers[0].amount == 100_000  # CMP-2


def right(of: Product, service: str):
    found = next(it for it in of.entitlements if it.service == service)
    quota = None if found.quota is None else (found.quota.units, found.quota.per)
    return set(found.tiers), quota


def test_svc():
    for of in (CHRONIC, DISCOUNTS):
        assert right(of, "examination") == (set(), (1, "year"))  # SVC-1, SVC-4
        assert right(of, "consultation") == (set(), (5, "month"))  # SVC-4
        for service in ("health_record", "health_information"):
            assert right(of, service) == (set(), None)  # SVC-1
        for service in ("device_monitoring", "personal_plan", "psychological_support"):
            assert right(of, service) == ({"MEDIUM", "HIGH"}, None)  # SVC-2
        for service in ("health_manager", "gene_test", "tcm"):
            assert right(of, service) == ({"HIGH"}, None)  # SVC-3
        rights = {it.service: it for it in of.entitlements}
        assert rights["family_doctor"].shared_with_spouse  # SVC-7
        assert rights["green_channel"].needs == "mild_condition"  # COV-3
    assert right(INCLUSIVE, "examination") == (set(), (1, "year"))  # SVC-4
    assert right(INCLUSIVE, "consultation") == (set(), (12, "year"))  # SVC-5
    assert right(INCLUSIVE, "chronic_management") == (set(), (1, "month"))  # SVC-5
    delivery = next(it for it in INCLUSIVE.entitlements if it.service == "drug_delivery")
    assert delivery.discount_percent == 20  # SVC-5


@pytest.mark.parametrize("of", SHIPPED, ids=lambda it: it.code)
def test_every_clause_is_explained_with_an_example_in_both_languages(of):
    found = list(clauses.of(of))
    assert len({it.code for it in found}) == len(found)
    for clause in [*found, *of.glossary]:
        assert clause.example is not None, clause.code
        for words in (clause.label, clause.explanation, clause.example):
            assert re.search(r"[\u4e00-\u9fff]", words.zh), clause.code
            assert not re.search(r"[\u4e00-\u9fff]", words.en), clause.code
            assert "您" not in words.zh  # members are addressed as 你


@pytest.mark.parametrize("of", SHIPPED, ids=lambda it: it.code)
def test_a_rule_says_its_own_numbers_in_both_languages(of):
    """A number that is changed in a rule and not in its words is a wrong promise."""
    for it in of.rules:
        said = it.model_dump(
            include={
                "above_percent", "above_change", "below_percent", "below_change", "percent",
                "percent_at_most", "cover_uplift_percent", "multipliers", "months",
                "participation_months", "month_counts_from_percent", "percent_by_region",
                "percent_by_members_from",
            },
            exclude_defaults=True,
        )  # fmt: skip
        for value in said.values():
            numbers = value.values() if isinstance(value, dict) else [value]
            for number in numbers:
                plain = f"{abs(Decimal(number)):f}"
                for text in (it.explanation.zh, it.explanation.en):
                    assert re.search(rf"(?<![\d.]){re.escape(plain)}(?![\d.]*\d)", text), (
                        it.code, plain, text,
                    )  # fmt: skip
