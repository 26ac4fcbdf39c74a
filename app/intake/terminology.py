"""From other systems' codes and units to ours: LOINC, UCUM, ICD-10 and the little of SNOMED CT
that decides a tier."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from app.measurements.catalogue import by_loinc, quantities
from app.records import health

_LOINC = "http://loinc.org"
_SNOMED = "http://snomed.info/sct"
_UCUM = "http://unitsofmeasure.org"
_ICD10 = re.compile(r"icd-?10|2\.16\.840\.1\.113883\.6\.(3|90)\b", re.IGNORECASE)

# The same quantity by another method or specimen, which the catalogue does not tell apart.
_ALIASES: Mapping[str, str] = {
    "2339-0": "RANDOM_GLUCOSE", "15074-8": "RANDOM_GLUCOSE", "41653-7": "RANDOM_GLUCOSE",
    "13457-7": "LDL", "2089-1": "LDL", "38483-4": "CREATININE", "17856-6": "HBA1C",
    "14959-1": "UACR", "2708-6": "SPO2", "3141-9": "WEIGHT", "8331-1": "BODY_TEMPERATURE",
    "41950-7": "STEPS",
}  # fmt: skip
_CONDITIONS: Mapping[str, str] = {
    "44054006": "E11", "46635009": "E10", "73211009": "E14", "714628002": "R73",
    "15777000": "R73", "59621000": "I10", "38341003": "I10", "55822004": "E78.5",
    "267432004": "E78.0", "302870006": "E78.1", "162864005": "E66", "408512008": "E66",
    "414916001": "E66", "53741008": "I25.1", "414545008": "I25", "22298006": "I21",
    "401303003": "I21", "401314000": "I21", "230690007": "I64", "422504002": "I63",
    "49436004": "I48", "84114007": "I50", "88805009": "I50", "431855005": "N18.1",
    "431856006": "N18.2", "433144002": "N18.3", "431857002": "N18.4", "433146000": "N18.5",
    "46177005": "N18.5", "73430006": "G47.3", "78275009": "G47.3", "13645005": "J44",
}  # fmt: skip
_UNITS: Mapping[str, str] = {
    "mmhg": "mm[Hg]", "mm hg": "mm[Hg]", "bpm": "/min", "beats/min": "/min", "1/min": "/min",
    "count/min": "/min", "breaths/min": "/min", "kg/m^2": "kg/m2", "kg/m²": "kg/m2",
    "kg/㎡": "kg/m2", "lb": "[lb_av]", "lbs": "[lb_av]", "[lb_us]": "[lb_av]", "in": "[in_i]",
    "degc": "Cel", "°c": "Cel", "℃": "Cel", "c": "Cel", "degf": "[degF]", "°f": "[degF]",
    "µmol/l": "umol/L", "μmol/l": "umol/L", "umol/l": "umol/L", "mmol/l": "mmol/L",
    "mg/dl": "mg/dL", "mg/l": "mg/L", "u/l": "U/L", "iu/l": "U/L", "[iu]/l": "U/L",
    "ml/min/1.73m2": "mL/min/{1.73_m2}", "ml/min/1.73m^2": "mL/min/{1.73_m2}",
    "ml/min/1.73 m2": "mL/min/{1.73_m2}", "ml/min/{1.73_m2}": "mL/min/{1.73_m2}",
    "ml/(min·1.73m²)": "mL/min/{1.73_m2}", "ml/min/1.73m²": "mL/min/{1.73_m2}",
    "ml/kg/min": "mL/min/kg", "steps": "{steps}", "步": "{steps}", "千克": "kg", "公斤": "kg",
    "厘米": "cm", "次/分": "/min", "次/min": "/min", "毫米汞柱": "mm[Hg]", "％": "%", "kpa": "kPa",
}  # fmt: skip
_ANNOTATION = re.compile(r"\{[^}]*\}")


def code_of(concept: Any) -> str | None:
    """Of a CodeableConcept, by its first LOINC code that we know."""
    for coding in concept.coding or []:
        if coding.system != _LOINC or coding.code is None:
            continue
        found = by_loinc().get(coding.code)
        if found is not None:
            return found[0].code
        if coding.code in _ALIASES:
            return _ALIASES[coding.code]
    return None


def unit_of(code: str, quantity: Any) -> str | None:
    """The catalogue's unit (UCUM); None when it has no such."""
    if quantity is None:
        return quantities()[code].canonical.ucum
    coded = quantity.code if quantity.system in (None, _UCUM) else None
    return ucum(code, coded or quantity.unit or "")


@lru_cache(maxsize=4096)
def ucum(code: str, written: str) -> str | None:
    """The catalogue's unit for one that was written in some other way."""
    quantity = quantities()[code]
    written = written.strip()
    for text in (written, _UNITS.get(written.lower()), _ANNOTATION.sub("", written)):
        if text and quantity.unit(text) is not None:
            return text
    # A bare number, where the catalogue counts something.
    if written in ("1", "{#}", "") and quantity.canonical.ucum.startswith("{"):
        return quantity.canonical.ucum
    return None


def is_summed(code: str) -> bool:
    return not quantities()[code].is_reading


def codes(concept: Any) -> set[str]:
    return {it.code for it in (concept.coding or []) if it.code} if concept is not None else set()


def icd10_of(concept: Any) -> str | None:
    """The ICD-10 code of a diagnosis; of a few SNOMED CT codes the one that they are."""
    codings = (concept.coding or []) if concept is not None else []
    for coding in codings:
        if coding.code and coding.system and _ICD10.search(coding.system):
            found = health.icd10(coding.code)
            if found is not None:
                return found
    known = (_CONDITIONS.get(it.code or "") for it in codings if it.system == _SNOMED)
    return next((found for found in known if found is not None), None)


def shown(concept: Any) -> str:
    """What a report calls it: a code, never words of a person."""
    coding = next(iter((concept.coding or []) if concept is not None else []), None)
    code = (coding.code if coding is not None else None) or ""
    return code if re.fullmatch(r"[A-Za-z0-9.-]{1,20}", code) else "without a code"
