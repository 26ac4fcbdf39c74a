"""Members are told that there is an alert, through the gate, and never what it says."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import Database
from app.measurements import alerts_opening
from app.measurements.alerts_rules import AlertKind, AlertSeverity, Raised
from app.nudges import alert_notices
from app.texts import Text
from tests.factories import NOON, consent, make_member

DAY = timedelta(days=1)


@pytest.fixture
async def member(db: Database) -> UUID:
    return await make_member(db)


async def raise_alerts(
    db: Database, member_id: UUID, *severities: str, start: int = 0, now: Any = NOON
) -> None:
    found = [
        (
            member_id,
            Raised(
                rule=f"rule-{start + number}",
                kind=AlertKind.TREND,
                severity=AlertSeverity(severity),
                asks_confirmation=False,
                due_hours=1,
                message=Text(zh="血压 185", en=f"Blood pressure {Decimal(185)}"),
                code="SYSTOLIC_BP",
            ),
        )
        for number, severity in enumerate(severities)
    ]
    async with db.transaction() as session:
        await alerts_opening.open_alerts(session, found=found, now=now)


async def messages(db: Database) -> list[tuple[Any, ...]]:
    async with db.read() as reading:
        rows = await reading.execute(
            text("select title, body, in_inbox, suppressed_reason from messages order by id")
        )
        return [tuple(row) for row in rows]


async def test_a_member_is_told_once_and_nothing_of_health(db: Database, member: UUID) -> None:
    await raise_alerts(db, member, "WARNING")

    assert (await alert_notices.tell(db, now=NOON)).looked_at == 1
    assert (await alert_notices.tell(db, now=NOON)).looked_at == 0

    [(title, body, in_inbox, reason)] = await messages(db)
    assert (title, body) == ("There is something for you to look at", "Open the app to see it.")
    assert in_inbox and reason is None


async def test_a_day_has_room_for_three_and_for_what_is_urgent(db: Database, member: UUID) -> None:
    await raise_alerts(db, member, *["WARNING"] * 4, "INFO", "URGENT")

    await alert_notices.tell(db, now=NOON)
    assert len(await messages(db)) == 4
    await raise_alerts(db, member, "URGENT", "INFO", start=10, now=NOON + timedelta(hours=1))
    while (await alert_notices.tell(db, now=NOON + timedelta(hours=2), limit=1)).looked_at:
        pass
    assert len(await messages(db)) == 5

    # Midnight in Shanghai is the next day.
    while (await alert_notices.tell(db, now=NOON + timedelta(hours=12), limit=2)).looked_at:
        pass
    assert len(await messages(db)) == 8


async def test_what_is_over_is_not_told(db: Database, member: UUID) -> None:
    await raise_alerts(db, member, "WARNING")
    async with db.write() as connection:
        await connection.execute(
            text("update alerts set closed_at = opened_at, closed_reason = 'HANDLED'")
        )

    assert (await alert_notices.tell(db, now=NOON)).looked_at == 0


async def test_the_gate_holds_back_with_its_reason(db: Database, member: UUID) -> None:
    async with db.transaction() as session:
        session.add(consent(member, "HEALTH_DATA", "WITHDRAWN", version=2))
    await raise_alerts(db, member, "URGENT")

    await alert_notices.tell(db, now=NOON)

    assert [row[2:] for row in await messages(db)] == [(False, "CONSENT_WITHDRAWN")]


async def test_a_pause_of_the_programme_does_not_hold_back_what_is_urgent(
    db: Database, member: UUID
) -> None:
    await raise_alerts(db, member, "URGENT", "WARNING")
    async with db.write() as connection:
        await connection.execute(
            text(
                "insert into pauses (member_id, id, reason, starts_on, created_at)"
                " values (:m, :m, 'ILLNESS', :day, :now)"
            ),
            {"m": member, "day": NOON.date(), "now": NOON},
        )
    await alert_notices.tell(db, now=NOON)
    found = sorted((in_inbox, reason) for _, _, in_inbox, reason in await messages(db))
    assert found == [(False, "PROGRAMME_PAUSED"), (True, None)]
