"""What goes wrong between planning and sending: one policy, wording, row or member that is odd keeps
nobody else waiting, and what was taken back meanwhile is not said."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from pydantic import ValidationError
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
from tests.nudges import rows, run
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


async def test_who_has_much_to_say_does_not_keep_the_others_waiting(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> Any:
        return {}

    monkeypatch.setitem(sources.KINDS, "ROUGH", sources.Kind(nothing))
    for name, count in (("much", 400), ("little", 1)):
        id = uuid4()
        async with db.transaction() as session:
            await sources.add(session, id, kind="ROUGH", name=name, now=EVENING)
        await run(
            db,
            "INSERT INTO planned_messages (member_id, cause_key, source_id, arm, propensity, state,"
            " local_date, send_at, expires_at, planned_at)"
            " SELECT :m, CAST(:name AS text) || it, :id, 'a', 1, 'PLANNED', :day, :now, :now, :now"
            " FROM generate_series(1, :count) it",
            m=await make_member(db),
            name=name,
            id=id,
            day=EVENING.date(),
            now=EVENING,
            count=count,
        )
    left: dict[str, int] = {"little": 1}
    while left.get("little"):
        assert (await releasing.release(db, now=EVENING, limit=10)).looked_at
        found = await rows(
            db,
            "SELECT s.name, count(*) FROM planned_messages p JOIN message_sources s"
            " ON s.id = p.source_id WHERE p.state = 'PLANNED' GROUP BY 1",
        )
        left = {str(name): int(count) for name, count in found}
    assert left["much"] > 0


# Policies that are none


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        ({"code": "Steps: short"}, "policies.0.code", "match pattern"),
        ({"topic": "NONE"}, "policies.0.topic", "'TASKS'"),
        ({"arms": {}}, "policies.0.arms", "at least 1"),
        ({"arms": {"holdout": 1}}, "policies.0", "no arm is called holdout"),
        ({"arms": {"a": 0}}, "policies.0.arms.a", "greater than or equal to 1"),
        ({"holdout": 0}, "policies.0.holdout", "greater than or equal to 1"),
        ({"priority": "CRITICAL"}, "policies.0", "neither CRITICAL nor"),
        ({"channels": []}, "policies.0.channels", "at least 1"),
        ({"needs": ["BLOOD"]}, "policies.0.needs.0", "'HEALTH_DATA'"),
        ({"valid": 14}, "policies.0.valid", "greater than or equal to 15"),
        ({"surprise": 1}, "policies.0.surprise", "Extra inputs"),
        ({"trigger": {"at": None}}, "policies.0.trigger", "a THRESHOLD has `at`"),
        ({"trigger": {"at": "18:01"}}, "policies.0.trigger", "quarters of an hour"),
        ({"trigger": {"from": "09:00"}}, "policies.0.trigger", "neither `from` nor `until`"),
        ({"trigger": {"fact": "none"}}, "policies.0.trigger", "no fact 'none'; there are steps"),
        ({"trigger": {"with": {}}}, "policies.0.trigger", "steps_below takes percent"),
        ({"trigger": {"with": {"percent": 101}}}, "policies.0.trigger", "percent is from 1 to 100"),
        ({"trigger": {"with": {"percent": "x"}}}, "policies.0.trigger.with.percent", "integer"),
        ({"trigger": {"days": ["MON"]}}, "policies.0.trigger", "days are of MO, TU"),
        (
            {
                "trigger": {"kind": "EVENT", "fact": "dormant", "with": {}, "at": None}
                | {"from": "09:00", "until": "10:00"}
            },
            "policies.0",
            "an occasion of its own: a cooldown of 0",
        ),
        (
            {"trigger": {"kind": "SCHEDULE", "at": None, "from": "10:00", "until": "10:00"}},
            "policies.0.trigger",
            "`from` is before `until`",
        ),
    ],
)
def test_a_policy_that_is_none_is_told_with_its_place(
    change: dict[str, Any], where: str, said: str
) -> None:
    document = yaml.safe_load(Path(policies.__file__).with_name("policies.yaml").read_text("utf-8"))
    given = document["policies"][0]
    document["policies"][0] = {
        **given,
        **change,
        "trigger": {**given["trigger"], **change.get("trigger", {})},
    }
    with pytest.raises(ValidationError) as refused:
        policies.read(document)
    (error,) = refused.value.errors()
    assert ".".join(map(str, error["loc"])) == where
    assert said in error["msg"]


def test_two_policies_are_not_of_one_name() -> None:
    document = yaml.safe_load(Path(policies.__file__).with_name("policies.yaml").read_text("utf-8"))
    document["policies"].append(document["policies"][0])
    with pytest.raises(ValidationError, match="two policies have the same code"):
        policies.read(document)
