"""Who wants messages sent: nudge policies and campaigns. Each kind knows what its messages say
and whom they still concern; halted, nothing of it leaves.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.nudges import gate
from app.nudges.messages import DEFAULT_CHANNELS
from app.nudges.plan_models import MessageSource

ACTIVE, HALTED, CANCELLED = "ACTIVE", "HALTED", "CANCELLED"

Cause = tuple[UUID, str]
"""A member and a cause key."""


@dataclass(frozen=True, slots=True)
class Due:
    """A planned message whose time has come."""

    member_id: UUID
    cause_key: str
    arm: str
    local_date: date
    expires_at: datetime

    @property
    def cause(self) -> Cause:
        return self.member_id, self.cause_key


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says, in the member's language, and how it is to go."""

    topic: gate.Topic
    template: str
    title: str
    body: str
    channels: Sequence[gate.Carrier] = DEFAULT_CHANNELS
    priority: gate.Priority = gate.Priority.NORMAL
    is_public: bool = False
    """It says nothing about the member: an SMS or e-mail may carry its words."""
    action: tuple[str, str] | None = None
    """Label and link."""


Prepare = Callable[
    [AsyncSession, UUID, Sequence[Due], datetime], Awaitable[Mapping[Cause, Content]]
]
"""Of a source's due messages those that still concern their members, with what they say."""
Remaining = Callable[[AsyncSession, UUID, Sequence[Cause], datetime], Awaitable[set[Cause]]]
"""Of these causes those that still concern their members: asked again just before sending."""


@dataclass(frozen=True, slots=True)
class Kind:
    prepare: Prepare
    remaining: Remaining | None = None


KINDS: dict[str, Kind] = {}


def register(kind: str, prepare: Prepare, remaining: Remaining | None = None) -> None:
    """Called once, when the module of the kind is imported."""
    assert kind not in KINDS, f"two of {kind}"
    KINDS[kind] = Kind(prepare, remaining)


async def add(session: AsyncSession, id: UUID, *, kind: str, name: str, now: datetime) -> None:
    """Make the source known, active; one that is known stays as it is."""
    await session.execute(
        insert(MessageSource)
        .values(id=id, kind=kind, name=name, state=ACTIVE, changed_at=now)
        .on_conflict_do_nothing()
    )


async def halt(session: AsyncSession, id: UUID, *, now: datetime) -> bool:
    """From the commit on at most the groups leave that are on their way. Whether it was active;
    what was planned waits."""
    return await _move(session, id, to=HALTED, of=(ACTIVE,), now=now)


async def resume(session: AsyncSession, id: UUID, *, now: datetime) -> bool:
    """What was planned and is still worth sending goes out. Whether it was halted."""
    return await _move(session, id, to=ACTIVE, of=(HALTED,), now=now)


async def cancel(session: AsyncSession, id: UUID, *, now: datetime) -> bool:
    """For good: what was planned is not sent. Whether it was not cancelled before."""
    return await _move(session, id, to=CANCELLED, of=(ACTIVE, HALTED), now=now)


async def _move(
    session: AsyncSession, id: UUID, *, to: str, of: Sequence[str], now: datetime
) -> bool:
    moved = await session.execute(
        update(MessageSource)
        .where(col(MessageSource.id) == id, col(MessageSource.state).in_(of))
        .values(state=to, changed_at=now)
        .returning(col(MessageSource.id))
    )
    return moved.first() is not None
