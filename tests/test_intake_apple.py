"""Exports of Apple Health: what is kept of them, and files that are none."""

import struct
import tracemalloc
import zipfile
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.db import Database
from app.graphql.ids import Kind, encode
from app.intake import apple, opening, service, writing
from app.intake.report import KINDS_MAX, Refused, Report
from app.intake.spool import Sample, Spool
from app.intake.writing import Target
from app.measurements.kinds import Channel
from tests.factories import NOON, consent, contents, counts, make_member
from tests.health_exports import (
    DOCUMENT_TYPE,
    HEAD,
    PHONE,
    SHANGHAI,
    WATCH,
    document,
    record,
    write,
    zipped,
)
from tests.tasks_at_work import rows

MORNING = NOON - timedelta(hours=4)
READINGS = "select code, value, sent_value, sent_unit, method, context, trust from measurements"


@pytest.fixture
async def member(db: Database) -> UUID:
    return await make_wearer(db)


async def make_wearer(db: Database, **given: Any) -> UUID:
    member = await make_member(db, **given)
    async with db.transaction() as session:
        session.add(consent(member, "DEVICE_DATA", "GRANTED"))
    return member


async def take(db: Database, member: UUID, path: Path, **options: Any) -> Report:
    return await service.apple_health(
        db, path, member=encode(Kind.MEMBER, member), now=NOON, **options
    )


async def take_records(db: Database, member: UUID, tmp_path: Path, *records: str) -> Report:
    return await take(db, member, write(tmp_path / "export.xml", *records))


def names_under(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def rejections(report: Report) -> dict[str, tuple[int, list[str]]]:
    return {reason: (it.count, it.examples) for reason, it in report.rejected.items()}


# What becomes of records


@pytest.mark.parametrize(
    ("kind", "value", "unit", "kept"),
    [
        ("BodyMass", "154.5", "lb", ("WEIGHT", "70.080", "[lb_av]")),
        ("BodyMass", "70.08", "kg", ("WEIGHT", "70.080", "kg")),
        ("Height", "65", "in", ("HEIGHT", "165.100", "[in_i]")),
        ("WaistCircumference", "84", "cm", ("WAIST", "84.000", "cm")),
        ("BodyTemperature", "98.6", "degF", ("BODY_TEMPERATURE", "37.000", "[degF]")),
        ("BodyTemperature", "36.6", "degC", ("BODY_TEMPERATURE", "36.600", "Cel")),
        ("BodyFatPercentage", "0.283", "%", ("BODY_FAT", "28.300", "1")),
        ("BodyMassIndex", "24.1", "count", ("BMI", "24.100", "kg/m2")),
        ("RestingHeartRate", "61", "count/min", ("RESTING_HEART_RATE", "61.000", "/min")),
        ("RespiratoryRate", "14.5", "count/min", ("RESPIRATORY_RATE", "14.500", "/min")),
        ("VO2Max", "38.2", "mL/min·kg", ("VO2MAX", "38.200", "mL/min/kg")),
        ("BloodGlucose", "99", "mg/dL", ("RANDOM_GLUCOSE", "5.495", "mg/dL")),
        ("BloodGlucose", "5.5", "mmol<180.1558800000541>/L", ("RANDOM_GLUCOSE", "5.500", "mmol/L")),
    ],
)
async def test_a_quantity_is_kept_as_it_was_written_and_in_our_unit(
    db: Database, member: UUID, tmp_path: Path, kind: str, value: str, unit: str, kept: Any
) -> None:
    report = await take_records(db, member, tmp_path, record(kind, MORNING, value, unit))
    code, canonical, ucum = kept
    assert (report.read, report.readings.accepted, report.rejected) == (1, 1, {})
    assert await rows(db, READINGS) == [
        (code, Decimal(canonical), value, ucum, "SENSED", None, "MEDIUM")
    ]


@pytest.mark.parametrize(
    ("meal", "code", "context"),
    [
        ("1", "RANDOM_GLUCOSE", "BEFORE_MEAL"),
        ("2", "POSTPRANDIAL_GLUCOSE", "AFTER_MEAL"),
        ("9", "RANDOM_GLUCOSE", None),
    ],
)
async def test_the_meal_decides_which_glucose_it_is_and_before_a_meal_is_not_fasting(
    db: Database, member: UUID, tmp_path: Path, meal: str, code: str, context: str | None
) -> None:
    await take_records(
        db,
        member,
        tmp_path,
        record("BloodGlucose", MORNING, "6.1", "mmol/L", HKBloodGlucoseMealTime=meal),
    )
    assert await rows(db, "select code, context from measurements") == [(code, context)]


async def test_what_the_member_typed_is_self_reported(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    typed = {"HKWasUserEntered": "1"}
    await take_records(
        db,
        member,
        tmp_path,
        record("BodyMass", MORNING, "70", "kg", **typed),
        record("StepCount", MORNING, "500", "count", until=NOON, **typed),
        record("StepCount", MORNING, "300", "count", until=NOON),
    )
    assert await rows(db, "select method, trust from measurements") == [("SELF_REPORTED", "LOW")]
    found = await rows(db, "select value, method, trust from daily_totals order by value")
    assert found == [
        (Decimal(300), "SENSED", "MEDIUM"),
        (Decimal(500), "SELF_REPORTED", "LOW"),
    ]


async def test_a_blood_pressure_stands_in_the_file_twice_and_is_kept_once(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    halves = record("BloodPressureSystolic", MORNING, "128", "mmHg", source="Omron") + record(
        "BloodPressureDiastolic", MORNING, "82", "mmHg", source="Omron"
    )
    correlation = (
        f'<Correlation type="HKCorrelationTypeIdentifierBloodPressure">{halves}</Correlation>'
    )
    report = await take_records(db, member, tmp_path, halves, correlation)
    assert (report.read, report.repeated, report.readings.accepted) == (2, 0, 2)
    assert await rows(db, "select code, value from measurements order by 1") == [
        ("DIASTOLIC_BP", Decimal(82)),
        ("SYSTOLIC_BP", Decimal(128)),
    ]
    other = await make_wearer(db)
    alone = await take_records(db, other, tmp_path, correlation)
    assert alone.readings.accepted == 2


async def test_one_half_out_of_range_takes_the_other_with_it(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    report = await take_records(
        db,
        member,
        tmp_path,
        record("BloodPressureSystolic", MORNING, "128", "mmHg"),
        record("BloodPressureDiastolic", MORNING, "820", "mmHg"),
    )
    count, places = rejections(report)["VALUE_OUT_OF_RANGE"]
    assert (count, report.readings.accepted) == (2, 0)
    assert all(place.startswith("line ") for place in places)


async def test_heart_rate_is_kept_in_quarters_of_an_hour(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    beats = [
        record("HeartRate", MORNING + timedelta(seconds=20 * i), str(60 + i % 10), "count/min")
        for i in range(90)
    ]
    report = await take_records(db, member, tmp_path, *reversed(beats))
    assert report.readings.accepted == 90
    slots = await rows(
        db, "select starts_at, n, minimum, maximum, total / n from measurement_streams order by 1"
    )
    assert [(n, low, high) for _, n, low, high, _ in slots] == [(45, 60, 69), (45, 60, 69)]
    assert slots[0].starts_at == MORNING
    assert await rows(db, "select 1 from measurements") == []


async def test_a_glucose_sensor_is_a_stream_and_a_finger_is_not(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    sensor = [
        record("BloodGlucose", MORNING + timedelta(minutes=5 * i), "6.1", "mmol/L", source="Dexcom")
        for i in range(30)
    ]
    finger = record("BloodGlucose", MORNING, "5.9", "mmol/L", source="Contour", device="")
    await take_records(db, member, tmp_path, finger, *sensor)
    assert await rows(db, "select sum(n) from measurement_streams") == [(30,)]
    assert await rows(db, "select value from measurements") == [(Decimal("5.9"),)]


# Totals of days


async def test_steps_become_totals_of_local_days_source_by_source(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    midnight = datetime(2026, 3, 1, tzinfo=SHANGHAI)
    hour = timedelta(hours=1)
    report = await take_records(
        db,
        member,
        tmp_path,
        # Over midnight: half to each day.
        record("StepCount", midnight - hour / 2, "100", "count", until=midnight + hour / 2),
        record("StepCount", midnight + 9 * hour, "900", "count", until=midnight + 10 * hour),
        record(
            "StepCount", midnight + 9 * hour, "600", "count",
            until=midnight + 10 * hour, source="iPhone", device=PHONE,
        ),
    )  # fmt: skip
    found = await rows(
        db,
        "select local_date, value, jsonb_array_length(intervals), source_id from daily_totals"
        " order by 1, 2",
    )
    assert [row[:3] for row in found] == [
        (date(2026, 2, 28), Decimal(50), 1),
        (date(2026, 3, 1), Decimal(600), 1),
        (date(2026, 3, 1), Decimal(950), 2),
    ]
    assert found[0].source_id == found[2].source_id != found[1].source_id
    assert report.daily_totals.accepted == 3
    # The two devices walked the same way: united, not added.
    assert await rows(db, "select local_date, value from daily_total_days order by 1") == [
        (date(2026, 2, 28), Decimal(50)),
        (date(2026, 3, 1), Decimal(950)),
    ]


async def test_a_device_is_known_by_its_hardware_and_nobodys_name(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    await take_records(
        db,
        member,
        tmp_path,
        record("BodyMass", MORNING, "70", "kg"),
        record("BodyMass", MORNING, "71", "kg", device=WATCH.replace("0x2830a1b30", "0x1")),
        record("BodyMass", MORNING, "72", "kg", source="Anna’s Apple Watch"),
    )
    sources = {row.source_id for row in await rows(db, "select source_id from measurements")}
    assert len(sources) == 2
    assert all(source.startswith("apple-health:Watch6,2:") for source in sources)


async def test_sleep_is_what_was_slept_on_the_day_it_ends(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    evening = datetime(2026, 2, 28, 23, tzinfo=SHANGHAI)

    def stage(name: str, start: int, end: int) -> str:
        return record(
            "HKCategoryTypeIdentifierSleepAnalysis",
            evening + timedelta(minutes=start),
            f"HKCategoryValueSleepAnalysis{name}",
            until=evening + timedelta(minutes=end),
        )

    report = await take_records(
        db,
        member,
        tmp_path,
        stage("AsleepREM", 200, 260),
        stage("InBed", -10, 480),
        stage("AsleepCore", 0, 200),
        stage("Awake", 260, 270),
        stage("AsleepDeep", 270, 420),
        # Covers what the stages say already.
        stage("AsleepUnspecified", 0, 60),
    )
    assert await rows(db, "select code, local_date, value from daily_totals") == [
        ("SLEEP_DURATION", date(2026, 3, 1), Decimal("6.833"))
    ]
    assert report.ignored == {"sleep: in bed or awake": 2}


async def test_a_day_of_many_small_pieces_keeps_its_total(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    start = datetime(2026, 3, 1, tzinfo=SHANGHAI)
    pieces = [
        record(
            "StepCount", start + timedelta(seconds=90 * i), "7", "count",
            until=start + timedelta(seconds=90 * i + 60),
        )
        for i in range(950)
    ]  # fmt: skip
    report = await take_records(db, member, tmp_path, *pieces)
    assert report.rejected == {}
    [(value, parts)] = await rows(
        db, "select value, jsonb_array_length(intervals) from daily_totals"
    )
    assert value == 6650
    assert 100 < parts <= 288


# Once


async def test_the_same_file_twice_adds_nothing(db: Database, member: UUID, tmp_path: Path) -> None:
    records = [
        record("BodyMass", MORNING, "70", "kg"),
        record("HeartRate", MORNING, "70", "count/min"),
        record("StepCount", MORNING, "900", "count", until=NOON),
        record("BodyMass", MORNING, "1", "kg"),
    ]
    first = await take_records(db, member, tmp_path, *records)
    before = await contents(db)
    again = await take_records(db, member, tmp_path, *records)
    assert await contents(db) == before
    assert (first.readings.accepted, first.readings.known) == (2, 0)
    assert (again.readings.accepted, again.readings.known) == (0, 2)
    assert (again.daily_totals.accepted, again.daily_totals.known) == (0, 1)
    assert rejections(again) == rejections(first)


async def test_a_later_export_adds_only_what_is_new(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    old = [
        record("BodyMass", MORNING, "70", "kg"),
        record("HeartRate", MORNING, "70", "count/min"),
        record("StepCount", MORNING - timedelta(days=1), "100", "count", until=MORNING),
        record("StepCount", MORNING, "900", "count", until=MORNING + timedelta(hours=1)),
    ]
    new = [
        record("BodyMass", MORNING + timedelta(hours=1), "71", "kg"),
        record("HeartRate", MORNING + timedelta(seconds=9), "90", "count/min"),
        record(
            "StepCount", MORNING + timedelta(hours=2), "50", "count",
            until=MORNING + timedelta(hours=3),
        ),
    ]  # fmt: skip
    await take_records(db, member, tmp_path, *old)
    report = await take_records(db, member, tmp_path, *new, *old)
    assert (report.readings.accepted, report.readings.known) == (2, 2)
    found = await rows(db, "select n, minimum, maximum from measurement_streams")
    assert found == [(2, Decimal(70), Decimal(90))]
    totals = await rows(
        db, "select local_date, value, superseded_at is null from daily_totals order by 1, 2"
    )
    # 08:00 to 08:00 of two days: two thirds and one third of it.
    assert totals == [
        (date(2026, 3, 1), Decimal("66.667"), True),
        (date(2026, 3, 2), Decimal("933.333"), False),
        (date(2026, 3, 2), Decimal("983.333"), True),
    ]


async def test_a_dry_run_says_the_same_and_keeps_nothing(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "export.xml",
        record("BodyMass", MORNING, "70", "kg"),
        record("StepCount", MORNING, "900", "count", until=NOON),
        record("BodyMass", NOON + timedelta(days=1), "70", "kg"),
    )
    before = await counts(db)
    dry = await take(db, member, path, dry_run=True)
    assert await counts(db) == before
    real = await take(db, member, path)
    assert dry.as_json() == real.as_json() | {"dry_run": True}
    assert dry.readings.accepted == 1


# What is left out


async def test_what_is_left_out_is_counted_with_its_place(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    bad_time = record("BodyMass", MORNING, "70", "kg").replace(" +0800", "")
    report = await take_records(
        db,
        member,
        tmp_path,
        record("BodyMass", MORNING, "70", "kg"),
        record("BodyMass", MORNING, "70", "stone"),
        record("BodyMass", MORNING, "seventy", "kg"),
        bad_time,
        record("BodyMass", MORNING - timedelta(hours=1), "7000", "kg"),
        record("BodyMass", NOON + timedelta(days=1), "70", "kg"),
        record("StepCount", NOON, "70", "count", until=MORNING),
        record("HKCategoryTypeIdentifierMenstrualFlow", MORNING, "1"),
        ' <Workout workoutActivityType="HKWorkoutActivityTypeRunning" duration="30"/>\n' * 3,
    )
    head = document().partition("<Me")[0].count("\n") + 2
    assert rejections(report) == {
        "UNIT_UNKNOWN": (1, [f"line {head + 1}"]),
        "VALUE_UNREADABLE": (1, [f"line {head + 2}"]),
        "TIME_UNREADABLE": (1, [f"line {head + 3}"]),
        "VALUE_OUT_OF_RANGE": (1, [f"line {head + 4}"]),
        "IN_FUTURE": (1, [f"line {head + 5}"]),
        "PERIOD_INVALID": (1, [f"line {head + 6}"]),
    }
    assert report.ignored == {"HKCategoryTypeIdentifierMenstrualFlow": 1, "Workout": 3}
    assert report.readings.accepted == 1
    shown = "\n".join(report.lines())
    assert not any(value in shown for value in ("70", "7000", "seventy"))


async def test_no_consent_no_import(db: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "export.xml", record("BodyMass", MORNING, "70", "kg"))
    without = await make_member(db, consents=False)
    with_health_only = await make_member(db)
    for member in (without, with_health_only):
        with pytest.raises(Refused, match="consent"):
            await take(db, member, path)
    assert await rows(db, "select 1 from measurements") == []


async def test_somebody_elses_phone_is_noted(db: Database, member: UUID, tmp_path: Path) -> None:
    me = (
        'HKCharacteristicTypeIdentifierDateOfBirth="1990-01-01"'
        ' HKCharacteristicTypeIdentifierBiologicalSex="HKBiologicalSexMale"'
    )
    path = tmp_path / "export.xml"
    path.write_text(document(record("BodyMass", MORNING, "70", "kg"), me=me), "utf-8")
    report = await take(db, member, path)
    assert len(report.notes) == 2
    assert "1990" not in str(report.as_json())


@pytest.mark.parametrize("offset", [-12, -5, 0, 5.75, 8, 14])
async def test_an_instant_is_the_same_in_every_offset(
    db: Database, member: UUID, tmp_path: Path, offset: float
) -> None:
    zone = timezone(timedelta(hours=offset))
    await take_records(db, member, tmp_path, record("BodyMass", MORNING, "70", "kg", zone=zone))
    assert await rows(db, "select measured_at from measurements") == [(MORNING,)]


# Files


async def test_an_archive_is_read_as_the_phone_made_it(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    content = document(record("BodyMass", MORNING, "70", "kg")).encode()
    report = await take(db, member, zipped(tmp_path / "导出.zip", content))
    assert report.readings.accepted == 1


async def test_names_in_an_archive_lead_nowhere(db: Database, member: UUID, tmp_path: Path) -> None:
    content = document(record("BodyMass", MORNING, "70", "kg")).encode()
    folder = tmp_path / "inner"
    folder.mkdir()
    archive = zipped(folder / "export.zip", content, name="../../outside/export.xml")
    report = await take(db, member, archive)
    assert report.readings.accepted == 1
    assert names_under(tmp_path) == ["export.zip", "inner"]


GOOD = document(record("BodyMass", MORNING, "70", "kg"))
LAUGHS = HEAD + (
    '<!DOCTYPE HealthData [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)
OUTSIDE = HEAD + '<!DOCTYPE HealthData [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
BAD_FILES = {
    "empty": b"",
    "no XML": b"hello",
    "cut": GOOD[:-40].encode(),
    "cut in a tag": GOOD[: GOOD.index("value=") + 3].encode(),
    "wrong root": b"<ClinicalDocument/>",
    "wrong root with a document type": (HEAD + DOCUMENT_TYPE + "<Other/>").encode(),
    "laughs": (LAUGHS + '<HealthData locale="&c;"/>').encode(),
    "an entity from outside": (OUTSIDE + "<HealthData>&x;</HealthData>").encode(),
    "a document type from outside": (
        HEAD + '<!DOCTYPE HealthData SYSTEM "http://127.0.0.1:9/x.dtd">' + "<HealthData/>"
    ).encode(),
    "another document type": (HEAD + '<!DOCTYPE x [<!ENTITY a "b">]><HealthData/>').encode(),
    "parameter entities": (
        HEAD + '<!DOCTYPE HealthData [<!ENTITY % p "x"> %p;]><HealthData/>'
    ).encode(),
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-7": GOOD.replace("UTF-8", "UTF-7").replace("70", "+ADw-").encode()[:-20],
    "an endless tag": HEAD.encode() + b'<HealthData locale="' + b"x" * 9_000_000 + b'"/>',
    "no archive": b"PK\x03\x04" + b"\0" * 100,
}


@pytest.mark.parametrize("name", BAD_FILES)
async def test_a_file_that_is_no_whole_export_changes_nothing(
    db: Database, member: UUID, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "export.xml"
    path.write_bytes(BAD_FILES[name])
    before = await contents(db)
    with pytest.raises(Refused) as refused:
        await take(db, member, path)
    assert await contents(db) == before
    assert "passwd" not in str(refused.value) and "\n" not in str(refused.value)


def archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(f"{name}.xml", content)
    return path


async def test_archives_that_are_none_are_refused(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    bomb = archive(tmp_path / "bomb.zip", export=GOOD.encode() + b" " * 30_000_000)
    nothing = archive(tmp_path / "nothing.zip", other=b"<Other/>")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(zipped(tmp_path / "whole.zip", GOOD.encode() * 50).read_bytes()[:-30])
    flipped = bytearray((tmp_path / "whole.zip").read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(flipped)
    listed = bytearray((tmp_path / "whole.zip").read_bytes())
    at = listed.rfind(b"PK\x05\x06")
    struct.pack_into("<L", listed, at + 12, opening.DIRECTORY_MAX + 1)
    (tmp_path / "listed.zip").write_bytes(listed)
    for path in (bomb, nothing, cut, tmp_path / "flipped.zip", tmp_path / "listed.zip"):
        with pytest.raises(Refused):
            await take(db, member, path)
    assert await rows(db, "select 1 from measurements") == []


async def test_a_file_that_is_not_there(db: Database, member: UUID, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.xml", tmp_path):
        with pytest.raises(Refused, match="cannot be read"):
            await take(db, member, path)


async def test_nobody_is_guessed(db: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "export.xml")
    for named in ("nobody", "", "' or 1=1 --", str(UUID(int=7)), encode(Kind.STAFF, UUID(int=7))):
        with pytest.raises(Refused, match="no such member"):
            await service.apple_health(db, path, member=named, now=NOON)


def test_instants_are_read_exactly() -> None:
    from app.intake.apple import _instant

    at = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    assert _instant("2024-02-29 23:59:59 +0000") == int(at.timestamp()) * 1000
    assert _instant("2024-03-01 05:44:59 +0545") == int(at.timestamp()) * 1000
    for text in ("2023-02-29 00:00:00 +0000", "2024-01-01 24:00:00 +0000", "2024-01-01", ""):
        assert _instant(text) is None


FAR = ("9999-12-31 23:59:59 -1200", "0001-01-01 00:00:00 +1400", "1899-12-31 23:59:59 +0000")
HUGE = ("1e99", "-1e999999", "1" + "0" * 29, "1000000000")


@pytest.mark.parametrize(
    ("when", "value", "reason"),
    [(it, "70", "TIME_UNREADABLE") for it in FAR]
    + [("2026-03-02 07:00:00 +0800", it, "VALUE_OUT_OF_RANGE") for it in HUGE],
)
@pytest.mark.parametrize(("kind", "unit"), [("StepCount", "count"), ("BodyMass", "kg")])
async def test_a_record_beyond_all_measure_does_not_keep_the_others_out(
    db: Database, member: UUID, tmp_path: Path, kind: str, unit: str, when: str,
    value: str, reason: str,
) -> None:  # fmt: skip
    odd = (
        f'<Record type="HKQuantityTypeIdentifier{kind}" sourceName="x" unit="{unit}"'
        f' startDate="{when}" endDate="{when}" value="{value}"/>\n'
    )
    report = await take_records(
        db, member, tmp_path, odd, record("BodyMass", MORNING, "71", "kg"), odd
    )
    assert [(it, found[0]) for it, found in rejections(report).items()] == [(reason, 2)]
    assert report.readings.accepted == 1


async def test_what_was_refused_for_its_time_is_judged_anew(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    ahead = NOON + timedelta(minutes=20)
    path = write(
        tmp_path / "export.xml",
        record("StepCount", MORNING, "100", "count", until=ahead),
        record("BodyMass", MORNING, "70", "kg"),
        record("BodyMass", MORNING + timedelta(minutes=1), "7000", "kg"),
        record("BodyMass", ahead, "71", "kg"),
    )
    first = await take(db, member, path)
    assert rejections(first) == {
        "IN_FUTURE": (2, ["line 21", "the 2026-03-02, from line 18"]),
        "VALUE_OUT_OF_RANGE": (1, ["line 20"]),
    }
    for later, accepted in ((timedelta(minutes=5), 0), (timedelta(minutes=40), 1)):
        again = await service.apple_health(
            db, path, member=encode(Kind.MEMBER, member), now=NOON + later
        )
        assert (again.readings.accepted, again.daily_totals.accepted) == (accepted, accepted)
        assert again.readings.known == 1
        assert again.rejected["VALUE_OUT_OF_RANGE"].examples == ["line 20"]
        assert ("IN_FUTURE" in again.rejected) == (accepted == 0)
    found = await rows(db, "select value from measurements order by 1")
    assert found == [(Decimal(70),), (Decimal(71),)]
    assert await rows(db, "select value from daily_totals") == [(Decimal(100),)]
    kept = await contents(db, "measurements", "daily_totals")
    last = await service.apple_health(
        db, path, member=encode(Kind.MEMBER, member), now=NOON + timedelta(days=1)
    )
    assert (last.readings.accepted, last.daily_totals.accepted) == (0, 0)
    assert (last.readings.known, last.daily_totals.known) == (2, 1)
    assert await contents(db, "measurements", "daily_totals") == kept


async def test_what_was_refused_for_want_of_consent_is_judged_anew(
    db: Database, tmp_path: Path
) -> None:
    member = await make_wearer(db)
    async with db.transaction() as session:
        session.add(consent(member, "DEVICE_DATA", "WITHDRAWN", version=2))
    sample = Sample(0, "WEIGHT", "x", "70", "kg", "SENSED", None, 1)
    target = Target(db, member, "Asia/Shanghai", Channel.EXPORT, "apple-health")
    for state, accepted in (("WITHDRAWN", 0), ("GRANTED", 1)):
        if state == "GRANTED":
            async with db.transaction() as session:
                session.add(consent(member, "DEVICE_DATA", "GRANTED", version=3))
        report = Report("apple-health")
        await writing.write_samples(
            target, [sample._replace(at=1_772_000_000_000)], report, places=["line 1"], now=NOON
        )
        assert report.readings.accepted == accepted
        assert rejections(report) == ({} if accepted else {"CONSENT_MISSING": (1, ["line 1"])})


async def test_memory_does_not_grow_with_kinds_and_metadata(
    db: Database, member: UUID, tmp_path: Path
) -> None:
    path = tmp_path / "export.xml"
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{HEAD}{DOCUMENT_TYPE}<HealthData>\n")
        for number in range(60_000):
            file.write(f'<Record type="HKQuantityTypeIdentifier{number:060d}"/>\n')
        file.write(record("BodyMass", MORNING, "70", "kg").replace("/>\n", ">\n"))
        for number in range(60_000):
            file.write(f'<MetadataEntry key="{number:080d}" value="{number:080d}"/>\n')
        file.write('<MetadataEntry key="HKWasUserEntered" value="1"/></Record>\n</HealthData>\n')
    report = Report("apple-health")
    tracemalloc.start()
    with Spool() as spool:
        apple.read(path, spool, report, salt=member, progress=lambda done, total: None)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        [sample] = spool.samples()
    assert peak < 6 * 2**20
    assert sample.method == "SELF_REPORTED"
    assert len(report.ignored) == KINDS_MAX + 1
    assert sum(report.ignored.values()) == 60_000
