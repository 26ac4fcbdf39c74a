"""Firebase Cloud Messaging, HTTP v1: the SDK's credentials and message, our own sending.

The SDK's own sender repeats a request up to four times after a 500 or 503 and cannot be told
not to, although FCM has answered 503 for pushes that it delivered. Here one call is one HTTP
request (`posting.py`).
"""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import orjson
import requests
import structlog
from firebase_admin import credentials
from google.auth import exceptions as google_errors
from google.auth.transport.requests import Request as GoogleRequest

from app.adapters.posting import TIMEOUT_SECONDS, Poster, by_http_status, json_object, retry_after
from app.adapters.push import PushMessage, PushOutcome, PushResult, TokenBucket
from app.config import Settings

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
# FCM's documentation: wait a minute when a 429 says nothing.
QUOTA_PAUSE = timedelta(minutes=1)

_log = structlog.get_logger(__name__)


class FcmProvider:
    """Sends through one Firebase project. Made inside the event loop that uses it.

    At most `concurrency` requests are under way; the bucket and the access token are waited
    for before the request's own time (`timeout_seconds`) starts.
    """

    services = ("FCM",)

    def __init__(
        self,
        *,
        credentials_path: Path,
        base_url: str,
        concurrency: int,
        bucket: TokenBucket,
        timeout_seconds: float = TIMEOUT_SECONDS,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError or OSError when the service-account file cannot be used."""
        certificate = credentials.Certificate(str(credentials_path))
        base_url = base_url.rstrip("/")
        self._url = f"{base_url}/v1/projects/{certificate.project_id}/messages:send"
        self._tokens = AccessTokens(certificate.get_credential().with_scopes([SCOPE]), wall_clock)
        self._slots = asyncio.Semaphore(concurrency)
        self._bucket = bucket
        self._wall_clock = wall_clock
        self._http = Poster(concurrency=concurrency, timeout_seconds=timeout_seconds)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        assert settings.fcm_credentials is not None
        return cls(
            credentials_path=settings.fcm_credentials,
            base_url=settings.fcm_base_url,
            concurrency=settings.push_concurrency,
            bucket=TokenBucket(per_minute=settings.push_per_minute),
        )

    async def send(self, message: PushMessage) -> PushResult:
        body = encode(message, wall_clock=self._wall_clock)
        async with self._slots:
            await self._bucket.take()
            try:
                access_token = await self._tokens.get()
            except NoAccessToken as refusal:
                return PushResult(refusal.outcome, code="ACCESS_TOKEN")
            result = await self._post(body, access_token)
        if result.outcome is PushOutcome.UNAUTHORISED and result.code == "UNAUTHENTICATED":
            self._tokens.forget(access_token)
        return result

    async def _post(self, body: bytes, access_token: str) -> PushResult:
        headers = {"Authorization": f"Bearer {access_token}", "Content-Type": "application/json"}
        answer = await self._http.post(self._url, body, headers)
        if isinstance(answer, PushResult):
            return answer
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        return interpret(answer.status, answer.headers, answer.body, now=now)

    async def close(self) -> None:
        await self._http.close()
        await self._tokens.close()


def encode(message: PushMessage, *, wall_clock: Callable[[], float]) -> bytes:
    """The request body: what the SDK's model and encoder make of it (tests/test_fcm.py compares
    them), at a tenth of their price."""
    seconds = int(message.ttl.total_seconds())
    expires_at = int(wall_clock() + message.ttl.total_seconds())
    return orjson.dumps(
        {
            "message": {
                "token": message.token,
                "data": {**message.data, "messageId": message.message_id},
                "notification": {"title": message.title, "body": message.body},
                "android": {
                    "collapse_key": message.collapse_key,
                    "priority": "high",  # a reminder is for now: it may wake a dozing device
                    "ttl": f"{seconds}s",
                    # The collapse key joins pushes on their way, the tag those already shown.
                    "notification": {"tag": message.collapse_key},
                },
                "apns": {
                    "headers": {
                        "apns-collapse-id": message.collapse_key,
                        "apns-expiration": str(expires_at),
                        "apns-priority": "10",
                    },
                    "payload": {"aps": {"sound": "default"}},
                },
                "webpush": {
                    "headers": {
                        "Topic": message.collapse_key,
                        "TTL": str(seconds),
                        "Urgency": "high",
                    }
                },
            }
        }
    )


_BY_FCM_CODE = {
    "UNREGISTERED": PushOutcome.TOKEN_GONE,
    "INVALID_ARGUMENT": PushOutcome.REJECTED,
    "SENDER_ID_MISMATCH": PushOutcome.REJECTED,
    "QUOTA_EXCEEDED": PushOutcome.RETRY,
    "UNAVAILABLE": PushOutcome.RETRY,
    "INTERNAL": PushOutcome.RETRY,
    "THIRD_PARTY_AUTH_ERROR": PushOutcome.UNAUTHORISED,
    "APNS_AUTH_ERROR": PushOutcome.UNAUTHORISED,
}
# google.rpc.Code, when the answer carries no FCM code.
_BY_RPC_STATUS = {
    "INVALID_ARGUMENT": PushOutcome.REJECTED,
    "FAILED_PRECONDITION": PushOutcome.REJECTED,
    "OUT_OF_RANGE": PushOutcome.REJECTED,
    "RESOURCE_EXHAUSTED": PushOutcome.RETRY,
    "UNAVAILABLE": PushOutcome.RETRY,
    "INTERNAL": PushOutcome.RETRY,
    "UNAUTHENTICATED": PushOutcome.UNAUTHORISED,
    "PERMISSION_DENIED": PushOutcome.UNAUTHORISED,
    "NOT_FOUND": PushOutcome.UNAUTHORISED,  # the project, since the token would be UNREGISTERED
}


def interpret(
    status: int, headers: Mapping[str, str], answer: bytes, *, now: datetime
) -> PushResult:
    """What FCM, or something between us and FCM, answered."""
    body = json_object(answer)
    name = body.get("name")
    if status == HTTPStatus.OK and isinstance(name, str):
        return PushResult(PushOutcome.SENT, provider_message_id=name)

    error = body.get("error")
    outcome, code = _refusal(status, error if isinstance(error, dict) else {})
    if outcome is not PushOutcome.RETRY:
        return PushResult(outcome, code=code)
    pause = retry_after(headers.get("Retry-After"), now=now)
    if pause is None and status == HTTPStatus.TOO_MANY_REQUESTS:
        pause = QUOTA_PAUSE
    return PushResult(outcome, code=code, retry_after=pause)


def _refusal(status: int, error: Mapping[str, Any]) -> tuple[PushOutcome, str]:
    details = error.get("details")
    for detail in details if isinstance(details, list) else []:
        code = detail.get("errorCode") if isinstance(detail, dict) else None
        if isinstance(code, str) and code in _BY_FCM_CODE:
            return _BY_FCM_CODE[code], code
    rpc_status = error.get("status")
    if isinstance(rpc_status, str) and rpc_status in _BY_RPC_STATUS:
        return _BY_RPC_STATUS[rpc_status], rpc_status
    return by_http_status(status), f"HTTP_{status}"


class NoAccessToken(Exception):
    """Google gives no access token now: RETRY (not reached) or UNAUTHORISED (refused)."""

    def __init__(self, outcome: PushOutcome) -> None:
        super().__init__(outcome.value)
        self.outcome = outcome


class AccessTokens:
    """The service account's OAuth token. Fetching one blocks, so it happens in a thread, once
    for all who wait; a token that still works is used while the next one is fetched."""

    REFRESH_BEFORE_SECONDS = 300.0
    USABLE_BEFORE_SECONDS = 15.0
    WAIT_SECONDS = 10.0
    # Between fetches, so that a thousand refused pushes are not a thousand token requests.
    PAUSE_SECONDS = 5.0

    def __init__(self, google: Any, wall_clock: Callable[[], float]) -> None:
        self._google = google
        self._wall_clock = wall_clock
        self._session = requests.Session()
        # Straight there, as the pushes themselves: proxies of the environment are not used.
        self._session.trust_env = False
        self._request = functools.partial(GoogleRequest(self._session), timeout=5)
        self._token = ""
        self._expires_at = 0.0
        self._next_fetch_at = 0.0
        self._refused = PushOutcome.UNAUTHORISED
        self._fetching: asyncio.Task[None] | None = None

    async def get(self) -> str:
        """Raises NoAccessToken."""
        if self._seconds_left() < self.REFRESH_BEFORE_SECONDS:
            fetching = self._fetch_once()
            if fetching is not None and not self._usable():
                await asyncio.wait([fetching], timeout=self.WAIT_SECONDS)
                if not fetching.done():
                    raise NoAccessToken(PushOutcome.RETRY)
        if not self._usable():
            raise NoAccessToken(self._refused)
        return self._token

    def forget(self, token: str) -> None:
        """FCM does not take `token`; the next send waits for another."""
        if token == self._token:
            self._expires_at = 0.0
            self._refused = PushOutcome.UNAUTHORISED

    async def close(self) -> None:
        if self._fetching is not None:
            await asyncio.wait([self._fetching])
        self._session.close()

    def _seconds_left(self) -> float:
        return self._expires_at - self._wall_clock()

    def _usable(self) -> bool:
        return self._seconds_left() > self.USABLE_BEFORE_SECONDS

    def _fetch_once(self) -> asyncio.Task[None] | None:
        if self._fetching is None and self._wall_clock() >= self._next_fetch_at:
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            await asyncio.to_thread(self._google.refresh, self._request)
        except google_errors.GoogleAuthError as error:
            # A transport error never reached Google; a refresh error says whether to try again.
            later = isinstance(error, google_errors.TransportError) or error.retryable
            self._refused = PushOutcome.RETRY if later else PushOutcome.UNAUTHORISED
            _log.warning("fcm_access_token_failed", outcome=self._refused.value)
        else:
            # google-auth keeps the expiry as UTC without a zone.
            self._expires_at = self._google.expiry.replace(tzinfo=UTC).timestamp()
            self._token = self._google.token
        finally:
            self._next_fetch_at = self._wall_clock() + self.PAUSE_SECONDS
            self._fetching = None
