"""Diagnoses of another system's records, as conditions of the member."""

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import UserError
from app.intake.fhir import Diagnosis
from app.intake.report import Reason, Report
from app.intake.writing import Target
from app.records import health, keeping
from app.records.health import Source
from app.records.keeping import Author, ConditionWish
from app.records.models import ConditionVersion

Key = tuple[str, date | None]
"""The code and the first day: another episode is another condition."""


async def write(
    target: Target, diagnoses: Sequence[Diagnosis], report: Report, *, now: datetime
) -> None:
    """Keep what is new; a condition that has ended meanwhile gets a new version."""
    newest: dict[Key, Diagnosis] = {}
    for diagnosis in diagnoses:
        key = (diagnosis.icd10, diagnosis.onset_on)
        report.repeated += key in newest
        if key not in newest or diagnosis.abated_on is not None:
            newest[key] = diagnosis
    if not newest:
        return
    async with target.transaction() as session:
        known = await _known(session, target.member_id)
        for key, diagnosis in newest.items():
            before = known.get(key)
            if before is not None and (
                before.retracted or diagnosis.abated_on in (None, before.abated_on)
            ):
                report.conditions.known += 1
                continue
            await _set(session, target.member_id, before, diagnosis, report, now)


async def _set(
    session: AsyncSession,
    member_id: UUID,
    before: ConditionVersion | None,
    diagnosis: Diagnosis,
    report: Report,
    now: datetime,
) -> None:
    wish = ConditionWish(
        icd10=diagnosis.icd10,
        label=_label(diagnosis.label),
        onset_on=diagnosis.onset_on,
        abated_on=diagnosis.abated_on,
    )
    try:
        async with session.begin_nested():
            _, replayed = await keeping.set_condition(
                session,
                member_id=member_id,
                author=Author(member_id, Source.IMPORTED),
                request_id=_request_id(before, wish),
                condition_id=before.condition_id if before is not None else None,
                wish=wish,
                now=now,
            )
    except UserError as error:
        known = error.code.value in Reason.__members__
        report.reject(Reason(error.code.value) if known else Reason.OTHER, diagnosis.where)
        return
    if replayed:
        report.conditions.known += 1
    else:
        report.conditions.accepted += 1


async def _known(session: AsyncSession, member_id: UUID) -> dict[Key, ConditionVersion]:
    """What is in force, whoever recorded it."""
    rows = await session.exec(
        select(ConditionVersion)
        .where(ConditionVersion.member_id == member_id)
        .order_by(col(ConditionVersion.version))
    )
    newest = {it.condition_id: it for it in rows}
    return {(it.icd10, it.onset_on): it for it in newest.values()}


def _label(text: str | None) -> str | None:
    """One line of what the other system calls it; none when it cannot be shown."""
    found = " ".join((text or "").split())[: health.LABEL_LENGTH_MAX]
    return found if found and found.isprintable() else None


def _request_id(before: ConditionVersion | None, wish: ConditionWish) -> UUID:
    version = f"{before.condition_id} {before.version}" if before is not None else ""
    named = f"fhir condition {version} {wish.icd10} {wish.onset_on} {wish.abated_on} {wish.label}"
    return UUID(bytes=hashlib.sha256(named.encode()).digest()[:16], version=5)
