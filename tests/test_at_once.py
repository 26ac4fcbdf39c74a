"""With a hundred thousand pushes queued, an opt-out and a pause bite at once: counted where the
pushes arrive, at a server that speaks FCM's protocol.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlmodel.ext.asyncio.session import AsyncSession

from app.db import Database
from app.nudges import dispatch, gate, releasing, sources
from tests.campaigns import rows, run
from tests.factories import NOON, make_member
from tests.fcm_server import RunningSandbox, running_sandbox
from tests.figures import record_figure
from tests.opting_out import pause, prefer_nothing, withdraw
from tests.processes import FULL_COUNTS, until
from tests.test_campaign_sandbox import PEOPLE
from tests.test_dispatch import World, provider_of
from tests.test_one_gate import tell

COUNT = 100_000 if FULL_COUNTS else 300
pytestmark = pytest.mark.timeout(1200 if FULL_COUNTS else 300)
AT_ONCE = 8
"""Jobs that a worker has in hand."""
IN_FLIGHT = dispatch.GROUP_MAX * dispatch.GROUPS_AT_ONCE


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path, latency_seconds=0.02 if FULL_COUNTS else 0.05) as running:
        yield running


@pytest_asyncio.fixture
async def world(db: Database, sandbox: RunningSandbox) -> AsyncIterator[World]:
    provider = provider_of(sandbox)
    yield World(db, provider)
    await provider.close()


def send(world: World) -> "asyncio.Task[Any]":
    """All that is queued, as a worker does."""

    async def work() -> None:
        await asyncio.gather(*(world.work() for _ in range(AT_ONCE)))

    return asyncio.create_task(work())


def accepted(sandbox: RunningSandbox) -> int:
    return sandbox.sandbox.counts["accepted"]


@pytest.mark.parametrize("opt_out", [prefer_nothing, withdraw, pause])
async def test_after_an_opt_out_has_committed_nothing_leaves(
    db: Database, world: World, sandbox: RunningSandbox, opt_out: Any
) -> None:
    """Also what was being sent when it began: it is waited for."""
    import app.schema  # noqa: F401 - what follows a consent and a pause

    member = await make_member(db)
    count = (COUNT if opt_out is withdraw else 2000) if FULL_COUNTS else 120
    await run(
        db,
        "INSERT INTO push_tokens SELECT 'ok:' || it, 'FCM', :m, gen_random_uuid(), :now"
        " FROM generate_series(1, :count) it",
        m=member,
        count=count,
        now=NOON,
    )
    await tell(db, member)
    sending = send(world)
    await until(lambda: accepted(sandbox) > 0)
    async with db.transaction() as session:
        await opt_out(session, member)
    before = sandbox.sandbox.counts["requests"]
    await sending

    after = sandbox.sandbox.counts["requests"]
    assert 0 < before < count
    assert after == before
    found = dict(await rows(db, "SELECT state, count(*) FROM push_deliveries GROUP BY 1"))
    assert found == {"SENT": before, "SUPPRESSED": count - before}
    record_figure(f"sent after {opt_out.__name__}, of {count:,} queued", after - before)


@pytest_asyncio.fixture
async def queued(db: Database, world: World) -> UUID:
    """A source with a push for each of `COUNT` members."""
    id = uuid4()
    await run(db, PEOPLE, now=NOON, count=COUNT)
    async with db.transaction() as session:
        await sources.add(session, id, kind="TEST", name="test", now=NOON)
    members = [it[0] for it in await rows(db, "SELECT member_id FROM members")]
    for start in range(0, COUNT, 500):
        await tell(db, *members[start : start + 500], source_id=id)
    return id


async def test_whoever_opts_out_while_all_are_told_is_told_nothing_after_it(
    db: Database, world: World, sandbox: RunningSandbox, queued: UUID
) -> None:
    members = [it[0] for it in await rows(db, "SELECT member_id FROM members")]
    leaving = random.sample(members, 200 if FULL_COUNTS else 10)
    last: dict[str, int] = {}
    """By token, how many pushes had arrived altogether when the opt-out had committed."""
    sending = send(world)
    await until(lambda: accepted(sandbox) > 0)
    for number, member in enumerate(leaving, 1):
        async with db.transaction() as session:
            await prefer_nothing(session, member)
        last[f"ok:{member}"] = accepted(sandbox)
        wanted = COUNT // 2 * number // len(leaving)
        await until(lambda wanted=wanted: sending.done() or accepted(sandbox) >= wanted)  # type: ignore[misc]
    await sending

    late = [
        seen["token"]
        for seen in sandbox.sandbox.messages
        if seen["number"] > last.get(seen["token"], COUNT)
    ]
    told = {seen["token"] for seen in sandbox.sandbox.messages}
    assert late == []
    spared = last.keys() - told
    assert spared, "they opted out too late"
    assert len(told) == COUNT - len(spared) == accepted(sandbox)
    record_figure(
        "opting out while others are sent",
        f"{len(last)} of {COUNT:,}, {len(spared)} before theirs left, {len(late)} told after it",
    )


@pytest.mark.parametrize(
    ("change", "left"),
    [(sources.halt, ("QUEUED", "HALTED")), (sources.cancel, ("SUPPRESSED", "NOT_RELEVANT"))],
)
async def test_after_a_pause_at_most_what_is_in_flight_leaves(
    db: Database,
    world: World,
    sandbox: RunningSandbox,
    queued: UUID,
    change: Any,
    left: tuple[str, str],
) -> None:
    sending = send(world)
    await until(lambda: accepted(sandbox) >= COUNT // 10)
    async with db.transaction() as session:
        assert await change(session, queued, now=NOON)
    before = accepted(sandbox)
    await sending

    sent = accepted(sandbox)
    record_figure(
        f"{change.__name__} with {COUNT - before:,} queued",
        f"{sent - before} left after it, at most {IN_FLIGHT}",
    )
    assert before <= sent <= before + IN_FLIGHT
    found = await rows(db, "SELECT state, reason, count(*) FROM push_deliveries GROUP BY 1, 2")
    assert sorted(found) == sorted([("SENT", None, sent), (*left, COUNT - sent)])
    if change is sources.halt and not FULL_COUNTS:
        async with db.transaction() as session:
            assert await sources.resume(session, queued, now=NOON)
        world.now = NOON + timedelta(minutes=1)
        await send(world)
        assert accepted(sandbox) == COUNT
        assert sandbox.stats()["duplicates"] == {}


async def test_twenty_campaigns_released_at_once_keep_to_the_cap_together(
    db: Database, world: World, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has something to say to everybody, and eight workers release; three a day is the cap."""
    people, campaigns = 5_000 if FULL_COUNTS else 60, [uuid4() for _ in range(20)]

    async def prepare(
        session: AsyncSession, source_id: UUID, dues: Sequence[sources.Due], now: datetime
    ) -> Mapping[sources.Cause, sources.Content]:
        content = sources.Content(gate.Topic.SERVICES, "test", "Hello", "A message.")
        return {due.cause: content for due in dues}

    monkeypatch.setitem(sources.KINDS, "TEST", sources.Kind(prepare))
    await run(db, PEOPLE, now=NOON, count=people)
    async with db.transaction() as session:
        for id in campaigns:
            await sources.add(session, id, kind="TEST", name="test", now=NOON)
    await run(
        db,
        "INSERT INTO planned_messages (member_id, cause_key, source_id, arm, propensity, state,"
        " local_date, send_at, expires_at, planned_at)"
        " SELECT member_id, 'test:' || id, id, 'a', 1, 'PLANNED', :day, :now,"
        " CAST(:now AS timestamptz) + interval '3 hours', :now"
        " FROM members, unnest(CAST(:ids AS uuid[])) AS id ORDER BY random()",
        now=NOON,
        day=NOON.date(),
        ids=campaigns,
    )

    async def release() -> int:
        total = 0
        while found := (await releasing.release(db, now=NOON, limit=500)).looked_at:
            total += found
        return total

    released = await asyncio.gather(*(release() for _ in range(AT_ONCE)))
    await send(world)

    assert sum(released) == 20 * people
    assert min(released) > 0 or not FULL_COUNTS
    told = await rows(
        db,
        "SELECT least, most, held_back FROM (SELECT min(n) AS least, max(n) AS most FROM"
        " (SELECT count(*) FILTER (WHERE suppressed_reason IS NULL) AS n FROM messages"
        " GROUP BY member_id) m) a, (SELECT count(*) AS held_back FROM messages"
        " WHERE suppressed_reason = 'FREQUENCY_CAP') b",
    )
    assert told == [(3, 3, 17 * people)]
    arrived = Counter(seen["token"] for seen in sandbox.sandbox.messages)
    assert len(arrived) == people and set(arrived.values()) == {3}
    record_figure(
        "20 campaigns at once, 8 releasing",
        f"{people:,} members, {max(arrived.values())} pushes each of 20, counted where they arrive",
    )
