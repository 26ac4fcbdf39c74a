"""`recordMeasurements`: what it keeps, what is rejected, and what is refused with nothing moved."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from app.db import Database, StatementCount
from app.graphql.ids import Kind, encode
from tests.factories import (
    NOON,
    as_member,
    consent,
    contents,
    counts,
    execute,
    guard,
    make_member,
    refused,
)
from tests.recordings import (
    allow_devices,
    codes,
    make_recorder,
    pressure,
    reading,
    record,
    rows,
)
from tests.tasks_at_work import make_tasked

KEPT = (
    "select code, value, trust, context from measurements where superseded_at is null order by 1, 2"
)


# What is kept


async def test_a_reading_is_kept_with_its_provenance(db: Database) -> None:
    member = await make_recorder(db)

    done = await record(db, member, reading("154.32", "[lb_av]", context="FASTING"))

    assert done == {
        "__typename": "RecordMeasurementsPayload",
        "replayed": False,
        "accepted": 1,
        "duplicates": 0,
        "rejected": [],
        "alerts": [],
        "tasksAdvanced": [],
        "points": {"id": encode(Kind.POINTS_ACCOUNT, member), "available": 0, "pending": 0},
    }
    columns = (
        "value, unit, sent_value, sent_unit, measured_at, local_date, recorded_at, recorded_by"
    )
    [kept] = await rows(
        db, f"select {columns}, channel, method, source_id, context, trust from measurements"
    )
    assert kept == (
        Decimal("69.998"), "kg", "154.32", "[lb_av]", NOON, NOON.date(), NOON, member,
        "APP", "SENSED", "scale", "FASTING", "MEDIUM",
    )  # fmt: skip


async def test_a_bad_reading_is_rejected_by_its_place_and_the_rest_is_kept(db: Database) -> None:
    member = await make_recorder(db)
    old = (NOON - timedelta(days=31)).isoformat()
    ahead = (NOON + timedelta(minutes=6)).isoformat()

    done = await record(
        db,
        member,
        reading("401"),
        reading("70"),
        reading("70", "stone", code="WEIGHT"),
        reading("25", "kg/m2", "BMI", measuredAt=old),
        reading("25", "kg/m2", "BMI", measuredAt=ahead),
        reading("8000", "{steps}", "STEPS"),
        reading("6.1", "mmol/L", "FASTING_GLUCOSE", context="AFTER_MEAL"),
        reading("6.1", "mmol/L", "FASTING_GLUCOSE", context="FASTING"),
        reading("6.1", "mmol/L", "OGTT_2H", sourceId="x" * 201),
    )

    assert (done["accepted"], done["duplicates"]) == (2, 0)
    assert codes(done) == [
        (0, "VALUE_OUT_OF_RANGE"), (2, "UNIT_UNKNOWN"), (3, "TOO_OLD"), (4, "IN_FUTURE"),
        (5, "CODE_INVALID"), (6, "CONTEXT_INVALID"), (8, "VALUE_OUT_OF_RANGE"),
    ]  # fmt: skip
    messages = [it["message"] for it in done["rejected"]]
    assert messages[0] == "Body weight must be from 20 to 400 kg."
    assert "kg, [lb_av], g" in messages[1]
    assert "30 days" in messages[2]
    assert messages[5] == (
        "This contradicts Fasting plasma glucose; its contexts are: FASTING. "
        "Otherwise use another code of glucose."
    )
    assert "401" not in "".join(messages)
    assert await rows(db, "select code from measurements order by 1") == [
        ("FASTING_GLUCOSE",), ("WEIGHT",)
    ]  # fmt: skip


async def test_the_ends_of_what_is_too_old_and_in_the_future(db: Database) -> None:
    member = await make_recorder(db)
    # 30 local days back, from its first instant in Shanghai on; and 5 minutes ahead.
    first = datetime(2026, 1, 30, 16, tzinfo=UTC)
    kept = [first, NOON + timedelta(minutes=5)]
    not_kept = [first - timedelta(seconds=1), NOON + timedelta(minutes=5, seconds=1)]

    done = await record(
        db, member, *(reading(measuredAt=at.isoformat()) for at in [*kept, *not_kept])
    )

    assert done["accepted"] == 2
    assert codes(done) == [(2, "TOO_OLD"), (3, "IN_FUTURE")]


async def test_an_extreme_reading_is_kept_and_asked_about(db: Database) -> None:
    member = await make_recorder(db)
    document = """mutation ($input: RecordMeasurementsInput!) { recordMeasurements(input: $input) {
      ... on RecordMeasurementsPayload { accepted rejected { index } toConfirm { index message } } } }"""

    async def send(**changes) -> dict:
        sent = {"requestId": str(uuid4()), "measurements": pressure("210", "95", **changes)}
        data = await execute(document, {"input": sent}, context=as_member(db, member))
        return data["recordMeasurements"]

    assert await send() == {
        "accepted": 2,
        "rejected": [],
        "toConfirm": [
            {
                "index": 0,
                "message": "This is an unusual systolic blood pressure. Measure again; if it is "
                "right, confirm it.",
            }
        ],
    }
    confirmed = await send(confirmed=True)
    assert confirmed == {"accepted": 1, "rejected": [], "toConfirm": []}
    assert await send() == {"accepted": 0, "rejected": [], "toConfirm": []}
    assert await rows(
        db,
        "select confirmed, superseded_at is null from measurements where code = 'SYSTOLIC_BP'"
        " order by confirmed",
    ) == [(False, False), (True, True)]


async def test_who_says_that_a_reading_is_clinical_is_not_believed(db: Database) -> None:
    member = await make_recorder(db)
    await record(db, member, reading(method="CLINICAL"))
    assert await rows(db, "select trust from measurements") == [("UNVERIFIED",)]


# Once, and superseded


async def test_a_known_reading_is_a_duplicate_and_another_value_supersedes_it(db: Database) -> None:
    member = await make_recorder(db)
    later, last = NOON + timedelta(hours=1), NOON + timedelta(hours=2)
    await record(db, member, reading("70"), reading("25", "kg/m2", "BMI"))

    again = await record(db, member, reading("70.0"), now=later)
    corrected = await record(db, member, reading("71"), reading("25", "kg/m2", "BMI"), now=last)

    assert (again["accepted"], again["duplicates"]) == (0, 1)
    assert (corrected["accepted"], corrected["duplicates"]) == (1, 1)
    versions = await rows(
        db,
        "select v.value, v.recorded_at, v.superseded_at, o.value from measurements v left join"
        " measurements o on o.member_id = v.member_id and o.id = v.supersedes"
        " where v.code = 'WEIGHT' order by v.recorded_at",
    )
    assert versions == [(70, NOON, last, None), (71, last, None, 70)]


async def test_a_later_version_keeps_the_local_day_of_the_first(db: Database) -> None:
    member = await make_recorder(db)
    late = datetime(2026, 3, 1, 17, tzinfo=UTC)  # the 2nd in Shanghai, the 1st in London
    await record(db, member, reading("70", measuredAt=late.isoformat()))
    async with db.transaction() as session:
        from app.members.models import Member

        (await session.get_one(Member, member)).time_zone = "Europe/London"
    await record(db, member, reading("71", measuredAt=late.isoformat()))
    days = await rows(db, "select value, local_date::text from measurements order by value")
    assert days == [(70, "2026-03-02"), (71, "2026-03-02")]


async def test_of_one_request_the_last_of_a_key_counts(db: Database) -> None:
    member = await make_recorder(db)
    done = await record(db, member, reading("70"), reading("71"), reading("71"))
    assert (done["accepted"], done["duplicates"], done["rejected"]) == (1, 2, [])
    assert await rows(db, "select value from measurements") == [(71,)]


async def test_a_member_does_not_replace_what_a_clinic_measured(db: Database) -> None:
    from app.measurements import service

    member = await make_recorder(db)
    async with db.transaction() as session:
        await service.lock(session, member)
        await service.record(
            session,
            member_id=member,
            time_zone="Asia/Shanghai",
            readings=service.clinical([("WEIGHT", Decimal(80), "kg")], at=NOON),
            now=NOON,
        )
    done = await record(db, member, reading("70", sourceId="examination"))
    assert (done["accepted"], done["duplicates"]) == (0, 1)
    assert await rows(db, "select value from measurements") == [(80,)]


# Blood pressure stays together


async def test_a_pair_stands_or_falls_together(db: Database) -> None:
    member = await make_recorder(db)
    at = [(NOON - timedelta(minutes=m)).isoformat() for m in range(5)]

    done = await record(
        db,
        member,
        *pressure("120", "80", measuredAt=at[0]),
        *pressure("301", "80", measuredAt=at[1]),
        *pressure("80", "120", measuredAt=at[2]),
        *pressure("80", "80", measuredAt=at[3]),
        pressure("130", "85", measuredAt=at[4])[0],
    )

    assert done["accepted"] == 3
    assert codes(done) == [(at, "VALUE_OUT_OF_RANGE") for at in (2, 3, 4, 5, 6, 7)]
    other_half = done["rejected"][1]["message"]
    assert other_half.startswith("The other half of this measurement was not accepted: Systolic")
    assert "above the diastolic" in done["rejected"][2]["message"]


async def test_a_half_that_comes_later_is_compared_with_the_one_that_is_there(db: Database) -> None:
    member = await make_recorder(db)
    systolic, diastolic = pressure("120", "80")
    assert (await record(db, member, systolic))["accepted"] == 1
    bad = await record(db, member, diastolic | {"value": "125"})
    assert codes(bad) == [(0, "VALUE_OUT_OF_RANGE")]
    assert (await record(db, member, diastolic))["accepted"] == 1
    # A correction of one half, too.
    assert codes(await record(db, member, systolic | {"value": "75"})) == [
        (0, "VALUE_OUT_OF_RANGE")
    ]
    assert await rows(db, KEPT) == [
        ("DIASTOLIC_BP", 80, "MEDIUM", None), ("SYSTOLIC_BP", 120, "MEDIUM", None),
    ]  # fmt: skip


# Streams


def beats(*seconds: int, value: int = 60) -> list[dict]:
    start = NOON - timedelta(minutes=30)
    return [
        reading(
            str(value + second % 7), "/min", "HEART_RATE", sourceId="watch",
            measuredAt=(start + timedelta(seconds=second)).isoformat(),
        )
        for second in seconds
    ]  # fmt: skip


SLOTS = (
    "select starts_at, n, minimum, maximum, total, local_date from measurement_streams order by 1"
)


async def test_a_stream_is_kept_in_quarters_of_an_hour(db: Database) -> None:
    member = await make_recorder(db)
    done = await record(db, member, *beats(*range(0, 1000, 10)))
    assert (done["accepted"], done["duplicates"]) == (100, 0)
    start = NOON - timedelta(minutes=30)
    first, second = await rows(db, SLOTS)
    values = [60 + second % 7 for second in range(0, 900, 10)]
    assert first == (start, 90, min(values), max(values), sum(values), NOON.date())
    assert second[:2] == (start + timedelta(minutes=15), 10)
    assert await rows(db, "select count(*) from measurements") == [(0,)]


async def test_what_a_sensor_sends_again_counts_once_in_any_order(db: Database) -> None:
    member, other = await make_recorder(db), await make_recorder(db)
    await record(db, member, *beats(*range(300)))
    halves = [beats(*range(200)), beats(*range(100, 300)), beats(*reversed(range(50, 250)))]
    done = [await record(db, other, *half) for half in reversed(halves)]
    assert [(it["accepted"], it["duplicates"]) for it in done] == [(200, 0), (50, 150), (50, 150)]
    columns = "select n, minimum, maximum, total, seconds from measurement_streams"
    one, two = await rows(db, columns)
    assert one == two
    again = await record(db, other, *beats(*range(300)))
    assert (again["accepted"], again["duplicates"]) == (0, 300)
    assert await rows(db, columns) == [one, one]


@pytest.mark.parametrize(
    ("changes", "is_stream"),
    [
        ({}, True),
        ({"method": "SELF_REPORTED"}, False),
        ({"context": "AT_REST"}, False),
        ({"continuous": False}, False),
        ({"code": "RANDOM_GLUCOSE", "value": "6", "unit": "mmol/L"}, False),
        ({"code": "RANDOM_GLUCOSE", "value": "6", "unit": "mmol/L", "continuous": True}, True),
        ({"code": "WEIGHT", "unit": "kg", "continuous": True}, False),
    ],
)
async def test_which_readings_are_a_stream(db: Database, changes, is_stream) -> None:
    member = await make_recorder(db)
    sent = reading("97", "%", "SPO2") | changes
    assert (await record(db, member, sent))["accepted"] == 1
    found = await counts(db)
    assert (found["measurement_streams"], found["measurements"]) == (is_stream, not is_stream)


# Requests


async def test_a_request_that_is_sent_again_gets_its_first_answer(db: Database) -> None:
    member = await make_recorder(db)
    request = uuid4()
    sent = [reading("70"), reading("401"), *pressure("210", "90")]
    first = await record(db, member, *sent, request_id=request)
    await record(db, member, reading("71"))
    before = await contents(db)

    again = await record(db, member, *sent, request_id=request, now=NOON + timedelta(days=40))

    assert again == first | {"replayed": True}
    assert await contents(db) == before


async def test_a_request_id_is_not_used_for_something_else(db: Database) -> None:
    member = await make_recorder(db)
    request = uuid4()
    await record(db, member, reading("70"), request_id=request)
    before = await contents(db)
    done = await record(db, member, reading("71"), request_id=request)
    assert (done["code"], done["field"]) == ("REQUEST_REUSED", "requestId")
    assert await contents(db) == before


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_that_is_too_large_or_empty_is_refused(db: Database, count: int) -> None:
    member = await make_recorder(db)
    before = await contents(db)
    done = await record(db, member, *([reading()] * count))
    assert (done["code"], done["field"]) == ("BATCH_TOO_LARGE", "measurements")
    assert await contents(db) == before


@pytest.mark.parametrize("state", [None, "REFUSED", "WITHDRAWN"])
async def test_without_consent_to_health_data_nothing_is_kept(db: Database, state) -> None:
    member = await make_member(db, consents=False)
    if state is not None:
        async with db.transaction() as session:
            session.add(consent(member, "HEALTH_DATA", state))
    before = await contents(db)
    done = await record(db, member, reading())
    assert (done["__typename"], done["code"]) == ("UserError", "CONSENT_MISSING")
    assert await contents(db) == before


async def test_without_consent_to_device_data_what_is_sensed_is_rejected(db: Database) -> None:
    member = await make_member(db)
    done = await record(db, member, reading(), reading("71", method="SELF_REPORTED"))
    assert (done["accepted"], codes(done)) == (1, [(0, "CONSENT_MISSING")])
    assert await rows(db, "select value, trust from measurements") == [(71, "LOW")]


async def test_a_guardian_records_for_a_child(db: Database) -> None:
    child, guardian = await make_recorder(db), await make_member(db)
    await guard(db, child_id=child, guardian_id=guardian)
    acting = as_member(db, guardian, acting_for=child)
    done = await record(db, child, reading(), context=acting)
    assert done["accepted"] == 1
    assert await rows(db, "select member_id, recorded_by from measurements") == [(child, guardian)]


async def test_nobody_records_without_signing_in(db: Database) -> None:
    from app.graphql.context import ANONYMOUS
    from tests.factories import context, operation

    sent = {"input": {"requestId": str(uuid4()), "measurements": [reading()]}}
    code = await refused(operation("RecordMeasurements"), sent, context=context(db, ANONYMOUS))
    assert code == "UNAUTHENTICATED"


# Rivals


async def test_eight_identical_requests_at_once_record_once(db: Database) -> None:
    member = await make_recorder(db)
    request = uuid4()
    sent = [reading("70"), *beats(*range(20))]
    done = await asyncio.gather(*(record(db, member, *sent, request_id=request) for _ in range(8)))
    assert sorted(it["replayed"] for it in done) == [False] + [True] * 7
    assert {(it["accepted"], it["duplicates"]) for it in done} == {(21, 0)}
    assert await rows(db, "select count(*) from measurements") == [(1,)]
    assert await rows(db, "select n from measurement_streams") == [(20,)]


async def test_rivals_with_other_ids_and_values_leave_one_version_in_force(db: Database) -> None:
    member = await make_recorder(db)
    sent = [
        [reading(str(70 + number)), *beats(*range(number * 10, number * 10 + 20))]
        for number in range(8)
    ]
    done = await asyncio.gather(*(record(db, member, *it) for it in sent))
    assert sum(it["accepted"] for it in done) == 8 + 90
    assert await rows(
        db, "select count(*), count(*) filter (where superseded_at is null) from measurements"
    ) == [(8, 1)]
    chain = "select count(distinct supersedes) from measurements where supersedes is not null"
    assert await rows(db, chain) == [(7,)]
    assert await rows(db, "select n from measurement_streams") == [(90,)]


async def test_as_many_statements_for_a_thousand_readings_as_for_one(db: Database) -> None:
    member = await make_recorder(db)

    async def statements(*sent: dict) -> int:
        with StatementCount(db) as count:
            await record(db, member, *sent)
        return len(count)

    one = await statements(reading())
    many = [
        reading(
            "70",
            sourceId=f"scale {number}",
            measuredAt=(NOON - timedelta(seconds=number)).isoformat(),
        )
        for number in range(1000)
    ]
    assert await statements(*many) == one
    corrected = [it | {"value": "71"} for it in many]
    assert await statements(*corrected) == one + 3
    few = await statements(*beats(1))
    assert await statements(*beats(*range(0, 1800, 2))) == few <= one + 1


async def test_a_day_that_counts_already_is_not_read_again(db: Database) -> None:
    member, _ = await make_tasked(db, "measure-blood-pressure 2")
    await allow_devices(db, member)

    async def reads_the_day(*sent: dict) -> bool:
        with StatementCount(db) as count:
            done = await record(db, member, *sent)
        assert done["accepted"] == len(sent)
        return any("from measurements x" in it for it in count.statements)

    def at(hours: int) -> str:
        return (NOON - timedelta(hours=hours)).isoformat()

    first_half, other_half = pressure("120", "80", measuredAt=at(1))
    assert await reads_the_day(first_half)
    assert await rows(db, "select state from checkins") == []
    # It makes a pressure of what was there already.
    assert await reads_the_day(other_half)
    assert await rows(db, "select state from checkins") == [("ACCEPTED",)]
    assert not await reads_the_day(*pressure("121", "81", measuredAt=at(2)))
    assert await reads_the_day(pressure("121", "81", measuredAt=at(3))[1])
    [(state,)] = await rows(db, "select state from checkins")
    assert state == "ACCEPTED"


async def test_a_source_that_is_no_text_to_the_database_is_refused(db: Database) -> None:
    member = await make_recorder(db)
    sources = ("x\0", "\n", "x" * 201)

    done = await record(db, member, *(reading(sourceId=it) for it in sources), reading())

    assert done["accepted"] == 1
    assert codes(done) == [(at, "VALUE_OUT_OF_RANGE") for at in range(3)]


async def test_what_overlaps_with_what_is_known_is_looked_at_one_by_one(db: Database) -> None:
    member = await make_recorder(db)
    days = [(NOON - timedelta(hours=hours)).isoformat() for hours in range(6)]
    await record(db, member, *(reading("70", measuredAt=day) for day in days[2:4]))

    done = await record(db, member, *(reading("70", measuredAt=day) for day in days))

    assert (done["accepted"], done["duplicates"]) == (4, 2)
    assert await rows(db, "select count(*) from measurements") == [(6,)]
