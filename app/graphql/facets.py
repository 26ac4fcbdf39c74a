"""A member's screen in one statement.

Each domain contributes facets: a correlated subselect on the member's row, and how its
value becomes a field of `Member`. Whoever returns a `Member` loads the facets that the
client selected, all of them with one statement, however many members.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from graphql import GraphQLResolveInfo
from strawberry.dataloader import DataLoader

from app import civil_time
from app.graphql.context import Context
from app.graphql.ids import Owner
from app.graphql.node import Info
from app.graphql.selection import Remembered, below


@dataclass(slots=True)  # not frozen: that triples what it costs to make
class Profile:
    """What is known of every member that is loaded; facets may need it to read a value."""

    member_id: UUID
    display_name: str
    birth_date: date
    sex: str
    time_zone: str
    locale: str


@dataclass(slots=True)
class Reading:
    """What a facet may use besides its value."""

    profile: Profile
    now: datetime
    locale: str
    """In which texts are written: the member's own on their screen, else the viewer's."""
    owner: Owner
    """Writes their ids."""
    own: bool
    """Whether the member looks, or the guardian who acts for them. Anybody else sees
    health data only while the member consents to its use."""
    _today: date | None = None

    @property
    def today(self) -> date:
        """The member's local day now."""
        if self._today is None:
            zone = civil_time.zone(self.profile.time_zone)
            self._today = civil_time.local_date(self.now, zone)
        return self._today


@dataclass(frozen=True, slots=True)
class Facet:
    """One field of `Member`.

    `sql` is a scalar subselect correlated on `members.member_id`; it may use `:now`.
    Write `(select row(...) ...)` or `array(select row(...) ...)`: the driver decodes both
    to tuples of native values. What is read often comes as `array[...]` of texts or numbers,
    which costs the driver a tenth of a row; many values as `json`, which comes as what it holds.
    Without it the field comes from the profile. `read` turns the value into the field's;
    `attribute` is the name under which `Member` keeps it.
    """

    field: str
    attribute: str
    sql: str | None
    read: Callable[[Any, Reading], Any]


class _Statement(NamedTuple):
    sql: str
    facets: tuple[Facet, ...]
    uses_now: bool


_NOW = re.compile(r"(?<!:):now\b")


class Facets:
    """The facets of the composed `Member` type. The table `members` has the columns of
    `Profile`."""

    def __init__(self, member_type: type, facets: Iterable[Facet]) -> None:
        self._type = member_type
        self._facets: Mapping[str, Facet] = {facet.field: facet for facet in facets}
        self._statement = lru_cache(maxsize=512)(self._compose)
        self.selected = Remembered(self._find)
        """The facets under a field."""

    async def load(self, info: Info, member_id: UUID) -> Any:
        """The member with every facet that this field selects; None when unknown.

        Loads of one moment, as the members of a list, share one statement.
        """
        loader = info.context.state.get("facets")
        if loader is None:
            loader = _Loader(self, info.context).loader
            info.context.state["facets"] = loader
        return await loader.load((member_id, self.selected(info._raw_info)))

    async def load_one(self, info: Info, member_id: UUID) -> Any:
        """As `load`, at once: for the root of a screen."""
        return await self._load_one(info.context, member_id, self.selected(info._raw_info))

    async def load_fields(self, info: Info, member_id: UUID, names: frozenset[str]) -> Any:
        """The member with the facets of these fields; None when unknown."""
        return await self._load_one(info.context, member_id, names)

    async def load_many(
        self, context: Context, member_ids: Sequence[UUID], names: frozenset[str]
    ) -> dict[UUID, Any]:
        if len(member_ids) == 1:
            member = await self._load_one(context, member_ids[0], names)
            return {} if member is None else {member_ids[0]: member}
        statement = self._statement(names, one=False)
        arguments = _arguments(statement, list(member_ids), context)
        rows = await context.db.fetch(statement.sql, *arguments)
        return {row[0]: self._member(row, statement.facets, context) for row in rows}

    async def _load_one(self, context: Context, member_id: UUID, names: frozenset[str]) -> Any:
        statement = self._statement(names, one=True)
        rows = await context.db.fetch(statement.sql, *_arguments(statement, member_id, context))
        return self._member(rows[0], statement.facets, context) if rows else None

    def _find(self, info: GraphQLResolveInfo[Any]) -> frozenset[str]:
        names = {node.name.value for node in below(info.field_nodes, info)}
        return frozenset(names.intersection(self._facets))

    def _compose(self, selected: frozenset[str], *, one: bool) -> "_Statement":
        """With the plain equality the server comes to keep the plan; with a list it would
        plan each time anew, which takes longer than to run it."""
        facets = tuple(facet for name, facet in self._facets.items() if name in selected)
        columns = [f"members.{field.name}" for field in fields(Profile)]
        columns += [facet.sql for facet in facets if facet.sql is not None]
        wanted = "$1::uuid" if one else "any($1::uuid[])"
        sql = f"select {', '.join(columns)} from members where members.member_id = {wanted}"
        sql, count = _NOW.subn("$2::timestamptz", sql)
        return _Statement(sql, facets, uses_now=count > 0)

    def _member(self, row: Any, facets: tuple[Facet, ...], context: Context) -> Any:
        profile = Profile(*row[:_PROFILE_WIDTH])
        own = context.is_own(profile.member_id)
        locale = profile.locale if own else context.locale
        reading = Reading(profile, context.now, locale, Owner(profile.member_id), own)
        member: Any = object.__new__(self._type)
        values = member.__dict__
        values["profile"] = profile
        place = _PROFILE_WIDTH
        for facet in facets:
            if facet.sql is None:
                values[facet.attribute] = facet.read(None, reading)
                continue
            values[facet.attribute] = facet.read(row[place], reading)
            place += 1
        return member


def _arguments(statement: _Statement, whose: Any, context: Context) -> tuple[Any, ...]:
    return (whose, context.now) if statement.uses_now else (whose,)


_PROFILE_WIDTH = len(fields(Profile))


class _Loader:
    """Batches the loads of one request."""

    def __init__(self, facets: Facets, context: Context) -> None:
        self._facets = facets
        self._context = context
        self.loader: DataLoader[tuple[UUID, frozenset[str]], Any] = DataLoader(load_fn=self._load)

    async def _load(self, keys: list[tuple[UUID, frozenset[str]]]) -> list[Any]:
        found: dict[tuple[UUID, frozenset[str]], Any] = {}
        for selected in {selection for _, selection in keys}:
            wanted = [member_id for member_id, selection in keys if selection == selected]
            members = await self._facets.load_many(self._context, wanted, selected)
            found |= {(member_id, selected): member for member_id, member in members.items()}
        return [found.get(key) for key in keys]
