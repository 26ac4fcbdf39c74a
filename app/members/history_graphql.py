"""How a member came to stand where they stand, and who was in a saved segment when."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.graphql.facets import Profile
from app.graphql.node import Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.members import rules, segments, standing_history
from app.members import segment_rules as market
from app.members.enums import LifecycleStage, SegmentCode
from app.members.rules import StaffRole
from app.members.sign_in import audit

if TYPE_CHECKING:
    from app.schema import Member

LazyMember = Annotated["Member", strawberry.lazy("app.schema")]


@strawberry.type
class SegmentChange:
    code: SegmentCode | None = strawberry.field(description="Null: in no segment any more.")
    reason: str = strawberry.field(description="In words.")
    since: datetime
    rules_version: str


@strawberry.type
class LifecycleChange:
    stage: LifecycleStage
    reason: str = strawberry.field(description="In words.")
    since: datetime = strawberry.field(description="To the moment, however late it was looked at.")


@strawberry.type(description="Somebody's stay in a saved segment.")
class SegmentStay:
    member_id: strawberry.Private[UUID]
    entered_at: datetime
    left_at: datetime | None = strawberry.field(description="Null while the member is in it.")

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.member_id)  # type: ignore[no-any-return]


@strawberry.type
class SegmentDay:
    day: date = strawberry.field(description="In UTC.")
    entered: int
    left: int


def instant(value: str) -> datetime:
    """Of a cursor. Raises ValueError."""
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError(value)
    return found.astimezone(UTC)


Load = Callable[[Any, list[UUID]], Awaitable[Mapping[UUID, Sequence[Any]]]]


async def load_rows(info: Info, name: str, member_id: UUID, load: Load) -> Sequence[Any]:
    """Loads of one moment and page share their statement."""
    context = info.context
    if name not in context.state:

        async def load_many(member_ids: list[UUID]) -> list[Sequence[Any]]:
            async with context.db.read() as reading:
                found = await load(reading, member_ids)
            return [found[member_id] for member_id in member_ids]

        context.state[name] = DataLoader(load_fn=load_many)
    rows: Sequence[Any] = await context.state[name].load(member_id)
    return rows


@strawberry.type
class StandingOfMember:
    """The part of `Member` that is kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(description="Market segments, the newest first.")
    async def segment_history(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[SegmentChange]:
        locale = info.context.locale
        return await self._events(
            info,
            "SEGMENT",
            first,
            after,
            lambda row: SegmentChange(
                code=SegmentCode(row.value) if row.value else None,
                reason=market.why(row.value, row.reason).to(locale),
                since=row.since,
                rules_version=row.rules_version,
            ),
        )

    @strawberry.field(description="Stages of the lifecycle, the newest first.")
    async def lifecycle_history(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[LifecycleChange]:
        locale = info.context.locale
        return await self._events(
            info,
            "LIFECYCLE",
            first,
            after,
            lambda row: LifecycleChange(
                stage=LifecycleStage(row.value),
                reason=standing_history.WHY[row.reason].to(locale),
                since=row.since,
            ),
        )

    async def _events(
        self, info: Info, kind: str, first: int | None, after: str | None, node: Any
    ) -> Connection[Any]:
        size = page_size(first)
        cursor: Any = read_cursor(after, instant, UUID)

        async def load(reading: Any, member_ids: list[UUID]) -> Mapping[UUID, Sequence[Any]]:
            return await standing_history.events(
                reading, member_ids, kind=kind, after=cursor, limit=size + 1
            )

        name = f"members.standing.{kind}.{size}.{after}"
        return connection(
            await load_rows(info, name, self.profile.member_id, load),
            size=size,
            after=after,
            node=node,
            key=lambda row: (row.recorded_at.isoformat(), row.id),
        )


@strawberry.type
class SegmentHistory:
    """The part of `SavedSegment` that is kept here."""

    row: strawberry.Private[Any]

    @strawberry.field(
        description="Who was in it from when until when, the latest entered first: the members "
        "that the employee may see; when the filter asks about somebody's health, those who "
        "consent to its use."
    )
    async def stays(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[SegmentStay]:
        context = info.context
        size = page_size(first)
        cursor: Any = read_cursor(after, instant, UUID)
        sees_all = rules.sees_all(context.viewer.roles)
        rows: Sequence[Any] = ()
        if sees_all or StaffRole.HEALTH_MANAGER in context.viewer.roles:
            async with context.db.read() as reading:
                rows = await standing_history.stays(
                    reading,
                    self.row.id,
                    seen_by=None if sees_all else context.staff_id,
                    consenting=await segments.asks_of_health(reading, self.row.definition),
                    after=cursor,
                    limit=size + 1,
                )
            await context.grant((row.member_id for row in rows[:size]), audit)
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: SegmentStay(
                member_id=row.member_id, entered_at=row.entered_at, left_at=row.left_at
            ),
            key=lambda row: (row.entered_at.isoformat(), row.member_id),
        )

    @strawberry.field(
        description="How many entered and left on each day on which any did, the newest first. In "
        "tens, rounded down, when the filter asks about somebody's health and the employee does "
        "not see every member."
    )
    async def days(
        self, info: Info, first: int | None = PAGE, after: str | None = None
    ) -> Connection[SegmentDay]:
        context = info.context
        size = page_size(first)
        cursor = read_cursor(after, date.fromisoformat)
        sees_all = rules.sees_all(context.viewer.roles)
        async with context.db.read() as reading:
            rows = await standing_history.days(
                reading, self.row.id, before=cursor[0] if cursor else None, limit=size + 1
            )
            hides = not sees_all and await segments.asks_of_health(reading, self.row.definition)
        shown = segments.coarse if hides else int
        return connection(
            rows,
            size=size,
            after=after,
            node=lambda row: SegmentDay(
                day=row.day, entered=shown(row.entered), left=shown(row.gone)
            ),
            key=lambda row: (row.day.isoformat(),),
        )
