"""What a client may know of an error. Everything unexpected is masked and logged."""

from collections.abc import Iterable
from typing import Any

import structlog
from graphql import ArgumentNode, GraphQLError, ValueNode

from app.errors import RequestFailed
from app.graphql.documents import InvalidDocument
from app.observability import UNEXPECTED_ERRORS

log = structlog.get_logger(__name__)

FormattedError = dict[str, Any]


def formatted(errors: Iterable[GraphQLError], *, correlation_id: str) -> list[FormattedError]:
    """The errors of an execution for the client. Those that nobody expected become
    "Internal error" with the correlation id, under which the log has the stack."""
    return [_formatted(error, correlation_id) for error in errors]


def request_errors(error: RequestFailed) -> list[FormattedError]:
    """Why a request was refused before anything ran."""
    if isinstance(error, InvalidDocument):
        return [_coded(found.formatted, error.code) for found in error.errors]
    return [{"message": str(error), "extensions": {"code": error.code}}]


def coercion_errors(errors: Iterable[GraphQLError]) -> list[FormattedError]:
    """Variables that do not fit the operation; graphql-core shortens the values it names."""
    return [_coded(error.formatted, "BAD_USER_INPUT") for error in errors]


def internal_error(
    error: BaseException, *, correlation_id: str, path: Any = None
) -> FormattedError:
    """Logs the stack of `error`, never a variable, and tells the client where to ask."""
    UNEXPECTED_ERRORS.inc()
    log.error("internal_error", correlation_id=correlation_id, path=path, exc_info=error)
    return {
        "message": "Internal error",
        "extensions": {"code": "INTERNAL", "correlationId": correlation_id},
    }


def _formatted(error: GraphQLError, correlation_id: str) -> FormattedError:
    original = error.original_error
    if isinstance(original, RequestFailed):
        return _coded(error.formatted, original.code)
    if original is None or _meant_for_the_client(original):
        return _coded(error.formatted, "BAD_USER_INPUT")
    masked = internal_error(original, correlation_id=correlation_id, path=_names(error.path))
    return {**error.formatted, **masked}


def _meant_for_the_client(original: Exception) -> bool:
    """Our own code gives a code; graphql-core names the argument that does not fit. What
    remains is a value that a resolver returned and that its type could not take: the message
    would quote it."""
    if not isinstance(original, GraphQLError):
        return False
    if (original.extensions or {}).get("code"):
        return True
    nodes = original.nodes or []
    return bool(nodes) and all(isinstance(node, ArgumentNode | ValueNode) for node in nodes)


def _names(path: Iterable[str | int] | None) -> str:
    return ".".join(str(key) for key in path or ())


def _coded(error: Any, code: str) -> FormattedError:
    extensions = {"code": code, **(error.get("extensions") or {})}
    return {**error, "extensions": extensions}
