"""Which rule which regime forbids: every kind of rule in every regime, and the table (PRM-17)."""

from decimal import Decimal

import pytest

from app.db import Database
from app.premiums import catalogue, engine, product, regime
from app.premiums.product import Product
from tests.engine_cases import facts
from tests.factories import NOON, counts
from tests.product_documents import RULES, changed, document, parsed

REGIMES = ("individual", "discount_only", "pool_only", "fixed")
HEALTH_OR_BEHAVIOUR = {
    "tier",
    "improvement",
    "to_base",
    "participation",
    "tier_change",
    "worsening",
    "mild",
    "exit",
    "non_participation",
    "levels",
}
"""What looks at one insured person."""
FORBIDDEN = {
    "individual": set(),
    "discount_only": {"tier", "worsening", "non_participation", "levels"},
    "pool_only": HEALTH_OR_BEHAVIOUR,
    "fixed": set(RULES),
}
NEEDS = {"to_base": ("tier",), "exit": ("improvement",)}
"""Rules that mean something only beside another."""


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("of", REGIMES)
def test_each_rule_in_each_regime(of, name):
    built = document(*NEEDS.get(name, ()), name)
    allowed = Product.model_validate(built | {"regime": of})
    code = RULES[name]["code"]
    refused = {it.rule: it for it in regime.refusals(allowed)}
    assert (code in refused) == (name in FORBIDDEN[of])
    if code not in refused:
        return
    with pytest.raises(regime.RegimeForbids, match=f"rule '{code}': regime {of} forbids it: "):
        regime.guard(allowed)
    with pytest.raises(product.ProductInvalid, match=f"regime {of} forbids it: "):
        parsed(built | {"regime": of})
    assert refused[code].path == f"rules.{len(built['rules']) - 1}"
    assert len(refused[code].reason) > 20


def test_individual_allows_every_rule_at_once():
    assert len(parsed(document(*[it for it in RULES])).rules) == len(RULES)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("tier", "rules.0.multipliers.HIGH", "1"),
        ("worsening", "rules.0.percent", None),
        ("non_participation", "rules.0.fee_percent", "0"),
        ("levels", "rules.0.percent_max", "0"),
    ],
)
def test_discount_only_allows_a_rule_that_cannot_raise_a_premium(name, path, value):
    """As chronic-care-discount-only has them."""
    built = changed(document(name, "improvement", regime="discount_only"), path, value)
    if name == "worsening":
        built = changed(built, "rules.0.percent_at_most", None)
    assert parsed(built).rules[0].code == RULES[name]["code"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"percent_per_month": "1", "percent_at_most": "10"}, "percent_per_month 1"),
    ],
)
def test_discount_only_refuses_participation_that_costs(changes, reason):
    built = document("participation", regime="discount_only")
    built["rules"][0] |= changes
    with pytest.raises(product.ProductInvalid, match=reason):
        parsed(built)


@pytest.mark.parametrize(
    "changes",
    [
        {"percent_max": None},
        {"initial_percent": "1"},
        {"initial_percent": None, "percent_max": "0.01"},
    ],
)
def test_discount_only_refuses_levels_that_may_end_above_zero(changes):
    built = document("levels", regime="discount_only")
    for key, value in changes.items():
        built = changed(built, f"rules.0.{key}", value)
    with pytest.raises(product.ProductInvalid, match="regime discount_only forbids it"):
        parsed(built)


def test_levels_that_never_rise_need_a_bound_all_the_same():
    """An earlier version may have carried more than 0 into the term."""
    built = document("levels", regime="discount_only")
    built["rules"][0]["step_by_level"] = {"bronze": "0", "gold": "-1"}
    with pytest.raises(product.ProductInvalid, match="percent_max must be 0 or less"):
        parsed(changed(built, "rules.0.percent_max", None))
    capped = parsed(changed(built, "rules.0.percent_max", "0"))
    line = engine.price(capped, facts(level="bronze", carried={"levels": Decimal(8)})).lines[0]
    assert (line.rule, line.amount) == ("levels", 0)


def table(*rows):
    return {"by_age": [{"age_from": 18, "age_to": 65, **row} for row in rows]}


USUAL = {"amount": "3000.00"}
DEARER = {"amount": "3000.01", "health": ["hypertension"]}
CHEAPER = {"amount": "2999.99", "health": ["healthy"]}
WOMEN = {"amount": "2900.00", "sex": "FEMALE"}


@pytest.mark.parametrize(
    ("of", "rows", "allowed"),
    [
        ("individual", (DEARER, CHEAPER, WOMEN, USUAL), True),
        ("discount_only", (CHEAPER, USUAL), True),
        ("discount_only", (DEARER, USUAL), False),
        # Cheaper than for men, dearer than for women whose health is not known.
        ("discount_only", (CHEAPER, WOMEN, USUAL), False),
        ("pool_only", (CHEAPER, USUAL), False),
        ("pool_only", (WOMEN, USUAL), True),
        ("fixed", (WOMEN, USUAL), False),
        ("fixed", ({**USUAL, "health": ["healthy"]}, USUAL), False),
        ("fixed", (USUAL,), True),
    ],
)
def test_rows_of_the_table_in_each_regime(of, rows, allowed):
    built = document(regime=of) | {"base_premium": table(*rows)}
    if allowed:
        assert len(parsed(built).base_premium.by_age) == len(rows)
        return
    with pytest.raises(product.ProductInvalid, match=rf"base_premium\.by_age: .*regime {of}"):
        parsed(built)


def test_every_forbidden_rule_is_named_at_once():
    built = document("tier", "worsening", regime="pool_only")
    with pytest.raises(regime.RegimeForbids) as refused:
        regime.guard(Product.model_validate(built))
    assert [(it.path, it.rule) for it in refused.value.refusals] == [
        ("rules.0", "tier"),
        ("rules.1", "worsening"),
    ]


async def test_publishing_refuses_what_validating_did_not_see(db: Database):
    """The guard stands before the store itself, whoever calls."""
    forbidden = Product.model_validate(document("tier", regime="pool_only"))
    before = await counts(db)
    with pytest.raises(regime.RegimeForbids, match=r"tried 1\.0\.0: rules\.0: rule 'tier'"):
        async with db.transaction() as session:
            await catalogue.publish(session, forbidden, now=NOON)
    assert await counts(db) == before
