"""Facts as JSON: what `wellward product price` reads and what a stored premium keeps.

Read strictly: an unknown key, a key given twice, or a value that cannot be meant is an error
with its path. Numbers with decimals are read exactly, and written as strings. What has its
default is left out, so that a key that comes later does not change the hash of older facts.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from app.measurements import catalogue
from app.measurements.kinds import Context
from app.premiums import rules
from app.premiums.documents import HealthGroup
from app.premiums.facts import Facts, Moment, MonthOfReadings, Participated, Series
from app.premiums.rules import Term

_AGE_MAX = 130
_PERCENT_MAX = 100
_LOSS_RATIO_MAX = 100_000
_TOTAL_MAX = 10**12
"""Sums beyond are no readings of a month."""

Fault = tuple[str, str]
"""Path, and what is allowed there."""


class _Document(BaseModel):
    """Its rules hold for the dataclasses within too."""

    model_config = ConfigDict(extra="forbid", strict=True)
    facts: Facts


class FactsInvalid(ValueError):
    """The text is not the facts of anybody; the message names the path and what is allowed."""


def read(text: str | bytes) -> Facts:
    """Raises FactsInvalid."""
    try:
        document = json.loads(
            text, object_pairs_hook=_distinct, parse_float=str, parse_constant=_no_number
        )
        # Through text once more, since only text is strict and still knows dates and tuples.
        facts = _Document.model_validate_json(orjson.dumps({"facts": document})).facts
    except ValidationError as error:
        raise FactsInvalid("; ".join(_sentence(fault) for fault in error.errors())) from error
    except FactsInvalid:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise FactsInvalid(f"not a JSON document: {error}") from error
    faults = [f"{path}: {what}" for path, what in _impossible(facts)]
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
    plain = format(value, "f")
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


def _sentence(fault: Any) -> str:
    path = ".".join(str(part) for part in fault["loc"][1:]) or "facts"
    if fault["type"] == "unexpected_keyword_argument":
        return f"{path}: unknown key"
    given = fault["input"]
    shown = f" (given: {str(given)[:40]!r})" if isinstance(given, str | int) else ""
    return f"{path}: {fault['msg']}{shown}"


def _impossible(facts: Facts) -> list[Fault]:
    return [
        *_of_member(facts),
        *_of_term(facts),
        *_of_participation("participation", facts.participation, facts.ending),
        *_of_all_series("series", facts.series),
        *_of_mid_term(facts),
        *[
            (f"credits.{place}.amount", "minor units, above 0")
            for place, credit in enumerate(facts.credits)
            if credit.amount <= 0
        ],
    ]


def _of_member(facts: Facts) -> Iterator[Fault]:
    if not 0 <= facts.age <= _AGE_MAX:
        yield "age", f"0 to {_AGE_MAX} completed years"
    for name in ("health", "health_at_start"):
        unknown = sorted(set(getattr(facts, name)) - set(HealthGroup))
        if unknown:
            yield name, f"{', '.join(unknown)}: must be of {', '.join(HealthGroup)}"
    for rule, percent in facts.carried.items():
        if abs(percent) > _PERCENT_MAX:
            yield f"carried.{rule}", f"-{_PERCENT_MAX} to {_PERCENT_MAX} percent"
    if facts.loss_ratio is not None and not 0 <= facts.loss_ratio.percent <= _LOSS_RATIO_MAX:
        yield "loss_ratio.percent", f"0 to {_LOSS_RATIO_MAX}"
    if facts.group_members is not None and facts.group_members < 1:
        yield "group_members", "at least 1"


def _of_term(facts: Facts) -> Iterator[Fault]:
    if facts.as_of.tzinfo is None:
        yield "as_of", "an instant with its offset, as 2026-12-01T00:00:00Z"
    if facts.moment is Moment.RENEWAL and facts.ending is None:
        yield "ending", "the term that ends: given at RENEWAL"
    if facts.moment is Moment.ENROLMENT and facts.ending is not None:
        yield "ending", "no term ends at ENROLMENT"
    if facts.ending is not None and facts.ending.starts_on > facts.ending.ends_on:
        yield "ending", "starts_on must not be after ends_on"


def _of_mid_term(facts: Facts) -> Iterator[Fault]:
    known = facts.mid_term
    if (known is None) != (facts.moment is not Moment.MID_TERM):
        yield "mid_term", "given at MID_TERM, and only then"
    if known is None:
        return
    running = known.running
    if not running.starts_on <= known.effective_on <= running.ends_on:
        yield "mid_term.effective_on", "a day of the running term"
    yield from _of_participation("mid_term.participation", known.participation, running)
    yield from _of_all_series("mid_term.series", known.series)


def _of_participation(
    path: str, months: Sequence[Participated], term: Term | None
) -> Iterator[Fault]:
    yield from _ascending(path, [it.month for it in months])
    for place, month in enumerate(months):
        of_month = f"{path}.{place}"
        if month.percent is not None and not 0 <= month.percent <= 100:
            yield f"{of_month}.percent", "0 to 100"
        if (month.percent is None) != (month.no_data is not None):
            yield f"{of_month}.no_data", "given when percent is null, and only then"
        yield from _first_day(f"{of_month}.month", month.month)
        if term is None:
            yield f"{of_month}.month", "there is no term that it could belong to"
        elif not rules.counts_for(month.month, term):
            yield f"{of_month}.month", "a month that closes within the term"


def _of_all_series(path: str, known: Sequence[Series]) -> Iterator[Fault]:
    keys = [(it.code, it.context) for it in known]
    if len(set(keys)) < len(keys):
        yield path, "one series for each code and context"
    for place, series in enumerate(known):
        yield from _of_series(f"{path}.{place}", series)


def _of_series(path: str, series: Series) -> Iterator[Fault]:
    quantity = catalogue.quantities().get(series.code)
    if quantity is None:
        yield f"{path}.code", f"{series.code} is not of the measurement catalogue"
        return
    if series.unit != quantity.canonical.ucum:
        yield f"{path}.unit", f"{quantity.canonical.ucum}, the canonical one"
    if series.context is not None and series.context not in quantity.contexts:
        allowed = ", ".join(it for it in Context if it in quantity.contexts) or "none"
        yield f"{path}.context", f"of {series.code}: {allowed}"
    yield from _ascending(f"{path}.months", [it.month for it in series.months])
    for place, month in enumerate(series.months):
        yield from _of_month(f"{path}.months.{place}", month)


def _of_month(path: str, month: MonthOfReadings) -> Iterator[Fault]:
    yield from _first_day(f"{path}.month", month.month)
    if not 1 <= month.days <= month.readings:
        yield f"{path}.days", "at least 1, and no more than readings"
    if abs(month.total) > _TOTAL_MAX:
        yield f"{path}.total", "the sum of a month's readings"
    if month.first_on > month.last_on or any(
        day.replace(day=1) != month.month for day in (month.first_on, month.last_on)
    ):
        yield f"{path}.first_on", "first_on and last_on, in order, in the month"
    elif month.days > (month.last_on - month.first_on).days + 1:
        yield f"{path}.days", "no more than from first_on to last_on"


def _first_day(path: str, month: date) -> Iterator[Fault]:
    if month.day != 1:
        yield path, "the first day of a month"


def _ascending(path: str, months: list[date]) -> Iterator[Fault]:
    if any(earlier >= later for earlier, later in pairwise(months)):
        yield path, "each month once, the oldest first"
