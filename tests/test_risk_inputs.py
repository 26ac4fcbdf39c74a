"""Which readings, answers and records an assessment takes, and what is said of them."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlmodel import col

from app.db import Database
from app.measurements.kinds import Channel, Method
from app.risk import rules, rulesets, sentences
from app.risk.models import LATEST
from app.risk.rulesets import Tier
from app.risk.tables import RiskAssessment
from tests.factories import NOON, make_member
from tests.risk_people import ANSWERS, assess, diagnose, make_person, measure, prescribe


async def latest(db: Database, member_id: UUID) -> Any:
    async with db.read() as connection:
        found = await connection.execute(
            select(RiskAssessment)
            .where(col(RiskAssessment.member_id) == member_id)
            .order_by(col(RiskAssessment.assessed_at).desc(), col(RiskAssessment.id).desc())
            .limit(1)
        )
        return found.one()


async def said(db: Database, member_id: UUID) -> list[str]:
    """The reasons of the last assessment, in words."""
    row = await latest(db, member_id)
    values = rules.values_of(row.inputs, row.results)
    met = [rulesets.of(row.rules_version).rule(code) for code in row.matched]
    return [rules.said_of(it, values)[1].en for it in met]


TYPED: dict[str, Any] = {"method": Method.SELF_REPORTED, "channel": Channel.APP, "source": "app"}
AT_HOME: dict[str, Any] = {"method": Method.SENSED, "channel": Channel.APP, "source": "omron"}


async def test_typed_values_push_no_laboratory_value_out_of_sight(db: Database) -> None:
    member_id = await make_person(db)
    await measure(db, member_id, NOON - timedelta(days=1, hours=2), HBA1C=7.4)
    for hours in range(1, 7):
        at = NOON - timedelta(hours=hours)
        await measure(db, member_id, at, HBA1C=5, TOTAL_CHOLESTEROL=3, FASTING_GLUCOSE=4, **TYPED)

    found = await assess(db, member_id)

    row = await latest(db, member_id)
    assert (found.tier, row.matched[0]) == (Tier.HIGH, "diabetes_range")
    assert row.inputs["tc_mmol"][0] == 4.6
    assert row.inputs["fasting_glucose_mmol"][0] == 5


async def test_many_later_values_do_not_take_back_one_in_the_diabetes_range(db: Database) -> None:
    member_id = await make_person(db)
    await measure(db, member_id, NOON - timedelta(days=300), HBA1C=7.4)
    for days in range(1, 8):
        await measure(db, member_id, NOON - timedelta(days=days), HBA1C=5.5)

    assert (await assess(db, member_id)).tier is Tier.HIGH
    [day] = {(await latest(db, member_id)).inputs["diabetes_range"][2]}
    assert day == (NOON - timedelta(days=300)).date().isoformat()
    # For a year: of the member's own days.
    assert (await assess(db, member_id, now=NOON + timedelta(days=64))).tier is Tier.HIGH
    assert (await assess(db, member_id, now=NOON + timedelta(days=65))).tier is Tier.LOW


async def test_a_week_at_home_counts_however_often_somebody_measures(db: Database) -> None:
    """Seven days of eight readings: the first day is left out, 48 are averaged. What is typed,
    and an upper number without a lower one, changes nothing."""
    member_id = await make_person(db)
    for days in range(7):
        high = 150 if days == 5 else 120
        for number in range(8):
            at = NOON - timedelta(days=days, minutes=10 + number)
            await measure(db, member_id, at, SYSTOLIC_BP=high, DIASTOLIC_BP=70, **AT_HOME)
            await measure(db, member_id, at, SYSTOLIC_BP=200, DIASTOLIC_BP=99, **TYPED)
    await measure(db, member_id, NOON - timedelta(minutes=1), SYSTOLIC_BP=190, **AT_HOME)

    await assess(db, member_id)

    value, *_, ids = (await latest(db, member_id)).inputs["sbp"]
    assert (value, len(ids)) == (125, 48)


# What is said of blood pressure


async def test_who_is_diagnosed_is_told_of_the_diagnosis_and_of_no_number(db: Database) -> None:
    normal = await make_person(db, readings={"SYSTOLIC_BP": 128, "DIASTOLIC_BP": 80})
    await diagnose(db, normal, "I10")
    assert (await assess(db, normal)).tier is Tier.HIGH
    assert (await latest(db, normal)).matched == ["hypertension"]
    assert await said(db, normal) == ["You have been diagnosed with high blood pressure."]
    raised = await make_person(db, readings={"SYSTOLIC_BP": 152, "DIASTOLIC_BP": 80})
    await diagnose(db, raised, "I10")
    await assess(db, raised)
    assert (await latest(db, raised)).matched == ["hypertension", "hypertension_measured"]


async def test_an_average_is_said_rounded(db: Database) -> None:
    member_id = await make_person(db)
    for number, value in enumerate((142, 142, 141)):
        at = NOON - timedelta(minutes=10 + number)
        await measure(db, member_id, at, SYSTOLIC_BP=value, DIASTOLIC_BP=82)
    await assess(db, member_id)
    assert (await said(db, member_id))[0] == (
        "Your recent blood pressure of 141.7/82 mmHg is in the range of hypertension; "
        "please see a doctor."
    )


async def measure_at_home(
    db: Database, member_id: UUID, days: int, systolic: float, diastolic: float
) -> None:
    """Once a day, until a minute ago."""
    for day in range(days):
        at = NOON - timedelta(days=day, minutes=1)
        await measure(db, member_id, at, SYSTOLIC_BP=systolic, DIASTOLIC_BP=diastolic, **AT_HOME)


async def make_measured(
    db: Database, days_ago: float, systolic: float = 141, diastolic: float = 88
) -> UUID:
    """By a clinic, so many days ago, and nothing else of blood pressure."""
    member_id = await make_member(db, birth_date=date(1990, 6, 15), region="CN-11")
    at = NOON - timedelta(days=days_ago)
    await measure(db, member_id, at, SYSTOLIC_BP=systolic, DIASTOLIC_BP=diastolic)
    await measure(db, member_id, BMI=22)
    return member_id


async def test_a_normal_week_at_home_counts_for_more_than_an_old_value_of_the_clinic(
    db: Database,
) -> None:
    member_id = await make_measured(db, 600)
    await measure_at_home(db, member_id, 8, 112, 70)

    assert (await assess(db, member_id)).tier is Tier.LOW

    row = await latest(db, member_id)
    assert row.classes["areas"] == {"BLOOD_PRESSURE_HOME": "below_limit", "BMI": "normal"}
    assert (row.inputs["sbp"][0], row.inputs["pressure_confirmed"][0]) == (112, 1)


async def test_one_reading_at_home_does_not_take_back_what_the_clinic_measured(
    db: Database,
) -> None:
    for systolic in (112, 136):
        member_id = await make_measured(db, 10)
        await measure_at_home(db, member_id, 1, systolic, 80)
        assert (await assess(db, member_id)).tier is Tier.HIGH
        assert (await latest(db, member_id)).matched == ["hypertension_measured"]


@pytest.mark.parametrize(
    ("days", "tier", "rule"),
    [
        (1, Tier.MEDIUM, "hypertension_unconfirmed"),
        (4, Tier.MEDIUM, "hypertension_unconfirmed"),
        (5, Tier.HIGH, "hypertension_measured"),
    ],
)
@pytest.mark.parametrize("systolic", [136, 150])
async def test_too_few_days_at_home_are_no_hypertension(
    db: Database, days: int, tier: Tier, rule: str, systolic: float
) -> None:
    member_id = await make_measured(db, 60, 118, 74)
    await measure_at_home(db, member_id, days, systolic, 80)
    found = await assess(db, member_id)
    row = await latest(db, member_id)
    assert (found.tier, row.matched[0]) == (tier, rule)
    assert row.inputs["sbp"][0] == systolic


async def test_of_one_day_the_clinics_pressure_counts(db: Database) -> None:
    member_id = await make_measured(db, 0.1, 118, 74)
    await measure_at_home(db, member_id, 7, 140, 80)
    assert (await assess(db, member_id)).tier is Tier.LOW
    assert (await latest(db, member_id)).inputs["sbp"][0] == 118


@pytest.mark.parametrize(
    ("icd10", "diagnoses"),
    [("E11.9", "none"), ("I10", "none"), (None, "type_2_diabetes"), (None, "hypertension")],
)
async def test_who_is_diagnosed_is_not_said_to_be_below_any_diagnosis(
    db: Database, icd10: str | None, diagnoses: str
) -> None:
    declared = {**ANSWERS["health-declaration"], "diagnoses": [diagnoses]}
    readings = {"SYSTOLIC_BP": 132, "BMI": 29}
    member_id = await make_person(
        db, answers={**ANSWERS, "health-declaration": declared}, readings=readings
    )
    if icd10 is not None:
        await diagnose(db, member_id, icd10)
    assert (await assess(db, member_id)).tier is Tier.HIGH
    row = await latest(db, member_id)
    assert {"pre_chronic", "several_factors"}.isdisjoint(row.matched)
    assert "pre_chronic" in row.classes["groups"]  # as the records say
    assert not any("below any diagnosis" in it for it in await said(db, member_id))


# Records and answers


async def findrisc(db: Database, member_id: UUID) -> dict[str, Any]:
    await assess(db, member_id)
    found: dict[str, Any] = (await latest(db, member_id)).results["findrisc"]["inputs"]
    return found


@pytest.mark.parametrize(
    ("readings", "declared", "raised"),
    [
        ({}, {}, 0),
        ({"FASTING_GLUCOSE": 6.0}, {}, 0),
        ({"FASTING_GLUCOSE": 6.5}, {}, 1),
        ({}, {"high_glucose_ever": ["true"]}, 1),
        ({}, {"diagnoses": ["prediabetes"]}, 1),
        ({}, {"gestational_diabetes": ["yes"]}, 1),
    ],
)
async def test_high_glucose_is_what_was_measured_or_said_anywhere(
    db: Database, readings: dict[str, float], declared: dict[str, list[str]], raised: int
) -> None:
    answers = {**ANSWERS, "health-declaration": {**ANSWERS["health-declaration"], **declared}}
    member_id = await make_person(db, answers=answers, readings=readings)
    assert (await findrisc(db, member_id))["highglu"] == raised


@pytest.mark.parametrize("icd10", ["R73.0", "O24.4"])
async def test_high_glucose_of_the_past_is_recorded(db: Database, icd10: str) -> None:
    member_id = await make_person(db)
    await diagnose(db, member_id, icd10, abated_on=date(2020, 1, 1))
    assert (await findrisc(db, member_id))["highglu"] == 1


async def test_a_medicine_for_blood_pressure_that_has_ended_was_taken(db: Database) -> None:
    assert (await findrisc(db, await make_person(db)))["bpmed"] == 0
    member_id = await make_person(db)
    await prescribe(db, member_id, "C09AA02", ends_on=date(2026, 2, 1))
    assert (await findrisc(db, member_id))["bpmed"] == 1
    assert (await latest(db, member_id)).inputs["bp_treated"][0] == 0


@pytest.mark.parametrize("icd10", ["I25.1", "I62.0", "I69.3", "Z95.1", "Z95.5", "G45.9"])
async def test_cardiovascular_disease_is_known_by_its_codes(db: Database, icd10: str) -> None:
    member_id = await make_person(db)
    await diagnose(db, member_id, icd10)
    assert (await assess(db, member_id)).tier is Tier.HIGH
    assert (await latest(db, member_id)).matched == ["cardiovascular_disease"]


async def test_a_condition_is_over_from_the_day_it_abates(db: Database) -> None:
    member_id = await make_person(db)
    await diagnose(db, member_id, "E11.9", abated_on=NOON.date() + timedelta(days=1))
    assert (await assess(db, member_id)).tier is Tier.HIGH
    found = await assess(db, member_id, now=NOON + timedelta(days=1))
    assert (await latest(db, member_id)).inputs["diabetes"][0] == 0
    assert found.tier is not Tier.HIGH


async def test_a_height_lasts(db: Database) -> None:
    member_id = await make_member(db, birth_date=date(1960, 6, 15))
    tall = NOON - timedelta(days=365 * 15)
    await measure(db, member_id, tall, now=tall + timedelta(days=1), HEIGHT=170)
    await measure(db, member_id, WEIGHT=72.25)
    await assess(db, member_id)
    assert (await latest(db, member_id)).inputs["bmi"][0] == 25


# Words


def test_members_read_units_and_names_as_people_write_them() -> None:
    model = ("ckd_epi_2021", "1.0")
    inputs: dict[str, float | int | str] = {"scr_mgdl": 1.2, "age": 50, "sex": "male"}
    result = rules.score(*model, inputs).result
    said = [sentences.contribution(it, model, inputs) for it in result.contributions]
    assert said[0].zh == "按你的年龄和性别，其他各项理想时为 104 mL/min/1.73 m²。"
    assert said[1].en.startswith("Creatinine 1.2 mg/dL: takes away ")
    assert said[1].en.endswith(" mL/min/1.73 m².")
    pressure = LATEST["framingham_hypertension"].score({"sbp": 152, "age": 40})
    assert pressure.not_applicable is not None
    assert pressure.not_applicable.en == (
        "systolic blood pressure 152 mmHg is outside the range of this model (< 140 mmHg)."
    )
    impossible = rules.score("findrisc", "1.0", {"bmi": 500}).result.not_applicable
    assert impossible is not None
    assert impossible.zh == "体质指数的数值不可能，请核对。"
    assert impossible.en == ("The value of body mass index cannot be right; please check it.")


@pytest.mark.parametrize("age", range(35, 75))
def test_contributions_as_shown_add_up_to_the_result_as_shown(age: int) -> None:
    inputs = {
        "sex": "female", "age": age, "sbp": 137, "treated": 0, "tc_mmol": 5.3, "hdl_mmol": 1.21,
        "waist": 84, "smoker": 1, "diabetes": 0, "north": 1,
    }  # fmt: skip
    result = LATEST["china_par_10y_ascvd"].score(inputs)
    assert result.value is not None
    shown = sentences.rounded(result)
    assert sum(shown) == Decimal(str(round(result.value, 3)))
    for it, value in zip(result.contributions, shown, strict=True):
        assert float(value) == pytest.approx(it.value, abs=0.005)
