"""Who comes to be of high risk is asked to measure again (RSK-8)."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.db import Database
from app.health_tasks.jobs import take_rechecks
from app.premiums import service as premiums
from tests.factories import NOON, as_member, assign, execute, make_staff
from tests.risk_people import assess, diagnose, make_person, measure
from tests.test_risk_assessments import rechecks
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
        ("RECHECK_DUE", "Of high risk: blood pressure is to be measured again."),
        ("RECHECK_DUE", "Of high risk: glucose is to be measured again."),
    }
    at = LATER + timedelta(hours=1)
    await measure(db, member_id, at, now=at, SYSTOLIC_BP=120, DIASTOLIC_BP=80)
    await assess(db, member_id, now=at)
    items = (await worklist(db, staff, now=at))["edges"]
    assert [it["node"]["reason"] for it in items] == [
        "Of high risk: glucose is to be measured again."
    ]
    assert await rechecks(db, member_id) == [("BLOOD_PRESSURE", True), ("GLUCOSE", False)]
    async with db.read() as connection:
        closed = "select closed_reason from worklist_items where closed_at is not null"
        assert list((await connection.execute(text(closed))).scalars()) == ["SETTLED"]
