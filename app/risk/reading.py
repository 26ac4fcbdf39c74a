"""A result as JSON, for the command line and for what is kept of an assessment."""

from collections.abc import Sequence
from typing import Any

from app.risk.models.base import Model, Outcome, Result

_DECIMALS = 9
"""Of what is printed: far below any published accuracy, above the noise of floats."""


def result(model: Model, found: Result, locale: str) -> dict[str, Any]:
    """The result in one object; probabilities in percent."""
    refused = {it.name: it.not_applicable.to(locale) for it in found.outcomes if it.not_applicable}
    return {
        "model": model.code,
        "modelVersion": model.version,
        "outcome": model.outcome,
        "horizonYears": model.horizon_years,
        "value": _rounded(found.value),
        "unit": found.unit,
        "category": found.category,
        "nearLimit": found.near_limit,
        "notApplicableReason": (
            found.not_applicable.to(locale) if found.not_applicable is not None else None
        ),
        "contributions": [
            {"factor": it.factor, "value": _rounded(it.value)} for it in found.contributions
        ],
        "outcomes": _nested(found.outcomes),
        "outcomesNotApplicable": refused,
    }


def _nested(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """`10y.ascvd` stands under `10y`; null where it is not applicable."""
    found: dict[str, Any] = {}
    for it in outcomes:
        place = found
        *groups, name = it.name.split(".")
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = _rounded(it.value)
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
