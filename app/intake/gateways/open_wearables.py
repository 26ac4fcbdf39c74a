"""What the events of Open Wearables say: series of samples, and nights."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from app.intake.gateways.found import Found, fault_of, instant_of, items, ms_of, number_of
from app.intake.report import Reason
from app.intake.spool import Portion
from app.measurements.catalogue import quantities
from app.measurements.kinds import Method

_SERIES: Mapping[str, tuple[str, str]] = {
    "heart_rate": ("HEART_RATE", "/min"),
    "resting_heart_rate": ("RESTING_HEART_RATE", "/min"),
    "heart_rate_variability_sdnn": ("HRV_SDNN", "ms"),
    "heart_rate_variability_rmssd": ("HRV_RMSSD", "ms"),
    "oxygen_saturation": ("SPO2", "%"),
    "respiratory_rate": ("RESPIRATORY_RATE", "/min"),
    "body_temperature": ("BODY_TEMPERATURE", "Cel"),
    "blood_glucose": ("RANDOM_GLUCOSE", "mg/dL"),
    "blood_pressure_systolic": ("SYSTOLIC_BP", "mm[Hg]"),
    "blood_pressure_diastolic": ("DIASTOLIC_BP", "mm[Hg]"),
    "weight": ("WEIGHT", "kg"),
    "height": ("HEIGHT", "cm"),
    "body_fat_percentage": ("BODY_FAT", "%"),
    "body_mass_index": ("BMI", "kg/m2"),
    "waist_circumference": ("WAIST", "cm"),
    "vo2_max": ("VO2MAX", "mL/min/kg"),
    "steps": ("STEPS", "{steps}"),
    "energy": ("ACTIVE_ENERGY", "kcal"),
    "exercise_time": ("ACTIVE_MINUTES", "min"),
    "flights_climbed": ("FLIGHTS_CLIMBED", "{flights}"),
    "distance_walking_running": ("DISTANCE_WALK_RUN", "m"),
}
"""Series to code, and the unit unless a sample says another."""
_UNITS = {
    "mmol/L": "mmol/L", "mmol_l": "mmol/L", "mg/dL": "mg/dL", "mg_dl": "mg/dL", "kg": "kg",
    "lb": "[lb_av]", "cm": "cm", "m": "m", "km": "km", "kJ": "kJ", "kcal": "kcal",
    "celsius": "Cel", "fahrenheit": "[degF]", "minutes": "min", "seconds": "s", "hours": "h",
}  # fmt: skip
_LENGTH = timedelta(minutes=15)
"""How long a sample of what adds up lasts at most, where the next one does not come earlier."""


def read(kind: str, body: Mapping[str, Any], found: Found) -> None:
    data = body["data"]
    if kind == "sleep.created":
        _sleep(data, found)
        return
    ignored = 0
    for place, it in enumerate(items(body, "data", "samples"), 1):
        known = _SERIES.get(str(it.get("type") or data.get("series_type")))
        if known is None:
            ignored += 1
            continue
        code, usual = known
        written = it.get("unit")
        unit = _UNITS.get(written, usual) if isinstance(written, str) else usual
        if quantities()[code].unit(unit) is None:
            found.report.reject(Reason.UNIT_UNKNOWN, f"sample {place}")
        elif quantities()[code].is_reading:
            found.add(code, it.get("timestamp"), it.get("value"), unit, f"sample {place}")
        else:
            _add_part(it, code, unit, found, f"sample {place}")
    if ignored:
        found.report.ignored[kind] = ignored


def _sleep(data: Mapping[str, Any], found: Found) -> None:
    """A night is a reading at its end: a nap of the same day is another one."""
    seconds = number_of(data.get("sleep_duration_seconds"))
    if seconds is not None:
        minutes = float(round(seconds / 60, 3))
        found.add("SLEEP_DURATION", data.get("end_time"), minutes, "min", "sleep")


def _add_part(it: Mapping[str, Any], code: str, unit: str, found: Found, where: str) -> None:
    at = instant_of(it.get("timestamp"))
    value = number_of(it.get("value"))
    if at is None:
        found.report.reject(Reason.TIME_UNREADABLE, where)
    elif value is None or value < 0:
        found.report.reject(fault_of(it.get("value")), where)
    elif it.get("is_daily_total") is True:
        found.add_total(code, at.date(), it.get("value"), where, unit=unit)
    else:
        found.portions.append(
            Portion(
                ms_of(at), code, found.source, ms_of(at + _LENGTH), str(value), unit,
                Method.SENSED, len(found.portions) + 1,
            )
        )  # fmt: skip
