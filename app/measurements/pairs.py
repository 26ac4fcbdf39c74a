"""The halves of a blood pressure: systolic and diastolic of one instant and one source.

They stand or fall together. When one half of a request is refused, so is the other. A half
that comes without the other is kept: a phone sends at most 1,000 readings at once, and the
other may come next. It is compared with a half that is there already; until there is one it
counts as a reading, and as no blood pressure. The upper value is above the lower one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from app.errors import ErrorCode
from app.measurements.facts import NewReading
from app.measurements.rules import Judged, Refused
from app.texts import Text

SYSTOLIC, DIASTOLIC = "SYSTOLIC_BP", "DIASTOLIC_BP"
OTHER_HALF: Mapping[str, str] = {SYSTOLIC: DIASTOLIC, DIASTOLIC: SYSTOLIC}

HalfKey = tuple[str, datetime, str]
"""Code, instant, source."""
Found = Judged | Refused

NOT_ABOVE = Refused(
    ErrorCode.VALUE_OUT_OF_RANGE,
    Text(
        zh="收缩压应高于同一次测量的舒张压。",
        en="Systolic pressure must be above the diastolic one of the same measurement.",
    ),
)
_OTHER_REFUSED = Text(
    zh="同一次测量的另一半未被接受：", en="The other half of this measurement was not accepted: "
)


def lone_halves(found: Sequence[Found]) -> list[HalfKey]:
    """The keys under which the other halves may be there already, of those that came without."""
    keys = {_key(it) for it in found if not isinstance(it, Refused) and it[0].code in OTHER_HALF}
    return [other for other in map(_other, keys) if other not in keys]


def are_whole(firsts: Iterable[NewReading], readings: Iterable[NewReading]) -> bool:
    """Whether each second half in here has its first half among `firsts`."""
    known = {(it.measured_at, it.source_id) for it in firsts}
    return all((it.measured_at, it.source_id) in known for it in readings if it.code == DIASTOLIC)


def are_ordinary(keys: Sequence[HalfKey], found: Sequence[Judged]) -> bool:
    """Whether nothing is to be said about the halves in here, of which none is refused: none is alone
    or there twice, and they are in order. So it is nearly always, and this takes a fraction of
    `settle`. `keys` are those of all readings."""
    halves = [(key, it) for key, it in zip(keys, found, strict=True) if key[0] in OTHER_HALF]
    values: dict[str, dict[tuple[datetime, str], Decimal]] = {SYSTOLIC: {}, DIASTOLIC: {}}
    for (code, measured_at, source_id), it in halves:
        values[code][measured_at, source_id] = it[1]
    upper, lower = values[SYSTOLIC], values[DIASTOLIC]
    return (
        len(upper) + len(lower) == len(halves)
        and upper.keys() == lower.keys()
        and all(value > lower[key] for key, value in upper.items())
    )


def settle(
    sent: Sequence[HalfKey | None],
    found: Sequence[Found],
    known: Mapping[HalfKey, Decimal],
) -> list[Found]:
    """What was judged one by one, with pairs kept together. `sent` is the key of each reading
    that is a half; `known` are the values that are there already."""
    settled = list(found)
    places: dict[HalfKey, int] = {}
    for at, sent_key in enumerate(sent):
        # The last that may be kept counts; a refused one only where there is no other.
        if sent_key is not None and (sent_key not in places or not isinstance(found[at], Refused)):
            places[sent_key] = at
    for key, at in places.items():
        other_at = places.get(_other(key))
        partner = found[other_at] if other_at is not None else None
        if isinstance(partner, Refused) and not isinstance(found[at], Refused):
            settled[at] = _because_of(partner)
        elif not isinstance(found[at], Refused) and not _ordered(key, at, places, found, known):
            settled[at] = NOT_ABOVE
    # Earlier ones of the same key give way to the last.
    for at, own in enumerate(sent):
        if own is not None and places[own] != at and not isinstance(found[at], Refused):
            settled[at] = settled[places[own]]
    return settled


def _ordered(
    key: HalfKey,
    at: int,
    places: Mapping[HalfKey, int],
    found: Sequence[Found],
    known: Mapping[HalfKey, Decimal],
) -> bool:
    own = found[at]
    assert not isinstance(own, Refused)
    other_at = places.get(_other(key))
    if other_at is None:
        other = known.get(_other(key))
    else:
        sent = found[other_at]
        other = None if isinstance(sent, Refused) else sent[1]
    if other is None:
        return True
    return own[1] > other if key[0] == SYSTOLIC else own[1] < other


def _because_of(partner: Refused) -> Refused:
    return Refused(
        partner.code,
        Text(zh=_OTHER_REFUSED.zh + partner.text.zh, en=_OTHER_REFUSED.en + partner.text.en),
    )


def _key(reading: Judged) -> HalfKey:
    kind, _, _, measured_at, _ = reading
    return kind.code, measured_at, kind.source_id


def _other(key: HalfKey) -> HalfKey:
    return OTHER_HALF[key[0]], key[1], key[2]
