"""What the settings, the inbox and the first screen read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Row, TextClause, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import Database
from app.graphql.ids import TAIL_SQL

REMINDER = "id, title, kind, local_time, recurrence, starts_on, ends_on, next_at"
MESSAGE = "id, topic, title, body, sent_at, read_at, action_label, action_url"

NEXT_REMINDER = f"""
(select array[{TAIL_SQL.format("id")}, title, kind, local_time::text, recurrence, starts_on::text,
   ends_on::text, next_at::text] from reminders
 where reminders.member_id = members.member_id and deleted_at is null and next_at is not null
 order by next_at, id limit 1)
"""
UNREAD_COUNT = """
(select count(*) from messages
 where messages.member_id = members.member_id and in_inbox and read_at is null)
"""
PREFERENCES = """
(select row(quiet_from, quiet_to, topics::text, paused_until) from notification_preferences wish
 where wish.member_id = members.member_id)
"""


def _of_member(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("member_id", type_=Uuid))


_REMINDERS = _of_member(f"""
select {REMINDER} from reminders
where member_id = :member_id and deleted_at is null
and (cast(:after as uuid) is null or id > :after)
order by id limit :limit
""").bindparams(bindparam("after", type_=Uuid), bindparam("limit", type_=Integer))
_FIRST_MESSAGES = f"""
select {MESSAGE} from messages where member_id = $1 and in_inbox
order by sent_at desc, id desc limit $2
"""
_MESSAGES = f"""
select {MESSAGE} from messages where member_id = $1 and in_inbox
and (sent_at, id) < ($3::timestamptz, $4::uuid)
order by sent_at desc, id desc limit $2
"""
_ONE_REMINDER = _of_member(f"""
select {REMINDER} from reminders
where member_id = :member_id and id = :id and deleted_at is null
""").bindparams(bindparam("id", type_=Uuid))
_ONE_MESSAGE = _of_member(f"""
select {MESSAGE} from messages where member_id = :member_id and id = :id and in_inbox
""").bindparams(bindparam("id", type_=Uuid))
_ONE_INSTALLATION = _of_member("""
select member_id, id, platform, registered_at from installations
where member_id = :member_id and id = :id
""").bindparams(bindparam("id", type_=Uuid))


async def reminders(
    reading: AsyncConnection, member_id: UUID, *, after: UUID | None, limit: int
) -> Sequence[Row[Any]]:
    """In the order in which they were created; those that have ended stay until deleted."""
    wanted = {"member_id": member_id, "after": after, "limit": limit}
    return (await reading.execute(_REMINDERS, wanted)).all()


async def inbox(
    db: Database,
    member_id: UUID,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Any]:
    """Newest first, after the message of this (`sent_at`, id)."""
    if after is None:
        return await db.fetch(_FIRST_MESSAGES, member_id, limit)
    return await db.fetch(_MESSAGES, member_id, limit, *after)


async def reminder(reading: AsyncConnection, member_id: UUID, id: UUID) -> Row[Any] | None:
    """None once it is deleted."""
    return (await reading.execute(_ONE_REMINDER, {"member_id": member_id, "id": id})).first()


async def message(reading: AsyncConnection, member_id: UUID, id: UUID) -> Row[Any] | None:
    """None while it is not in the inbox."""
    return (await reading.execute(_ONE_MESSAGE, {"member_id": member_id, "id": id})).first()


async def installation(reading: AsyncConnection, member_id: UUID, id: UUID) -> Row[Any] | None:
    return (await reading.execute(_ONE_INSTALLATION, {"member_id": member_id, "id": id})).first()
