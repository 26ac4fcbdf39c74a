"""Members are told what has become of their cover: once, by day, without an amount."""

import asyncio
from datetime import timedelta

from app.db import Database
from app.nudges import policy_notices
from app.premiums import collecting
from tests.factories import NOON
from tests.policy_holders import PLAIN, insured, publish, rows, tick, variant
from tests.test_policies_money import DUE

TOLD = "select title, body, topic, in_inbox from messages order by planned_at, title"


async def test_each_event_is_told_once_and_by_day(db: Database):
    await publish(db, variant(**PLAIN))
    await insured(db)
    runs = await asyncio.gather(*(policy_notices.tell(db, now=NOON) for _ in range(4)))
    assert sum(it.notices for it in runs) >= 2
    assert await rows(db, TOLD) == [
        ("There is an offer for you", "Open the app to see it.", "PREMIUM", True),
        ("You are covered", "Open the app to see it.", "PREMIUM", True),
    ]
    assert (await policy_notices.tell(db, now=NOON)).notices == 0
    await tick(db, collecting.dun_due, now=DUE)  # midnight in Shanghai
    assert (await policy_notices.tell(db, now=DUE)).notices == 0
    morning = DUE + timedelta(hours=9)
    assert (await policy_notices.tell(db, now=morning)).notices == 1
    assert (await rows(db, TOLD))[-1][0] == "A premium is overdue"


async def test_what_is_old_is_left_alone(db: Database):
    await publish(db, variant(**PLAIN))
    await insured(db)
    assert (await policy_notices.tell(db, now=NOON + timedelta(days=4))).notices == 0
