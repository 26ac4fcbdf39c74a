"""Lines of a premium as they are stored, and back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any, get_args

from pydantic import TypeAdapter

from app.premiums.documents import Words
from app.premiums.facts_json import number
from app.premiums.quote import Evidence, Line

_LINE = TypeAdapter(Line)
_KINDS: Mapping[str, TypeAdapter[Any]] = {
    kind.__name__.removesuffix("Evidence"): TypeAdapter(kind) for kind in get_args(Evidence)
}
_NAMES: Mapping[type, str] = {
    kind: kind.__name__.removesuffix("Evidence") for kind in get_args(Evidence)
}


def documents(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Plain values for a jsonb column; amounts with decimals are strings."""
    return [_plain(line) for line in lines]


def read(stored: Sequence[Mapping[str, Any]]) -> tuple[Line, ...]:
    """The lines of a stored premium, in their order."""
    return tuple(_line(it) for it in stored)


def _line(stored: Mapping[str, Any]) -> Line:
    evidence = tuple(_evidence(it) for it in stored["evidence"])
    line: Line = _LINE.validate_python({**stored, "evidence": ()})
    return Line(**{it.name: getattr(line, it.name) for it in fields(line)} | {"evidence": evidence})


def _evidence(stored: Mapping[str, Any]) -> Any:
    values = dict(stored)
    return _KINDS[values.pop("kind")].validate_python(values)


def _plain(value: Any) -> Any:
    match value:
        case Line():
            return {it.name: _plain(getattr(value, it.name)) for it in fields(value)}
        case Words():
            return {"zh": value.zh, "en": value.en}
        case Decimal():
            return number(value)
        case datetime() | date():
            return value.isoformat()
        case tuple():
            return [_plain(it) for it in value]
        case str() | int() | None:
            return value
        case _ if type(value) in _NAMES:
            of_fields = {it.name: _plain(getattr(value, it.name)) for it in fields(value)}
            return {"kind": _NAMES[type(value)], **of_fields}
    raise TypeError(type(value).__name__)
