"""What the next term costs as things stand, read once a request however often it is asked."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from strawberry.dataloader import DataLoader

from app.graphql.context import Context
from app.premiums import projecting
from app.premiums.pricing import Known


async def renewal(context: Context, member_id: UUID) -> Known | None:
    """Of the policy in force, gathered and priced now; None when there is none, or it is not
    renewed. Loads of one moment share their statements."""
    name = "premiums.renewals"
    if name not in context.state:

        async def load(member_ids: list[UUID]) -> Sequence[Known | None]:
            if len(member_ids) == 1:
                # By the driver: SQLAlchemy's part would be half of what a screen costs.
                return await load_many(context.db, member_ids, context=context)
            async with context.db.read() as reading:
                return await load_many(reading, member_ids, context=context)

        context.state[name] = DataLoader(load_fn=load)
    found: Known | None = await context.state[name].load(member_id)
    return found


async def load_many(
    reading: Any, member_ids: Sequence[UUID], *, context: Context
) -> list[Known | None]:
    held = await projecting.running(reading, member_ids)
    known = await projecting.renewals(reading, held, now=context.now)
    found = {it.member_id: each for it, each in zip(held, known, strict=True)}
    return [found.get(member_id) for member_id in member_ids]
