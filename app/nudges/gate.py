"""The one gate for every message (NUD-1): may it go out, by this channel, now? No I/O, no clock.

It is asked when a message is planned, for the inbox, and again just before its push, SMS or
e-mail is sent. Caps are counted where messages are written (`caps.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.civil_time import each_at_local_time, local_date
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


class Outreach(StrEnum):
    """What a person of the staff does, for members without the app: an item of the worklist."""

    PHONE_CALL = "PHONE_CALL"
    HOME_VISIT = "HOME_VISIT"
    BROADCAST = "BROADCAST"


Carrier = Channel | Outreach


class Priority(StrEnum):
    """Which caps hold, and whether the night does."""

    CRITICAL = "CRITICAL"
    """Contract and safety: no cap, and no pause of the programme; never without consent."""
    OWN = "OWN"
    """What the member asked for, as a reminder: no cap, and it takes no room from others."""
    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"


class Refusal(StrEnum):
    """Why a message or a push was held back. Different facts are different reasons."""

    CONSENT_NOT_ASKED = "CONSENT_NOT_ASKED"
    """Advertising needs a yes; who was never asked has not said it."""

    CONSENT_REFUSED = "CONSENT_REFUSED"
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
    PROGRAMME_PAUSED = "PROGRAMME_PAUSED"
    MESSAGES_PAUSED = "MESSAGES_PAUSED"
    """The member wants no message before a certain time."""
    OPTED_OUT = "OPTED_OUT"
    """Not of this topic, or not by this channel."""
    QUIET_HOURS = "QUIET_HOURS"
    FREQUENCY_CAP = "FREQUENCY_CAP"
    """The member was told enough on this local day, or in this week."""
    NO_ADDRESS = "NO_ADDRESS"
    """No phone, or none that is still this member's; no number, no e-mail address."""
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


_NIGHT = (time(22), time(8))
"""In which nobody is called on who has not asked for it. A member's own quiet hours take its
place."""


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
    marketing_consent: ConsentState = ConsentState.NOT_ASKED
    taken_back_at: datetime | None = None
    """When a consent to whatever purpose was last refused or withdrawn."""


def refusal(
    standing: Standing,
    *,
    topic: Topic,
    channel: Carrier,
    now: datetime,
    priority: Priority = Priority.OWN,
) -> Refusal | None:
    """Why the message may not go out by this channel at `now`; null when it may.

    Who was never asked for the consent to health data has not refused: a reminder is the
    member's own wish. Advertising needs a yes. Quiet hours hold back what makes a noise; the
    inbox is silent, and when somebody calls is up to them. A pause of the programme ends nudges
    and reminders; the contract and an emergency go on.
    """
    missing = _consent_missing(standing, topic)
    if missing is not None:
        return missing
    is_critical = priority is Priority.CRITICAL
    if not is_critical and paused_on(standing.pauses, local_date(now, standing.zone)):
        return Refusal.PROGRAMME_PAUSED
    if standing.messages_paused_until is not None and now < standing.messages_paused_until:
        return Refusal.MESSAGES_PAUSED
    if not comes_by(topic, channel, standing.chosen_channels):
        return Refusal.OPTED_OUT
    if channel is Channel.IN_APP or isinstance(channel, Outreach):
        return None
    quiet = quiet_at(standing, priority=priority, now=now)
    return Refusal.QUIET_HOURS if quiet else None


def _consent_missing(standing: Standing, topic: Topic) -> Refusal | None:
    states = [standing.health_consent]
    if topic is Topic.MARKETING:
        states.append(standing.marketing_consent)
    if ConsentState.REFUSED in states:
        return Refusal.CONSENT_REFUSED
    if ConsentState.WITHDRAWN in states:
        return Refusal.CONSENT_WITHDRAWN
    if topic is Topic.MARKETING and standing.marketing_consent is not ConsentState.GRANTED:
        return Refusal.CONSENT_NOT_ASKED
    return None


def comes_by(topic: Topic, channel: Carrier, chosen: Mapping[str, Sequence[str]]) -> bool:
    """Whether a topic may come by this channel, as far as the member has chosen. Who has chosen
    nothing about a topic may be written to and called as well: most of them have no app to
    choose in. Who has switched a topic off altogether is left alone."""
    if topic in chosen:
        if isinstance(channel, Outreach):
            return bool(chosen[topic])
        return channel in chosen[topic]
    if channel in (Channel.PUSH, Channel.IN_APP):
        return channel in channels(topic, chosen)
    return True


def quiet_at(standing: Standing, *, priority: Priority, now: datetime) -> bool:
    hours = standing.quiet_hours
    if hours is None:
        if priority in (Priority.CRITICAL, Priority.OWN):
            return False
        hours = _NIGHT
    return in_quiet_hours(now, standing.zone, start=hours[0], end=hours[1])


def quiet_until(standing: Standing, *, now: datetime) -> datetime:
    """When the quiet hours, or the night, in which `now` lies are over."""
    end = (standing.quiet_hours or _NIGHT)[1]
    today = local_date(now, standing.zone)
    ends = [
        at
        for day in (today, today + timedelta(days=1))
        for at in each_at_local_time(day, end, standing.zone)
    ]
    # The clock that is put back comes by the end a second time.
    return min(at for at in ends if at > now)
