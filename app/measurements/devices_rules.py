"""Devices, what connects them to a member, and when one is silent. No I/O, no clock."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

DAY = timedelta(days=1)


class DeviceKind(StrEnum):
    BP_MONITOR = "BP_MONITOR"
    GLUCOMETER = "GLUCOMETER"
    SCALE = "SCALE"
    WEARABLE = "WEARABLE"
    OXIMETER = "OXIMETER"
    THERMOMETER = "THERMOMETER"
    APP = "APP"
    """A health app, or a phone that counts."""
    GATEWAY = "GATEWAY"
    """A service that forwards what several devices send."""


class DeviceOwner(StrEnum):
    PROGRAMME = "PROGRAMME"
    MEMBER = "MEMBER"


class DeviceState(StrEnum):
    IN_STOCK = "IN_STOCK"
    WITH_MEMBER = "WITH_MEMBER"
    LOST = "LOST"
    RETIRED = "RETIRED"


class LoanEnd(StrEnum):
    RETURNED = "RETURNED"
    LOST = "LOST"


class ConnectionState(StrEnum):
    CONNECTED = "CONNECTED"
    SILENT = "SILENT"
    """Nothing has arrived for as long as its rule allows. Not the same as nothing done."""
    DISCONNECTED = "DISCONNECTED"
    """Nothing is expected of it: deauthorised, given back, lost."""


@dataclass(frozen=True, slots=True)
class Link:
    """A connection of a member, as it stands."""

    kind: DeviceKind
    connected_at: datetime
    heard_at: datetime
    """When it last synced; when it was connected, if it never did."""
    silent_after_days: int
    is_watched: bool
    """Whether it is expected to sync at all; see `WATCHED_FROM_DAYS`."""
    disconnected_at: datetime | None
    silences: Sequence[tuple[datetime, datetime | None]]
    """From its last sync to the next, None while that has not come."""
    measures: frozenset[str] = frozenset()
    """Codes; empty: anything."""


WATCHED_FROM_DAYS = 3
"""What is in no register is expected to sync once it has done so on so many days: an old phone
in an imported file is not."""


def was_silent(
    links: Collection[Link], *, starts_at: datetime, ends_at: datetime, code: str | None = None
) -> bool:
    """Whether nothing could be known of a period because of the member's devices.

    True if there is one that is expected to sync, and each of them was silent: it has sent
    nothing since the period began; or its silence had lasted as long as its rule allows when
    the period ended, and covers a whole day of it. Those that are there to measure `code`
    matter, or where there is none those that may send anything. Who has no device, or has
    disconnected it, has no silent one.
    """
    watched = [
        link
        for link in links
        if link.is_watched
        and link.connected_at < ends_at
        and (link.disconnected_at is None or link.disconnected_at >= ends_at)
    ]
    own = [link for link in watched if code is not None and code in link.measures]
    relevant = own or [link for link in watched if code is None or not link.measures]
    return bool(relevant) and all(
        link.heard_at < starts_at or _long_silent(link, starts_at, ends_at) for link in relevant
    )


def _long_silent(link: Link, starts_at: datetime, ends_at: datetime) -> bool:
    allowed = timedelta(days=link.silent_after_days)
    for start, end in link.silences:
        within = min(end or ends_at, ends_at) - max(start, starts_at)
        if ends_at - start >= allowed and within >= min(DAY, ends_at - starts_at):
            return True
    return False
