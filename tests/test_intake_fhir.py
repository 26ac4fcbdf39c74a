"""FHIR R4: what public generators make, and every way in which a record can be no measurement."""

import gzip
import json
from copy import deepcopy
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.db import Database
from app.graphql.ids import Kind, encode
from app.intake import service
from app.intake.report import Refused, Report
from tests.factories import NOON, contents, counts, make_member
from tests.tasks_at_work import rows

pytest.importorskip("fhir.resources", reason="not installed here")

DATA = Path(__file__).parent / "data"
BORN = date(1975, 5, 17)
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
PATIENT = {"resourceType": "Patient", "id": "p", "birthDate": "1975-05-17", "gender": "female"}
ME = {"reference": "Patient/p"}
READINGS = "select code, value, sent_value, sent_unit from measurements order by code, value"


async def take(db: Database, member: UUID, path: Path, **options: Any) -> Report:
    return await service.fhir_records(
        db, path, member=encode(Kind.MEMBER, member), now=NOON, **options
    )


def unpacked(name: str, folder: Path) -> Path:
    path = folder / name.removesuffix(".gz")
    path.write_bytes(gzip.decompress((DATA / name).read_bytes()))
    return path


def concept(code: str, system: str = LOINC) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def amount(value: Any, unit: str, **changes: Any) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit} | changes


def observation(loinc: str = "29463-7", **changes: Any) -> dict[str, Any]:
    usual = {
        "resourceType": "Observation",
        "status": "final",
        "code": concept(loinc),
        "subject": ME,
        "effectiveDateTime": "2026-03-01T08:00:00+08:00",
        "valueQuantity": amount(70.5, "kg"),
    }
    return {name: it for name, it in (usual | changes).items() if it is not None}


def condition(icd10: str = "I10", **changes: Any) -> dict[str, Any]:
    usual = {
        "resourceType": "Condition",
        "code": concept(icd10, "http://hl7.org/fhir/sid/icd-10"),
        "subject": ME,
        "onsetDateTime": "2020-02-03",
    }
    return {name: it for name, it in (usual | changes).items() if it is not None}


def bundle(folder: Path, *resources: Any, patient: Any = PATIENT) -> Path:
    entries = [{"resource": it} for it in (*resources, patient) if it is not None]
    path = folder / "bundle.json"
    path.write_text(
        json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}, indent=1),
        "utf-8",
    )
    return path


def lines(folder: Path, *resources: Any) -> Path:
    path = folder / "records.ndjson"
    path.write_text("\n".join(json.dumps(it) for it in resources) + "\n", "utf-8")
    return path


def reasons(report: Report) -> dict[str, list[str]]:
    return {str(reason): it.examples for reason, it in report.rejected.items()}


# What generators make


@pytest.mark.parametrize(
    ("name", "born", "sex", "readings", "conditions"),
    [
        ("synthea_bundle.json.gz", date(1975, 1, 4), "MALE", 300, 1),
        ("carebundle_bundle.json.gz", date(1961, 6, 3), "FEMALE", 19, 1),
        ("carebundle.ndjson.gz", date(1972, 3, 3), "FEMALE", 19, 3),
    ],
)
async def test_a_generated_person_is_imported_with_a_report(
    db: Database, tmp_path: Path, name: str, born: date, sex: str, readings: int, conditions: int
) -> None:
    member = await make_member(db, birth_date=born, sex=sex)
    path = unpacked(name, tmp_path)
    report = await take(db, member, path)
    kept = await rows(db, "select code, method, trust, channel, local_date from measurements")
    assert len(kept) == report.readings.accepted >= readings
    assert {row[1:4] for row in kept} == {("CLINICAL", "HIGH", "EXAMINATION")}
    assert {"SYSTOLIC_BP", "DIASTOLIC_BP", "WEIGHT", "HBA1C"} <= {row.code for row in kept}
    assert report.conditions.accepted >= conditions
    diagnoses = await rows(db, "select source, retracted from conditions")
    assert set(diagnoses) == {("IMPORTED", False)}
    # Children weigh and measure less than the catalogue takes for plausible.
    assert set(reasons(report)) <= {"VALUE_OUT_OF_RANGE"}
    assert report.ignored["Observation 718-7"] >= 1

    before = await contents(db)
    again = await take(db, member, path)
    assert await contents(db) == before
    assert (again.readings.accepted, again.conditions.accepted) == (0, 0)
    assert again.readings.known == report.readings.accepted
    assert again.conditions.known == report.conditions.accepted


# Whom it is about


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"birthDate": "1975-05-18"}, "another birth date"),
        ({"birthDate": "1976"}, "another birth date"),
        ({"gender": "male"}, "another sex"),
        ({"birthDate": None}, "no birth date"),
        ({"birthDate": "yesterday"}, "not valid"),
    ],
)
async def test_somebody_else_is_refused_whole(
    db: Database, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    member = await make_member(db, birth_date=BORN)
    patient = {key: it for key, it in (PATIENT | changes).items() if it is not None}
    before = await contents(db)
    with pytest.raises(Refused, match=message) as refused:
        await take(db, member, bundle(tmp_path, observation(), patient=patient))
    assert await contents(db) == before
    assert "1975" not in str(refused.value) and "1976" not in str(refused.value)


@pytest.mark.parametrize("changes", [{"birthDate": "1975-05"}, {"gender": "unknown"}])
async def test_what_a_patient_leaves_open_is_no_difference(
    db: Database, tmp_path: Path, changes: dict[str, Any]
) -> None:
    member = await make_member(db, birth_date=BORN)
    report = await take(db, member, bundle(tmp_path, observation(), patient=PATIENT | changes))
    assert report.readings.accepted == 1


async def test_a_file_of_several_people_needs_a_choice(db: Database, tmp_path: Path) -> None:
    member = await make_member(db, birth_date=BORN)
    other = PATIENT | {"id": "q"}
    theirs = observation(subject={"reference": "Patient/q"}, valueQuantity=amount(90, "kg"))
    path = bundle(tmp_path, observation(), theirs, other)
    with pytest.raises(Refused, match="2 people"):
        await take(db, member, path)
    with pytest.raises(Refused, match="no such Patient"):
        await take(db, member, path, patient="r")
    report = await take(db, member, path, patient="Patient/p")
    assert reasons(report) == {"OTHER_SUBJECT": ["entry 2"]}
    assert await rows(db, "select value from measurements") == [(Decimal("70.5"),)]


async def test_a_file_without_a_patient_needs_the_subjects_name(
    db: Database, tmp_path: Path
) -> None:
    member = await make_member(db, birth_date=BORN)
    path = lines(tmp_path, observation(), observation("8302-2", subject={"reference": "Patient/z"}))
    with pytest.raises(Refused, match="--patient"):
        await take(db, member, path)
    report = await take(db, member, path, patient="p")
    assert (report.readings.accepted, reasons(report)) == (1, {"OTHER_SUBJECT": ["line 2"]})


async def test_a_patient_may_come_last_and_be_named_by_urn(db: Database, tmp_path: Path) -> None:
    member = await make_member(db, birth_date=BORN)
    document = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"resource": observation(subject={"reference": "urn:uuid:abc"})},
            {
                "fullUrl": "urn:uuid:abc",
                "resource": {key: it for key, it in PATIENT.items() if key != "id"},
            },
        ],
    }
    path = tmp_path / "b.json"
    path.write_text(json.dumps(document), "utf-8")
    assert (await take(db, member, path)).readings.accepted == 1


# What is measured


@pytest.mark.parametrize(
    ("code", "quantity", "kept"),
    [
        ("29463-7", amount(154.5, "[lb_av]"), ("WEIGHT", "70.080", "154.5", "[lb_av]")),
        ("3141-9", amount(70, "kg"), ("WEIGHT", "70.000", "70", "kg")),
        ("8302-2", amount(65, "[in_i]"), ("HEIGHT", "165.100", "65", "[in_i]")),
        ("8310-5", amount(98.6, "[degF]"), ("BODY_TEMPERATURE", "37.000", "98.6", "[degF]")),
        ("1558-6", amount(126, "mg/dL"), ("FASTING_GLUCOSE", "6.994", "126", "mg/dL")),
        ("14771-0", amount(7.1, "mmol/L"), ("FASTING_GLUCOSE", "7.100", "7.1", "mmol/L")),
        ("2339-0", amount(100, "mg/dL"), ("RANDOM_GLUCOSE", "5.551", "100", "mg/dL")),
        ("13457-7", amount(100, "mg/dL"), ("LDL", "2.586", "100", "mg/dL")),
        ("4548-4", amount(6.5, "%"), ("HBA1C", "6.500", "6.5", "%")),
        ("38483-4", amount(1, "mg/dL"), ("CREATININE", "88.420", "1", "mg/dL")),
        ("8867-4", amount(64, "/min", code="{beats}/min"), ("HEART_RATE", "64.000", "64", "/min")),
        ("8867-4", {"value": 64, "unit": "bpm"}, ("HEART_RATE", "64.000", "64", "/min")),
        ("8480-6", {"value": 128, "unit": "mmHg"}, ("SYSTOLIC_BP", "128.000", "128", "mm[Hg]")),
    ],
)
async def test_a_value_is_kept_as_sent_and_in_our_unit(
    db: Database, tmp_path: Path, code: str, quantity: Any, kept: tuple[str, str, str, str]
) -> None:
    member = await make_member(db, birth_date=BORN)
    await take(db, member, bundle(tmp_path, observation(code, valueQuantity=quantity)))
    name, value, sent, unit = kept
    assert await rows(db, READINGS) == [(name, Decimal(value), sent, unit)]


def pressure(*parts: Any) -> dict[str, Any]:
    return observation("85354-9", valueQuantity=None, component=list(parts))


def half(code: str, value: Any, **changes: Any) -> dict[str, Any]:
    found = {"code": concept(code), "valueQuantity": amount(value, "mm[Hg]")} | changes
    return {name: it for name, it in found.items() if it is not None}


async def test_a_panel_is_a_pair(db: Database, tmp_path: Path) -> None:
    member = await make_member(db, birth_date=BORN)
    panel = pressure(half("8480-6", 128), half("8462-4", 82), half("8478-0", 97))
    report = await take(db, member, bundle(tmp_path, panel))
    assert report.rejected == {}
    assert [row[:2] for row in await rows(db, READINGS)] == [
        ("DIASTOLIC_BP", 82),
        ("SYSTOLIC_BP", 128),
    ]


async def test_a_half_that_is_absent_is_said_so(db: Database, tmp_path: Path) -> None:
    member = await make_member(db, birth_date=BORN)
    absent = half("8462-4", 0, valueQuantity=None, dataAbsentReason=concept("error", "x"))
    report = await take(db, member, bundle(tmp_path, pressure(half("8480-6", 128), absent)))
    assert reasons(report) == {"VALUE_MISSING": ["entry 1, component 2"]}
    assert [row.code for row in await rows(db, READINGS)] == ["SYSTOLIC_BP"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "entered-in-error"}, "NOT_FINAL"),
        ({"status": "cancelled"}, "NOT_FINAL"),
        ({"status": "preliminary"}, "NOT_FINAL"),
        ({"status": "sort of"}, "INVALID"),
        ({"status": None}, "INVALID"),
        ({"weight": 70}, "INVALID"),
        ({"code": None}, "INVALID"),
        ({"valueQuantity": {"value": "seventy"}}, "INVALID"),
        ({"valueQuantity": amount(70, "kg", comparator="<")}, "VALUE_INEXACT"),
        ({"valueQuantity": amount(70, "stone")}, "UNIT_UNKNOWN"),
        ({"valueQuantity": amount(7000, "kg")}, "VALUE_OUT_OF_RANGE"),
        ({"valueQuantity": None}, "VALUE_MISSING"),
        ({"valueQuantity": None, "valueString": "about 70"}, "VALUE_UNREADABLE"),
        ({"valueQuantity": None, "dataAbsentReason": concept("unknown", "x")}, "VALUE_MISSING"),
        ({"valueQuantity": {"unit": "kg"}}, "VALUE_UNREADABLE"),
        ({"effectiveDateTime": None}, "TIME_UNREADABLE"),
        ({"effectiveDateTime": "2026"}, "TIME_VAGUE"),
        ({"effectiveDateTime": "2026-02"}, "TIME_VAGUE"),
        ({"effectiveDateTime": "2026-03-05T08:00:00+08:00"}, "IN_FUTURE"),
        ({"subject": None}, "OTHER_SUBJECT"),
        ({"subject": {"reference": "Patient/other"}}, "OTHER_SUBJECT"),
        ({"subject": {"reference": "Group/p"}}, "OTHER_SUBJECT"),
        ({"focus": [{"reference": "RelatedPerson/child"}]}, "OTHER_SUBJECT"),
    ],
)
async def test_what_is_no_measurement_of_the_member_is_rejected(
    db: Database, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    member = await make_member(db, birth_date=BORN)
    good = observation("8302-2", valueQuantity=amount(160, "cm"))
    report = await take(db, member, bundle(tmp_path, observation(**changes), good))
    assert list(reasons(report)) == [reason]
    assert all(where.startswith(("entry 1", "resource 1")) for where in reasons(report)[reason])
    assert [row.code for row in await rows(db, READINGS)] == ["HEIGHT"]
    shown = json.dumps(report.as_json()) + "".join(report.lines())
    assert "seventy" not in shown and "7000" not in shown


@pytest.mark.parametrize(
    ("when", "at", "day"),
    [
        ({"effectiveDateTime": "2026-03-01T23:30:00Z"}, "2026-03-01 23:30", date(2026, 3, 2)),
        ({"effectiveDateTime": "2026-03-01"}, "2026-03-01 04:00", date(2026, 3, 1)),
        ({"effectiveInstant": "2026-03-01T08:00:00.5+08:00"}, "2026-03-01 00:00", date(2026, 3, 1)),
        (
            {"effectivePeriod": {"start": "2026-03-01T08:00:00+08:00", "end": "2026-03-01T09:00:00+08:00"}},
            "2026-03-01 00:00",
            date(2026, 3, 1),
        ),
        ({"effectivePeriod": {"end": "2026-02-27"}}, "2026-02-27 04:00", date(2026, 2, 27)),
    ],
)  # fmt: skip
async def test_when_it_was(
    db: Database, tmp_path: Path, when: dict[str, Any], at: str, day: date
) -> None:
    member = await make_member(db, birth_date=BORN)
    await take(db, member, bundle(tmp_path, observation(effectiveDateTime=None) | when))
    [(measured_at, local_date)] = await rows(db, "select measured_at, local_date from measurements")
    assert (measured_at.strftime("%Y-%m-%d %H:%M"), local_date) == (at, day)


async def test_what_the_person_reports_is_not_clinical(db: Database, tmp_path: Path) -> None:
    member = await make_member(db, birth_date=BORN)
    await take(db, member, bundle(tmp_path, observation(performer=[ME])))
    assert await rows(db, "select method, trust from measurements") == [("SELF_REPORTED", "LOW")]


async def test_steps_of_a_day_are_a_total(db: Database, tmp_path: Path) -> None:
    member = await make_member(db, birth_date=BORN)
    steps = observation(
        "41950-7", effectiveDateTime="2026-03-01", valueQuantity=amount(8123, "{steps}")
    )
    report = await take(db, member, bundle(tmp_path, steps))
    assert report.daily_totals.accepted == 1
    assert await rows(db, "select code, local_date, value from daily_totals") == [
        ("STEPS", date(2026, 3, 1), Decimal(8123))
    ]


# Conditions


async def test_a_diagnosis_is_kept_once_and_ends_in_a_new_version(
    db: Database, tmp_path: Path
) -> None:
    member = await make_member(db, birth_date=BORN)
    path = bundle(tmp_path, condition(), condition())
    report = await take(db, member, path)
    assert (report.conditions.accepted, report.repeated) == (1, 1)
    ended = await take(db, member, bundle(tmp_path, condition(abatementDateTime="2025-12-01")))
    assert (ended.conditions.accepted, ended.rejected) == (1, {})
    assert (await take(db, member, path)).conditions.known == 1
    assert await rows(
        db, "select version, icd10, onset_on, abated_on from conditions order by 1"
    ) == [
        (1, "I10", date(2020, 2, 3), None),
        (2, "I10", date(2020, 2, 3), date(2025, 12, 1)),
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (condition("E11.9"), "E11.9"),
        (condition(code=concept("44054006", "http://snomed.info/sct")), "E11"),
        (condition(code=concept("e78.5", "urn:oid:2.16.840.1.113883.6.90")), "E78.5"),
        (condition(code=concept("314529007", "http://snomed.info/sct")), None),
        (condition(code={"text": "something"}), None),
        (condition(verificationStatus=concept("entered-in-error", "x")), None),
        (condition(verificationStatus=concept("refuted", "x")), None),
        (condition(subject={"reference": "Patient/other"}), None),
        (condition(onsetDateTime="2030-01-01"), None),
        (condition(abatementDateTime="2019-01-01"), None),
    ],
)
async def test_which_diagnoses_are_kept(
    db: Database, tmp_path: Path, given: dict[str, Any], kept: str | None
) -> None:
    member = await make_member(db, birth_date=BORN)
    report = await take(db, member, bundle(tmp_path, given))
    found = [row.icd10 for row in await rows(db, "select icd10 from conditions")]
    assert found == ([kept] if kept else [])
    assert report.rejections + len(found) + sum(report.ignored.values()) == 1


# Files


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"1", b"[]", b"{", b'{"resourceType": "Bundle", "entry": 7}', b"\xff\xfe",
        b"[" * 100_000, b'{"a": NaN}', b'{"resourceType": "Patient", "id": 1' + b"0" * 5000 + b"}",
        b'{"resourceType": "Patient"}\nnot json\n',
    ],
)  # fmt: skip
async def test_what_is_no_fhir_changes_nothing(
    db: Database, tmp_path: Path, content: bytes
) -> None:
    member = await make_member(db, birth_date=BORN)
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    before = await contents(db)
    with pytest.raises(Refused):
        await take(db, member, path)
    assert await contents(db) == before


async def test_odd_entries_are_counted(db: Database, tmp_path: Path) -> None:
    member = await make_member(db, birth_date=BORN)
    document = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [None, 7, {}, {"resource": None}, {"resource": {"resourceType": 5}},
                  {"resource": PATIENT}, {"resource": observation()}],
    }  # fmt: skip
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(document), "utf-8")
    report = await take(db, member, path)
    assert (report.read, report.ignored, report.readings.accepted) == (7, {"other": 5}, 1)


async def test_a_dry_run_keeps_nothing(db: Database, tmp_path: Path) -> None:
    member = await make_member(db, birth_date=BORN)
    path = bundle(tmp_path, observation(), condition(), observation(status="cancelled"))
    before = await counts(db)
    dry = await take(db, member, path, dry_run=True)
    assert await counts(db) == before
    real = await take(db, member, path)
    assert deepcopy(real.as_json()) | {"dry_run": True} == dry.as_json()


async def test_no_consent_no_import(db: Database, tmp_path: Path) -> None:
    member = await make_member(db, birth_date=BORN, consents=False)
    with pytest.raises(Refused, match="consent"):
        await take(db, member, bundle(tmp_path, observation()))


@pytest.mark.parametrize(
    ("value", "when", "reason"),
    [
        ("1e999999", "2026-03-01", "VALUE_OUT_OF_RANGE"),
        ("1e99999999999999999999", "2026-03-01", "INVALID"),
        ("1" + "0" * 5000, "2026-03-01", "VALUE_UNREADABLE"),
        ("1" + "0" * 29, "2026-03-01", "VALUE_OUT_OF_RANGE"),
        ("1e-999999", "2026-03-01", "VALUE_OUT_OF_RANGE"),
        ("70", "9999-12-31T23:59:59-12:00", "TIME_UNREADABLE"),
        ("70", "0001-01-01T00:00:00+14:00", "TIME_UNREADABLE"),
        ("70", "0001-01-01", "TIME_UNREADABLE"),
        ("70", "9999-12-31", "TIME_UNREADABLE"),
    ],
)
@pytest.mark.parametrize("loinc", ["29463-7", "55423-8"])
async def test_a_resource_beyond_all_measure_does_not_keep_the_others_out(
    db: Database, tmp_path: Path, loinc: str, value: str, when: str, reason: str
) -> None:
    member = await make_member(db, birth_date=BORN, sex="FEMALE")
    unit = "kg" if loinc == "29463-7" else "{steps}"
    odd = observation(loinc, valueQuantity=amount("VALUE", unit), effectiveDateTime=when)
    path = lines(tmp_path, PATIENT, odd, observation())
    path.write_text(path.read_text("utf-8").replace('"VALUE"', value), "utf-8")
    report = await take(db, member, path)
    assert list(reasons(report)) == [reason]
    assert report.readings.accepted == 1


@pytest.mark.parametrize("day", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
async def test_a_diagnosis_of_no_time_does_not_keep_the_others_out(
    db: Database, tmp_path: Path, day: str
) -> None:
    member = await make_member(db, birth_date=BORN, sex="FEMALE")
    odd = [condition("E11", onsetDateTime=day), condition("E11", abatementDateTime=day)]
    report = await take(db, member, lines(tmp_path, PATIENT, *odd, condition()))
    assert {it: len(where) for it, where in reasons(report).items()} == {"TIME_UNREADABLE": 2}
    assert await rows(db, "select icd10 from conditions") == [("I10",)]
