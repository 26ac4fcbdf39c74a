"""The register of devices, their loans, and what connects a member's devices to us."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import Holds, column
from app.measurements.devices_rules import (
    ConnectionState,
    DeviceKind,
    DeviceOwner,
    DeviceState,
    LoanEnd,
)


def one_of(name: str, values: type[StrEnum]) -> str:
    return f"{name} in ({', '.join(repr(value.value) for value in values)})"


class Device(SQLModel, table=True):
    """A device of the register, and the member who has it: at most one, because it is this
    column, and whoever lends it locks the row."""

    __tablename__ = "devices"
    __table_args__ = (
        UniqueConstraint("serial"),
        CheckConstraint(one_of("kind", DeviceKind), name="kind_known"),
        CheckConstraint(one_of("owner", DeviceOwner), name="owner_known"),
        CheckConstraint(one_of("state", DeviceState), name="state_known"),
        CheckConstraint(
            "(state = 'WITH_MEMBER') = (member_id is not null)"
            " and (member_id is null) = (loan_id is null)",
            name="held_whole",
        ),
        Index("devices_of_member", "member_id", postgresql_where="member_id is not null"),
    )

    id: UUID = column(UUID, key=True)
    serial: str = column(str)
    """As its readings name their source."""
    kind: str = column(str)
    model: str = column(str)
    owner: str = column(str)
    state: str = column(str)
    member_id: UUID | None = column(UUID, null=True)
    loan_id: UUID | None = column(UUID, null=True)
    registered_at: datetime = column(datetime)
    registered_by: UUID = column(UUID)


class DeviceLoan(SQLModel, table=True):
    """A member has, or had, a device: lent by the programme or their own."""

    __tablename__ = "device_loans"
    __table_args__ = (
        CheckConstraint(one_of("outcome", LoanEnd), name="outcome_known"),
        CheckConstraint("num_nulls(ended_at, outcome, ended_by) in (0, 3)", name="ended_whole"),
        CheckConstraint("ended_at >= lent_at", name="period_ordered"),
        Index("device_loans_of_device", "device_id"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    device_id: UUID = column(UUID)
    lent_at: datetime = column(datetime)
    lent_by: UUID = column(UUID)
    ended_at: datetime | None = column(datetime, null=True)
    ended_by: UUID | None = column(UUID, null=True)
    outcome: str | None = column(str, null=True)
    note: str | None = column(str, Holds.FREE_TEXT, null=True)


class Connection(SQLModel, table=True):
    """A source from which a member's data arrives, or is expected to."""

    __tablename__ = "connections"
    __table_args__ = (
        UniqueConstraint("member_id", "source_id"),
        CheckConstraint(one_of("kind", DeviceKind), name="kind_known"),
        CheckConstraint(one_of("state", ConnectionState), name="state_known"),
        CheckConstraint(
            "(state = 'DISCONNECTED') = (disconnected_at is not null)", name="disconnected_whole"
        ),
        CheckConstraint("silent_after_days between 1 and 366", name="silent_after_days_in_range"),
        Index("connections_silent_at", "silent_at", postgresql_where="state = 'CONNECTED'"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    source_id: str = column(str)
    kind: str = column(str)
    device_id: UUID | None = column(UUID, null=True)
    """In the register; null for an app, or a device that nobody has registered."""
    state: str = column(str)
    connected_at: datetime = column(datetime)
    synced_at: datetime | None = column(datetime, null=True)
    days_heard: int = column(int)
    """On how many days (UTC) it has synced."""
    silent_after_days: int = column(int)
    silent_at: datetime | None = column(datetime, null=True)
    """When it counts as silent unless it syncs before; null: it is not expected to sync."""
    disconnected_at: datetime | None = column(datetime, null=True)


class DeviceSilence(SQLModel, table=True):
    """A connection was silent, from its last sync to the next."""

    __tablename__ = "device_silences"
    __table_args__ = (
        ForeignKeyConstraint(
            ["member_id", "connection_id"], ["connections.member_id", "connections.id"]
        ),
        UniqueConstraint("member_id", "connection_id", "silent_from"),
        CheckConstraint("ended_at >= silent_from", name="period_ordered"),
        Index("device_silences_open", "member_id", postgresql_where="ended_at is null"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    connection_id: UUID = column(UUID)
    silent_from: datetime = column(datetime)
    """When it last synced."""
    found_at: datetime = column(datetime)
    ended_at: datetime | None = column(datetime, null=True)
