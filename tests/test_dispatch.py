import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from app.adapters.fcm import FcmProvider
from app.adapters.push import PushOutcome, PushProvider, PushResult, TokenBucket
from app.adapters.push_log import LogProvider
from app.config import Settings
from app.db import Database
from app.events import Events
from app.graphql import ids
from app.jobs import queue
from app.nudges import devices, dispatch, due, leases, outbox
from app.nudges import jobs as nudges_jobs
from app.nudges.leases import Lease
from tests.factories import NOON, consent, make_member
from tests.fcm_server import RunningSandbox, running_sandbox
from tests.job_worker import eventually
from tests.nudges import (
    deliveries,
    make_member_with_phone,
    make_phone,
    messages,
    plan_all,
    rows,
    run,
)

SECOND = timedelta(seconds=1)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path, slow_seconds=60) as running:
        yield running


class World:
    """A worker's means, under a clock that is moved by hand."""

    def __init__(self, db: Database, push: PushProvider | None) -> None:
        self.db = db
        self.now = NOON
        self.context = queue.JobContext(
            db, lambda: self.now, Events("postgresql://unused"), push, Settings()
        )

    async def work(self) -> int:
        """Run the dispatch jobs that are due; how many."""
        return await queue.run_due(self.db, self.context, ["nudges.dispatch"])

    async def plan_and_work(self) -> None:
        await plan_all(self.db, self.now)
        await self.work()


@pytest_asyncio.fixture
async def world(db: Database, sandbox: RunningSandbox) -> AsyncIterator[World]:
    provider = provider_of(sandbox)
    yield World(db, provider)
    await provider.close()


def provider_of(
    sandbox: RunningSandbox, *, base_url: str | None = None, timeout_seconds: float = 30
) -> FcmProvider:
    return FcmProvider(
        credentials_path=sandbox.credentials,
        base_url=base_url or sandbox.url,
        concurrency=50,
        bucket=TokenBucket(per_minute=540_000),
        timeout_seconds=timeout_seconds,
    )


async def batch_of(db: Database) -> UUID:
    ((batch,),) = await rows(db, "SELECT id FROM push_batches")
    return UUID(str(batch))


async def is_finished(db: Database) -> bool:
    ((finished,),) = await rows(db, "SELECT bool_and(finished_at IS NOT NULL) FROM push_batches")
    return bool(finished)


# What arrives


async def test_a_reminder_reaches_the_phone_without_a_health_fact(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    member = await make_member_with_phone(db, "ok:1", locale="zh-CN")

    await world.plan_and_work()

    (seen,) = sandbox.messages()
    ((message_id,),) = await rows(db, "SELECT id FROM messages")
    assert (seen["token"], seen["title"], seen["body"]) == (
        *("ok:1", "Wellward"),
        "你有一条新提醒，点按查看。",
    )
    assert seen["data"] == {"messageId": ids.encode(ids.Kind.MESSAGE, member, message_id)}
    assert seen["message"]["android"]["ttl"] == "3600s"
    assert await rows(
        db,
        "SELECT state, reason, attempts, attempting_since, provider_message_id, changed_at"
        " FROM push_deliveries",
    ) == [("SENT", None, 1, None, seen["name"], NOON)]
    assert await is_finished(db)
    assert await world.work() == 0


async def test_two_phones_each_get_it_once(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    member = await make_member_with_phone(db, "ok:1")
    await make_phone(db, member, "ok:2")

    await world.plan_and_work()

    assert sorted(seen["token"] for seen in sandbox.messages()) == ["ok:1", "ok:2"]
    assert sandbox.stats()["duplicates"] == {}


@pytest.mark.parametrize(
    ("prefix", "state", "reason"),
    [
        ("ok", "SENT", None),
        ("invalid", "FAILED", "INVALID_ARGUMENT"),
        ("sender", "FAILED", "SENDER_ID_MISMATCH"),
        ("unreg", "TOKEN_REMOVED", "UNREGISTERED"),
        ("html", "UNKNOWN", "HTTP_502"),
        ("drop", "UNKNOWN", "CONNECTION"),
    ],
)
async def test_each_final_outcome_is_kept_and_never_sent_again(
    db: Database,
    world: World,
    sandbox: RunningSandbox,
    prefix: str,
    state: str,
    reason: str | None,
) -> None:
    await make_member_with_phone(db, f"{prefix}:1")
    await world.plan_and_work()

    assert await deliveries(db) == [(state, reason)]
    assert await is_finished(db)
    tokens = await rows(db, "SELECT token FROM push_tokens")
    assert tokens == ([] if state == "TOKEN_REMOVED" else [(f"{prefix}:1",)])
    assert await messages(db) == [(NOON.date(), True, None)]

    world.now += timedelta(hours=2)
    assert await leases.recover(db, now=world.now) == 0
    await world.work()
    assert sandbox.stats()["requests"] == 1


async def test_an_answer_that_does_not_come_is_kept_as_unknown(
    db: Database, sandbox: RunningSandbox
) -> None:
    await make_member_with_phone(db, "slow:1")
    provider = provider_of(sandbox, timeout_seconds=2)
    await World(db, provider).plan_and_work()
    await provider.close()

    assert await deliveries(db) == [("UNKNOWN", "TIMEOUT")]
    assert await is_finished(db)


async def test_a_token_registered_anew_meanwhile_is_kept(
    db: Database, sandbox: RunningSandbox
) -> None:
    """FCM's word is about the registration before."""

    class Registers(LogProvider):
        name = "fcm"

        async def send(self, message: Any) -> PushResult:
            await run(db, "UPDATE push_tokens SET registered_at = :now", now=NOON)
            return PushResult(PushOutcome.TOKEN_GONE, code="UNREGISTERED")

    await make_member_with_phone(db, "unreg:1")
    await World(db, Registers()).plan_and_work()

    assert await deliveries(db) == [("TOKEN_REMOVED", "UNREGISTERED")]
    assert await rows(db, "SELECT token FROM push_tokens") == [("unreg:1",)]


# Trying again


async def next_attempt(db: Database) -> tuple[str, int, datetime]:
    ((state, attempts, at),) = await rows(
        db, "SELECT state, attempts, next_attempt_at FROM push_deliveries"
    )
    return state, attempts, at


@pytest.mark.parametrize(
    ("prefix", "least", "most"),
    [("quota", 7, 10), ("unavail", 5, 10), ("internal", 5, 10), ("later", 25, 34)],
)
async def test_a_refusal_for_now_waits_as_long_as_it_was_told(
    db: Database, world: World, sandbox: RunningSandbox, prefix: str, least: int, most: int
) -> None:
    await make_member_with_phone(db, f"{prefix}:1")
    await world.plan_and_work()

    state, attempts, at = await next_attempt(db)
    assert (state, attempts) == ("QUEUED", 1)
    assert least * SECOND <= at - NOON <= most * SECOND

    world.now = at - timedelta(milliseconds=1)
    assert await world.work() == 0
    assert await leases.recover(db, now=world.now) == 0
    assert sandbox.stats()["requests"] == 1
    world.now = at
    assert await world.work() == 1
    assert sandbox.stats()["requests"] == 2
    state, attempts, later = await next_attempt(db)
    assert (state, attempts) == ("QUEUED", 2)
    assert later > at


async def test_a_push_that_fails_first_arrives_once_later(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    await make_member_with_phone(db, "flaky:1")
    await world.plan_and_work()
    _, _, world.now = await next_attempt(db)
    await world.work()

    assert await deliveries(db) == [("SENT", None)]
    stats = sandbox.stats()
    assert (stats["requests"], stats["accepted"], stats["duplicates"]) == (2, 1, {})


async def test_it_gives_up_after_so_many_attempts(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    await make_member_with_phone(db, "internal:1")
    await world.plan_and_work()
    while (await next_attempt(db))[0] == "QUEUED":
        _, _, world.now = await next_attempt(db)
        await world.work()

    assert await deliveries(db) == [("FAILED", "INTERNAL")]
    assert sandbox.stats()["requests"] == dispatch.ATTEMPTS_MAX
    assert timedelta(minutes=5) < world.now - NOON < timedelta(minutes=20)


async def test_a_push_that_would_come_too_late_is_given_up(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    await make_member_with_phone(db, "quota:1")
    await plan_all(db)
    world.now = NOON + due.RELEVANT_FOR - 6 * SECOND
    await world.work()

    assert await deliveries(db) == [("FAILED", "QUOTA_EXCEEDED")]


def test_repetitions_wait_longer_each_time_and_never_less_than_told() -> None:
    for attempts in range(1, 12):
        for chance in (0.0, 0.5, 0.999):
            waits = dispatch.retry_in(attempts, None, chance=chance)
            assert dispatch.BACKOFF_MIN / 2 <= waits <= dispatch.BACKOFF_MAX
            told = timedelta(seconds=random.randint(0, 4000))
            assert dispatch.retry_in(attempts, told, chance=chance) >= max(told, waits)
    assert dispatch.retry_in(3, None, chance=0.0) == 2 * dispatch.retry_in(2, None, chance=0.0)


async def test_refused_credentials_stop_the_batch_and_cost_no_attempt(
    db: Database, sandbox: RunningSandbox
) -> None:
    for number in range(40):
        await make_member_with_phone(db, f"ok:{number}")
    provider = provider_of(sandbox, base_url=f"{sandbox.url}/elsewhere")
    world = World(db, provider)
    with capture_logs() as logs:
        await world.plan_and_work()
    await provider.close()

    assert [(it["event"], it["log_level"]) for it in logs] == [("push_unauthorised", "error")]
    assert "ok:" not in str(logs)
    assert set(await deliveries(db)) == {("QUEUED", None), ("QUEUED", "UNAUTHORISED")}
    waiting = await rows(
        db, "SELECT DISTINCT attempts, next_attempt_at FROM push_deliveries ORDER BY 2"
    )
    assert waiting == [(0, NOON + dispatch.UNAUTHORISED_PAUSE)]
    async with db.read() as connection:
        counts = await outbox.push_counts(connection, now=NOON)
    queued = 40 - dispatch.GROUP_MAX
    assert counts == {("push", "unauthorised"): dispatch.GROUP_MAX, ("push", "queued"): queued}

    # Somebody mends it.
    provider = provider_of(sandbox)
    mended = World(db, provider)
    mended.now = NOON + 30 * SECOND
    assert await leases.recover(db, now=mended.now) == await mended.work() == 0
    mended.now = NOON + dispatch.UNAUTHORISED_PAUSE
    await mended.work()
    await provider.close()
    assert await deliveries(db) == [("SENT", None)] * 40
    assert sandbox.stats()["accepted"] == 40


async def test_one_platforms_fault_does_not_hold_up_the_others(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    for number in range(30):
        await make_member_with_phone(db, f"{'apns' if number % 3 == 0 else 'ok'}:{number}")

    await world.plan_and_work()

    assert sandbox.stats()["accepted"] == 20
    assert await deliveries(db) == [("QUEUED", "UNAUTHORISED")] * 10 + [("SENT", None)] * 20


# The gate, again


async def refuse(db: Database) -> None:
    ((member,),) = await rows(db, "SELECT member_id FROM members")
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))


def sql(statement: str) -> Callable[[Database], Any]:
    async def change(db: Database) -> None:
        await run(db, statement)

    return change


PREFER = (
    "INSERT INTO notification_preferences (member_id, quiet_from, quiet_to, topics, paused_until,"
    " changed_at) SELECT member_id, {}, now() FROM members"
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (refuse, "CONSENT_WITHDRAWN"),
        (
            sql(
                "INSERT INTO pauses (member_id, id, reason, starts_on, created_at)"
                " SELECT member_id, gen_random_uuid(), 'OTHER', '2026-03-02', now() FROM members"
            ),
            "PROGRAMME_PAUSED",
        ),
        (sql(PREFER.format("""null, null, '{"REMINDERS": ["IN_APP"]}', null""")), "OPTED_OUT"),
        (sql(PREFER.format("null, null, '{}', '2026-03-09T00:00Z'")), "MESSAGES_PAUSED"),
        (sql(PREFER.format("'12:00', '13:00', '{}', null")), "QUIET_HOURS"),
        (sql("UPDATE reminders SET deleted_at = now()"), "NOT_RELEVANT"),
        (sql("UPDATE reminders SET changed_at = '2026-03-02T04:00:01Z'"), "NOT_RELEVANT"),
        (sql("DELETE FROM push_tokens"), "NO_ADDRESS"),
        (sql("UPDATE push_tokens SET provider = 'JPUSH'"), "NO_PROVIDER"),
    ],
)
async def test_what_changes_after_planning_counts(
    db: Database,
    world: World,
    sandbox: RunningSandbox,
    change: Callable[[Database], Any],
    reason: str,
) -> None:
    await make_member_with_phone(db, "ok:1")
    await plan_all(db)
    await change(db)

    world.now += SECOND
    await world.work()

    assert await rows(db, "SELECT state, reason, attempts FROM push_deliveries") == [
        ("SUPPRESSED", reason, 0)
    ]
    assert sandbox.stats().get("requests", 0) == 0
    assert await is_finished(db)
    # The inbox had it already.
    assert await messages(db) == [(NOON.date(), True, None)]


async def test_a_message_for_phones_only_says_why_it_went_nowhere(
    db: Database, world: World
) -> None:
    await make_member_with_phone(db, "ok:1")
    await run(db, PREFER.format("""null, null, '{"REMINDERS": ["PUSH"]}', null"""))
    await plan_all(db)
    assert await messages(db) == [(NOON.date(), False, None)]
    await run(db, "DELETE FROM push_tokens")

    await world.work()

    assert await messages(db) == [(NOON.date(), False, "NO_ADDRESS")]


async def test_a_push_that_waited_too_long_is_not_sent(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    await make_member_with_phone(db, "ok:1")
    await plan_all(db)

    world.now += due.RELEVANT_FOR
    await world.work()

    assert await deliveries(db) == [("SUPPRESSED", "EXPIRED")]
    assert sandbox.stats().get("requests", 0) == 0


async def hand_over(db: Database, token: str, *, now: datetime) -> UUID:
    """The phone with this token is another member's now."""
    other = await make_member(db)
    async with db.transaction() as session:
        device = devices.Device(
            installation_id=uuid4(),
            platform=devices.Platform.ANDROID,
            push_token=token,
            push_service=devices.PushService.FCM,
            app_version="1",
            locale="en",
            time_zone="Asia/Shanghai",
        )
        await devices.register(session, member_id=other, device=device, now=now)
    return other


async def test_a_phone_of_another_member_never_gets_the_old_members_push(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    await make_member_with_phone(db, "ok:phone")
    await plan_all(db)
    await hand_over(db, "ok:phone", now=NOON)

    await world.work()

    assert [state for state, _ in await deliveries(db)] == ["SUPPRESSED"]
    assert sandbox.stats().get("requests", 0) == 0


async def test_a_handover_while_the_gate_is_asked_is_waited_for(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    """The registration has not committed yet when the worker looks."""
    await make_member_with_phone(db, "ok:phone")
    await plan_all(db)
    async with db.transaction() as session:
        connection = await session.connection()
        await connection.exec_driver_sql("SELECT 1 FROM push_tokens FOR UPDATE")
        working = asyncio.create_task(world.work())
        await asyncio.sleep(0.3)
        assert not working.done()
        await connection.exec_driver_sql("DELETE FROM push_tokens")
    await working

    assert await deliveries(db) == [("SUPPRESSED", "NO_ADDRESS")]
    assert sandbox.stats().get("requests", 0) == 0


# Providers


async def test_without_credentials_the_log_shows_the_push(db: Database) -> None:
    await make_member_with_phone(db, "ok:1")
    with capture_logs() as logs:
        await World(db, LogProvider()).plan_and_work()

    (line,) = [it for it in logs if it["event"] == "push"]
    assert line["body"] == "You have a reminder. Tap to see it."
    assert "ok:1" not in str(logs) and "Metformin" not in str(logs)
    assert await deliveries(db) == [("SENT", None)]


async def test_without_any_provider_the_inbox_is_all_there_is(db: Database) -> None:
    await make_member_with_phone(db, "ok:1")

    await World(db, None).plan_and_work()

    assert await deliveries(db) == [("SUPPRESSED", "NO_PROVIDER")]
    assert await messages(db) == [(NOON.date(), True, None)]
    assert await is_finished(db)


async def test_a_provider_that_breaks_leaves_it_unknown(db: Database) -> None:
    class Broken(LogProvider):
        async def send(self, message: Any) -> PushResult:
            raise ZeroDivisionError

    await make_member_with_phone(db, "ok:1")
    await World(db, Broken()).plan_and_work()

    assert await deliveries(db) == [("UNKNOWN", "INTERRUPTED")]
    assert await is_finished(db)


# Leases


async def test_two_workers_on_one_batch_send_everything_once(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    for number in range(60):
        await make_member_with_phone(db, f"ok:{number}")
    await plan_all(db)
    batch = await batch_of(db)

    await asyncio.gather(*(dispatch.dispatch(world.context, batch) for _ in range(8)))

    stats = sandbox.stats()
    assert (stats["requests"], stats["accepted"], stats["duplicates"]) == (60, 60, {})
    assert await deliveries(db) == [("SENT", None)] * 60


async def test_a_batch_of_a_dead_worker_goes_on_and_what_it_had_in_hand_is_unknown(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    for number in range(60):
        await make_member_with_phone(db, f"ok:{number}")
    await plan_all(db)
    dead = Lease(await batch_of(db), uuid4())
    assert await leases.take(db, dead, now=NOON)
    group = await outbox.next_group(db, dead, services=["FCM"], limit=25, now=NOON)
    assert group is not None and len(group.pushes) == 25

    world.now = NOON + leases.LEASE - timedelta(milliseconds=1)
    assert await leases.recover(db, now=world.now) == 0
    await world.work()  # the job itself finds the lease held, and ends
    assert sandbox.stats().get("requests", 0) == 0
    world.now = NOON + leases.LEASE
    assert await leases.recover(db, now=world.now) == 1
    assert await leases.recover(db, now=world.now) == 1
    assert await world.work() == 1

    assert await deliveries(db) == [("SENT", None)] * 35 + [("UNKNOWN", "WORKER_LOST")] * 25
    assert sandbox.stats()["requests"] == 35
    assert await is_finished(db)

    # The dead one was only frozen: it gets no more, and its word comes too late.
    assert await outbox.next_group(db, dead, services=["FCM"], limit=25, now=world.now) is None
    again = [(push, outbox.Recorded("QUEUED", next_attempt_at=NOON)) for push in group.pushes]
    await outbox.record(db, again, now=world.now)
    await leases.release(db, dead, now=world.now)
    assert ("QUEUED", None) not in await deliveries(db)


async def test_a_lease_ends_when_the_holder_says_nothing_and_not_before(
    db: Database, world: World
) -> None:
    await make_member_with_phone(db, "ok:1")
    await plan_all(db)
    batch = await batch_of(db)
    first, second = Lease(batch, uuid4()), Lease(batch, uuid4())

    assert await leases.take(db, first, now=NOON)
    assert not await leases.take(db, second, now=NOON)
    async with db.write() as connection:
        assert await leases.extend(connection, first, now=NOON + leases.LEASE - SECOND)
    assert not await leases.take(db, second, now=NOON + leases.LEASE + SECOND)
    late = NOON + 2 * leases.LEASE
    async with db.write() as connection:
        assert not await leases.extend(connection, first, now=late)
    assert await leases.take(db, second, now=late)
    await leases.release(db, first, now=late)
    assert not await leases.take(db, first, now=late)


async def test_an_interrupted_worker_writes_down_what_it_knows(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    """Sent, or perhaps sent: nothing of it is sent again, the rest goes on at once."""
    for number in range(30):
        await make_member_with_phone(db, f"{'slow' if number < 3 else 'ok'}:{number}")
    await plan_all(db)
    # The slow ones first.
    await run(
        db,
        "UPDATE push_deliveries SET next_attempt_at = next_attempt_at - interval '1 second'"
        " WHERE installation_id IN (SELECT installation_id FROM push_tokens"
        " WHERE token LIKE 'slow%')",
    )

    async def accepted() -> bool:
        return bool(sandbox.stats().get("accepted", 0) >= 25)

    working = asyncio.create_task(world.work())
    await eventually(accepted)
    await asyncio.sleep(1)  # the answers of the quick ones arrive
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    states = [state for state, _ in await deliveries(db)]
    assert (states.count("SENT"), states.count("UNKNOWN"), states.count("QUEUED")) == (22, 3, 5)
    await world.work()
    assert sandbox.stats()["accepted"] == 30
    assert sandbox.stats()["duplicates"] == {}


async def test_no_transaction_is_open_while_pushes_are_on_their_way(
    db: Database,
) -> None:
    seen: list[Any] = []

    class Looks(LogProvider):
        async def send(self, message: Any) -> PushResult:
            seen.extend(
                await rows(
                    db,
                    "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
                    " AND state LIKE 'idle in transaction%'",
                )
            )
            seen.extend(await rows(db, "SELECT state FROM push_deliveries"))
            return PushResult(PushOutcome.SENT)

    await make_member_with_phone(db, "ok:1")
    await World(db, Looks()).plan_and_work()

    assert seen == [("ATTEMPTING",)]


async def test_a_process_never_has_more_than_fifty_on_their_way(
    db: Database, world: World, sandbox: RunningSandbox
) -> None:
    """However many batches it sends at the same time."""
    sandbox.sandbox.latency_seconds = 0.05
    for number in range(90):
        await make_member_with_phone(db, f"ok:{number}")
        if number % 30 == 29:
            await plan_all(db)
    batches = [UUID(str(batch)) for (batch,) in await rows(db, "SELECT id FROM push_batches")]
    assert len(batches) == 3

    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            ((count,),) = await rows(
                db, "SELECT count(*) FROM push_deliveries WHERE state = 'ATTEMPTING'"
            )
            most = max(most, count)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(dispatch.dispatch(world.context, batch) for batch in batches))
    watching.cancel()

    assert 25 <= most <= 50
    assert sandbox.stats()["accepted"] == 90


async def test_a_finished_batch_is_not_taken_again(db: Database, world: World) -> None:
    await make_member_with_phone(db, "ok:1")
    await world.plan_and_work()

    batch = await batch_of(db)
    assert not await leases.take(db, Lease(batch, uuid4()), now=NOON + timedelta(days=1))
    await nudges_jobs.send_batch(world.context, {"batch": str(batch)})
    await nudges_jobs.recover(world.context, {})
    assert await rows(db, "SELECT count(*) FROM pgqueuer") == [(0,)]


async def test_recovery_finishes_a_batch_whose_worker_died_after_the_last_push(
    db: Database, world: World
) -> None:
    await make_member_with_phone(db, "ok:1")
    await plan_all(db)
    await run(db, "DELETE FROM pgqueuer")
    await run(db, "UPDATE push_deliveries SET state = 'SENT'")

    assert await leases.recover(db, now=NOON) == 1
    await world.work()

    assert await is_finished(db)
