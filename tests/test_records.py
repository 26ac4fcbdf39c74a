"""Conditions and medications, the reminders they make, and classes through the API."""

import asyncio
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode, parse
from app.measurements import service as measurements
from app.records import health
from tests.factories import (
    NOON,
    as_member,
    as_staff,
    assign,
    consent,
    contents,
    counts,
    execute,
    guard,
    make_member,
    make_staff,
    operation,
    refused,
)

SET_CONDITION = operation("SetCondition")
RETRACT = operation("RetractCondition")
SET_MEDICATION = operation("SetMedication")
STOP = operation("StopMedication")
RECORD = operation("HealthRecord")
TODAY = NOON.date()


def condition(**changes) -> dict:
    return {"requestId": str(uuid4()), "icd10": "E11.9", "onsetOn": "2024-05-01"} | changes


def pills(**changes) -> dict:
    return {
        "requestId": str(uuid4()),
        "name": "Metformin",
        "atc": "A10BA02",
        "dose": "one tablet of 500 mg",
        "times": ["08:00", "20:00"],
        "startsOn": "2026-03-01",
    } | changes


async def change(db: Database, document: str, context, **input):
    data = await execute(document, {"input": input}, context=context)
    [found] = data.values()
    return found


async def record(db: Database, context, **variables) -> dict:
    return (await execute(RECORD, variables, context=context))["me"]


async def rows(db: Database, sql: str, **values: object) -> list[tuple]:
    async with db.read() as connection:
        return [tuple(row) for row in await connection.execute(text(sql), values)]


# Codes


@pytest.mark.parametrize(
    "code",
    ["I10", "E11.9", "U07.1", " e11.9 ", "I10.x00x002", "E11.900", "Z96.65", "M1A.0110", "C4A"],
)
def test_codes_of_icd_10_and_its_national_editions_have_its_form(code):
    assert health.icd10(code) == code.strip().upper()


@pytest.mark.parametrize(
    "code", ["", "10", "I1", "I", "II10", "E11.", "E11.90000", "E119", "diabetes", "E11,9", "Ｉ10"]
)
def test_other_texts_have_not(code):
    assert health.icd10(code) is None


@given(st.text(max_size=12))
def test_a_code_is_one_spelling_and_stays_it(text_):
    found = health.icd10(text_)
    assert found is None or (health.icd10(found) == found and found.isascii())
    found = health.atc(text_)
    assert found is None or (health.atc(found) == found and found.isascii())


@pytest.mark.parametrize("code", ["A", "C09", "A10B", "A10BA", "A10BA02", "a10ba02"])
def test_codes_of_atc_have_its_form(code):
    assert health.atc(code) == code.upper()


@pytest.mark.parametrize("code", ["", "E10", "A1", "A10BA2", "A10BA020", "10BA02", "AA"])
def test_other_texts_are_no_codes_of_atc(code):
    assert health.atc(code) is None


# Conditions


async def test_a_member_declares_a_condition_and_changes_it(db: Database):
    member = await make_member(db)
    me = as_member(db, member)
    made = await change(db, SET_CONDITION, me, **condition(label=" since the check-up "))
    found = made["condition"]
    assert found | {"id": None} == {
        "id": None,
        "icd10": "E11.9",
        "label": "since the check-up",
        "source": "DECLARED",
        "onsetOn": date(2024, 5, 1),
        "abatedOn": None,
        "version": 1,
        "recordedAt": NOON,
    }
    before = await contents(db, "conditions")
    changed = await change(
        db, SET_CONDITION, me, **condition(conditionId=found["id"], icd10="r73.0")
    )
    assert changed["condition"]["id"] == found["id"], "the right cache key"
    assert (changed["condition"]["version"], changed["condition"]["icd10"]) == (2, "R73.0")
    after = await contents(db, "conditions")
    assert set(before["conditions"]) < set(after["conditions"]), "the first version stays"
    [edge] = (await record(db, me))["conditions"]["edges"]
    assert edge["node"] == changed["condition"]


async def test_what_was_a_mistake_is_not_shown_any_more_and_stays(db: Database):
    member = await make_member(db)
    me = as_member(db, member)
    id = (await change(db, SET_CONDITION, me, **condition()))["condition"]["id"]
    request = str(uuid4())
    gone = await change(db, RETRACT, me, requestId=request, conditionId=id)
    assert gone == {
        "__typename": "RetractConditionPayload",
        "replayed": False,
        "retractedConditionId": id,
    }
    again = await change(db, RETRACT, me, requestId=request, conditionId=id)
    assert again == gone | {"replayed": True}
    assert (await record(db, me))["conditions"]["edges"] == []
    node = await execute(
        "query ($id: ID!) { node(id: $id) { id } }", {"id": id}, context=as_member(db, member)
    )
    assert node == {"node": None}
    for refused_ in (
        await change(db, RETRACT, me, requestId=str(uuid4()), conditionId=id),
        await change(db, SET_CONDITION, me, **condition(conditionId=id)),
    ):
        assert (refused_["code"], refused_["field"]) == ("NOT_FOUND", "conditionId")
    assert await rows(db, "select version, retracted from conditions order by version") == [
        (1, False),
        (2, True),
    ]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"icd10": "diabetes"}, "CODE_INVALID", "icd10"),
        ({"onsetOn": "2026-03-03"}, "PERIOD_INVALID", "onsetOn"),
        ({"abatedOn": "2026-03-03"}, "PERIOD_INVALID", "abatedOn"),
        ({"abatedOn": "2024-04-30"}, "PERIOD_INVALID", "abatedOn"),
        ({"label": " "}, "VALUE_OUT_OF_RANGE", "label"),
        ({"label": "x" * 201}, "VALUE_OUT_OF_RANGE", "label"),
        ({"label": "a\nb"}, "VALUE_OUT_OF_RANGE", "label"),
    ],
)
async def test_a_faulty_condition_changes_nothing(db: Database, changes, code, field):
    member = await make_member(db)
    before = await contents(db)
    found = await change(db, SET_CONDITION, as_member(db, member), **condition(**changes))
    assert (found["code"], found["field"]) == (code, field)
    assert await contents(db) == before


async def test_a_clinician_records_and_the_member_cannot_change_it(db: Database):
    member, manager = await make_member(db), await make_staff(db)
    await assign(db, manager, member)
    staff, me = as_staff(db, manager), as_member(db, member)
    global_id = encode(Kind.MEMBER, member)
    made = await change(db, SET_CONDITION, staff, **condition(memberId=global_id))
    assert made["condition"]["source"] == "CLINICAL"
    assert (await counts(db))["audit_reads"] == 1
    id = made["condition"]["id"]
    for found in (
        await change(db, SET_CONDITION, me, **condition(conditionId=id)),
        await change(db, RETRACT, me, requestId=str(uuid4()), conditionId=id),
    ):
        assert (found["code"], found["field"]) == ("STATE_INVALID", "conditionId")
    own = (await change(db, SET_CONDITION, me, **condition(icd10="I10")))["condition"]["id"]
    confirmed = await change(
        db, SET_CONDITION, staff, **condition(conditionId=own, icd10="I10", memberId=global_id)
    )
    assert (confirmed["condition"]["source"], confirmed["condition"]["version"]) == ("CLINICAL", 2)
    assert await rows(db, "select distinct recorded_by from conditions where version = 2") == [
        (manager,)
    ]


async def test_employees_need_a_ground_and_the_members_consent(db: Database):
    member, manager = await make_member(db), await make_staff(db)
    global_id = encode(Kind.MEMBER, member)
    before = await contents(db)
    unseen = await change(db, SET_CONDITION, as_staff(db, manager), **condition(memberId=global_id))
    assert (unseen["code"], unseen["field"]) == ("NOT_FOUND", "memberId")
    for document, input in ((SET_CONDITION, condition()), (SET_MEDICATION, pills())):
        asked = {"input": {**input, "memberId": global_id}}
        actuary = as_staff(db, manager, "ACTUARY")
        assert await refused(document, asked, context=actuary) == "FORBIDDEN"
        asked = {"input": input}
        assert await refused(document, asked, context=as_staff(db, manager)) == "FORBIDDEN"
    assert await contents(db) == before
    await assign(db, manager, member)
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    for document, input in ((SET_CONDITION, condition()), (SET_MEDICATION, pills())):
        found = await change(db, document, as_staff(db, manager), **input, memberId=global_id)
        assert found["code"] == "CONSENT_MISSING"
    assert (await counts(db))["conditions"] == 0


async def test_without_consent_a_member_declares_nothing(db: Database):
    member = await make_member(db, consents=False)
    for document, input in ((SET_CONDITION, condition()), (SET_MEDICATION, pills())):
        found = await change(db, document, as_member(db, member), **input)
        assert found["code"] == "CONSENT_MISSING"


async def test_another_members_looks_like_none(db: Database):
    member, other = await make_member(db), await make_member(db)
    theirs = (await change(db, SET_CONDITION, as_member(db, other), **condition()))["condition"]
    disguised = encode(Kind.CONDITION, member, parse(theirs["id"]).key)
    before = await contents(db)
    for id in (theirs["id"], disguised, "x", encode(Kind.MEDICATION, member, uuid4())):
        found = await change(db, SET_CONDITION, as_member(db, member), **condition(conditionId=id))
        assert (found["code"], found["field"]) == ("NOT_FOUND", "conditionId")
    named = await change(
        db,
        SET_CONDITION,
        as_member(db, member),
        **condition(memberId=encode(Kind.MEMBER, other)),
    )
    assert (named["code"], named["field"]) == ("NOT_FOUND", "memberId")
    assert await contents(db) == before


async def test_a_request_counts_once_eight_times_at_once(db: Database):
    member = await make_member(db)
    input = condition()
    found = await asyncio.gather(
        *(change(db, SET_CONDITION, as_member(db, member), **input) for _ in range(8))
    )
    assert sorted(it["replayed"] for it in found) == [False] + [True] * 7
    assert len({it["condition"]["id"] for it in found}) == 1
    assert (await counts(db))["conditions"] == 1
    reused = await change(db, SET_CONDITION, as_member(db, member), **{**input, "icd10": "I10"})
    assert reused["code"] == "REQUEST_REUSED"


async def test_eight_versions_at_once_stand_one_behind_the_other(db: Database):
    member = await make_member(db)
    me = as_member(db, member)
    id = (await change(db, SET_CONDITION, me, **condition()))["condition"]["id"]
    found = await asyncio.gather(
        *(
            change(db, SET_CONDITION, as_member(db, member), **condition(conditionId=id))
            for _ in range(8)
        )
    )
    assert sorted(it["condition"]["version"] for it in found) == list(range(2, 10))


async def test_a_change_has_the_member_assessed_anew_once(db: Database):
    member = await make_member(db)
    for _ in range(3):
        await change(db, SET_CONDITION, as_member(db, member), **condition())
    found = await rows(db, "select entrypoint from pgqueuer where entrypoint = 'risk.reassess'")
    assert len(found) == 1


# Medications and their reminders


async def reminders_of(db: Database) -> list[tuple]:
    return await rows(
        db,
        "select local_time, title, kind, recurrence, starts_on, ends_on from reminders"
        " where deleted_at is null order by local_time",
    )


async def test_a_medication_makes_a_reminder_for_each_time(db: Database):
    member = await make_member(db)
    made = await change(db, SET_MEDICATION, as_member(db, member), **pills())
    found = made["medication"]
    assert (found["name"], found["atc"], found["times"]) == (
        "Metformin",
        "A10BA02",
        ["08:00", "20:00"],
    )
    assert (found["source"], found["version"], found["remind"]) == ("DECLARED", 1, True)
    expected = ("Take Metformin", "MEDICATION", "FREQ=DAILY", TODAY, None)
    assert await reminders_of(db) == [(time(8), *expected), (time(20), *expected)]
    # Noon in Shanghai: today's eight o'clock is past.
    assert await rows(db, "select next_on from reminders order by local_time") == [
        (TODAY + timedelta(days=1),),
        (TODAY,),
    ]
    [edge] = (await record(db, as_member(db, member)))["medications"]["edges"]
    assert edge["node"] == found


async def test_a_new_version_moves_its_reminders(db: Database):
    member = await make_member(db)
    me = as_member(db, member)
    id = (await change(db, SET_MEDICATION, me, **pills()))["medication"]["id"]
    kept = await rows(db, "select id from reminders where local_time = '08:00'")
    changed = await change(
        db,
        SET_MEDICATION,
        me,
        **pills(medicationId=id, name="Glucophage", times=["08:00", "13:30"], endsOn="2026-04-01"),
    )
    assert changed["medication"]["version"] == 2
    assert [(row[0], row[1], row[5]) for row in await reminders_of(db)] == [
        (time(8), "Take Glucophage", date(2026, 4, 1)),
        (time(13, 30), "Take Glucophage", date(2026, 4, 1)),
    ]
    assert await rows(db, "select id from reminders where local_time = '08:00'") == kept
    silent = await change(
        db,
        SET_MEDICATION,
        me,
        **pills(medicationId=id, times=["08:00"], remind=False),
    )
    assert silent["medication"]["version"] == 3
    assert await reminders_of(db) == []


async def test_a_reminder_that_the_member_deleted_stays_deleted(db: Database):
    member = await make_member(db)
    me = as_member(db, member)
    id = (await change(db, SET_MEDICATION, me, **pills()))["medication"]["id"]
    [(key,)] = await rows(db, "select id from reminders where local_time = '08:00'")
    await change(
        db,
        operation("DeleteReminder"),
        me,
        requestId=str(uuid4()),
        reminderId=encode(Kind.REMINDER, member, key),
    )
    await change(db, SET_MEDICATION, me, **pills(medicationId=id, dose="two tablets"))
    assert [row[0] for row in await reminders_of(db)] == [time(20)]


async def test_what_is_stopped_reminds_no_more_and_is_not_current(db: Database):
    member = await make_member(db)
    me = as_member(db, member)
    id = (await change(db, SET_MEDICATION, me, **pills()))["medication"]["id"]
    request = str(uuid4())
    stopped = await change(db, STOP, me, requestId=request, medicationId=id)
    assert stopped["medication"]["endsOn"] == TODAY - timedelta(days=1)
    assert await reminders_of(db) == []
    again = await change(db, STOP, me, requestId=request, medicationId=id)
    assert again == stopped | {"replayed": True}
    assert (await record(db, me))["medications"]["edges"] == []
    every = (await record(db, me, currentOnly=False))["medications"]["edges"]
    assert [edge["node"]["id"] for edge in every] == [id]
    # Taken again: it reminds again.
    await change(db, SET_MEDICATION, me, **pills(medicationId=id))
    assert len(await reminders_of(db)) == 2


async def test_what_was_never_taken_is_stopped_before_it_began(db: Database):
    member = await make_member(db)
    me = as_member(db, member)
    id = (await change(db, SET_MEDICATION, me, **pills(startsOn="2026-04-01")))["medication"]["id"]
    assert [row[4] for row in await reminders_of(db)] == [date(2026, 4, 1)] * 2
    stopped = await change(db, STOP, me, requestId=str(uuid4()), medicationId=id)
    assert stopped["medication"]["endsOn"] == date(2026, 3, 31)
    assert await reminders_of(db) == []


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"atc": "E10"}, "CODE_INVALID", "atc"),
        ({"name": ""}, "VALUE_OUT_OF_RANGE", "name"),
        ({"name": "x" * 61}, "VALUE_OUT_OF_RANGE", "name"),
        ({"name": "a\u202eb"}, "VALUE_OUT_OF_RANGE", "name"),
        ({"dose": "x" * 201}, "VALUE_OUT_OF_RANGE", "dose"),
        ({"dose": "a\0"}, "VALUE_OUT_OF_RANGE", "dose"),
        ({"times": ["08:00", "08:00"]}, "VALUE_OUT_OF_RANGE", "times"),
        ({"times": [f"{hour:02}:00" for hour in range(9)]}, "VALUE_OUT_OF_RANGE", "times"),
        ({"endsOn": "2026-02-28"}, "PERIOD_INVALID", "endsOn"),
    ],
)
async def test_a_faulty_medication_changes_nothing(db: Database, changes, code, field):
    member = await make_member(db)
    before = await contents(db)
    found = await change(db, SET_MEDICATION, as_member(db, member), **pills(**changes))
    assert (found["code"], found["field"]) == (code, field)
    assert await contents(db) == before


async def test_too_many_reminders_refuse_the_medication_as_a_whole(db: Database):
    member = await make_member(db)
    me = as_member(db, member)
    times = [f"{hour:02}:00" for hour in range(8)]
    for _ in range(6):
        made = await change(db, SET_MEDICATION, me, **pills(times=times))
        assert made["__typename"] == "SetMedicationPayload"
    before = await contents(db)
    found = await change(db, SET_MEDICATION, me, **pills(times=times))
    assert found["code"] == "LIMIT_REACHED"
    assert await contents(db) == before


async def test_a_medication_when_needed_has_no_reminder(db: Database):
    member = await make_member(db)
    made = await change(db, SET_MEDICATION, as_member(db, member), **pills(times=[], atc=None))
    assert made["medication"]["times"] == []
    assert await reminders_of(db) == []


async def test_reminders_are_in_the_members_language_and_zone(db: Database):
    member = await make_member(db, locale="zh-CN", time_zone="America/New_York")
    await change(db, SET_MEDICATION, as_member(db, member), **pills(name="二甲双胍"))
    found = await rows(db, "select title, next_at from reminders order by local_time")
    assert {title for title, _ in found} == {"服用二甲双胍"}
    assert found[0][1] == datetime(2026, 3, 2, 13, tzinfo=NOON.tzinfo)


async def test_a_health_manager_records_for_a_member_and_the_reminder_is_theirs(db: Database):
    member, manager = await make_member(db), await make_staff(db)
    await assign(db, manager, member)
    made = await change(
        db, SET_MEDICATION, as_staff(db, manager), **pills(memberId=encode(Kind.MEMBER, member))
    )
    assert made["medication"]["source"] == "CLINICAL"
    assert await rows(db, "select distinct member_id from reminders") == [(member,)]
    id = made["medication"]["id"]
    found = await change(db, STOP, as_member(db, member), requestId=str(uuid4()), medicationId=id)
    assert (found["code"], found["field"]) == ("STATE_INVALID", "medicationId")


async def test_the_same_medication_eight_times_at_once_is_one(db: Database):
    member = await make_member(db)
    input = pills()
    found = await asyncio.gather(
        *(change(db, SET_MEDICATION, as_member(db, member), **input) for _ in range(8))
    )
    assert sorted(it["replayed"] for it in found) == [False] + [True] * 7
    after = await counts(db)
    assert (after["medications"], after["reminders"], after["medication_reminders"]) == (1, 2, 2)


async def test_eight_versions_at_once_leave_two_reminders(db: Database):
    member = await make_member(db)
    id = (await change(db, SET_MEDICATION, as_member(db, member), **pills()))["medication"]["id"]
    await asyncio.gather(
        *(
            change(
                db,
                SET_MEDICATION,
                as_member(db, member),
                **pills(medicationId=id, times=["09:00", f"{10 + place}:00"]),
            )
            for place in range(8)
        )
    )
    assert len(await reminders_of(db)) == 2
    [(newest,)] = await rows(db, "select times from medications order by version desc limit 1")
    assert [row[0].isoformat("minutes") for row in await reminders_of(db)] == sorted(newest)


async def test_a_guardian_records_for_the_child(db: Database):
    guardian, child = await make_member(db), await make_member(db)
    await guard(db, child_id=child, guardian_id=guardian)
    acting = as_member(db, guardian, acting_for=child)
    made = await change(db, SET_MEDICATION, acting, **pills())
    assert parse(made["medication"]["id"]).owner_id == child
    assert await rows(db, "select member_id, recorded_by from medications") == [(child, guardian)]


# Pages


async def test_pages_hold_everything_once_with_constant_statements(db: Database):
    member, other = await make_member(db), await make_member(db)
    await change(db, SET_CONDITION, as_member(db, other), **condition())
    for minute in range(5):
        at = NOON + timedelta(minutes=minute)
        me = as_member(db, member, now=at)
        made = await change(db, SET_CONDITION, me, **condition(label=f"{minute}"))
        await change(
            db,
            SET_CONDITION,
            me,
            **condition(conditionId=made["condition"]["id"], label=f"{minute}"),
        )
    labels, after = [], None
    while True:
        with StatementCount(db) as statements:
            data = await execute(
                "query ($after: String) { me { conditions(first: 2, after: $after) {"
                " edges { node { label version } } pageInfo { hasNextPage endCursor } } } }",
                {"after": after},
                context=as_member(db, member),
            )
        assert len(statements) == 2
        page = data["me"]["conditions"]
        labels += [edge["node"]["label"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert labels == ["4", "3", "2", "1", "0"]


# Clinical classes


CLASSES = """clinicalClasses { area code label also advice diabetesRange diagnostic confirmed
  averaged asOf values { quantity value } readings { id value } thresholds { code version source } }
  diabetesRange { message diagnostic confirmed readings { value } } productGroups { code source }"""


async def measure(db: Database, member: UUID, *readings: tuple[str, str, str], days_ago: int = 0):
    async with db.transaction() as session:
        at = NOON - timedelta(days=days_ago, hours=1)
        wanted = [(code, Decimal(value), unit) for code, value, unit in readings]
        await measurements.record(
            session,
            member_id=member,
            time_zone="Asia/Shanghai",
            readings=measurements.clinical(wanted, at=at),
            now=NOON,
        )


async def test_a_members_classes_with_what_they_rest_on(db: Database):
    member = await make_member(db)
    await measure(
        db,
        member,
        ("SYSTOLIC_BP", "150", "mm[Hg]"),
        ("DIASTOLIC_BP", "85", "mm[Hg]"),
        ("FASTING_GLUCOSE", "7.0", "mmol/L"),
        ("WEIGHT", "70", "kg"),
        ("HEIGHT", "170", "cm"),
    )
    with StatementCount(db) as statements:
        me = (await execute(f"{{ me {{ {CLASSES} }} }}", context=as_member(db, member)))["me"]
    assert len(statements) == 2, "the member, and all readings"
    by_area = {it["area"]: it for it in me["clinicalClasses"]}
    pressure = by_area["BLOOD_PRESSURE_OFFICE"]
    assert (pressure["code"], pressure["also"]) == ("grade1", "Isolated systolic hypertension")
    assert pressure["values"] == [
        {"quantity": "SYSTOLIC_BP", "value": "150"},
        {"quantity": "DIASTOLIC_BP", "value": "85"},
    ]
    assert sorted(it["value"] for it in pressure["readings"]) == ["150", "85"]
    assert pressure["thresholds"]["code"] == "cn-blood-pressure-office"
    assert (pressure["confirmed"], pressure["diagnostic"]) == (False, True)
    glucose = by_area["FASTING_GLUCOSE"]
    assert (glucose["code"], glucose["diabetesRange"]) == ("diabetes_range", True)
    assert "doctor" in glucose["advice"]
    assert by_area["BMI"]["values"] == [{"quantity": "BMI", "value": "24.22"}]
    assert me["diabetesRange"]["readings"] == [{"value": "7"}]
    assert "doctor" in me["diabetesRange"]["message"]
    assert (me["diabetesRange"]["diagnostic"], me["diabetesRange"]["confirmed"]) == (True, False)
    assert me["productGroups"] == [{"code": "mild_condition", "source": "COV-1"}]


async def test_many_low_values_of_a_meter_hide_neither_the_clinic_nor_a_high_one(db: Database):
    member = await make_member(db)
    await measure(db, member, ("FASTING_GLUCOSE", "7.4", "mmol/L"), days_ago=300)
    insert = """
    insert into measurements (member_id, id, code, value, unit, sent_value, sent_unit, measured_at,
      local_date, recorded_at, channel, method, source_id, trust)
    select :member_id, gen_random_uuid(), code, 5, 'mmol/L', '5', 'mmol/L', at, at::date, at, 'APP',
      'SENSED', 'meter', 'MEDIUM'
    from unnest(array['FASTING_GLUCOSE', 'FASTING_GLUCOSE_METER']) as code,
      generate_series(cast(:since as timestamptz), cast(:now as timestamptz), '12 hours') as at
    """
    async with db.write() as connection:
        values = {"member_id": member, "since": NOON - timedelta(days=250), "now": NOON}
        await connection.execute(text(insert), values)
    me = (await execute(f"{{ me {{ {CLASSES} }} }}", context=as_member(db, member)))["me"]
    by_area = {it["area"]: it["code"] for it in me["clinicalClasses"]}
    assert by_area == {
        "FASTING_GLUCOSE": "diabetes_range",
        "FASTING_GLUCOSE_SELF_MEASURED": "normal",
    }
    assert me["diabetesRange"]["readings"] == [{"value": "7.4"}]


async def test_classes_of_a_list_of_members_share_a_statement(db: Database):
    manager = await make_staff(db)
    for _ in range(4):
        member = await make_member(db)
        await assign(db, manager, member)
        await measure(db, member, ("BMI", "29", "kg/m2"))
    document = f"query ($n: Int) {{ members(first: $n) {{ edges {{ node {{ {CLASSES} }} }} }} }}"
    sizes = []
    for count in (1, 4):
        with StatementCount(db) as statements:
            data = await execute(document, {"n": count}, context=as_staff(db, manager))
        assert [
            [it["code"] for it in edge["node"]["clinicalClasses"]]
            for edge in data["members"]["edges"]
        ] == [["obese"]] * count
        sizes.append(len(statements))
    assert sizes[0] == sizes[1]


async def test_an_employee_sees_records_while_the_member_consents(db: Database):
    member, manager = await make_member(db), await make_staff(db)
    await assign(db, manager, member)
    await measure(db, member, ("FASTING_GLUCOSE", "7.4", "mmol/L"))
    await change(db, SET_CONDITION, as_member(db, member), **condition())
    document = operation("MemberRecord", "console")
    variables = {"id": encode(Kind.MEMBER, member)}
    found = (await execute(document, variables, context=as_staff(db, manager)))["member"]
    assert found["clinicalClasses"] and found["diabetesRange"] and found["conditions"]["edges"]
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    hidden = (await execute(document, variables, context=as_staff(db, manager)))["member"]
    assert hidden["clinicalClasses"] == hidden["conditions"]["edges"] == []
    assert hidden["diabetesRange"] is None and hidden["medications"]["edges"] == []


async def test_nothing_measured_is_no_class(db: Database):
    member = await make_member(db)
    me = (await execute(f"{{ me {{ {CLASSES} }} }}", context=as_member(db, member)))["me"]
    assert me == {"clinicalClasses": [], "diabetesRange": None, "productGroups": []}
