"""A member's points: balances, the next expiry, and the statement."""

from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Self
from uuid import UUID

import strawberry
from graphql import FieldNode, FragmentSpreadNode, GraphQLResolveInfo, SelectionSetNode
from sqlalchemy import text
from strawberry.dataloader import DataLoader

from app.graphql.enums import by_value, register
from app.graphql.facets import Facet, Reading
from app.graphql.ids import GlobalId, Kind, encode, head, tail
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.points import rules
from app.points import status as levels
from app.points.expiry import NEXT_EXPIRY, last_day
from app.points.rules import CauseKind, TransferKind
from app.points.status import PointsLevel
from app.texts import Text


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

TITLES: list[Callable[[str, str], str | None]] = []
"""Each gives the title of a rule in a locale, or None when it knows no such rule; the wiring
adds those of upper domains."""

_KIND_TITLES = {
    TransferKind.EARNED: Text(zh="获得积分", en="Points earned"),
    TransferKind.REDEEMED: Text(zh="兑换", en="Redeemed"),
    TransferKind.HELD: Text(zh="预留", en="Reserved"),
    TransferKind.RELEASED: Text(zh="退回", en="Released"),
    TransferKind.EXPIRED: Text(zh="积分过期", en="Points expired"),
    TransferKind.REVERSED: Text(zh="撤回", en="Taken back"),
    TransferKind.RESTATED: Text(zh="更正", en="Corrected"),
    TransferKind.ADJUSTED: Text(zh="人工调整", en="Adjusted by staff"),
}


_GIVEN_BACK = Text(zh="兑换退回", en="Given back")


@lru_cache(maxsize=4096)
def _title(kind: str, rule_code: str | None, locale: str, is_refund: bool) -> str:
    if is_refund:
        return _GIVEN_BACK.to(locale)
    for titles in TITLES if rule_code is not None else ():
        found = titles(rule_code or "", locale)
        if found is not None:
            return found
    return _KIND_TITLES[TransferKind(kind)].to(locale)


# The statement

_SIGNS = {tuple(map(str, route)): sign for sign in (1, -1) for route in rules.entry_routes(sign)}
_SHOWN = ", ".join(f"('{debit}', '{credit}')" for debit, credit in sorted(_SIGNS))
_KINDS = by_value(TransferKind)
# Looked up on the enum, an account takes as long as five comparisons.
_PENDING, _REDEEMED = rules.Account.PENDING.value, rules.Account.REDEEMED.value
_POSTED = PointsEntryState.POSTED
# What became of points that waited, or were made to wait: the newest transfer that corrects
# this one tells.
_ENTRY = f"""
t.id, t.seq, t.kind, t.debit, t.credit, t.amount, t.balance_after, t.posted_at,
  {last_day("t.expires_on")} as expires_on, t.rule_code, t.cause_kind, t.cause_id,
  (select row(c.debit, c.credit) from points_transfers c
   where c.member_id = t.member_id and c.corrects = t.id
   and (c.debit = 'pending' or c.credit = 'pending') and c.kind <> 'RESTATED'
   order by c.seq desc limit 1) as decision
from points_transfers t
where (t.debit, t.credit) in ({_SHOWN})
"""
_PAGE = f"select {_ENTRY} and t.member_id = $1 and t.seq < $2 order by t.seq desc limit $3"
_OF_KEYS = text(
    f"""select t.member_id, {_ENTRY} and (t.member_id, t.id) in (
         select * from unnest(cast(:member_ids as uuid[]), cast(:ids as uuid[])))"""
)
_SEQ = 1
_BEFORE_ALL = 2**63 - 1


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
    member_id: strawberry.Private[UUID]
    cause_kind: strawberry.Private[str | None]
    cause_id: strawberry.Private[UUID | None]

    causes: strawberry.Private["Causes"]

    @strawberry.field(description="Null when it has none of its own, as an expiry.")
    def cause(self) -> PointsCause | None:
        return self.causes.of(self)  # type: ignore[no-any-return]

    @classmethod
    def of(
        cls, member_id: UUID, row: Any, head_of_id: str, locale: str, causes: "Causes"
    ) -> "PointsEntry":
        """From a row of `_ENTRY`. A page has many: so nothing is worked out twice, and the object
        is made without its constructor."""
        made: Any = object.__new__(cls)
        (
            id, _, kind, debit, credit, amount, made.balance_after, made.posted_at,
            made.expires_on, rule_code, made.cause_kind, made.cause_id, decision,
        ) = row  # fmt: skip
        made.member_id = member_id
        made.id = head_of_id + tail(id.bytes)
        made.kind = _KINDS[kind]
        made.state = _state(credit, decision) if decision or credit == _PENDING else _POSTED
        made.amount = amount * _SIGNS[debit, credit]
        made.title = _title(kind, rule_code, locale, debit == _REDEEMED)
        made.causes = causes
        return made  # type: ignore[no-any-return]


class Causes:
    """Where the entries of one list get their causes from."""

    def __init__(self, info: Info, *, identity_only_of: UUID | None = None) -> None:
        """The client selects nothing of the causes of this member but `id` and `__typename`: no
        statement is needed."""
        self._info = info
        self._identity_only_of = identity_only_of
        self._heads: dict[str, str] = {}

    def of(self, entry: PointsEntry) -> Any:
        """The cause, or an awaitable of it, which the executor awaits."""
        name, id = entry.cause_kind, entry.cause_id
        found = CAUSE_TYPES.get(name or "")
        if found is None or id is None:
            return None
        if self._identity_only_of is None:
            return _cause_loader(self._info, found).load((entry.member_id, id))
        head_of_id = self._heads.get(found.kind)
        if head_of_id is None:
            head_of_id = self._heads[found.kind] = head(found.kind, self._identity_only_of)
        cause: PointsCause = object.__new__(found.type)
        cause.id = head_of_id + tail(id.bytes)  # type: ignore[assignment]
        return cause


def _state(credit: str, decision: tuple[str, str] | None) -> PointsEntryState:
    """`decision` is (debit, credit) of the newest transfer about it from or to `pending`."""
    if decision is None:
        waits = credit == _PENDING
        return PointsEntryState.PENDING if waits else PointsEntryState.POSTED
    if decision[1] == _PENDING:
        return PointsEntryState.PENDING
    refused = decision[1] == rules.Account.REVERSED
    return PointsEntryState.REJECTED if refused else PointsEntryState.POSTED


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


_CAUSE_OF_AN_ENTRY = ("edges", "node", "cause")


def _wants_identity_only(info: Info) -> bool:
    """Whether the client selects nothing but `id` and `__typename` of the causes in a page of
    entries."""
    nodes: list[FieldNode] = list(info._raw_info.field_nodes)
    for name in _CAUSE_OF_AN_ENTRY:
        below = (it for node in nodes for it in _fields(node.selection_set, info._raw_info))
        nodes = [node for node in below if node.name.value == name]
    selected = (it for node in nodes for it in _fields(node.selection_set, info._raw_info))
    return all(node.name.value in ("id", "__typename") for node in selected)


def _fields(
    selections: SelectionSetNode | None, info: GraphQLResolveInfo[Any]
) -> Iterator[FieldNode]:
    for selection in selections.selections if selections is not None else ():
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, FragmentSpreadNode):
            yield from _fields(info.fragments[selection.name.value].selection_set, info)
        else:
            yield from _fields(selection.selection_set, info)  # type: ignore[attr-defined]


async def _load_entries(info: Info, keys: Sequence[Key]) -> Mapping[Key, PointsEntry]:
    member_ids, ids = zip(*keys, strict=True)
    parameters = {"member_ids": list(member_ids), "ids": list(ids)}
    async with info.context.db.read() as database:
        rows = await database.execute(_OF_KEYS, parameters)
        locale, causes = info.context.locale, Causes(info)
        return {
            (member_id, row[0]): PointsEntry.of(
                member_id, row, head(Kind.POINTS_ENTRY, member_id), locale, causes
            )
            for member_id, *row in rows
        }


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
        rows = await info.context.db.fetch(_PAGE, self.member_id, before, size + 1)
        locale, head_of_id = info.context.locale, head(Kind.POINTS_ENTRY, self.member_id)
        identity_only = _wants_identity_only(info)
        causes = Causes(info, identity_only_of=self.member_id if identity_only else None)
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: PointsEntry.of(self.member_id, row, head_of_id, locale, causes),
            key=lambda row: (row[_SEQ],),
        )

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
