"""Live updates for an open app: what changed for `me`, read again as each event arrives.

An event names an object and holds nothing of it, so what the member gets is always what
stands in the database now. Each event is executed in a context of its own.
"""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry

from app.events import Event
from app.graphql.context import Context
from app.graphql.ids import GlobalId, Kind, parse
from app.graphql.node import Info
from app.health_tasks import graphql as health_tasks
from app.health_tasks.graphql import HealthTask
from app.members import sign_in
from app.nudges import graphql as nudges
from app.nudges.types import Message
from app.points import graphql as points
from app.points.graphql import PointsAccount

if TYPE_CHECKING:
    from app.schema import Member

LazyMember = Annotated["Member", strawberry.lazy("app.schema")]


@strawberry.type
class PointsChanged:
    member_id: strawberry.Private[UUID]

    @strawberry.field
    async def points(self, info: Info) -> PointsAccount:
        return await points.load_account(info, self.member_id)


@strawberry.type
class MessageArrived:
    named: strawberry.Private[GlobalId]

    @strawberry.field
    async def message(self, info: Info) -> Message:
        found: Any = await nudges.NODE_FETCHERS[Kind.MESSAGE](info, self.named)
        return found  # type: ignore[no-any-return]

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.named.owner_id)  # type: ignore[no-any-return]


@strawberry.type
class TaskChanged:
    named: strawberry.Private[GlobalId]

    @strawberry.field
    async def task(self, info: Info) -> HealthTask:
        found: Any = await health_tasks.NODE_FETCHERS[Kind.TASK](info, self.named)
        return found  # type: ignore[no-any-return]


MemberEvent = Annotated[
    PointsChanged | MessageArrived | TaskChanged, strawberry.union("MemberEvent")
]


@strawberry.type
class Subscription:
    @strawberry.subscription(
        description="What changed for `me` while the app is open. Nothing is kept for a closed "
        "connection: after a reconnect, ask Home again."
    )
    async def member_events(self, info: Info) -> AsyncGenerator[MemberEvent, None]:
        context = info.context
        member_id = context.member_id
        async with context.events.subscribe(member_id) as subscription:
            async for event in subscription:
                if not await _still_allowed(context, member_id):
                    return
                shown = _shown(event)
                if shown is not None:
                    yield shown


async def _still_allowed(context: Context, member_id: UUID) -> bool:
    """The connection ends with its token; a guardianship may end before."""
    viewer = context.viewer
    if viewer.acting_for is None:
        return True
    assert viewer.member_id is not None, "only a guardian acts for somebody"
    return await sign_in.guards(context.db, guardian_id=viewer.member_id, child_id=member_id)


def _shown(event: Event) -> PointsChanged | MessageArrived | TaskChanged | None:
    """None for what this version of the program does not know."""
    named = parse(event.key)
    if named is None or named.owner_id != event.member_id:
        return None
    match named.kind:
        case Kind.POINTS_ACCOUNT:
            return PointsChanged(member_id=named.owner_id)
        case Kind.MESSAGE:
            return MessageArrived(named=named)
        case Kind.TASK:
            return TaskChanged(named=named)
        case _:
            return None
