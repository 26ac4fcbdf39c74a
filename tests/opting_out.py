"""The ways in which a member says that nothing shall come."""

from typing import Any
from uuid import UUID, uuid4

from app.members import service as members
from app.members.rules import ConsentPurpose, PausedDays, PauseReason
from app.nudges import preferences
from app.nudges.gate import Topic
from tests.factories import NOON


async def prefer_nothing(session: Any, member: UUID) -> None:
    await preferences.set_preferences(
        session,
        member_id=member,
        quiet_hours=None,
        topics=[(Topic.SERVICES, [])],
        paused_until=None,
        now=NOON,
    )


async def withdraw(session: Any, member: UUID) -> None:
    await members.set_consent(
        session,
        member_id=member,
        request_id=uuid4(),
        purpose=ConsentPurpose.HEALTH_DATA,
        granted=False,
        text_version="1",
        recorded_by=member,
        now=NOON,
    )


async def pause(session: Any, member: UUID) -> None:
    await members.pause(
        session,
        member_id=member,
        request_id=uuid4(),
        reason=PauseReason.TRAVEL,
        days=PausedDays(NOON.date(), None),
        now=NOON,
    )


WAYS = (prefer_nothing, withdraw, pause)
