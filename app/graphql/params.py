"""The parameters of a GraphQL request, read from JSON that anybody may have sent."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from app.errors import RequestFailed
from app.graphql.limits import Limits

NESTED = (dict, list)  # a union would be looked at several times as long
_NESTED = frozenset(NESTED)
"""What orjson makes is of these very classes."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BadRequest(RequestFailed):
    """Not a well-formed GraphQL request: it has this HTTP status whatever the client accepts."""

    def __init__(self, message: str, *, code: str = "BAD_REQUEST", status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Params:
    """A request names its document by text, by id, or by both."""

    query: str | None
    document_id: str | None
    """Lower-case hexadecimal SHA-256 of the printed document."""
    operation_name: str | None
    variables: dict[str, Any]


def read_json(body: bytes | str, limits: Limits) -> dict[str, Any]:
    """The object that `body` holds, or BadRequest.

    orjson itself refuses numbers that no double can hold, lone surrogates, NaN, invalid
    UTF-8 and more than a thousand levels.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("The body is not valid JSON.") from None
    if isinstance(found, list):
        raise BadRequest("Send one operation a request; batches are not supported.")
    if not isinstance(found, dict):
        raise BadRequest("The body must be a JSON object.")
    if _deeper(found, limits.json_depth):
        raise BadRequest(f"The body nests more than {limits.json_depth} levels.")
    # No text column can hold it. The search is cheap; the walk happens only after a hit.
    escape = "\\u0000" if isinstance(body, str) else b"\\u0000"
    if escape in body and (_holds_nul(found) or "\\u0000" in str(found.get("query"))):  # type: ignore[operator]
        raise BadRequest("The character U+0000 is not allowed in text.")
    return found


def read_params(body: Mapping[str, Any]) -> Params:
    """Raises BadRequest. Members of `body` that GraphQL over HTTP does not know are ignored."""
    query = _optional(body, "query", str)
    operation_name = _optional(body, "operationName", str)
    variables = _optional(body, "variables", dict)
    extensions = _optional(body, "extensions", dict) or {}
    document_id = _document_id(body, extensions)
    if not query and document_id is None:
        raise BadRequest("`query` is missing: send a document, or the id of a trusted one.")
    return Params(query or None, document_id, operation_name or None, variables or {})


def _optional(body: Mapping[str, Any], name: str, kind: type) -> Any:
    value = body.get(name)
    if value is not None and not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a string"
        raise BadRequest(f"`{name}` must be {wanted}.")
    return value


def _document_id(body: Mapping[str, Any], extensions: Mapping[str, Any]) -> str | None:
    found: Any = body.get("documentId")
    if found is None:
        persisted = extensions.get("persistedQuery")
        if persisted is None:
            return None
        if not isinstance(persisted, dict) or persisted.get("version") != 1:
            raise BadRequest("`extensions.persistedQuery` must be {version: 1, sha256Hash}.")
        found = persisted.get("sha256Hash")
    digest = found.lower().removeprefix("sha256:") if isinstance(found, str) else ""
    if not _SHA256.fullmatch(digest):
        raise BadRequest("A document's id is a SHA-256 in hexadecimal.")
    return digest


def _deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists nest more than `levels` deep; `value` is the first level."""
    level = [value]
    for _ in range(levels):
        # Hundreds of inputs that hold nothing but leaves are looked at as a whole.
        held = [it.values() if type(it) is dict else it for it in level]
        children = [*chain.from_iterable(held)]
        if _NESTED.isdisjoint(map(type, children)):
            return False
        level = [it for it in children if type(it) in _NESTED]
    return True


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _holds_nul(child) for key, child in value.items())
    return isinstance(value, list) and any(map(_holds_nul, value))
