"""A loopback FCM (HTTP v1) with its OAuth token endpoint, for developers and tests.

Open its address in a browser to see pushes arrive. What it answers is chosen by the prefix of
the registration token before `:`; any other token is accepted.

ok           accepted                      quota    429, Retry-After: 7
unreg        404 UNREGISTERED              unavail  503, Retry-After: 1
invalid      400 INVALID_ARGUMENT          later    503, Retry-After: a date 30 s ahead
sender       403 SENDER_ID_MISMATCH        flaky    503 the first time, then accepted
apns         401 THIRD_PARTY_AUTH_ERROR    internal 500 INTERNAL
html         a gateway's 502 page          slow     accepted, answered after `slow_seconds`
drop         accepted, and the connection closed in the middle of the answer
reset        accepted, and the connection reset without an answer
twice        accepted, and answered 503 the first time: FCM has done that; then accepted again
"""

import asyncio
import itertools
import json
import os
import re
import secrets
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.adapters.fcm_sandbox_page import PAGE

PROJECT = "wellward-sandbox"
KEPT_MESSAGES = 100_000
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# What google-auth signs as the audience whatever the token address is.
_AUDIENCE = "https://oauth2.googleapis.com/token"
_SCOPES = {
    "https://www.googleapis.com/auth/firebase.messaging",
    "https://www.googleapis.com/auth/cloud-platform",
}
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_RESERVED_DATA_KEY = re.compile(r"from|message_type|gcm.*|google.*")
_WEB_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")

# Prefix: HTTP status, google.rpc status, FCM code, message, headers.
_REFUSALS: Mapping[str, tuple[int, str, str, str, Mapping[str, str]]] = {
    "unreg": (404, "NOT_FOUND", "UNREGISTERED", "Requested entity was not found.", {}),
    "quota": (
        429,
        "RESOURCE_EXHAUSTED",
        "QUOTA_EXCEEDED",
        "Quota exceeded for quota metric 'Messages sent' and limit 'Messages per minute'.",
        {"Retry-After": "7"},
    ),
    "unavail": (
        503,
        "UNAVAILABLE",
        "UNAVAILABLE",
        "The service is currently unavailable.",
        {"Retry-After": "1"},
    ),
    "internal": (500, "INTERNAL", "INTERNAL", "Internal error encountered.", {}),
    "invalid": (
        400,
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "The registration token is not a valid FCM registration token",
        {},
    ),
    "sender": (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", "SenderId mismatch", {}),
    "apns": (
        401,
        "UNAUTHENTICATED",
        "THIRD_PARTY_AUTH_ERROR",
        "Auth error from APNS or Web Push Service",
        {},
    ),
}


class Sandbox:
    """What the sandbox has seen. The public numbers of seconds may be changed live."""

    def __init__(
        self,
        credentials: Mapping[str, str],
        *,
        latency_seconds: float = 0,
        slow_seconds: float = 30,
        token_seconds: int = 3600,
    ) -> None:
        key = serialization.load_pem_private_key(credentials["private_key"].encode(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._public_key = key.public_key()
        self._issuer = credentials["client_email"]
        self._project = credentials["project_id"]
        self.latency_seconds = latency_seconds
        self.slow_seconds = slow_seconds
        self.token_seconds = token_seconds
        self.token_latency_seconds = 0.0
        self.messages: deque[dict[str, Any]] = deque(maxlen=KEPT_MESSAGES)
        self.counts: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        # A message may go to several phones, but to each of them once.
        self._arrivals: Counter[tuple[str, str]] = Counter()
        self.requests_of: Counter[str] = Counter()
        """Requests that arrived whole, by registration token."""
        self._failed_once: set[tuple[str, str]] = set()
        self._access_tokens: dict[str, float] = {}
        self._under_way = 0

    def revoke_tokens(self) -> None:
        self._access_tokens.clear()

    async def token(self, request: Request) -> Response:
        """RFC 7523: a signed assertion for an access token."""
        self.counts["token_requests"] += 1
        form = parse_qs((await request.body()).decode())
        if form.get("grant_type") != [_JWT_BEARER]:
            return _oauth_error("unsupported_grant_type", "Invalid grant_type")
        try:
            claims = jwt.decode(
                form["assertion"][0],
                self._public_key,
                algorithms=["RS256"],
                audience=_AUDIENCE,
                issuer=self._issuer,
                options={"require": ["exp", "iat", "iss"]},
            )
        except (KeyError, jwt.InvalidTokenError):
            return _oauth_error("invalid_grant", "Invalid JWT Signature.")
        if not _SCOPES & set(str(claims.get("scope", "")).split()):
            return _oauth_error("invalid_scope", "Invalid OAuth scope or ID token audience.")
        await asyncio.sleep(self.token_latency_seconds)
        self.counts["tokens_issued"] += 1
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self._access_tokens[token] = time.monotonic() + self.token_seconds
        answer = {"access_token": token, "expires_in": self.token_seconds, "token_type": "Bearer"}
        return JSONResponse(answer)

    async def send(self, request: Request) -> Response:
        self.counts["requests"] += 1
        self._under_way += 1
        self.counts["concurrent_max"] = max(self.counts["concurrent_max"], self._under_way)
        try:
            body = await request.body()
            if self.latency_seconds:
                await asyncio.sleep(self.latency_seconds)
            return await self._answer(request, body)
        finally:
            self._under_way -= 1

    async def _answer(self, request: Request, body: bytes) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or self._access_tokens.get(token, 0) < time.monotonic():
            self.counts["unauthenticated"] += 1
            text = "Request had invalid authentication credentials."
            return _error(401, "UNAUTHENTICATED", text)
        if request.path_params["project"] != self._project:
            return _error(403, "PERMISSION_DENIED", "Permission denied on this project.")
        message = _message(body)
        fault = _fault(message)
        if fault is not None:
            violation = {"@type": _BAD_REQUEST, "fieldViolations": [{"field": fault}]}
            text = f"Invalid value at '{fault}'"
            return _error(400, "INVALID_ARGUMENT", text, details=[violation])

        prefix = message["token"].partition(":")[0]
        self.requests_of[message["token"]] += 1
        if prefix == "twice" and self._is_first(message):
            self._accept(message)
            prefix = "unavail"
        refusal = self._refusal(prefix, message)
        if refusal is not None:
            self.counts[f"refused_{prefix}"] += 1
            return refusal
        answer = {"name": self._accept(message)}
        if prefix == "slow":
            await asyncio.sleep(self.slow_seconds)
        if prefix == "reset":
            _reset(request)
        return _DroppedAnswer(answer) if prefix == "drop" else JSONResponse(answer)

    def _refusal(self, prefix: str, message: Mapping[str, Any]) -> Response | None:
        if prefix == "html":
            return HTMLResponse("<!DOCTYPE html><title>Error 502 (Server Error)!!1</title>", 502)
        headers: Mapping[str, str] = {}
        if prefix == "later":
            headers = {"Retry-After": formatdate(time.time() + 30, usegmt=True)}
            prefix = "unavail"
        elif prefix == "flaky":
            if not self._is_first(message):
                return None
            prefix = "unavail"
        if prefix not in _REFUSALS:
            return None
        status, rpc_status, code, text, own_headers = _REFUSALS[prefix]
        details = [{"@type": _FCM_ERROR, "errorCode": code}]
        return _error(status, rpc_status, text, details=details, headers=headers or own_headers)

    def _is_first(self, message: Mapping[str, Any]) -> bool:
        attempt = (message["token"], str(message.get("data", {}).get("messageId")))
        known = attempt in self._failed_once
        self._failed_once.add(attempt)
        return not known

    def _accept(self, message: Mapping[str, Any]) -> str:
        number = next(self._numbers)
        name = f"projects/{self._project}/messages/0:{number}"
        message_id = message.get("data", {}).get("messageId")
        self.counts["accepted"] += 1
        if message_id is not None:
            self._arrivals[message_id, message["token"]] += 1
        self.messages.append(
            {
                "number": number,
                "name": name,
                "at": time.time(),
                "token": message["token"],
                "messageId": message_id,
                "title": message.get("notification", {}).get("title"),
                "body": message.get("notification", {}).get("body"),
                "data": message.get("data", {}),
                "message": message,
            }
        )
        return name

    async def stats(self, request: Request) -> Response:
        duplicates = {key: n for (key, _), n in self._arrivals.items() if n > 1}
        seen = [{key: m[key] for key in ("token", "messageId", "name")} for m in self.messages]
        return JSONResponse({**self.counts, "duplicates": duplicates, "messages": seen})

    async def list_messages(self, request: Request) -> Response:
        """`?after=N`: those numbered above N, oldest first."""
        after = request.query_params.get("after", "0")
        number = int(after) if after.isdigit() else 0
        return JSONResponse([m for m in self.messages if m["number"] > number])

    async def page(self, request: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Cache-Control": "no-store"})


class _DroppedAnswer(JSONResponse):
    """Promises a whole answer and stops in the middle; the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


def _reset(request: Request) -> None:
    """Have the kernel answer RST, as when the server's machine dies."""
    # ASGI has no word for it: `receive` is a method of uvicorn's request.
    transport = request.receive.__self__.transport  # type: ignore[attr-defined]
    at_once = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    transport.abort()


def _error(
    status: int,
    rpc_status: str,
    text: str,
    *,
    details: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    error = {"code": status, "message": text, "status": rpc_status}
    body = {"error": {**error, "details": details} if details else error}
    return JSONResponse(body, status, headers=headers)


def _oauth_error(error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, 400)


def _message(body: bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return {}
    return message if isinstance(message, dict) else {}


def _fault(message: Mapping[str, Any]) -> str | None:
    """The path of a field that the real FCM, or the push service behind it, would refuse."""
    token = message.get("token")
    if not isinstance(token, str) or not token:
        return "message.token"
    data = message.get("data", {})
    if not isinstance(data, dict):
        return "message.data"
    for key, value in data.items():
        if not isinstance(value, str) or _RESERVED_DATA_KEY.fullmatch(key):
            return f"message.data[{key}]"
    topic = message.get("webpush", {}).get("headers", {}).get("Topic")
    if topic is not None and not _WEB_TOPIC.fullmatch(topic):
        return "message.webpush.headers.Topic"
    if len(json.dumps(message, ensure_ascii=False).encode()) > 4096:
        return "message"
    return None


def create_sandbox(
    credentials_path: Path,
    *,
    latency_seconds: float = 0,
    slow_seconds: float = 30,
    token_seconds: int = 3600,
) -> Starlette:
    """The sandbox for credentials made by `write_credentials`; `app.state.sandbox` is its
    `Sandbox`."""
    sandbox = Sandbox(
        json.loads(credentials_path.read_text()),
        latency_seconds=latency_seconds,
        slow_seconds=slow_seconds,
        token_seconds=token_seconds,
    )
    app = Starlette(
        routes=[
            Route("/", sandbox.page),
            Route("/token", sandbox.token, methods=["POST"]),
            Route("/v1/projects/{project}/messages:send", sandbox.send, methods=["POST"]),
            Route("/stats", sandbox.stats),
            Route("/messages", sandbox.list_messages),
        ]
    )
    app.state.sandbox = sandbox
    return app


def write_credentials(path: Path, token_uri: str) -> None:
    """A service-account file with a fresh key, readable by its owner only."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem.decode(),
        "client_email": f"firebase-adminsdk@{PROJECT}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(account, file, indent=2)


def run(host: str, port: int, credentials_path: Path, *, latency_seconds: float = 0) -> None:
    """Serve until interrupted. Credentials of an earlier run at the same address are kept, so
    that a worker need not be restarted with the sandbox."""
    url = f"http://{host}:{port}"
    if _token_uri(credentials_path) != f"{url}/token":
        write_credentials(credentials_path, f"{url}/token")
    sys.stdout.write(
        f"Pushes arrive at {url}\n\n"
        f"export WELLWARD_FCM_CREDENTIALS={credentials_path.resolve()}\n"
        f"export WELLWARD_FCM_BASE_URL={url}\n"
    )
    sys.stdout.flush()
    uvicorn.run(
        create_sandbox(credentials_path, latency_seconds=latency_seconds),
        host=host,
        port=port,
        log_level="warning",
        # Longer than the provider keeps idle connections, as the real FCM does.
        timeout_keep_alive=240,
        timeout_graceful_shutdown=2,
    )


def _token_uri(credentials_path: Path) -> str | None:
    try:
        uri = json.loads(credentials_path.read_text())["token_uri"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(uri)
