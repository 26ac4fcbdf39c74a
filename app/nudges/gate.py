"""The one gate for every message (NUD-1): may it go out, by this channel, now? No I/O, no clock.

It is asked when a message is planned, for the inbox, and again just before its push is sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.civil_time import local_date
from app.members.rules import ConsentState, PausedDays, paused_on
from app.nudges.rules import in_quiet_hours


class Topic(StrEnum):
    TASKS = "TASKS"
    REMINDERS = "REMINDERS"
    MEASUREMENTS = "MEASUREMENTS"
    POINTS = "POINTS"
    PREMIUM = "PREMIUM"
    SERVICES = "SERVICES"
    EDUCATION = "EDUCATION"
    MARKETING = "MARKETING"
    SERVICE_NOTICE = "SERVICE_NOTICE"


class Channel(StrEnum):
    PUSH = "PUSH"
    IN_APP = "IN_APP"
    SMS = "SMS"
    EMAIL = "EMAIL"


class Refusal(StrEnum):
    """Why a message or a push was held back. Different facts are different reasons."""

    CONSENT_REFUSED = "CONSENT_REFUSED"
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
    PROGRAMME_PAUSED = "PROGRAMME_PAUSED"
    MESSAGES_PAUSED = "MESSAGES_PAUSED"
    """The member wants no message before a certain time."""
    OPTED_OUT = "OPTED_OUT"
    """Not of this topic, or not by this channel."""
    QUIET_HOURS = "QUIET_HOURS"
    NO_ADDRESS = "NO_ADDRESS"
    """No phone, or none that is still this member's."""
    NO_PROVIDER = "NO_PROVIDER"
    """Nobody here can send to this phone."""
    NOT_RELEVANT = "NOT_RELEVANT"
    """What it is about was changed or deleted meanwhile."""
    EXPIRED = "EXPIRED"
    """It could not be sent in time."""


_DEFAULT_CHANNELS: Mapping[Topic, tuple[Channel, ...]] = {
    Topic.EDUCATION: (Channel.IN_APP,),
    Topic.MARKETING: (Channel.IN_APP,),
}


def channels(topic: Topic, chosen: Mapping[str, Sequence[str]]) -> tuple[Channel, ...]:
    """By which channels a topic comes: as the member has chosen, else the default."""
    if topic in chosen:
        return tuple(Channel(name) for name in chosen[topic])
    return _DEFAULT_CHANNELS.get(topic, (Channel.PUSH, Channel.IN_APP))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a member has said that bears on messages."""

    zone: ZoneInfo
    locale: str
    health_consent: ConsentState
    pauses: Sequence[PausedDays] = ()
    """Of the programme, in local days."""
    messages_paused_until: datetime | None = None
    quiet_hours: tuple[time, time] | None = None
    chosen_channels: Mapping[str, Sequence[str]] = field(default_factory=dict)


def refusal(standing: Standing, *, topic: Topic, channel: Channel, now: datetime) -> Refusal | None:
    """Why the message may not go out by this channel at `now`; null when it may.

    Who was never asked for consent has not refused: a reminder is the member's own wish.
    Quiet hours hold back what makes a noise; the inbox is silent.
    """
    match standing.health_consent:
        case ConsentState.REFUSED:
            return Refusal.CONSENT_REFUSED
        case ConsentState.WITHDRAWN:
            return Refusal.CONSENT_WITHDRAWN
    if paused_on(standing.pauses, local_date(now, standing.zone)):
        return Refusal.PROGRAMME_PAUSED
    if standing.messages_paused_until is not None and now < standing.messages_paused_until:
        return Refusal.MESSAGES_PAUSED
    if channel not in channels(topic, standing.chosen_channels):
        return Refusal.OPTED_OUT
    if channel is Channel.IN_APP or standing.quiet_hours is None:
        return None
    start, end = standing.quiet_hours
    quiet = in_quiet_hours(now, standing.zone, start=start, end=end)
    return Refusal.QUIET_HOURS if quiet else None
