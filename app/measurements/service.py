"""Recording readings: many of them in one statement."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app import civil_time
from app.ids import new_id
from app.measurements import rules
from app.measurements.catalogue import quantities
from app.measurements.models import Measurement


def clinical(readings: Iterable[tuple[str, Decimal, str]], *, at: datetime) -> list[rules.Reading]:
    """Readings of one examination: (code, value, UCUM unit)."""
    return [
        rules.Reading(code, value, unit, at, rules.Method.CLINICAL, source_id="examination")
        for code, value, unit in readings
    ]


async def record(
    session: AsyncSession,
    *,
    member_id: UUID,
    time_zone: str,
    readings: Sequence[rules.Reading],
    now: datetime,
) -> int:
    """Keep what is plausible and new; how many were. The units are the caller's to check.

    A reading of the same code, instant and source is known already.
    """
    zone = civil_time.zone(time_zone)
    rows = []
    for reading in readings:
        quantity = quantities()[reading.code]
        unit = quantity.unit(reading.unit)
        assert unit is not None, reading.unit
        if not rules.is_plausible(reading.value, unit):
            continue
        rows.append(
            {
                "member_id": member_id,
                "id": new_id(now),
                "code": reading.code,
                "value": rules.canonical(reading.value, unit),
                "unit": quantity.canonical.ucum,
                "sent_value": reading.value,
                "sent_unit": reading.unit,
                "measured_at": reading.measured_at,
                "local_date": civil_time.local_date(reading.measured_at, zone),
                "recorded_at": now,
                "method": reading.method,
                "source_id": reading.source_id,
                "context": reading.context,
                "trust": rules.trust(reading.method, has_source=bool(reading.source_id)),
            }
        )
    if not rows:
        return 0
    statement = insert(Measurement).values(rows).on_conflict_do_nothing()
    kept = await session.execute(statement.returning(col(Measurement.id)))
    return len(kept.all())
