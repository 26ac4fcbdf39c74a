"""Which of all that is known an assessment takes. No I/O, no clock.

Readings: the most recent that is fresh and trusted enough, in the right context (fasting
glucose is plasma, fasting, measured by somebody of the profession); blood pressure averaged as
its guideline says. Answers: the questionnaire as last answered; what "I do not know" is left
out, so that a model that needs it says that it is missing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from app.measurements.kinds import Method
from app.members.rules import Sex
from app.records import clinical, thresholds
from app.records.clinical import DIASTOLIC, SYSTOLIC, Reading
from app.records.thresholds import Area, Level
from app.risk import answers
from app.risk.chosen import Chosen, Provenance, Taken
from app.risk.facts import RANKS, Facts
from app.risk.models import VERSIONS
from app.risk.models.base import EGFR_UNIT
from app.risk.rulesets import RuleSet


def choose(facts: Facts, rules: RuleSet) -> Taken:
    found: dict[str, Chosen] = {"age": Chosen(facts.age, "a", None, Provenance.PROFILE)}
    if facts.sex is not Sex.UNKNOWN:
        found["sex"] = Chosen(facts.sex.lower(), None, None, Provenance.PROFILE)
    if facts.region is not None and facts.region.startswith("CN-"):
        province = "-".join(facts.region.split("-")[:2])
        found["north"] = Chosen(int(province in rules.north), None, None, Provenance.PROFILE)
    found["region"] = Chosen(rules.score2_region, None, None, Provenance.PROFILE)
    trusted = [
        it
        for it in facts.readings
        if RANKS[it.trust] >= RANKS[rules.minimum_trust.of(it.code)]
        and it.local_date > facts.today - rules.look_back.of(it.code)
    ]
    person = clinical.Person(facts.sex, facts.age)
    classes = _one_pressure(
        clinical.classes(trusted, person, thresholds.guidelines(), today=facts.today)
    )
    found |= _measured(trusted)
    found |= _classed(classes)
    found |= _diabetes_range(trusted, facts.today)
    found |= answers.said(facts)
    found |= _raised_glucose(found, classes)
    found |= _kidneys(found, trusted, rules)
    return Taken(
        inputs=found,
        areas={it.area.value: it.band.code for it in classes},
        groups=tuple(it.code for it in clinical.groups(classes, thresholds.groups())),
    )


# Readings

_PLAIN = {
    "tc_mmol": "TOTAL_CHOLESTEROL",
    "hdl_mmol": "HDL",
    "tg_mmol": "TRIGLYCERIDES",
    "creatinine_umol": "CREATININE",
    "waist": "WAIST",
}
_UNITS = {
    "tc_mmol": "mmol/L",
    "hdl_mmol": "mmol/L",
    "tg_mmol": "mmol/L",
    "creatinine_umol": "umol/L",
    "waist": "cm",
}


def _measured(readings: Iterable[Reading]) -> dict[str, Chosen]:
    newest: dict[str, Reading] = {}
    for it in readings:
        known = newest.get(it.code)
        if known is None or (known.measured_at, known.id) < (it.measured_at, it.id):
            newest[it.code] = it
    return {
        name: _from([newest[code]], newest[code].value, _UNITS[name])
        for name, code in _PLAIN.items()
        if code in newest
    }


def _diabetes_range(readings: Iterable[Reading], today: date) -> dict[str, Chosen]:
    """A laboratory value of the last year in the diabetes range, whatever came after it."""
    guidelines = thresholds.guidelines()
    clinical_only = [it for it in readings if it.clinical]
    found = clinical.diabetes_range(clinical_only, guidelines, today=today)
    if found is None or not found.diagnostic:
        return {}
    newest = found.readings[0]
    ids = tuple(it.id for it in found.readings)
    return {"diabetes_range": Chosen(1, None, newest.local_date, Provenance.CLINICAL, ids)}


_RAISED = {Area.FASTING_GLUCOSE: "ifg", Area.OGTT_2H: "igt"}


def _raised_glucose(
    found: Mapping[str, Chosen], classes: Iterable[clinical.Found]
) -> dict[str, Chosen]:
    """A laboratory value above normal stands above an answer that there never was one."""
    if "diabetes_range" in found:
        return {"high_glucose_ever": found["diabetes_range"]}
    for it in classes:
        if it.diagnostic and it.band.code == _RAISED.get(it.area):
            ids = tuple(reading.id for reading in it.readings)
            return {"high_glucose_ever": Chosen(1, None, it.as_of, Provenance.CLINICAL, ids)}
    return {}


def _kidneys(
    found: Mapping[str, Chosen], readings: Iterable[Reading], rules: RuleSet
) -> dict[str, Chosen]:
    """From creatinine, by the same model that is shown; else as a laboratory computed it."""
    creatinine, version = found.get("creatinine_umol"), rules.models.get("ckd_epi_2021")
    if creatinine is not None and version is not None:
        taken = taken_by("ckd_epi_2021", found)
        value = VERSIONS["ckd_epi_2021", version].score(taken).value
        if value is not None:
            return {
                "egfr": creatinine._replace(
                    value=round(value, 6), unit=EGFR_UNIT, provenance=Provenance.DERIVED
                )
            }
    reported = [it for it in readings if it.code == "EGFR_CKDEPI2021"]
    if not reported:
        return {}
    newest = max(reported, key=lambda it: (it.measured_at, it.id))
    return {"egfr": _from([newest], newest.value, EGFR_UNIT)}


def _one_pressure(classes: Sequence[clinical.Found]) -> list[clinical.Found]:
    """Of the clinic or of home, whichever is newer; the clinic's where both are of one day. Too
    few days at home may raise what the clinic measured, and do not take it back."""
    by_area = {it.area: it for it in classes}
    office = by_area.get(Area.BLOOD_PRESSURE_OFFICE)
    home = by_area.get(Area.BLOOD_PRESSURE_HOME)
    if office is None or home is None:
        return list(classes)
    raises = _is_high(home) and not _is_high(office)
    takes_home = home.as_of > office.as_of and (home.confirmed or raises)
    left_out = office if takes_home else home
    return [it for it in classes if it is not left_out]


def _is_high(pressure: clinical.Found) -> bool:
    return isinstance(pressure.band, Level) and pressure.band.hypertension


def _classed(classes: Iterable[clinical.Found]) -> dict[str, Chosen]:
    """Blood pressure as its guideline averages it; the body mass index; fasting glucose."""
    by_area = {it.area: it for it in classes}
    found: dict[str, Chosen] = {}
    for area in (Area.BLOOD_PRESSURE_HOME, Area.BLOOD_PRESSURE_OFFICE):
        if area in by_area:
            it = by_area[area]
            for name, code in (("sbp", SYSTOLIC), ("dbp", DIASTOLIC)):
                own = [reading for reading in it.readings if reading.code == code]
                found[name] = _from(own, it.values[code], "mm[Hg]")
            confirmed = int(it.confirmed)
            found["pressure_confirmed"] = found["sbp"]._replace(value=confirmed, unit=None)
    for name, area, unit in (
        ("bmi", Area.BMI, "kg/m2"),
        ("fasting_glucose_mmol", Area.FASTING_GLUCOSE, "mmol/L"),
    ):
        if area in by_area:
            it = by_area[area]
            (value,) = it.values.values()
            derived = len(it.readings) > 1
            found[name] = _from(it.readings, value, unit, derived=derived)
    return found


def _from(
    readings: Sequence[Reading], value: Decimal, unit: str, *, derived: bool = False
) -> Chosen:
    """Of several the least trusted decides where it is from."""
    weakest = min(readings, key=lambda it: RANKS[it.trust])
    provenance = Provenance.DERIVED if derived else Provenance(Method(weakest.method).value)
    return Chosen(
        round(float(value), 6),
        unit,
        max(it.local_date for it in readings),
        provenance,
        tuple(it.id for it in readings),
    )


# What each model takes

Convert = Callable[[Any], float | int | str]


class Take(NamedTuple):
    """Which input, and how it becomes the model's own."""

    name: str
    unit: str | None = None
    """The model's own, where it differs."""
    convert: Convert = lambda value: value


def _by(factor: float) -> Convert:
    return lambda value: round(float(value) * factor, 6)


_MALE = Take("sex", None, lambda value: int(value == "male"))
_ENOUGH_EXERCISE = Take("exercise_minutes_a_week", None, lambda value: int(value >= 150))
_AS_NAMED = {name: Take(name) for name in ("age", "sex", "sbp", "dbp", "bmi", "waist", "smoker")}


def _takes(*as_named: str, **others: Take) -> Mapping[str, Take]:
    return {**{name: _AS_NAMED.get(name, Take(name)) for name in as_named}, **others}


TAKES: Mapping[str, Mapping[str, Take]] = {
    "findrisc": _takes(
        "age", "sex", "bmi", "waist", "diabetes", active=Take("active_daily"),
        veg=Take("vegetables_daily"), bpmed=Take("bp_treated_ever"),
        highglu=Take("high_glucose_ever"), fam=Take("family_diabetes"),
    ),
    "ncdrs_china": _takes(
        "age", "sex", "sbp", "bmi", "waist", "diabetes", fam=Take("family_diabetes_first_degree")
    ),
    "ada_risk_test": _takes(
        "age", "bmi", "diabetes", male=_MALE, gdm=Take("gestational_diabetes"),
        family=Take("family_diabetes_first_degree"), htn=Take("hypertension"),
        active=_ENOUGH_EXERCISE,
    ),
    "china_par_10y_ascvd": _takes(
        "age", "sex", "sbp", "dbp", "tc_mmol", "hdl_mmol", "waist", "smoker", "diabetes", "north",
        "urban", "cvd", treated=Take("bp_treated"), family_history=Take("family_ascvd"),
    ),
    "framingham_hypertension": _takes(
        "age", "sex", "sbp", "dbp", "bmi", "smoker", "parents_htn", "hypertension", "bp_treated",
        "diabetes",
    ),
    "framingham_diabetes_8y": _takes(
        "age", "sex", "sbp", "dbp", "bmi", "bp_treated", "diabetes",
        hdl_mgdl=Take("hdl_mmol", "mg/dL", _by(38.67)),
        tg_mgdl=Take("tg_mmol", "mg/dL", _by(88.57)),
        fasting_glucose_mgdl=Take("fasting_glucose_mmol", "mg/dL", _by(18.016)),
        parental_history=Take("parental_diabetes"),
    ),
    "prevent_base": _takes(
        "age", "sex", "sbp", "bmi", "statin", "egfr", "cvd", bp_tx=Take("bp_treated"),
        total_c=Take("tc_mmol", "mg/dL", _by(1 / 0.02586)),
        hdl_c=Take("hdl_mmol", "mg/dL", _by(1 / 0.02586)), dm=Take("diabetes"),
        smoking=Take("smoker"),
    ),
    **{
        code: _takes(
            "age", "sex", "smoker", "sbp", "tc_mmol", "hdl_mmol", "region", "diabetes", "cvd"
        )
        for code in ("score2", "score2_asia_pacific")
    },
    "ckd_epi_2021": _takes(
        "age", "sex", scr_mgdl=Take("creatinine_umol", "mg/dL", _by(1 / 88.42))
    ),
}  # fmt: skip


def taken_by(model: str, inputs: Mapping[str, Chosen]) -> dict[str, float | int | str]:
    """The inputs as the model takes them; what is not known is left out."""
    return {
        name: take.convert(inputs[take.name].value)
        for name, take in TAKES[model].items()
        if take.name in inputs
    }
