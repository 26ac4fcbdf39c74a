"""How readings by the hundred go to the database: as the parameters of one statement."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from app.measurements.facts import NewReading

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
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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
    values = dict(zip(NewReading._fields, zip(*readings, strict=True), strict=True))
    shared = [name for name in columns if name not in _OWN]
    places: dict[tuple[Any, ...], int] = {}
    kinds = [
        places.setdefault(kind, len(places) + 1)
        for kind in zip(*(values[name] for name in shared), strict=True)
    ]
    found: dict[str, Any] = {
        name: list(column) for name, column in zip(shared, zip(*places, strict=True), strict=True)
    }
    found["kind"] = _SEPARATOR.join(map(str, kinds))
    for name in columns:
        if name in _OWN:
            found[name] = _SEPARATOR.join(_written(name, values[name]))
    return found


def _written(column: str, values: Sequence[Any]) -> Iterable[str]:
    match column:
        case "sent_value":
            return values
        case "supersedes":
            return ("" if it is None else str(it) for it in values)
        case "measured_at":
            return _microseconds(values)
    return map(str, values)


def _microseconds(instants: Iterable[datetime]) -> Iterator[str]:
    """What was measured together has one instant."""
    last, text = None, ""
    for it in instants:
        if it is not last:
            last, text = it, str((it - _EPOCH) // _MICROSECOND)
        yield text
