"""Who comes to be of high risk is asked to measure again (RSK-8)."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.db import Database, StatementCount
from app.health_tasks import service as tasks_service
from app.health_tasks.jobs import take_rechecks
from app.jobs import queue
from app.measurements.kinds import Channel, Method
from app.premiums import service as premiums
from app.risk import requests
from app.risk.requests import Cause
from tests.factories import NOON, as_member, assign, consent, execute, make_staff
from tests.risk_people import assess, diagnose, make_person, measure
from tests.test_risk_assessments import job_context, rechecks
from tests.worklist import worklist

TASKS = "{ me { tasksToday(first: 50) { title state points } } }"
LATER = NOON + timedelta(days=60)


async def make_high(db: Database, *, insured: bool = True) -> UUID:
    """Of high risk since LATER, with an examination of two months before."""
    member_id = await make_person(db)
    if insured:
        async with db.transaction() as session:
            await premiums.enrol(
                session, member_id=member_id, product_code="starter", starts_on=NOON.date(),
                now=NOON,
            )  # fmt: skip
    await assess(db, member_id)
    await diagnose(db, member_id, "E11")
    await assess(db, member_id, now=LATER)
    return member_id


async def tasks(db: Database, member_id: UUID, now: Any = LATER) -> dict[str, Any]:
    data = await execute(TASKS, context=as_member(db, member_id, now=now))
    return {it["title"]: it for it in data["me"]["tasksToday"] if "measured again" in it["title"]}


async def test_a_proposal_becomes_a_task_once(db: Database) -> None:
    member_id = await make_high(db)
    assert await tasks(db, member_id) == {}

    taken = await asyncio.gather(*(take_rechecks(db, now=LATER) for _ in range(4)))

    assert sum(taken) == 2
    found = await tasks(db, member_id)
    assert {title: (it["state"], it["points"]) for title, it in found.items()} == {
        "Have your blood pressure measured again": ("OPEN", 0),
        "Have your fasting glucose measured again": ("OPEN", 0),
    }
    assert await take_rechecks(db, now=LATER) == 0


async def test_what_was_measured_in_the_meantime_is_not_asked_for(db: Database) -> None:
    member_id = await make_high(db)
    at = LATER + timedelta(minutes=1)
    await measure(db, member_id, at, now=at, FASTING_GLUCOSE=5.2)
    await assess(db, member_id, now=at)
    await take_rechecks(db, now=LATER)
    assert list(await tasks(db, member_id)) == ["Have your blood pressure measured again"]


async def test_an_applicant_is_in_the_worklist_until_it_is_measured(db: Database) -> None:
    member_id = await make_high(db, insured=False)
    staff = await make_staff(db)
    await assign(db, staff, member_id)

    assert await take_rechecks(db, now=LATER) == 2

    items = (await worklist(db, staff, now=LATER))["edges"]
    assert {(it["node"]["kind"], it["node"]["reason"]) for it in items} == {
        ("RECHECK_DUE", "Blood pressure is to be measured again."),
        ("RECHECK_DUE", "Fasting glucose is to be measured again."),
    }
    at = LATER + timedelta(hours=1)
    await measure(db, member_id, at, now=at, SYSTOLIC_BP=120, DIASTOLIC_BP=80)
    await assess(db, member_id, now=at)
    items = (await worklist(db, staff, now=at))["edges"]
    assert [it["node"]["reason"] for it in items] == ["Fasting glucose is to be measured again."]
    assert await rechecks(db, member_id) == [("BLOOD_PRESSURE", True), ("GLUCOSE", False)]
    async with db.read() as connection:
        closed = "select closed_reason from worklist_items where closed_at is not null"
        assert list((await connection.execute(text(closed))).scalars()) == ["SETTLED"]


async def test_who_withdraws_the_consent_is_asked_for_nothing_until_it_is_given_again(
    db: Database,
) -> None:
    member_id = await make_high(db, insured=False)
    staff = await make_staff(db)
    await assign(db, staff, member_id)
    async with db.transaction() as session:
        session.add(consent(member_id, "HEALTH_DATA", "WITHDRAWN", version=2))
    assert await take_rechecks(db, now=LATER) == 0
    assert (await worklist(db, staff, now=LATER))["edges"] == []
    async with db.transaction() as session:
        session.add(consent(member_id, "HEALTH_DATA", "GRANTED", version=3))
    assert await take_rechecks(db, now=LATER) == 2


async def test_underwriting_has_who_was_of_high_risk_before_measured_again(db: Database) -> None:
    member_id = await make_person(db)
    await diagnose(db, member_id, "E11")
    await assess(db, member_id)
    await assess(db, member_id, now=LATER)
    assert await rechecks(db, member_id) == []
    async with db.transaction() as session:
        await requests.inputs_changed(session, [member_id], now=LATER, cause=Cause.UNDERWRITING)
    now = LATER + timedelta(minutes=1)
    await queue.run_due(db, job_context(db, now))
    assert await rechecks(db, member_id) == [("BLOOD_PRESSURE", False), ("GLUCOSE", False)]
    await assess(db, member_id, cause=Cause.UNDERWRITING, now=now)
    assert len(await rechecks(db, member_id)) == 2


async def test_glucose_is_settled_by_what_completes_its_task(db: Database) -> None:
    member_id = await make_high(db)
    await take_rechecks(db, now=LATER)
    at = LATER + timedelta(hours=1)
    device = {"method": Method.SENSED, "channel": Channel.APP, "source": "omron"}
    await measure(db, member_id, at, now=at, HBA1C=5.4)
    await assess(db, member_id, now=at)
    assert ("GLUCOSE", False) in await rechecks(db, member_id)
    await measure(db, member_id, at, now=at, FASTING_GLUCOSE=5.2, **device)  # type: ignore[arg-type]
    await assess(db, member_id, now=at)
    assert ("GLUCOSE", True) in await rechecks(db, member_id)


async def test_taking_proposals_takes_no_more_statements_for_applicants(db: Database) -> None:
    async def statements(members: int) -> int:
        for _ in range(members):
            await make_high(db, insured=False)
        with StatementCount(db) as count:
            await take_rechecks(db, now=LATER)
        return len(count)

    assert await statements(1) == await statements(3)


async def test_wallets_are_locked_in_the_order_of_members(db: Database) -> None:
    """Although they were proposed the other way round: two runs cannot wait for each other."""
    first, *others = sorted([await make_high(db) for _ in range(3)])
    async with db.transaction() as session:
        later = text("update risk_rechecks set proposed_at = :at where member_id = :id")
        at = LATER + timedelta(seconds=1)
        await session.execute(later, {"at": at, "id": first})
    async with db.transaction() as holder:
        await tasks_service.lock_wallet(holder, first)
        taking = asyncio.create_task(take_rechecks(db, now=LATER))
        await asyncio.sleep(0.5)
        assert not taking.done()
        async with db.transaction() as session:
            free = text("select 1 from wallets where member_id = any(:ids) for update nowait")
            assert len((await session.execute(free, {"ids": others})).all()) == 2
    assert await taking == 6
