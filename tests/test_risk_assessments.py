"""Assessments: which inputs are taken, what tier follows, and that any can be computed again."""

import asyncio
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlmodel import col

from app.config import Settings
from app.db import Database, StatementCount
from app.events import Events
from app.ids import new_id
from app.jobs import queue
from app.measurements.kinds import Channel, Method
from app.members import service as members
from app.members.rules import ConsentPurpose
from app.risk import jobs, requests, rulesets, service
from app.risk.requests import Cause
from app.risk.rulesets import Tier
from app.risk.tables import RiskAssessment, RiskProfile
from tests.factories import NOON, consent, counts, make_member
from tests.risk_people import (
    ANSWERS,
    answer,
    assess,
    diagnose,
    make_person,
    measure,
    prescribe,
)

LATER = NOON + timedelta(days=10)


async def rows(db: Database, member_id: UUID) -> list[Any]:
    """All assessments, the oldest first."""
    async with db.read() as connection:
        found = await connection.execute(
            select(RiskAssessment)
            .where(col(RiskAssessment.member_id) == member_id)
            .order_by(col(RiskAssessment.assessed_at), col(RiskAssessment.id))
        )
        return list(found)


async def latest(db: Database, member_id: UUID) -> Any:
    return (await rows(db, member_id))[-1]


async def rechecks(db: Database, member_id: UUID) -> list[tuple[str, bool]]:
    async with db.read() as connection:
        found = await connection.execute(
            text(
                "select kind, settled_at is not null from risk_rechecks where member_id = :id"
                " order by proposed_at, kind"
            ),
            {"id": member_id},
        )
        return [tuple(row) for row in found]  # type: ignore[misc]


# Tiers


async def test_who_is_healthy_and_young_is_of_low_risk(db: Database) -> None:
    member_id = await make_person(db)

    found = await assess(db, member_id)

    assert (found.tier, found.before, found.changed) == (Tier.LOW, None, True)
    row = await latest(db, member_id)
    assert row.matched == []
    absent = {code for code, it in row.results.items() if it["value"] is None}
    # 35: too young for SCORE2 (40) and Framingham diabetes (45).
    assert absent == {"score2", "score2_asia_pacific", "framingham_diabetes_8y"}


async def test_nobody_is_of_low_risk_unless_enough_is_known(db: Database) -> None:
    member_id = await make_member(db, birth_date=date(1990, 6, 15))
    found = await assess(db, member_id)
    assert found.tier is None
    row = await latest(db, member_id)
    assert all(it["value"] is None for it in row.results.values())

    await measure(db, member_id, SYSTOLIC_BP=112, DIASTOLIC_BP=72)
    assert (await assess(db, member_id)).tier is None
    await measure(db, member_id, BMI=22)
    assert (await assess(db, member_id)).tier is Tier.LOW


@pytest.mark.parametrize(
    ("readings", "tier", "rule"),
    [
        ({"SYSTOLIC_BP": 124, "DIASTOLIC_BP": 74}, Tier.LOW, None),
        ({"SYSTOLIC_BP": 130}, Tier.MEDIUM, "pre_chronic"),
        ({"DIASTOLIC_BP": 85}, Tier.MEDIUM, "pre_chronic"),
        ({"SYSTOLIC_BP": 139, "DIASTOLIC_BP": 89}, Tier.HIGH, "hypertension_expected_high"),
        ({"SYSTOLIC_BP": 140}, Tier.HIGH, "hypertension_measured"),
        ({"DIASTOLIC_BP": 90}, Tier.HIGH, "hypertension_measured"),
        ({"FASTING_GLUCOSE": 6.09}, Tier.LOW, None),
        ({"FASTING_GLUCOSE": 6.1}, Tier.MEDIUM, "pre_chronic"),
        ({"FASTING_GLUCOSE": 6.99}, Tier.MEDIUM, "pre_chronic"),
        ({"FASTING_GLUCOSE": 7.0}, Tier.HIGH, "diabetes_range"),
        ({"BMI": 27.9}, Tier.LOW, None),
        ({"BMI": 28}, Tier.MEDIUM, "pre_chronic"),
        ({"CREATININE": 110}, Tier.MEDIUM, "kidney_function_mild"),
        ({"CREATININE": 160}, Tier.HIGH, "kidney_function"),
    ],
)
async def test_a_reading_makes_a_tier_at_its_limit(
    db: Database, readings: dict[str, float], tier: Tier, rule: str | None
) -> None:
    member_id = await make_person(db, readings=readings)
    found = await assess(db, member_id)
    row = await latest(db, member_id)
    assert found.tier is tier, row.matched
    assert rule is None or rule in row.matched


@pytest.mark.parametrize(
    ("form", "given", "tier", "rule"),
    [
        ("family-history", {"diabetes": ["father"]}, Tier.MEDIUM, "family_history"),
        ("family-history", {"hypertension": ["mother"]}, Tier.MEDIUM, "family_history"),
        ("family-history", {"hypertension": ["sibling"]}, Tier.MEDIUM, "family_history"),
        ("family-history", {"hypertension": ["child"]}, Tier.MEDIUM, "family_history"),
        ("family-history", {"hypertension": ["second_degree"]}, Tier.LOW, None),
        ("family-history", {"diabetes": ["second_degree"]}, Tier.LOW, None),
        ("smoking", {"status": ["current"], "years": ["10"]}, Tier.MEDIUM, "long_smoking"),
        ("smoking", {"status": ["current"], "years": ["9"]}, Tier.LOW, None),
        ("smoking", {"status": ["former"], "years": ["20"]}, Tier.LOW, None),
        ("activity", {"moderate_minutes": ["29"]}, Tier.MEDIUM, "sedentary"),
        ("activity", {"moderate_minutes": ["30"]}, Tier.LOW, None),
        ("health-declaration", {"diagnoses": ["type_2_diabetes"]}, Tier.HIGH, "diabetes"),
        ("health-declaration", {"diagnoses": ["stroke"]}, Tier.HIGH, "cardiovascular_disease"),
        ("health-declaration", {"diagnoses": ["hypertension"]}, Tier.HIGH, "hypertension"),
    ],
)
async def test_an_answer_makes_a_tier(
    db: Database, form: str, given: dict[str, list[str]], tier: Tier, rule: str | None
) -> None:
    answers = {**ANSWERS, form: {**ANSWERS[form], **given}}
    member_id = await make_person(db, answers=answers)
    found = await assess(db, member_id)
    row = await latest(db, member_id)
    assert found.tier is tier, row.matched
    assert rule is None or rule in row.matched


@pytest.mark.parametrize(
    ("sex", "grams", "tier"),
    [("MALE", 25, Tier.LOW), ("MALE", 25.1, Tier.MEDIUM), ("FEMALE", 15, Tier.LOW),
     ("FEMALE", 15.1, Tier.MEDIUM)],
)  # fmt: skip
async def test_heavy_drinking_is_more_than_the_limit_of_the_sex(
    db: Database, sex: str, grams: float, tier: Tier
) -> None:
    member_id = await make_person(db, sex=sex)
    score = {"ethanol_per_day": [str(grams), None]}
    await answer(db, member_id, "alcohol", 2, score, frequency=["four_a_week"])
    assert (await assess(db, member_id)).tier is tier


async def test_age_and_pre_chronic_with_three_factors(db: Database) -> None:
    member_id = await make_person(db, birth_date=date(1981, 3, 3))
    assert (await assess(db, member_id)).tier is Tier.LOW  # 44 for one more day
    birthday = NOON + timedelta(days=1)
    assert (await assess(db, member_id, now=birthday)).tier is Tier.MEDIUM
    answers = {
        **ANSWERS,
        "smoking": {"status": ["current"], "years": ["20"]},
        "activity": {**ANSWERS["activity"], "moderate_days": ["1"]},
    }
    raised = {"BMI": 28.5}
    several = await make_person(db, birth_date=date(1980, 3, 3), answers=answers, readings=raised)
    assert (await assess(db, several)).tier is Tier.HIGH
    assert (await latest(db, several)).matched[0] == "several_factors"


# Inputs


async def test_conditions_and_medications_that_are_recorded_stand(db: Database) -> None:
    member_id = await make_person(db)
    await diagnose(db, member_id, "I25.1")
    await prescribe(db, member_id, "C10AA05")
    await prescribe(db, member_id, "C09AA02", ends_on=date(2026, 3, 1))  # over

    assert (await assess(db, member_id)).tier is Tier.HIGH

    row = await latest(db, member_id)
    assert row.inputs["cvd"] == [1, None, "2026-03-02", "CLINICAL", []]
    assert row.inputs["statin"][0] == 1
    assert row.inputs["bp_treated"][0] == 0
    assert row.results["prevent_base"]["value"] is None


async def test_blood_pressure_of_the_clinic_is_averaged_over_its_day(db: Database) -> None:
    member_id = await make_person(db)
    at = NOON - timedelta(hours=3)
    await measure(db, member_id, at, SYSTOLIC_BP=150, DIASTOLIC_BP=80)
    await measure(db, member_id, at + timedelta(minutes=5), SYSTOLIC_BP=120, DIASTOLIC_BP=82)

    await assess(db, member_id)

    value, unit, day, provenance, ids = (await latest(db, member_id)).inputs["sbp"]
    assert (unit, day, provenance) == ("mm[Hg]", "2026-03-02", "CLINICAL")
    assert value == 135 and len(ids) == 2


async def test_home_measurements_count_when_they_are_newer(db: Database) -> None:
    member_id = await make_person(db)
    for days in (4, 3, 2, 1, 0):
        await measure(
            db, member_id, NOON - timedelta(days=days, hours=1), method=Method.SENSED,
            channel=Channel.APP, source="omron", SYSTOLIC_BP=136, DIASTOLIC_BP=82,
        )  # fmt: skip
    found = await assess(db, member_id)
    row = await latest(db, member_id)
    assert row.inputs["sbp"][:4] == [136, "mm[Hg]", "2026-03-02", "SENSED"]
    assert (found.tier, row.matched[0]) == (Tier.HIGH, "hypertension_measured")


async def test_what_nobody_vouches_for_makes_no_tier(db: Database) -> None:
    """A typed blood pressure or laboratory value is left out; a typed weight is taken."""
    member_id = await make_person(db)
    typed = {"method": Method.SELF_REPORTED, "channel": Channel.APP, "source": "app"}
    await measure(
        db, member_id, NOON - timedelta(hours=1), SYSTOLIC_BP=170, DIASTOLIC_BP=105,
        TOTAL_CHOLESTEROL=9, BMI=29, **typed,  # type: ignore[arg-type]
    )  # fmt: skip
    await assess(db, member_id)
    row = await latest(db, member_id)
    assert row.inputs["sbp"][0] == 112
    assert row.inputs["tc_mmol"][0] == 4.6
    assert row.inputs["bmi"][:4] == [29, "kg/m2", "2026-03-02", "SELF_REPORTED"]
    assert row.matched == ["pre_chronic"]


async def test_old_readings_say_nothing_about_today(db: Database) -> None:
    member_id = await make_person(db)
    await assess(db, member_id)
    found = await assess(db, member_id, now=NOON + timedelta(days=731))
    assert (found.tier, found.before) == (None, Tier.LOW)
    row = await latest(db, member_id)
    assert {"sbp", "bmi", "tc_mmol"}.isdisjoint(row.inputs)
    assert "smoker" in row.inputs


async def test_what_is_not_known_is_left_out_and_named(db: Database) -> None:
    answers = {**ANSWERS, "family-history": {"diabetes": ["unknown"], "hypertension": ["none"]}}
    member_id = await make_person(db, answers=answers, sex="UNKNOWN", region=None)
    await assess(db, member_id)
    row = await latest(db, member_id)
    assert {"sex", "north", "family_diabetes", "family_ascvd"}.isdisjoint(row.inputs)
    said = service.result_of("findrisc", row.results["findrisc"]).not_applicable
    assert said is not None
    assert said.en == "Missing: sex, family history of diabetes."


async def test_one_value_in_the_diabetes_range_is_not_taken_back_by_a_lower_one(
    db: Database,
) -> None:
    member_id = await make_person(db)
    await measure(db, member_id, NOON - timedelta(days=60), FASTING_GLUCOSE=7.4)
    found = await assess(db, member_id)
    row = await latest(db, member_id)
    assert row.inputs["fasting_glucose_mmol"][0] == 5.0
    assert (found.tier, row.matched[0]) == (Tier.HIGH, "diabetes_range")


async def test_the_kidneys_are_computed_once_for_all_models(db: Database) -> None:
    member_id = await make_person(db)
    await assess(db, member_id)
    row = await latest(db, member_id)
    egfr = row.results["ckd_epi_2021"]["value"]
    assert row.inputs["egfr"][0] == pytest.approx(egfr, abs=1e-6)
    assert row.inputs["egfr"][3] == "DERIVED"
    assert row.results["prevent_base"]["inputs"]["egfr"] == row.inputs["egfr"][0]


# Recomputing


async def test_any_past_result_can_be_computed_again_exactly(db: Database) -> None:
    member_id = await make_person(db, birth_date=date(1970, 1, 5), sex="MALE")
    await assess(db, member_id)
    await measure(db, member_id, NOON - timedelta(hours=2), SYSTOLIC_BP=143.7, DIASTOLIC_BP=88.3)
    await assess(db, member_id, now=NOON + timedelta(minutes=1))
    await diagnose(db, member_id, "E11.9")
    await assess(db, member_id, now=NOON + timedelta(minutes=2))

    found = await rows(db, member_id)
    assert [it.tier for it in found] == ["MEDIUM", "HIGH", "HIGH"]
    for row in found:
        tier, matched, results = service.recompute(row)
        assert (tier, matched) == (Tier(row.tier), row.matched)
        assert results == row.results  # to the last bit
    values = [it.results["china_par_10y_ascvd"]["value"] for it in found]
    assert len(set(values)) == 3


async def test_the_same_again_is_not_written_again(db: Database) -> None:
    member_id = await make_person(db)
    first = await assess(db, member_id)
    before = await counts(db)
    second = await assess(db, member_id, now=NOON + timedelta(hours=1))
    assert (second.changed, second.assessment_id) == (False, first.assessment_id)
    assert await counts(db) == before


async def test_eight_at_once_write_one_assessment(db: Database) -> None:
    member_id = await make_person(db)
    found = await asyncio.gather(*(assess(db, member_id) for _ in range(8)))
    assert len({it.assessment_id for it in found}) == 1
    assert sum(it.changed for it in found) == 1
    assert len(await rows(db, member_id)) == 1

    # Again, where an assessment stands that the newer ones are compared with.
    await measure(db, member_id, NOON - timedelta(hours=2), BMI=29)
    later = NOON + timedelta(minutes=1)
    found = await asyncio.gather(*(assess(db, member_id, now=later) for _ in range(8)))
    assert len({it.assessment_id for it in found}) == 1
    assert sum(it.changed for it in found) == 1
    assert [it.tier for it in await rows(db, member_id)] == ["LOW", "MEDIUM"]


async def test_who_is_erased_leaves_no_profile_behind(db: Database) -> None:
    member_id = await make_member(db)
    async with db.transaction() as session:
        erase = text("update members set erased_at = :now where member_id = :id")
        await session.execute(erase, {"now": NOON, "id": member_id})
        found = await service.assess(
            session, member_id=member_id, cause=Cause.TIME_PASSED, now=NOON
        )
    assert found is None
    assert (await counts(db))["risk_profiles"] == 0


async def test_past_assessments_cannot_be_changed(db: Database) -> None:
    member_id = await make_person(db)
    await assess(db, member_id)
    with pytest.raises(Exception, match="permission denied"):
        async with db.transaction() as session:
            await session.execute(text("update risk_assessments set tier = 'LOW'"))


async def test_without_consent_nobody_is_assessed(db: Database) -> None:
    member_id = await make_person(db)
    await assess(db, member_id)
    async with db.transaction() as session:
        session.add(consent(member_id, "HEALTH_DATA", "WITHDRAWN", version=2))
    await measure(db, member_id, NOON - timedelta(hours=1), BMI=33)
    async with db.transaction() as session:
        found = await service.assess(
            session, member_id=member_id, cause=Cause.INPUTS_CHANGED, now=LATER
        )
    assert found is None
    assert len(await rows(db, member_id)) == 1
    async with db.transaction() as session:
        nobody = await service.assess(
            session, member_id=new_id(NOON), cause=Cause.INPUTS_CHANGED, now=NOON
        )
    assert nobody is None


async def test_statements_do_not_grow_with_members(db: Database) -> None:
    everybody = [await make_person(db) for _ in range(3)]

    async def statements(member_ids: list[UUID], now: Any) -> int:
        with StatementCount(db) as count:
            async with db.transaction() as session:
                await service.assess_many(session, member_ids, cause=Cause.RULES_CHANGED, now=now)
        return len(count)

    one = await statements(everybody[:1], NOON)
    more = await statements(everybody, NOON)
    assert one == more
    assert one <= 14


# Jobs


def job_context(db: Database, now: Any) -> queue.JobContext:
    return queue.JobContext(
        db=db, now=lambda: now, events=Events("postgresql:///"), push=None, settings=Settings()
    )


async def waiting(db: Database) -> list[Any]:
    async with db.read() as connection:
        found = await connection.execute(
            text(
                "select execute_after, dedupe_key from pgqueuer where entrypoint = 'risk.reassess'"
            )
        )
        return list(found)


async def test_what_is_measured_is_assessed_half_a_minute_later_and_once(db: Database) -> None:
    member_id = await make_member(db, birth_date=date(1990, 6, 15))
    await measure(db, member_id, SYSTOLIC_BP=150, DIASTOLIC_BP=95)
    await measure(db, member_id, now=NOON + timedelta(seconds=5), BMI=24)

    [(at, _)] = await waiting(db)
    assert at == NOON + timedelta(seconds=30)
    await queue.run_due(db, job_context(db, NOON + timedelta(seconds=29)))
    assert await rows(db, member_id) == []
    await queue.run_due(db, job_context(db, NOON + timedelta(seconds=30)))
    [row] = await rows(db, member_id)
    assert (row.tier, row.cause) == ("HIGH", "INPUTS_CHANGED")
    assert row.inputs["bmi"][0] == 24
    assert await waiting(db) == []


async def test_steps_are_no_reason_to_assess(db: Database) -> None:
    member_id = await make_member(db)
    async with db.transaction() as session:
        from app.measurements.facts import ON_RECORDED, Touched

        for follow in ON_RECORDED:
            await follow(session, member_id, Touched(), NOON)
    assert await waiting(db) == []


async def test_who_was_not_checked_for_a_month_is_checked(db: Database) -> None:
    stale = await make_person(db, birth_date=date(1981, 3, 20))
    withdrawn = await make_person(db)
    fresh = await make_person(db)
    await assess(db, stale)
    await assess(db, withdrawn)
    now = NOON + timedelta(days=30)
    await assess(db, fresh, now=NOON + timedelta(days=1))
    async with db.transaction() as session:
        session.add(consent(withdrawn, "HEALTH_DATA", "WITHDRAWN", version=2))

    assert [it async for it in jobs.assess_stale(db, now=now)] == [2]

    assert [it.tier for it in await rows(db, stale)] == ["LOW", "MEDIUM"]  # 45 by now
    assert (await latest(db, stale)).cause == "TIME_PASSED"
    assert len(await rows(db, withdrawn)) == 1
    assert [it async for it in jobs.assess_stale(db, now=now)] == []


async def test_who_was_never_checked_is_checked(db: Database) -> None:
    member_id = await make_person(db)
    async with db.transaction() as session:
        session.add(RiskProfile(member_id=member_id, contests=0))
    assert [it async for it in jobs.assess_stale(db, now=NOON)] == [1]
    assert [it.tier for it in await rows(db, member_id)] == ["LOW"]


async def test_one_who_cannot_be_assessed_holds_up_nobody(db: Database) -> None:
    broken, others = await make_person(db), [await make_person(db) for _ in range(2)]
    for member_id in (broken, *others):
        await assess(db, member_id)
        await measure(db, member_id, NOON - timedelta(hours=1), BMI=29)
    async with db.transaction() as session:
        await session.execute(text("delete from pgqueuer"))
        no_zone = text("update members set time_zone = 'Nowhere/Land' where member_id = :id")
        await session.execute(no_zone, {"id": broken})
    now = NOON + timedelta(days=30)

    assert [it async for it in jobs.assess_stale(db, now=now)] == [3]
    later = now + timedelta(minutes=1)
    await queue.run_due(db, job_context(db, later), strict=False)

    for member_id in others:
        assert [it.tier for it in await rows(db, member_id)] == ["LOW", "MEDIUM"]
        assert (await latest(db, member_id)).cause == "TIME_PASSED"
    assert len(await rows(db, broken)) == 1
    [(_, key)] = await waiting(db)
    assert str(broken) in key if key else True
    assert [it async for it in jobs.assess_stale(db, now=now)] == []


async def test_a_later_change_does_not_take_over_another_cause(db: Database) -> None:
    member_id = await make_person(db)
    await queue.run_due(db, job_context(db, NOON + timedelta(minutes=1)))
    async with db.transaction() as session:
        for cause in (Cause.CONTESTED, Cause.INPUTS_CHANGED):
            await requests.inputs_changed(session, [member_id], now=NOON, cause=cause)
    async with db.read() as connection:
        payloads = "select convert_from(payload, 'UTF8')::jsonb ->> 'cause' from pgqueuer"
        found = set((await connection.execute(text(payloads))).scalars())
    assert {"CONTESTED", "INPUTS_CHANGED"} <= found


async def test_consent_that_is_given_again_is_followed_by_an_assessment(db: Database) -> None:
    requests.follow_recordings()
    member_id = await make_member(db, birth_date=date(1990, 6, 15), consents=False)
    version = members.consent_text_versions()[ConsentPurpose.HEALTH_DATA]

    async def say(granted: bool) -> None:
        async with db.transaction() as session:
            await members.set_consent(
                session, member_id=member_id, request_id=uuid4(),
                purpose=ConsentPurpose.HEALTH_DATA, granted=granted, text_version=version,
                recorded_by=member_id, now=NOON,
            )  # fmt: skip

    await say(False)
    assert await waiting(db) == []
    await say(True)
    [(at, _)] = await waiting(db)
    assert at == NOON + timedelta(seconds=30)


# Re-checks


async def test_who_comes_to_be_of_high_risk_measures_again(db: Database) -> None:
    member_id = await make_person(db)
    await assess(db, member_id)
    assert await rechecks(db, member_id) == []
    now = NOON + timedelta(days=60)
    await diagnose(db, member_id, "E11")

    await assess(db, member_id, now=now)
    await assess(db, member_id, now=now + timedelta(hours=1))

    assert await rechecks(db, member_id) == [("BLOOD_PRESSURE", False), ("GLUCOSE", False)]
    await measure(
        db, member_id, now + timedelta(hours=2), now=now + timedelta(hours=3),
        SYSTOLIC_BP=120, DIASTOLIC_BP=80,
    )  # fmt: skip
    await assess(db, member_id, now=now + timedelta(hours=4))
    assert await rechecks(db, member_id) == [("BLOOD_PRESSURE", True), ("GLUCOSE", False)]


async def test_what_a_clinic_has_just_measured_is_not_measured_again(db: Database) -> None:
    member_id = await make_person(db, readings={"SYSTOLIC_BP": 150})
    assert (await assess(db, member_id)).tier is Tier.HIGH
    assert await rechecks(db, member_id) == []


# Rule sets


def test_every_rule_set_ever_released_is_still_there() -> None:
    assert next(iter(rulesets.every())) == "1"
    assert rulesets.in_force().released


def test_every_fact_and_factor_that_a_rule_names_can_be_known() -> None:
    from app.risk import inputs

    names = {take.name for takes in inputs.TAKES.values() for take in takes.values()}
    names |= {
        "family_diabetes_first_degree", "smoking_years", "alcohol_g_per_day", "diabetes_range",
        "exercise_minutes_a_week", "family_hypertension_first_degree", "pressure_confirmed",
    }  # fmt: skip
    known = set(names)

    def facts(condition: rulesets.Condition) -> set[str]:
        found = {condition.fact} if condition.fact else set()
        for it in condition.parts:
            found |= facts(it)
        return found

    for rule_set in rulesets.every().values():
        for rule in rule_set.rules:
            assert facts(rule.when) <= known, rule.code


def test_every_factor_of_every_model_has_words() -> None:
    from app.risk import sentences
    from tests.test_risk_models import BASE, shifted

    for model in BASE:
        for it in shifted(model).contributions:
            assert sentences.factor(it.factor)


def test_every_input_of_every_model_is_taken() -> None:
    from app.risk import inputs
    from app.risk.models import LATEST

    for code, model in LATEST.items():
        assert set(inputs.TAKES[code]) >= {it.name for it in model.inputs if it.required}
        assert set(inputs.TAKES[code]) <= {it.name for it in model.inputs}
