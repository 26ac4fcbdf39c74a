"""Codes by which members prove that an address is theirs."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlmodel import SQLModel

from app.columns import Holds, column


class ContactChallenge(SQLModel, table=True):
    """A code that was, or is to be, sent to a number or address. Of a member and contact the
    newest counts."""

    __tablename__ = "contact_challenges"
    __table_args__ = (
        CheckConstraint("contact in ('PHONE', 'EMAIL')", name="contact_known"),
        CheckConstraint("attempts >= 0", name="attempts_counted"),
        Index("contact_challenges_of_address", "address_hash", "requested_at"),
        Index("contact_challenges_by_time", "requested_at"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    contact: str = column(str)
    address_hash: bytes = column(bytes, Holds.SECRET)
    """SHA-256 of the number or address, so that codes to one address are counted over all
    members."""
    code_hash: bytes | None = column(bytes, Holds.SECRET, null=True)
    """SHA-256 of the id and the code; null until it is about to be sent."""
    requested_at: datetime = column(datetime)
    expires_at: datetime = column(datetime)
    attempts: int = column(int, default=0)
    """Wrong codes that were given."""
    outcome: str | None = column(str, null=True)
    """How the sending ended, as `PushOutcome`; null before."""
    confirmed_at: datetime | None = column(datetime, null=True)
