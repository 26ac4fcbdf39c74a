"""From planned messages to messages, when their time has come: asked of their source whether
they are still true, of the gate whether they may go out, and of the caps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import DateTime, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Uuid
from sqlmodel.ext.asyncio.session import AsyncSession

from app.civil_time import local_date
from app.db import Database
from app.events import Event
from app.ids import new_id
from app.nudges import gate, messages, sources
from app.nudges.standing import standings

BATCH = 500
FAILED_PAUSE = timedelta(minutes=5)
"""How long what a source could not say waits before it is asked again."""
_log = structlog.get_logger(__name__)
_NOISY = (gate.Channel.PUSH, gate.Channel.SMS, gate.Channel.EMAIL)

# Sources in no order: one that has a million to say would otherwise keep all that come after it
# waiting until it has said everything.
_DUE = text("""
select due.member_id, due.cause_key, due.source_id, due.arm, due.local_date, due.expires_at,
       source.kind
from (select id, kind from message_sources
  where state = 'ACTIVE' and kind = any(cast(:kinds as text[])) order by random()) source
cross join lateral (
  select * from planned_messages p
  where p.source_id = source.id and p.state = 'PLANNED' and p.send_at <= :now
  order by p.send_at limit :limit for update skip locked) due
limit :limit
""")
_MOVE = text("""
update planned_messages p
   set state = case when w.send_at is null then 'RELEASED' else 'PLANNED' end,
       send_at = coalesce(w.send_at, p.send_at)
  from unnest(:members, cast(:causes as text[]), :send_at) as w (member_id, cause_key, send_at)
 where p.member_id = w.member_id and p.cause_key = w.cause_key
""").bindparams(
    bindparam("members", type_=ARRAY(Uuid)),
    bindparam("send_at", type_=ARRAY(DateTime(timezone=True))),
)
_CANCEL = text("""
with gone as (
  select p.member_id, p.cause_key from message_sources source cross join lateral (
    select member_id, cause_key from planned_messages
    where source_id = source.id and state = 'PLANNED' limit :limit for update skip locked) p
  where source.state = 'CANCELLED' limit :limit)
update planned_messages p set state = 'CANCELLED' from gone
where p.member_id = gone.member_id and p.cause_key = gone.cause_key
returning 1
""")


@dataclass(frozen=True, slots=True)
class Released:
    looked_at: int
    arrived: Sequence[Event] = ()
    """To publish after the commit."""


@dataclass(frozen=True, slots=True)
class _Step:
    row: Any
    send_at: datetime | None
    """When it is looked at again: the member has quiet hours."""
    message: messages.Planned | None = None


async def release(db: Database, *, now: datetime, limit: int = BATCH) -> Released:
    """Up to `limit` planned messages that are due, of active sources, in one transaction.
    Several may run at once: what another one holds is skipped. What the gate, the caps or the
    source refuse is kept as a suppressed message with its reason."""
    async with db.transaction() as session:
        wanted = {"now": now, "limit": limit, "kinds": list(sources.KINDS)}
        due = (await session.execute(_DUE, wanted)).all()
        if not due:
            return Released(0)
        members = {row.member_id for row in due}
        # Before their source is asked: what they take back meanwhile, it would not see.
        standing = await standings(session, members, now=now, lock=True)
        contents, failed = await _contents(session, due, now=now)
        reach = await messages.reach(session, members)
        steps = [
            _Step(row, now + FAILED_PAUSE)
            if row.source_id in failed and now + FAILED_PAUSE < row.expires_at
            else _decide(
                row,
                contents.get((row.source_id, row.member_id, row.cause_key)),
                standing.get(row.member_id),
                reach.get(row.member_id),
                now=now,
            )
            for row in due
        ]
        arrived = await messages.write(
            session, [step.message for step in steps if step.message], reach, now=now
        )
        await session.execute(
            _MOVE,
            {
                "members": [step.row.member_id for step in steps],
                "causes": [step.row.cause_key for step in steps],
                "send_at": [step.send_at for step in steps],
            },
        )
    return Released(len(due), arrived)


async def drop_cancelled(db: Database, *, limit: int = 10 * BATCH) -> int:
    """Mark what a cancelled source had planned; how many, at most `limit`."""
    async with db.transaction() as session:
        return len((await session.execute(_CANCEL, {"limit": limit})).all())


async def _contents(
    session: AsyncSession, due: Sequence[Any], *, now: datetime
) -> tuple[Mapping[tuple[UUID, UUID, str], sources.Content], set[UUID]]:
    """By source, member and cause, of those that their source still wants; and the sources that
    could not say it: one that fails does not keep the others waiting."""
    of_source: dict[tuple[str, UUID], list[sources.Due]] = {}
    for row in due:
        of_source.setdefault((row.kind, row.source_id), []).append(
            sources.Due(row.member_id, row.cause_key, row.arm, row.local_date, row.expires_at)
        )
    found: dict[tuple[UUID, UUID, str], sources.Content] = {}
    failed = set()
    for (kind, source_id), rows in of_source.items():
        try:
            async with session.begin_nested():
                said = await sources.KINDS[kind].prepare(session, source_id, rows, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is of this source alone
            # Without its text, which may quote what a member would have read.
            _log.error(
                "source_failed", kind=kind, source_id=str(source_id), error=type(error).__name__
            )
            failed.add(source_id)
            continue
        for (member_id, cause_key), content in said.items():
            found[source_id, member_id, cause_key] = content
    return found, failed


def _decide(
    row: Any,
    content: sources.Content | None,
    standing: gate.Standing | None,
    reach: messages.Reach | None,
    *,
    now: datetime,
) -> _Step:
    if content is None or standing is None:
        return _Step(row, None, _suppressed(row, standing, gate.Refusal.NOT_RELEVANT, now=now))
    if now >= row.expires_at:
        expired = _suppressed(row, standing, gate.Refusal.EXPIRED, topic=content.topic, now=now)
        return _Step(row, None, expired)
    makes_noise = any(channel in _NOISY for channel in content.channels)
    if makes_noise and gate.quiet_at(standing, priority=content.priority, now=now):
        later = gate.quiet_until(standing, now=now)
        if later < row.expires_at:
            return _Step(row, later)
    way = messages.way(
        standing,
        content.topic,
        reach=reach,
        channels=content.channels,
        priority=content.priority,
        now=now,
    )
    message = messages.Planned(
        member_id=row.member_id,
        id=new_id(now),
        cause_key=row.cause_key,
        topic=content.topic,
        template=content.template,
        title=content.title,
        body=content.body,
        local_date=local_date(now, standing.zone),
        way=way,
        priority=content.priority,
        source_id=row.source_id,
        arm=row.arm,
        expires_at=row.expires_at,
        is_public=content.is_public,
        action=content.action,
    )
    return _Step(row, None, message)


def _suppressed(
    row: Any,
    standing: gate.Standing | None,
    reason: gate.Refusal,
    *,
    topic: gate.Topic = gate.Topic.SERVICES,
    now: datetime,
) -> messages.Planned:
    """There is nothing to say any more: it is kept that it was not said, and why."""
    return messages.Planned(
        member_id=row.member_id,
        id=new_id(now),
        cause_key=row.cause_key,
        topic=topic,
        template="",
        title="",
        body="",
        local_date=local_date(now, standing.zone) if standing else row.local_date,
        way=messages.Way(in_inbox=False, refused={}, reason=reason),
        source_id=row.source_id,
        arm=row.arm,
        expires_at=row.expires_at,
    )
