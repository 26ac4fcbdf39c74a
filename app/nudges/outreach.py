"""What people of the staff do for members without the app: call, visit, announce. Each is an
item of the worklist, of whoever looks after the member."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from app.nudges import gate
from app.texts import Text
from app.worklist import programme as worklist
from app.worklist.rules import REASON_LENGTH_MAX, WorklistItemKind

DUE_IN = timedelta(days=7)
"""When the message does not say until when it is worth saying."""
PRIORITY = 30
_WHAT: Mapping[gate.Outreach, Text] = {
    gate.Outreach.PHONE_CALL: Text(zh="电话联系", en="Call"),
    gate.Outreach.HOME_VISIT: Text(zh="上门走访", en="Visit"),
    gate.Outreach.BROADCAST: Text(zh="广播通知", en="Announce"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    member_id: UUID
    message_id: UUID
    channel: gate.Outreach
    title: str
    body: str
    due_at: datetime | None


async def open_items(session: AsyncSession, wanted: Sequence[Wanted], *, now: datetime) -> None:
    """One item a message and way. It carries the words that are to be said."""
    tasks = [(it.member_id, _task(it, now=now)) for it in wanted]
    await worklist.open_items(session, tasks=tasks, now=now)


def _task(wanted: Wanted, *, now: datetime) -> worklist.Task:
    what = _WHAT[wanted.channel]
    said = f"{wanted.title} · {wanted.body}"
    return worklist.Task(
        kind=WorklistItemKind.OUTREACH,
        cause_key=f"outreach:{wanted.message_id}:{wanted.channel}",
        reason=Text(
            zh=f"{what.zh}：{said}"[:REASON_LENGTH_MAX], en=f"{what.en}: {said}"[:REASON_LENGTH_MAX]
        ),
        priority=PRIORITY,
        due_at=wanted.due_at or now + DUE_IN,
        subject_kind=None,
        subject_id=None,
    )
