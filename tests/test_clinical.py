"""What the guidelines call a reading: every boundary, and what a class rests on."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.measurements.rules import Method, TrustGrade
from app.members.rules import Sex
from app.records import clinical
from app.records.clinical import Person, Reading
from app.records.thresholds import (
    Area,
    ThresholdsInvalid,
    ValueSet,
    WhoseBands,
    groups,
    guidelines,
    read_groups,
    read_guidelines,
)

TODAY = date(2026, 3, 2)
WOMAN, MAN = Person(Sex.FEMALE, 50), Person(Sex.MALE, 50)
OFFICE = guidelines().pressure[Area.BLOOD_PRESSURE_OFFICE]
HOME = guidelines().pressure[Area.BLOOD_PRESSURE_HOME]
FASTING = guidelines().values[Area.FASTING_GLUCOSE]
GLUCOSE_AREAS = (
    Area.FASTING_GLUCOSE,
    Area.FASTING_GLUCOSE_SELF_MEASURED,
    Area.OGTT_2H,
    Area.RANDOM_GLUCOSE,
    Area.HBA1C,
)
EXAMPLES = Path(__file__).parent / "data" / "examples.csv"


def reading(
    code: str,
    value: object,
    *,
    days_ago: int = 0,
    minute: int = 0,
    method: Method = Method.CLINICAL,
    trust: TrustGrade | None = None,
    source: str = "clinic",
    id: UUID | None = None,
) -> Reading:
    usual = TrustGrade.HIGH if method is Method.CLINICAL else TrustGrade.MEDIUM
    day = TODAY - timedelta(days=days_ago)
    return Reading(
        id=id or uuid4(),
        code=code,
        value=Decimal(str(value)),
        measured_at=datetime(day.year, day.month, day.day, 1, minute, tzinfo=UTC),
        local_date=day,
        source_id=source,
        method=method,
        trust=trust or usual,
    )


def pressure(systolic: object, diastolic: object, **options) -> list[Reading]:
    return [
        reading("SYSTOLIC_BP", systolic, **options),
        reading("DIASTOLIC_BP", diastolic, **options),
    ]


def at_home(systolic: object, diastolic: object, **options) -> list[Reading]:
    return pressure(systolic, diastolic, method=Method.SENSED, source="cuff", **options)


def classes(*readings: Reading, person: Person = WOMAN) -> dict[Area, clinical.Found]:
    found = clinical.classes(readings, person, guidelines(), today=TODAY)
    return {it.area: it for it in found}


def examples(model: str) -> Iterator[tuple[dict[str, float], dict[str, str]]]:
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["model"] == model:
                yield json.loads(row["inputs"]), json.loads(row["expected"])


# The tables


@pytest.mark.parametrize(("inputs", "expected"), list(examples("bp_grade_china")))
def test_blood_pressure_is_graded_as_the_published_examples_are(inputs, expected):
    found = clinical.grade(OFFICE, Decimal(inputs["sbp"]), Decimal(inputs["dbp"]))
    assert found.code == expected["grade"]


@pytest.mark.parametrize(("inputs", "expected"), list(examples("fpg_class_china")))
def test_fasting_glucose_is_classed_as_the_published_examples_are(inputs, expected):
    found = clinical.band(FASTING, Decimal(str(inputs["fpg_mmol"])), Sex.UNKNOWN)
    assert found is not None and found.code == expected["cls"]


def test_there_are_as_many_examples_as_were_published():
    assert (len(list(examples("bp_grade_china"))), len(list(examples("fpg_class_china")))) == (9, 6)


@pytest.mark.parametrize(
    ("thresholds", "systolic", "diastolic", "level"),
    [
        (OFFICE, "119.99", "79.99", "normal"),
        (OFFICE, "120", "79", "high_normal"),
        (OFFICE, "119", "80", "high_normal"),
        (OFFICE, "139.99", "89.99", "high_normal"),
        (OFFICE, "140", "60", "grade1"),
        (OFFICE, "110", "90", "grade1"),
        (OFFICE, "159.99", "99.99", "grade1"),
        (OFFICE, "160", "80", "grade2"),
        (OFFICE, "120", "100", "grade2"),
        (OFFICE, "179.99", "109.99", "grade2"),
        (OFFICE, "180", "70", "grade3"),
        (OFFICE, "130", "110", "grade3"),
        (HOME, "134.99", "84.99", "below_limit"),
        (HOME, "135", "70", "hypertension_range"),
        (HOME, "120", "85", "hypertension_range"),
    ],
)
def test_every_boundary_of_blood_pressure(thresholds, systolic, diastolic, level):
    assert clinical.grade(thresholds, Decimal(systolic), Decimal(diastolic)).code == level


@pytest.mark.parametrize(
    ("systolic", "diastolic", "alone"),
    [(140, "89.9", True), (140, 90, False), ("139.9", 80, False), (185, 85, True)],
)
def test_isolated_systolic_hypertension_is_said_besides(systolic, diastolic, alone):
    found = classes(*pressure(systolic, diastolic))[Area.BLOOD_PRESSURE_OFFICE]
    assert (found.also is not None) is alone


BOUNDARIES = {
    (Area.FASTING_GLUCOSE, "ANY"): ["normal", "6.1", "ifg", "7.0", "diabetes_range"],
    (Area.FASTING_GLUCOSE_SELF_MEASURED, "ANY"): ["normal", "6.1", "ifg", "7.0", "diabetes_range"],
    (Area.OGTT_2H, "ANY"): ["normal", "7.8", "igt", "11.1", "diabetes_range"],
    (Area.RANDOM_GLUCOSE, "ANY"): ["inconclusive", "11.1", "diabetes_range"],
    (Area.HBA1C, "ANY"): ["inconclusive", "6.5", "diabetes_range"],
    (Area.BMI, "ANY"): ["underweight", "18.5", "normal", "24", "overweight", "28", "obese"],
    (Area.WAIST, "MALE"): ["normal", "85", "pre_central", "90", "central"],
    (Area.WAIST, "FEMALE"): ["normal", "80", "pre_central", "85", "central"],
    (Area.TOTAL_CHOLESTEROL, "ANY"): ["desirable", "5.2", "borderline", "6.2", "high"],
    (Area.LDL, "ANY"): ["ideal", "2.6", "desirable", "3.4", "borderline", "4.1", "high"],
    (Area.HDL, "ANY"): ["low", "1.0", "not_low"],
    (Area.NON_HDL, "ANY"): ["desirable", "4.1", "borderline", "4.9", "high"],
    (Area.TRIGLYCERIDES, "ANY"): ["desirable", "1.7", "borderline", "2.3", "high"],
}
"""Class, limit, class ...; a limit belongs to the class above it."""


def test_the_boundaries_of_every_table_are_here():
    known = {(area, str(whose)) for area, it in guidelines().values.items() for whose in it.bands}
    assert known == BOUNDARIES.keys()


@pytest.mark.parametrize(("key", "row"), BOUNDARIES.items(), ids=lambda it: str(it)[:40])
def test_every_boundary_of_single_values(key, row):
    area, whose = key
    thresholds = guidelines().values[area]
    sex = Sex.UNKNOWN if whose == "ANY" else Sex(whose)
    for below, limit, above in zip(row[::2], row[1::2], row[2::2], strict=False):
        at = Decimal(limit)
        assert clinical.band(thresholds, at - Decimal("0.001"), sex).code == below
        assert clinical.band(thresholds, at, sex).code == above


@given(
    st.sampled_from([it for it in guidelines().values.values()]),
    st.sampled_from([Sex.FEMALE, Sex.MALE]),
    st.decimals("0", "400", places=3),
    st.decimals("0", "400", places=3),
)
def test_a_higher_value_is_never_in_a_lower_band(thresholds: ValueSet, sex, one, other):
    whose = WhoseBands.ANY if WhoseBands.ANY in thresholds.bands else WhoseBands(sex)
    order = [it.code for it in thresholds.bands[whose]]
    low, high = sorted((one, other))
    found = [clinical.band(thresholds, value, sex).code for value in (low, high)]
    assert order.index(found[0]) <= order.index(found[1])


@given(*[st.decimals("50", "300", places=1)] * 2, *[st.decimals("20", "200", places=1)] * 2)
def test_a_higher_pressure_is_never_of_a_lower_grade(one, other, third, fourth):
    (s1, s2), (d1, d2) = sorted((one, other)), sorted((third, fourth))
    for thresholds in (OFFICE, HOME):
        order = [it.code for it in thresholds.levels]
        low, high = clinical.grade(thresholds, s1, d1), clinical.grade(thresholds, s2, d2)
        assert order.index(low.code) <= order.index(high.code)


# COV-1: the diabetes range


@given(st.decimals("7.0", "50", places=2), st.sampled_from(list(Method)), st.booleans())
def test_fasting_from_seven_on_is_always_the_diabetes_range(value, method, by_meter):
    code = "FASTING_GLUCOSE_METER" if by_meter else "FASTING_GLUCOSE"
    one = reading(code, value, method=method)
    found = classes(one)
    [area] = found
    assert found[area].band.code == "diabetes_range" and found[area].diabetes_range
    assert found[area].band.advice is not None and "doctor" in found[area].band.advice.en
    apart = clinical.diabetes_range([one], guidelines(), today=TODAY)
    assert apart is not None and apart.readings == [one]
    assert (
        found[area].diagnostic == apart.diagnostic == (method is Method.CLINICAL and not by_meter)
    )


def test_no_band_says_that_somebody_has_no_diabetes():
    for area in GLUCOSE_AREAS:
        for it in guidelines().values[area].bands[WhoseBands.ANY]:
            said = f"{it.code} {it.label.en} {it.label.zh}".lower()
            assert (
                "not diabetes" not in said and "非糖尿病" not in said and "no diabetes" not in said
            )


def test_blood_of_a_finger_screens_and_diagnoses_nothing():
    meter = reading("FASTING_GLUCOSE_METER", "9.0")
    found = classes(meter)
    assert set(found) == {Area.FASTING_GLUCOSE_SELF_MEASURED}
    assert not found[Area.FASTING_GLUCOSE_SELF_MEASURED].diagnostic
    apart = clinical.diabetes_range(
        [meter, reading("FASTING_GLUCOSE_METER", "9", days_ago=3)], guidelines(), today=TODAY
    )
    assert apart is not None and not apart.diagnostic and not apart.confirmed


def test_lower_values_do_not_take_it_back_for_a_year():
    high, low = reading("FASTING_GLUCOSE", "7.2", days_ago=364), reading("FASTING_GLUCOSE", "5")
    assert classes(high, low)[Area.FASTING_GLUCOSE].band.code == "normal"
    found = clinical.diabetes_range([high, low], guidelines(), today=TODAY)
    assert found is not None and found.readings == [high]
    old = reading("FASTING_GLUCOSE", "7.2", days_ago=365)
    assert clinical.diabetes_range([old, low], guidelines(), today=TODAY) is None


def test_it_is_confirmed_by_another_day_or_another_kind():
    def confirmed(*readings: Reading) -> bool:
        found = clinical.diabetes_range(readings, guidelines(), today=TODAY)
        assert found is not None
        return found.confirmed

    first = reading("FASTING_GLUCOSE", "7.1", days_ago=9)
    assert not confirmed(first)
    assert not confirmed(first, reading("FASTING_GLUCOSE", "7.3", days_ago=9, minute=5))
    assert confirmed(first, reading("FASTING_GLUCOSE", "7.3"))
    assert confirmed(first, reading("HBA1C", "6.5", days_ago=9))
    assert not confirmed(first, reading("HBA1C", "6.5", method=Method.SELF_REPORTED))


def test_what_nobody_vouches_for_founds_no_class_but_is_not_ignored():
    claimed = reading("FASTING_GLUCOSE", "8", trust=TrustGrade.UNVERIFIED)
    assert classes(claimed) == {}
    found = clinical.diabetes_range([claimed], guidelines(), today=TODAY)
    assert found is not None and not found.diagnostic


# What a class rests on


def test_the_readings_of_one_visit_are_averaged():
    old = pressure(170, 100, days_ago=40)
    first, second = pressure(141, 88, minute=1), pressure(138, 89, minute=2)
    found = classes(*old, *first, *second)[Area.BLOOD_PRESSURE_OFFICE]
    assert found.values == {"SYSTOLIC_BP": Decimal("139.5"), "DIASTOLIC_BP": Decimal("88.5")}
    assert (found.band.code, found.averaged) == ("high_normal", True)
    assert {it.id for it in found.readings} == {it.id for it in (*first, *second)}


def test_hypertension_takes_three_days_at_the_clinic():
    days = [pressure(150, 95, days_ago=day) for day in (0, 10, 30)]
    once = [it for pair in days[:2] for it in pair]
    assert not classes(*once)[Area.BLOOD_PRESSURE_OFFICE].confirmed
    thrice = [it for pair in days for it in pair]
    found = classes(*thrice)[Area.BLOOD_PRESSURE_OFFICE]
    assert (found.band.code, found.confirmed, found.diagnostic) == ("grade1", True, True)
    low_day = [it for pair in [*days[:2], pressure(120, 70, days_ago=30)] for it in pair]
    assert not classes(*low_day)[Area.BLOOD_PRESSURE_OFFICE].confirmed


def test_home_readings_are_averaged_over_a_week_without_its_first_day():
    week = [at_home(150, 95, days_ago=4), *(at_home(130, 80, days_ago=day) for day in range(4))]
    older = at_home(190, 120, days_ago=8)
    found = classes(*older, *(it for pair in week for it in pair))[Area.BLOOD_PRESSURE_HOME]
    assert found.values == {"SYSTOLIC_BP": 130, "DIASTOLIC_BP": 80}
    assert (found.band.code, found.confirmed, found.diagnostic) == ("below_limit", True, False)
    few = classes(*(it for pair in week[:3] for it in pair))[Area.BLOOD_PRESSURE_HOME]
    assert few.values["SYSTOLIC_BP"] == Decimal(410) / 3
    assert not few.confirmed


def test_home_readings_are_not_graded_as_those_of_a_clinic():
    assert set(classes(*at_home(150, 95))) == {Area.BLOOD_PRESSURE_HOME}
    assert set(classes(*pressure(150, 95))) == {Area.BLOOD_PRESSURE_OFFICE}


def test_half_a_blood_pressure_is_none():
    assert classes(reading("SYSTOLIC_BP", 190)) == {}
    apart = [*pressure(130, 85)[:1], *pressure(130, 85, source="another")[1:]]
    assert classes(*apart) == {}


def test_body_mass_is_of_the_newest_weight_and_any_height():
    height = reading("HEIGHT", 170, days_ago=2000)
    measured = reading("BMI", "23", days_ago=30)
    weight = reading("WEIGHT", "80.9", days_ago=1)
    found = classes(height, measured, weight)[Area.BMI]
    assert [it.id for it in found.readings] == [weight.id, height.id]
    # 27.993...: shown as 28.0, and not obese.
    assert found.band.code == "overweight"
    assert classes(height, measured)[Area.BMI].readings == [measured]
    assert classes(weight, measured)[Area.BMI].readings == [measured]


def test_non_hdl_is_of_one_sample():
    total, hdl = reading("TOTAL_CHOLESTEROL", "5.3"), reading("HDL", "1.2")
    found = classes(total, hdl)[Area.NON_HDL]
    assert (found.values["NON_HDL"], found.band.code) == (Decimal("4.1"), "borderline")
    assert Area.NON_HDL not in classes(total, reading("HDL", "1.2", days_ago=3))


def test_tables_of_adults_say_nothing_of_children_and_the_waist_nothing_of_unknown_sex():
    every = [*pressure(150, 95), reading("BMI", 30), reading("WAIST", 95)]
    assert classes(*every, person=Person(Sex.MALE, 17)) == {}
    child = classes(*every, reading("FASTING_GLUCOSE", 8), person=Person(Sex.MALE, 9))
    assert set(child) == {Area.FASTING_GLUCOSE}
    unknown = classes(*every, person=Person(Sex.UNKNOWN, 40))
    assert Area.WAIST not in unknown and Area.BMI in unknown


def test_readings_of_long_ago_say_nothing():
    assert Area.LDL in classes(reading("LDL", 3, days_ago=729))
    assert classes(reading("LDL", 3, days_ago=730)) == {}


# The product's own groups


@pytest.mark.parametrize(
    ("readings", "found"),
    [
        (pressure(130, 80), ["pre_chronic"]),
        (pressure("129.9", "84.9"), []),
        (pressure(120, 85), ["pre_chronic"]),
        (pressure(139, 89), ["pre_chronic"]),
        (pressure(140, 80), ["mild_condition"]),
        (pressure(135, 90), ["mild_condition"]),
        (pressure(160, 80), []),
        ([reading("FASTING_GLUCOSE", "6.09")], []),
        ([reading("FASTING_GLUCOSE", "6.1")], ["pre_chronic"]),
        ([reading("FASTING_GLUCOSE", "6.99")], ["pre_chronic"]),
        ([reading("FASTING_GLUCOSE", "7.0")], ["mild_condition"]),
        ([reading("FASTING_GLUCOSE", "11.09")], ["mild_condition"]),
        ([reading("FASTING_GLUCOSE", "11.1")], []),
        ([reading("BMI", "27.9")], []),
        ([reading("BMI", "28")], ["pre_chronic"]),
        ([reading("BMI", "30"), reading("FASTING_GLUCOSE", "7.4")], ["mild_condition"]),
    ],
)
def test_the_products_groups(readings, found):
    present = clinical.classes(readings, WOMAN, guidelines(), today=TODAY)
    assert [it.code for it in clinical.groups(present, groups())] == found


def test_what_the_product_calls_mild_is_still_the_diabetes_range():
    one = reading("FASTING_GLUCOSE", "7.0")
    present = clinical.classes([one], WOMAN, guidelines(), today=TODAY)
    assert [it.code for it in clinical.groups(present, groups())] == ["mild_condition"]
    assert present[0].diabetes_range
    assert clinical.diabetes_range([one], guidelines(), today=TODAY) is not None


# The data files


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('low: "6.1", high: "7.0"', 'low: "6.2", high: "7.0"', "must begin where"),
        ('code: ifg, low: "6.1"', 'code: ifg, lower: "6.1"', "Extra inputs"),
        ("area: HBA1C", "area: BMI", "each area has one set"),
        ("systolic: 160", "systolic: 139", "must begin above"),
        ("version: 1", "version: 0", "greater than or equal to 1"),
        ("blood_pressure:", "blood_pressure: {", "no YAML"),
    ],
)
def test_a_faulty_file_is_refused_by_name(tmp_path, old, new, told):
    from app.records import thresholds

    text = thresholds._GUIDELINES.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "thresholds.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ThresholdsInvalid, match=told) as caught:
        read_guidelines(path)
    assert "thresholds.yaml" in str(caught.value)


def test_a_group_without_an_end_is_refused(tmp_path):
    path = tmp_path / "groups.yaml"
    path.write_text(
        "groups: [{code: a, version: 1, source: MEM-1, title: {zh: 甲, en: A},"
        " any_of: [{areas: [BMI], quantity: BMI}]}]"
    )
    with pytest.raises(ThresholdsInvalid, match="needs an end"):
        read_groups(path)
