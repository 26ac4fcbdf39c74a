"""`POST /gateways/GATEWAY/events`: what device gateways send, checked, stored and answered."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import endpoints
from app.config import Settings
from app.db import Database
from app.endpoints import failed, status
from app.errors import ConfigurationError
from app.graphql.http import read_body
from app.graphql.limits import Limits
from app.graphql.params import BadRequest, read_json
from app.intake.gateways import events, receiving, signatures
from app.intake.gateways.receiving import Answer
from app.intake.gateways.signatures import Gateway

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
        try:
            return await endpoints.told(
                self._receive(request),
                log=_log,
                refused="gateway_refused",
                timeout_seconds=self._timeout_seconds,
            )
        except events.Malformed:
            return failed("BAD_REQUEST", "This is no event that we know.", 400)
        except receiving.UserUnknown:
            return failed("USER_UNKNOWN", "No member is linked to this user.", 404)
        except receiving.UserTaken:
            _log.error("gateway_user_taken")
            return failed("USER_TAKEN", "This user is linked to another member.", 409)

    async def _receive(self, request: Request) -> Response:
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
            return status(Answer.IGNORED)
        async with self._db.transaction() as session:
            answer = await receiving.receive(session, event, raw, now=now)
        return status(answer, 202 if answer is Answer.ACCEPTED else 200)


def _gateway(name: str) -> Gateway | None:
    return Gateway(name) if name in set(Gateway) else None
