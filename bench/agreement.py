"""Whether servers answer alike: else a comparison of their speeds means nothing."""

import re
import socket
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson

from bench.load import FRESH_ID, BadAnswer

_MOMENTS = frozenset({"asOf"})
"""Of when it was asked; they need not be the same."""


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d")


class Disagreement(Exception):
    """Two servers answer otherwise."""


def ask(port: int, request: str, request_id: str | None = None) -> Any:
    """The JSON of one answer. Raises BadAnswer when it is not one with status 200."""
    sent = request if request_id is None else request.replace(FRESH_ID, request_id)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent.encode())
        received = b""
        while (body := _body(received)) is None:
            more = connection.recv(1 << 16)
            if not more:
                raise BadAnswer(f"No whole answer: {received[:200]!r}")
            received += more
    if not received.startswith(b"HTTP/1.1 200"):
        raise BadAnswer(f"No good answer: {received[:500]!r}")
    found = orjson.loads(body)
    if "errors" in found:
        raise BadAnswer(f"Errors in an answer: {found['errors']}")
    return found


def _body(received: bytes) -> bytes | None:
    """None until all of it is there."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:") and len(body) >= int(line[15:]):
            return body
    return None


def require_equal(title: str, one: Any, other: Any) -> None:
    """Raises Disagreement."""
    _require(title, differences(one, other))


def require_alike(title: str, one: Any, other: Any) -> None:
    """The same keys and kinds of values; each may have written something else. Raises
    Disagreement."""
    _require(title, differences(_shape(one), _shape(other)))


def _require(title: str, found: Sequence[str]) -> None:
    if found:
        raise Disagreement("\n".join([f"{title}: the answers differ", *found[:10]]))


def differences(one: Any, other: Any) -> list[str]:
    """Where, and what each has."""
    return list(_differ("", one, other))


def _differ(path: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            if key in one and key in other:
                yield from _differ(f"{path}.{key}", one[key], other[key])
            else:
                yield f"{path}.{key} is in one only"
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            yield f"{path}: {len(one)} and {len(other)}"
        for number, pair in enumerate(zip(one, other, strict=False)):
            yield from _differ(f"{path}[{number}]", *pair)
    elif path.rpartition(".")[2] in _MOMENTS and isinstance(one, str) and isinstance(other, str):
        if datetime.fromisoformat(one).utcoffset() != datetime.fromisoformat(other).utcoffset():
            yield f"{path}: {one!r} and {other!r}"
    elif type(one) is not type(other) or _instant(one) != _instant(other):
        yield f"{path}: {one!r} and {other!r}"


def _instant(value: Any) -> Any:
    """An instant may be written with zeros at its end or without."""
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return datetime.fromisoformat(value)
    return value


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(it) for key, it in value.items()}
    if isinstance(value, list):
        return [_shape(it) for it in value]
    return type(value).__name__
