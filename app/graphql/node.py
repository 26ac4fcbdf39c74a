"""Whatever has an `id` is a Node, and can be asked for again by it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import strawberry

from app.graphql.context import Context
from app.graphql.ids import GlobalId, Kind, parse

Info = strawberry.Info[Context, None]


@strawberry.interface
class Node:
    id: strawberry.ID = strawberry.field(description="Global and opaque.")


@strawberry.interface(description="Somebody with a name: a member or an employee.")
class Person(Node):
    display_name: str


Fetch = Callable[[Info, GlobalId], Awaitable[Any]]
"""The object, or None. Called only after access to its owner was decided."""


async def fetch_node(info: Info, id: str, fetchers: Mapping[Kind, Fetch]) -> Any:
    """Any object by its id; None when it does not exist or is not the viewer's.

    Access is decided here, on the member that the id carries, so that no fetcher can
    forget it. Employees, segments and campaigns are seen by employees only, a reward by whoever
    is signed in; who sees a device is its fetcher's business.
    """
    found = parse(id)
    if found is None or found.kind not in fetchers:
        return None
    viewer = info.context.viewer
    if found.kind in (Kind.STAFF, Kind.SAVED_SEGMENT, Kind.CAMPAIGN):
        allowed = viewer.staff_id is not None
    elif found.kind in (Kind.REWARD, Kind.HEALTH_DEVICE):
        allowed = viewer.staff_id is not None or viewer.member_id is not None
    else:
        allowed = await info.context.may_see(found.owner_id)
    return await fetchers[found.kind](info, found) if allowed else None
