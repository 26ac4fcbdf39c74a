"""Examinations as CSV: headers in two languages, two encodings, and rows with faults."""

import json
from datetime import UTC, date, datetime
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

CHINESE = (
    "会员,体检日期,血压(mmHg),空腹血糖(mmol/L),体重（公斤）,总胆固醇[mg/dL],尿蛋白(定性),科室\n"
)
READINGS = (
    "select code, value, sent_unit, method, trust, source_id, local_date from measurements"
    " order by code"
)


async def take(db: Database, path: Path, **options: Any) -> Report:
    return await service.examinations(db, path, now=NOON, **options)


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "examination.csv"
    path.write_bytes(text.encode(encoding))
    return path


def reasons(report: Report) -> dict[str, list[str]]:
    return {str(reason): it.examples for reason, it in report.rejected.items()}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
async def test_a_row_of_a_chinese_hospital(db: Database, tmp_path: Path, encoding: str) -> None:
    await make_member(db, login="wang")
    text = CHINESE + "wang,2026年2月3日,132/84,6.1↑,70.5,200,+,内科\n"
    report = await take(db, write(tmp_path, text, encoding))
    assert (report.read, report.readings.accepted, report.rejected) == (1, 6, {})
    assert report.ignored == {"column 科室": 1}
    kept = await rows(db, READINGS)
    assert [(row.code, row.value) for row in kept] == [
        ("DIASTOLIC_BP", Decimal(84)),
        ("FASTING_GLUCOSE", Decimal("6.1")),
        ("SYSTOLIC_BP", Decimal(132)),
        ("TOTAL_CHOLESTEROL", Decimal("5.172")),
        ("URINE_PROTEIN_DIPSTICK", Decimal(1)),
        ("WEIGHT", Decimal("70.5")),
    ]
    assert {tuple(row[3:]) for row in kept} == {
        ("CLINICAL", "HIGH", "examination", date(2026, 2, 3))
    }


async def test_names_and_codes_and_units_in_columns(db: Database, tmp_path: Path) -> None:
    member = await make_member(db)
    text = (
        "member_id,Date,FASTING_GLUCOSE,FASTING_GLUCOSE unit,Body weight [lb],LDL,ldl_unit\n"
        f"{encode(Kind.MEMBER, member)},2026-02-03T09:30:00+08:00,126,mg/dL,154.5,2.6,\n"
        f"{member},2026-02-04,7.1,,,100,mg/dl\n"
    )
    report = await take(db, write(tmp_path, text))
    assert report.rejected == {}
    found = await rows(
        db, "select code, value, sent_unit, measured_at from measurements order by measured_at, 1"
    )
    assert found == [
        ("FASTING_GLUCOSE", Decimal("6.994"), "mg/dL", datetime(2026, 2, 3, 1, 30, tzinfo=UTC)),
        ("LDL", Decimal("2.6"), "mmol/L", datetime(2026, 2, 3, 1, 30, tzinfo=UTC)),
        ("WEIGHT", Decimal("70.08"), "[lb_av]", datetime(2026, 2, 3, 1, 30, tzinfo=UTC)),
        ("FASTING_GLUCOSE", Decimal("7.1"), "mmol/L", datetime(2026, 2, 4, 0, 0, tzinfo=UTC)),
        ("LDL", Decimal("2.586"), "mg/dL", datetime(2026, 2, 4, 0, 0, tzinfo=UTC)),
    ]


async def test_each_fault_is_named_by_row_and_column_and_the_rest_is_kept(
    db: Database, tmp_path: Path
) -> None:
    await make_member(db, login="wang")
    await make_member(db, login="silent", consents=False)
    text = (
        "member,date,体重(kg),空腹血糖(mmol/L),血压\n"
        "wang,2026-02-01,七十,6.1,130/80\n"
        "nobody,2026-02-01,70,6.1,130/80\n"
        "\n"
        "wang,someday,70,6.1,130/80\n"
        "wang,2026-02-02,7000,<3.9,13080\n"
        "silent,2026-02-01,70,6.1,130/80\n"
        'wang,2026-02-04,"70\n",未查,80/130\n'
        "wang,2027-02-04,70,-,\n"
        "wang,2026-02-05\n"
    )
    report = await take(db, write(tmp_path, text))
    assert report.read == 8
    assert reasons(report) == {
        "VALUE_UNREADABLE": ["row 2, 体重(kg)", "row 6, 血压"],
        "MEMBER_UNKNOWN": ["row 3"],
        "TIME_UNREADABLE": ["row 5"],
        "VALUE_INEXACT": ["row 6, 空腹血糖(mmol/L)"],
        "VALUE_OUT_OF_RANGE": ["row 6, 体重(kg)", "row 8, 血压", "row 8, 血压"],
        "CONSENT_MISSING": ["row 7"],
        "IN_FUTURE": ["row 10, 体重(kg)"],
    }
    assert report.readings.accepted == 4
    shown = json.dumps(report.as_json(), ensure_ascii=False) + "".join(report.lines())
    assert "七十" not in shown and "wang" not in shown and "6.1" not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column `member`"),
        ("weight,date\n70,2026-02-01\n", "no column `member`"),
        ("member,date,room\nx,2026-02-01,4\n", "no quantity"),
        ("member,WEIGHT\nx,70\n", "no day was given"),
        ("member,date,WEIGHT [stone]\nx,2026-02-01,11\n", "unit"),
        ("member,date,WEIGHT,体重\nx,2026-02-01,70,71\n", "more than once"),
        ('member,date,WEIGHT\nx,2026-02-01,"70\n', "not CSV"),
        ("member,date,STEPS\nx,2026-02-01,9000\n", "no quantity"),
    ],
)
async def test_a_file_that_cannot_be_meant_is_refused(
    db: Database, tmp_path: Path, text: str, message: str
) -> None:
    await make_member(db, login="x")
    before = await contents(db)
    with pytest.raises(Refused, match=message):
        await take(db, write(tmp_path, text))
    assert await contents(db) == before


async def test_what_is_no_text_is_refused(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "examination.csv"
    path.write_bytes(b"member,date,WEIGHT\n\xff\xff\xff,2026,70\n")
    with pytest.raises(Refused, match="neither UTF-8 nor GB18030"):
        await take(db, path)
    with pytest.raises(Refused, match="cannot be read"):
        await take(db, tmp_path / "missing.csv")


async def test_the_same_file_twice_and_a_day_given_once_for_all(
    db: Database, tmp_path: Path
) -> None:
    await make_member(db, login="wang")
    path = write(tmp_path, "会员,体重(kg),ALT\nwang,70.5,31\n")
    before = await counts(db)
    dry = await take(db, path, examined="2026-02-01", dry_run=True)
    assert await counts(db) == before
    first = await take(db, path, examined="2026-02-01")
    kept = await contents(db)
    again = await take(db, path, examined="2026-02-01")
    assert await contents(db) == kept
    assert (dry.readings.accepted, first.readings.accepted) == (2, 2)
    assert (again.readings.accepted, again.readings.known) == (0, 2)


async def test_an_erased_member_is_nobody(db: Database, tmp_path: Path) -> None:
    from sqlalchemy import text

    member: UUID = await make_member(db, login="wang")
    async with db.write() as connection:
        await connection.execute(
            text("update members set erased_at = now() where member_id = :id"), {"id": member}
        )
    report = await take(db, write(tmp_path, "member,date,WEIGHT\nwang,2026-02-01,70\n"))
    assert reasons(report) == {"MEMBER_UNKNOWN": ["row 2"]}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("wang,0001-01-01,70", "TIME_UNREADABLE"),
        ("wang,0001-01-01T00:00:00+14:00,70", "TIME_UNREADABLE"),
        ("wang,9999-12-31,70", "TIME_UNREADABLE"),
        ("wang,9999-12-31T23:59:59-12:00,70", "TIME_UNREADABLE"),
        ("wang,1899-12-31,70", "TIME_UNREADABLE"),
        ("wang,99999999999999999999,70", "TIME_UNREADABLE"),
        ("wang,2026-9-999999999999,70", "TIME_UNREADABLE"),
        ("wang,2026-01-01,1e99", "VALUE_OUT_OF_RANGE"),
        ("wang,2026-01-01,100000000000000000000000000000", "VALUE_OUT_OF_RANGE"),
        ("wang,2026-01-01,1e-99", "VALUE_OUT_OF_RANGE"),
        ("wa\0ng,2026-01-01,70", "MEMBER_UNKNOWN"),
    ],
)
async def test_a_row_beyond_all_measure_does_not_keep_the_others_out(
    db: Database, tmp_path: Path, row: str, reason: str
) -> None:
    await make_member(db, login="wang")
    text = f"member,date,WEIGHT\nwang,2026-01-01,71\n{row}\nwang,2026-01-02,72\n"
    report = await take(db, write(tmp_path, text))
    assert (report.read, report.readings.accepted) == (3, 2)
    assert [(it, len(where)) for it, where in reasons(report).items()] == [(reason, 1)]
    found = await rows(db, "select value from measurements order by 1")
    assert found == [(Decimal(71),), (Decimal(72),)]
