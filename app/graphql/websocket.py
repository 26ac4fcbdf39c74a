"""Subscriptions over WebSocket, protocol graphql-transport-ws.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. The same limits and trusted
documents as over HTTP. Nothing is kept for a closed connection.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import orjson
from graphql import ExecutionResult, OperationType
from starlette.types import Message, Receive, Scope, Send

from app.adapters.identity import InvalidToken, Reason
from app.errors import Busy, RequestFailed
from app.graphql import executor, masking
from app.graphql.context import Viewer
from app.graphql.documents import Operation
from app.graphql.http import response
from app.graphql.limits import LimitExceeded
from app.graphql.params import BadRequest, Params, read_json, read_params
from app.graphql.serving import Serving, TookTooLong, bearer_token
from app.observability import SUBSCRIPTIONS, RequestNote

PROTOCOL = "graphql-transport-ws"

GOING_AWAY = 1001
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013
BAD_MESSAGE = 4400
UNAUTHORIZED = 4401
NOT_ACCEPTABLE = 4406
INIT_TIMEOUT = 4408
SUBSCRIBER_EXISTS = 4409
TOO_MANY_INITS = 4429

_ID_CHARS_MAX = 128


class GraphQLOverWebSocket:
    """An ASGI application for one path."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        assert message["type"] == "websocket.connect"
        if PROTOCOL not in scope.get("subprotocols", ()):
            await send({"type": "websocket.accept"})
            reason = f"The subprotocol must be {PROTOCOL}"
            await send({"type": "websocket.close", "code": NOT_ACCEPTABLE, "reason": reason})
            return
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        await _Connection(self._serving, RequestNote.of(scope), receive, send).serve()


class _Closed(Exception):
    """Ends the connection with a code and a reason of the protocol."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Connection:
    """One WebSocket, from its acceptance to its end.

    One task reads; each operation runs in a task of its own. Only the reader closes: the
    timers and the operations ask for it by `_end`.
    """

    def __init__(self, serving: Serving, note: RequestNote, receive: Receive, send: Send) -> None:
        self._serving = serving
        self._note = note
        self._receive = receive
        self._transport_send = send
        self._viewer: Viewer | None = None
        self._init_received = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._end: asyncio.Future[_Closed] = asyncio.get_running_loop().create_future()

    async def serve(self) -> None:
        self._close_in(
            self._serving.init_timeout_seconds, INIT_TIMEOUT, "Connection initialisation timeout"
        )
        reader = asyncio.create_task(self._read())
        try:
            waiting: set[asyncio.Future[Any]] = {reader, self._end}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._end.done():
                await self._close(self._end.result())
        finally:
            if self._timer is not None:
                self._timer.cancel()
            tasks = [reader, *self._tasks]
            for task in tasks:
                task.cancel()
            # Their subscriptions are closed before the connection counts as gone.
            await asyncio.gather(*tasks, return_exceptions=True)
            self._note.outcome = "closed"

    async def _read(self) -> None:
        try:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._handle(self._parse(message))
        except _Closed as closed:
            self._ask_to_close(closed)
        except Exception as error:  # noqa: BLE001 - masked and logged
            masking.internal_error(error, correlation_id=self._note.request_id)
            self._ask_to_close(_Closed(INTERNAL_ERROR, "Internal error"))

    def _parse(self, message: Message) -> dict[str, Any]:
        text = message.get("text")
        if text is None:
            raise _Closed(BAD_MESSAGE, "Messages must be text")
        limits = self._serving.limits
        if len(text) > limits.body_bytes or len(text.encode()) > limits.body_bytes:
            raise _Closed(BAD_MESSAGE, f"A message is at most {limits.body_bytes} bytes")
        try:
            return read_json(text, limits)
        except BadRequest as error:
            raise _Closed(BAD_MESSAGE, str(error)) from None

    async def _handle(self, message: dict[str, Any]) -> None:
        """Raises _Closed."""
        match message.get("type"):
            case "connection_init":
                await self._init(message.get("payload"))
            case "subscribe":
                await self._subscribe(_id(message), message.get("payload"))
            case "complete":
                task = self._operations.pop(_id(message), None)
                if task is not None:
                    task.cancel()
            case "ping":
                await self._send({"type": "pong"})
            case "pong":
                pass
            case _:
                raise _Closed(BAD_MESSAGE, "Unknown message type")

    async def _init(self, payload: Any) -> None:
        if self._init_received:
            raise _Closed(TOO_MANY_INITS, "Too many initialisation requests")
        self._init_received = True
        if not isinstance(payload, dict | None):
            raise _Closed(BAD_MESSAGE, "The payload of connection_init must be an object")
        viewer = await self._authenticate(payload or {})
        if viewer.member_id is None and viewer.staff_id is None:
            raise _Closed(UNAUTHORIZED, "Unauthorized")
        if self._timer is not None:
            self._timer.cancel()
        if viewer.expires_at is not None:
            left = (viewer.expires_at - self._serving.now()).total_seconds()
            self._close_in(left, UNAUTHORIZED, "The token has expired")
        self._viewer = viewer
        await self._send({"type": "connection_ack"})

    async def _authenticate(self, payload: dict[str, Any]) -> Viewer:
        authorization, acting_for = _sign_in(payload)
        try:
            token = bearer_token(authorization)
            if token is None:
                raise InvalidToken(Reason.INVALID)
            return await self._serving.authenticate(token=token, acting_for=acting_for)
        except InvalidToken as error:
            if error.reason is Reason.UNAVAILABLE:
                raise _Closed(TRY_AGAIN_LATER, "The token cannot be checked now") from None
            raise _Closed(UNAUTHORIZED, "Unauthorized") from None
        except Busy:
            raise _Closed(TRY_AGAIN_LATER, "The server is busy") from None
        except RequestFailed:
            raise _Closed(UNAUTHORIZED, "Unauthorized") from None

    async def _subscribe(self, id: str, payload: Any) -> None:
        if self._viewer is None:
            raise _Closed(UNAUTHORIZED, "Unauthorized")
        if id in self._operations:
            raise _Closed(SUBSCRIBER_EXISTS, f"Subscriber for {id} already exists")
        if not isinstance(payload, dict):
            raise _Closed(BAD_MESSAGE, "The payload of subscribe must be an object")
        try:
            params = read_params(payload)
        except BadRequest as error:
            raise _Closed(BAD_MESSAGE, str(error)) from None
        if len(self._operations) >= self._serving.subscriptions_max:
            most = self._serving.subscriptions_max
            many = LimitExceeded(f"At most {most} operations at the same time.")
            await self._send_errors(id, masking.request_errors(many))
            return
        task = asyncio.create_task(self._operate(id, params, self._viewer))
        self._operations[id] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _operate(self, id: str, params: Params, viewer: Viewer) -> None:
        """One operation, from its document to `complete` or `error`."""
        with suppress(_Closed):
            errors = await self._run(id, params, viewer)
            # Free before the last message: the client may use the id again once it has it.
            self._operations.pop(id, None)
            if errors:
                await self._send_errors(id, errors)
            else:
                await self._send({"id": id, "type": "complete"})

    async def _run(self, id: str, params: Params, viewer: Viewer) -> list[dict[str, Any]]:
        """Send the results; why there are none, when it did not begin. Raises _Closed."""
        serving = self._serving
        try:
            operation = serving.documents.find(params)
            if operation.type is OperationType.SUBSCRIPTION:
                return await self._stream(id, operation, params, viewer)
            async with asyncio.timeout(serving.timeout_seconds):
                result = await serving.run(
                    operation, params.variables, viewer, self._note.request_id
                )
            await self._send_next(id, result)
        except _Closed:
            raise
        except RequestFailed as error:
            return masking.request_errors(error)
        except executor.CoercionFailed as error:
            return masking.coercion_errors(error.errors)
        except TimeoutError:
            return masking.request_errors(TookTooLong())
        except Exception as error:  # noqa: BLE001 - masked and logged
            return [masking.internal_error(error, correlation_id=self._note.request_id)]
        return []

    async def _stream(
        self, id: str, operation: Operation, params: Params, viewer: Viewer
    ) -> list[dict[str, Any]]:
        """Send each event; why there are none, when it did not begin."""
        serving = self._serving
        make_context = partial(
            serving.make_context,
            viewer,
            request_id=self._note.request_id,
            operation=operation.name or "",
        )
        found = await executor.subscribe(
            operation.plan, variables=params.variables, make_context=make_context
        )
        if isinstance(found, ExecutionResult):
            return masking.formatted(found.errors or (), correlation_id=self._note.request_id)
        with SUBSCRIPTIONS.track_inprogress():
            async with aclosing(_closable(found)) as results:
                async for result in results:
                    await self._send_next(id, result)
        return []

    async def _send_next(self, id: str, result: ExecutionResult) -> None:
        payload = response(result, self._note.request_id)
        await self._send({"id": id, "type": "next", "payload": payload})

    async def _send_errors(self, id: str, errors: list[dict[str, Any]]) -> None:
        await self._send({"id": id, "type": "error", "payload": errors})

    async def _send(self, message: dict[str, Any]) -> None:
        text = orjson.dumps(message).decode()
        try:
            await self._transport_send({"type": "websocket.send", "text": text})
        except Exception:  # noqa: BLE001 - servers differ in what they raise; nobody listens
            raise _Closed(GOING_AWAY, "Nobody listens") from None

    async def _close(self, closed: _Closed) -> None:
        # The client may be gone already. A reason is at most 123 bytes on the wire.
        with suppress(Exception):
            reason = closed.reason.encode()[:120].decode(errors="ignore")
            await self._transport_send(
                {"type": "websocket.close", "code": closed.code, "reason": reason}
            )

    def _close_in(self, seconds: float, code: int, reason: str) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(seconds, 0), self._ask_to_close, _Closed(code, reason))

    def _ask_to_close(self, closed: _Closed) -> None:
        if not self._end.done():
            self._end.set_result(closed)


def _closable(results: AsyncIterator[ExecutionResult]) -> Any:
    """graphql-core's mapping of a subscription is a generator and closes its source."""
    assert hasattr(results, "aclose")
    return results


def _id(message: dict[str, Any]) -> str:
    found = message.get("id")
    if not isinstance(found, str) or not 0 < len(found) <= _ID_CHARS_MAX:
        raise _Closed(BAD_MESSAGE, f"`id` must be text of 1 to {_ID_CHARS_MAX} characters")
    return found


def _sign_in(payload: dict[str, Any]) -> tuple[str | None, str | None]:
    """The `Authorization` value and the member to act for. Raises _Closed."""
    named = {str(key).lower(): value for key, value in payload.items()}
    authorization = named.get("authorization")
    acting_for = named.get("actingfor", named.get("x-acting-for"))
    for value in (authorization, acting_for):
        if not isinstance(value, str | None):
            raise _Closed(BAD_MESSAGE, "`authorization` and `actingFor` must be text")
    return authorization, acting_for
