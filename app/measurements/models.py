"""Readings with their provenance, aggregates of streams, and running totals of days.

A reading or a total is never edited: a correction is a new version, and the older one stays
with when it was known, from `recorded_at` until before `superseded_at`.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import Holds, column
from app.measurements.kinds import Channel, Method, TrustGrade


def _one_of(name: str, values: type) -> CheckConstraint:
    known = ", ".join(f"'{it}'" for it in values)  # type: ignore[attr-defined]
    return CheckConstraint(f"{name} in ({known})", name=f"{name}_known")


class Measurement(SQLModel, table=True):
    """One version of one reading, as it was sent and in the canonical unit of its code. The two
    halves of a blood pressure have one instant and one source."""

    __tablename__ = "measurements"
    __table_args__ = (
        _one_of("method", Method),
        _one_of("trust", TrustGrade),
        _one_of("channel", Channel),
        # In force: one of each code, instant and source. It also finds the newest.
        Index(
            "measurements_in_force",
            "member_id",
            "code",
            "measured_at",
            "source_id",
            unique=True,
            postgresql_where="superseded_at is null",
        ),
        Index(
            "measurements_superseded",
            "member_id",
            "code",
            "measured_at",
            postgresql_where="superseded_at is not null",
        ),
        Index(
            "measurements_retracted",
            "member_id",
            "code",
            "measured_at",
            "source_id",
            postgresql_where="retracted",
        ),
    )

    member_id: UUID = column(UUID, key=True)
    """Without a foreign key: whoever records holds the member's row locked, and to look it up
    again for each reading took 40 % of the time of an insert."""
    id: UUID = column(UUID, key=True)
    code: str = column(str, Holds.HEALTH)
    value: Decimal = column(Decimal, Holds.HEALTH)
    """In `unit`, the canonical one of the code."""
    unit: str = column(str)
    sent_value: str = column(str, Holds.HEALTH)
    """Exactly as it came, in `sent_unit`."""
    sent_unit: str = column(str)
    measured_at: datetime = column(datetime)
    local_date: date = column(date)
    """The member's local day, fixed when the reading arrived; its later versions keep it."""
    recorded_at: datetime = column(datetime)
    recorded_by: UUID | None = column(UUID, null=True)
    """The member, the guardian who acted, the employee or the clinic; null for the programme."""
    channel: str = column(str, older_rows="'EXAMINATION'")
    method: str = column(str)
    source_id: str = column(str)
    """What measured it; empty when it was not said."""
    app: str | None = column(str, null=True)
    """What sent it."""
    context: str | None = column(str, Holds.HEALTH, null=True)
    trust: str = column(str)
    confirmed: bool | None = column(bool, Holds.HEALTH, null=True)
    """Of an extreme reading: whether it was confirmed. Null for any other."""
    supersedes: UUID | None = column(UUID, null=True)
    """The version before this one."""
    superseded_at: datetime | None = column(datetime, null=True)
    """When a later version replaced it; what was decided before then knew this one."""
    retracted: bool = column(bool, default=False, older_rows="false")
    """The member said that it was wrong: the same value sent again is not new."""


class MeasurementStream(SQLModel, table=True):
    """What a sensor sent in a quarter of an hour: a sensor that sends every second would be
    thirty million rows a year and member."""

    __tablename__ = "measurement_streams"
    __table_args__ = (
        _one_of("trust", TrustGrade),
        CheckConstraint("n > 0", name="n_positive"),
        CheckConstraint("minimum <= maximum", name="range_ordered"),
        CheckConstraint("octet_length(seconds) = 113", name="seconds_whole"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    code: str = column(str, Holds.HEALTH, key=True)
    starts_at: datetime = column(datetime, key=True)
    """A quarter of an hour, in every zone."""
    source_id: str = column(str, key=True)
    local_date: date = column(date)
    """The member's local day, fixed when the first value arrived."""
    unit: str = column(str)
    n: int = column(int)
    minimum: Decimal = column(Decimal, Holds.HEALTH)
    maximum: Decimal = column(Decimal, Holds.HEALTH)
    total: Decimal = column(Decimal, Holds.HEALTH)
    """The mean is `total / n`."""
    seconds: bytes = column(bytes)
    """A bit for each of the 900 seconds that has been counted, so that what is sent again
    counts once."""
    trust: str = column(str)
    recorded_at: datetime = column(datetime)
    changed_at: datetime = column(datetime)


class DailyTotal(SQLModel, table=True):
    """One version of what one source counted on one local day."""

    __tablename__ = "daily_totals"
    __table_args__ = (
        _one_of("method", Method),
        _one_of("trust", TrustGrade),
        _one_of("channel", Channel),
        CheckConstraint("value >= 0", name="value_not_negative"),
        Index(
            "daily_totals_in_force",
            "member_id",
            "code",
            "local_date",
            "source_id",
            unique=True,
            postgresql_where="superseded_at is null",
        ),
        Index(
            "daily_totals_superseded",
            "member_id",
            "code",
            "local_date",
            postgresql_where="superseded_at is not null",
        ),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    code: str = column(str, Holds.HEALTH)
    local_date: date = column(date)
    """As the phone lived it."""
    source_id: str = column(str)
    value: Decimal = column(Decimal, Holds.HEALTH)
    """In `unit`, the canonical one of the code."""
    unit: str = column(str)
    sent_value: str = column(str, Holds.HEALTH)
    sent_unit: str = column(str)
    intervals: list[Any] | None = column(dict, Holds.HEALTH, null=True)
    """Of a day in which the source says when it counted what: [start, end, value], the instants
    in milliseconds since 1970, the value in `unit` as text."""
    method: str = column(str)
    trust: str = column(str)
    channel: str = column(str)
    app: str | None = column(str, null=True)
    recorded_at: datetime = column(datetime)
    recorded_by: UUID | None = column(UUID, null=True)
    supersedes: UUID | None = column(UUID, null=True)
    superseded_at: datetime | None = column(datetime, null=True)
    said_at: datetime | None = column(datetime, null=True)
    """When the event of a gateway that says so came: what came earlier does not replace it."""


class DailyTotalDay(SQLModel, table=True):
    """What all sources together counted on one local day (see `union.py`): a projection of the
    totals in force, with an id that stays."""

    __tablename__ = "daily_total_days"
    __table_args__ = (UniqueConstraint("member_id", "code", "local_date"),)

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    code: str = column(str, Holds.HEALTH)
    local_date: date = column(date)
    value: Decimal = column(Decimal, Holds.HEALTH)
    unit: str = column(str)
    trusted_value: Decimal | None = column(Decimal, Holds.HEALTH, null=True)
    """The same over those sources only that are trusted MEDIUM or HIGH; null without one."""
    changed_at: datetime = column(datetime)
