"""`POST /payments/PROVIDER/events`: what a payment provider tells, checked, stored, answered.

A provider collects by itself; it knows an invoice by its id of the API. It signs by Standard
Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`), tells until it is answered with
a success, and may tell twice.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import endpoints
from app.config import Settings
from app.db import Database
from app.endpoints import failed, status
from app.errors import ConfigurationError, NotFound, UserError
from app.graphql.http import read_body
from app.graphql.ids import GlobalId, Kind, decode
from app.graphql.limits import Limits
from app.graphql.params import BadRequest, read_json
from app.intake.gateways import signatures
from app.intake.gateways.signatures import Gateway
from app.premiums import payments, refunds

PATH = "/payments/{provider}/events"
BODY_BYTES_MAX = 64 * 2**10
SCHEME = Gateway.OPEN_WEARABLES
"""The one of the gateways that signs by Standard Webhooks."""
_PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,39}")

_log = structlog.get_logger(__name__)

Secrets = Mapping[str, Sequence[bytes]]
_Text = Annotated[str, Field(min_length=1, max_length=100)]


class PaymentEvent(BaseModel):
    """What a provider sends; anything else in it is not read."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["invoice.paid", "invoice.failed", "refund.paid", "refund.failed"]
    id: _Text
    """Of the event: the same whenever it is told."""
    invoice: _Text | None = None
    """Ids of the API: of the refund when the event is about one."""
    refund: _Text | None = None
    amount: Annotated[int, Field(gt=0, lt=10**15)]
    """Minor units."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    happened_at: AwareDatetime
    failure: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,59}$")] | None = None

    def subject(self) -> GlobalId:
        """The invoice or refund. Raises BadRequest, NotFound."""
        field = self.type.partition(".")[0]
        given, kind = {
            "invoice": (self.invoice, Kind.INVOICE),
            "refund": (self.refund, Kind.REFUND),
        }[field]
        if given is None:
            raise BadRequest(f"`{field}` is missing.")
        return decode(given, kind, field=field)


def read_secrets(settings: Settings) -> Secrets:
    """The providers that may tell. Raises ConfigurationError, without saying a secret."""
    found: dict[str, list[bytes]] = {}
    for name, given in settings.payment_secrets.items():
        if not _PROVIDER.fullmatch(name) or name == payments.BY_HAND:
            raise ConfigurationError(
                f"WELLWARD_PAYMENT_SECRETS: {name!r} is no name of a provider: small letters, "
                "digits and hyphens."
            )
        found[name] = signatures.read_secrets(
            SCHEME, given, setting="WELLWARD_PAYMENT_SECRETS", name=name
        )
    return found


class PaymentEvents:
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
                refused="payment_event_refused",
                timeout_seconds=self._timeout_seconds,
            )
        except ValidationError:
            return failed("BAD_REQUEST", "This is no event that we know.", 400)
        except NotFound:
            return failed("UNKNOWN", "There is no such invoice or refund.", 404)
        except UserError as error:
            # The same id tells something else: a person must look.
            _log.error("payment_event_contradicts", code=error.code.value)
            return failed("CONTRADICTION", "This event was told with other values.", 409)

    async def _receive(self, request: Request) -> Response:
        """Raises SignatureRefused, BadRequest, ValidationError, UserError, Busy."""
        provider = request.path_params["provider"]
        secrets = self._secrets.get(provider)
        if not secrets:
            raise BadRequest("There is no such provider.", code="NOT_FOUND", status=404)
        raw = await read_body(request.headers, request.receive, BODY_BYTES_MAX)
        now = self._now()
        signatures.check(SCHEME, request.headers, raw, secrets=secrets, now=now)
        event = PaymentEvent.model_validate(read_json(raw, Limits()))
        named = event.subject()
        failed = event.type.endswith(".failed")
        told = payments.Told(
            provider=provider,
            reference=event.id,
            amount=event.amount,
            currency=event.currency,
            happened_at=event.happened_at,
            failure=(event.failure or "UNKNOWN") if failed else None,
        )
        async with self._db.transaction() as session:
            if named.kind is Kind.REFUND:
                replayed = await refunds.record(
                    session, member_id=named.owner_id, refund_id=named.key, told=told, now=now
                )
            else:
                _, replayed = await payments.record(
                    session, member_id=named.owner_id, invoice_id=named.key, told=told, now=now
                )
        return status("known" if replayed else "recorded")
