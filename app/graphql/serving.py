"""What the HTTP endpoint and the WebSocket endpoint share; the wiring fills it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import strawberry
from graphql import ExecutionResult

from app.adapters.identity import InvalidToken, Reason
from app.errors import RequestFailed
from app.graphql import executor
from app.graphql.context import Viewer
from app.graphql.documents import Documents, Operation
from app.graphql.limits import Limits


class Authenticate(Protocol):
    async def __call__(self, *, token: str | None, acting_for: str | None) -> Viewer:
        """Who asks; the anonymous viewer without a token.

        Raises InvalidToken, or RequestFailed when a guardian may not act for that member.
        """


class MakeContext(Protocol):
    def __call__(self, viewer: Viewer, *, request_id: str, operation: str) -> Any:
        """The context of one request, or of one event of a subscription."""


class Now(Protocol):
    def __call__(self) -> datetime: ...


class TookTooLong(RequestFailed):
    code = "TIMEOUT"

    def __init__(self) -> None:
        super().__init__("The request took too long and was given up.")


@dataclass(frozen=True, slots=True)
class Serving:
    schema: strawberry.Schema
    documents: Documents
    authenticate: Authenticate
    make_context: MakeContext
    now: Now
    limits: Limits = field(default_factory=Limits)
    timeout_seconds: float = 30
    large_at_once: int = 6
    """Requests with a large body that are worked on at the same time."""
    large_wait_seconds: float = 10
    """How long one may wait for its turn before it is told that the server is busy."""
    init_timeout_seconds: float = 10
    """How long a WebSocket may stay without `connection_init`."""
    subscriptions_max: int = 20
    """Operations at the same time on one WebSocket."""

    async def run(
        self, operation: Operation, variables: dict[str, Any], viewer: Viewer, request_id: str
    ) -> ExecutionResult:
        """Run a query or a mutation. Raises executor.CoercionFailed."""
        context = self.make_context(viewer, request_id=request_id, operation=operation.name or "")
        return await executor.execute(operation.plan, variables=variables, context=context)


def bearer_token(authorization: str | None) -> str | None:
    """The token of an `Authorization` value; None when there is none at all.

    Raises InvalidToken for any other scheme and for a token that is none.
    """
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip(" ")
    # What else makes a token of a text, its proof says.
    if scheme not in ("Bearer", "bearer") or not token or " " in token:
        raise InvalidToken(Reason.INVALID)
    return token
