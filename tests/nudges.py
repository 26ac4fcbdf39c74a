"""Members with phones and reminders, as rows: what planning and dispatch start from."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from app.civil_time import zone
from app.db import Database
from app.members.models import Member
from app.nudges import reminders
from app.nudges.models import Installation, PushToken, Reminder
from app.nudges.planning import Planned, plan_due
from tests.factories import NOON, make_member

BEFORE = NOON - timedelta(days=30)


async def make_reminder(
    db: Database,
    member_id: UUID,
    *,
    at: time = time(12),
    recurrence: str = "FREQ=DAILY",
    kind: str = "MEDICATION",
    title: str = "Metformin 500 mg",
    starts_on: date = date(2026, 1, 1),
    ends_on: date | None = None,
    set_at: datetime = BEFORE,
    seen_at: datetime | None = None,
) -> UUID:
    """Set at `set_at`; its next firing was computed at `seen_at`, as if a worker had run
    until then."""
    reminder = Reminder(
        member_id=member_id,
        id=uuid4(),
        title=title,
        kind=kind,
        local_time=at,
        recurrence=recurrence,
        starts_on=starts_on,
        ends_on=ends_on,
        created_at=set_at,
        changed_at=set_at,
    )
    async with db.transaction() as session:
        member = await session.get_one(Member, member_id)
        reminders.plan(reminder, zone(member.time_zone), now=seen_at or NOON - timedelta(hours=1))
        session.add(reminder)
    return reminder.id


async def make_phone(
    db: Database, member_id: UUID, token: str, *, provider: str = "FCM", now: datetime = BEFORE
) -> UUID:
    installation_id = uuid4()
    async with db.transaction() as session:
        session.add(
            Installation(
                member_id=member_id,
                id=installation_id,
                platform="IOS",
                push_provider=provider,
                app_version="1.0",
                locale="en",
                registered_at=now,
                refreshed_at=now,
            )
        )
        session.add(
            PushToken(
                token=token,
                provider=provider,
                member_id=member_id,
                installation_id=installation_id,
                registered_at=now,
            )
        )
    return installation_id


async def make_member_with_phone(db: Database, token: str, **options: Any) -> UUID:
    """With a medication reminder that is due at `NOON`."""
    member_id = await make_member(db, **options)
    await make_phone(db, member_id, token)
    await make_reminder(db, member_id)
    return member_id


async def plan_all(db: Database, now: datetime = NOON) -> Planned:
    planned = await plan_due(db, now=now)
    assert planned.reminders < 500
    return planned


async def rows(db: Database, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    async with db.read() as connection:
        return [tuple(row) for row in await connection.execute(text(statement), parameters)]


async def run(db: Database, statement: str, **parameters: Any) -> None:
    async with db.write() as connection:
        await connection.execute(text(statement), parameters)


async def messages(db: Database) -> Sequence[tuple[Any, ...]]:
    """(local day, in the inbox, reason), in the order of the days."""
    return await rows(
        db,
        "SELECT local_date, in_inbox, suppressed_reason FROM messages"
        " ORDER BY local_date, planned_at, id",
    )


async def deliveries(db: Database) -> Sequence[tuple[Any, ...]]:
    """(state, reason), sorted."""
    return sorted(
        await rows(db, "SELECT state, reason FROM push_deliveries"), key=lambda row: str(row)
    )


async def jobs(db: Database) -> int:
    found = await rows(db, "SELECT count(*) FROM pgqueuer WHERE entrypoint = 'nudges.dispatch'")
    return int(found[0][0])
