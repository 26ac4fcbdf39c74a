"""Members are told what has become of their cover: once, by day, without an amount."""

import asyncio
from datetime import timedelta

from app.db import Database
from app.nudges import policy_notices
from app.nudges.gate import Priority
from app.premiums import collecting
from tests.factories import NOON
from tests.nudges import make_phone, run
from tests.policy_holders import PLAIN, insured, publish, rows, tick, variant
from tests.test_one_gate import Recorder, dispatch, tell
from tests.test_policies_money import DUE

TOLD = "select title, body, topic, in_inbox from messages order by planned_at, title"


async def test_each_event_is_told_once_and_by_day(db: Database):
    await publish(db, variant(**PLAIN))
    await insured(db)
    runs = await asyncio.gather(*(policy_notices.tell(db, now=NOON) for _ in range(4)))
    assert sum(it.notices for it in runs) >= 2
    assert await rows(db, TOLD) == [
        ("There is an offer for you", "Open the app to see it.", "PREMIUM", True),
        ("You are covered", "Open the app to see it.", "SERVICE_NOTICE", True),
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


async def test_no_cap_no_pause_and_no_wish_for_offers_hides_what_becomes_of_a_cover(db: Database):
    await publish(db, variant(**PLAIN))
    member = (await insured(db)).member_id
    for number in range(9):
        await tell(db, member, cause=f"nudge:{number}", priority=Priority.HIGH)
    await run(
        db,
        "insert into notification_preferences (member_id, topics, changed_at)"
        """ values (:m, '{"PREMIUM": []}', :now)""",
        m=member,
        now=NOON,
    )
    await run(
        db,
        "insert into pauses (member_id, id, reason, starts_on, created_at)"
        " values (:m, :m, 'PREGNANCY', :day, :now)",
        m=member,
        day=NOON.date(),
        now=NOON,
    )
    await make_phone(db, member, "ok:1")
    await policy_notices.tell(db, now=NOON)
    found = await rows(
        db, "select title, in_inbox, suppressed_reason from messages where template = 'policy'"
    )
    assert sorted(found) == [
        ("There is an offer for you", False, "PROGRAMME_PAUSED"),
        ("You are covered", True, None),
    ]
    provider = Recorder()
    await dispatch(db, provider, now=NOON)
    assert len(provider.sent) == 1


async def test_who_was_erased_keeps_nobody_waiting(db: Database):
    await publish(db, variant(**PLAIN))
    erased, member = (await insured(db)).member_id, (await insured(db)).member_id
    await run(db, "update members set erased_at = :now where member_id = :m", now=NOON, m=erased)
    await policy_notices.tell(db, now=NOON)
    assert await rows(db, "select distinct member_id from messages") == [(member,)]
