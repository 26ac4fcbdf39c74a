"""What connects members to gateways, and the events that wait to be read."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlmodel import SQLModel

from app.columns import Holds, column


class LinkState(StrEnum):
    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"


class EventState(StrEnum):
    WAITING = "WAITING"
    DONE = "DONE"
    IGNORED = "IGNORED"
    """It came to late: the member disconnected, or does not consent any more."""


def _one_of(name: str, values: type[StrEnum]) -> CheckConstraint:
    known = ", ".join(f"'{it.value}'" for it in values)
    return CheckConstraint(f"{name} in ({known})", name=f"{name}_known")


class GatewayUser(SQLModel, table=True):
    """Which member a gateway's user is. Without a foreign key, as every directory."""

    __tablename__ = "gateway_users"
    __table_args__ = (Index("gateway_users_of_member", "member_id"),)

    gateway: str = column(str, key=True)
    user_id: str = column(str, key=True)
    member_id: UUID = column(UUID)
    linked_at: datetime = column(datetime)


class GatewayLink(SQLModel, table=True):
    """Whether a gateway may send what one provider measures of a member."""

    __tablename__ = "gateway_links"
    __table_args__ = (_one_of("state", LinkState),)

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    gateway: str = column(str, key=True)
    user_id: str = column(str, key=True)
    provider: str = column(str, key=True)
    state: str = column(str)
    changed_at: datetime = column(datetime)
    """When the gateway says that it became so: what is older changes nothing."""


class GatewayEvent(SQLModel, table=True):
    """An event as it was sent. What it held is kept only until it was read; that it came, for
    as long as somebody might send it again."""

    __tablename__ = "gateway_events"
    __table_args__ = (
        _one_of("state", EventState),
        CheckConstraint("(state = 'WAITING') = (body is not null)", name="body_while_waiting"),
        Index("gateway_events_received", "received_at"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    gateway: str = column(str, key=True)
    id: str = column(str, key=True)
    type: str = column(str)
    user_id: str = column(str)
    provider: str = column(str)
    received_at: datetime = column(datetime)
    body: bytes | None = column(bytes, Holds.HEALTH, null=True)
    state: str = column(str)
    outcome: dict[str, Any] | None = column(dict, null=True)
    """How many were new, known and rejected, and why."""
