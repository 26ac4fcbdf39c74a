"""How a reading came about, and how far it may be relied on."""

from enum import StrEnum


class Hashed(StrEnum):
    """Hashed as the text it is: an Enum does that in Python, for each of many readings."""

    __hash__ = str.__hash__


class Method(Hashed):
    SENSED = "SENSED"
    SELF_REPORTED = "SELF_REPORTED"
    CLINICAL = "CLINICAL"


class Context(Hashed):
    FASTING = "FASTING"
    BEFORE_MEAL = "BEFORE_MEAL"
    AFTER_MEAL = "AFTER_MEAL"
    BEDTIME = "BEDTIME"
    AT_REST = "AT_REST"
    AFTER_EXERCISE = "AFTER_EXERCISE"


class TrustGrade(StrEnum):
    """It decides what a reading may drive: points, tier, premium (MON-9)."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"
    UNVERIFIED = "UNVERIFIED"


class Channel(StrEnum):
    """Which way a reading came in."""

    APP = "APP"
    """The member's phone, or that of the guardian who acts for them."""
    GATEWAY = "GATEWAY"
    """A device gateway, which signs what it sends."""
    EXPORT = "EXPORT"
    """A file that the member exported from a health app."""
    STAFF = "STAFF"
    CLINIC = "CLINIC"
    """A partner clinic, with its own key."""
    EXAMINATION = "EXAMINATION"
    """Results of an examination or a hospital's record, imported by the programme."""


VOUCHED = frozenset({Channel.STAFF, Channel.CLINIC, Channel.EXAMINATION})
"""Channels on which somebody of the profession says that a reading is clinical."""
TRUSTED = frozenset({TrustGrade.HIGH, TrustGrade.MEDIUM})


LIVE = frozenset({Channel.APP, Channel.GATEWAY})
"""Channels on which a device itself sends; a file may have been written by anybody."""


def trust(
    method: Method, channel: Channel, *, has_source: bool, is_registered: bool = False
) -> TrustGrade:
    """A clinic's reading is trusted most, and what a device of the register senses while the
    member has it; a sensed one less, when the device is named; what a member types is low. What claims to be clinical although nobody vouches for it, or to be
    sensed by nothing, is unverified."""
    if method is Method.CLINICAL:
        return TrustGrade.HIGH if channel in VOUCHED else TrustGrade.UNVERIFIED
    if method is Method.SENSED:
        if is_registered and channel in LIVE:
            return TrustGrade.HIGH
        return TrustGrade.MEDIUM if has_source else TrustGrade.UNVERIFIED
    return TrustGrade.LOW
