"""One HTTP POST an attempt, never repeated by itself: what FCM, JPush and the SMS gateway share.

aiohttp repeats idempotent methods on a dropped connection, POST never (tests/test_fcm.py counts
requests at the server), and redirects are not followed.
"""

import email.utils
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import aiohttp

from app.adapters.push import PushOutcome, PushResult

TIMEOUT_SECONDS = 10.0
# Idle connections are given up before Google's front ends close them (240 s): a request
# written to a connection that is just being closed ends as UNKNOWN.
KEEP_ALIVE_SECONDS = 60.0
RETRY_AFTER_MAX = timedelta(hours=24)
# A timeout, a rate, or "unavailable": a gateway says that it did not take the request.
_NOT_TAKEN_STATUSES = (408, 429, 503)
# Key, project or address, not the message: it stays until the set-up is mended.
_SET_UP_STATUSES = (401, 403, 404, 405, 407)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Poster:
    """Made inside the event loop that uses it. At most `concurrency` connections are open."""

    def __init__(self, *, concurrency: int, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency, keepalive_timeout=KEEP_ALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=timeout_seconds / 2),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_written_trace()],
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | PushResult:
        """The answer; or, when none came, RETRY if nothing can have arrived, and UNKNOWN
        otherwise."""
        request = SimpleNamespace(written=False)
        try:
            async with self._http.post(
                url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=request
            ) as response:
                return Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            outcome = PushOutcome.UNKNOWN if request.written else PushOutcome.RETRY
            code = "TIMEOUT" if isinstance(error, TimeoutError) else "CONNECTION"
            return PushResult(outcome, code=code)

    async def close(self) -> None:
        await self._http.close()


def json_object(answer: bytes) -> dict[str, Any]:
    """An empty one when the answer is no JSON object."""
    try:
        body = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _written_trace() -> aiohttp.TraceConfig:
    """Marks a request just before its first byte is handed to the socket.

    Failures before the mark cannot have reached the provider; failures after it may have.
    """

    async def mark(session: aiohttp.ClientSession, context: Any, params: Any) -> None:
        context.trace_request_ctx.written = True

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(mark)
    return trace


def retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """A `Retry-After` header, in seconds or as an HTTP date; None when it says nothing."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value[:10])
    else:
        try:
            at = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    return timedelta(seconds=min(max(seconds, 0.0), RETRY_AFTER_MAX.total_seconds()))


def by_http_status(status: int) -> PushOutcome:
    """Without a word from the provider: a gateway's answer, often HTML."""
    if status in _NOT_TAKEN_STATUSES:
        return PushOutcome.RETRY
    if status in _SET_UP_STATUSES or 300 <= status < 400:
        return PushOutcome.UNAUTHORISED
    if 400 <= status < 500:
        return PushOutcome.REJECTED
    # A gateway's 502 or 504 says that it lost the answer, a strange 200 says nothing.
    return PushOutcome.UNKNOWN
