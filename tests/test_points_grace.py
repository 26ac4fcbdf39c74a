"""The days of grace are the programme's to say."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from app.db import Database
from app.points import expiry, programme, service
from tests.factories import NOON
from tests.points_ledger import balances, do, earn, hold, make_wallet, restate, sound, spend

DAY = timedelta(days=1)
SOON = date(2026, 3, 4)
"""The second day after NOON's."""


@pytest.fixture
def three_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    said = (Path(programme.__file__).parent / "programme.yaml").read_text(encoding="utf-8")
    assert "grace_days: 30\n" in said
    file = tmp_path / "programme.yaml"
    file.write_text(said.replace("grace_days: 30\n", "grace_days: 3\n"), encoding="utf-8")
    monkeypatch.setattr(programme, "_FILE", file)
    programme.programme.cache_clear()
    yield
    programme.programme.cache_clear()


async def last_day(db: Database, member_id: object) -> date:
    """Of what the member can spend."""
    async with db.read() as connection:
        found = await connection.exec_driver_sql(
            "select distinct expires_on from points_lots where remaining > 0 and member_id = $1",
            (member_id,),
        )
        day: date = found.scalar_one()
        return day


@pytest.mark.usefixtures("three_days")
async def test_a_refund_after_the_last_day_lasts_the_days_of_grace(db: Database) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=SOON)
    redeemed = await spend(db, member_id, 10)
    now = NOON + 10 * DAY
    await do(db, service.reverse, member_id=member_id, transfer_id=redeemed, now=now)

    assert await last_day(db, member_id) == date(2026, 3, 15)
    # Given for less than a notice takes: they expire without one.
    while await expiry.expire_due(db, now=now + 4 * DAY) is not None:
        pass
    assert await balances(db, member_id) == {"earned_total": 10, "expired": 10}
    assert await sound(db)


@pytest.mark.usefixtures("three_days")
async def test_what_is_accepted_or_restated_late_lasts_the_days_of_grace(db: Database) -> None:
    accepted, restated = await make_wallet(db), await make_wallet(db)
    waiting = await earn(db, accepted, 10, expires_on=SOON, pending=True)
    await restate(db, restated, 10, expires_on=SOON)
    now = NOON + 10 * DAY
    of = {"member_id": accepted, "transfer_id": waiting.id, "accept": True}
    await do(db, service.settle, **of, now=now)
    await restate(db, restated, 12, expires_on=SOON, now=now)

    assert await last_day(db, accepted) == date(2026, 3, 15)
    async with db.read() as connection:
        days = await connection.exec_driver_sql(
            "select expires_on from points_lots where member_id = $1 order by earned_seq",
            (restated,),
        )
        assert list(days.scalars()) == [SOON, date(2026, 3, 15)]
    assert await sound(db)


@pytest.mark.usefixtures("three_days")
async def test_a_hold_that_is_released_in_the_days_of_grace_gives_what_is_left_of_them(
    db: Database,
) -> None:
    member_id = await make_wallet(db)
    await earn(db, member_id, 10, expires_on=date(2026, 3, 14))
    await expiry.announce(db, now=NOON)
    held = await hold(db, member_id, 10, hours=24 * 90, now=NOON)
    now = NOON + 14 * DAY  # the 16th
    await do(db, service.release, member_id=member_id, hold_id=held, now=now)
    assert await last_day(db, member_id) == date(2026, 3, 17)
    assert await sound(db)
