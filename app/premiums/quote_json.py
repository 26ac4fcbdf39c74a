"""A priced premium as JSON, for the command line and for a diff of two products."""

from typing import Any

from app.premiums import money, stored_lines
from app.premiums.facts_json import number
from app.premiums.product import Product
from app.premiums.quote import Priced


def document(product: Product, priced: Priced) -> dict[str, Any]:
    """Amounts are strings in major units: base and amounts of the lines sum to the total."""

    def amount(minor: int) -> str:
        return str(money.major(minor, priced.currency))

    lines = stored_lines.documents(priced.lines)
    for line in lines:
        line["of"], line["amount"] = amount(line["of"]), amount(line["amount"])
    return {
        "product": {"code": product.code, "version": product.version, "hash": product.hash.hex()},
        "currency": priced.currency,
        "base": amount(priced.base),
        "rated_base": amount(priced.rated_base),
        "total": amount(priced.total),
        "adjustment_percent": number(priced.adjustment_percent),
        "cover_uplift_percent": number(priced.cover_uplift_percent),
        "lines": lines,
        "carry": {code: number(percent) for code, percent in sorted(priced.carry.items())},
        "credits_used": {id: amount(used) for id, used in sorted(priced.credits_used.items())},
        "not_applied": [
            {
                "rule": it.rule,
                "label": it.label.model_dump(),
                "reason": it.reason.model_dump(),
            }
            for it in priced.not_applied
        ],
    }
