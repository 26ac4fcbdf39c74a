"""Loaders of one request: what many members are asked for at once is one statement."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from strawberry.dataloader import DataLoader

from app.graphql.node import Info
from app.risk import queries
from app.risk.queries import Key


async def load(
    info: Info,
    name: str,
    load_many: Callable[[Any, Sequence[Key]], Awaitable[Mapping[Any, Any]]],
    key: Key,
    found_by: Any,
) -> Any:
    """Loads of one moment share one statement."""
    state = info.context.state
    if f"risk.{name}" not in state:

        async def many(keys: list[tuple[Key, Any]]) -> list[Any]:
            async with info.context.db.read() as reading:
                found = await load_many(reading, [wanted for wanted, _ in keys])
            return [found.get(by) for _, by in keys]

        state[f"risk.{name}"] = DataLoader(load_fn=many)
    return await state[f"risk.{name}"].load((key, found_by))


async def history(
    info: Info, member_id: UUID, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Any]:
    """Loads of one moment for the same page share one statement."""
    state = info.context.state
    name = f"risk.history.{after}.{limit}"
    if name not in state:

        async def many(member_ids: list[UUID]) -> list[Sequence[Any]]:
            async with info.context.db.read() as reading:
                found = await queries.history(reading, member_ids, after=after, limit=limit)
            return [found[member_id] for member_id in member_ids]

        state[name] = DataLoader(load_fn=many)
    found: Sequence[Any] = await state[name].load(member_id)
    return found
