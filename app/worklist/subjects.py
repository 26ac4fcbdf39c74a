"""What an item may be about. Types of upper domains join by implementing the interface."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.graphql.node import Info, Node


@strawberry.interface(description="What an item of the worklist is about.")
class WorklistSubject(Node):
    pass


class SubjectKey(NamedTuple):
    member_id: UUID
    id: UUID
    starts_on: date | None
    """First day of the period, where the subject is one of several."""


Load = Callable[[Info, Sequence[SubjectKey]], Awaitable[Mapping[SubjectKey, WorklistSubject]]]
"""Reads many at once, with one statement; who is not found is left out."""

SUBJECT_TYPES: dict[str, Load] = {}
"""By `subject_kind`; the wiring adds those of upper domains. Others are shown as null."""


async def load(info: Info, kind: str, key: SubjectKey) -> WorklistSubject | None:
    """Loads of one moment and kind share one statement."""
    load_many = SUBJECT_TYPES.get(kind)
    if load_many is None:
        return None
    name = f"worklist.subjects.{kind}"
    state = info.context.state
    if name not in state:

        async def load_keys(keys: list[SubjectKey]) -> list[WorklistSubject | None]:
            found = await load_many(info, keys)
            return [found.get(key) for key in keys]

        state[name] = DataLoader(load_fn=load_keys)
    found: WorklistSubject | None = await state[name].load(key)
    return found
