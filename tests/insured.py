"""Members with a policy, what a clinic measures of them, and what follows."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from app.db import Database
from app.graphql.ids import Kind, encode
from app.jobs import queue
from app.measurements import service as measurements
from app.premiums import benefit_jobs, mild_conditions
from app.premiums import service as premiums
from tests.factories import NOON, as_staff, assign, execute, make_member, make_staff, operation
from tests.shoppers import job_context

LATER = NOON + timedelta(days=40)
"""After the waiting period of 30 days."""
RECORD = operation("RecordBenefitCost", "console")
REVERSE = operation("ReverseBenefitCost", "console")
BENEFITS = operation("Benefits")


async def make_insured(
    db: Database, product: str = "chronic-care", *, now: datetime = NOON, **profile: Any
) -> UUID:
    """A member whose policy began on the local day of `now`."""
    member_id = await make_member(db, now=now, **profile)
    async with db.transaction() as session:
        await premiums.enrol(
            session, member_id=member_id, product_code=product, starts_on=now.date(), now=now
        )
    return member_id


async def measured(db: Database, member_id: UUID, *, at: datetime, **values: str) -> None:
    """At a clinic: `glucose` in mmol/L fasting, `systolic` and `diastolic`."""
    codes = {
        "glucose": ("FASTING_GLUCOSE", "mmol/L"),
        "systolic": ("SYSTOLIC_BP", "mm[Hg]"),
        "diastolic": ("DIASTOLIC_BP", "mm[Hg]"),
    }
    found = [(codes[name][0], Decimal(value), codes[name][1]) for name, value in values.items()]
    async with db.transaction() as session:
        kept = await measurements.record(
            session,
            member_id=member_id,
            time_zone="Asia/Shanghai",
            readings=measurements.clinical(found, at=at),
            now=at,
        )
    assert kept.accepted == len(found), kept


async def look(db: Database, *, now: datetime) -> int:
    """Run the jobs that what was recorded has enqueued."""
    assert benefit_jobs
    then = now + mild_conditions.DEBOUNCE
    return await queue.run_due(db, job_context(db, now=then), [mild_conditions.JOB])


async def make_case(
    db: Database, *, now: datetime = LATER, glucose: str = "7.4", **profile: Any
) -> tuple[UUID, UUID]:
    """A member of chronic care with an open case, and the case."""
    member_id = await make_insured(db, **profile)
    await measured(db, member_id, at=now, glucose=glucose)
    await look(db, now=now)
    [case] = await cases(db, member_id)
    return member_id, case.id


async def make_manager(db: Database, *member_ids: UUID) -> UUID:
    staff_id = await make_staff(db)
    await assign(db, staff_id, *member_ids)
    return staff_id


async def cases(db: Database, member_id: UUID) -> list[Any]:
    sql = "select * from mild_condition_cases where member_id = :id order by triggered_on, id"
    async with db.read() as connection:
        return list((await connection.execute(text(sql), {"id": member_id})).all())


async def record_cost(
    db: Database,
    staff_id: UUID,
    member_id: UUID,
    case_id: UUID,
    amount: str = "100.00",
    *,
    drug: str = "A10BA02",
    bought_on: date | None = None,
    request_id: UUID | None = None,
    now: datetime = LATER,
    **more: Any,
) -> dict[str, Any]:
    sent = {
        "requestId": str(request_id or uuid4()),
        "caseId": encode(Kind.MILD_CONDITION_CASE, member_id, case_id),
        "drug": drug,
        "boughtOn": (bought_on or now.date()).isoformat(),
        "amount": amount,
        **more,
    }
    context = as_staff(db, staff_id, now=now)
    found: dict[str, Any] = await execute(RECORD, {"input": sent}, context=context)
    return found["recordBenefitCost"]


async def reverse_cost(
    db: Database, staff_id: UUID, cost_id: str, *, request_id: UUID | None = None, **more: Any
) -> dict[str, Any]:
    sent = {
        "requestId": str(request_id or uuid4()),
        "costId": cost_id,
        "reason": "Entered twice.",
        **more,
    }
    context = as_staff(db, staff_id, now=LATER)
    found: dict[str, Any] = await execute(REVERSE, {"input": sent}, context=context)
    return found["reverseBenefitCost"]


async def assert_accumulated(db: Database) -> None:
    """What is true after every cost, whatever happened: of each case and each cost the sums of
    the movements, within the limit."""
    wrong = """
    select k.id from mild_condition_cases k where k.used is distinct from
      (select coalesce(sum(c.paid), 0) from benefit_costs c
        where c.member_id = k.member_id and c.case_id = k.id)
    union all
    select c.id from benefit_costs c where c.paid is distinct from
      (select coalesce(sum(m.amount), 0) from benefit_movements m
        where m.member_id = c.member_id and m.cost_id = c.id)
    """
    async with db.read() as connection:
        assert (await connection.execute(text(wrong))).all() == []
