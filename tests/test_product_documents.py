"""Product documents: an unknown key or an impossible combination is an error with its path."""

import pytest

from app.premiums import product, product_checks, product_diff
from app.premiums.product import Product
from tests.product_documents import MILD_CONDITION, RULES, WORDS, changed, document, parsed

ALL = tuple(RULES)
AT = {name: f"rules.{place}" for place, name in enumerate(ALL)}
ENTITLEMENT = {"service": "consultation", "label": WORDS, "explanation": WORDS}
CLAUSE = {"label": WORDS, "explanation": WORDS}
PARTIES = [
    {"party": "government", "name": WORDS, "percent": "20"},
    {"party": "insurer", "name": WORDS, "percent": "60"},
]


def refused(given) -> str:
    with pytest.raises(product.ProductInvalid) as error:
        parsed(given)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("tier", "surprise", 1, ".surprise: unknown key"),
        ("tier", "kind", "formula", ": Input tag 'formula'"),
        ("tier", "code", "PRM 1", ".code: String should match"),
        ("tier", "multipliers", {"LOW": "0.8"}, ": multipliers: MEDIUM, HIGH is missing"),
        ("tier", "multipliers.HIGH", "0.9", ": multipliers: a higher tier must not be cheaper"),
        ("tier", "multipliers.HIGH", "0", ".multipliers.HIGH: Input should be greater than 0"),
        ("tier", "multipliers.EXTREME", "2", ".multipliers.EXTREME.[key]: Input should be"),
        ("region", "percent_by_region", {}, ".percent_by_region: "),
        ("region", "percent_by_region", {"Shanghai": "20"}, ".percent_by_region.Shanghai.[key]"),
        ("region", "percent_by_region.CN-31", "101", ".percent_by_region.CN-31: Input should"),
        ("loss_ratio", "below_percent", "120", ": below_percent 120 must be less than above"),
        ("loss_ratio", "above_change", "-1", ": above_change must not be below 0"),
        ("loss_ratio", "below_change", "1", ": above_change must not be below 0"),
        ("group", "percent_by_members_from", {1: "-2"}, ".percent_by_members_from.1.[key]"),
        ("improvement", "months", 1, ": months 1 must be at least twice end_months 1"),
        ("improvement", "end_months", 7, ".end_months: Input should be less than or equal to 6"),
        ("improvement", "months", 13, ".months: 13 never closes within a term of 12 months"),
        ("improvement", "percent", "5", ": percent 5 must be below 0"),
        ("improvement", "percent", None, ": either percent or returns_to_base: true"),
        ("improvement", "percent_at_most", "30", ": percent_at_most 30 must have the sign of"),
        ("improvement", "percent_at_most", "-4", ": percent_at_most -4 must have the sign of"),
        ("improvement", "returns_to_base", True, ": either percent or returns_to_base: true"),
        ("improvement", "timing", "mid_term", ": timing mid_term is for returns_to_base"),
        ("improvement", "metrics", [], ".metrics: Tuple should have at least 1 item"),
        ("improvement", "metrics.0.measurement", "PULSE", ".metrics.0.measurement: PULSE is not"),
        ("improvement", "metrics.0.unit", "kPa", ".metrics.0.unit: kPa must be mm[Hg]"),
        ("improvement", "metrics.0.unit", None, ".metrics.0.unit: Field required"),
        ("improvement", "metrics.0.by", "0", ".metrics.0.by: 0 is no change"),
        ("improvement", "metrics.0.context", "NOON", ".metrics.0.context: NOON: SYSTOLIC_BP has"),
        ("improvement", "tiers", ["URGENT"], ".tiers.0: Input should be 'LOW', 'MEDIUM' or 'HIGH'"),
        ("to_base", "percent", "-5", ": either percent or returns_to_base: true"),
        ("to_base", "percent_at_most", "-5", ": percent_at_most needs percent"),
        ("participation", "percent_at_most", "10", ": percent_at_most 10 must have the sign"),
        ("participation", "percent_per_month", "0", ": percent_at_most -10 must have the sign"),
        ("participation", "month_counts_from_percent", "0", ".month_counts_from_percent: "),
        ("tier_change", "percent", "15", ".percent: Input should be less than 0"),
        ("tier_change", "participation_months", 13, ".participation_months: 13 never closes"),
        ("tier_change", "health", ["unwell"], ".health.0: Input should be 'healthy'"),
        ("worsening", "months", 13, ".months: 13 never closes"),
        ("worsening", "percent", "-5", ": percent -5 must be above 0"),
        ("worsening", "percent", None, ": percent_at_most needs percent"),
        ("worsening", "percent_at_most", "-30", ": percent_at_most -30 must have the sign of"),
        ("worsening", "diagnoses", ["hypertension"], ".diagnoses.0: String should match"),
        ("worsening", "metrics.0.context", "AFTER_MEAL", ".metrics.0.context: AFTER_MEAL: FASTING"),
        ("mild", "percent", "10", ".percent: Input should be less than 0"),
        ("mild", "cover_uplift_percent", "0", ".cover_uplift_percent: Input should be greater"),
        ("mild", "months", 1, ": months 1 must be at least twice"),
        ("non_participation", "fee_percent", "-1", ".fee_percent: Input should be greater"),
        ("non_participation", "months", 13, ".months: 13 never closes"),
        ("levels", "step_by_level.diamond", "1", ".step_by_level.diamond: no level of the progr"),
        ("levels", "percent_min", "-9", ": percent_min -9 must not be above initial_percent -10"),
        ("levels", "percent_max", "-11", ": initial_percent -10 must not be above percent_max"),
        ("levels", "step_by_level", {}, ": it does nothing: neither step_by_level nor credit"),
        ("credit", "initial_percent", "-5", ": initial_percent needs step_by_level"),
        ("credit", "credit", False, ": it does nothing: neither step_by_level nor credit"),
    ],
)
def test_an_impossible_rule_is_refused_with_its_path(name, key, value, words):
    given = changed(document(*ALL), f"{AT[name]}.{key}", value)
    assert f"{AT[name]}{words}" in refused(given)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("surprise", 1, "surprise: unknown key"),
        ("code", "Chronic", "code: String should match"),
        ("currency", "CNX", "currency: CNX is no currency of ISO 4217"),
        ("bounds", {"percent_min": "1", "percent_max": "5"}, "bounds: 0 must lie within"),
        ("bounds", {"percent_min": "2", "percent_max": "1"}, "bounds: percent_min must not be"),
        ("stacking", "multiply", "stacking: Input should be 'additive' or 'compound'"),
        ("trust_min", "CERTAIN", "trust_min: Input should be 'HIGH', 'MEDIUM'"),
        ("trust_min", "UNVERIFIED", "trust_min: UNVERIFIED readings move no premium"),
        ("eligibility.age_from", 66, "eligibility: age_from 66 must not be above age_to 65"),
        ("eligibility.age_to", 66, "base_premium.by_age: age 66 is eligible and has no row"),
        ("consents", [], "consents: rules.0 (tier) needs the purpose HEALTH_DATA"),
        ("groups", None, "groups: the group rule needs to know what a group is"),
        ("benefits.mild_condition", None, "it needs benefits.mild_condition, which triggers it"),
        (
            "tasks",
            [{"template": "walk", "template_version": 99, "points": 1}],
            "tasks.0.template: walk version 99: its versions are 1, 2",
        ),
        (
            "tasks",
            [{"template": "fly", "template_version": 1, "points": 1}],
            "tasks.0.template: fly version 1: unknown",
        ),
        (
            "entitlements",
            [ENTITLEMENT, ENTITLEMENT],
            "entitlements: a code stands twice: consultation",
        ),
        (
            "entitlements",
            [ENTITLEMENT | {"shared_with_spouse": True}],
            "entitlements.0.shared_with_spouse: it needs households",
        ),
        (
            "entitlements",
            [ENTITLEMENT | {"shared_with_spouse": True, "tiers": ["HIGH"]}],
            "shared_with_spouse: a service that depends on tiers or needs would tell the spouse",
        ),
        (
            "entitlements",
            [ENTITLEMENT | {"quota": {"units": 1, "per": "week"}}],
            "entitlements.0.quota.per: Input should be 'month' or 'year'",
        ),
        (
            "risk_share",
            CLAUSE | {"parties": PARTIES},
            "risk_share: parties: the percentages sum to 80, not to 100",
        ),
        (
            "risk_share",
            CLAUSE | {"parties": [*PARTIES, PARTIES[0]]},
            "risk_share: parties: government stands twice",
        ),
        (
            "underwriting",
            CLAUSE | {"accepted": ["I10"], "declined": ["I10"]},
            "underwriting: I10 is accepted and declined",
        ),
        (
            "payment",
            CLAUSE | {"frequencies": ["annual"], "payers": ["member"], "stop_any_time": True},
            "payment: stop_any_time needs the frequency monthly",
        ),
        (
            "payment",
            CLAUSE | {"frequencies": ["weekly"], "payers": ["member"]},
            "payment.frequencies.0: Input should be 'annual' or 'monthly'",
        ),
        (
            "renewal",
            CLAUSE | {"offer_days_before": 366, "grace_days": 1, "unanswered": "accept"},
            "renewal.offer_days_before: longer than a term of 12 months",
        ),
        ("pilot", {"regions": ["Wuxi"], "members_max": 1}, "pilot.regions.0: String should match"),
        ("pilot", {"regions": ["CN-32"], "members_max": 0}, "pilot.members_max: Input should be"),
        ("pilot", {"regions": ["CN-32", "CN-32"], "members_max": 1}, "pilot.regions: a region"),
    ],
)
def test_an_impossible_product_is_refused_with_its_path(path, value, words):
    given = changed({"groups": None, **document(*ALL)}, path, value)
    assert words in refused(given)


def table(amount):
    return {"by_age": [{"age_from": 18, "age_to": 65, "amount": amount}]}


def test_amounts_have_no_more_decimals_than_the_currency():
    given = document() | {"currency": "JPY", "base_premium": table("3000.50"), "benefits": None}
    assert "base_premium.by_age.0.amount: 3000.50 JPY has more than 0 decimals" in refused(given)
    assert parsed(given | {"base_premium": table("3000")}).currency == "JPY"
    given = changed(document(), "benefits.mild_condition.amount_max", "0.5")
    assert "benefits.mild_condition.amount_max: 0.5 JPY" in refused(given | {"currency": "JPY"})


@pytest.mark.parametrize("name", ["tier", "region", "loss_ratio", "group", "exit", "mild"])
def test_a_kind_that_can_stand_once_only(name):
    given = document("improvement", name, name)
    given["rules"][2]["code"] = "another"
    kind = RULES[name]["kind"]
    assert f"rules.2.kind: {kind} stands twice" in refused(given)


def test_a_code_of_a_rule_stands_once():
    assert "rules: a code stands twice: levels" in refused(document("levels", "levels"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["to_base"], "rules.0.returns_to_base: there is no tier rule with a multiplier above 1"),
        (["exit"], "rules.0: nothing accumulates that an exit could lose"),
    ],
)
def test_a_rule_that_needs_another(names, words):
    assert words in refused(document(*names))


def test_a_worsening_that_does_nothing_is_refused():
    given = document("worsening")
    del given["rules"][0]["percent"], given["rules"][0]["percent_at_most"]
    assert "rules.0: it does nothing: no percent, and nothing accumulates" in refused(given)
    given["rules"][0]["removes_discounts"] = False
    assert "rules.0: it does nothing: no percent, and removes_discounts" in refused(given)


def test_a_change_cannot_be_an_improvement_and_a_worsening():
    given = document("improvement", "worsening")
    given["rules"][1]["metrics"] = [{"measurement": "SYSTOLIC_BP", "by": "-9", "unit": "mm[Hg]"}]
    assert "rules.1.metrics.0.by: -9 is an improvement in another rule" in refused(given)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(18, 40, {}), (42, 65, {})], "base_premium: by_age: the band from 42 must begin at 41"),
        ([(18, 40, {}), (40, 65, {})], "base_premium: by_age: the band from 40 must begin at 41"),
        ([(18, 40, {"sex": "FEMALE"}), (41, 65, {})], "age 18 is eligible and has no row for ev"),
        ([(18, 65, {}), (18, 40, {"sex": "MALE"})], "by_age.1: it is never reached"),
        (
            [(18, 65, {"health": ["diabetes"]}), (30, 40, {"health": ["diabetes"]}), (18, 65, {})],
            "by_age.1: it is never reached",
        ),
        ([(18, 65, {"sex": "OTHER"}), (18, 65, {})], "base_premium.by_age.0.sex: Input should be"),
        ([(18, 65, {"health": ["tall"]}), (18, 65, {})], "base_premium.by_age.0.health.0: Input"),
    ],
)
def test_a_table_with_gaps_or_rows_that_nobody_pays_is_refused(rows, words):
    by_age = [
        {"age_from": low, "age_to": high, "amount": "1.00", **more} for low, high, more in rows
    ]
    assert words in refused(document() | {"base_premium": {"by_age": by_age}})


def test_the_first_row_that_fits_counts():
    rows = [
        {"age_from": 50, "age_to": 65, "health": ["hypertension", "diabetes"], "amount": "3"},
        {"age_from": 18, "age_to": 65, "sex": "FEMALE", "amount": "2"},
        {"age_from": 18, "age_to": 65, "amount": "1"},
    ]
    found = parsed(document() | {"base_premium": {"by_age": rows}}).base_premium

    def amount(age, sex, *health):
        row = found.row(age=age, sex=sex, health=health)
        return None if row is None else int(row.amount)

    assert amount(50, "MALE", "diabetes") == amount(65, "FEMALE", "hypertension") == 3
    assert amount(49, "FEMALE", "hypertension") == amount(50, "FEMALE", "healthy") == 2
    assert amount(50, "MALE") == amount(50, "UNKNOWN", "pre_diabetes") == 1
    assert amount(66, "MALE") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("code: a\ncode: b", "the key 'code' stands twice"),
        ("rules: [{kind: exit, kind: tier}]", "the key 'kind' stands twice"),
        ("{", "not a YAML document"),
        ("- 1", "document: Input should be a valid dictionary"),
        ("", "document: Input should be a valid dictionary"),
        ("!!python/object/apply:os.getcwd []", "not a YAML document"),
    ],
)
def test_what_is_no_document_is_refused(text, words):
    with pytest.raises(product.ProductInvalid, match=words):
        product.parse(text)


def test_a_file_is_named_and_every_fault_stands_in_one_answer(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(product.ProductInvalid, match=r"mine\.yaml: not UTF-8"):
        product.read(path)
    given = changed(document("exit", "to_base"), "currency", "XXX")
    message = refused(given)
    for part in ("currency: ", "rules.0: nothing accumulates", "rules.1.returns_to_base: "):
        assert part in message


def test_a_reserve_beyond_the_cap_of_the_market_is_a_warning():
    given = document() | {"reserve": CLAUSE | {"percent": "16", "cap_percent": "15"}}
    assert list(product_checks.warnings(parsed(given))) == [
        ("reserve.percent", "16 exceeds the market's cap of 15")
    ]
    given["reserve"]["percent"] = "15"
    assert list(product_checks.warnings(parsed(given))) == []


def test_a_stored_definition_is_the_same_product():
    """What `publish` stores and `catalogue.definition` reads."""
    given = parsed(document(*ALL))
    again = Product.model_validate(given.model_dump(mode="json"))
    assert again == given
    assert again.hash == given.hash


def test_a_diff_says_what_changed_in_words_and_numbers():
    before = document("tier", "improvement", "credit") | {"benefits": None}
    after = changed(before, "rules.1.percent_at_most", "-25")
    after = changed(after, "base_premium.by_age.0.amount", "3150.00") | {"version": "1.1.0"}
    after["rules"].append(RULES["exit"])
    del after["rules"][2]
    after["benefits"] = {"mild_condition": MILD_CONDITION}
    del before["benefits"]
    lines = [str(it) for it in product_diff.between(parsed(before), parsed(after))]
    assert lines == [
        "version: 1.0.0 -> 1.1.0",
        "base_premium.by_age.18-65.amount: 3000.00 -> 3150.00 (+150.00, +5.00 %)",
        "rules.improvement.percent_at_most: -30 -> -25 (+5)",
        "rules.credit: gone: Clause: code credit, kind benefit_from_points, credit True",
        "rules.exit: new: Clause: code exit, kind exit",
        (
            "benefits: new: mild_condition Clause: code COV-2, conditions [condition "
            "GRADE_1_HYPERTENSION, drugs [C09]], months 3, share_percent 50, amount_max 2000.00"
        ),
    ]
    assert product_diff.between(parsed(before), parsed(before)) == ()


def test_a_diff_shows_that_rules_changed_places():
    """The order counts when adjustments compound."""
    before, after = document("tier_change", "credit"), document("credit", "tier_change")
    changes = [str(it) for it in product_diff.between(parsed(before), parsed(after))]
    assert changes == ["rules (order): tier-change, credit -> credit, tier-change"]


def test_a_diff_shows_that_rows_of_the_table_changed_places():
    """The first one that fits is paid."""
    rows = [
        {"age_from": 18, "age_to": 65, "amount": amount, "health": health}
        for amount, health in (("1.00", ["hypertension"]), ("2.00", ["diabetes"]), ("3.00", []))
    ]
    before, after = (
        parsed(document() | {"base_premium": {"by_age": it}})
        for it in (rows, [rows[1], rows[0], rows[2]])
    )
    assert [str(it) for it in product_diff.between(before, after)] == [
        (
            "base_premium.by_age (order): 18-65 hypertension, 18-65 diabetes, 18-65 -> "
            "18-65 diabetes, 18-65 hypertension, 18-65"
        )
    ]
