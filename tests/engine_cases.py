"""Products and facts for the premium engine: a year from 1 January, and what a case changes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from app.members.rules import Sex
from app.premiums.facts import (
    Assessed,
    Facts,
    Moment,
    MonthOfReadings,
    NoData,
    Participated,
    Series,
)
from app.premiums.product import Product
from app.premiums.quote import Line, Priced
from app.premiums.rules import Term, add_months
from app.risk.rulesets import Tier

YEAR = Term(date(2026, 1, 1), date(2026, 12, 31))
UNITS = {
    "SYSTOLIC_BP": "mm[Hg]",
    "DIASTOLIC_BP": "mm[Hg]",
    "BMI": "kg/m2",
    "FASTING_GLUCOSE": "mmol/L",
    "POSTPRANDIAL_GLUCOSE": "mmol/L",
    "RANDOM_GLUCOSE": "mmol/L",
}
WORDS = {"zh": "条款", "en": "A clause"}


def rule(kind: str, code: str = "R-1", **terms: Any) -> dict[str, Any]:
    return {"kind": kind, "code": code, "label": WORDS, "explanation": WORDS, **terms}


def metric(measurement: str = "SYSTOLIC_BP", by: str = "-5", **more: Any) -> dict[str, Any]:
    return {"measurement": measurement, "by": by, "unit": UNITS[measurement], **more}


def improvement(code: str = "PRM-6", **terms: Any) -> dict[str, Any]:
    asked = {
        "metrics": [metric()],
        "months": 12,
        "percent": "-5",
        "percent_at_most": "-30",
    }
    return rule("window_improvement", code, **{**asked, **terms})


def worsening(code: str = "PRM-8", **terms: Any) -> dict[str, Any]:
    asked = {
        "metrics": [metric("FASTING_GLUCOSE", "2")],
        "diagnoses": ["I10"],
        "percent": "5",
        "percent_at_most": "30",
    }
    return rule("worsening", code, **{**asked, **terms})


def product(
    *rules: Mapping[str, Any],
    amount: str = "3000.00",
    bounds: tuple[str, str] = ("-30", "30"),
    **more: Any,
) -> Product:
    """With a table of one row."""
    return Product.model_validate(
        {
            "code": "case",
            "version": "1.0.0",
            "name": WORDS,
            "currency": "CNY",
            "regime": "individual",
            "term_months": 12,
            "late_data_days": 30,
            "eligibility": {"age_from": 0, "age_to": 120},
            "base_premium": {"by_age": [{"age_from": 0, "age_to": 120, "amount": amount}]},
            "bounds": {"percent_min": bounds[0], "percent_max": bounds[1]},
            "points": {"expire_after_months": 12},
            "tasks": [],
            **more,
            "rules": list(rules),
        }
    )


def facts(**changed: Any) -> Facts:
    """Of a renewal on 1 January 2027, with nothing known but age and sex."""
    known: dict[str, Any] = {
        "moment": Moment.RENEWAL,
        "as_of": datetime(2027, 1, 1, 1, tzinfo=UTC),
        "effective_on": date(2027, 1, 1),
        "age": 50,
        "sex": Sex.MALE,
        "ending": YEAR,
    }
    return Facts(**{**known, **changed})


def assessed(tier: Tier | str, *, at: datetime = datetime(2026, 12, 1, tzinfo=UTC)) -> Assessed:
    return Assessed(Tier(tier), at)


def month(
    place: int, average: str | Decimal, *, readings: int = 4, days: int = 4, year: int = 2026
) -> MonthOfReadings:
    """Readings of a month (from 1), on its first days."""
    begins = add_months(date(year, 1, 1), place - 1)
    return MonthOfReadings(
        begins, readings, days, Decimal(average) * readings, begins, begins.replace(day=days)
    )


def series(
    averages: Mapping[int, str | Decimal],
    code: str = "SYSTOLIC_BP",
    *,
    context: str | None = None,
    **counts: int,
) -> Series:
    """Averages by the month's place in 2026, from 1."""
    found = tuple(month(place, averages[place], **counts) for place in sorted(averages))
    return Series(code, context, UNITS[code], found)


def took_part(
    months: Sequence[int], *, percent: str = "100", silent: Mapping[int, NoData] | None = None
) -> tuple[Participated, ...]:
    """Every month of 2026: those named with a share, the others with 0, or with no data."""
    silent = silent or {}
    return tuple(
        Participated(date(2026, place, 1), None, silent[place])
        if place in silent
        else Participated(date(2026, place, 1), Decimal(percent if place in months else 0))
        for place in range(1, 13)
    )


def lines(priced: Priced) -> list[tuple[str, int]]:
    return [(line.rule, line.amount) for line in priced.lines]


def line_of(priced: Priced, rule: str) -> Line | None:
    return next((line for line in priced.lines if line.rule == rule), None)


def reason(priced: Priced, rule: str, locale: str = "en") -> str:
    """Why a rule made no line."""
    [found] = [it.reason for it in priced.not_applied if it.rule == rule]
    return found.to(locale)
