"""A payment provider over HTTP: a signed POST of JSON, as its webhook is signed (Standard Webhooks).

One call is one request: nothing is repeated here, and redirects are not followed.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus

import aiohttp

from app.adapters.payments import Order, OrderOutcome, OrderResult, order_document
from app.adapters.posting import retry_after

TIMEOUT_SECONDS = 15.0
KEEP_ALIVE_SECONDS = 30.0
CONCURRENCY = 10
QUOTA_PAUSE = timedelta(minutes=1)
"""After a 429 that does not say how long."""
_SET_UP_STATUSES = (401, 403, 404, 405, 407)
_NOT_TAKEN_STATUSES = (408, 425, 429, 503)
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,59}")


class HttpProvider:
    """Made inside the event loop that uses it. `secret` signs; the provider has it too."""

    collects = True

    def __init__(
        self, name: str, url: str, secret: bytes, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.name = name
        self._url = url
        self._secret = secret
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONCURRENCY, keepalive_timeout=KEEP_ALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=timeout_seconds / 2),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def tell(self, order: Order, *, now: datetime) -> OrderResult:
        body = json.dumps(order_document(order)).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": order.key,
            **sign(self._secret, order.key, body, now=now),
        }
        try:
            async with self._http.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            code = "TIMEOUT" if isinstance(error, TimeoutError) else "CONNECTION"
            return OrderResult(OrderOutcome.UNKNOWN, code)
        return interpret(response.status, response.headers, answer, now=now)

    async def close(self) -> None:
        await self._http.close()


def sign(secret: bytes, message_id: str, body: bytes, *, now: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks."""
    stamp = str(int(now.timestamp()))
    digest = hmac.digest(secret, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def interpret(
    status: int, headers: Mapping[str, str], answer: bytes, *, now: datetime
) -> OrderResult:
    """What the provider, or something between us and it, answered."""
    code = _code(answer) or f"HTTP_{status}"
    if 200 <= status < 300:
        return OrderResult(OrderOutcome.TAKEN, code)
    if status in _NOT_TAKEN_STATUSES:
        pause = retry_after(headers.get("Retry-After"), now=now)
        if pause is None and status == HTTPStatus.TOO_MANY_REQUESTS:
            pause = QUOTA_PAUSE
        return OrderResult(OrderOutcome.RETRY, code, pause)
    if status in _SET_UP_STATUSES or 300 <= status < 400:
        return OrderResult(OrderOutcome.UNAUTHORISED, code)
    if 400 <= status < 500:
        return OrderResult(OrderOutcome.REFUSED, code)
    pause = retry_after(headers.get("Retry-After"), now=now)
    return OrderResult(OrderOutcome.UNKNOWN, code, pause)


def _code(answer: bytes) -> str | None:
    """`{"code": "..."}`; never free text, which could quote what we sent."""
    try:
        body = json.loads(answer)
    except ValueError:
        return None
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None
