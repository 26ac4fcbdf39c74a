"""What members have said, and what is recorded of their conditions and medications.

A questionnaire counts as last answered; what nobody knows is left out. What is recorded stands
above what is said.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from app.members.rules import Sex
from app.risk.chosen import Chosen, Provenance
from app.risk.facts import Answered, Coded, Facts

_DIABETES = ("E10", "E11", "E12", "E13", "E14")
_HYPERTENSION = ("I10", "I11", "I12", "I13", "I15")
_CVD = (
    "I20", "I21", "I22", "I23", "I24", "I25", "I50", "I60", "I61", "I62", "I63", "I64", "I69",
    "G45", "Z95.1", "Z95.5",
)  # fmt: skip
"""With their sequelae, and arteries of the heart that were bypassed or widened."""
_RAISED_GLUCOSE = ("R73", "O24", *_DIABETES)
_GESTATIONAL = ("O24.4", "O24.9")
_PRESSURE_DRUGS = ("C02", "C03", "C07", "C08", "C09")
_STATINS = ("C10AA",)
_PARENTS = ("father", "mother")
_FIRST_DEGREE = (*_PARENTS, "sibling", "child")


def said(facts: Facts) -> dict[str, Chosen]:
    asked = _Said(facts)
    found = {
        "smoker": asked.is_one_of("smoking", "status", ("current",)),
        "smoking_years": asked.number("smoking", "years", "a"),
        "alcohol_g_per_day": asked.score("alcohol", "ethanol_per_day", "g/d"),
        "active_daily": asked.flag("activity", "active_daily"),
        "exercise_minutes_a_week": _exercise(asked),
        "vegetables_daily": asked.flag("diet", "vegetables_daily"),
        "urban": asked.is_one_of("health-declaration", "residence", ("urban",)),
        "high_glucose_ever": _high_glucose(asked, facts),
        "gestational_diabetes": _gestational(asked, facts),
        "diabetes": asked.known(
            ("type_1_diabetes", "type_2_diabetes"), facts.conditions, _DIABETES
        ),
        "hypertension": asked.known(("hypertension",), facts.conditions, _HYPERTENSION),
        "cvd": asked.known(("coronary_disease", "stroke", "heart_failure"), facts.conditions, _CVD),
        "bp_treated": asked.takes("blood_pressure_medication", facts.medications, _PRESSURE_DRUGS),
        "bp_treated_ever": _treated_ever(asked, facts),
        "statin": asked.takes("statin", facts.medications, _STATINS),
        "family_diabetes": _family_diabetes(asked),
        "family_diabetes_first_degree": asked.relatives("diabetes", _FIRST_DEGREE),
        "parental_diabetes": asked.relatives("diabetes", _PARENTS),
        "parents_htn": asked.how_many("hypertension", _PARENTS),
        "family_hypertension_first_degree": asked.relatives("hypertension", _FIRST_DEGREE),
        "family_ascvd": asked.relatives("cardiovascular", (*_PARENTS, "sibling")),
    }
    return {name: it for name, it in found.items() if it is not None}


class _Said:
    """Reads answers; None where there is none, or nobody knows."""

    def __init__(self, facts: Facts) -> None:
        self._answers = facts.answers

    def values(self, form: str, item: str) -> tuple[Answered, Sequence[str]] | None:
        answered = self._answers.get(form)
        values = answered.answers.get(item) if answered is not None else None
        if answered is None or not values or "unknown" in values:
            return None
        return answered, values

    def _found(self, form: str, item: str, read: Callable[[Sequence[str]], Any]) -> Chosen | None:
        found = self.values(form, item)
        if found is None:
            return None
        return Chosen(read(found[1]), None, found[0].on, Provenance.SELF_REPORTED)

    def flag(self, form: str, item: str) -> Chosen | None:
        return self._found(form, item, lambda values: int(values[0] == "true"))

    def is_one_of(self, form: str, item: str, wanted: Sequence[str]) -> Chosen | None:
        return self._found(form, item, lambda values: int(any(it in wanted for it in values)))

    def number(self, form: str, item: str, unit: str) -> Chosen | None:
        found = self._found(form, item, lambda values: float(values[0]))
        return found._replace(unit=unit) if found is not None else None

    def score(self, form: str, code: str, unit: str) -> Chosen | None:
        answered = self._answers.get(form)
        if answered is None or code not in answered.scores:
            return None
        value = round(float(answered.scores[code][0]), 3)
        return Chosen(value, unit, answered.on, Provenance.SELF_REPORTED)

    def relatives(self, disease: str, wanted: Sequence[str]) -> Chosen | None:
        return self.is_one_of("family-history", disease, wanted)

    def how_many(self, disease: str, wanted: Sequence[str]) -> Chosen | None:
        return self._found(
            "family-history", disease, lambda values: sum(it in wanted for it in values)
        )

    def known(
        self, diagnoses: Sequence[str], conditions: Iterable[Coded], codes: Sequence[str]
    ) -> Chosen | None:
        """Diagnosed, by what the member declares or by what is recorded."""
        recorded = _recorded(conditions, codes)
        declared = self.is_one_of("health-declaration", "diagnoses", diagnoses)
        return _either(recorded, declared)

    def takes(self, item: str, medications: Iterable[Coded], codes: Sequence[str]) -> Chosen | None:
        return _either(_recorded(medications, codes), self.flag("health-declaration", item))


def _recorded(coded: Iterable[Coded], codes: Sequence[str], *, ever: bool = False) -> list[Coded]:
    return [it for it in coded if (it.present or ever) and it.code.startswith(tuple(codes))]


def _either(recorded: Sequence[Coded], declared: Chosen | None) -> Chosen | None:
    """What is recorded stands; an answer says "no" only where nothing is."""
    if not recorded:
        return declared
    newest = max(recorded, key=lambda it: it.on)
    own = newest.source == "DECLARED"
    provenance = Provenance.SELF_REPORTED if own else Provenance.CLINICAL
    return Chosen(1, None, newest.on, provenance)


def _exercise(said: _Said) -> Chosen | None:
    """Minutes a week; one of vigorous exercise counts for two."""
    days = said.number("activity", "moderate_days", "min/wk")
    if days is None:
        return None
    minutes = said.number("activity", "moderate_minutes", "min/d")
    vigorous = said.number("activity", "vigorous_minutes", "min/wk")
    total = float(days.value) * (float(minutes.value) if minutes else 0.0)
    return days._replace(value=total + 2 * (float(vigorous.value) if vigorous else 0.0))


def _gestational(said: _Said, facts: Facts) -> Chosen | None:
    if facts.sex is Sex.MALE:
        return Chosen(0, None, None, Provenance.PROFILE)
    recorded = _recorded(facts.conditions, _GESTATIONAL, ever=True)
    return _either(recorded, said.is_one_of("health-declaration", "gestational_diabetes", ("yes",)))


def _high_glucose(said: _Said, facts: Facts) -> Chosen | None:
    """Found ever: by what is recorded, or by any answer that says so."""
    recorded = _recorded(facts.conditions, _RAISED_GLUCOSE, ever=True)
    asked = said.flag("health-declaration", "high_glucose_ever")
    others = (
        said.is_one_of(
            "health-declaration",
            "diagnoses",
            ("prediabetes", "type_1_diabetes", "type_2_diabetes"),
        ),
        said.is_one_of("health-declaration", "gestational_diabetes", ("yes",)),
    )
    told = next((it for it in others if it is not None and it.value), None)
    return _either(recorded, asked if asked is not None and asked.value else told or asked)


def _treated_ever(said: _Said, facts: Facts) -> Chosen | None:
    """Asked is only about now: a medication that has ended is known from the records."""
    recorded = _recorded(facts.medications, _PRESSURE_DRUGS, ever=True)
    return _either(recorded, said.flag("health-declaration", "blood_pressure_medication"))


def _family_diabetes(said: _Said) -> Chosen | None:
    found = said.values("family-history", "diabetes")
    if found is None:
        return None
    answered, values = found
    degree = "second_degree" if "second_degree" in values else "none"
    if any(it in _FIRST_DEGREE for it in values):
        degree = "first_degree"
    return Chosen(degree, None, answered.on, Provenance.SELF_REPORTED)
