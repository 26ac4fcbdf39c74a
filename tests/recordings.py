"""Members who may record, and how they do; for the tests of measurements and of what follows."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from app.db import Database
from app.graphql.context import Context
from tests.factories import NOON, as_member, consent, execute, make_member, operation

DAY = NOON.date().isoformat()


async def make_recorder(db: Database, *, now: datetime = NOON, **options: Any) -> UUID:
    """A member who consents to the use of health data and of what their devices measure."""
    member_id = await make_member(db, now=now, **options)
    await allow_devices(db, member_id, now=now)
    return member_id


async def allow_devices(db: Database, member_id: UUID, *, now: datetime = NOON) -> None:
    async with db.transaction() as session:
        session.add(consent(member_id, "DEVICE_DATA", "GRANTED", now=now))


def reading(value: str = "70", unit: str = "kg", code: str = "WEIGHT", **changes: Any) -> dict:
    """One as a phone sends it."""
    sent = {
        "code": code,
        "value": value,
        "unit": unit,
        "measuredAt": NOON.isoformat(),
        "sourceId": "scale",
        "method": "SENSED",
    }
    return sent | changes


def pressure(systolic: str, diastolic: str, **changes: Any) -> list[dict]:
    both = (("SYSTOLIC_BP", systolic), ("DIASTOLIC_BP", diastolic))
    return [reading(value, "mm[Hg]", code, sourceId="cuff", **changes) for code, value in both]


def total(value: str = "5000", source: str = "phone", **changes: Any) -> dict:
    sent = {
        "code": "STEPS",
        "localDate": DAY,
        "value": value,
        "unit": "{steps}",
        "sourceId": source,
    }
    return sent | changes


async def record(
    db: Database,
    member_id: UUID,
    *readings: dict,
    request_id: UUID | None = None,
    now: datetime = NOON,
    context: Context | None = None,
) -> dict[str, Any]:
    """The payload of `recordMeasurements`."""
    sent = {"requestId": str(request_id or uuid4()), "measurements": list(readings)}
    asked_by = context or as_member(db, member_id, now=now)
    data = await execute(operation("RecordMeasurements"), {"input": sent}, context=asked_by)
    return data["recordMeasurements"]


async def record_totals(
    db: Database,
    member_id: UUID,
    *totals: dict,
    request_id: UUID | None = None,
    now: datetime = NOON,
    context: Context | None = None,
) -> dict[str, Any]:
    """The payload of `recordDailyTotals`."""
    sent = {"requestId": str(request_id or uuid4()), "totals": list(totals)}
    asked_by = context or as_member(db, member_id, now=now)
    data = await execute(operation("RecordDailyTotals"), {"input": sent}, context=asked_by)
    return data["recordDailyTotals"]


async def rows(db: Database, sql: str, **parameters: Any) -> list[tuple]:
    async with db.read() as connection:
        return [tuple(row) for row in await connection.execute(text(sql), parameters)]


def codes(payload: dict[str, Any]) -> list[tuple[int, str]]:
    """Place and code of what was rejected."""
    return [(it["index"], it["code"]) for it in payload["rejected"]]
