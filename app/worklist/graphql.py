"""The worklist of an employee: one ranked list of who, what, why now, by when."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.errors import Forbidden
from app.graphql import enums
from app.graphql.ids import GlobalId, Kind, encode, parse
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members.console import LazyStaff, LazyTier, load_staff
from app.members.graphql import LazyMember
from app.members.rules import StaffRole
from app.members.sign_in import audit
from app.texts import Text
from app.worklist import queries, rules, subjects
from app.worklist.subjects import SubjectKey, WorklistSubject

enums.register(
    rules.WorklistItemKind,
    {"OUTREACH": "Phone call, home visit or broadcast for people without the app."},
)
enums.register(rules.EventKind, name="WorklistEventKind")
enums.register(
    rules.ClosedReason,
    {
        "DONE": "By an employee.",
        "SETTLED": "By the programme: there is nothing left to do.",
    },
    name="WorklistClosedReason",
)

ACTING = (StaffRole.HEALTH_MANAGER, StaffRole.ADMIN)
"""Roles that have a worklist and may change it."""


@strawberry.type(description="What happened to an item; never edited.")
class WorklistEvent(Node):
    kind: rules.EventKind
    note: str | None
    at: datetime
    snoozed_until: datetime | None = strawberry.field(description="Null unless it was snoozed.")
    staff_id: strawberry.Private[UUID | None]
    to_staff_id: strawberry.Private[UUID | None]

    @strawberry.field(description="Who did it; null when the programme did.")
    async def by(self, info: Info) -> LazyStaff | None:
        return await _load_staff(info, self.staff_id)  # type: ignore[no-any-return]

    @strawberry.field(description="To whom it was handed over; null unless it was.")
    async def handed_over_to(self, info: Info) -> LazyStaff | None:
        return await _load_staff(info, self.to_staff_id)  # type: ignore[no-any-return]

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a row with the columns of `worklist_events`."""
        return cls(
            id=strawberry.ID(encode(Kind.WORKLIST_EVENT, row.member_id, row.id)),
            kind=rules.EventKind(row.kind),
            note=row.note,
            at=row.at,
            snoozed_until=row.snoozed_until,
            staff_id=row.staff_id,
            to_staff_id=row.to_staff_id,
        )


@strawberry.type(description="Something an employee is asked to look at.")
class WorklistItem(Node):
    kind: rules.WorklistItemKind
    priority: int = strawberry.field(description="0 to 100, higher is more pressing.")
    due_at: datetime
    opened_at: datetime
    snoozed_until: datetime | None = strawberry.field(
        description="It is out of the list until then; null when it was never put off."
    )
    closed_at: datetime | None = strawberry.field(description="Null while it is open.")
    closed_reason: rules.ClosedReason | None
    row: strawberry.Private[Any]

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.row.member_id)  # type: ignore[no-any-return]

    @strawberry.field(description="Why now, in words.")
    def reason(self, info: Info) -> str:
        return Text(zh=self.row.reason_zh, en=self.row.reason_en).to(info.context.locale)

    @strawberry.field(
        description="What is to be said to the member, in their language; null unless somebody is "
        "to call, visit or announce."
    )
    def script(self, info: Info) -> str | None:
        found: str | None = self.row.script
        return found

    @strawberry.field(
        description="To whom it was handed over; null while it is with whoever looks after "
        "the member."
    )
    async def assignee(self, info: Info) -> LazyStaff | None:
        return await _load_staff(info, self.row.assignee_id)  # type: ignore[no-any-return]

    @strawberry.field(description="What to act on; null when it is the member as a whole.")
    async def subject(self, info: Info) -> WorklistSubject | None:
        row = self.row
        if row.subject_kind is None:
            return None
        key = SubjectKey(row.member_id, row.subject_id, row.subject_on)
        return await subjects.load(info, row.subject_kind, key)

    @strawberry.field(description="What happened to it, newest first.")
    async def events(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[WorklistEvent]:
        size = page_size(first)
        rows = await _load_events(info, (self.row.member_id, self.row.id), size, after)
        return connection(
            rows, size=size, after=after, node=WorklistEvent.of, key=lambda row: (row.place,)
        )

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a `WorklistItem` of the tables, or a row with its columns."""
        return cls(
            id=strawberry.ID(encode(Kind.WORKLIST_ITEM, row.member_id, row.id)),
            kind=rules.WorklistItemKind(row.kind),
            priority=row.priority,
            due_at=row.due_at,
            opened_at=row.opened_at,
            snoozed_until=row.snoozed_until,
            closed_at=row.closed_at,
            closed_reason=rules.ClosedReason(row.closed_reason) if row.closed_reason else None,
            row=row,
        )


@strawberry.input(description="All of it must hold.")
class WorklistFilter:
    kinds: list[rules.WorklistItemKind] | None = None
    due_before: datetime | None = None
    member_id: strawberry.ID | None = None
    risk_tiers: list[LazyTier] | None = None


@strawberry.type
class WorklistItemConnection(Connection[WorklistItem]):
    staff_id: strawberry.Private[UUID]
    wanted: strawberry.Private[queries.Filter | None]

    @strawberry.field(description="All that the filter finds, on every page the same.")
    async def total_count(self, info: Info) -> int:
        if self.wanted is None:
            return 0
        async with info.context.db.read() as reading:
            return await queries.count(
                reading, staff_id=self.staff_id, wanted=self.wanted, now=info.context.now
            )


@strawberry.type
class StaffWorklist:
    """The part of `Staff` that is kept here."""

    staff_id: strawberry.Private[UUID]

    @strawberry.field(
        description="Most pressing first, over the members that this employee looks after, and "
        "what colleagues have handed over; without what is put off or closed. Seen by the "
        "employee alone. An item closes itself when the data arrives."
    )
    async def worklist(
        self,
        info: Info,
        filter: WorklistFilter | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> WorklistItemConnection:
        context = info.context
        if context.require_role(*ACTING) != self.staff_id:
            raise Forbidden
        size = page_size(first)
        cursor: Any = read_cursor(after, _priority, _instant, UUID)
        wanted = _filter(filter)
        rows: Sequence[Any] = ()
        if wanted is not None:
            async with context.db.read() as reading:
                rows = await queries.page(
                    reading,
                    staff_id=self.staff_id,
                    wanted=wanted,
                    after=cursor,
                    limit=size + 1,
                    now=context.now,
                )
        await context.grant((row.member_id for row in rows[:size]), audit)
        found = connection(
            rows,
            size=size,
            after=after,
            node=WorklistItem.of,
            key=lambda row: (-row.priority, row.due_at.isoformat(), row.id),
        )
        return WorklistItemConnection(
            edges=found.edges, page_info=found.page_info, staff_id=self.staff_id, wanted=wanted
        )


def _filter(wanted: WorklistFilter | None) -> queries.Filter | None:
    """None when nothing can match: the id of what is no member."""
    if wanted is None:
        return queries.Filter()
    member_id = None
    if wanted.member_id is not None:
        named = parse(wanted.member_id)
        if named is None or named.kind is not Kind.MEMBER:
            return None
        member_id = named.owner_id
    return queries.Filter(
        kinds=wanted.kinds,
        due_before=wanted.due_before,
        member_id=member_id,
        risk_tiers=wanted.risk_tiers,
    )


def _priority(text: str) -> int:
    """Minus the priority, from a cursor; ValueError when it cannot be one."""
    found = int(text)
    if not -rules.PRIORITY_MAX <= found <= 0:
        raise ValueError(text)
    return found


def _place(text: str) -> int:
    """Of an event, from a cursor; ValueError when it cannot be one."""
    found = int(text)
    if not 0 < found < 2**31:
        raise ValueError(text)
    return found


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found.astimezone(UTC)


async def _load_staff(info: Info, staff_id: UUID | None) -> Any:
    return await load_staff(info, staff_id) if staff_id is not None else None


async def _load_events(
    info: Info, key: tuple[UUID, UUID], size: int, after: str | None
) -> list[Any]:
    """The events of one item; loads of one moment share one statement."""
    name = f"worklist.events.{size}.{after}"
    state = info.context.state
    if name not in state:
        cursor = read_cursor(after, _place)

        async def load(keys: list[tuple[UUID, UUID]]) -> list[list[Any]]:
            async with info.context.db.read() as reading:
                rows = await queries.events(
                    reading, keys, before=cursor[0] if cursor else None, limit=size + 1
                )
            found: dict[tuple[UUID, UUID], list[Any]] = defaultdict(list)
            for row in rows:
                found[row.member_id, row.item_id].append(row)
            return [found[key] for key in keys]

        state[name] = DataLoader(load_fn=load)
    found: list[Any] = await state[name].load(key)
    return found


async def _fetch_item(info: Info, id: GlobalId) -> WorklistItem | None:
    """Of an item, staff see everything and members nothing."""
    if info.context.viewer.staff_id is None:
        return None
    async with info.context.db.read() as reading:
        row = await queries.item(reading, id.owner_id, id.key)
    return WorklistItem.of(row) if row else None


async def _fetch_event(info: Info, id: GlobalId) -> WorklistEvent | None:
    if info.context.viewer.staff_id is None:
        return None
    async with info.context.db.read() as reading:
        row = await queries.event(reading, id.owner_id, id.key)
    return WorklistEvent.of(row) if row else None


NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.WORKLIST_ITEM: _fetch_item,
    Kind.WORKLIST_EVENT: _fetch_event,
}
