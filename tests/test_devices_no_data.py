"""The five kinds of no data, of a task that only a device can show: they stay apart."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.checkins import advancing
from app.db import Database
from app.health_tasks import jobs
from app.measurements import alerts, devices_connections
from app.measurements import service as measurements
from app.measurements.alerts_jobs import find_silent
from app.measurements.devices_rules import DeviceKind, Link, was_silent
from app.measurements.rules import Channel, Method, Reading
from app.members.models import Pause
from tests.factories import NOON, consent
from tests.tasks_at_work import make_tasked

DAY = timedelta(days=1)
MONDAY = date(2026, 3, 2)
NEXT_MONDAY = datetime(2026, 3, 9, 3, tzinfo=UTC)
BAND = "band-1"


async def make_sleeper(
    db: Database, *, connected: bool = True, devices: str | None = "GRANTED"
) -> UUID:
    """Asked to sleep seven hours on five days of a week, as a band shows; it has been silent
    for three days when nothing came for so long."""
    member_id, _ = await make_tasked(db, "sleep-hours")
    if devices is not None:
        async with db.transaction() as session:
            session.add(consent(member_id, "DEVICE_DATA", devices, now=NOON))
    if connected:
        async with db.transaction() as session:
            await devices_connections.connect(
                session,
                member_id=member_id,
                source_id=BAND,
                kind=DeviceKind.WEARABLE,
                now=NOON - DAY,
            )
    return member_id


async def sync(db: Database, member_id: UUID, now: datetime) -> None:
    async with db.transaction() as session:
        await alerts.raise_for(session, member_id=member_id, readings=[], heard=[BAND], now=now)


async def close_week(db: Database) -> None:
    """As the clock does, hour by hour and then at the end of the week."""
    for day in range(1, 7):
        await find_silent(db, now=NOON + day * DAY)
    await jobs.close_periods(db, now=NEXT_MONDAY)


async def state(db: Database, member_id: UUID) -> str:
    async with db.read() as reading:
        found = await reading.execute(
            text("select state from tasks where member_id = :id and starts_on = :day"),
            {"id": member_id, "day": MONDAY},
        )
        return str(found.scalar_one())


async def share(db: Database, member_id: UUID) -> tuple[Any, ...]:
    """What the month says: due, done, paused."""
    async with db.read() as reading:
        found = await reading.execute(
            text("select due, done, paused from participation_months where member_id = :id"
                 " and month = '2026-03-01'"),
            {"id": member_id},
        )  # fmt: skip
        return tuple(found.one())


async def test_the_five_kinds_are_five_states(db: Database) -> None:
    silent = await make_sleeper(db)
    gone_silent = await make_sleeper(db)
    idle = await make_sleeper(db)
    without = await make_sleeper(db, connected=False)
    disconnected = await make_sleeper(db)
    refused = await make_sleeper(db, devices="REFUSED")
    withdrew = await make_sleeper(db)
    paused = await make_sleeper(db)
    await sync(db, gone_silent, NOON + DAY)
    for day in range(7):
        await sync(db, idle, NOON + day * DAY)
    async with db.transaction() as session:
        await devices_connections.deauthorise(
            session, member_id=disconnected, source_id=BAND, now=NOON
        )
        session.add(consent(withdrew, "DEVICE_DATA", "WITHDRAWN", version=2, now=NOON))
        session.add(
            Pause(
                member_id=paused,
                id=UUID(int=1),
                reason="ILLNESS",
                starts_on=MONDAY,
                ends_on=MONDAY + timedelta(days=3),
                created_at=NOON,
            )
        )

    await close_week(db)

    assert await state(db, silent) == "DEVICE_SILENT"
    assert await state(db, gone_silent) == "DEVICE_SILENT"
    assert await state(db, idle) == "MISSED"
    assert await state(db, without) == "MISSED"
    assert await state(db, disconnected) == "MISSED"
    assert await state(db, refused) == "CONSENT_REFUSED"
    assert await state(db, withdrew) == "CONSENT_WITHDRAWN"
    assert await state(db, paused) == "PAUSED"
    # A silent device is no miss in the month either; nothing done is.
    await jobs.close_periods(db, now=datetime(2026, 3, 31, 20, tzinfo=UTC))
    assert (await share(db, silent))[:2] == (0, 0)
    assert (await share(db, idle))[0] >= 1


async def test_what_comes_late_from_a_silent_device_still_counts_and_never_makes_a_miss(
    db: Database,
) -> None:
    full, partial = await make_sleeper(db), await make_sleeper(db)
    await close_week(db)
    assert await state(db, full) == await state(db, partial) == "DEVICE_SILENT"

    await sleep(db, full, nights=range(5))
    await sleep(db, partial, nights=range(2))

    assert await state(db, full) == "DONE"
    assert await state(db, partial) == "DEVICE_SILENT"


async def sleep(db: Database, member_id: UUID, *, nights: Sequence[int]) -> None:
    """Nights of eight hours arrive from the band, all at once."""
    async with db.transaction() as session:
        zone = await measurements.lock(session, member_id)
        done = await measurements.record(
            session,
            member_id=member_id,
            time_zone=zone,
            readings=[
                Reading(
                    "SLEEP_DURATION",
                    Decimal(8),
                    "h",
                    NOON + night * DAY,
                    Method.SENSED,
                    source_id=BAND,
                )
                for night in nights
            ],
            channel=Channel.APP,
            now=NEXT_MONDAY,
        )
        assert done.accepted == len(nights), done.rejected
        await advancing.advance(
            session,
            member_id=member_id,
            touched={(it.code, it.local_date) for it in done.touched.readings},
            request_id=UUID(int=9),
            acted_by=member_id,
            now=NEXT_MONDAY,
        )


def link(**changes: Any) -> Link:
    known: dict[str, Any] = {
        "kind": DeviceKind.WEARABLE,
        "connected_at": NOON - 30 * DAY,
        "heard_at": NOON + DAY,
        "silent_after_days": 3,
        "is_watched": True,
        "disconnected_at": None,
        "silences": [],
        "measures": frozenset({"STEPS"}),
    }
    return Link(**(known | changes))


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([], False),
        ([link()], False),
        ([link(heard_at=NOON - DAY)], True),
        # Not expected to sync, connected later, disconnected before.
        ([link(heard_at=NOON - DAY, is_watched=False)], False),
        ([link(heard_at=NOON + 8 * DAY, connected_at=NOON + 8 * DAY)], False),
        ([link(heard_at=NOON - DAY, disconnected_at=NOON + DAY)], False),
        # One of two is heard.
        ([link(heard_at=NOON - DAY), link()], False),
        # A phone that sends something is no band.
        ([link(heard_at=NOON - DAY), link(measures=frozenset())], True),
        ([link(heard_at=NOON - DAY, measures=frozenset({"WEIGHT"}))], False),
        ([link(heard_at=NOON - DAY, measures=frozenset())], True),
        # A silence as long as its rule allows, over a whole day of the period.
        ([link(silences=[(NOON + DAY, None)])], True),
        ([link(silences=[(NOON + DAY, NOON + 4 * DAY)])], True),
        ([link(silences=[(NOON + 5 * DAY, None)])], False),
        ([link(silences=[(NOON - 6 * DAY, NOON + DAY / 2)])], False),
    ],
)
def test_silence_is_judged_by_what_is_there_to_measure(links: list[Link], expected: bool) -> None:
    week = {"starts_at": NOON, "ends_at": NOON + 7 * DAY}

    assert was_silent(links, **week, code="STEPS") is expected
