"""Which groups of health somebody is in, from a stored assessment. Pure.

A reading of the clinic that lies in a range is no diagnosis: hypertension and diabetes are
those that the assessment took as known (conditions, medicines, answers), or recorded ones.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from app.premiums.documents import HealthGroup
from app.records.thresholds import Area

_OF_PRODUCT = {
    "pre_chronic": HealthGroup.PRE_CHRONIC,
    "mild_condition": HealthGroup.MILD_CONDITION,
}
_PRE_DIABETES = {
    Area.FASTING_GLUCOSE: "ifg",
    Area.FASTING_GLUCOSE_SELF_MEASURED: "ifg",
    Area.OGTT_2H: "igt",
}
_HYPERTENSION = ("I10", "I11", "I12", "I13", "I15", "I16")
_DIABETES = ("E10", "E11", "E12", "E13", "E14")
_PRESSURE = (Area.BLOOD_PRESSURE_OFFICE, Area.BLOOD_PRESSURE_HOME)
_GLUCOSE = (
    Area.FASTING_GLUCOSE,
    Area.FASTING_GLUCOSE_SELF_MEASURED,
    Area.OGTT_2H,
    Area.HBA1C,
)
_SOUND = frozenset({"normal", "high_normal", "below_limit", "inconclusive"})
"""Classes of pressure and glucose in which nothing is wrong."""


def groups(
    classes: Mapping[str, Any] | None, inputs: Mapping[str, Any] | None, icd10: Iterable[str]
) -> frozenset[str]:
    """Of an assessment's `classes` and `inputs` (None: there is none) and recorded diagnoses.
    Empty: not known. `healthy` only where pressure and glucose were measured and are sound."""
    classes, inputs = classes or {}, inputs or {}
    areas = {Area(area): band for area, band in classes.get("areas", {}).items()}
    found = {_OF_PRODUCT[code] for code in classes.get("groups", ()) if code in _OF_PRODUCT}
    codes = tuple(icd10)
    if any(areas.get(area) == band for area, band in _PRE_DIABETES.items()):
        found.add(HealthGroup.PRE_DIABETES)
    if _said(inputs, "hypertension") or any(it.startswith(_HYPERTENSION) for it in codes):
        found.add(HealthGroup.HYPERTENSION)
    if _said(inputs, "diabetes") or any(it.startswith(_DIABETES) for it in codes):
        found.add(HealthGroup.DIABETES)
        found.discard(HealthGroup.PRE_DIABETES)
    if not found and _is_sound(areas):
        found.add(HealthGroup.HEALTHY)
    return frozenset(it.value for it in found)


def _said(inputs: Mapping[str, Any], name: str) -> bool:
    stored = inputs.get(name)
    return stored is not None and stored[0] == 1


def _is_sound(areas: Mapping[Area, str]) -> bool:
    pressure = [areas[it] for it in _PRESSURE if it in areas]
    glucose = [areas[it] for it in _GLUCOSE if it in areas]
    return bool(pressure) and bool(glucose) and _SOUND.issuperset(pressure + glucose)
