"""What is older than the programme keeps is deleted, and nothing else."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.config import Settings
from app.db import Database
from app.errors import ConfigurationError
from app.measurements import retention
from app.measurements.retention import Kept
from tests.factories import NOON, contents, counts
from tests.recordings import make_recorder, reading, record, record_totals, rows, total


async def delete_old(db: Database, kept: Kept, *, later: int, members: int = 500) -> list[int]:
    return [
        it
        async for it in retention.delete_old(
            db, kept, now=NOON + timedelta(days=later), members_a_range=members
        )
    ]


async def fill(db: Database) -> None:
    """Three members with two versions of a reading, one of yesterday, a stream and a total."""
    yesterday = (NOON - timedelta(days=1)).isoformat()
    for _ in range(3):
        member = await make_recorder(db)
        await record(db, member, reading("70"), reading("72", measuredAt=yesterday))
        await record(db, member, reading("71"), reading("60", "/min", "HEART_RATE"))
        await record_totals(db, member, total())


async def test_old_days_go_with_all_their_versions_in_ranges_of_members(db: Database) -> None:
    await fill(db)
    # The second of March is the first day that is kept.
    assert await delete_old(db, Kept(10, 10), later=10, members=2) == [2, 3]
    assert (
        await rows(db, "select value from measurements order by value") == [(70,)] * 3 + [(71,)] * 3
    )
    assert await delete_old(db, Kept(10, 10), later=11, members=1) == [8, 16, 24]
    left = await counts(db)
    tables = ("measurements", "daily_totals", "daily_total_days", "measurement_streams")
    assert [left[name] for name in tables] == [0] * 4
    assert (left["recordings"], left["requests"]) == (0, 0)
    assert await delete_old(db, Kept(10, 10), later=11) == [0]


async def test_readings_and_streams_are_kept_for_as_long_as_each_is(db: Database) -> None:
    await fill(db)
    before = await contents(db)
    assert await delete_old(db, Kept(None, None), later=9999) == []
    assert await contents(db) == before
    assert await delete_old(db, Kept(None, 10), later=11) == [3]
    after = await contents(db)
    assert {name for name in after if after[name] != before[name]} == {"measurement_streams"}


def test_the_settings_keep_ten_years_of_readings_and_a_year_of_streams() -> None:
    settings = Settings(_env_file=None)
    assert (settings.readings_kept_days, settings.streams_kept_days) == (3660, 400)


@pytest.mark.parametrize("days", [1, 30, 399])
def test_what_assessments_and_reports_need_cannot_be_set_to_be_deleted(days: int) -> None:
    with pytest.raises(ConfigurationError, match="WELLWARD_READINGS_KEPT_DAYS"):
        Settings(_env_file=None, readings_kept_days=days)
    for fine in (0, 400):
        assert Settings(_env_file=None, readings_kept_days=fine).readings_kept_days == fine


async def test_the_newest_height_stays(db: Database) -> None:
    def height(value: str, days: int) -> Any:
        at = (NOON - timedelta(days=days)).isoformat()
        return reading(value, "cm", "HEIGHT", measuredAt=at, sourceId="tape")

    old, young = await make_recorder(db), await make_recorder(db)
    await record(db, old, height("170", 3), height("171", 2))
    await record(db, old, height("172", 2))
    await record(db, young, height("150", 3), height("160", 0), reading("70"))
    assert await delete_old(db, Kept(10, 10), later=10) == [3]
    found = await rows(db, "select code, value from measurements order by 2")
    assert found == [("WEIGHT", 70), ("HEIGHT", 160), ("HEIGHT", 172)]
    assert await delete_old(db, Kept(10, 10), later=5000) == [4]
    found = await rows(db, "select code, value from measurements order by 2")
    assert found == [("HEIGHT", 160), ("HEIGHT", 172)]


async def test_an_answer_is_forgotten_with_its_request(db: Database) -> None:
    member = await make_recorder(db)
    kept = uuid4()
    await record(db, member, reading("9999"), reading("70"), request_id=kept)
    assert await delete_old(db, Kept(10, 10), later=10) == [0]
    again = await record(db, member, reading("9999"), reading("70"), request_id=kept)
    assert (again["accepted"], len(again["rejected"])) == (1, 1)
    assert await delete_old(db, Kept(None, 10), later=9999) == [0]
    assert (await counts(db))["recordings"] == 1
    assert await delete_old(db, Kept(10, 10), later=11) == [2]
    once_more = await record(db, member, reading("9999"), reading("70"), request_id=kept)
    assert (once_more["accepted"], len(once_more["rejected"])) == (1, 1)
