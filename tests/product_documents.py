"""Product documents for tests: one of each kind of rule, to be changed by path."""

from copy import deepcopy
from typing import Any

import yaml

from app.premiums import product

WORDS = {"zh": "条款", "en": "Clause"}


def words(code: str) -> dict[str, Any]:
    return {"code": code, "label": WORDS, "explanation": WORDS}


SYSTOLIC = {"measurement": "SYSTOLIC_BP", "by": "-5", "unit": "mm[Hg]"}
GLUCOSE_UP = {"measurement": "FASTING_GLUCOSE", "by": "2", "unit": "mmol/L"}

RULES: dict[str, dict[str, Any]] = {
    "tier": {
        "kind": "tier",
        **words("tier"),
        "multipliers": {"LOW": "0.8", "MEDIUM": "1", "HIGH": "1.2"},
    },
    "region": {"kind": "region", **words("region"), "percent_by_region": {"CN-31": "20"}},
    "loss_ratio": {
        "kind": "loss_ratio",
        **words("loss-ratio"),
        "above_percent": "120",
        "above_change": "10",
        "below_percent": "80",
        "below_change": "-10",
    },
    "group": {"kind": "group", **words("group"), "percent_by_members_from": {10: "-2"}},
    "improvement": {
        "kind": "window_improvement",
        **words("improvement"),
        "metrics": [SYSTOLIC],
        "months": 12,
        "percent": "-5",
        "percent_at_most": "-30",
    },
    "to_base": {
        "kind": "window_improvement",
        **words("to-base"),
        "metrics": [SYSTOLIC],
        "months": 3,
        "tiers": ["HIGH"],
        "returns_to_base": True,
    },
    "participation": {
        "kind": "participation",
        **words("participation"),
        "month_counts_from_percent": "80",
        "percent_per_month": "-1",
        "percent_at_most": "-10",
    },
    "tier_change": {
        "kind": "tier_change",
        **words("tier-change"),
        "participation_months": 6,
        "month_counts_from_percent": "80",
        "percent": "-15",
    },
    "worsening": {
        "kind": "worsening",
        **words("worsening"),
        "metrics": [GLUCOSE_UP],
        "diagnoses": ["I10"],
        "percent": "5",
        "percent_at_most": "30",
    },
    "mild": {
        "kind": "mild_condition_improvement",
        **words("mild"),
        "metrics": [SYSTOLIC],
        "months": 3,
        "percent": "-10",
        "cover_uplift_percent": "5",
    },
    "exit": {"kind": "exit", **words("exit")},
    "non_participation": {
        "kind": "non_participation",
        **words("non-participation"),
        "months": 3,
        "fee_percent": "10",
    },
    "levels": {
        "kind": "benefit_from_points",
        **words("levels"),
        "initial_percent": "-10",
        "step_by_level": {"bronze": "2", "gold": "-1"},
        "percent_min": "-20",
        "percent_max": "5",
    },
    "credit": {"kind": "benefit_from_points", **words("credit"), "credit": True},
}
"""Every kind, and both forms of those that have two."""

MILD_CONDITION = {
    "code": "COV-2",
    "label": WORDS,
    "explanation": WORDS,
    "conditions": [{"condition": "GRADE_1_HYPERTENSION", "drugs": ["C09"]}],
    "months": 3,
    "share_percent": "50",
    "amount_max": "2000.00",
}


def document(*names: str, regime: str = "individual") -> dict[str, Any]:
    """A valid product with these rules, and with what they need."""
    return {
        "code": "tried",
        "version": "1.0.0",
        "name": WORDS,
        "currency": "CNY",
        "regime": regime,
        "term_months": 12,
        "late_data_days": 30,
        "eligibility": {"age_from": 18, "age_to": 65},
        "base_premium": {"by_age": [{"age_from": 18, "age_to": 65, "amount": "3000.00"}]},
        "rules": [deepcopy(RULES[name]) for name in names],
        "bounds": {"percent_min": "-30", "percent_max": "30"},
        "points": {"expire_after_months": 12},
        "tasks": [],
        "consents": [{"purpose": "HEALTH_DATA", "explanation": WORDS}],
        "benefits": {"mild_condition": deepcopy(MILD_CONDITION)},
        "groups": {
            "label": WORDS,
            "explanation": WORDS,
            "members_min": 10,
            "payers": ["employer"],
        },
    }


def changed(given: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """With another value at a path; None takes the key away."""
    found = deepcopy(given)
    *parents, last = path.split(".")
    place: Any = found
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    key: Any = int(last) if last.isdigit() else last
    if value is None:
        del place[key]
    else:
        place[key] = value
    return found


def parsed(given: dict[str, Any]) -> product.Product:
    return product.parse(yaml.safe_dump(given, allow_unicode=True, sort_keys=False))
