"""What a member wants to be told, by which channel, and when not."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, UserError
from app.members import service as members
from app.nudges import gate, opting_out
from app.nudges.gate import Channel, Topic
from app.nudges.models import NotificationPreference
from app.texts import Text


class QuietHoursEmpty(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.PERIOD_INVALID,
            Text(
                zh="免打扰的开始与结束时间不能相同；不需要免打扰请留空。",
                en="Quiet hours must not end when they start; leave them out for none.",
            ),
            field="quietHours.end",
        )


class TopicGivenTwice(UserError):
    def __init__(self, topic: Topic, *, place: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(zh=f"主题 {topic} 只能出现一次。", en=f"Name the topic {topic} once."),
            field=f"topics.{place}.topic",
        )


@dataclass(frozen=True, slots=True)
class Preferences:
    quiet_hours: tuple[time, time] | None
    topics: Mapping[str, Sequence[str]]
    """Topic to its channels, of the topics that the member has chosen."""
    paused_until: datetime | None

    def paused_at(self, now: datetime) -> datetime | None:
        """Until when there is no message; None once it is over."""
        over = self.paused_until is None or self.paused_until <= now
        return None if over else self.paused_until


async def set_preferences(
    session: AsyncSession,
    *,
    member_id: UUID,
    quiet_hours: tuple[time, time] | None,
    topics: Sequence[tuple[Topic, Sequence[Channel]]],
    paused_until: datetime | None,
    now: datetime,
) -> Preferences:
    """Replace all preferences; a pause that is over already is none. From the commit on nothing
    leaves that they forbid: what is on its way to the member is waited for.

    Raises QuietHoursEmpty, TopicGivenTwice.
    """
    if quiet_hours is not None and quiet_hours[0] == quiet_hours[1]:
        raise QuietHoursEmpty
    wanted = Preferences(quiet_hours, _chosen(topics), paused_until)
    row = {
        "quiet_from": quiet_hours[0] if quiet_hours else None,
        "quiet_to": quiet_hours[1] if quiet_hours else None,
        "topics": wanted.topics,
        "paused_until": wanted.paused_at(now),
    }
    await members.lock(session, member_id)
    await _save(session, member_id, row, now=now)
    return wanted


async def opt_out(
    session: AsyncSession,
    *,
    member_id: UUID,
    topics: Collection[Topic],
    channel: Channel,
    now: datetime,
) -> bool:
    """Nothing of these topics comes by this channel any more; the rest stays as it was. False
    when that was so before. From the commit on nothing leaves that it forbids."""
    await members.lock(session, member_id)
    found = await session.get(NotificationPreference, member_id, populate_existing=True)
    before: Mapping[str, Sequence[str]] = found.topics if found else {}
    after = dict(before)
    for topic in topics:
        came_by = [it for it in Channel if gate.comes_by(topic, it, before)]
        if channel in came_by:
            after[topic.value] = [it.value for it in came_by if it is not channel]
    if after == before:
        return False
    await _save(session, member_id, {"topics": after}, now=now)
    return True


async def _save(
    session: AsyncSession, member_id: UUID, row: Mapping[str, Any], *, now: datetime
) -> None:
    """These of the preferences; then wait for what is on its way to the member. Locked."""
    changed = {**row, "changed_at": now}
    await session.execute(
        insert(NotificationPreference)
        .values(member_id=member_id, **changed)
        .on_conflict_do_update(index_elements=["member_id"], set_=changed)
    )
    await opting_out.wait(session, member_id, now)


def _chosen(topics: Sequence[tuple[Topic, Sequence[Channel]]]) -> dict[str, list[str]]:
    """Raises TopicGivenTwice. What concerns the contract or safety stays in the inbox,
    whatever is picked: only that way a member finds it at all."""
    chosen: dict[str, list[str]] = {}
    for place, (topic, picked) in enumerate(topics):
        if topic in chosen:
            raise TopicGivenTwice(topic, place=place)
        kept = {*picked, Channel.IN_APP} if topic is Topic.SERVICE_NOTICE else set(picked)
        chosen[topic.value] = [channel.value for channel in Channel if channel in kept]
    return chosen
