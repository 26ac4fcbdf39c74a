"""What goes wrong between planning and sending: one policy, wording, row or member that is odd keeps
nobody else waiting, and what was taken back meanwhile is not said."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.config import Settings
from app.db import Database
from app.events import Events
from app.jobs import queue
from app.members import service as members
from app.members.rules import ConsentPurpose
from app.nudges import facts, jobs, policies, releasing, sources
from app.nudges.facts import Fact
from tests.factories import make_member
from tests.job_worker import eventually
from tests.nudges import make_phone, rows, run
from tests.nudging import (
    EVENING,
    agree,
    arm_of,
    make_walker,
    plan,
    planned_of,
    policy,
    release,
    told,
    walk,
)
from tests.test_one_gate import Recorder, dispatch

MINUTE = timedelta(minutes=1)


def context_of(db: Database, now: Any = EVENING) -> queue.JobContext:
    return queue.JobContext(db, lambda: now, Events("postgresql://unused"), None, Settings())


# Planning


async def test_a_run_whose_hour_has_been_moved_meanwhile_ends_and_the_others_go_on(
    db: Database,
) -> None:
    """It was cut short, and the next release of the program has another hour."""
    member = await make_walker(db)
    await plan(db, EVENING - timedelta(hours=1))
    await run(
        db,
        "INSERT INTO nudge_runs (source_id, planned_for, local_date, after, planned)"
        " VALUES (:id, :at, :day, gen_random_uuid(), 7)",
        id=policy("steps-short").id,
        at=EVENING - 7 * MINUTE,
        day=EVENING.date(),
    )
    assert await plan(db, EVENING) == 1
    assert [it[0] for it in await planned_of(db, "steps-short")] == [member]
    assert await rows(db, "SELECT count(*) FROM nudge_runs WHERE finished_at IS NULL") == [(0,)]


async def test_a_policy_that_cannot_be_planned_does_not_keep_the_others_waiting(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Fact(joins="", where="1 / (who.local_date - who.local_date) > 0")
    monkeypatch.setitem(facts.FACTS, "steps_below", broken)
    while arm_of("welcome-claims-guide", member := await make_member(db, now=EVENING)) == "holdout":
        pass
    await agree(db, member, "DEVICE_DATA")

    await jobs.plan_policies(context_of(db), {})

    assert await planned_of(db, "steps-short") == []
    assert member in [it[0] for it in await planned_of(db, "welcome-claims-guide")]
    found = await rows(db, "SELECT DISTINCT source_id FROM nudge_runs WHERE finished_at IS NULL")
    assert found == [(policy("steps-short").id,)]


# Releasing


async def test_a_source_that_fails_does_not_keep_the_others_waiting(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it has left the transaction in ruins."""
    member = await make_walker(db)
    id = uuid4()

    async def fails(session: Any, *_: Any) -> Any:
        await session.execute(text("SELECT 1 / 0"))

    monkeypatch.setitem(sources.KINDS, "ROUGH", sources.Kind(fails))
    async with db.transaction() as session:
        await sources.add(session, id, kind="ROUGH", name="rough", now=EVENING)
    await plan(db, EVENING)
    for cause, valid in (("long", timedelta(hours=1)), ("short", MINUTE)):
        await run(
            db,
            "INSERT INTO planned_messages (member_id, cause_key, source_id, arm, propensity, state,"
            " local_date, send_at, expires_at, planned_at)"
            " VALUES (:m, :cause, :id, 'a', 1, 'PLANNED', :day, :now, :until, :now)",
            m=member,
            cause=cause,
            id=id,
            day=EVENING.date(),
            now=EVENING - MINUTE,
            until=EVENING + valid,
        )
    await release(db, EVENING)

    assert [it[3] for it in await planned_of(db, "steps-short")] == ["RELEASED"]
    left = await rows(
        db,
        "SELECT cause_key, p.state, send_at, suppressed_reason FROM planned_messages p"
        " LEFT JOIN messages m USING (member_id, cause_key) WHERE p.source_id = :id ORDER BY 1",
        id=id,
    )
    assert left == [
        ("long", "PLANNED", EVENING + releasing.FAILED_PAUSE, None),
        ("short", "RELEASED", EVENING - MINUTE, "NOT_RELEVANT"),
    ]


async def test_a_wording_that_cannot_be_said_is_not_and_stops_nobody(db: Database) -> None:
    first, second = [await make_walker(db) for _ in range(2)]
    for arm in policy("steps-short").arms:
        await run(
            db,
            "INSERT INTO message_templates VALUES ('nudge.steps-short', :arm, '', 'en', 1, 't',"
            " '{% if left > 7999 %}{{ left > target or left in 5 }}{% endif %}b', :m, :now)",
            arm=arm,
            m=first,
            now=EVENING,
        )
    await walk(db, second, 1000)
    await plan(db, EVENING)
    await release(db, EVENING)
    said = {it[0]: it[4:] for it in await told(db)}
    assert said == {first: (False, "NOT_RELEVANT"), second: (True, None)}


async def test_a_consent_that_is_withdrawn_while_its_source_is_asked_holds(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source has seen it given: who withdraws it waits, or is seen."""
    member = await make_walker(db)
    await plan(db, EVENING)
    kind = sources.KINDS[policies.KIND]
    withdrawing: list[asyncio.Task[None]] = []
    withdrawn = asyncio.Event()

    async def withdraw() -> None:
        async with db.transaction() as session:
            await members.set_consent(
                session,
                member_id=member,
                request_id=uuid4(),
                purpose=ConsentPurpose.DEVICE_DATA,
                granted=False,
                text_version="1",
                recorded_by=member,
                now=EVENING,
            )
        withdrawn.set()

    async def slow(*asked: Any) -> Any:
        found = await kind.prepare(*asked)
        withdrawing.append(asyncio.create_task(withdraw()))

        async def waits() -> bool:
            return withdrawn.is_set() or await rows(
                db, "SELECT count(*) FROM pg_locks WHERE NOT granted"
            ) != [(0,)]

        await eventually(waits)
        assert not withdrawn.is_set()
        return found

    monkeypatch.setitem(sources.KINDS, policies.KIND, sources.Kind(slow, kind.remaining))
    await release(db, EVENING)
    await asyncio.gather(*withdrawing)
    assert [it[4:] for it in await told(db)] == [(True, None)]


# Sending


async def test_a_consent_that_a_policy_rests_on_is_asked_again_before_its_push(
    db: Database,
) -> None:
    """Not the one that every message rests on, and seconds after it was released."""
    taken, kept = await make_walker(db), await make_walker(db)
    for member in (taken, kept):
        await make_phone(db, member, f"ok:{member}")
    await plan(db, EVENING)
    await release(db, EVENING)
    async with db.transaction() as session:
        await members.set_consent(
            session,
            member_id=taken,
            request_id=uuid4(),
            purpose=ConsentPurpose.DEVICE_DATA,
            granted=False,
            text_version="1",
            recorded_by=taken,
            now=EVENING,
        )
    provider = Recorder()
    await dispatch(db, provider, now=EVENING + timedelta(seconds=1))
    assert [it.token for it in provider.sent] == [f"ok:{kept}"]
    assert await rows(
        db, "SELECT state, reason FROM push_deliveries WHERE member_id = :m", m=taken
    ) == [("SUPPRESSED", "NOT_RELEVANT")]
