"""How readings by the hundred go to the database: as the parameters of one statement."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from app import civil_time
from app.measurements.facts import NewReading
from app.measurements.rules import ReadingKind

T = TypeVar("T")
_OWN = {
    "id": "uuid",
    "value": "numeric",
    "sent_value": "text",
    "measured_at": "bigint",
    "supersedes": "uuid",
}
"""What each reading has of its own; instants as microseconds since 1970, which both sides write and
read much faster than a text. A column of them is sent as one text: the driver looks at each
element of an array several times. The other columns are sent once for all readings of a kind."""
_SHARED = {"local_date": "date", "confirmed": "boolean"}
"""What is not text of the others."""
_SEPARATOR = "\x1f"
_INSTANT_SQL = "timestamptz 'epoch' + measured_at * interval '1 microsecond' as measured_at"

COLUMNS = (
    "id", "local_date", *ReadingKind._fields, "value", "sent_value", "measured_at", "confirmed",
    "supersedes",
)  # fmt: skip
"""Of a reading."""


def rows(*columns: str) -> str:
    """What is sent, as the rows `sent`; with the values of `parameters`."""
    own = {name: _OWN[name] for name in columns if name in _OWN} | {"kind": "integer"}
    texts = ", ".join(
        f"cast(string_to_array(cast(:{name} as text), E'\\x1f', '') as {type}[])"
        for name, type in own.items()
    )
    shared = [name for name in columns if name not in _OWN]
    selected = ", ".join(columns).replace("measured_at", _INSTANT_SQL)
    return f"""(
  select {selected}
  from unnest({texts}) as own ({", ".join(own)})
  join unnest({", ".join(f"cast(:{name} as {_SHARED.get(name, 'text')}[])" for name in shared)})
    with ordinality
    as kind ({", ".join(shared)}, place) on kind.place = own.kind) sent"""


def parameters(readings: Sequence[NewReading], columns: Sequence[str]) -> dict[str, Any]:
    """The values of these readings, for `rows` with the same columns."""
    ids, _, days, kinds, values, sent_values, instants, confirmed, supersedes = zip(
        *readings, strict=True
    )
    # Kinds by identity: there are a few, and hashing their texts for each reading takes longer.
    alike = list(zip(map(id, kinds), days, confirmed, strict=True))
    one_of = dict(zip(alike, readings, strict=True))
    places = {it: str(place) for place, it in enumerate(one_of, 1)}
    own = {
        "kind": map(places.__getitem__, alike),
        "value": map(str, values),
        "sent_value": sent_values,
        "measured_at": each_once(lambda it: str(civil_time.microseconds(it)), instants),
        "supersedes": ("" if it is None else str(it) for it in supersedes),
    }
    found: dict[str, Any] = {
        name: _SEPARATOR.join(own[name]) for name in ("kind", *columns) if name in own
    }
    # The server reads them without hyphens as well.
    found["id"] = b"".join([it.bytes for it in ids]).hex(_SEPARATOR, 16)
    for name in columns:
        if name in ReadingKind._fields:
            found[name] = [getattr(it.kind, name) for it in one_of.values()]
    found["local_date"] = [it.local_date for it in one_of.values()]
    found["confirmed"] = [it.confirmed for it in one_of.values()]
    return found


def each_once(say: Callable[[datetime], T], instants: Sequence[datetime]) -> Iterable[T]:
    """What is said of each instant. What was measured together has one: it is looked at once."""
    said = {it: say(it) for it in dict.fromkeys(instants)}
    return map(said.__getitem__, instants)
