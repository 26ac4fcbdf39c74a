"""What members and clinicians have said: answers, conditions, medications.

Nothing is edited: a later answer or version stands in front of the earlier ones, which stay
with when they were recorded, so that any past decision can be recomputed as it was known then.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, UniqueConstraint
from sqlmodel import SQLModel

from app.columns import Holds, column
from app.records.health import Source


def _one_of(name: str, values: type[StrEnum]) -> str:
    return f"{name} in ({', '.join(repr(value.value) for value in values)})"


class QuestionnaireVersion(SQLModel, table=True):
    """A questionnaire as it was published; never changed."""

    __tablename__ = "questionnaires"

    code: str = column(str, key=True)
    version: str = column(str, key=True)
    hash: bytes = column(bytes)
    definition: dict[str, Any] = column(dict)


class QuestionnaireResponse(SQLModel, table=True):
    """All answers to one questionnaire at one time. Append-only: the highest `place` of a code
    is in force."""

    __tablename__ = "questionnaire_responses"
    __table_args__ = (
        ForeignKeyConstraint(["member_id"], ["members.member_id"]),
        ForeignKeyConstraint(
            ["code", "version"], ["questionnaires.code", "questionnaires.version"]
        ),
        UniqueConstraint("member_id", "code", "place"),
        CheckConstraint("place > 0", name="place_positive"),
    )

    member_id: UUID = column(UUID, key=True)
    id: UUID = column(UUID, key=True)
    code: str = column(str)
    version: str = column(str)
    place: int = column(int)
    """1 for the first answer to this code, one more for each later one."""
    answers: dict[str, Any] = column(dict, Holds.HEALTH)
    """Item to its values, as texts."""
    scores: dict[str, Any] = column(dict, Holds.HEALTH)
    """Score to `[value, band]`."""
    answered_at: datetime = column(datetime)
    answered_by: UUID = column(UUID)
    """The member, or the guardian who acted."""


class ConditionVersion(SQLModel, table=True):
    """What is known of a diagnosis. Append-only: the highest `version` of a condition is in
    force."""

    __tablename__ = "conditions"
    __table_args__ = (
        ForeignKeyConstraint(["member_id"], ["members.member_id"]),
        CheckConstraint(_one_of("source", Source), name="source_known"),
        CheckConstraint("version > 0", name="version_positive"),
        CheckConstraint("abated_on >= onset_on", name="abated_after_onset"),
    )

    member_id: UUID = column(UUID, key=True)
    condition_id: UUID = column(UUID, key=True)
    version: int = column(int, key=True)
    icd10: str = column(str, Holds.HEALTH)
    label: str | None = column(str, Holds.FREE_TEXT, null=True)
    """In the words of whoever recorded it."""
    source: str = column(str)
    onset_on: date | None = column(date, Holds.HEALTH, null=True)
    """First day; null when nobody knows."""
    abated_on: date | None = column(date, Holds.HEALTH, null=True)
    """Last day; null while it goes on."""
    retracted: bool = column(bool, default=False)
    """Recorded by mistake: it never was so."""
    recorded_at: datetime = column(datetime)
    recorded_by: UUID = column(UUID)
    """The member, guardian or employee; of an import, the member."""


class MedicationVersion(SQLModel, table=True):
    """What somebody takes, how much and when. Append-only, as conditions are."""

    __tablename__ = "medications"
    __table_args__ = (
        ForeignKeyConstraint(["member_id"], ["members.member_id"]),
        CheckConstraint(_one_of("source", Source), name="source_known"),
        CheckConstraint("version > 0", name="version_positive"),
        CheckConstraint("ends_on >= starts_on - 1", name="period_ordered"),
    )

    member_id: UUID = column(UUID, key=True)
    medication_id: UUID = column(UUID, key=True)
    version: int = column(int, key=True)
    name: str = column(str, Holds.FREE_TEXT)
    atc: str | None = column(str, Holds.HEALTH, null=True)
    """WHO ATC code."""
    dose: str = column(str, Holds.FREE_TEXT)
    times: list[str] = column(list, Holds.HEALTH)
    """When in the member's local day it is taken, `HH:MM` in order; empty: when needed."""
    remind: bool = column(bool)
    """Whether each time has a daily reminder."""
    source: str = column(str)
    starts_on: date = column(date, Holds.HEALTH)
    ends_on: date | None = column(date, Holds.HEALTH, null=True)
    """Last day; null while it goes on; the day before `starts_on` when never taken."""
    recorded_at: datetime = column(datetime)
    recorded_by: UUID = column(UUID)
