"""`POST /messages/CHANNEL/events`: what an SMS gateway or mail server tells of messages.

Provider-neutral JSON, signed by Standard Webhooks as payment events are. It may be told twice, and
out of order.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
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
from app.intake.gateways import signatures
from app.intake.gateways.signatures import Gateway
from app.nudges import receipts, sms_rules
from app.nudges.gate import Channel
from app.nudges.receipts import Fate, Taken, Told

PATH = "/messages/{channel}/events"
BODY_BYTES_MAX = 64 * 2**10
SCHEME = Gateway.OPEN_WEARABLES
"""The one of the gateways that signs by Standard Webhooks."""
_CHANNELS = {"sms": Channel.SMS, "email": Channel.EMAIL}
# A message's id, alone, in our Message-ID, or in the address that an e-mail returned to.
_REFERENCE = re.compile(r"<?(?:[A-Za-z0-9._-]{1,30}\+)?([0-9a-f]{32})(?:@[A-Za-z0-9.-]{1,255})?>?")

_log = structlog.get_logger(__name__)

Secrets = Mapping[str, Sequence[bytes]]


class Outcome(BaseModel):
    """What became of a message; anything else in it is not read."""

    model_config = ConfigDict(extra="ignore")

    type: Literal[
        "sms.delivered", "sms.failed", "email.delivered", "email.bounced", "email.complained"
    ]
    reference: Annotated[str, Field(max_length=400)]
    permanent: bool = False
    """Of one that failed or bounced: nobody is there, or it may work another time."""

    def fate(self) -> Fate:
        match self.type.partition(".")[2]:
            case "delivered":
                return Fate.DELIVERED
            case "complained":
                return Fate.COMPLAINED
        return Fate.GONE if self.permanent else Fate.FAILED


class Answer(BaseModel):
    """What somebody answered to an SMS. It is not kept."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["sms.received"]
    sender: Annotated[str, Field(alias="from", pattern=r"^\+[1-9][0-9]{6,14}$")]
    text: Annotated[str, Field(max_length=2000)]


def read_secrets(settings: Settings) -> Secrets:
    """Who may tell. Raises ConfigurationError, without saying a secret."""
    setting, found = "WELLWARD_MESSAGE_SECRETS", {}
    for name, given in settings.message_secrets.items():
        if name not in _CHANNELS:
            raise ConfigurationError(f"{setting} names {name!r}; there are: sms, email.")
        found[name] = signatures.read_secrets(SCHEME, given, setting=setting, name=name)
    return found


class MessageEvents:
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
                self._answer(request),
                log=_log,
                refused="message_event_refused",
                timeout_seconds=self._timeout_seconds,
            )
        except ValidationError:
            return failed("BAD_REQUEST", "This is no event that we know.", 400)

    async def _answer(self, request: Request) -> Response:
        taken = await self._receive(request)
        if taken is Taken.EARLY:
            return failed("TOO_EARLY", "It is being sent; tell it again.", 503)
        return status(taken)

    async def _receive(self, request: Request) -> Taken:
        """Raises SignatureRefused, BadRequest, ValidationError, Busy."""
        name = request.path_params["channel"]
        secrets = self._secrets.get(name)
        if not secrets:
            raise BadRequest("There is no such channel.", code="NOT_FOUND", status=404)
        raw = await read_body(request.headers, request.receive, BODY_BYTES_MAX)
        now = self._now()
        signatures.check(SCHEME, request.headers, raw, secrets=secrets, now=now)
        body = read_json(raw, Limits())
        kind = str(body.get("type"))
        if not kind.startswith(f"{name}."):
            raise BadRequest(f"An event of {name} has a type that begins with `{name}.`.")
        if kind == "sms.received":
            answer = Answer.model_validate(body)
            if not sms_rules.is_refusal(answer.text):
                return Taken.IGNORED
            return await receipts.refuse_sms(self._db, answer.sender, now=now)
        event = Outcome.model_validate(body)
        reference = _REFERENCE.fullmatch(event.reference)
        if reference is None:
            return Taken.IGNORED
        told = Told(_CHANNELS[name], UUID(hex=reference[1]), event.fate())
        return await receipts.record(self._db, told, now=now)
