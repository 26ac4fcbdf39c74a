"""Enrolment, projection after closed months, renewal: on a real database, by the real jobs."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import Database
from app.health_tasks.models import ParticipationMonth
from app.premiums import jobs, rules, service
from tests.factories import NOON, as_member, as_staff, counts, execute, make_member, make_staff

SUMMARY = """{ me { premium { adjustmentPercent projectedAdjustmentPercent renewsOn }
  policy { id product { code name version } termStart termEnd base { amount currency }
    current { asOf total { amount currency } adjustmentPercent } } } }"""


async def enrolled(db: Database, *, now: datetime = NOON, **profile) -> UUID:
    member = await make_member(db, now=now, **profile)
    async with db.transaction() as session:
        await service.enrol(
            session, member_id=member, product_code="starter", starts_on=now.date(), now=now
        )
    return member


async def closed_month(db: Database, member: UUID, month: date, percent, *, at: datetime) -> None:
    """As the clock records it: the month is over and this share of its tasks was done."""
    row = {
        "due": 20,
        "done": 0,
        "percent": None if percent is None else Decimal(percent),
        "paused": 0,
        "closes_at": at,
        "closed_at": at,
        "changed_at": at,
    }
    async with db.transaction() as session:
        known = await session.get(ParticipationMonth, (member, month))
        if known is None:
            session.add(ParticipationMonth(member_id=member, month=month, **row))
        else:
            for name, value in row.items():
                setattr(known, name, value)


async def screen(db: Database, member: UUID, *, now: datetime = NOON):
    return (await execute(SUMMARY, context=as_member(db, member, now=now)))["me"]


async def test_enrolment_gives_policy_wallet_and_tasks(db: Database):
    member = await enrolled(db, birth_date=date(1975, 5, 17))
    found = await counts(db)
    assert (found["policies"], found["policy_terms"], found["wallets"]) == (1, 1, 1)
    assert found["task_assignments"] == found["tasks"] == 11
    me = await screen(db, member)
    assert me["premium"] == {
        "adjustmentPercent": "0",
        "projectedAdjustmentPercent": "0",
        "renewsOn": "2027-03-02",
    }
    policy = me["policy"]
    assert (policy["termStart"], policy["termEnd"]) == (date(2026, 3, 2), date(2027, 3, 1))
    assert policy["base"] == policy["current"]["total"] == {"amount": "3000.00", "currency": "CNY"}
    assert policy["product"] == {
        "code": "starter",
        "name": "Starter health plan",
        "version": "1.2.0",
    }


@pytest.mark.parametrize(
    ("born", "base"),
    [(date(2010, 1, 1), "1200.00"), (date(2000, 1, 1), "1800.00"), (date(1950, 1, 1), "5200.00")],
)
async def test_the_base_follows_the_age_band(db: Database, born, base):
    me = await screen(db, await enrolled(db, birth_date=born))
    assert me["policy"]["base"]["amount"] == base


async def test_enrolment_of_an_age_outside_moves_nothing(db: Database):
    member = await make_member(db, birth_date=date(1900, 1, 1))
    before = await counts(db)
    with pytest.raises(service.NotEligible, match="age 126"):
        async with db.transaction() as session:
            await service.enrol(
                session, member_id=member, product_code="starter", starts_on=NOON.date(), now=NOON
            )
    assert await counts(db) == before


async def test_closed_months_lower_the_projection_by_the_job(db: Database):
    member, other = await enrolled(db), await enrolled(db)
    later = NOON + timedelta(days=100)
    for month, percent in ((3, "85"), (4, "79.9"), (5, None), (6, "100")):
        await closed_month(db, member, date(2026, month, 1), percent, at=later)
    assert await jobs.refresh_projections(db, now=later) == 2
    assert (await screen(db, member))["premium"]["projectedAdjustmentPercent"] == "-2"
    assert (await screen(db, other))["premium"]["projectedAdjustmentPercent"] == "0"


async def test_a_month_that_is_restated_moves_the_projection_back(db: Database):
    member = await enrolled(db)
    first = NOON + timedelta(days=40)
    await closed_month(db, member, date(2026, 3, 1), "90", at=first)
    await jobs.refresh_projections(db, now=first)
    second = first + timedelta(hours=1)
    await closed_month(db, member, date(2026, 3, 1), "70", at=second)
    await jobs.refresh_projections(db, now=second)
    assert (await screen(db, member))["premium"]["projectedAdjustmentPercent"] == "0"


async def test_the_job_reads_only_what_changed(db: Database):
    member = await enrolled(db)
    at = NOON + timedelta(days=40)
    await closed_month(db, member, date(2026, 3, 1), "90", at=at)
    later = at + jobs.OVERLAP + timedelta(minutes=1)
    assert await jobs.refresh_projections(db, now=at) == 1
    assert await jobs.refresh_projections(db, now=later) == 1  # a commit may have come late
    assert await jobs.refresh_projections(db, now=later + timedelta(minutes=1)) == 0


async def test_a_year_of_participation_is_ten_percent_off_the_next_term(db: Database):
    member = await enrolled(db, birth_date=date(1975, 5, 17))
    for number in range(12):
        month = rules.add_months(date(2026, 3, 1), number)
        at = datetime.combine(rules.add_months(month, 1), datetime.min.time(), UTC)
        await closed_month(db, member, month, "95", at=at)
    before_end = datetime(2027, 3, 1, 15, 59, tzinfo=UTC)
    after_end = datetime(2027, 3, 1, 16, tzinfo=UTC)  # midnight in Shanghai
    await jobs.refresh_projections(db, now=before_end)
    assert (await screen(db, member))["premium"]["projectedAdjustmentPercent"] == "-10"
    assert await jobs.renew_terms(db, now=before_end) == 0
    assert await jobs.renew_terms(db, now=after_end) == 1
    assert await jobs.renew_terms(db, now=after_end) == 0

    me = await screen(db, member)
    assert me["premium"] == {
        "adjustmentPercent": "-10",
        "projectedAdjustmentPercent": "0",
        "renewsOn": "2028-03-02",
    }
    assert me["policy"]["current"]["total"]["amount"] == "2700.00"
    assert me["policy"]["base"]["amount"] == "3000.00"
    assert (await counts(db))["policy_terms"] == 2


async def test_renewal_waits_for_the_last_month_to_close(db: Database):
    await enrolled(db)
    # The participation month that enrolment opened is never closed here.
    assert await jobs.renew_terms(db, now=datetime(2027, 6, 1, tzinfo=UTC)) == 0


async def test_missed_terms_are_renewed_in_order_and_once_by_rivals(db: Database):
    member = await enrolled(db)
    await closed_month(db, member, date(2026, 3, 1), "95", at=NOON + timedelta(days=30))
    now = datetime(2029, 1, 1, tzinfo=UTC)
    renewed = await asyncio.gather(*(jobs.renew_terms(db, now=now) for _ in range(4)))
    assert sum(renewed) == 2
    async with db.read() as connection:
        rows = await connection.execute(
            text("select starts_on, ends_on, adjustment_percent from policy_terms order by 1")
        )
        found = [tuple(row) for row in rows]
    assert found == [
        (date(2026, 3, 2), date(2027, 3, 1), Decimal(0)),
        (date(2027, 3, 2), date(2028, 3, 1), Decimal(-1)),
        (date(2028, 3, 2), date(2029, 3, 1), Decimal(0)),
    ]


async def test_a_policy_of_somebody_else_is_not_shown(db: Database):
    member, other = await enrolled(db), await enrolled(db)
    stranger = await make_staff(db)
    policy = (await screen(db, member))["policy"]["id"]
    query = "query ($id: ID!) { node(id: $id) { id ... on Policy { base { amount } } } }"
    for context in (as_member(db, other), as_staff(db, stranger)):
        assert await execute(query, {"id": policy}, context=context) == {"node": None}
    own = await execute(query, {"id": policy}, context=as_member(db, member))
    assert own["node"]["base"] == {"amount": "3000.00"}
