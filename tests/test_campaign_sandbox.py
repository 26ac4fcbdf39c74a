"""Campaigns counted where they arrive: at a server that speaks FCM's protocol."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from app.campaigns.assignment import HOLDOUT
from app.db import Database
from tests.campaigns import change, key, manager, pass_time, rows, run, started
from tests.factories import NOON
from tests.fcm_server import RunningSandbox, running_sandbox
from tests.figures import record_figure
from tests.processes import FULL_COUNTS
from tests.test_dispatch import World, provider_of

COUNT = 20_000 if FULL_COUNTS else 300
PEOPLE = """
with people as (
  insert into members (member_id, display_name, birth_date, sex, time_zone, locale, created_at)
  select gen_random_uuid(), 'P', '1980-01-01', 'FEMALE', 'Asia/Shanghai', 'en', :now
  from generate_series(1, :count) returning member_id
), phones as (
  insert into installations (member_id, id, platform, push_provider, app_version, locale,
    registered_at, refreshed_at)
  select member_id, gen_random_uuid(), 'IOS', 'FCM', '1.0', 'en', :now, :now from people
  returning member_id, id
)
insert into push_tokens (token, provider, member_id, installation_id, registered_at)
select 'ok:' || member_id, 'FCM', member_id, id, :now from phones
"""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path, slow_seconds=5) as running:
        yield running


@pytest_asyncio.fixture
async def world(db: Database, sandbox: RunningSandbox) -> AsyncIterator[World]:
    await run(db, PEOPLE, now=NOON, count=COUNT)
    provider = provider_of(sandbox)
    yield World(db, provider)
    await provider.close()


async def send(world: World) -> None:
    while await world.work():
        pass


def arrived(sandbox: RunningSandbox) -> set[UUID]:
    return {UUID(seen["token"].removeprefix("ok:")) for seen in sandbox.messages()}


async def test_the_holdout_receives_nothing(db: Database, world: World, sandbox: RunningSandbox):
    id = await started(db, channel="PUSH", topic="SERVICES", holdoutPercent="20")
    await pass_time(db, id)
    await send(world)
    arms = dict(await rows(db, "select member_id, arm from campaign_members"))
    assert len(arms) == COUNT
    held = {member for member, arm in arms.items() if arm == HOLDOUT}
    got = arrived(sandbox)
    record_figure("holdout", f"{len(held):,} of {COUNT:,} held out, {len(held & got)} received")
    assert held and not held & got
    assert got == arms.keys() - held
    assert sandbox.stats()["duplicates"] == {}


async def test_nothing_leaves_while_it_is_paused_and_nothing_is_lost(
    db: Database, world: World, sandbox: RunningSandbox
):
    id = await started(db, channel="PUSH", topic="SERVICES")
    context = await manager(db)
    await pass_time(db, id)  # every push is queued, none has left
    await change("PauseCampaign", context, campaignId=id)
    await send(world)
    assert arrived(sandbox) == set()
    await change("StartCampaign", context, campaignId=id)
    world.now = NOON + timedelta(minutes=5)
    await send(world)
    assert len(arrived(sandbox)) == len(sandbox.messages()) == COUNT
    assert await state(db, id) == "RUNNING"
    await pass_time(db, id, world.now)
    assert await state(db, id) == "DONE"


async def test_nothing_leaves_once_it_is_cancelled(
    db: Database, world: World, sandbox: RunningSandbox
):
    id = await started(db, channel="PUSH", topic="SERVICES")
    await pass_time(db, id)
    await change("CancelCampaign", await manager(db), campaignId=id)
    await send(world)
    world.now = NOON + timedelta(minutes=5)
    await send(world)
    assert arrived(sandbox) == set()
    states = await rows(db, "select distinct state, reason from push_deliveries")
    assert states == [("SUPPRESSED", "NOT_RELEVANT")]


async def state(db: Database, id: str) -> str:
    found = await rows(db, "select state from campaigns where id = :id", id=key(id))
    return str(found[0][0])
