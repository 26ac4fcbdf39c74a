"""A loopback JPush (REST API v3), for developers and tests.

What it answers is chosen by the prefix of the registration id before `:`; any other id is
accepted.

gone      400, 1011 no such target        barred    403, 2003 the app is barred
invalid   400, 1003 invalid parameter     broken    500, 1000 internal error
quota     429, 2002, X-Rate-Limit-Reset: 7  timeout 503, 1030 timed out inside
html      a gateway's 502 page            drop      accepted, the answer cut off
"""

import base64
import binascii
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

BODY_BYTES_MAX = 4000
_KEYS = {"platform", "audience", "notification", "message", "options", "cid", "callback"}
_ERRORS: Mapping[str, tuple[int, int, str, Mapping[str, str]]] = {
    "gone": (400, 1011, "cannot find user by this audience", {}),
    "invalid": (400, 1003, "The registration_id is not valid", {}),
    "barred": (403, 2003, "This application has been limited to use api", {}),
    "broken": (500, 1000, "Internal error", {}),
    "quota": (
        429,
        2002,
        "Rate limit exceeded",
        {"X-Rate-Limit-Limit": "600", "X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": "7"},
    ),
    "timeout": (503, 1030, "Internal timeout", {}),
}


class JPushSandbox:
    def __init__(self, app_key: str, master_secret: str) -> None:
        self._credentials = f"{app_key}:{master_secret}"
        self._numbers = itertools.count(1)
        self.requests = 0
        self.pushes: list[Mapping[str, Any]] = []
        """Bodies that were accepted."""
        self.arrivals: Counter[tuple[str, str]] = Counter()
        """By message and registration id."""

    async def push(self, request: Request) -> Response:
        self.requests += 1
        raw = await request.body()
        if not self._is_known(request):
            return _error(401, 1004, "Authen failed")
        if len(raw) > BODY_BYTES_MAX:
            return _error(400, 1005, "The length of the push is too long")
        try:
            body = json.loads(raw)
            (token,) = body["audience"]["registration_id"]
            extras = body["notification"]["android"]["extras"]
        except (ValueError, KeyError, TypeError):
            return _error(400, 1003, "Parse JSON error")
        if "platform" not in body:
            return _error(400, 1002, "Missing parameter platform")
        if not body.keys() <= _KEYS:
            return _error(400, 1009, "The push object has an unsupported key")
        prefix = token.partition(":")[0]
        if prefix == "html":
            return HTMLResponse("<html><title>502 Bad Gateway</title></html>", 502)
        if prefix in _ERRORS:
            status, code, text, headers = _ERRORS[prefix]
            return _error(status, code, text, headers)
        self.pushes.append(body)
        self.arrivals[extras.get("messageId", ""), token] += 1
        answer = {"sendno": "0", "msg_id": str(next(self._numbers))}
        return _Cut(answer) if prefix == "drop" else JSONResponse(answer)

    def _is_known(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        try:
            return scheme == "Basic" and base64.b64decode(given).decode() == self._credentials
        except (binascii.Error, ValueError):
            return False


class _Cut(JSONResponse):
    """Promises a whole answer and stops in the middle."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


def _error(status: int, code: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": text}}, status, headers=headers)


def create_sandbox(app_key: str, master_secret: str) -> Starlette:
    """`app.state.sandbox` is its `JPushSandbox`."""
    sandbox = JPushSandbox(app_key, master_secret)
    app = Starlette(routes=[Route("/v3/push", sandbox.push, methods=["POST"])])
    app.state.sandbox = sandbox
    return app
