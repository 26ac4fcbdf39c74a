"""Members of whom enough is known to be assessed."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.db import Database
from app.ids import new_id
from app.measurements import service as measurements
from app.measurements.kinds import Channel, Method
from app.measurements.rules import Reading
from app.records.models import ConditionVersion, MedicationVersion, QuestionnaireResponse
from app.risk import service
from app.risk.requests import Cause
from app.risk.service import Assessed
from tests.factories import NOON, make_member

HEALTHY = {
    "SYSTOLIC_BP": (112, "mm[Hg]"),
    "DIASTOLIC_BP": (72, "mm[Hg]"),
    "BMI": (22, "kg/m2"),
    "WAIST": (78, "cm"),
    "TOTAL_CHOLESTEROL": (4.6, "mmol/L"),
    "HDL": (1.4, "mmol/L"),
    "TRIGLYCERIDES": (1.1, "mmol/L"),
    "FASTING_GLUCOSE": (5.0, "mmol/L"),
    "CREATININE": (66, "umol/L"),
}
_UNITS = {code: unit for code, (_, unit) in HEALTHY.items()} | {
    "HBA1C": "%", "HEIGHT": "cm", "WEIGHT": "kg",
}  # fmt: skip
UNITS = {code: unit for code, (_, unit) in HEALTHY.items()} | {
    "HBA1C": "%", "HEIGHT": "cm", "WEIGHT": "kg",
}  # fmt: skip
ANSWERS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "health-declaration": {
        "diagnoses": ["none"],
        "high_glucose_ever": ["false"],
        "gestational_diabetes": ["no"],
        "blood_pressure_medication": ["false"],
        "glucose_medication": ["false"],
        "statin": ["false"],
        "residence": ["urban"],
    },
    "family-history": {
        "diabetes": ["none"],
        "hypertension": ["none"],
        "cardiovascular": ["none"],
    },
    "smoking": {"status": ["never"]},
    "activity": {
        "active_daily": ["true"],
        "moderate_days": ["5"],
        "moderate_minutes": ["40"],
        "vigorous_minutes": ["0"],
    },
    "diet": {"vegetables_daily": ["true"]},
    "alcohol": {"frequency": ["never"]},
}
YOUNG = date(1990, 6, 15)
"""35 at noon."""


async def measure(
    db: Database,
    member_id: UUID,
    at: datetime = NOON - timedelta(days=1),
    *,
    method: Method = Method.CLINICAL,
    channel: Channel = Channel.EXAMINATION,
    source: str = "examination",
    now: datetime = NOON,
    **values: float,
) -> None:
    """Readings of one instant, each in the unit of `UNITS`."""
    readings = [
        Reading(code, Decimal(str(value)), UNITS[code], at, method, source_id=source)
        for code, value in values.items()
    ]
    async with db.transaction() as session:
        await measurements.lock(session, member_id)
        kept = await measurements.record(
            session, member_id=member_id, time_zone="Asia/Shanghai", readings=readings, now=now,
            channel=channel,
        )  # fmt: skip
    assert kept.rejected == []


async def answer(
    db: Database,
    member_id: UUID,
    code: str,
    place: int = 1,
    scores: Mapping[str, Any] | None = None,
    at: datetime = NOON,
    **answers: Sequence[str],
) -> None:
    async with db.transaction() as session:
        session.add(
            QuestionnaireResponse(
                member_id=member_id, id=new_id(at), code=code, version="1", place=place,
                answers={name: list(values) for name, values in answers.items()},
                scores=dict(scores or {}), answered_at=at, answered_by=member_id,
            )
        )  # fmt: skip


async def diagnose(
    db: Database,
    member_id: UUID,
    icd10: str,
    *,
    source: str = "CLINICAL",
    abated_on: date | None = None,
) -> UUID:
    id = new_id(NOON)
    async with db.transaction() as session:
        session.add(
            ConditionVersion(
                member_id=member_id, condition_id=id, version=1, icd10=icd10, source=source,
                abated_on=abated_on,
                recorded_at=NOON, recorded_by=member_id,
            )
        )  # fmt: skip
    return id


async def prescribe(db: Database, member_id: UUID, atc: str, ends_on: date | None = None) -> None:
    async with db.transaction() as session:
        session.add(
            MedicationVersion(
                member_id=member_id, medication_id=new_id(NOON), version=1, name="x", atc=atc,
                dose="1", times=[], remind=False, source="CLINICAL", starts_on=date(2026, 1, 1), ends_on=ends_on,
                recorded_at=NOON, recorded_by=member_id,
            )
        )  # fmt: skip


async def make_person(
    db: Database,
    *,
    birth_date: date = YOUNG,
    sex: str = "FEMALE",
    region: str | None = "CN-11",
    answers: Mapping[str, Mapping[str, Sequence[str]]] = ANSWERS,
    readings: Mapping[str, float] | None = None,
    **options: Any,
) -> UUID:
    """Somebody healthy of whom everything is known, but for what is said otherwise."""
    member_id = await make_member(db, birth_date=birth_date, sex=sex, region=region, **options)
    for code, given in answers.items():
        await answer(db, member_id, code, **given)
    values = {code: value for code, (value, _) in HEALTHY.items()} | dict(readings or {})
    await measure(db, member_id, **values)
    return member_id


async def assess(
    db: Database,
    member_id: UUID,
    *,
    cause: Cause = Cause.INPUTS_CHANGED,
    now: datetime = NOON,
) -> Assessed:
    async with db.transaction() as session:
        found = await service.assess(session, member_id=member_id, cause=cause, now=now)
    assert found is not None
    return found
