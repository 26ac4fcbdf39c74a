"""What the ledger announces reaches the member's inbox and phones, once, by the one gate."""

import asyncio
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.adapters.fcm import FcmProvider
from app.adapters.push import TokenBucket
from app.config import Settings
from app.db import Database, StatementCount
from app.events import Events
from app.jobs import queue
from app.nudges import jobs as _jobs  # noqa: F401 - handlers
from app.nudges import points_notices, queued
from app.points import expiry, service
from tests import nudging
from tests.factories import NOON, as_member, execute, make_member
from tests.fcm_server import RunningSandbox, running_sandbox
from tests.nudges import deliveries, jobs, make_phone, rows, run
from tests.points_ledger import do, earn, hold, make_wallet, spend

SOON = date(2026, 3, 6)
HOUR = timedelta(hours=1)
INBOX = "{ me { inbox(first: 9) { edges { node { title body topic } } } } }"


async def inbox(db: Database, member_id: Any) -> list[Any]:
    context = as_member(db, member_id, now=NOON + timedelta(hours=2))
    data = await execute(INBOX, context=context)
    return [edge["node"] for edge in data["me"]["inbox"]["edges"]]


async def tell(db: Database, now: datetime = NOON) -> int:
    """How many reached the inbox."""
    await expiry.announce(db, now=now)
    told = await points_notices.tell(db, now=now)
    return len(told.arrived)


async def messages(db: Database) -> list[tuple[Any, ...]]:
    """In the inbox, reason."""
    return await rows(db, "SELECT in_inbox, suppressed_reason FROM messages ORDER BY id")


async def prefer(db: Database, **chosen: Any) -> None:
    """Preferences of everybody."""
    wish = {"quiet_from": None, "quiet_to": None, "topics": "{}", "paused": None} | chosen
    await run(
        db,
        "INSERT INTO notification_preferences"
        " (member_id, quiet_from, quiet_to, topics, paused_until, changed_at)"
        " SELECT member_id, CAST(:quiet_from AS text)::time, CAST(:quiet_to AS text)::time,"
        " CAST(:topics AS jsonb), CAST(:paused AS timestamptz), now() FROM members",
        **wish,
    )


async def test_an_announcement_is_one_message(db: Database) -> None:
    member_id = await make_wallet(db, locale="zh-CN")
    await earn(db, member_id, 30, expires_on=SOON)

    await expiry.announce(db, now=NOON)
    told = await asyncio.gather(*(points_notices.tell(db, now=NOON) for _ in range(8)))

    assert sum(len(it.arrived) for it in told) == 1
    assert await tell(db) == 0
    [message] = await inbox(db, member_id)
    assert message == {
        "title": "有积分即将过期",
        "body": "30 积分在 2026-03-06 当天结束后过期，在此之前都可以使用。",
        "topic": "POINTS",
    }
    assert await deliveries(db) == []


async def test_more_points_that_come_to_expire_are_told_again(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30, expires_on=SOON)
    held = await hold(db, member_id, 10)
    assert await tell(db) == 1
    await do(db, service.release, member_id=member_id, hold_id=held)
    assert await tell(db, NOON + HOUR) == 1
    shown = await inbox(db, member_id)
    assert [it["body"] for it in shown] == [
        "30 points can be spent up to and including 2026-03-06.",
        "20 points can be spent up to and including 2026-03-06.",
    ]


async def test_what_was_spent_since_it_was_announced_is_not_told(db: Database) -> None:
    in_part, wholly = await make_wallet(db), await make_wallet(db)
    for member_id in (in_part, wholly):
        await make_phone(db, member_id, f"ok:{member_id}")
        await earn(db, member_id, 30, expires_on=SOON)
    await expiry.announce(db, now=NOON)
    await spend(db, in_part, 10)
    await spend(db, wholly, 30)

    assert await tell(db, NOON + HOUR) == 1

    [message] = await inbox(db, in_part)
    assert message["body"] == "20 points can be spent up to and including 2026-03-06."
    assert await inbox(db, wholly) == []
    assert sorted(await messages(db)) == [(False, "NOT_RELEVANT"), (True, None)]
    assert await deliveries(db) == [("QUEUED", None), ("SUPPRESSED", "NOT_RELEVANT")]
    assert await tell(db, NOON + HOUR) == 0


# The gate


async def test_the_gate_is_asked_and_its_reason_kept(db: Database) -> None:
    member_id = await make_member(db, consents=False)
    async with db.transaction() as session:
        await service.open_wallet(session, member_id)
    await make_phone(db, member_id, "ok:1")
    await prefer(db, paused=NOON + timedelta(days=1))
    await earn(db, member_id, 30, expires_on=SOON)
    assert await tell(db) == 0
    assert await inbox(db, member_id) == []
    assert await messages(db) == [(False, "MESSAGES_PAUSED")]
    assert await deliveries(db) == [("SUPPRESSED", "MESSAGES_PAUSED")]
    assert await jobs(db) == 0


@pytest.mark.parametrize(
    ("topics", "message", "push"),
    [
        ('{"POINTS": []}', (False, "OPTED_OUT"), ("SUPPRESSED", "OPTED_OUT")),
        ('{"POINTS": ["IN_APP"]}', (True, None), ("SUPPRESSED", "OPTED_OUT")),
        ('{"POINTS": ["PUSH"]}', (False, None), ("QUEUED", None)),
        ('{"REMINDERS": []}', (True, None), ("QUEUED", None)),
    ],
)
async def test_the_member_chooses_the_channels_of_the_topic_points(
    db: Database, topics: str, message: tuple[bool, str | None], push: tuple[str, str | None]
) -> None:
    member_id = await make_wallet(db)
    await make_phone(db, member_id, "ok:1")
    await prefer(db, topics=topics)
    await earn(db, member_id, 30, expires_on=SOON)

    assert await tell(db) == message[0]

    assert await messages(db) == [message]
    assert await deliveries(db) == [push]


async def test_quiet_hours_hold_back_the_push_and_not_the_inbox(db: Database) -> None:
    member_id = await make_wallet(db)
    await make_phone(db, member_id, "ok:1")
    await prefer(db, quiet_from="11:30", quiet_to="13:00")
    await earn(db, member_id, 30, expires_on=SOON)
    assert await tell(db) == 1
    assert await deliveries(db) == [("SUPPRESSED", "QUIET_HOURS")]


async def test_points_are_told_by_day_where_the_member_is(db: Database) -> None:
    """At nine in Shanghai it is one at night in London, and no time at all on Mars."""
    here, there, nowhere = [
        await make_wallet(db, time_zone=zone)
        for zone in ("Asia/Shanghai", "Europe/London", "Asia/Shanghai")
    ]
    for member_id in (here, there, nowhere):
        await earn(db, member_id, 30, expires_on=SOON)
    await run(db, "UPDATE members SET time_zone = 'Mars/Olympus' WHERE member_id = :id", id=nowhere)

    assert await tell(db, NOON - 3 * HOUR - timedelta(seconds=1)) == 0
    assert await tell(db, NOON - 3 * HOUR) == 1
    assert await rows(db, "SELECT member_id FROM messages") == [(here,)]
    assert await tell(db, NOON + 4 * HOUR) == 0
    assert await tell(db, NOON + 5 * HOUR) == 1
    assert await rows(db, "SELECT member_id FROM messages ORDER BY planned_at") == [
        (here,),
        (there,),
    ]


async def test_old_news_is_left_alone(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 30, expires_on=SOON)
    await expiry.announce(db, now=NOON)
    late = NOON + points_notices.NEWS_FOR
    assert (await points_notices.tell(db, now=late)).notices == 0


async def test_many_cost_no_more_statements_than_one(db: Database) -> None:
    async def count(members: int) -> int:
        for _ in range(members):
            member_id = await make_wallet(db)
            await make_phone(db, member_id, f"ok:{member_id}")
            await earn(db, member_id, 30, expires_on=SOON)
        await expiry.announce(db, now=NOON)
        with StatementCount(db) as statements:
            assert len((await points_notices.tell(db, now=NOON)).arrived) == members
        return len(statements)

    assert await count(1) == await count(20)


# The phone


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path) as running:
        yield running


async def send(db: Database, sandbox: RunningSandbox, *, now: datetime) -> None:
    """The dispatch jobs that are due at `now`."""
    provider = FcmProvider(
        credentials_path=sandbox.credentials,
        base_url=sandbox.url,
        concurrency=5,
        bucket=TokenBucket(per_minute=540_000),
        timeout_seconds=5,
    )
    context = queue.JobContext(db, lambda: now, Events("postgresql://unused"), provider, Settings())
    try:
        await queue.run_due(db, context, [queued.DISPATCH_JOB])
    finally:
        await provider.close()


async def with_news(db: Database) -> UUID:
    member_id = await make_wallet(db, locale="zh-CN")
    await make_phone(db, member_id, "ok:1")
    await earn(db, member_id, 30, expires_on=SOON)
    assert await tell(db) == 1
    return member_id


async def test_the_phone_shows_no_number(db: Database, sandbox: RunningSandbox) -> None:
    await with_news(db)

    await send(db, sandbox, now=NOON)

    (seen,) = sandbox.messages()
    assert (seen["token"], seen["title"]) == ("ok:1", "Wellward")
    assert seen["body"] == "你的积分有新消息，点按查看。"
    assert await deliveries(db) == [("SENT", None)]
    assert await jobs(db) == 0


async def test_points_that_were_spent_before_the_push_went_out_need_none(
    db: Database, sandbox: RunningSandbox
) -> None:
    member_id = await with_news(db)
    await spend(db, member_id, 30)

    await send(db, sandbox, now=NOON + timedelta(minutes=1))

    assert sandbox.messages() == []
    assert await deliveries(db) == [("SUPPRESSED", "NOT_RELEVANT")]


async def test_the_gate_is_asked_again_before_the_push(
    db: Database, sandbox: RunningSandbox
) -> None:
    await with_news(db)
    await prefer(db, topics='{"POINTS": ["IN_APP"]}')

    await send(db, sandbox, now=NOON + timedelta(minutes=1))

    assert sandbox.messages() == []
    assert await deliveries(db) == [("SUPPRESSED", "OPTED_OUT")]


async def test_notice_and_nudge_never_tell_of_the_same_points_in_one_week(db: Database) -> None:
    """Everybody has the notices; between two of them the policy speaks, a week from either."""
    code = "points-expiring"
    while True:
        member_id = await make_wallet(db)
        if nudging.arm_of(code, member_id) != nudging.HOLDOUT:
            break
    last = NOON.date() + timedelta(days=40)
    await earn(db, member_id, 30, expires_on=last)
    late = await make_wallet(db)
    await earn(db, late, 20, expires_on=NOON.date() + timedelta(days=18))
    for day in (1, 4, 10, 11, 12, 19, 20, 33, 34, 35):
        # 10:00 in Shanghai: notices have been announced at midnight and are told.
        now = NOON.replace(hour=2) + timedelta(days=day)
        await tell(db, now=now)
        await nudging.plan(db, now)
        await nudging.release(db, now)
    told = await rows(
        db,
        "SELECT template, CAST(planned_at AS date) FROM messages"
        " WHERE member_id = :id AND in_inbox AND topic = 'POINTS' ORDER BY planned_at",
        id=member_id,
    )
    before = [(template, (last - day).days) for template, day in told]
    assert before == [("points.expiry", 29), (f"nudge.{code}", 21), ("points.expiry", 6)]
    # Who has no time between the notices has the notices.
    assert await rows(
        db,
        "SELECT DISTINCT template FROM messages WHERE member_id = :id AND topic = 'POINTS'",
        id=late,
    ) == [("points.expiry",)]


async def test_who_was_erased_keeps_nobody_waiting(db: Database) -> None:
    erased, member = await make_wallet(db), await make_wallet(db)
    for it in (erased, member):
        await earn(db, it, 30, expires_on=SOON)
    await run(db, "UPDATE members SET erased_at = :now WHERE member_id = :m", now=NOON, m=erased)
    assert await tell(db) == 1
