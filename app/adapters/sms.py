"""SMS by an HTTP port: one small JSON request that the gateway of any market can be put behind.

POST {"to": "+86...", "text": "...", "reference": "..."} with a bearer key. 2xx with {"id": ...}
is accepted, 409 says that the reference was accepted before. A refusal is 4xx with {"code": ...}:
NUMBER_INVALID and NUMBER_UNREACHABLE are about the number, anything else about the message.
"""

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Self

from app.adapters.posting import TIMEOUT_SECONDS, Poster, by_http_status, json_object, retry_after
from app.adapters.push import PushMessage, PushOutcome, PushResult, TokenBucket
from app.config import Settings

_CODES = {
    "NUMBER_INVALID": PushOutcome.TOKEN_GONE,
    "NUMBER_UNREACHABLE": PushOutcome.TOKEN_GONE,
    "TEXT_REFUSED": PushOutcome.REJECTED,
    "QUOTA_EXCEEDED": PushOutcome.RETRY,
    "UNAUTHORISED": PushOutcome.UNAUTHORISED,
}


class SmsProvider:
    services = ("SMS",)

    def __init__(
        self,
        *,
        url: str,
        key: str,
        concurrency: int,
        bucket: TokenBucket,
        timeout_seconds: float = TIMEOUT_SECONDS,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._bucket = bucket
        self._wall_clock = wall_clock
        self._http = Poster(concurrency=concurrency, timeout_seconds=timeout_seconds)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        assert settings.sms_url is not None and settings.sms_key is not None
        return cls(
            url=settings.sms_url,
            key=settings.sms_key.get_secret_value(),
            concurrency=settings.push_concurrency,
            bucket=TokenBucket(per_minute=settings.sms_per_minute),
        )

    async def send(self, message: PushMessage) -> PushResult:
        body = {
            "to": message.token,
            "text": f"{message.title}: {message.body}",
            "reference": message.collapse_key,
        }
        await self._bucket.take()
        answer = await self._http.post(
            self._url, json.dumps(body, ensure_ascii=False).encode(), self._headers
        )
        if isinstance(answer, PushResult):
            return answer
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        return interpret(answer.status, answer.headers, answer.body, now=now)

    async def close(self) -> None:
        await self._http.close()


def interpret(
    status: int, headers: Mapping[str, str], answer: bytes, *, now: datetime
) -> PushResult:
    """What the gateway, or something before it, answered. Some put a refusal into a 200."""
    body = json_object(answer)
    id, told = body.get("id"), body.get("code")
    is_taken = isinstance(id, str | int) and str(id) != ""
    if status == HTTPStatus.CONFLICT or (200 <= status < 300 and is_taken):
        return PushResult(PushOutcome.SENT, provider_message_id=str(id) if is_taken else None)
    meant = _CODES.get(told) if isinstance(told, str) else None
    outcome = by_http_status(status)
    if meant is not None and (200 <= status < 300 or outcome is PushOutcome.REJECTED):
        outcome = meant
    code = f"HTTP_{status}" if meant is None else told
    if outcome is not PushOutcome.RETRY:
        return PushResult(outcome, code=code)
    pause = retry_after(headers.get("Retry-After"), now=now)
    return PushResult(outcome, code=code, retry_after=pause)
