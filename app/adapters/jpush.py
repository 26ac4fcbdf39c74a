"""JPush (极光推送), REST API v3: pushes to phones in mainland China, which FCM does not reach.

https://docs.jiguang.cn/jpush/server/push/rest_api_v3_push. One registration id a request, HTTP
Basic authentication with app key and master secret. A `cid` against repeated requests is not
sent: what may have arrived is never sent again anyway (see `app/nudges/outbox.py`).
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Self

from app.adapters.posting import TIMEOUT_SECONDS, Poster, by_http_status, json_object, retry_after
from app.adapters.push import PushMessage, PushOutcome, PushResult, TokenBucket
from app.config import Settings

TTL_MAX = timedelta(days=10)
"""JPush keeps nothing longer."""
QUOTA_PAUSE = timedelta(minutes=1)
"""Its quota is counted by the minute; taken when a 429 does not say when it begins anew."""


class JPushProvider:
    """Sends for one JPush app. Made inside the event loop that uses it."""

    services = ("JPUSH",)

    def __init__(
        self,
        *,
        app_key: str,
        master_secret: str,
        base_url: str,
        concurrency: int,
        bucket: TokenBucket,
        apns_production: bool = True,
        timeout_seconds: float = TIMEOUT_SECONDS,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/v3/push"
        credentials = base64.b64encode(f"{app_key}:{master_secret}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Content-Type": "application/json",
        }
        self._apns_production = apns_production
        self._bucket = bucket
        self._wall_clock = wall_clock
        self._http = Poster(concurrency=concurrency, timeout_seconds=timeout_seconds)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        assert settings.jpush_app_key is not None and settings.jpush_master_secret is not None
        return cls(
            app_key=settings.jpush_app_key,
            master_secret=settings.jpush_master_secret.get_secret_value(),
            base_url=settings.jpush_base_url,
            concurrency=settings.push_concurrency,
            bucket=TokenBucket(per_minute=settings.jpush_per_minute),
            apns_production=settings.jpush_apns_production,
        )

    async def send(self, message: PushMessage) -> PushResult:
        body = json.dumps(self._body(message), ensure_ascii=False).encode()
        await self._bucket.take()
        answer = await self._http.post(self._url, body, self._headers)
        if isinstance(answer, PushResult):
            return answer
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        return interpret(answer.status, answer.headers, answer.body, now=now)

    async def close(self) -> None:
        await self._http.close()

    def _body(self, message: PushMessage) -> Mapping[str, Any]:
        extras = {**message.data, "messageId": message.message_id}
        return {
            "platform": ["android", "ios"],
            "audience": {"registration_id": [message.token]},
            "notification": {
                "android": {
                    "title": message.title,
                    "alert": message.body,
                    "extras": extras,
                },
                "ios": {
                    "alert": {"title": message.title, "body": message.body},
                    "sound": "default",
                    "thread-id": "wellward",
                    "extras": extras,
                },
            },
            "options": {
                # At least a second: 0 is "only to whoever is online".
                "time_to_live": max(1, int(min(message.ttl, TTL_MAX).total_seconds())),
                "apns_production": self._apns_production,
                "apns_collapse_id": message.collapse_key,
            },
        }


_BY_CODE = {
    1000: PushOutcome.RETRY,  # internal error
    1001: PushOutcome.UNAUTHORISED,  # only POST
    1002: PushOutcome.REJECTED,  # parameter missing
    1003: PushOutcome.REJECTED,  # parameter invalid
    1004: PushOutcome.UNAUTHORISED,  # credentials
    1005: PushOutcome.REJECTED,  # too large
    1008: PushOutcome.UNAUTHORISED,  # app key
    1009: PushOutcome.REJECTED,  # unsupported key
    1011: PushOutcome.TOKEN_GONE,  # no such target: the app was removed, or never opened again
    1020: PushOutcome.UNAUTHORISED,  # only HTTPS
    1030: PushOutcome.UNKNOWN,  # timed out inside
    2002: PushOutcome.RETRY,  # quota
    2003: PushOutcome.UNAUTHORISED,  # app is barred
    2004: PushOutcome.UNAUTHORISED,  # not permitted, as from this address
    2005: PushOutcome.UNAUTHORISED,  # more than the contract has
}


def interpret(
    status: int, headers: Mapping[str, str], answer: bytes, *, now: datetime
) -> PushResult:
    """What JPush, or something between us and JPush, answered."""
    body = json_object(answer)
    sent = body.get("msg_id")
    error = _object_of(body, "error")
    if status == HTTPStatus.OK and sent is not None and not error:
        return PushResult(PushOutcome.SENT, provider_message_id=str(sent))
    number = error.get("code")
    if isinstance(number, int) and number in _BY_CODE:
        outcome, code = _BY_CODE[number], str(number)
    else:
        gone = status == HTTPStatus.GONE
        outcome = PushOutcome.UNAUTHORISED if gone else by_http_status(status)
        code = f"HTTP_{status}"
    if outcome is not PushOutcome.RETRY:
        return PushResult(outcome, code=code)
    return PushResult(outcome, code=code, retry_after=_pause(status, headers, now=now))


def _pause(status: int, headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """`X-Rate-Limit-Reset` counts the seconds until the quota begins anew."""
    told = headers.get("Retry-After")
    if told is None and status == HTTPStatus.TOO_MANY_REQUESTS:
        told = headers.get("X-Rate-Limit-Reset")
    pause = retry_after(told, now=now)
    if pause is None and status == HTTPStatus.TOO_MANY_REQUESTS:
        return QUOTA_PAUSE
    return pause


def _object_of(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}
