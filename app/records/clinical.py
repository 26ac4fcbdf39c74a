"""What the guidelines call a member's readings, and which they rest on. No I/O, no clock.

A class is a fact about readings, not a diagnosis. What lies in the diabetes range is always
said apart (`diabetes_range`), whatever else is known; blood of a finger and what members
report screen, and diagnose nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from app.measurements.kinds import TrustGrade
from app.members.rules import Sex
from app.records import pressure
from app.records.pressure import grade
from app.records.readings import Reading, by_code, newest, of_row
from app.records.thresholds import (
    Area,
    Band,
    Criterion,
    Group,
    Guidelines,
    Level,
    PressureSet,
    ValueSet,
    WhoseBands,
)
from app.texts import Text

__all__ = [
    "CODES", "DIABETES_RANGE_LOOK_BACK", "DIASTOLIC", "FASTING", "SEE_A_DOCTOR", "SYSTOLIC", "DiabetesRange",
    "Found", "Person", "Reading", "band", "classes", "diabetes_limits",
    "diabetes_range", "grade", "groups", "of_row",
]  # fmt: skip

SYSTOLIC, DIASTOLIC = "SYSTOLIC_BP", "DIASTOLIC_BP"
FASTING, FASTING_METER = "FASTING_GLUCOSE", "FASTING_GLUCOSE_METER"
SEE_A_DOCTOR = Text(
    zh="有读数达到糖尿病范围。请看医生，由医生复查并确认；健康管理师会帮助你预约。",
    en="A reading lies in the diabetes range. Please see a doctor, who repeats and confirms it; "
    "your health manager helps with the appointment.",
)
DIABETES_RANGE_LOOK_BACK = timedelta(days=365)
"""How long one reading in the diabetes range is not taken back by lower ones."""
_PLAIN_AREAS = {
    Area.OGTT_2H: ("OGTT_2H",),
    Area.RANDOM_GLUCOSE: ("RANDOM_GLUCOSE", "POSTPRANDIAL_GLUCOSE"),
    Area.HBA1C: ("HBA1C",),
    Area.WAIST: ("WAIST",),
    Area.TOTAL_CHOLESTEROL: ("TOTAL_CHOLESTEROL",),
    Area.LDL: ("LDL",),
    Area.HDL: ("HDL",),
    Area.TRIGLYCERIDES: ("TRIGLYCERIDES",),
}
"""Areas of one number, with the codes it is read from: the newest reading counts."""
CODES = tuple(
    dict.fromkeys(
        [SYSTOLIC, DIASTOLIC, FASTING, FASTING_METER, "BMI", "WEIGHT", "HEIGHT"]
        + [code for codes in _PLAIN_AREAS.values() for code in codes]
    )
)
"""Every code of the catalogue that a class may rest on."""


@dataclass(frozen=True, slots=True)
class Person:
    sex: Sex
    age: int
    """In completed years."""


@dataclass(frozen=True, slots=True)
class Found:
    """The class of one area."""

    area: Area
    thresholds: PressureSet | ValueSet
    band: Band | Level
    values: Mapping[str, Decimal]
    """What was compared, by quantity; averages where the guideline takes them."""
    readings: Sequence[Reading]
    """What it rests on, newest first."""
    averaged: bool
    diagnostic: bool
    """Whether a diagnosis may rest on such readings."""
    confirmed: bool
    """Whether there are as many as the guideline asks for."""
    also: Level | None = None
    """What is said besides: isolated systolic hypertension."""

    @property
    def diabetes_range(self) -> bool:
        return isinstance(self.band, Band) and self.band.diabetes_range

    @property
    def as_of(self) -> date:
        return self.readings[0].local_date


@dataclass(frozen=True, slots=True)
class DiabetesRange:
    """Somebody should see a doctor."""

    readings: Sequence[Reading]
    """Those in the range, newest first."""
    diagnostic: bool
    confirmed: bool
    """Two diagnostic readings, of different days or different kinds."""


def band(thresholds: ValueSet, value: Decimal, sex: Sex) -> Band | None:
    """None where the bands of an unknown sex are asked for."""
    bands = thresholds.bands.get(WhoseBands.ANY)
    if bands is None and sex is not Sex.UNKNOWN:
        bands = thresholds.bands[WhoseBands(sex)]
    return next(it for it in bands if it.holds(value)) if bands is not None else None


def classes(
    readings: Iterable[Reading], person: Person, guidelines: Guidelines, *, today: date
) -> list[Found]:
    """The present class of each area that has one. Unverified readings found none."""
    known = by_code(it for it in readings if it.trust is not TrustGrade.UNVERIFIED)
    found: list[Found | None] = []
    for area, levels in guidelines.pressure.items():
        at_clinic = area is Area.BLOOD_PRESSURE_OFFICE
        found.append(_pressure(levels, known, today, at_clinic=at_clinic))
    for thresholds in guidelines.values.values():
        value = _value(thresholds, known, today)
        found.append(_classed(thresholds, value, person) if value is not None else None)
    return [it for it in found if it is not None and person.age >= it.thresholds.age_min]


def diabetes_range(
    readings: Iterable[Reading], guidelines: Guidelines, *, today: date
) -> DiabetesRange | None:
    """Whether any reading of the last year lies in the diabetes range. It holds for unverified
    ones and for blood of a finger too: to see a doctor is right in any case."""
    known = by_code(readings)
    found: list[tuple[Area, Reading]] = []
    for area, codes in _GLUCOSE.items():
        thresholds = guidelines.values[area]
        for reading in (it for code in codes for it in known[code]):
            reached = band(thresholds, reading.value, Sex.UNKNOWN)
            is_recent = reading.local_date > today - DIABETES_RANGE_LOOK_BACK
            if reached is not None and reached.diabetes_range and is_recent:
                found.append((area, reading))
    if not found:
        return None
    certain = {
        (area, it.local_date)
        for area, it in found
        if it.clinical and it.code != FASTING_METER and guidelines.values[area].diagnostic
    }
    those = sorted((it for _, it in found), key=newest, reverse=True)
    return DiabetesRange(those, diagnostic=bool(certain), confirmed=len(certain) > 1)


def diabetes_limits(guidelines: Guidelines) -> Iterator[tuple[str, Decimal]]:
    """Codes, and from which value on each is in the diabetes range."""
    for area, codes in _GLUCOSE.items():
        for it in guidelines.values[area].bands[WhoseBands.ANY]:
            if it.diabetes_range and it.low is not None:
                yield from ((code, it.low) for code in codes)


def groups(found: Iterable[Found], product: Iterable[Group]) -> list[Group]:
    """The product's groups that a member with these classes is in."""
    known = {it.area: it for it in found}
    return [
        group
        for group in product
        if any(_meets(it, known) for it in group.any_of)
        and not any(_meets(it, known) for it in group.unless)
    ]


def _meets(criterion: Criterion, known: Mapping[Area, Found]) -> bool:
    for area in criterion.areas:
        found = known.get(area)
        if found is None:
            continue
        if found.band.code in criterion.classes:
            return True
        value = found.values.get(criterion.quantity or "")
        if value is None:
            continue
        above = criterion.low is None or criterion.low <= value
        if above and (criterion.high is None or value < criterion.high):
            return True
    return False


_GLUCOSE = {
    Area.FASTING_GLUCOSE: (FASTING, FASTING_METER),
    **{area: _PLAIN_AREAS[area] for area in (Area.OGTT_2H, Area.RANDOM_GLUCOSE, Area.HBA1C)},
}


# Blood pressure


def _pressure(
    thresholds: PressureSet,
    known: Mapping[str, Sequence[Reading]],
    today: date,
    *,
    at_clinic: bool,
) -> Found | None:
    earliest = today - timedelta(days=thresholds.look_back_days)
    pairs = [
        pair
        for pair in pressure.pairs(known[SYSTOLIC], known[DIASTOLIC])
        if pair[0].clinical == at_clinic and pair[0].local_date > earliest
    ]
    if not pairs:
        return None
    averaged = pressure.averaged(thresholds, pairs)
    systolic, diastolic = pressure.mean(averaged)
    level = pressure.grade(thresholds, systolic, diastolic)
    days = {pair[0].local_date for pair in pairs}
    if at_clinic and level.hypertension:
        high = {day for day in days if pressure.is_high(thresholds, pairs, day)}
        confirmed = len(high) >= thresholds.days_enough
    else:
        counted = {pair[0].local_date for pair in pressure.within(thresholds, pairs)}
        confirmed = at_clinic or len(counted) >= thresholds.days_enough
    alone = pressure.is_isolated_systolic(thresholds, systolic, diastolic)
    return Found(
        area=thresholds.area,
        thresholds=thresholds,
        band=level,
        values={SYSTOLIC: systolic, DIASTOLIC: diastolic},
        readings=sorted((it for pair in averaged for it in pair), key=newest, reverse=True),
        averaged=len(averaged) > 1,
        diagnostic=at_clinic,
        confirmed=confirmed,
        also=thresholds.isolated_systolic if alone else None,
    )


# Single values


@dataclass(frozen=True, slots=True)
class _Value:
    quantity: str
    value: Decimal
    readings: Sequence[Reading]


def _value(
    thresholds: ValueSet, known: Mapping[str, Sequence[Reading]], today: date
) -> _Value | None:
    earliest = today - timedelta(days=thresholds.look_back_days)
    match thresholds.area:
        case Area.FASTING_GLUCOSE:
            fasting = [it for it in known[FASTING] if it.clinical]
            return _newest_of(FASTING, fasting, earliest)
        case Area.FASTING_GLUCOSE_SELF_MEASURED:
            fasting = [it for it in known[FASTING] if not it.clinical]
            return _newest_of(FASTING, [*fasting, *known[FASTING_METER]], earliest)
        case Area.BMI:
            return _bmi(known, earliest)
        case Area.NON_HDL:
            return _non_hdl(known, earliest)
        case area:
            codes = _PLAIN_AREAS[area]
            return _newest_of(codes[0], [it for code in codes for it in known[code]], earliest)


def _newest_of(quantity: str, readings: Sequence[Reading], earliest: date) -> _Value | None:
    recent = [it for it in readings if it.local_date > earliest]
    if not recent:
        return None
    last = max(recent, key=newest)
    return _Value(quantity, last.value, [last])


def _bmi(known: Mapping[str, Sequence[Reading]], earliest: date) -> _Value | None:
    """As measured, or of a newer weight and the last height, however old that is."""
    measured = _newest_of("BMI", known["BMI"], earliest)
    weighed = _newest_of("WEIGHT", known["WEIGHT"], earliest)
    if weighed is None or not known["HEIGHT"]:
        return measured
    weight, height = weighed.readings[0], known["HEIGHT"][0]
    if measured is not None and measured.readings[0].measured_at >= weight.measured_at:
        return measured
    metres = height.value / 100
    return _Value("BMI", weight.value / (metres * metres), [weight, height])


def _non_hdl(known: Mapping[str, Sequence[Reading]], earliest: date) -> _Value | None:
    """Total less HDL cholesterol of the same sample."""
    of_sample = {(it.measured_at, it.source_id): it for it in known["HDL"]}
    for total in known["TOTAL_CHOLESTEROL"]:
        hdl = of_sample.get((total.measured_at, total.source_id))
        if hdl is not None and total.local_date > earliest:
            return _Value("NON_HDL", total.value - hdl.value, [total, hdl])
    return None


def _classed(thresholds: ValueSet, value: _Value, person: Person) -> Found | None:
    reached = band(thresholds, value.value, person.sex)
    if reached is None:
        return None
    diagnostic = thresholds.diagnostic and all(it.clinical for it in value.readings)
    return Found(
        area=thresholds.area,
        thresholds=thresholds,
        band=reached,
        values={value.quantity: value.value},
        readings=value.readings,
        averaged=False,
        diagnostic=diagnostic,
        # A diagnosis of diabetes takes a second reading: `DiabetesRange` says whether it is there.
        confirmed=diagnostic and not reached.diabetes_range,
    )
