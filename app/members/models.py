"""Members, employees, who may act for whom, consents and pauses."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlmodel import SQLModel

from app.columns import Holds, column


class Member(SQLModel, table=True):
    """Who somebody is. Every other table knows the opaque `member_id` only."""

    __tablename__ = "members"
    __table_args__ = (
        CheckConstraint("sex in ('FEMALE', 'MALE', 'UNKNOWN')", name="sex_known"),
        # In which zones there are members at all.
        Index("members_of_zone", "time_zone"),
        # Whose number an answer to an SMS comes from.
        Index("members_of_phone", "phone", postgresql_where="phone is not null"),
    )

    member_id: UUID = column(UUID, key=True)
    display_name: str = column(str, Holds.IDENTITY)
    birth_date: date = column(date, Holds.IDENTITY)
    sex: str = column(str, Holds.IDENTITY)
    phone: str | None = column(str, Holds.IDENTITY, null=True)
    """E.164."""
    phone_dead_at: datetime | None = column(datetime, null=True)
    """Since when an SMS to this number is refused for good; a changed one is tried again."""
    phone_verified_at: datetime | None = column(datetime, null=True)
    """Since when it is known to be the member's; before that only the code is sent there."""
    email: str | None = column(str, Holds.IDENTITY, null=True)
    email_dead_at: datetime | None = column(datetime, null=True)
    email_verified_at: datetime | None = column(datetime, null=True)
    time_zone: str = column(str)
    """IANA name. It decides the local day of whatever arrives from now on."""
    locale: str = column(str)
    """BCP 47."""
    region: str | None = column(str, Holds.IDENTITY, null=True)
    """ISO 3166-2, as `CN-31`."""
    occupation: str | None = column(str, Holds.IDENTITY, null=True)
    """Of `dimensions.yaml`, as are the next two; null when it is not known."""
    income_band: str | None = column(str, Holds.IDENTITY, null=True)
    residence: str | None = column(str, Holds.IDENTITY, null=True)
    created_at: datetime = column(datetime)
    erased_at: datetime | None = column(datetime, null=True)


class MemberSignIn(SQLModel, table=True):
    """Which member a verified (issuer, subject) is. Without a foreign key: a directory lies
    elsewhere than the members that it leads to."""

    __tablename__ = "member_sign_ins"
    __table_args__ = (Index("member_sign_ins_of_member", "member_id"),)

    issuer: str = column(str, Holds.IDENTITY, key=True)
    subject: str = column(str, Holds.IDENTITY, key=True)
    member_id: UUID = column(UUID)
    login: str = column(str, Holds.IDENTITY)
    """The name staff search by."""


class Employee(SQLModel, table=True):
    """Somebody who works with members; roles decide what they see."""

    __tablename__ = "staff"

    staff_id: UUID = column(UUID, key=True)
    display_name: str = column(str, Holds.IDENTITY)
    roles: list[str] = column(list)
    locale: str = column(str)
    active: bool = column(bool, default=True)
    created_at: datetime = column(datetime)


class StaffSignIn(SQLModel, table=True):
    __tablename__ = "staff_sign_ins"

    issuer: str = column(str, Holds.IDENTITY, key=True)
    subject: str = column(str, Holds.IDENTITY, key=True)
    staff_id: UUID = column(UUID, foreign_key="staff.staff_id")


class ClinicKey(SQLModel, table=True):
    """What a partner clinic signs in with. Of its secret, 256 random bits, only the hash is
    kept. The clinic itself stands in `staff`, with the role CLINIC."""

    __tablename__ = "clinic_keys"

    key_id: UUID = column(UUID, key=True)
    staff_id: UUID = column(UUID, foreign_key="staff.staff_id")
    secret_hash: bytes = column(bytes, Holds.SECRET)
    """SHA-256."""
    issued_at: datetime = column(datetime)
    revoked_at: datetime | None = column(datetime, null=True)


class CareAssignment(SQLModel, table=True):
    """An employee looks after a member, in one role, until `ended_at`."""

    __tablename__ = "care_assignments"
    __table_args__ = (
        Index(
            "care_assignments_of_staff",
            "staff_id",
            "member_id",
            postgresql_where="ended_at is null",
        ),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    staff_id: UUID = column(UUID, key=True)
    role: str = column(str, key=True)
    """HEALTH_MANAGER; dietitian and coach come with service entitlements."""
    assigned_at: datetime = column(datetime)
    ended_at: datetime | None = column(datetime, null=True)


class Guardianship(SQLModel, table=True):
    """A guardian acts for a child (`member_id`), with the guardian's consent (MEM-11)."""

    __tablename__ = "guardianships"
    __table_args__ = (CheckConstraint("member_id <> guardian_id", name="not_of_oneself"),)

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    guardian_id: UUID = column(UUID, key=True)
    consented_at: datetime = column(datetime)
    ended_at: datetime | None = column(datetime, null=True)


class ConsentRecord(SQLModel, table=True):
    """One answer to one text (CON-1). Append-only: the latest `version` is in force, and
    no row at all means never asked."""

    __tablename__ = "consents"
    __table_args__ = (
        CheckConstraint("state in ('GRANTED', 'REFUSED', 'WITHDRAWN')", name="state_known"),
        Index("consents_recorded", "recorded_at"),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    purpose: str = column(str, key=True)
    version: int = column(int, key=True)
    """1 for the first answer, one more for each later one: two rivals cannot both be next."""
    state: str = column(str)
    text_version: str = column(str)
    recorded_at: datetime = column(datetime)
    recorded_by: UUID = column(UUID)
    """The member, or the guardian who acted."""


class Pause(SQLModel, table=True):
    """Streaks, penalties and nudges stop from `starts_on` to `ends_on`, both included
    (CON-2). Resuming shortens it; `resumed_at` keeps that this happened."""

    __tablename__ = "pauses"
    __table_args__ = (
        CheckConstraint("ends_on is null or ends_on >= starts_on - 1", name="period_ordered"),
        CheckConstraint(
            "reason in ('ILLNESS', 'PREGNANCY', 'TRAVEL', 'OTHER')", name="reason_known"
        ),
    )

    member_id: UUID = column(UUID, key=True, foreign_key="members.member_id")
    id: UUID = column(UUID, key=True)
    reason: str = column(str, Holds.HEALTH)
    starts_on: date = column(date)
    ends_on: date | None = column(date, null=True)
    """Null until resumed; the day before `starts_on` when resumed before it began."""
    created_at: datetime = column(datetime)
    resumed_at: datetime | None = column(datetime, null=True)


class Request(SQLModel, table=True):
    """A request that had an effect. Written with the effect; refusals are not stored."""

    __tablename__ = "requests"
    __table_args__ = (Index("requests_by_time", "created_at", postgresql_using="brin"),)

    owner: UUID = column(UUID, key=True)
    """The member or employee for whom it was made."""
    request_id: UUID = column(UUID, key=True)
    operation: str = column(str)
    input_hash: bytes = column(bytes)
    result: UUID = column(UUID)
    """Key of what it made or changed."""
    created_at: datetime = column(datetime)


class AuditRead(SQLModel, table=True):
    """An employee has read a member's data. Append-only; a read that cannot be written
    down does not happen."""

    __tablename__ = "audit_reads"
    __table_args__ = (Index("audit_reads_of_staff", "staff_id", "read_at"),)

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    staff_id: UUID = column(UUID)
    operation: str = column(str)
    request_id: str = column(str)
    read_at: datetime = column(datetime)
