"""What Terra's `daily`, `body` and `sleep` events say. Days are those of the device: the start
of a day carries its offset."""

from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

from app.intake.gateways.found import Found, instant_of, items, ms_of, number_of, parts
from app.intake.gathering import INTERVALS_MAX, Interval
from app.intake.report import Reason

_STEP = 15 * 60_000
"""How long a sample of steps lasts at most, where it does not say."""


def read(kind: str, body: Mapping[str, Any], found: Found) -> None:
    for place, data in enumerate(items(body, "data"), 1):
        {"daily": _daily, "body": _body, "sleep": _sleep}[kind](data, found, f"data {place}")


def _daily(data: Mapping[str, Any], found: Found, where: str) -> None:
    start = instant_of(parts(data, "metadata").get("start_time"))
    end = parts(data, "metadata").get("end_time")
    if start is None:
        found.report.reject(Reason.TIME_UNREADABLE, where)
        return
    day = start.date()
    distance = parts(data, "distance_data")
    steps = distance.get("steps")
    found.add_total("STEPS", day, steps, where, intervals=_steps(data, number_of(steps)))
    found.add_total("FLIGHTS_CLIMBED", day, distance.get("floors_climbed"), where)
    found.add_total("DISTANCE_WALK_RUN", day, distance.get("distance_meters"), where)
    active = parts(data, "active_durations_data").get("activity_seconds")
    found.add_total("ACTIVE_MINUTES", day, active, where, unit="s")
    burned = parts(data, "calories_data").get("net_activity_calories")
    found.add_total("ACTIVE_ENERGY", day, burned, where)
    summary = parts(data, "heart_rate_data", "summary")
    at = end if instant_of(end) is not None else start.isoformat()
    found.add("RESTING_HEART_RATE", at, summary.get("resting_hr_bpm"), "/min", where)
    oxygen = parts(data, "oxygen_data")
    found.add("VO2MAX", at, oxygen.get("vo2max_ml_per_min_per_kg"), "mL/min/kg", where)
    _oxygen(data, found, where)
    _heart(parts(data, "heart_rate_data"), found, where)


def _steps(data: Mapping[str, Any], total: Decimal | None) -> tuple[Interval, ...]:
    """When they were walked; none when that does not fit the total."""
    samples = []
    for it in items(data, "distance_data", "detailed", "step_samples"):
        at, value = instant_of(it.get("timestamp")), number_of(it.get("steps"))
        seconds = number_of(it.get("timer_duration_seconds"))
        if at is None or value is None or value < 0:
            return ()
        length = int(seconds * 1000) if seconds is not None and seconds > 0 else _STEP
        samples.append(Interval(ms_of(at), ms_of(at) + length, value))
    samples.sort()
    found = [
        earlier._replace(end=min(earlier.end, later.start)) for earlier, later in pairwise(samples)
    ] + samples[-1:]
    whole = sum((it.value for it in found), Decimal(0))
    fits = total is not None and whole <= total and len(found) <= INTERVALS_MAX
    return tuple(found) if fits and all(it.start < it.end for it in found) else ()


def _body(data: Mapping[str, Any], found: Found, where: str) -> None:
    for it in items(data, "blood_pressure_data", "blood_pressure_samples"):
        at = it.get("timestamp")
        found.add("SYSTOLIC_BP", at, it.get("systolic_bp"), "mm[Hg]", where)
        found.add("DIASTOLIC_BP", at, it.get("diastolic_bp"), "mm[Hg]", where)
    for it in items(data, "measurements_data", "measurements"):
        at = it.get("measurement_time")
        found.add("WEIGHT", at, it.get("weight_kg"), "kg", where)
        found.add("HEIGHT", at, it.get("height_cm"), "cm", where)
        found.add("BMI", at, it.get("BMI"), "kg/m2", where)
        found.add("BODY_FAT", at, it.get("bodyfat_percentage"), "%", where)
    for it in items(data, "glucose_data", "blood_glucose_samples"):
        found.add(
            "RANDOM_GLUCOSE", it.get("timestamp"), it.get("blood_glucose_mg_per_dL"), "mg/dL", where
        )
    for it in items(data, "temperature_data", "body_temperature_samples"):
        found.add(
            "BODY_TEMPERATURE", it.get("timestamp"), it.get("temperature_celsius"), "Cel", where
        )
    _oxygen(data, found, where)
    _heart(parts(data, "heart_data", "heart_rate_data"), found, where)


def _oxygen(data: Mapping[str, Any], found: Found, where: str) -> None:
    for it in items(data, "oxygen_data", "saturation_samples"):
        found.add("SPO2", it.get("timestamp"), it.get("percentage"), "%", where)


def _heart(heart: Mapping[str, Any], found: Found, where: str) -> None:
    for it in items(heart, "detailed", "hr_samples"):
        found.add("HEART_RATE", it.get("timestamp"), it.get("bpm"), "/min", where)
    for it in items(heart, "detailed", "hrv_samples_rmssd"):
        found.add("HRV_RMSSD", it.get("timestamp"), it.get("hrv_rmssd"), "ms", where)
    for it in items(heart, "detailed", "hrv_samples_sdnn"):
        found.add("HRV_SDNN", it.get("timestamp"), it.get("hrv_sdnn"), "ms", where)


def _sleep(data: Mapping[str, Any], found: Found, where: str) -> None:
    """A night is a reading at its end: a nap of the same day is another one."""
    asleep = parts(data, "sleep_durations_data", "asleep").get("duration_asleep_state_seconds")
    seconds = number_of(asleep)
    end = parts(data, "metadata").get("end_time")
    if seconds is not None:
        minutes = float(round(seconds / 60, 3))
        found.add("SLEEP_DURATION", end, minutes, "min", where)
    for it in items(data, "respiration_data", "oxygen_saturation_data", "samples"):
        found.add("SPO2", it.get("timestamp"), it.get("percentage"), "%", where)
    for it in items(data, "respiration_data", "breaths_data", "samples"):
        found.add("RESPIRATORY_RATE", it.get("timestamp"), it.get("breaths_per_min"), "/min", where)
    _heart(parts(data, "heart_rate_data"), found, where)
