"""What happened to a message: shown, opened, clicked, dismissed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Uuid, bindparam, text
from sqlalchemy import Text as SqlText
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, UserError
from app.members import requests
from app.members import service as members
from app.texts import Text

EVENTS_MAX = 500


class EngagementKind(StrEnum):
    EXPOSED = "EXPOSED"
    OPENED = "OPENED"
    CLICKED = "CLICKED"
    DISMISSED = "DISMISSED"


class BatchTooLarge(UserError):
    def __init__(self, size: int) -> None:
        super().__init__(
            ErrorCode.BATCH_TOO_LARGE,
            Text(
                zh=f"一次须为 1 到 {EVENTS_MAX} 个事件，收到 {size} 个。",
                en=f"Send 1 to {EVENTS_MAX} events at once; these are {size}.",
            ),
            field="events",
        )


class SubjectUnclear(UserError):
    def __init__(self, place: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh="每个事件须且只须给出 messageId 或 offerId 之一。",
                en="Each event names exactly one of messageId and offerId.",
            ),
            field=f"events.{place}",
        )


@dataclass(frozen=True, slots=True)
class Event:
    """`message` and `offer` are the ids as the app sent them; `message_id` is the key of a
    message that may be the member's, None for anything else."""

    message: str | None
    offer: str | None
    message_id: UUID | None
    kind: EngagementKind
    occurred_at: datetime


# A phone's clock may be wrong: nothing happened before the message was there, or later than now.
_RECORD = text("""
with known as (
  select id, coalesce(sent_at, planned_at) as since from messages
  where member_id = :member_id and id = any(:ids) order by id for no key update
), accepted as (
  select known.id, e.kind, least(greatest(e.occurred_at, known.since), :now) as occurred_at
  from unnest(:ids, :kinds, :instants) as e(id, kind, occurred_at) join known using (id)
), noted as (
  insert into engagements as earlier (member_id, message_id, kind, occurred_at, received_at)
  select :member_id, id, kind, min(occurred_at), :now from accepted group by id, kind
  on conflict (member_id, message_id, kind) do update set occurred_at = excluded.occurred_at
  where earlier.occurred_at > excluded.occurred_at
), opened as (
  update messages set read_at = first.at
  from (select id, min(occurred_at) as at from accepted where kind = 'OPENED' group by id) first
  where messages.member_id = :member_id and messages.id = first.id
  and (messages.read_at is null or messages.read_at > first.at)
)
select count(*) from accepted
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("kinds", type_=ARRAY(SqlText)),
    bindparam("instants", type_=ARRAY(DateTime(timezone=True))),
    bindparam("now", type_=DateTime(timezone=True)),
)


async def record(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    events: Sequence[Event],
    now: datetime,
) -> tuple[int, bool]:
    """Note what happened to the member's messages, once each; how many events named one, and
    whether this request was answered before. Others are skipped.

    Raises BatchTooLarge, SubjectUnclear, RequestReused.
    """
    if not 1 <= len(events) <= EVENTS_MAX:
        raise BatchTooLarge(len(events))
    for place, event in enumerate(events):
        if (event.message is None) == (event.offer is None):
            raise SubjectUnclear(place)
    await members.lock(session, member_id)
    values = [(event.message, event.offer, event.kind, event.occurred_at) for event in events]
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="recordEngagement",
        values={"events": values},
        result=member_id,
        now=now,
    )
    known = [event for event in events if event.message_id is not None]
    # A second time it changes nothing and counts the same: a message is never taken back.
    counted = await session.execute(
        _RECORD,
        {
            "member_id": member_id,
            "ids": [event.message_id for event in known],
            "kinds": [event.kind.value for event in known],
            "instants": [event.occurred_at for event in known],
            "now": now,
        },
    )
    return counted.scalar_one(), earlier is not None
