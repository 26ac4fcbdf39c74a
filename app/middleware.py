"""What happens to every request: an id, security headers, one line in the log, one count."""

import logging
import re
import time
from os import urandom

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability import RequestNote, bind_request_id, of_operation, write_access

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")

_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_UNLESS_PRESENT = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}
_HSTS = (b"strict-transport-security", b"max-age=31536000")

_SECRET = ("/l/", "/u/")
"""How paths begin that end in a token."""
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines; logged only when they fail."""


class Requests:
    """Outermost of our own layers. Paths are logged without their query strings."""

    def __init__(self, app: ASGIApp, *, graphql_path: str, hsts: bool) -> None:
        self._app = app
        self._graphql_path = graphql_path
        security = [*_SECURITY, _HSTS] if hsts else _SECURITY
        self._security = security
        self._all = [*security, *_UNLESS_PRESENT.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        note = RequestNote.of(scope)
        note.request_id = _request_id(scope)
        bind_request_id(note.request_id)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._headers(message.get("headers", ()), note.request_id)
            elif message["type"] == "websocket.close":
                status = message.get("code", 1000)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._report(scope, note, status, time.perf_counter() - started)

    def _headers(
        self, headers: list[tuple[bytes, bytes]], request_id: str
    ) -> list[tuple[bytes, bytes]]:
        id = (b"x-request-id", request_id.encode())
        present = [name for name, _ in headers if name in _UNLESS_PRESENT]
        if not present:
            return [*headers, *self._all, id]
        added = [header for header in _UNLESS_PRESENT.items() if header[0] not in present]
        return [*headers, *self._security, *added, id]

    def _report(self, scope: Scope, note: RequestNote, status: int, seconds: float) -> None:
        path = scope["path"]
        if scope["type"] == "http" and path == self._graphql_path:
            operation = note.operation or "other"
            count, latency = of_operation(operation, note.outcome or "failed")
            count.inc()
            latency.observe(seconds)
        write_access(
            logging.DEBUG if path in _PROBES and status < 400 else logging.INFO,
            {
                "event": "request",
                "method": scope.get("method", "WEBSOCKET"),
                "path": f"{path[:3]}..." if path.startswith(_SECRET) else path[:200],
                "status": status or None,  # None: the other side hung up.
                "ms": round(seconds * 1000, 2),
                "operation": note.operation,
                "outcome": note.outcome,
                "request_id": note.request_id,
            },
        )


class Shortcut:
    """Innermost: leads the requests of the path that nearly all take past the router and its
    error pages. The application there answers whatever happens."""

    def __init__(self, app: ASGIApp, *, path: str, to: ASGIApp) -> None:
        self._app = app
        self._path = path
        self._to = to

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        short = scope["type"] == "http" and scope["path"] == self._path
        await (self._to if short else self._app)(scope, receive, send)


def _request_id(scope: Scope) -> str:
    """The caller's own id when it is sane, so that a trace spans systems."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value.decode() if _REQUEST_ID.fullmatch(value) else urandom(16).hex()
    return urandom(16).hex()
