"""Consents, pauses and who may see whom. No I/O, no clock."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

PAUSE_AHEAD_MAX_DAYS = 366


class Sex(StrEnum):
    FEMALE = "FEMALE"
    MALE = "MALE"
    UNKNOWN = "UNKNOWN"


class ConsentPurpose(StrEnum):
    HEALTH_DATA = "HEALTH_DATA"
    DEVICE_DATA = "DEVICE_DATA"
    LOCATION = "LOCATION"
    FACE_CHECK = "FACE_CHECK"
    MARKETING = "MARKETING"
    HOSPITAL_SHARING = "HOSPITAL_SHARING"
    CLAIMS_DATA = "CLAIMS_DATA"


class ConsentState(StrEnum):
    """Refused and withdrawn are different facts and are never merged."""

    NOT_ASKED = "NOT_ASKED"
    GRANTED = "GRANTED"
    REFUSED = "REFUSED"
    WITHDRAWN = "WITHDRAWN"


class PauseReason(StrEnum):
    ILLNESS = "ILLNESS"
    PREGNANCY = "PREGNANCY"
    TRAVEL = "TRAVEL"
    OTHER = "OTHER"


class StaffRole(StrEnum):
    HEALTH_MANAGER = "HEALTH_MANAGER"
    CAMPAIGN_MANAGER = "CAMPAIGN_MANAGER"
    ACTUARY = "ACTUARY"
    AUDITOR = "AUDITOR"
    ADMIN = "ADMIN"
    CLINIC = "CLINIC"
    """A partner clinic: it records what it measured, and sees nobody's data."""


class SegmentCode(StrEnum):
    URBAN_EMPLOYEE = "URBAN_EMPLOYEE"
    RURAL_RESIDENT = "RURAL_RESIDENT"
    NEW_CITIZEN = "NEW_CITIZEN"
    """Riders, couriers, ride-hailing drivers."""
    ELDERLY = "ELDERLY"
    CHILD = "CHILD"
    """A guardian acts for them."""


SEES_EVERY_MEMBER = frozenset({StaffRole.ADMIN, StaffRole.AUDITOR})
"""Roles that need no assignment; each of their reads is audited like any other."""


def answer(current: ConsentState, *, granted: bool) -> ConsentState:
    """The state after an answer: a "no" is a withdrawal of what was granted before, and a
    refusal otherwise. A withdrawal stays one when it is repeated."""
    if granted:
        return ConsentState.GRANTED
    if current in (ConsentState.GRANTED, ConsentState.WITHDRAWN):
        return ConsentState.WITHDRAWN
    return ConsentState.REFUSED


@dataclass(frozen=True, slots=True)
class PausedDays:
    """Both ends included; without an end it goes on."""

    starts_on: date
    ends_on: date | None

    def covers(self, day: date) -> bool:
        return self.starts_on <= day and (self.ends_on is None or day <= self.ends_on)

    def overlaps(self, other: "PausedDays") -> bool:
        starts_before_end = other.ends_on is None or self.starts_on <= other.ends_on
        ends_after_start = self.ends_on is None or other.starts_on <= self.ends_on
        return starts_before_end and ends_after_start and not (self.is_empty or other.is_empty)

    @property
    def is_empty(self) -> bool:
        """Resumed before its first day."""
        return self.ends_on is not None and self.ends_on < self.starts_on


def paused_on(pauses: Iterable[PausedDays], day: date) -> bool:
    return any(pause.covers(day) for pause in pauses)


def pause_fault(wanted: PausedDays, *, today: date) -> str | None:
    """Which field makes a pause impossible: `startsOn`, `endsOn`, or None."""
    if not today <= wanted.starts_on <= today + timedelta(days=PAUSE_AHEAD_MAX_DAYS):
        return "startsOn"
    if wanted.is_empty:
        return "endsOn"
    return None


def resumed(pause: PausedDays, *, today: date) -> PausedDays:
    """Today is no paused day any more; a pause resumed before it began is empty."""
    return PausedDays(pause.starts_on, max(today, pause.starts_on) - timedelta(days=1))


def is_over(pause: PausedDays, *, today: date) -> bool:
    return pause.is_empty or (pause.ends_on is not None and pause.ends_on < today)


def sees_all(roles: Iterable[str]) -> bool:
    """Whether an employee may see every member."""
    return not SEES_EVERY_MEMBER.isdisjoint(roles)


def may_see(roles: Collection[str], *, assigned: bool) -> bool:
    """Whether an employee may see a member: a health manager those assigned to them."""
    return sees_all(roles) or (assigned and StaffRole.HEALTH_MANAGER in roles)


def shows_health(consent: ConsentState, *, own: bool) -> bool:
    """Whether health data is shown: to the member, and who acts for them (`own`), always; to
    anybody else while the member consents to its use."""
    return own or consent is ConsentState.GRANTED


@dataclass(frozen=True, slots=True)
class AgeRange:
    """In completed years, both ends included; None is open."""

    minimum: int | None = None
    maximum: int | None = None


def born_within(age: AgeRange, *, today: date) -> tuple[date, date]:
    """The first and last birth date of those in this range on the day `today`. Who was born
    on 29 February completes a year on 1 March where there is no such day."""
    earliest, latest = date.min, today
    if age.maximum is not None and age.maximum + 1 < today.year:
        earliest = _years_before(today, age.maximum + 1) + timedelta(days=1)
    if age.minimum is not None:
        latest = _years_before(today, age.minimum) if age.minimum < today.year else date.min
    return earliest, latest


def _years_before(day: date, years: int) -> date:
    """The last birth date of those who have completed these years."""
    try:
        return day.replace(year=day.year - years)
    except ValueError:  # 29 February in a year without one
        return date(day.year - years, 2, 28)


def day_of_age(birth_date: date, years: int) -> date:
    """The first day on which so many years are completed."""
    try:
        return birth_date.replace(year=birth_date.year + years)
    except ValueError:  # 29 February in a year without one
        return date(birth_date.year + years, 3, 1)
