"""Whether a request is really the gateway's, and of now. No I/O, no clock.

Two schemes, as the gateways document them: Terra signs `{t}.{body}` in hexadecimal and sends
`terra-signature: t=...,v1=...`; Open Wearables signs by Svix (Standard Webhooks):
`{id}.{timestamp}.{body}` in base64, with `svix-id`, `svix-timestamp` and `svix-signature`.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import SecretStr

from app.errors import ConfigurationError

SECRETS_MAX = 2
"""One, or two while it changes."""
WINDOW = timedelta(minutes=5)
"""How far a request's time may be from ours, in either direction."""
_HEADER_MAX = 2_000
_SIGNATURES_MAX = 10
_TERRA = re.compile(r"(t|v1)=([0-9a-fA-F]{1,64})")
_SVIX = re.compile(r"v1,([A-Za-z0-9+/]{43}=)")
_SVIX_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Gateway(StrEnum):
    TERRA = "terra"
    OPEN_WEARABLES = "open-wearables"


class Fault(StrEnum):
    MISSING = "MISSING"
    INVALID = "INVALID"
    STALE = "STALE"
    """Too old, or of the future."""


class SignatureRefused(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Signed:
    """What the signature vouches for besides the body."""

    sent_at: datetime
    """Of this attempt; a second attempt has a later one."""
    message_id: str | None
    """The same in every attempt; None where the gateway gives none."""


def read_secret(gateway: Gateway, text: str) -> bytes:
    """The key that a setting holds. Raises ValueError when it is none."""
    if gateway is Gateway.OPEN_WEARABLES:
        try:
            key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise ValueError("not base64") from error
    else:
        key = text.encode()
    if len(key) < 16:
        raise ValueError("too short")
    return key


def read_secrets(
    gateway: Gateway, given: Sequence[SecretStr], *, setting: str, name: str
) -> list[bytes]:
    """The keys that a setting holds for `name`. Raises ConfigurationError, without saying one."""
    if not 0 < len(given) <= SECRETS_MAX:
        raise ConfigurationError(f"{setting}: {name} has one secret, or two while it changes.")
    try:
        return [read_secret(gateway, it.get_secret_value()) for it in given]
    except ValueError as error:
        raise ConfigurationError(f"{setting}: a secret of {name} is {error}.") from None


def check(
    gateway: Gateway,
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Sequence[bytes],
    now: datetime,
) -> Signed:
    """Header names are in lower case. Any of `secrets` may have signed, so that they can be
    changed one after the other. Raises SignatureRefused."""
    read = _terra if gateway is Gateway.TERRA else _svix
    timestamp, message_id, prefix, claimed = read(headers)
    if not claimed or not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        raise SignatureRefused(Fault.INVALID)
    expected = [hmac.digest(secret, prefix + body, hashlib.sha256) for secret in secrets]
    # All of them, so that the time it takes tells nothing.
    matches = [hmac.compare_digest(one, other) for one in expected for other in claimed]
    if not any(matches):
        raise SignatureRefused(Fault.INVALID)
    sent_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(timestamp))
    if abs(now - sent_at) > WINDOW:
        raise SignatureRefused(Fault.STALE)
    return Signed(sent_at, message_id)


_Parts = tuple[str, str | None, bytes, list[bytes]]
"""Timestamp, message id, what is signed before the body, signatures."""


def _terra(headers: Mapping[str, str]) -> _Parts:
    header = _header(headers, "terra-signature")
    found = _TERRA.findall(header)
    times = [value for name, value in found if name == "t"]
    signatures = [value for name, value in found if name == "v1" and len(value) == 64]
    if len(times) != 1:
        raise SignatureRefused(Fault.INVALID)
    claimed = [bytes.fromhex(it) for it in signatures[:_SIGNATURES_MAX]]
    return times[0], None, f"{times[0]}.".encode(), claimed


def _svix(headers: Mapping[str, str]) -> _Parts:
    name = "svix" if "svix-id" in headers else "webhook"
    message_id = _header(headers, f"{name}-id")
    timestamp = _header(headers, f"{name}-timestamp")
    signatures = _SVIX.findall(_header(headers, f"{name}-signature"))
    if not _SVIX_ID.fullmatch(message_id):
        raise SignatureRefused(Fault.INVALID)
    claimed = [base64.b64decode(it) for it in signatures[:_SIGNATURES_MAX]]
    return timestamp, message_id, f"{message_id}.{timestamp}.".encode(), claimed


def _header(headers: Mapping[str, str], name: str) -> str:
    found = headers.get(name)
    if found is None:
        raise SignatureRefused(Fault.MISSING)
    if len(found) > _HEADER_MAX:
        raise SignatureRefused(Fault.INVALID)
    return found
