"""What the endpoints beside GraphQL have in common."""

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.errors import Busy
from app.graphql.params import BadRequest
from app.intake.gateways.signatures import SignatureRefused


async def told(
    taking: Awaitable[Response], *, log: Any, refused: str, timeout_seconds: float
) -> Response:
    """The answer to a signed event, or what kept it from being taken. A success says that the
    event need not be told again. `refused` is what is logged of a bad signature."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await taking
    except ClientDisconnect:
        return Response(status_code=400)
    except TimeoutError:
        return failed("TIMEOUT", "The event took too long and was given up.", 408)
    except SignatureRefused as error:
        log.warning(refused, fault=error.fault.value)
        return failed("SIGNATURE_REFUSED", "This is not signed, or not now.", 401)
    except BadRequest as error:
        return failed(error.code, str(error), error.status)
    except Busy:
        return busy()


def busy() -> Response:
    return failed("BUSY", "The server is busy; send it again.", 503)


def status(code: str, http_status: int = 200) -> Response:
    """What became of an event."""
    return Response(orjson.dumps({"status": code}), http_status, media_type="application/json")


def failed(code: str, message: str, http_status: int) -> Response:
    """In the shape of GraphQL's errors, so that a client reads one kind."""
    body = {"errors": [{"message": message, "extensions": {"code": code}}]}
    headers = {"connection": "close"} if http_status == 413 else None
    return Response(orjson.dumps(body), http_status, headers, media_type="application/json")


def read_uuid(text: str) -> UUID | None:
    """Of its 32 hexadecimal digits."""
    try:
        found = UUID(hex=text)
    except ValueError:
        return None
    return found if found.hex == text else None
