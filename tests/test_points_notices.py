"""What the ledger announces reaches the member's inbox, once."""

import asyncio
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text

from app.db import Database
from app.nudges import points_notices
from app.points import expiry, service
from tests.factories import NOON, as_member, execute, make_member
from tests.points_ledger import do, earn, hold, make_wallet

SOON = date(2026, 3, 6)
INBOX = "{ me { inbox(first: 9) { edges { node { title body topic } } } } }"


async def inbox(db: Database, member_id: Any) -> list[Any]:
    context = as_member(db, member_id, now=NOON + timedelta(hours=2))
    data = await execute(INBOX, context=context)
    return [edge["node"] for edge in data["me"]["inbox"]["edges"]]


async def tell(db: Database, now=NOON) -> int:
    await expiry.announce(db, now=now)
    told = await points_notices.tell(db, now=now)
    return len(told.arrived)


async def test_an_announcement_is_one_message(db: Database) -> None:
    member_id = await make_wallet(db, locale="zh-CN")
    await earn(db, member_id, 30, expires_on=SOON)

    await expiry.announce(db, now=NOON)
    told = await asyncio.gather(*(points_notices.tell(db, now=NOON) for _ in range(3)))

    assert sum(len(it.arrived) for it in told) == 1
    assert await tell(db) == 0
    [message] = await inbox(db, member_id)
    assert message == {
        "title": "有积分即将过期",
        "body": "30 积分在 2026-03-06 当天结束后过期，在此之前都可以使用。",
        "topic": "POINTS",
    }


async def test_more_points_that_come_to_expire_are_told_again(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30, expires_on=SOON)
    held = await hold(db, member_id, 10)
    assert await tell(db) == 1
    await do(db, service.release, member_id=member_id, hold_id=held)
    assert await tell(db, NOON + timedelta(hours=1)) == 1
    shown = await inbox(db, member_id)
    assert [it["body"] for it in shown] == [
        "30 points can be spent up to and including 2026-03-06.",
        "20 points can be spent up to and including 2026-03-06.",
    ]


async def test_the_gate_is_asked_and_its_reason_kept(db: Database) -> None:
    member_id = await make_member(db, consents=False)
    async with db.transaction() as session:
        await service.open_wallet(session, member_id)
        await session.execute(
            text(
                """insert into notification_preferences
                     (member_id, topics, paused_until, changed_at)
                   values (:id, '{}', :until, :now)"""
            ),
            {"id": member_id, "until": NOON + timedelta(days=1), "now": NOON},
        )
    await earn(db, member_id, 30, expires_on=SOON)
    assert await tell(db) == 0
    assert await inbox(db, member_id) == []
    async with db.read() as connection:
        rows = await connection.execute(text("select suppressed_reason, in_inbox from messages"))
        assert [tuple(row) for row in rows] == [("MESSAGES_PAUSED", False)]


async def test_old_news_is_left_alone(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30, expires_on=SOON)
    await expiry.announce(db, now=NOON)
    late = NOON + points_notices.NEWS_FOR
    assert (await points_notices.tell(db, now=late)).notices == 0
