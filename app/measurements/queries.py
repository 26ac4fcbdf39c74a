"""Readings as they are shown: the ones in force, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, func, select, true, tuple_
from sqlalchemy import column as sql_column
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.measurements.models import Measurement
from app.members.models import ConsentRecord
from app.members.rules import ConsentPurpose, ConsentState


def consents(member_id: Any) -> Any:
    """Whether the consent to the use of health data is in force."""
    latest = (
        select(col(ConsentRecord.state))
        .where(
            col(ConsentRecord.member_id) == member_id,
            col(ConsentRecord.purpose) == ConsentPurpose.HEALTH_DATA,
        )
        .order_by(col(ConsentRecord.version).desc())
        .limit(1)
        .scalar_subquery()
    )
    return latest == ConsentState.GRANTED


@dataclass(frozen=True, slots=True)
class Wanted:
    code: str
    since: datetime | None
    """The first instant, included."""


async def newest(
    connection: AsyncConnection,
    member_ids: Sequence[UUID],
    wanted: Wanted,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
    consented_only: bool,
) -> Sequence[Any]:
    """The newest `limit` readings of each member, after a key; with one statement.

    `consented_only` leaves out members who do not consent to the use of health data.
    """
    wanted_ids = bindparam("member_ids", list(member_ids), ARRAY(Uuid))
    members = (
        func.unnest(wanted_ids)
        .table_valued(sql_column("member_id", Uuid), name="members")
        .render_derived()
    )
    readings = select(Measurement).where(
        col(Measurement.member_id) == members.c.member_id,
        col(Measurement.code) == wanted.code,
        col(Measurement.superseded_at).is_(None),
    )
    if consented_only:
        readings = readings.where(consents(col(Measurement.member_id)))
    if wanted.since is not None:
        readings = readings.where(col(Measurement.measured_at) >= wanted.since)
    if after is not None:
        key = tuple_(col(Measurement.measured_at), col(Measurement.id))
        readings = readings.where(key < tuple_(*after))
    found = (
        readings.order_by(col(Measurement.measured_at).desc(), col(Measurement.id).desc())
        .limit(limit)
        .lateral("found")
    )
    statement = (
        select(found)
        .select_from(members.join(found, true()))
        .order_by(found.c.measured_at.desc(), found.c.id.desc())
    )
    return (await connection.execute(statement)).all()


async def measurement(
    connection: AsyncConnection, member_id: UUID, id: UUID, *, consented_only: bool
) -> Any:
    """The row, also one that was superseded; None when there is none."""
    statement = select(Measurement).where(
        col(Measurement.member_id) == member_id, col(Measurement.id) == id
    )
    if consented_only:
        statement = statement.where(consents(col(Measurement.member_id)))
    return (await connection.execute(statement)).one_or_none()


async def measurements(
    connection: AsyncConnection, member_id: UUID, ids: Sequence[UUID]
) -> Sequence[Any]:
    """Rows of one member by id, in this order; no question of consent: for who has just
    recorded them."""
    if not ids:
        return []
    statement = select(Measurement).where(
        col(Measurement.member_id) == member_id, col(Measurement.id).in_(ids)
    )
    found = {row.id: row for row in await connection.execute(statement)}
    return [found[id] for id in ids if id in found]
