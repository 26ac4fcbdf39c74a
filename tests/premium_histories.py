"""Random products and member histories for the oracle, and the same as the engine's facts."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from app import civil_time
from app.members.rules import Sex
from app.premiums import rules
from app.premiums.facts import (
    Assessed,
    Credit,
    Diagnosed,
    Facts,
    LossRatio,
    MidTerm,
    MildChoice,
    MildCondition,
    Moment,
    MonthOfReadings,
    NoData,
    Participated,
    Series,
)
from app.risk.rulesets import Tier
from tests.premium_raw import History, Reading, Year, last_of, months_closing, plus_months

UNITS = {"SYSTOLIC_BP": "mm[Hg]", "BMI": "kg/m2", "FASTING_GLUCOSE": "mmol/L"}
_STARTS = {"SYSTOLIC_BP": 140, "BMI": 28, "FASTING_GLUCOSE": 7}
_GROUPS = ("healthy", "pre_chronic", "pre_diabetes", "hypertension", "diabetes", "mild_condition")
_SILENT = tuple(NoData)

# ── Products ──


def random_product(chance: random.Random) -> dict[str, Any]:
    """A document with any of the rules in any order, its numbers picked at random."""
    pick, words = chance.choice, {"zh": "字", "en": "word"}
    rule_list = [it for it in _kinds(chance) if chance.random() < 0.65]
    if not any(it["kind"] == "tier" for it in rule_list):
        rule_list = [it for it in rule_list if not it.get("returns_to_base")]
    chance.shuffle(rule_list)
    rows: list[dict[str, Any]] = [
        {"age_from": 20, "age_to": 45, "health": ["healthy"], "amount": "1333.33"},
        {"age_from": 50, "age_to": 99, "health": ["hypertension", "diabetes"], "amount": "4111.07"},
        {"age_from": 30, "age_to": 60, "sex": "FEMALE", "amount": "2222.21"},
    ]
    rows = [it for it in rows if chance.random() < 0.5]
    rows.append({"age_from": 0, "age_to": 130, "amount": pick(["3000.00", "0.07", "2999.99"])})
    return {
        "code": "random", "version": "1.0.0", "name": words, "currency": "CNY",
        "regime": "individual", "term_months": pick([12, 12, 12, 6, 24]), "late_data_days": 30,
        "eligibility": {"age_from": 0, "age_to": 130}, "base_premium": {"by_age": rows},
        "rules": [{**it, "label": words, "explanation": words} for it in rule_list],
        "stacking": pick(["additive", "compound"]),
        "bounds": pick([{"percent_min": "-30", "percent_max": "30"},
                        {"percent_min": "-7.5", "percent_max": "2.25"},
                        {"percent_min": "0", "percent_max": "0"}]),
        "points": {"expire_after_months": 12}, "tasks": [],
    }  # fmt: skip


def _kinds(chance: random.Random) -> Iterator[dict[str, Any]]:
    pick = chance.choice
    yield {"kind": "loss_ratio", "code": "LOSS", "above_percent": "120", "above_change": "10",
           "below_percent": "80", "below_change": "-10"}  # fmt: skip
    yield {"kind": "group", "code": "GROUP", "percent_by_members_from": {10: "-2.5", 50: "-4"}}
    yield {"kind": "region", "code": "REGION",
           "percent_by_region": {"CN-31": "20", "CN": "12.5"}}  # fmt: skip
    yield {"kind": "tier", "code": "TIER",
           "multipliers": {"LOW": "0.8", "MEDIUM": "1.0", "HIGH": pick(["1.2", "1.333"])}}  # fmt: skip
    yield _window(chance, "BACK", months=pick([3, 4]), returns_to_base=True, consecutive=False,
                  timing=pick(["renewal", "mid_term"]), tiers=pick([["HIGH"], []]))  # fmt: skip
    yield _window(chance, "ONCE", months=pick([3, 6]), percent="-3.33", tiers=pick([[], ["HIGH"]]))
    yield _window(chance, "YEARLY", months=pick([6, 12]), percent="-5", percent_at_most="-30")
    yield _window(chance, "OTHER", months=pick([2, 12]), percent="-2.5", percent_at_most="-7",
                  consecutive=pick([True, False]))  # fmt: skip
    yield {"kind": "participation", "code": "PART", "month_counts_from_percent": "80",
           **pick([{"percent_per_month": "-1", "percent_at_most": "-10"},
                   {"percent_per_month": "0.5", "percent_at_most": "2"}])}  # fmt: skip
    yield {"kind": "tier_change", "code": "FALL", "participation_months": pick([3, 6]),
           "month_counts_from_percent": "80", "percent": "-15",
           "health": pick([[], ["pre_diabetes"]])}  # fmt: skip
    worse = {"kind": "worsening", "code": "WORSE", "months": pick([6, 12]),
             "metrics": [{"measurement": "FASTING_GLUCOSE", "by": "2", "unit": "mmol/L"}],
             "diagnoses": pick([["I10"], ["I10", "I11"]])}  # fmt: skip
    yield {**worse, **pick([{"percent": "5", "percent_at_most": "30"}, {"percent": "4"}, {},
                            {"percent": "5", "percent_at_most": "8", "removes_discounts": False}])}  # fmt: skip
    yield {"kind": "mild_condition_improvement", "code": "MILD", "months": pick([2, 3]),
           "metrics": [_metric("FASTING_GLUCOSE", "-0.5"), _metric("SYSTOLIC_BP", "-5")],
           "percent": "-10", "cover_uplift_percent": "5"}  # fmt: skip
    yield {"kind": "exit", "code": "EXIT"}
    yield {"kind": "non_participation", "code": "ABSENT", "months": 3, "fee_percent": "10",
           "counts_refusal": pick([True, False])}  # fmt: skip
    yield {"kind": "benefit_from_points", "code": "LEVEL", "initial_percent": "-10",
           "step_by_level": {"bronze": "2", "silver": "1", "gold": "-1", "platinum": "-2"},
           **pick([{}, {"percent_min": "-12", "percent_max": "0"}])}  # fmt: skip
    yield {"kind": "benefit_from_points", "code": "CREDIT", "credit": True}


def _metric(code: str, by: str, context: str | None = None) -> dict[str, Any]:
    metric = {"measurement": code, "by": by, "unit": UNITS[code]}
    return metric if context is None else {**metric, "context": context}


def _window(chance: random.Random, code: str, *, months: int, **keys: Any) -> dict[str, Any]:
    context = chance.choice([None, None, "AT_REST"])
    rule = {"kind": "window_improvement", "code": code, "months": months,
            "metrics": [_metric("SYSTOLIC_BP", "-5", context), _metric("BMI", "-1")],
            "needs": chance.choice(["any", "any", "all"]), **keys}  # fmt: skip
    if months >= 4 and chance.random() < 0.3:
        rule |= {"end_months": 2, "readings_min": 3}
    return rule


# ── Histories ──


def random_history(chance: random.Random, *, terms: int, term_months: int) -> History:
    pick = chance.choice
    started = date(2020, 1, 1) + timedelta(days=chance.randrange(730))
    history = History(
        born=date(1950, 1, 1) + timedelta(days=chance.randrange(18000)),
        sex=pick(["FEMALE", "MALE"]),
        region=pick([None, "CN-31", "CN-31-15", "CN-32", "CN", "DE-BY", "CN-310"]),
        started=started,
        years=[_year(chance) for _ in range(terms)],
    )
    months = [plus_months(started.replace(day=1), it) for it in range(terms * term_months + 1)]
    for code in UNITS:
        for context in (None, "AT_REST") if code == "SYSTOLIC_BP" else (None,):
            history.readings += _readings(chance, code, context, months)
    for month in months:
        history.shares[month] = pick([Fraction(0), Fraction(0), None, Fraction(80), Fraction("79.999"), Fraction(100)])  # fmt: skip
        if chance.random() < 0.1:
            del history.shares[month]
    days = (months[-1] - started).days
    history.diagnoses = [
        (
            pick(["I10", "I10.9", "I11", "E11"]),
            started + timedelta(days=chance.randrange(-400, days)),
        )
        for _ in range(chance.randrange(3))
    ]
    history.cases = [
        (pick(["FASTING_GLUCOSE", "GRADE_1_HYPERTENSION"]),
         started + timedelta(days=chance.randrange(days)), pick(["PREMIUM", "COVER"]))
        for _ in range(chance.randrange(3))
    ]  # fmt: skip
    history.credits = [
        (
            started + timedelta(days=chance.randrange(days)),
            f"redemption-{it}",
            pick([1, 5000, 200000, 900000]),
        )
        for it in range(chance.randrange(4))
    ]
    return history


def _year(chance: random.Random) -> Year:
    pick = chance.choice
    return Year(
        tier=pick(["LOW", "MEDIUM", "HIGH", "HIGH", None]),
        health=frozenset(it for it in _GROUPS if chance.random() < 0.25),
        level=pick([None, "bronze", "silver", "gold", "platinum", "unheard-of"]),
        loss_ratio=pick([None, Fraction(79), Fraction(80), Fraction(100), Fraction(120), Fraction("120.01")]),
        group=pick([None, 9, 10, 49, 50, 700]),
        left=chance.random() < 0.1,
        refuses=chance.random() < 0.1,
        offered=pick([None, None, 0, 150000, 300000]),
    )  # fmt: skip


def _readings(
    chance: random.Random, code: str, context: str | None, months: list[date]
) -> Iterator[Reading]:
    """Whole steps near the rules' limits, so that exact ones happen; months without any, days
    with several, and some that are not trusted."""
    level = Fraction(_STARTS[code])
    step = Fraction(1) if code == "FASTING_GLUCOSE" else Fraction(5)
    if code == "BMI":
        step = Fraction(1, 2)
    for month in months:
        if chance.random() < 0.35:
            level += step * chance.choice([-1, -1, 1])
        if chance.random() < 0.12:
            continue
        for _ in range(chance.randrange(1, 5)):
            day = chance.choice([1, 2, 15, last_of(month).day])
            wobble = step / 5 * chance.choice([0, 0, 0, 1, -1])
            value, trusted = level + wobble, chance.random() < 0.9
            yield Reading(month.replace(day=day), code, context, value, trusted)


# ── The same, as facts ──


def facts_of(
    history: History,
    *,
    place: int,
    term_months: int,
    carried: Mapping[str, Decimal],
    credits: Mapping[str, int],
    chance: random.Random,
) -> Facts:
    term = rules.term(history.started, place, months=term_months)
    ending = rules.term(history.started, place - 1, months=term_months) if place else None
    year = history.years[place]
    before = history.years[place - 1] if place else None
    until = ending.ends_on if ending else term.starts_on
    return Facts(
        moment=Moment.RENEWAL if place else Moment.ENROLMENT,
        as_of=datetime.combine(term.starts_on, datetime.min.time(), UTC),
        effective_on=term.starts_on,
        age=civil_time.completed_years(history.born, term.starts_on),
        sex=Sex(history.sex),
        region=history.region,
        health=year.health,
        health_at_start=before.health if before else frozenset(),
        tier=_assessed(year.tier, term.starts_on),
        tier_at_start=_assessed(before.tier, ending.starts_on) if before and ending else None,
        ending=ending,
        participation=_participation(history, ending, chance) if ending else (),
        series=_series(history, until, chance),
        diagnoses=tuple(Diagnosed(*it) for it in history.diagnoses if it[1] <= until),
        mild_conditions=_cases(history, until, chance),
        level=year.level,
        credits=_credits(history, credits, chance),
        loss_ratio=LossRatio(term.starts_on.year - 1, _decimal(year.loss_ratio))
        if year.loss_ratio is not None
        else None,
        group_members=year.group,
        offered=year.offered,
        left_on=term.starts_on - timedelta(days=1) if year.left else None,
        refuses_upload=year.refuses,
        carried=carried,
    )


def mid_term(
    history: History, *, place: int, term_months: int, on: date, chance: random.Random
) -> MidTerm:
    running = rules.term(history.started, place, months=term_months)
    return MidTerm(
        running=running,
        effective_on=on,
        series=_series(history, on - timedelta(days=1), chance),
        participation=_participation(history, running, chance),
    )


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _assessed(tier: str | None, day: date) -> Assessed | None:
    at = datetime.combine(day, datetime.min.time(), UTC)
    return Assessed(Tier(tier), at) if tier else None


def _participation(
    history: History, term: rules.Term, chance: random.Random
) -> tuple[Participated, ...]:
    return tuple(
        Participated(month, None, chance.choice(_SILENT))
        if share is None
        else Participated(month, _decimal(share))
        for month in months_closing(term.starts_on, term.ends_on)
        if month in history.shares
        for share in [history.shares[month]]
    )


def _series(history: History, until: date, chance: random.Random) -> tuple[Series, ...]:
    kept: dict[tuple[str, str | None], dict[date, list[Reading]]] = defaultdict(
        lambda: defaultdict(list)
    )
    readings = [it for it in history.readings if it.trusted and it.day <= until]
    chance.shuffle(readings)
    for it in readings:
        kept[it.code, it.context][it.day.replace(day=1)].append(it)
    return tuple(
        Series(
            code,
            context,
            UNITS[code],
            tuple(
                MonthOfReadings(
                    month,
                    len(found),
                    len({it.day for it in found}),
                    sum((_decimal(it.value) for it in found), Decimal(0)),
                    min(it.day for it in found),
                    max(it.day for it in found),
                )
                for month, found in sorted(months.items())
            ),
        )
        for (code, context), months in kept.items()
    )


def _cases(history: History, until: date, chance: random.Random) -> tuple[MildCondition, ...]:
    cases = [MildCondition(code, day, MildChoice(choice)) for code, day, choice in history.cases]
    chance.shuffle(cases)
    return tuple(it for it in cases if it.triggered_on <= until)


def _credits(
    history: History, left: Mapping[str, int], chance: random.Random
) -> tuple[Credit, ...]:
    found = [Credit(id, left[id], day) for day, id, _ in history.credits if left.get(id)]
    chance.shuffle(found)
    return tuple(found)
