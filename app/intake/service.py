"""The three imports of files: read into a spool, then written. See `report.py` for what they
tell; a file that is refused changes nothing."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from app import civil_time
from app.checkins import recording
from app.db import Database
from app.intake import apple, examination, who, writing
from app.intake.report import Reason, Refused, Report
from app.intake.spool import Sample, Spool
from app.intake.writing import Target
from app.measurements.kinds import Channel, Method

Progress = Callable[[int, int], None]
Bar = Callable[[str], Progress]
"""Begins another part of the work, under its name."""


def no_bar(_name: str) -> Progress:
    return lambda done, total: None


async def apple_health(
    db: Database,
    path: Path,
    *,
    member: str,
    now: datetime,
    dry_run: bool = False,
    bar: Bar = no_bar,
) -> Report:
    """A member's export of Apple Health. Raises Refused."""
    person = await who.find(db, member)
    target = Target(db, person.member_id, person.time_zone, Channel.EXPORT, "apple-health", dry_run)
    await _require_consents(target, now, senses=True)
    report = Report("apple-health", dry_run)
    with Spool() as spool:
        owner = await asyncio.to_thread(
            apple.read, path, spool, report, salt=person.member_id, progress=bar("Reading")
        )
        if owner.birth_date is not None and owner.birth_date != person.birth_date.isoformat():
            report.notes.append("The birth date on the phone is not the member's.")
        if owner.sex is not None and person.sex not in (owner.sex, "UNKNOWN"):
            report.notes.append("The sex on the phone is not the member's.")
        await writing.write(target, spool, report, place="line", now=now, progress=bar("Recording"))
    return report


async def fhir_records(
    db: Database,
    path: Path,
    *,
    member: str,
    now: datetime,
    patient: str | None = None,
    dry_run: bool = False,
    bar: Bar = no_bar,
) -> Report:
    """Another system's records of a member, as FHIR R4. Raises Refused."""
    # The models take a while to import, and no other command needs them.
    from app.intake import conditions, fhir  # noqa: PLC0415

    person = await who.find(db, member)
    target = Target(db, person.member_id, person.time_zone, Channel.EXAMINATION, "fhir", dry_run)
    await _require_consents(target, now)
    named = fhir.Named(person.birth_date, person.sex, civil_time.zone(person.time_zone))
    report = Report("fhir", dry_run)
    with Spool() as spool:
        diagnoses = await asyncio.to_thread(
            fhir.read, path, spool, report, member=named, patient=patient, progress=bar("Reading")
        )
        await writing.write(
            target, spool, report, place="resource", now=now, progress=bar("Recording")
        )
    await conditions.write(target, diagnoses, report, now=now)
    return report


async def examinations(
    db: Database,
    path: Path,
    *,
    now: datetime,
    examined: str | None = None,
    dry_run: bool = False,
    bar: Bar = no_bar,
) -> Report:
    """Results of annual examinations, a row a member. `examined` is the day of rows that do
    not say. Raises Refused; what is wrong with one row does not keep the others out."""
    report = Report("examination", dry_run)
    header, rows = await asyncio.to_thread(examination.open_rows, path)
    if header.date is None and examined is None:
        raise Refused("The header has no column `date` (体检日期), and no day was given.")
    for name in header.ignored:
        report.ignore(f"column {name}")
    progress = bar("Rows")
    for row in rows:
        report.read += 1
        await _examination(db, row, report, examined=examined, now=now)
        progress(report.read, 0)
    return report


async def _examination(
    db: Database,
    row: examination.Row,
    report: Report,
    *,
    examined: str | None,
    now: datetime,
) -> None:
    try:
        person = await who.find(db, row.member)
    except Refused:
        report.reject(Reason.MEMBER_UNKNOWN, f"row {row.number}")
        return
    zone = civil_time.zone(person.time_zone)
    at = examination.instant_of(row.examined or examined or "", zone)
    if at is None:
        report.reject(Reason.TIME_UNREADABLE, f"row {row.number}")
        return
    for fault in row.faults:
        report.reject(fault.reason, fault.where)
    source = examination.SOURCE
    samples = [
        Sample(
            int(at.timestamp() * 1000), it.code, source, it.text, it.unit,
            Method.CLINICAL, None, row.number,
        )
        for it in row.values
    ]  # fmt: skip
    if not samples:
        return
    target = Target(
        db, person.member_id, person.time_zone, Channel.EXAMINATION, source, report.dry_run
    )
    places = [f"row {row.number}, {it.column}" for it in row.values]
    try:
        await writing.write_samples(target, samples, report, places=places, now=now)
    except recording.HealthConsentMissing:
        report.reject(Reason.CONSENT_MISSING, f"row {row.number}")


async def _require_consents(target: Target, now: datetime, *, senses: bool = False) -> None:
    """Before hundreds of megabytes are read. Raises Refused."""
    try:
        async with target.db.transaction() as session:
            standing = await recording.look(session, target.member_id, now)
    except recording.HealthConsentMissing:
        raise Refused("The member does not consent to the use of health data.") from None
    if senses and not standing.senses:
        raise Refused("The member does not consent to the use of device data.")
