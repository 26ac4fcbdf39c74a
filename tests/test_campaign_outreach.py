"""Campaigns by people: calls, visits, announcements; and campaigns whose time is over."""

import asyncio
from datetime import date, datetime, timedelta

import pytest

from app.campaigns import jobs, planning, service
from app.campaigns import rules as campaigns
from app.db import Database
from app.jobs import queue
from app.nudges import outreach
from app.nudges.gate import Outreach
from tests.campaigns import (
    DAY,
    change,
    create,
    key,
    make_members,
    manager,
    managers,
    pass_time,
    rows,
    run,
    started,
    variants,
    wish,
)
from tests.factories import NOON, as_staff, assign, contents, execute, make_staff, operation
from tests.test_campaigns import state
from tests.test_dispatch import World

assert jobs  # registers what is done by the queue

LONG = "说" * 1000
ITEMS = """
select closed_reason, reason_en, script, due_at - opened_at from worklist_items
where kind = 'OUTREACH' order by due_at
"""


async def work(db: Database, now: datetime) -> int:
    world = World(db, None)
    world.now = now
    return await queue.run_due(db, world.context, [service.WITHDRAW_JOB])


@pytest.mark.parametrize(
    ("channel", "day", "days"),
    [
        (Outreach.PHONE_CALL, date(2026, 3, 2), 3),  # Monday
        (Outreach.PHONE_CALL, date(2026, 3, 4), 5),  # Wednesday: over a weekend
        (Outreach.PHONE_CALL, date(2026, 3, 7), 4),  # Saturday
        (Outreach.HOME_VISIT, date(2026, 3, 4), 14),
        (Outreach.BROADCAST, date(2026, 3, 4), 7),
    ],
)
def test_how_long_it_may_take(channel: Outreach, day: date, days: int):
    assert outreach.in_force()[channel].days_from(day) == timedelta(days=days)
    assert outreach.in_force().keys() == set(Outreach)
    assert {str(it) for it in outreach.in_force()} == {str(it) for it in campaigns.BY_PEOPLE}


async def test_whoever_calls_has_all_the_words_and_the_time_it_takes(db: Database):
    [member] = await make_members(db, 1, locale="zh-CN")
    texts = [it | {"body": LONG} for it in variants("a")]
    id = await started(db, channel="HOME_VISIT", topic="SERVICES", variants=texts)
    await pass_time(db, id)
    [(closed, reason, script, due_in)] = await rows(db, ITEMS)
    assert (closed, reason, script, due_in) == (None, "Visit: a zh-CN", LONG, timedelta(days=14))
    staff = await make_staff(db, "HEALTH_MANAGER")
    await assign(db, staff, member)
    context = as_staff(db, staff, "HEALTH_MANAGER", now=NOON + DAY)
    found = await execute(operation("Outreach", "console"), context=context)
    [edge] = found["staff"]["worklist"]["edges"]
    assert edge["node"]["script"] == LONG and found["staff"]["worklist"]["totalCount"] == 1


async def test_nobody_needs_to_visit_after_the_end(db: Database):
    await make_members(db, 1)
    ends = NOON + 5 * DAY
    id = await started(db, channel="HOME_VISIT", topic="SERVICES", endsAt=ends.isoformat())
    await pass_time(db, id)
    assert [row[3] for row in await rows(db, ITEMS)] == [5 * DAY]
    assert await state(db, id) == "RUNNING"
    await planning.plan(db, key(id), now=ends)
    await work(db, ends)
    assert await state(db, id) == "DONE"
    assert [row[0] for row in await rows(db, ITEMS)] == ["SETTLED"]


async def test_what_was_cancelled_is_said_by_nobody(db: Database, monkeypatch):
    monkeypatch.setattr(outreach, "BATCH", 2)
    await make_members(db, 5)
    id, other = [
        await started(db, channel="PHONE_CALL", topic="SERVICES", name=name) for name in "ab"
    ]
    for it in (id, other):
        await pass_time(db, it)
    await run(
        db,
        "update worklist_items i set closed_at = :now, closed_reason = 'DONE' from"
        " (select min(m.id::text) as id from messages m where m.source_id = :id) first"
        " where i.cause_key like 'outreach:' || first.id || ':%'",
        id=key(id),
        now=NOON,
    )
    await change("CancelCampaign", await manager(db), campaignId=id)
    assert await work(db, NOON) == 1
    found = [row[0] for row in await rows(db, ITEMS)]
    assert sorted(map(str, found)) == ["DONE"] + ["None"] * 5 + ["SETTLED"] * 4


async def test_a_broadcast_asks_about_nobodys_health(db: Database):
    context = await manager(db)
    health = {"riskTiers": ["HIGH"]}
    before = await contents(db, "campaigns")
    for channel, code in (("BROADCAST", "FILTER_INVALID"), ("PHONE_CALL", None)):
        made = await change(
            "CreateCampaign", context, **wish(channel=channel, filter={"not": health})
        )
        assert made.get("code") == code
        if code:
            assert await contents(db, "campaigns") == before


async def test_what_is_paused_past_its_end_is_done(db: Database):
    await make_members(db, 2)
    ends = NOON + 2 * DAY
    author, other = await managers(db)
    ids = []
    for _ in range(3):
        ids.append(await started(db, endsAt=ends.isoformat()))
        await change("PauseCampaign", other, campaignId=ids[-1])
    draft = await create(author, endsAt=ends.isoformat())
    assert await planning.end_overdue(db, now=ends - timedelta(seconds=1)) == 0
    ended = await asyncio.gather(*(planning.end_overdue(db, now=ends) for _ in range(8)))
    assert sum(ended) == 3
    assert [await state(db, id) for id in ids] == ["DONE"] * 3
    assert await state(db, draft) == "DRAFT"
    kinds = await rows(db, "select count(*) from campaign_events where kind = 'ENDED'")
    assert kinds == [(3,)]
    late = as_staff(db, other.viewer.staff_id, "CAMPAIGN_MANAGER", now=ends)
    answer = await change("StartCampaign", late, campaignId=ids[0])
    assert answer["code"] == "STATE_INVALID"
    answer = await change("StartCampaign", late, campaignId=draft)
    assert answer["code"] == "PERIOD_INVALID"
