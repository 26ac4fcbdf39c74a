"""Who lives together (MEM-10): each member's own row, and invitations by a code."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlmodel import SQLModel

from app.columns import column

_ROLE = "role in ('HOLDER', 'SPOUSE', 'CHILD', 'OTHER')"


class HouseholdMember(SQLModel, table=True):
    """A member belongs to a household from `joined_on` on, until the day before `left_on`."""

    __tablename__ = "household_members"
    __table_args__ = (
        CheckConstraint(_ROLE, name="role_known"),
        CheckConstraint("left_on >= joined_on", name="period_ordered"),
        Index(
            "household_members_now", "member_id", unique=True, postgresql_where="left_on is null"
        ),
        Index("household_members_of", "household_id"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    household_id: UUID = column(UUID)
    role: str = column(str)
    joined_on: date = column(date)
    left_on: date | None = column(date, null=True)
    joined_at: datetime = column(datetime)


class HouseholdInvitation(SQLModel, table=True):
    """Whoever has the code joins the household of the member who made it, once."""

    __tablename__ = "household_invitations"
    __table_args__ = (CheckConstraint(_ROLE, name="role_known"),)

    code_hash: bytes = column(bytes, key=True)
    """SHA-256 of 80 random bits, which say nothing of the code."""
    member_id: UUID = column(UUID)
    household_id: UUID = column(UUID)
    role: str = column(str)
    """Of who joins."""
    made_at: datetime = column(datetime)
    expires_at: datetime = column(datetime)
    used_by: UUID | None = column(UUID, null=True)
