"""Filters of members: from the tree that was sent to one SQL condition. No I/O, no clock.

A filter is kept and compared in the form in which it is sent, a tree of plain values: exactly
one field a level, `all`, `any` and `not` over others, or a fact. A fact that is not known of a
member does not hold, so that `not` finds them: every condition is true or false, never null.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, and_, exists, func, literal_column, not_, or_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.errors import RequestFailed
from app.members import buckets, dimensions, directory
from app.members.directory import Condition
from app.members.lifecycle_rules import LifecycleStage
from app.members.models import Member
from app.members.rules import AgeRange, ConsentPurpose, ConsentState, SegmentCode, Sex
from app.members.standing_models import MemberStanding, SegmentMembership

Filter = Mapping[str, Any]
DEPTH_MAX = 5
LIST_MAX = 100
VALUES_MAX = 500
"""At all levels together."""
DAYS_MAX = 365
INACTIVE_DAYS_MAX = 3650
TEXT_MAX = 100
_AGE_MAX = 150


class FilterInvalid(RequestFailed):
    """Names the part at fault and what is allowed."""

    code = "FILTER_INVALID"

    def __init__(self, path: str, said: str) -> None:
        super().__init__(f"`{path}` {said}")
        self.path = path


@dataclass(frozen=True, slots=True)
class At:
    """Where a leaf stands: what it may ask, and how it names itself."""

    path: str
    now: datetime

    def refuse(self, said: str, *, part: str | None = None) -> FilterInvalid:
        return FilterInvalid(f"{self.path}.{part}" if part else self.path, said)


Leaf = Callable[[Any, At], Condition]
"""A condition on `members` from the value that was sent. Raises FilterInvalid."""

UPPER_LEAVES: dict[str, Leaf] = {}
"""What upper domains know of a member, by the name of the field; the wiring adds them."""


HEALTH_FIELDS: set[str] = set()
"""Those of them that tell of somebody's health."""
CODES: Mapping[str, Callable[[dimensions.Dimensions], Collection[str]]] = {
    "occupations": lambda it: it.occupations,
    "incomeBands": lambda it: it.income_bands,
    "residences": lambda it: it.residences,
    "regions": lambda it: it.regions,
}
"""What a field chooses from. Asked when a filter is written: one that is kept goes on to hold when
a code is taken out of the choices."""
UPPER_CODES: dict[str, Callable[[AsyncConnection], Awaitable[Collection[str]]]] = {}
"""The same of upper domains."""


def condition(wanted: Filter, *, now: datetime, path: str = "filter") -> Condition:
    """What a filter asks of a member at `now`. Raises FilterInvalid naming the part at fault."""
    size = _size(wanted)
    if size > VALUES_MAX:
        raise FilterInvalid(path, f"has {size} values; it must have at most {VALUES_MAX}.")
    return _condition(wanted, now, path, 1)


def _condition(wanted: Filter, now: datetime, path: str, depth: int) -> Condition:
    if depth > DEPTH_MAX:
        raise FilterInvalid(path, f": at most {DEPTH_MAX} filters inside each other.")
    if not isinstance(wanted, Mapping) or len(wanted) != 1:
        raise FilterInvalid(path, "must have exactly one field.")
    ((name, value),) = wanted.items()
    at = At(f"{path}.{name}", now)
    if name == "not":
        return not_(_condition(value, now, at.path, depth + 1))
    if name in ("all", "any"):
        parts = [
            _condition(part, now, f"{at.path}.{place}", depth + 1)
            for place, part in enumerate(listed(value, at))
        ]
        return and_(*parts) if name == "all" else or_(*parts)
    leaf = _LEAVES.get(name) or UPPER_LEAVES.get(name)
    if leaf is None:
        raise at.refuse("is no field of a filter.")
    return leaf(value, at)


def _size(value: Any) -> int:
    """How many plain values there are at all levels together."""
    if isinstance(value, Mapping):
        return sum(_size(it) for it in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return sum(_size(it) for it in value)
    return 1


def _leaves(wanted: Filter, path: str = "filter") -> Iterator[tuple[str, str, Any]]:
    """Path, field and value of each fact that a valid filter asks about."""
    for name, value in wanted.items():
        if name == "not":
            yield from _leaves(value, f"{path}.{name}")
        elif name in ("all", "any"):
            for place, part in enumerate(value):
                yield from _leaves(part, f"{path}.{name}.{place}")
        else:
            yield f"{path}.{name}", name, value


def codes(wanted: Filter) -> Iterator[tuple[str, str, str]]:
    """Path, field and code of each code that a valid filter names."""
    for path, name, values in _leaves(wanted):
        if name in CODES or name in UPPER_CODES:
            yield from ((path, name, code) for code in values)


def fields(wanted: Filter) -> set[str]:
    """What a valid filter asks about."""
    return {name for _, name, _ in _leaves(wanted)}


def saved_segments(wanted: Filter) -> Sequence[tuple[str, UUID]]:
    """Path and id of each segment that a valid filter names."""
    return [
        (path, UUID(id))
        for path, name, ids in _leaves(wanted)
        if name == "savedSegments"
        for id in ids
    ]


# What leaves are made of


def listed(values: Any, at: At) -> Sequence[Any]:
    """Raises FilterInvalid unless there are 1 to `LIST_MAX`."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise at.refuse("must be a list.")
    if not 1 <= len(values) <= LIST_MAX:
        raise at.refuse(f"has {len(values)} values; it must have 1 to {LIST_MAX}.")
    return values


def chosen(kind: type[StrEnum], values: Any, at: At) -> list[str]:
    """The values of an enum. Raises FilterInvalid."""
    known = set(kind)
    for value in listed(values, at):
        if value not in known:
            raise at.refuse(f"has {str(value)[:40]!r}; it may have {', '.join(kind)}.")
    return [str(value) for value in values]


def texts(values: Any, at: At) -> list[str]:
    """Codes as they are written. Raises FilterInvalid."""
    for value in listed(values, at):
        if not isinstance(value, str) or len(value) > TEXT_MAX or "\0" in value:
            raise at.refuse(f"holds what is no text of at most {TEXT_MAX} characters.")
    return list(values)


def days(value: Any, at: At, *, most: int = DAYS_MAX) -> timedelta:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise at.refuse(f"is {str(value)[:20]}; it must be 1 to {most}.", part="days")
    return timedelta(days=value)


def ends(
    value: Mapping[str, Any],
    names: tuple[str, str],
    at: At,
    *,
    within: tuple[Any, Any] | None = None,
) -> tuple[Decimal | None, Decimal | None]:
    """The two ends of a range, one of which may be open. Raises FilterInvalid."""
    low, high = (
        Decimal(str(value[name])) if value.get(name) is not None else None for name in names
    )
    if low is None and high is None:
        raise at.refuse(f"needs `{names[0]}`, `{names[1]}`, or both.")
    if low is not None and high is not None and low > high:
        raise at.refuse(f"is {low} to {high}; the first must not be above the second.")
    if within is not None:
        for end in (low, high):
            if end is not None and not within[0] <= end <= within[1]:
                raise at.refuse(f"has {end}; it must be within {within[0]} to {within[1]}.")
    return low, high


def between(value: Any, low: Decimal | None, high: Decimal | None) -> Condition:
    """Both included; false where there is no value."""
    parts = [value >= low] if low is not None else []
    parts += [value <= high] if high is not None else []
    return func.coalesce(and_(*parts), False)


# What is known in this domain


def _sexes(value: Any, at: At) -> Condition:
    return directory.of_sexes([Sex(it) for it in chosen(Sex, value, at)])


def _age(value: Any, at: At) -> Condition:
    low, high = value.get("minimum"), value.get("maximum")
    if low is None and high is None:
        raise at.refuse("needs `minimum`, `maximum`, or both.")
    both = (0 if low is None else low, _AGE_MAX if high is None else high)
    if not 0 <= both[0] <= both[1] <= _AGE_MAX:
        raise at.refuse(f"is {both[0]} to {both[1]}; it must be within 0 to {_AGE_MAX}.")
    return directory.of_age(AgeRange(low, high), today=at.now.date())


def _regions(value: Any, at: At) -> Condition:
    return directory.in_regions(texts(value, at))


def _one_of(column: Any) -> Leaf:
    def leaf(value: Any, at: At) -> Condition:
        return func.coalesce(column.in_(texts(value, at)), False)

    return leaf


def _consent(value: Any, at: At) -> Condition:
    purpose = value.get("purpose")
    chosen(ConsentPurpose, [purpose], At(f"{at.path}.purpose", at.now))
    states = chosen(ConsentState, value.get("states"), At(f"{at.path}.states", at.now))
    return directory.with_consent(ConsentPurpose(purpose), [ConsentState(it) for it in states])


def _standing(column: Any, values: Sequence[str]) -> Condition:
    return exists().where(col(MemberStanding.member_id) == Member.member_id, column.in_(values))


def _segments(value: Any, at: At) -> Condition:
    return _standing(col(MemberStanding.segment), chosen(SegmentCode, value, at))


def _stages(value: Any, at: At) -> Condition:
    return _standing(col(MemberStanding.lifecycle), chosen(LifecycleStage, value, at))


def _inactive(value: Any, at: At) -> Condition:
    """Who never used the programme counts from the day on which they came."""
    since = at.now - days(value, at, most=INACTIVE_DAYS_MAX)
    used = exists().where(
        col(MemberStanding.member_id) == Member.member_id,
        col(MemberStanding.last_used_at) > since,
    )
    return and_(col(Member.created_at) <= since, not_(used))


def _saved(value: Any, at: At) -> Condition:
    wanted = []
    for text in texts(value, at):
        try:
            wanted.append(UUID(text))
        except ValueError as error:
            raise at.refuse("names what is no saved segment.") from error
    # Under a name of its own: the statement around it may be one on this table.
    inside = aliased(SegmentMembership, name="inside")
    return exists().where(
        col(inside.member_id) == Member.member_id,
        col(inside.segment_id).in_(wanted),
        col(inside.left_at).is_(None),
    )


def _random(value: Any, at: At) -> Condition:
    """From one share of everybody to before another, in percent, by the draw of a salt."""
    salt = value.get("salt")
    if not isinstance(salt, str) or not 1 <= len(salt) <= TEXT_MAX or "\0" in salt:
        raise at.refuse(f"must be 1 to {TEXT_MAX} characters.", part="salt")
    low, high = ends(value, ("fromPercent", "toPercent"), at, within=(0, 100))
    if (low or 0) >= (100 if high is None else high):
        raise at.refuse("is empty: `fromPercent` must be below `toPercent`.")
    place = drawn(salt.encode())
    first = int((low or Decimal(0)) * buckets.SIZE / 100)
    last = int((high if high is not None else Decimal(100)) * buckets.SIZE / 100)
    return and_(place >= first, place < last)


def drawn(salt: bytes) -> Any:
    """A member's bucket, as `buckets.bucket` has it."""
    # Written as a literal, of hexadecimal digits only, so that it is hashed once.
    literal = f"'\\x{salt.hex()}'::bytea"
    return literal_column(buckets.sql(literal, "members.member_id"), BigInteger)


_LEAVES: dict[str, Leaf] = {
    "sexes": _sexes,
    "age": _age,
    "regions": _regions,
    "occupations": _one_of(col(Member.occupation)),
    "incomeBands": _one_of(col(Member.income_band)),
    "residences": _one_of(col(Member.residence)),
    "consent": _consent,
    "segments": _segments,
    "lifecycleStages": _stages,
    "inactiveDays": _inactive,
    "savedSegments": _saved,
    "randomShare": _random,
}
