"""What people of the staff do for members without the app: call, visit, announce. Each is an
item of the worklist, of whoever looks after the member, with the words that are to be said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

import yaml
from sqlalchemy import Integer, Uuid, bindparam, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.nudges import gate
from app.nudges.standing import standings
from app.texts import Text
from app.worklist import programme as worklist
from app.worklist.rules import WorklistItemKind

PRIORITY = 30
BATCH = 500


@dataclass(frozen=True, slots=True)
class Way:
    """What is done, and how long it may take."""

    what: Text
    days: int | None = None
    working_days: int | None = None

    def days_from(self, day: date) -> timedelta:
        """From the member's day on which it comes to whoever does it."""
        if self.working_days is None:
            assert self.days is not None
            return timedelta(days=self.days)
        until, left = day, self.working_days
        while left:
            until += timedelta(days=1)
            left -= until.weekday() < 5
        return until - day


@cache
def in_force() -> Mapping[gate.Outreach, Way]:
    content = Path(__file__).with_name("outreach.yaml").read_text(encoding="utf-8")
    return {
        gate.Outreach(name): Way(
            Text(zh=row["zh"], en=row["en"]), row.get("days"), row.get("working_days")
        )
        for name, row in yaml.safe_load(content).items()
    }


@dataclass(frozen=True, slots=True)
class Wanted:
    member_id: UUID
    message_id: UUID
    channel: gate.Outreach
    title: str
    body: str
    local_date: date
    """The member's."""
    expires_at: datetime | None
    """From then on nobody needs to say it."""


async def open_items(session: AsyncSession, wanted: Sequence[Wanted], *, now: datetime) -> None:
    """One item a message and way."""
    tasks = [(it.member_id, _task(it, now=now)) for it in wanted]
    await worklist.open_items(session, tasks=tasks, now=now)


def _task(wanted: Wanted, *, now: datetime) -> worklist.Task:
    way = in_force()[wanted.channel]
    due_at = now + way.days_from(wanted.local_date)
    return worklist.Task(
        kind=WorklistItemKind.OUTREACH,
        cause_key=f"outreach:{wanted.message_id}:{wanted.channel}",
        reason=Text(zh=f"{way.what.zh}：{wanted.title}", en=f"{way.what.en}: {wanted.title}"),
        priority=PRIORITY,
        due_at=min(due_at, wanted.expires_at or due_at),
        subject_kind=None,
        subject_id=None,
        script=wanted.body,
    )


_OPEN = text("""
select i.member_id, i.cause_key from messages m
join worklist_items i on i.member_id = m.member_id and i.closed_at is null
  and i.cause_key like 'outreach:' || m.id || ':%'
where m.source_id = :source order by 1, 2 limit :limit
""").bindparams(bindparam("source", type_=Uuid), bindparam("limit", type_=Integer))


async def withdraw(session: AsyncSession, source_id: UUID, *, now: datetime) -> int:
    """Close up to `BATCH` open items of a source that wants nothing said any more; how many."""
    found = (await session.execute(_OPEN, {"source": source_id, "limit": BATCH})).all()
    return await worklist.settle_items(
        session, causes=[(member_id, key) for member_id, key in found], now=now
    )


_OF_MEMBER = text("""
select i.cause_key, m.topic, m.priority from worklist_items i
join messages m on m.member_id = i.member_id and i.cause_key like 'outreach:' || m.id || ':%'
where i.member_id = :member_id and i.closed_at is null and i.kind = 'OUTREACH'
""").bindparams(bindparam("member_id", type_=Uuid))


async def withdraw_refused(session: AsyncSession, member_id: UUID, *, now: datetime) -> int:
    """Close what is to be said to a member who does not want it any more; how many."""
    found = (await session.execute(_OF_MEMBER, {"member_id": member_id})).all()
    if not found:
        return 0
    standing = (await standings(session, [member_id], now=now)).get(member_id)
    refused = [
        (member_id, row.cause_key)
        for row in found
        if standing is None
        or gate.refusal(
            standing,
            topic=gate.Topic(row.topic),
            channel=gate.Outreach(row.cause_key.rpartition(":")[2]),
            priority=gate.Priority(row.priority),
            now=now,
        )
    ]
    return await worklist.settle_items(session, causes=refused, now=now)
