"""Loads of one moment share one statement."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from strawberry.dataloader import DataLoader

from app.graphql.node import Info
from app.premiums.benefit_queries import Key

LoadMany = Callable[[Any, Sequence[Key], Sequence[UUID]], Awaitable[Sequence[Any]]]
"""Reads rows of many by key; the last argument is `open_to` of `benefit_queries`."""


async def load_rows(
    info: Info, name: str, key: Key, load_many: LoadMany, column: str
) -> Sequence[Any]:
    """Rows of one of many: loads of one moment share one statement. `column` holds the second
    part of the key."""
    context = info.context
    name = f"benefits.{name}"
    if name not in context.state:

        async def load(keys: list[Key]) -> list[list[Any]]:
            open_to = [member_id for member_id, _ in keys if context.is_own(member_id)]
            async with context.db.read() as reading:
                rows = await load_many(reading, keys, open_to)
            found: dict[Key, list[Any]] = {key: [] for key in keys}
            for row in rows:
                found[row.member_id, getattr(row, column)].append(row)
            return [found[key] for key in keys]

        context.state[name] = DataLoader(load_fn=load)
    loaded: Sequence[Any] = await context.state[name].load(key)
    return loaded
