"""What may be written into the worklist, and until when. No I/O, no clock."""

from datetime import datetime, timedelta
from enum import StrEnum

PRIORITY_MAX = 100
PRIORITY_OF_FOLLOW_UP = 50
DUE_AHEAD_MAX = timedelta(days=366)
SNOOZE_MAX = timedelta(days=90)
REASON_LENGTH_MAX = 500
NOTE_LENGTH_MAX = 2_000


class WorklistItemKind(StrEnum):
    ALERT = "ALERT"
    DEVICE_SILENT = "DEVICE_SILENT"
    REVIEW = "REVIEW"
    APPEAL = "APPEAL"
    RISK_CONTESTED = "RISK_CONTESTED"
    RECHECK_DUE = "RECHECK_DUE"
    EXAMINATION_DUE = "EXAMINATION_DUE"
    FOLLOW_UP = "FOLLOW_UP"
    FULFILMENT = "FULFILMENT"
    UNDERWRITING = "UNDERWRITING"
    """Somebody has applied for cover, and a person decides."""
    PAYMENT = "PAYMENT"
    """A premium was not paid, or money came that nobody asked for."""
    OUTREACH = "OUTREACH"
    """Phone call, home visit or broadcast for people without the app."""


class EventKind(StrEnum):
    OPENED = "OPENED"
    NOTED = "NOTED"
    SNOOZED = "SNOOZED"
    DONE = "DONE"
    HANDED_OVER = "HANDED_OVER"
    SETTLED = "SETTLED"


class ReviewKind(StrEnum):
    """What somebody decides about."""

    CHECK_IN = "CHECK_IN"
    APPEAL = "APPEAL"
    """A member contests an entry of their points, or that a check-in was rejected."""
    RISK = "RISK"
    """A member contests their risk tier."""


class ReviewState(StrEnum):
    OPEN = "OPEN"
    AWAITING_SECOND_PERSON = "AWAITING_SECOND_PERSON"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


class Decision(StrEnum):
    ACCEPT = "ACCEPT"
    REJECT = "REJECT"


class ClosedReason(StrEnum):
    DONE = "DONE"
    """By an employee."""
    SETTLED = "SETTLED"
    """By the programme: there is nothing left to do."""


def is_sayable(text: str, *, length_max: int) -> bool:
    """Whether a text says something, is not too long (in characters) and can be stored."""
    return bool(text.strip()) and len(text) <= length_max and "\0" not in text


def after_decision(
    decision: Decision, *, points: int, second_person_above: int, earlier: Decision | None
) -> ReviewState:
    """`earlier` is what another person decided last; None when nobody did. About more than
    `second_person_above` points two people must agree, whichever way."""
    if points > second_person_above and decision is not earlier:
        return ReviewState.AWAITING_SECOND_PERSON
    return ReviewState.ACCEPTED if decision is Decision.ACCEPT else ReviewState.REJECTED


def may_be_due(due_at: datetime, *, now: datetime) -> bool:
    """After now, at most a year ahead."""
    return now < due_at <= now + DUE_AHEAD_MAX


def may_sleep_until(until: datetime, *, now: datetime) -> bool:
    """After now, at most 90 days ahead: what sleeps longer is forgotten."""
    return now < until <= now + SNOOZE_MAX
