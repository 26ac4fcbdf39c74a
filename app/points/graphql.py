"""A member's points: balances, the next expiry, and the statement."""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self
from uuid import UUID

import strawberry
from graphql import FieldNode, GraphQLResolveInfo
from strawberry.dataloader import DataLoader

from app.graphql import plans
from app.graphql.enums import register
from app.graphql.executor import CLASS, Layout
from app.graphql.facets import Facet, Reading
from app.graphql.ids import GlobalId, Kind, encode, head, parse, tail
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import (
    PAGE,
    Connection,
    Edge,
    EdgeRows,
    edges_of,
    numbered,
    page_size,
    read_cursor,
)
from app.graphql.selection import Remembered, below
from app.points import rules, statement
from app.points import status as levels
from app.points.expiry import NEXT_EXPIRY
from app.points.rules import CauseKind, TransferKind
from app.points.statement import Lines
from app.points.status import PointsLevel
from app.points.titles import title_of


class PointsEntryState(StrEnum):
    PENDING = "PENDING"
    POSTED = "POSTED"
    REJECTED = "REJECTED"


register(
    TransferKind,
    {
        "RESTATED": "A running total changed: the difference.",
        "ADJUSTED": "By staff, with a reason.",
    },
    name="PointsEntryKind",
)
register(
    PointsEntryState,
    {"REJECTED": "Was pending and was refused; another entry took the points back."},
)


# Causes: upper domains say what they are

Key = tuple[UUID, UUID]
"""A member and the id of what belongs to them."""


@strawberry.interface(description="What points were given or taken for.")
class PointsCause(Node):
    pass


@dataclass(frozen=True, slots=True)
class CauseType:
    """How a transfer's cause is shown. `load` reads many at once, with one statement; who
    is not found is left out."""

    kind: Kind
    type: type[PointsCause]
    load: Callable[[Info, Sequence[Key]], Awaitable[Mapping[Key, PointsCause]]]


CAUSE_TYPES: dict[str, CauseType] = {}
"""By `cause_kind`; the wiring adds those of upper domains. Others are shown as null."""

# The statement

_BEFORE_ALL = 2**63 - 1
_INT_MAX = 2**31 - 1
"""The API's."""


def _seq(text: str) -> int:
    """From a cursor; ValueError when it cannot be one."""
    seq = int(text)
    if not 0 < seq <= _BEFORE_ALL:
        raise ValueError(seq)
    return seq


@strawberry.type(description="A line of the statement; never edited, only followed by another.")
class PointsEntry(PointsCause):
    kind: TransferKind
    state: PointsEntryState
    amount: int = strawberry.field(description="Signed change of `available + pending`.")
    balance_after: int = strawberry.field(description="`available + pending` after this entry.")
    posted_at: datetime
    expires_on: date | None = strawberry.field(
        description="Last day on which they can be spent; null unless earned."
    )
    title: str
    cause: PointsCause | None = strawberry.field(
        description="Null when it has none of its own, as an expiry."
    )


class _Line(NamedTuple):
    """What is the same of all lines that say the same (`Lines.what`)."""

    kind: str
    state: str
    title: str
    sign: int
    cause: CauseType | None


@lru_cache(maxsize=16)
def _lines_in(locale: str) -> Callable[[str], _Line]:
    """By what they say; of one argument, which takes half the time of two."""
    return lru_cache(maxsize=4096)(partial(_line, locale))


def _line(locale: str, what: str) -> _Line:
    kind, debit, credit, cause_kind, rule_code = what.split(" ", 4)
    waits = credit == rules.Account.PENDING
    return _Line(
        kind=kind,
        state=_decided(credit) if waits else PointsEntryState.POSTED.value,
        title=title_of(kind, rule_code, locale, debit == rules.Account.REDEEMED),
        sign=statement.SIGNS[debit, credit],
        cause=CAUSE_TYPES.get(cause_kind),
    )


def _decided(account: str) -> str:
    """The state, by where the newest decision about them took points."""
    if account == rules.Account.PENDING:
        return PointsEntryState.PENDING.value
    refused = account == rules.Account.REVERSED
    return (PointsEntryState.REJECTED if refused else PointsEntryState.POSTED).value


_ENTRY = Layout(
    (
        *("kind", "state", "title", "amount", "id", "balance_after", "posted_at", "expires_on"),
        "cause",
    ),
    {"cause": Layout((CLASS, "id"))},
)
_STATE = 1


def _rows(lines: Lines, member_id: UUID, locale: str) -> list[tuple[Any, ...]]:
    """As `_ENTRY`. A page has many: so nothing is worked out twice, and there are no objects."""
    id_of_entry = head(Kind.POINTS_ENTRY, member_id)
    heads = {it.kind: head(it.kind, member_id) for it in CAUSE_TYPES.values()}
    rows: list[tuple[Any, ...]] = [
        (
            kind, state, title, amount * sign, id_of_entry + id, balance, posted_at,
            expires_on or None,
            None if cause is None else (cause.type, heads[cause.kind] + cause_id),
        )
        for (kind, state, title, sign, cause), id, amount, balance, posted_at, expires_on, cause_id
        in zip(
            map(_lines_in(locale), lines.what), lines.ids, lines.amounts, lines.balances,
            lines.posted_at, lines.expires_on, lines.cause_ids, strict=True,
        )
    ]  # fmt: skip
    for place, account in lines.decisions.items():
        found = rows[place]
        rows[place] = (*found[:_STATE], _decided(account), *found[_STATE + 1 :])
    return rows


def _entry(row: tuple[Any, ...], info: Info, *, has_ids_only: bool) -> PointsEntry:
    """The object that a tuple as `_ENTRY` stands for."""
    found: dict[Any, Any] = dict(zip(_ENTRY.attributes, row, strict=True))
    found["kind"], found["state"] = TransferKind(found["kind"]), PointsEntryState(found["state"])
    if found["cause"] is not None:
        kind, id = found["cause"]
        found["cause"] = _only_id(kind, id) if has_ids_only else _Cause(info, id)
    return PointsEntry(**found)


def _only_id(kind: type[PointsCause], id: str) -> PointsCause:
    """No statement is needed."""
    cause = kind.__new__(kind)
    cause.id = id  # type: ignore[assignment]
    return cause


class _Edges(EdgeRows[PointsEntry]):
    layout = edges_of(_ENTRY)

    def __init__(self, rows: list[tuple[Any, ...]], info: Info) -> None:
        super().__init__(rows)
        self._info = info
        self._has_ids_only = _wants_ids_only(info._raw_info)

    def node(self, row: tuple[Any, ...]) -> PointsEntry:
        return _entry(row, self._info, has_ids_only=self._has_ids_only)


plans.LISTED[Edge, PointsEntry] = _Edges


@dataclass(frozen=True, slots=True)
class _Cause:
    """Looked up when it is awaited, which the executor does where the client asks for it."""

    info: Info
    id: str

    def __await__(self) -> Generator[Any, Any, PointsCause | None]:
        id = parse(self.id)
        assert id is not None
        cause = next(it for it in CAUSE_TYPES.values() if it.kind is id.kind)
        return _cause_loader(self.info, cause).load((id.owner_id, id.key)).__await__()


def _cause_loader(info: Info, cause: CauseType) -> DataLoader[Key, PointsCause | None]:
    """Of this request and kind of cause."""
    state = info.context.state
    name = f"points.causes.{cause.kind}"
    if name not in state:

        async def load(keys: list[Key]) -> list[PointsCause | None]:
            found = await cause.load(info, keys)
            return [found.get(key) for key in keys]

        state[name] = DataLoader(load_fn=load)
    loader: DataLoader[Key, PointsCause | None] = state[name]
    return loader


@Remembered
def _wants_ids_only(info: GraphQLResolveInfo[Any]) -> bool:
    """Whether the client selects nothing but `id` and `__typename` of the causes in a page of
    entries."""
    nodes: list[FieldNode] = list(info.field_nodes)
    for name in ("edges", "node", "cause"):
        nodes = [node for node in below(nodes, info) if node.name.value == name]
    return all(node.name.value in ("id", "__typename") for node in below(nodes, info))


async def _load_entries(info: Info, keys: Sequence[Key]) -> Mapping[Key, PointsEntry]:
    by_tail = {(member_id, tail(id.bytes)): (member_id, id) for member_id, id in keys}
    found: dict[Key, PointsEntry] = {}
    for member_id, lines in (await statement.some(info.context.db, keys)).items():
        rows = _rows(lines, member_id, info.context.locale)
        for id, row in zip(lines.ids, rows, strict=True):
            found[by_tail[member_id, id]] = _entry(row, info, has_ids_only=False)
    return found


CAUSE_TYPES[CauseKind.TRANSFER] = CauseType(Kind.POINTS_ENTRY, PointsEntry, _load_entries)


# The account


@strawberry.type
class PointsExpiry:
    amount: int
    expires_on: date = strawberry.field(description="Last day on which they can be spent.")


@strawberry.type(description="One per member. All amounts are whole points.")
class PointsAccount(Node):
    available: int = strawberry.field(description="Can be spent now.")
    pending: int = strawberry.field(description="Earned, waiting for a decision.")
    held: int = strawberry.field(description="Reserved for a redemption under way.")
    owed: int = strawberry.field(
        description="Taken back after they were spent; what is earned next pays it first."
    )
    spent: int = strawberry.field(description="Ever redeemed, less what was given back.")
    expired: int = strawberry.field(description="Ever expired.")
    earned_total: int = strawberry.field(
        description="Ever earned, never reduced by spending; status levels count this."
    )
    next_expiry: PointsExpiry | None = strawberry.field(
        description="The oldest points that will expire; null when none will."
    )
    member_id: strawberry.Private[UUID]

    @strawberry.field(description="By what was earned this year and last year.")
    async def level(self, info: Info) -> PointsLevel:
        return await levels.load(info, self.member_id)

    @strawberry.field(description="Newest first. Amounts add up to `available + pending`.")
    async def entries(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[PointsEntry]:
        size = page_size(first)
        cursor = read_cursor(after, _seq)
        before = cursor[0] if cursor else _BEFORE_ALL
        lines = await statement.page(info.context.db, self.member_id, before=before, size=size + 1)
        rows = _rows(lines, self.member_id, info.context.locale)
        page = numbered(lambda edges: _Edges(edges, info), rows, lines.seqs, size=size, after=after)
        if max(lines.amounts + lines.balances, default=0) > _INT_MAX:
            # As objects they are looked at: such a number is an error of its field.
            page.edges = list(page.edges)
        return page

    @classmethod
    def of(cls, found: Sequence[int] | None, reading: Reading) -> Self:
        """From the value of `ACCOUNT`; without a wallet all is zero."""
        made: Any = object.__new__(cls)  # its constructor would take three times as long
        made.id = reading.owner.head(Kind.POINTS_ACCOUNT)
        made.member_id = reading.profile.member_id
        (
            made.available, made.pending, made.held, made.earned_total, made.owed, made.spent,
            made.expired, *next_expiry,
        ) = found or _NOTHING  # fmt: skip
        made.next_expiry = None
        if next_expiry:
            amount, day = next_expiry
            made.next_expiry = PointsExpiry(amount=amount, expires_on=date.fromordinal(day))
        return made  # type: ignore[no-any-return]

    @classmethod
    def after(cls, info: Info, member_id: UUID, balances: rules.Balances) -> Self:
        """With the balances that a mutation has just written."""
        pending, available, held, owed, earned_total, spent, expired = balances
        return cls(
            id=strawberry.ID(encode(Kind.POINTS_ACCOUNT, member_id)),
            available=available,
            pending=pending,
            held=held,
            owed=owed,
            spent=spent,
            expired=expired,
            earned_total=earned_total,
            next_expiry=_NextExpiry(info, member_id),  # type: ignore[arg-type]
            member_id=member_id,
        )


@dataclass(frozen=True, slots=True)
class _NextExpiry:
    """Looked up when it is awaited, which the executor does where the client asks for it."""

    info: Info
    member_id: UUID

    def __await__(self) -> Generator[Any, Any, PointsExpiry | None]:
        return self._load().__await__()

    async def _load(self) -> PointsExpiry | None:
        return (await load_account(self.info, self.member_id)).next_expiry


@strawberry.type
class MemberPoints:
    """The part of `Member` that is kept here."""

    points: PointsAccount


ACCOUNT = f"""
(select array[w.available, w.pending, w.held, w.earned_total, w.owed, w.spent, w.expired]
   || ({NEXT_EXPIRY})
 from wallets w
 where w.member_id = members.member_id)
"""
_NOTHING = (0,) * 7

FACETS = (Facet(field="points", attribute="points", sql=ACCOUNT, read=PointsAccount.of),)


async def load_account(info: Info, member_id: UUID) -> PointsAccount:
    """As it stands now, for a mutation's payload."""
    member = await info.context.members.load_fields(info, member_id, frozenset({"points"}))
    found: PointsAccount = member.points
    return found


async def _fetch_account(info: Info, id: GlobalId) -> PointsAccount | None:
    member = await info.context.members.load_fields(info, id.owner_id, frozenset({"points"}))
    return member.points if member else None


async def _fetch_entry(info: Info, id: GlobalId) -> PointsEntry | None:
    key = (id.owner_id, id.key)
    return (await _load_entries(info, [key])).get(key)


NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.POINTS_ACCOUNT: _fetch_account,
    Kind.POINTS_ENTRY: _fetch_entry,
}
