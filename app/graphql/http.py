"""GraphQL over HTTP: one POST, one operation, one answer.

https://graphql.github.io/graphql-over-http/draft/. There is no GET: an operation in a URL
would end in logs and caches.
"""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
from graphql import ExecutionResult, OperationType
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from app.adapters.identity import InvalidToken, Reason
from app.errors import Busy, Forbidden, RequestFailed
from app.graphql import executor, masking
from app.graphql.params import NESTED, BadRequest, Params, read_json, read_params
from app.graphql.serving import Serving, TookTooLong, bearer_token
from app.observability import RequestNote
from app.turns import Turn

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
LARGE_BYTES = 32_768
"""What holds hundreds of readings. Of such only a few are worked on at once: each becomes thousands
of objects, and with dozens of them under way the processor's caches hold none."""

Headers = Mapping[str, str]
_Headers = list[tuple[bytes, bytes]]


class Deadline:
    """Around a part of a task: raises TimeoutError in it after so many seconds. Does what
    `asyncio.timeout` does, which can also be moved, at a third of what that costs a request."""

    __slots__ = ("_cancelling", "_expired", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False
        self._timer = task.get_loop().call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._timer.cancel()
        # Somebody else's cancellation at the same time stays one.
        is_ours = self._expired and self._task.uncancel() <= self._cancelling
        if is_ours and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error


class GraphQLOverHttp:
    """An ASGI application for one path."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._known: dict[bytes, Params] = {}
        self._large = Turn(serving.large_at_once, serving.large_wait_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        note = RequestNote.of(scope)
        headers = _read_headers(scope)
        media_type = negotiate(headers.get("accept", ""))
        try:
            status, answer, extra = await self._answer(scope, headers, media_type, receive, note)
            body = orjson.dumps(answer)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the last line: masked and logged
            note.outcome = "failed"
            masked = masking.internal_error(error, correlation_id=note.request_id)
            status, extra, body = 500, [], orjson.dumps({"errors": [masked]})
        await _send(send, status, body, media_type or JSON, extra)

    async def _answer(
        self,
        scope: Scope,
        headers: Headers,
        media_type: str | None,
        receive: Receive,
        note: RequestNote,
    ) -> tuple[int, dict[str, Any], _Headers]:
        """Status, body and further headers."""
        try:
            with Deadline(self._serving.timeout_seconds):
                _check_head(scope["method"], headers, media_type)
                body = await read_body(headers, receive, self._serving.limits.body_bytes)
                if len(body) < LARGE_BYTES:
                    params = self._read(body)
                    viewer = await self._authenticate(headers)
                    answer = await self._run(params, viewer, note)
                else:
                    # Until its turn it is nothing but bytes; nobody waits for who is unknown.
                    viewer = await self._authenticate(headers)
                    async with self._large:
                        answer = await self._run(self._read(body), viewer, note)
        except InvalidToken as error:
            note.outcome = "refused"
            return _token_refused(error)
        except BadRequest as error:
            note.outcome = "refused"
            extra = [(b"allow", b"POST")] if error.status == 405 else []
            if error.status == 413:
                extra.append((b"connection", b"close"))
            return error.status, {"errors": masking.request_errors(error)}, extra
        except Busy as error:
            note.outcome = "busy"
            return 503, {"errors": masking.request_errors(error)}, [(b"retry-after", b"1")]
        except RequestFailed as error:
            note.outcome = "refused"
            status = 403 if isinstance(error, Forbidden) else _request_error_status(media_type)
            return status, {"errors": masking.request_errors(error)}, []
        except executor.CoercionFailed as error:
            note.outcome = "refused"
            errors = masking.coercion_errors(error.errors)
            return _request_error_status(media_type), {"errors": errors}, []
        except TimeoutError:
            note.outcome = "timeout"
            errors = masking.request_errors(TookTooLong())
            return 503, {"errors": errors}, [(b"retry-after", b"1")]
        note.outcome = "errors" if "errors" in answer else "ok"
        return 200, answer, []

    async def _authenticate(self, headers: Headers) -> Any:
        """Raises InvalidToken, RequestFailed."""
        return await self._serving.authenticate(
            token=bearer_token(headers.get("authorization")),
            acting_for=headers.get("x-acting-for"),
        )

    async def _run(self, params: Params, viewer: Any, note: RequestNote) -> dict[str, Any]:
        """Raises RequestFailed, executor.CoercionFailed."""
        serving = self._serving
        operation = serving.documents.find(params)
        if operation.trusted:
            note.operation = operation.name or ""
        if operation.type is OperationType.SUBSCRIPTION:
            raise BadRequest("Subscriptions run over WebSocket, protocol graphql-transport-ws.")
        result = await serving.run(operation, params.variables, viewer, note.request_id)
        return response(result, note.request_id)

    def _read(self, body: bytes) -> Params:
        """Raises BadRequest. Screens are asked for with the same few bytes again and again."""
        params = self._known.get(body)
        if params is None:
            params = read_params(read_json(body, self._serving.limits))
            variables = params.variables.values()
            if len(body) <= _KNOWN_BYTES_MAX and not any(
                isinstance(it, NESTED) for it in variables
            ):
                if len(self._known) >= _KNOWN_MAX:
                    self._known.clear()
                self._known[body] = params
        return params


_KNOWN_MAX = 1024
_KNOWN_BYTES_MAX = 512


_READ = {
    name.encode(): name
    for name in (
        *("accept", "authorization", "content-encoding", "content-length", "content-type"),
        "x-acting-for",
    )
}


def _read_headers(scope: Scope) -> Headers:
    """Those that matter here, by lower-case name; of one that comes twice the first."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        text = _READ.get(name)
        if text is not None and text not in found:
            found[text] = value.decode("latin-1")
    return found


def response(result: ExecutionResult, request_id: str) -> dict[str, Any]:
    if not result.errors:
        return {"data": result.data}
    errors = masking.formatted(result.errors, correlation_id=request_id)
    return {"errors": errors, "data": result.data}


def _check_head(method: str, headers: Headers, media_type: str | None) -> None:
    """Raises BadRequest."""
    if method != "POST":
        raise BadRequest("Send a POST.", code="METHOD_NOT_ALLOWED", status=405)
    if media_type is None:
        raise BadRequest(f"Accept {GRAPHQL_JSON} or {JSON}.", code="NOT_ACCEPTABLE", status=406)
    if not is_utf8_json(headers.get("content-type", "")):
        raise BadRequest(f"Send {JSON} in UTF-8.", code="UNSUPPORTED_MEDIA_TYPE", status=415)
    if headers.get("content-encoding", "identity") != "identity":
        raise BadRequest("Send the body uncompressed.", code="UNSUPPORTED_MEDIA_TYPE", status=415)


async def read_body(headers: Headers, receive: Receive, bytes_max: int) -> bytes:
    """Raises BadRequest when the body is larger, at the first byte too many at the latest."""
    declared = headers.get("content-length", "")
    # ASCII digits only: int() also takes signs, underscores and other scripts.
    if len(declared) > 15 or (
        declared.isascii() and declared.isdigit() and int(declared) > bytes_max
    ):
        raise _too_large(bytes_max)
    chunks: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            raise _too_large(bytes_max)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(bytes_max: int) -> BadRequest:
    return BadRequest(
        f"The body is larger than {bytes_max} bytes.", code="BODY_TOO_LARGE", status=413
    )


def _request_error_status(media_type: str | None) -> int:
    """The older media type says 200, so that intermediaries' own errors stand apart."""
    return 400 if media_type == GRAPHQL_JSON else 200


def _token_refused(error: InvalidToken) -> tuple[int, dict[str, Any], _Headers]:
    refused = RequestFailed("The sign-in token was refused: sign in again.")
    refused.code = "UNAUTHENTICATED"
    if error.reason is Reason.UNAVAILABLE:
        refused = RequestFailed("The sign-in token cannot be checked now; try again.")
        refused.code = "UNAVAILABLE"
        return 503, {"errors": masking.request_errors(refused)}, [(b"retry-after", b"5")]
    challenge = f'Bearer error="invalid_token", error_description="{error.reason.value}"'
    return (
        401,
        {"errors": masking.request_errors(refused)},
        [(b"www-authenticate", challenge.encode())],
    )


@lru_cache(maxsize=64)
def is_utf8_json(content_type: str) -> bool:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [part[8:].strip('"') for part in parameters if part.startswith("charset=")]
    return media_type == JSON and all(charset in ("utf-8", "utf8") for charset in charsets)


@lru_cache(maxsize=256)
def negotiate(accept: str) -> str | None:
    """The media type to answer with; None when the client takes neither.

    Without a preference it is `application/json`, which every client reads; of two equally
    wanted ones the GraphQL type, because its status codes say more.
    """
    if not accept.strip():
        return JSON
    wanted: dict[str, float] = {}
    for part in accept.split(","):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        wanted[media_range] = _quality(parameters)
    wildcard = wanted.get("application/*", wanted.get("*/*", 0.0))
    plain = wanted.get(JSON, wildcard)
    # A wildcard alone does not say that the client knows the newer type.
    graphql = wanted.get(GRAPHQL_JSON, 0.0)
    if max(plain, graphql) <= 0:
        return None
    return GRAPHQL_JSON if graphql >= plain else JSON


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


async def _send(send: Send, status: int, body: bytes, media_type: str, extra: _Headers) -> None:
    headers = [
        (b"content-type", media_type.encode() + b"; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"vary", b"accept"),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
