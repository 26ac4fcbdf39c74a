"""What every push provider promises: one attempt a call, and an honest word on how it ended.

A provider never retries by itself. Whoever calls it decides from the outcome, because only
the caller knows whether the push is still wanted and whether a second one would be worse.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

# The narrowest of the three platforms: a Web Push topic (RFC 8030, 5.4).
_COLLAPSE_KEY = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True)
class PushMessage:
    """One push to one device.

    `title` and `body` are shown on a locked screen and printed to the log in development:
    neutral text, never a health fact. `data` holds opaque ids for the app. A device shows
    one push per `collapse_key` (1 to 32 of letters, digits, `-`, `_`; the hex of an id
    fits); a later one replaces it. `message_id` travels as `data.messageId`, so that an app
    that gets a push twice can tell. After `ttl` the push is no longer delivered.
    """

    token: str = field(repr=False)
    """Of an installation; of an SMS the number (E.164), of an e-mail the address."""
    title: str = field(repr=False)
    body: str = field(repr=False)
    data: Mapping[str, str]
    collapse_key: str
    message_id: str
    ttl: timedelta
    service: str = "FCM"
    """FCM, JPUSH, SMS or EMAIL."""
    unsubscribe: str | None = field(default=None, repr=False)
    """Of an e-mail: where one click ends those of its kind (RFC 8058)."""

    def __post_init__(self) -> None:
        assert self.token, "a push needs a device"
        assert _COLLAPSE_KEY.fullmatch(self.collapse_key), self.collapse_key
        assert self.ttl > timedelta(0), self.ttl


class PushOutcome(StrEnum):
    """How one attempt ended."""

    SENT = "sent"
    """The provider accepted it."""
    TOKEN_GONE = "token_gone"
    """The app was removed from the device: forget the token. Nothing else forgets it."""
    REJECTED = "rejected"
    """The provider refuses this message or this token; trying again changes nothing.
    The fault may be ours, so the token stays."""
    RETRY = "retry"
    """Not accepted; it may be tried again, not before `retry_after`."""
    UNAUTHORISED = "unauthorised"
    """Our set-up is refused (credentials, project, address), not this message. It may be
    tried again once an operator has looked."""
    UNKNOWN = "unknown"
    """The request may have reached the provider and no answer came back. Trying again
    could show the push twice."""


@dataclass(frozen=True, slots=True)
class PushResult:
    """`code` is the provider's word (`UNREGISTERED`) or ours (`TIMEOUT`); never free text,
    which could quote the token."""

    outcome: PushOutcome
    code: str | None = None
    provider_message_id: str | None = None
    retry_after: timedelta | None = None


class PushProvider(Protocol):
    @property
    def services(self) -> Collection[str]:
        """Of FCM, JPUSH, SMS and EMAIL those that it sends by."""

    async def send(self, message: PushMessage) -> PushResult:
        """One attempt. Refusals and failures of the network are results, not exceptions."""

    async def close(self) -> None: ...


class TokenBucket:
    """Lets `per_minute` through, evenly, after a burst of at most one second's worth.

    Waiters go in the order they came. One that is cancelled while it waits loses its turn,
    which errs on the slow side.
    """

    def __init__(
        self,
        *,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._interval = 60 / per_minute
        self._burst = max(0.0, 1 - self._interval)
        self._clock = clock
        self._sleep = sleep
        self._next_turn = float("-inf")

    async def take(self) -> None:
        now = self._clock()
        turn = max(self._next_turn, now - self._burst)
        self._next_turn = turn + self._interval
        if turn > now:
            await self._sleep(turn - now)
