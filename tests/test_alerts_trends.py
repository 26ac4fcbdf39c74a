"""Trends against a member's own baseline."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import Database, StatementCount
from app.measurements.alerts import trends_due_at
from app.measurements.alerts_jobs import check_trends
from tests.factories import NOON, consent, make_member
from tests.test_alerts import bp, items, record, stored

DAY = timedelta(days=1)
NIGHT = trends_due_at(NOON)
BASELINE = [NOON - day * DAY for day in (10, 14, 18, 22, 26, 30)]
RECENT = [NOON - day * DAY for day in (0, 2, 4)]


@pytest.fixture
async def member(db: Database) -> UUID:
    return await make_member(db)


async def measure(db: Database, member_id: UUID, systolic: int, days: list[datetime]) -> None:
    readings = [reading for at in days for reading in bp(systolic, 80, at)]
    await record(db, member_id, readings, now=NOON)


async def rules(db: Database, member_id: UUID) -> list[tuple[str, str | None]]:
    return [(row.rule, row.closed_reason) for row in await stored(db, member_id)]


async def test_a_rise_over_the_own_baseline_is_told_and_is_over_when_it_is(
    db: Database, member: UUID
) -> None:
    await measure(db, member, 120, BASELINE)
    await measure(db, member, 130, RECENT)

    assert await check_trends(db, now=NIGHT - timedelta(seconds=1)) == 0
    assert await check_trends(db, now=NIGHT) == 1
    assert await check_trends(db, now=NIGHT) == 0

    [alert] = await stored(db, member)
    assert (alert.rule, alert.kind) == ("systolic-rising", "TREND")
    assert "130 mmHg" in alert.message_en and "120" in alert.message_en
    assert [item[1] for item in await items(db, member)] == ["Recent readings need a look"]

    later = NOON + 6 * DAY
    calm = [reading for day in range(3) for reading in bp(118, 80, later - day * DAY)]
    await record(db, member, calm, now=later)
    await check_trends(db, now=trends_due_at(later))
    assert await rules(db, member) == [("systolic-rising", "NORMAL_AGAIN")]
    assert [item[-1] for item in await items(db, member)] == ["SETTLED"]


@pytest.mark.parametrize(
    ("baseline", "recent", "systolic"),
    [
        (BASELINE, RECENT, 129),
        (BASELINE[:-1], RECENT, 150),
        (BASELINE, RECENT[:-1], 150),
        # Three readings of one day are one day.
        (BASELINE, [NOON - timedelta(hours=hour) for hour in range(3)], 150),
    ],
)
async def test_too_small_a_rise_or_too_few_readings_say_nothing(
    db: Database,
    member: UUID,
    baseline: list[datetime],
    recent: list[datetime],
    systolic: int,
) -> None:
    await measure(db, member, 120, baseline)
    await measure(db, member, systolic, recent)

    assert await check_trends(db, now=NIGHT) == 1

    assert await rules(db, member) == []


async def test_batches_take_everybody_with_as_many_statements_a_batch(db: Database) -> None:
    async def rising(number: int) -> None:
        for _ in range(number):
            member_id = await make_member(db)
            await measure(db, member_id, 120, BASELINE)
            await measure(db, member_id, 131, RECENT)

    counts = []
    for number in (1, 6):
        await rising(number)
        with StatementCount(db) as statements:
            assert await check_trends(db, now=NIGHT, limit=6) == number
        counts.append(len(statements))

    assert counts[0] == counts[1]
    async with db.read() as reading:
        found = await reading.execute(text("select count(*) from worklist_items"))
        assert found.scalar_one() == 7


async def test_the_plan_reads_a_range_of_the_index_for_each_member(db: Database) -> None:
    from app.measurements import alerts_trends

    for _ in range(3):
        await measure(db, await make_member(db), 120, BASELINE)
    values: dict[str, Any] = {
        "now": NIGHT,
        "member_ids": [UUID(int=1)],
        "rules": ["systolic-rising"],
        "codes": ["SYSTOLIC_BP"],
        "since": [NIGHT - 7 * DAY],
        "baseline_since": [NIGHT - 35 * DAY],
    }
    async with db.transaction() as session:
        await session.execute(text("set local enable_seqscan = off"))
        explained = text(f"explain {alerts_trends._MEANS.text}").bindparams(
            *alerts_trends._MEANS._bindparams.values()
        )
        plan = "\n".join((await session.execute(explained, values)).scalars())

    assert "Index Scan using measurements_in_force" in plan or "Bitmap" in plan, plan
    assert "Seq Scan on measurements" not in plan, plan


async def test_who_has_withdrawn_is_not_looked_at(db: Database, member: UUID) -> None:
    await measure(db, member, 120, BASELINE)
    await measure(db, member, 138, RECENT)
    withdrawn = consent(member, "HEALTH_DATA", "WITHDRAWN", version=2, now=NOON)
    async with db.transaction() as session:
        session.add(withdrawn)

    assert await check_trends(db, now=NIGHT) == 1

    assert (await stored(db, member), await items(db, member)) == ([], [])
