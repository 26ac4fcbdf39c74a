"""Facts as JSON: what `wellward product price` reads and what a stored premium keeps.

Read strictly: an unknown key, a key given twice, or a value that cannot be meant is an error
with its path. Numbers with decimals are read exactly, and written as strings. What has its
default is left out, so that a key that comes later does not change the hash of older facts.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from app.premiums import facts_checks
from app.premiums.facts import Facts

_BYTES_MAX = 1_000_000
_DIGITS_MAX = 18


class _Document(BaseModel):
    """Its rules hold for the dataclasses within too."""

    model_config = ConfigDict(extra="forbid", strict=True)
    facts: Facts


class FactsInvalid(ValueError):
    """The text is not the facts of anybody; the message names the path and what is allowed."""


def read(text: str | bytes) -> Facts:
    """Raises FactsInvalid."""
    if len(text) > _BYTES_MAX:
        raise FactsInvalid(f"more than {_BYTES_MAX} bytes")
    try:
        document = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_float=str,
            parse_int=_whole,
            parse_constant=_no_number,
        )
        # Through text once more, since only text is strict and still knows dates and tuples.
        facts = _Document.model_validate_json(orjson.dumps({"facts": document})).facts
    except ValidationError as error:
        raise FactsInvalid("; ".join(_sentence(fault) for fault in error.errors())) from error
    except FactsInvalid:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise FactsInvalid(f"not a JSON document: {error}") from error
    faults = [f"{path}: {what}" for path, what in facts_checks.faults(facts)]
    if faults:
        raise FactsInvalid("; ".join(faults))
    return facts


def write(facts: Facts) -> bytes:
    """Canonical JSON: the same facts always give the same bytes."""
    options = (
        orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    )
    return orjson.dumps(facts, default=_plain, option=options)


def document(facts: Facts) -> dict[str, Any]:
    """The same as plain values, for a jsonb column."""
    found: dict[str, Any] = orjson.loads(write(facts))
    return found


def hashed(facts: Facts) -> bytes:
    """SHA-256 of the canonical JSON."""
    return sha256(write(facts)).digest()


def number(value: Decimal) -> str:
    """Without an exponent or zeros at the end, so that 80 and 80.00 are the same fact."""
    plain = format(abs(value) if value == 0 else value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {
            it.name: getattr(value, it.name) for it in fields(value) if not _is_default(value, it)
        }
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(type(value).__name__)


def _is_default(value: Any, it: Any) -> bool:
    has = getattr(value, it.name)
    if it.default is not MISSING:
        return bool(has == it.default)
    factory: Callable[[], Any] | Any = it.default_factory
    return factory is not MISSING and bool(has == factory())


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise FactsInvalid(f"{name}: stands twice")
        found[name] = value
    return found


def _no_number(name: str) -> None:
    raise FactsInvalid(f"{name} is not a number")


def _whole(digits: str) -> int:
    if len(digits.removeprefix("-")) > _DIGITS_MAX:
        raise FactsInvalid(f"{digits[:40]} has more than {_DIGITS_MAX} digits")
    return int(digits)


def _sentence(fault: Any) -> str:
    path = ".".join(str(part) for part in fault["loc"][1:]) or "facts"
    if fault["type"] == "unexpected_keyword_argument":
        return f"{path}: unknown key"
    given = fault["input"]
    shown = f" (given: {str(given)[:40]!r})" if isinstance(given, str | int) else ""
    return f"{path}: {fault['msg']}{shown}"
