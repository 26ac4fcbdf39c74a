"""Alerts: who is told what, once, and when it is over."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import Database
from app.measurements import alerts
from app.measurements import service as measurements
from app.measurements.alerts_models import Alert
from app.measurements.facts import Touched
from app.measurements.rules import Channel, Method, Reading
from app.measurements.streams import SLOT
from tests.factories import NOON, consent, make_member

HOUR = timedelta(hours=1)
CUFF = "cuff-1"


def bp(systolic: int, diastolic: int, at: datetime) -> list[Reading]:
    return [
        Reading(code, Decimal(value), "mm[Hg]", at, Method.SENSED, source_id=CUFF)
        for code, value in (("SYSTOLIC_BP", systolic), ("DIASTOLIC_BP", diastolic))
    ]


def one(code: str, value: str, unit: str, at: datetime) -> list[Reading]:
    return [Reading(code, Decimal(value), unit, at, Method.SENSED, source_id="meter-1")]


async def record(
    db: Database,
    member_id: UUID,
    readings: Sequence[Reading],
    *,
    now: datetime,
    channel: Channel = Channel.APP,
) -> list[Alert]:
    """As a recording does it; the alerts that it answers."""
    async with db.transaction() as session:
        time_zone = await measurements.lock(session, member_id)
        outcome = await measurements.record(
            session, member_id=member_id, time_zone=time_zone, readings=readings, now=now
        )
        touched: Touched = outcome.touched
        heard = {it.source_id for it in readings if it.method is Method.SENSED}
        return await alerts.raise_for(
            session,
            member_id=member_id,
            readings=touched.readings,
            heard=heard,
            channel=channel,
            now=now,
        )


async def stored(db: Database, member_id: UUID) -> list[Any]:
    async with db.read() as reading:
        found = await reading.execute(
            text("select * from alerts where member_id = :id order by opened_at, rule"),
            {"id": member_id},
        )
        return list(found.all())


async def items(db: Database, member_id: UUID) -> list[tuple[str, str, int, str | None]]:
    async with db.read() as reading:
        found = await reading.execute(
            text(
                "select kind, reason_en, priority, closed_reason from worklist_items"
                " where member_id = :id order by opened_at, id"
            ),
            {"id": member_id},
        )
        return [tuple(row) for row in found]


@pytest.fixture
async def member(db: Database) -> UUID:
    return await make_member(db)


async def test_a_crisis_is_urgent_says_where_to_get_help_and_opens_one_item(
    db: Database, member: UUID
) -> None:
    (alert,) = await record(db, member, bp(185, 105, NOON), now=NOON)

    assert (alert.rule, alert.severity) == ("blood-pressure-crisis", "URGENT")
    assert "185/105 mmHg" in alert.message_en and "call 120" in alert.message_en
    assert "185/105 mmHg" in alert.message_zh and "拨打 120" in alert.message_zh
    assert alert.asks_confirmation
    # Who may not see health data learns nothing about it.
    assert await items(db, member) == [("ALERT", "Urgent: a reading needs a look", 95, None)]


async def test_what_is_extreme_is_told_beside_another_rule_of_the_same_moment(
    db: Database, member: UUID
) -> None:
    found = await record(db, member, bp(165, 35, NOON), now=NOON)
    assert [it.rule for it in found] == ["blood-pressure-high", "extreme-reading:DIASTOLIC_BP"]

    # Both halves of it meet one rule: that says both.
    other = await make_member(db)
    found = await record(db, other, bp(210, 130, NOON), now=NOON)
    assert [it.rule for it in found] == ["blood-pressure-crisis"]


async def test_the_same_again_is_the_same_alert(db: Database, member: UUID) -> None:
    (first,) = await record(db, member, bp(185, 105, NOON), now=NOON)
    (again,) = await record(db, member, bp(190, 110, NOON + HOUR), now=NOON + HOUR)

    assert again.id == first.id
    assert len(await stored(db, member)) == len(await items(db, member)) == 1


async def test_a_normal_reading_closes_the_alert_and_its_item(db: Database, member: UUID) -> None:
    await record(db, member, bp(185, 105, NOON), now=NOON)

    assert await record(db, member, bp(128, 82, NOON + HOUR), now=NOON + HOUR) == []

    (alert,) = await stored(db, member)
    assert (alert.closed_at, alert.closed_reason) == (NOON + HOUR, "NORMAL_AGAIN")
    assert [item[-1] for item in await items(db, member)] == ["SETTLED"]


async def test_half_a_normal_pair_closes_nothing(db: Database, member: UUID) -> None:
    await record(db, member, bp(185, 105, NOON), now=NOON)

    await record(db, member, bp(150, 121, NOON + HOUR), now=NOON + HOUR)

    (alert,) = await stored(db, member)
    assert alert.closed_at is None


async def test_an_earlier_normal_reading_that_comes_late_closes_nothing(
    db: Database, member: UUID
) -> None:
    await record(db, member, bp(185, 105, NOON), now=NOON)

    await record(db, member, bp(120, 80, NOON - HOUR), now=NOON + HOUR)

    (alert,) = await stored(db, member)
    assert alert.closed_at is None


async def test_a_crisis_that_comes_late_and_is_over_is_kept_but_nobody_is_told(
    db: Database, member: UUID
) -> None:
    await record(db, member, bp(120, 80, NOON), now=NOON)

    assert await record(db, member, bp(185, 105, NOON - HOUR), now=NOON + HOUR) == []

    (alert,) = await stored(db, member)
    assert (alert.closed_reason, alert.told_at) == ("NORMAL_AGAIN", NOON + HOUR)
    assert await items(db, member) == []


@pytest.mark.parametrize(
    ("channel", "days", "is_told"),
    [
        (Channel.APP, 3, True),
        (Channel.GATEWAY, 3, True),
        (Channel.EXAMINATION, 300, True),
        (Channel.EXAMINATION, 366, False),
        (Channel.EXPORT, 3, False),
    ],
)
async def test_an_extreme_reading_that_comes_late_is_asked_about_not_called_urgent(
    db: Database, member: UUID, channel: Channel, days: int, is_told: bool
) -> None:
    at = NOON - timedelta(days=days)

    found = await record(db, member, bp(210, 95, at), now=NOON, channel=channel)

    told = [(it.rule, it.severity, it.asks_confirmation) for it in found]
    assert told == [("extreme-reading:SYSTOLIC_BP", "WARNING", True)] * is_told
    assert [item[1] for item in await items(db, member)] == ["A reading needs a look"] * is_told


async def test_an_extreme_reading_that_comes_late_and_is_over_opens_nothing(
    db: Database, member: UUID
) -> None:
    await record(db, member, bp(125, 80, NOON), now=NOON)

    assert await record(db, member, bp(210, 95, NOON - timedelta(days=3)), now=NOON) == []
    assert await items(db, member) == []


async def test_fasting_glucose_of_seven_is_always_the_range_of_diabetes(
    db: Database, member: UUID
) -> None:
    assert await record(db, member, one("FASTING_GLUCOSE", "6.9", "mmol/L", NOON), now=NOON) == []

    (alert,) = await record(
        db, member, one("FASTING_GLUCOSE", "126.2", "mg/dL", NOON + HOUR), now=NOON + HOUR
    )

    assert alert.rule == "fasting-glucose-diabetes-range"
    assert "range of diabetes" in alert.message_en and "糖尿病范围" in alert.message_zh


async def oxygen(
    db: Database, member: UUID, *values: int, at: datetime, now: datetime
) -> list[str]:
    """The rules of the alerts of these values, one a second from `at` on, sent at `now`."""
    readings = [
        reading
        for second, value in enumerate(values)
        for reading in one("SPO2", str(value), "%", at + timedelta(seconds=second))
    ]
    async with db.transaction() as session:
        zone = await measurements.lock(session, member)
        done = await measurements.record(
            session, member_id=member, time_zone=zone, readings=readings, now=now
        )
        assert done.touched.slots and not done.touched.readings
        found = await alerts.raise_alerts(session, member_id=member, touched=done.touched, now=now)
    rows = {row.id: row for row in await stored(db, member)}
    return [rows[id].rule for id in found]


async def quarter_jobs(db: Database) -> list[tuple[datetime, dict[str, str]]]:
    async with db.read() as reading:
        found = await reading.execute(
            text("select execute_after, payload from pgqueuer where entrypoint = :job"),
            {"job": alerts.QUARTER_JOB},
        )
        return [(at, json.loads(payload)) for at, payload in found]


async def quarter_over(db: Database, member: UUID, starts_at: datetime, *, now: datetime) -> None:
    async with db.transaction() as session:
        await alerts.judge_quarter(session, member_id=member, starts_at=starts_at, now=now)


async def test_one_value_that_slipped_in_a_quarter_that_goes_on_raises_nothing(
    db: Database, member: UUID
) -> None:
    assert await oxygen(db, member, 85, at=NOON, now=NOON) == []
    payload = {"member_id": str(member), "starts_at": NOON.isoformat()}
    assert await quarter_jobs(db) == [(NOON + SLOT, payload)]

    later = NOON + timedelta(minutes=1)
    assert await oxygen(db, member, *[97] * 8, at=later, now=later) == []
    await quarter_over(db, member, NOON, now=NOON + SLOT)

    assert (await stored(db, member), await items(db, member)) == ([], [])


async def test_a_low_value_that_stays_alone_is_told_when_its_quarter_is_over(
    db: Database, member: UUID
) -> None:
    assert await oxygen(db, member, 85, at=NOON, now=NOON) == []

    for _ in range(2):
        await quarter_over(db, member, NOON, now=NOON + SLOT)

    [alert] = await stored(db, member)
    assert (alert.rule, alert.severity, alert.closed_at) == ("oxygen-low", "URGENT", None)
    assert len(await items(db, member)) == 1


async def test_a_quarter_is_not_judged_without_the_consent_to_health_data(
    db: Database, member: UUID
) -> None:
    await oxygen(db, member, 85, at=NOON, now=NOON)
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))

    await quarter_over(db, member, NOON, now=NOON + SLOT)

    assert await stored(db, member) == []


async def test_later_values_of_the_quarter_that_raised_an_alert_close_it(
    db: Database, member: UUID
) -> None:
    assert await oxygen(db, member, *[85] * 10, at=NOON, now=NOON) == ["oxygen-low"]

    later = NOON + timedelta(minutes=1)
    assert await oxygen(db, member, *[97] * 59, at=later, now=later) == []

    [alert] = await stored(db, member)
    assert alert.closed_reason == "NORMAL_AGAIN"
    assert [item[-1] for item in await items(db, member)] == ["SETTLED"]


async def test_a_quarter_of_an_hour_of_a_stream_is_judged_by_its_mean(
    db: Database, member: UUID
) -> None:
    async def sent(*values: int, now: datetime) -> list[str]:
        return await oxygen(db, member, *values, at=now, now=now + HOUR)

    assert await sent(70, 97, 97, 97, now=NOON) == []
    assert await sent(88, 89, 89, now=NOON + HOUR) == ["oxygen-low"]
    [alert] = await stored(db, member)
    assert alert.asks_confirmation is False and alert.measurement_id is None
    assert await sent(97, 98, now=NOON + 2 * HOUR) == []
    [alert] = await stored(db, member)
    assert alert.closed_reason == "NORMAL_AGAIN"
