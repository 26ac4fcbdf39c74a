"""What an event of a gateway is about: the envelope, before anything is done with the data.

https://docs.tryterra.co/reference/health-and-fitness-api/event-types and
https://docs.openwearables.io/api-reference/guides/webhooks. No I/O, no clock.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.intake.gateways.signatures import Gateway, Signed

_NAME = re.compile(r"[A-Za-z0-9._:@-]{1,100}")
_PROVIDER = re.compile(r"[A-Za-z0-9._-]{1,40}")


class Kind(StrEnum):
    DATA = "DATA"
    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"
    MOVED = "MOVED"
    """The user authorised anew and has another name from now on."""
    OTHER = "OTHER"
    """Nothing for us: health checks, workouts, processing notes."""


class Malformed(Exception):
    """Signed, but not of a shape that we know."""


@dataclass(frozen=True, slots=True)
class Event:
    gateway: Gateway
    id: str
    """Of the event, the same however often it is sent."""
    type: str
    kind: Kind
    user_id: str
    provider: str
    """In lower case."""
    occurred_at: datetime
    """Orders what connects and disconnects."""
    reference: str | None = None
    """The member, in our words, as the gateway was told when the user connected."""
    moved_from: str | None = None

    @property
    def source_id(self) -> str:
        """How readings name it."""
        return f"{self.gateway}:{self.provider}"


def read(gateway: Gateway, body: Mapping[str, Any], raw: bytes, signed: Signed) -> Event | None:
    """None when it is about no user. Raises Malformed."""
    kind = body.get("type")
    if not isinstance(kind, str) or not _NAME.fullmatch(kind):
        raise Malformed
    if gateway is Gateway.TERRA:
        return _terra(kind, body, raw, signed)
    return _open_wearables(kind, body, signed)


_TERRA_DATA = frozenset({"daily", "body", "sleep"})
_TERRA_GONE = frozenset({"deauth", "access_revoked"})


def _terra(kind: str, body: Mapping[str, Any], raw: bytes, signed: Signed) -> Event | None:
    user = body.get("new_user" if kind == "user_reauth" else "user")
    if user is None:
        return None
    if not isinstance(user, dict):
        raise Malformed
    moved_from = None
    what = Kind.OTHER
    if kind in _TERRA_DATA:
        what = Kind.DATA
    elif kind in _TERRA_GONE:
        what = Kind.DISCONNECTED
    elif kind == "auth" and body.get("status", "success") == "success":
        what = Kind.CONNECTED
    elif kind == "user_reauth":
        what, old = Kind.MOVED, body.get("old_user")
        moved_from = _name(old.get("user_id")) if isinstance(old, dict) else None
    reference = user.get("reference_id") or body.get("reference_id")
    # Terra numbers nothing. Data that is sent again is the same text; what connects may say
    # the same a second time and mean it.
    stamp = b"" if what is Kind.DATA else f"{signed.sent_at.timestamp()}".encode()
    return Event(
        Gateway.TERRA,
        hashlib.sha256(stamp + raw).hexdigest(),
        kind,
        what,
        _name(user.get("user_id")),
        _provider(user.get("provider")),
        signed.sent_at,
        reference if isinstance(reference, str) and len(reference) <= 200 else None,
        moved_from,
    )


_WEARABLES_OTHER = frozenset(
    {"workout.created", "meal.created", "menstrual_cycle.created", "activity.created"}
)


def _open_wearables(kind: str, body: Mapping[str, Any], signed: Signed) -> Event:
    data = body.get("data")
    if not isinstance(data, dict) or signed.message_id is None:
        raise Malformed
    what = Kind.DATA if kind.endswith(".created") else Kind.OTHER
    at = signed.sent_at
    if kind == "connection.created":
        what, at = Kind.CONNECTED, _instant(data.get("connected_at")) or at
    elif kind == "connection.revoked":
        what, at = Kind.DISCONNECTED, _instant(data.get("revoked_at")) or at
    elif kind in _WEARABLES_OTHER:
        what = Kind.OTHER
    provider = data.get("provider")
    if provider is None and isinstance(data.get("source"), dict):
        provider = data["source"].get("provider")
    return Event(
        Gateway.OPEN_WEARABLES,
        signed.message_id,
        kind,
        what,
        _name(data.get("user_id")),
        _provider(provider),
        at,
    )


def _name(found: Any) -> str:
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise Malformed
    return found


def _provider(found: Any) -> str:
    if not isinstance(found, str) or not _PROVIDER.fullmatch(found):
        raise Malformed
    return found.lower()


def _instant(found: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(found)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo is not None else None
