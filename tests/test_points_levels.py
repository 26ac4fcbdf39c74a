"""Levels begin anew with the member's year, wherever the member is."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db import Database
from tests.factories import as_member, execute
from tests.points_ledger import earn, make_wallet

LEVEL = "{ me { points { level { code until earnedThisYear } } } }"
SECOND = timedelta(seconds=1)
# When 2027 begins there, in UTC.
NEW_YEARS = {
    "Pacific/Kiritimati": datetime(2026, 12, 31, 10, tzinfo=UTC),
    "Asia/Shanghai": datetime(2026, 12, 31, 16, tzinfo=UTC),
    "America/Los_Angeles": datetime(2027, 1, 1, 8, tzinfo=UTC),
    "Pacific/Pago_Pago": datetime(2027, 1, 1, 11, tzinfo=UTC),
}


async def level(db: Database, member_id: UUID, now: datetime) -> tuple[Any, ...]:
    found = await execute(LEVEL, context=as_member(db, member_id, now=now))
    return tuple(found["me"]["points"]["level"].values())


async def travel(db: Database, member_id: UUID, zone: str) -> None:
    async with db.write() as connection:
        await connection.execute(
            text("update members set time_zone = :zone where member_id = :id"),
            {"zone": zone, "id": member_id},
        )


@pytest.mark.parametrize("zone", NEW_YEARS)
async def test_a_level_lasts_to_the_last_instant_of_the_members_year(
    db: Database, zone: str
) -> None:
    member_id = await make_wallet(db, time_zone=zone)
    await earn(db, member_id, 1600, on=date(2025, 11, 5))
    midnight = NEW_YEARS[zone]

    assert await level(db, member_id, midnight - SECOND) == ("silver", date(2026, 12, 31), 0)
    assert await level(db, member_id, midnight) == ("bronze", None, 0)


@pytest.mark.parametrize("zone", NEW_YEARS)
async def test_what_is_earned_on_the_last_day_counts_for_that_year_only(
    db: Database, zone: str
) -> None:
    member_id = await make_wallet(db, time_zone=zone)
    await earn(db, member_id, 1600, on=date(2026, 12, 31), now=NEW_YEARS[zone] - SECOND)
    midnight = NEW_YEARS[zone]

    assert await level(db, member_id, midnight - SECOND) == ("silver", date(2027, 12, 31), 1600)
    # Kept, and the count begins at nothing.
    assert await level(db, member_id, midnight) == ("silver", date(2027, 12, 31), 0)


async def test_who_flies_over_new_year_has_the_year_of_where_they_are(db: Database) -> None:
    """The level ends where it is 2027, is back where it is 2026 still, and ends again."""
    member_id = await make_wallet(db)
    await earn(db, member_id, 1600, on=date(2025, 11, 5))
    shanghai, angeles = NEW_YEARS["Asia/Shanghai"], NEW_YEARS["America/Los_Angeles"]
    assert await level(db, member_id, shanghai) == ("bronze", None, 0)

    await travel(db, member_id, "America/Los_Angeles")
    assert await level(db, member_id, shanghai) == ("silver", date(2026, 12, 31), 0)
    assert await level(db, member_id, angeles) == ("bronze", None, 0)


async def test_points_keep_the_year_of_the_day_they_were_earned_on(db: Database) -> None:
    """Earned in Shanghai on the first of January; in Los Angeles that day is to come."""
    member_id = await make_wallet(db)
    shanghai, angeles = NEW_YEARS["Asia/Shanghai"], NEW_YEARS["America/Los_Angeles"]
    await earn(db, member_id, 1600, on=date(2027, 1, 1), now=shanghai)
    assert await level(db, member_id, shanghai) == ("silver", date(2028, 12, 31), 1600)

    await travel(db, member_id, "America/Los_Angeles")
    assert (await level(db, member_id, shanghai))[2] == 0
    assert await level(db, member_id, angeles) == ("silver", date(2028, 12, 31), 1600)
