"""Who leaves a campaign is asked again just before each push: steps, audiences, time."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from app.campaigns import planning
from app.db import Database
from app.nudges import releasing
from tests.campaigns import DAY, rows, run, started, variants
from tests.factories import NOON
from tests.fcm_server import RunningSandbox, running_sandbox
from tests.nudges import make_member_with_phone
from tests.test_dispatch import World, provider_of

LATER = timedelta(minutes=5)
RESULT = """
select d.state, d.reason from push_deliveries d join messages m
  on m.member_id = d.member_id and m.id = d.message_id
where m.member_id = :m and m.cause_key like '%:1:%'
"""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path, slow_seconds=5) as running:
        yield running


@pytest_asyncio.fixture
async def world(db: Database, sandbox: RunningSandbox) -> AsyncIterator[World]:
    provider = provider_of(sandbox)
    yield World(db, provider)
    await provider.close()


async def send(world: World) -> None:
    while await world.work():
        pass


async def test_who_leaves_once_a_step_is_on_its_way_is_not_pushed(
    db: Database, world: World, sandbox: RunningSandbox
):
    clicks, stays = [await make_member_with_phone(db, f"ok:{name}") for name in ("a", "b")]
    await started(
        db,
        channel="PUSH",
        topic="SERVICES",
        steps=[{"waitHours": 24, "exits": ["CLICKED"]}],
        variants=variants("a") + variants("a", step=1),
    )
    [[source]] = await rows(db, "select id from message_sources where kind = 'CAMPAIGN'")
    for now in (NOON, NOON + DAY):
        await planning.plan(db, source, now=now)
        while (await releasing.release(db, now=now)).looked_at:
            pass
        if now == NOON:
            await send(world)
    # The second step is queued; the first one is clicked before it leaves.
    [[first]] = await rows(
        db, "select id from messages where member_id = :m and cause_key like '%:0:%'", m=clicks
    )
    await run(
        db,
        "insert into engagements values (:m, :id, 'CLICKED', :at, :at)",
        m=clicks,
        id=first,
        at=NOON + DAY,
    )
    world.now = NOON + DAY + LATER
    await send(world)
    assert await rows(db, RESULT, m=clicks) == [("SUPPRESSED", "NOT_RELEVANT")]
    assert await rows(db, RESULT, m=stays) == [("SENT", None)]
    assert len(sandbox.messages()) == 3
