"""`POST /gateways/GATEWAY/events`: what device gateways send, checked, stored and answered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.config import Settings
from app.db import Database
from app.errors import Busy, ConfigurationError
from app.graphql.http import read_body
from app.graphql.limits import Limits
from app.graphql.params import BadRequest, read_json
from app.intake.gateways import events, receiving, signatures
from app.intake.gateways.receiving import Answer
from app.intake.gateways.signatures import Gateway, SignatureRefused

PATH = "/gateways/{gateway}/events"
BODY_BYTES_MAX = 4 * 2**20

_log = structlog.get_logger(__name__)

Secrets = Mapping[Gateway, Sequence[bytes]]


def read_secrets(settings: Settings) -> Secrets:
    """The gateways that may send. Raises ConfigurationError, without saying a secret."""
    found: dict[Gateway, list[bytes]] = {}
    for name, given in settings.gateway_secrets.items():
        try:
            gateway = Gateway(name)
        except ValueError:
            known = ", ".join(Gateway)
            raise ConfigurationError(
                f"WELLWARD_GATEWAY_SECRETS names {name!r}; there are: {known}."
            ) from None
        found[gateway] = signatures.read_secrets(
            gateway, given, setting="WELLWARD_GATEWAY_SECRETS", name=name
        )
    return found


class Gateways:
    def __init__(
        self,
        db: Database,
        secrets: Secrets,
        *,
        now: Callable[[], datetime],
        timeout_seconds: float,
    ) -> None:
        self._db = db
        self._secrets = secrets
        self._now = now
        self._timeout_seconds = timeout_seconds

    def routes(self) -> list[Route]:
        return [Route(PATH, self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        """A success says that the event need not be sent again."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._receive(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except TimeoutError:
            return _failed("TIMEOUT", "The event took too long and was given up.", 408)
        except SignatureRefused as error:
            _log.warning("gateway_refused", fault=error.fault.value)
            return _failed("SIGNATURE_REFUSED", "This is not signed, or not now.", 401)
        except BadRequest as error:
            return _failed(error.code, str(error), error.status)
        except events.Malformed:
            return _failed("BAD_REQUEST", "This is no event that we know.", 400)
        except receiving.UserUnknown:
            return _failed("USER_UNKNOWN", "No member is linked to this user.", 404)
        except receiving.UserTaken:
            _log.error("gateway_user_taken")
            return _failed("USER_TAKEN", "This user is linked to another member.", 409)
        except Busy:
            return _failed("BUSY", "The server is busy; send it again.", 503)
        status = 202 if answer is Answer.ACCEPTED else 200
        return Response(
            orjson.dumps({"status": answer.value}), status, media_type="application/json"
        )

    async def _receive(self, request: Request) -> Answer:
        """Raises SignatureRefused, BadRequest, Malformed, UserUnknown, UserTaken, Busy."""
        gateway = _gateway(request.path_params["gateway"])
        secrets = self._secrets.get(gateway) if gateway is not None else None
        if gateway is None or not secrets:
            raise BadRequest("There is no such gateway.", code="NOT_FOUND", status=404)
        raw = await read_body(request.headers, request.receive, BODY_BYTES_MAX)
        now = self._now()
        signed = signatures.check(gateway, request.headers, raw, secrets=secrets, now=now)
        body: dict[str, Any] = read_json(raw, Limits())
        event = events.read(gateway, body, raw, signed)
        if event is None:
            return Answer.IGNORED
        async with self._db.transaction() as session:
            return await receiving.receive(session, event, raw, now=now)


def _gateway(name: str) -> Gateway | None:
    return Gateway(name) if name in set(Gateway) else None


def _failed(code: str, message: str, status: int) -> Response:
    """In the shape of GraphQL's errors, so that a client reads one kind."""
    body = {"errors": [{"message": message, "extensions": {"code": code}}]}
    headers = {"connection": "close"} if status == 413 else None
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
