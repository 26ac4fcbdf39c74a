"""What a premium rests on, made as the domains below keep it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.db import Database
from app.health_tasks.models import ParticipationMonth
from app.ids import new_id
from app.measurements.models import Measurement
from app.premiums import jobs, service
from app.premiums.rules import add_months
from app.records.models import ConditionVersion
from app.risk.tables import RiskAssessment, RiskProfile
from tests.factories import NOON, make_member

START = date(2026, 3, 1)
"""First day of cover of `insured`: a month's first, so that twelve months close in the term."""
BEGIN = datetime(2026, 3, 1, 1, tzinfo=UTC)
END = datetime(2027, 2, 28, 16, tzinfo=UTC)
"""Midnight in Shanghai after the last day of the first term."""
UNITS = {"SYSTOLIC_BP": "mm[Hg]", "BMI": "kg/m2", "FASTING_GLUCOSE": "mmol/L"}


async def insured(
    db: Database,
    product: str = "chronic-care",
    *,
    tier: str | None = "MEDIUM",
    at: datetime = BEGIN,
    starts_on: date = START,
    **profile: Any,
) -> UUID:
    """A member in force from `starts_on`, assessed before; 50 years old unless said."""
    profile = {"birth_date": date(1975, 5, 17), "now": at - timedelta(days=30), **profile}
    member = await make_member(db, **profile)
    if tier is not None:
        await assessed(db, member, tier, at=at - timedelta(days=1))
    await enrolled(db, member, product, at=at, starts_on=starts_on)
    return member


async def enrolled(
    db: Database,
    member: UUID,
    product: str = "chronic-care",
    *,
    at: datetime = BEGIN,
    starts_on: date = START,
) -> None:
    async with db.transaction() as session:
        await service.enrol(
            session, member_id=member, product_code=product, starts_on=starts_on, now=at
        )


async def assessed(
    db: Database,
    member: UUID,
    tier: str | None,
    *,
    at: datetime = NOON,
    groups: Sequence[str] = (),
    areas: dict[str, str] | None = None,
) -> UUID:
    """As the risk domain keeps an assessment; the profile follows."""
    id = new_id(at)
    async with db.transaction() as session:
        session.add(
            RiskAssessment(
                member_id=member,
                id=id,
                assessed_at=at,
                local_date=at.date(),
                rules_version="1",
                cause="READING",
                tier=tier,
                matched=[],
                inputs={},
                classes={"areas": areas or {}, "groups": list(groups)},
                results={},
            )
        )
        profile = await session.get(RiskProfile, member)
        if profile is None:
            profile = RiskProfile(member_id=member, contests=0)
            session.add(profile)
        profile.assessment_id, profile.tier, profile.assessed_at = id, tier, at
        profile.checked_at = at
    return id


async def measured(
    db: Database,
    member: UUID,
    code: str,
    value: str,
    day: date,
    *,
    context: str | None = None,
    trust: str = "HIGH",
    method: str = "CLINICAL",
    confirmed: bool | None = None,
    recorded_at: datetime | None = None,
    superseded_at: datetime | None = None,
    hour: int = 2,
) -> UUID:
    """One version of a reading of a local day, known from noon of that day (UTC) on."""
    at = datetime.combine(day, time(hour), UTC)
    id = new_id(at)
    row = Measurement(
        member_id=member,
        id=id,
        code=code,
        value=Decimal(value),
        unit=UNITS[code],
        sent_value=value,
        sent_unit=UNITS[code],
        measured_at=at,
        local_date=day,
        recorded_at=recorded_at or at,
        channel="CLINIC",
        method=method,
        source_id="clinic",
        context=context,
        trust=trust,
        confirmed=confirmed,
        superseded_at=superseded_at,
    )
    async with db.transaction() as session:
        session.add(row)
    return id


async def two_readings(db: Database, member: UUID, code: str, value: str, month: date) -> None:
    """On two days of a month, as PRM-18 asks for."""
    await measured(db, member, code, value, month.replace(day=5))
    await measured(db, member, code, value, month.replace(day=20))


async def closed(
    db: Database, member: UUID, month: date, percent: str | None, *, at: datetime, **left_out: int
) -> None:
    """A month as the clock records it; `left_out` are counts of tasks that were not due."""
    row: dict[str, Any] = {
        "due": 0 if percent is None else 20,
        "done": 0,
        "percent": None if percent is None else Decimal(percent),
        "paused": 0,
        "closes_at": at,
        "closed_at": at,
        "changed_at": at,
        **left_out,
    }
    async with db.transaction() as session:
        known = await session.get(ParticipationMonth, (member, month))
        if known is None:
            session.add(ParticipationMonth(member_id=member, month=month, **row))
        else:
            for name, value in row.items():
                setattr(known, name, value)


async def year_closed(db: Database, member: UUID, percent: str = "95") -> None:
    """All twelve months of the first term."""
    for number in range(12):
        month = add_months(START, number)
        at = datetime.combine(add_months(month, 1), time(), UTC)
        await closed(db, member, month, percent, at=at)


async def diagnosed(
    db: Database,
    member: UUID,
    icd10: str,
    onset_on: date | None,
    *,
    at: datetime,
    source: str = "CLINICAL",
) -> UUID:
    id = new_id(at)
    async with db.transaction() as session:
        session.add(
            ConditionVersion(
                member_id=member,
                condition_id=id,
                version=1,
                icd10=icd10,
                source=source,
                onset_on=onset_on,
                recorded_at=at,
                recorded_by=member,
            )
        )
    return id


async def renew(db: Database, *, now: datetime = END) -> int:
    return await jobs.renew_terms(db, now=now)
