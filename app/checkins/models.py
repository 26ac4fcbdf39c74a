"""What proves a check-in: photos, coarse places, and the devices that it came from."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Numeric
from sqlmodel import Field, SQLModel

from app.checkins.images import MediaType
from app.columns import Holds, column

_MEDIA_TYPES = ", ".join(f"'{it}'" for it in MediaType)


def _degrees() -> Any:
    """Two decimals: about a kilometre."""
    return Field(
        default=None,
        sa_type=Numeric(5, 2),
        nullable=True,
        sa_column_kwargs={"info": {"class": Holds.HEALTH}},
    )


class Photo(SQLModel, table=True):
    """An uploaded photo; the picture itself is in the storage, under the id's 32 digits. One
    that no check-in uses is deleted after some days."""

    __tablename__ = "photos"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "check_in_id"], ["checkins.member_id", "checkins.id"]),
        CheckConstraint(f"media_type in ({_MEDIA_TYPES})", name="media_type_known"),
        CheckConstraint("width > 0 and height > 0 and size_bytes > 0", name="sizes_positive"),
        Index("photos_unused", "uploaded_at", postgresql_where="check_in_id is null"),
        # Who is the first with a picture once the first is forgotten; whose a file is.
        Index("photos_of_picture", "sha256", "uploaded_at"),
        Index("photos_of_file", "id"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    """Random, so that nobody finds it by guessing."""
    media_type: str = column(str)
    width: int = column(int)
    height: int = column(int)
    size_bytes: int = column(int)
    sha256: bytes = column(bytes)
    """Of the picture as it is kept."""
    seen_before: bool = column(bool)
    """The same picture was uploaded before, by this member or another."""
    uploaded_at: datetime = column(datetime)
    check_in_id: UUID | None = column(UUID, null=True)
    """The first that used it."""


class PhotoHash(SQLModel, table=True):
    """Who was the first to upload a picture, of the photos that are kept."""

    __tablename__ = "photo_hashes"

    sha256: bytes = column(bytes, key=True)
    member_id: UUID = column(UUID)
    photo_id: UUID = column(UUID)


class DeviceOwner(SQLModel, table=True):
    """Who acts on an installation of the app. It becomes somebody else's when its owner has
    not been seen on it for a while."""

    __tablename__ = "device_owners"

    installation_id: UUID = column(UUID, key=True)
    member_id: UUID = column(UUID)
    seen_at: datetime = column(datetime)
    """About when the owner was last seen; not written at each check-in."""


class CheckInEvidence(SQLModel, table=True):
    """What came with a check-in; no row when nothing did. Append-only."""

    __tablename__ = "check_in_evidence"
    __table_args__ = (
        ForeignKeyConstraint(["member_id", "check_in_id"], ["checkins.member_id", "checkins.id"]),
        ForeignKeyConstraint(["member_id", "photo_id"], ["photos.member_id", "photos.id"]),
        CheckConstraint("(latitude is null) = (longitude is null)", name="place_whole"),
    )

    member_id: UUID = column(UUID, key=True)
    check_in_id: UUID = column(UUID, key=True)
    photo_id: UUID | None = column(UUID, null=True)
    latitude: Decimal | None = _degrees()
    longitude: Decimal | None = _degrees()
    place_code: str | None = column(str, Holds.HEALTH, null=True)
    """Of the task's places: where it was."""
    installation_id: UUID | None = column(UUID, null=True)
