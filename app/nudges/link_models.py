"""What stands in SMS and e-mails and leads back to them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlmodel import SQLModel

from app.columns import Holds, column


class MessageLink(SQLModel, table=True):
    """A token that was sent to a member, for one purpose. Only its hash is kept; the token is
    random and says nothing. Without a foreign key: a directory lies elsewhere than what it
    leads to."""

    __tablename__ = "message_links"
    __table_args__ = (
        CheckConstraint("purpose in ('CLICK', 'UNSUBSCRIBE', 'RECEIPT')", name="purpose_known"),
        CheckConstraint("channel in ('SMS', 'EMAIL')", name="channel_known"),
        Index("message_links_ending", "expires_at"),
        Index("message_links_of_member", "member_id"),
    )

    token_hash: bytes = column(bytes, Holds.SECRET, key=True)
    """SHA-256 over purpose and token, so that a token for one thing is none for another."""
    purpose: str = column(str)
    member_id: UUID = column(UUID)
    message_id: UUID = column(UUID)
    channel: str = column(str)
    created_at: datetime = column(datetime)
    expires_at: datetime = column(datetime)
