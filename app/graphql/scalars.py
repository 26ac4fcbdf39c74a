"""Scalars of the API: instants, civil days, wall-clock times, exact decimals.

Instants and days pass through as they are: the JSON writer (orjson) writes them. All of these may
also be texts that are written already, after what PostgreSQL wrote: see `instant_text` and
`decimal_text`.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

from app.ids import read_id

_LOCAL_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,10})?")
_DECIMAL_LENGTH_MAX = 27
_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_FINER = re.compile(r"(\.\d{6})\d+", re.ASCII)
_INSTANT_LENGTHS = (len("2026-03-01 07:30:00+00"), len("2026-03-01 07:30:00.000000+00"))
_WRITTEN_LENGTHS = (len("2026-03-01T07:30:00+00:00"), len("2026-03-01T07:30:00.000000+00:00"))
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _refuse(scalar: str, value: Any, wanted: str) -> GraphQLError:
    return GraphQLError(f"{scalar}: {str(value)[:40]!r} is not {wanted}.")


def parse_instant(value: Any) -> datetime:
    """ISO 8601 with an offset; a civil time without one names no instant."""
    wanted = "an ISO 8601 instant with offset, as 2026-03-01T07:30:00+08:00"
    is_usual = isinstance(value, str) and _has_usual_marks(value)
    if not is_usual and (not isinstance(value, str) or not _INSTANT.fullmatch(value)):
        raise _refuse("DateTime", value, wanted)
    try:
        if not is_usual:
            # Readings carry at most microseconds here; further digits are dropped.
            found = datetime.fromisoformat(_FINER.sub(r"\1", value).upper())
        else:
            found = datetime.fromisoformat(value)
    except (ValueError, OverflowError) as error:
        raise _refuse("DateTime", value, wanted) from error
    if not 1900 <= found.year <= 2200:
        raise _refuse("DateTime", value, "between the years 1900 and 2200")
    return found


def _has_usual_marks(value: str) -> bool:
    """Whether it has the length and the separators of a usual form, so that `fromisoformat` takes
    nothing else for an instant: phones send hundreds, and a regular expression takes five times as
    long."""
    marks = value[4:20:3]
    if value[-1:] != "Z" and value[-3:-2] != ":":
        return False
    if marks == "--T::.":
        zone_at = _ZONE_AT.get(len(value))
        return zone_at is not None and value[zone_at] in "Z+-"
    return len(value) == _WHOLE_SECONDS.get(marks)


_WHOLE_SECONDS = {"--T::Z": 20, "--T::+": 25, "--T::-": 25}
_ZONE_AT = {24: 23, 29: 23, 27: 26, 32: 26}
"""By length: after three digits of a second, or six."""


def parse_day(value: Any) -> date:
    wanted = "a civil day, as 2026-03-01"
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise _refuse("Date", value, wanted)
    try:
        found = date.fromisoformat(value)
    except ValueError as error:
        raise _refuse("Date", value, wanted) from error
    if not 1900 <= found.year <= 2200:
        raise _refuse("Date", value, "between the years 1900 and 2200")
    return found


def parse_local_time(value: Any) -> time:
    if not isinstance(value, str) or not _LOCAL_TIME.fullmatch(value):
        raise _refuse("LocalTime", value, "a wall-clock time HH:MM")
    return time.fromisoformat(value)


def parse_decimal(value: Any) -> Decimal:
    """A string such as "36.6", or an integer; never a float, NaN or an exponent."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = _decimal(text) if isinstance(text, str) and len(text) <= _DECIMAL_LENGTH_MAX else None
    if found is None:
        raise _refuse(
            "Decimal",
            value,
            'an exact decimal such as "36.6" (15 digits before and 10 after the point at most)',
        )
    return found


@lru_cache(maxsize=4096)
def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def parse_uuid(value: Any) -> UUID:
    if isinstance(value, str):
        for read in (read_id, UUID):  # the usual form; any that the standard library knows
            try:
                return read(value)
            except ValueError:
                pass
    raise _refuse("UUID", value, "a UUID")


class FixedDecimal(Decimal):
    """Money: written with all of its decimals, as `2400.00`."""


def write_decimal(value: Decimal | int | str) -> str:
    """Plain notation without trailing zeros: `1`, `36.6`, `-15`. A text is taken as written."""
    if isinstance(value, str):
        return value
    if value.__class__ is Decimal:
        return _plain(value)
    text = str(value) if isinstance(value, int) else format(value, "f")
    return text if isinstance(value, int | FixedDecimal) else _without_zeros(text)


@lru_cache(maxsize=4096)
def _plain(value: Decimal) -> str:
    """The same few amounts are written again and again."""
    return _without_zeros(format(value, "f"))


@lru_cache(maxsize=4096)
def decimal_text(value: str) -> str:
    """The Decimal that PostgreSQL wrote so, as the API writes it."""
    return _without_zeros(value)


def instant_text(value: str) -> str | datetime:
    """The instant that PostgreSQL wrote so as text, in its ISO style with the time zone UTC, as the
    API writes it: with no digits of a second, or six."""
    if len(value) in _INSTANT_LENGTHS:
        return value.replace(" ", "T") + ":00"
    return datetime.fromisoformat(f"{value}:00")


def instant_texts(joined: str) -> list[str | datetime]:
    """As `instant_text`, of many with commas between."""
    texts = joined.replace(" ", "T").replace("+00", "+00:00").split(",")
    return [
        text if len(text) in _WRITTEN_LENGTHS else datetime.fromisoformat(text) for text in texts
    ]


def _without_zeros(text: str) -> str:
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _pass(value: Any) -> Any:
    return value


PASSED: Mapping[str, frozenset[type]] = {
    "DateTime": frozenset({datetime, str}),
    "Date": frozenset({date, str}),
    "Decimal": frozenset({str}),
}
"""Classes of values that are written as they are, by the scalar's name."""

SCALARS: Mapping[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="An instant, ISO 8601 with offset: `2026-03-01T07:30:00+08:00`.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=_pass,
        parse_value=parse_instant,
    ),
    date: strawberry.scalar(
        name="Date",
        description="A civil day in the member's own calendar: `2026-03-01`. "
        "It never moves with the time zone.",
        specified_by_url="https://scalars.graphql.org/andimarek/local-date.html",
        serialize=_pass,
        parse_value=parse_day,
    ),
    time: strawberry.scalar(
        name="LocalTime",
        description="A wall-clock time in the member's time zone: `07:30`.",
        serialize=lambda value: value.isoformat("minutes"),
        parse_value=parse_local_time,
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description='An exact decimal number, sent as a string: `"36.6"`. '
        "Input may also be an integer, never a float.",
        serialize=write_decimal,
        parse_value=parse_decimal,
    ),
    UUID: strawberry.scalar(
        name="UUID",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc9562",
        serialize=str,
        parse_value=parse_uuid,
    ),
}
