"""Silent devices: found by the clock, a state of their own, over with the next sync."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from app.measurements import alerts, devices, devices_connections
from app.measurements.alerts_jobs import find_silent
from app.measurements.devices_rules import DeviceKind, LoanEnd
from tests.factories import NOON, consent, make_member, make_staff
from tests.recordings import make_recorder

DAY = timedelta(days=1)
BAND = "band-1"


@pytest.fixture
async def staff(db: Database) -> UUID:
    return await make_staff(db)


@pytest.fixture
async def member(db: Database, staff: UUID) -> UUID:
    """With a band of the programme."""
    member_id = await make_recorder(db)
    await lend(db, staff, member_id)
    return member_id


async def lend(
    db: Database,
    staff: UUID,
    member_id: UUID,
    serial: str = BAND,
    kind: DeviceKind = DeviceKind.WEARABLE,
) -> UUID:
    async with db.transaction() as session:
        device, _ = await devices.add(
            session,
            staff_id=staff,
            request_id=uuid4(),
            serial=serial,
            kind=kind,
            model="Band 9",
            now=NOON,
        )
        await devices.lend(
            session,
            staff_id=staff,
            request_id=uuid4(),
            device_id=device.id,
            member_id=member_id,
            now=NOON,
        )
    return device.id


async def sync(db: Database, member_id: UUID, now: datetime, *sources: str) -> None:
    async with db.transaction() as session:
        await alerts.raise_for(
            session, member_id=member_id, readings=[], heard=sources or (BAND,), now=now
        )


async def rows(db: Database, sql: str) -> list[tuple[Any, ...]]:
    async with db.read() as reading:
        return [tuple(row) for row in await reading.execute(text(sql))]


async def states(db: Database) -> Sequence[Any]:
    return [row[0] for row in await rows(db, "select state from connections order by source_id")]


ITEMS = "select kind, reason_en, closed_reason from worklist_items"


async def test_a_silent_device_is_found_told_of_and_heard_again(db: Database, member: UUID) -> None:
    await sync(db, member, NOON + DAY)
    assert await find_silent(db, now=NOON + 4 * DAY - timedelta(seconds=1)) == 0
    assert await states(db) == ["CONNECTED"]

    assert await find_silent(db, now=NOON + 4 * DAY) == 1
    assert await find_silent(db, now=NOON + 5 * DAY) == 0

    assert await states(db) == ["SILENT"]
    assert await rows(db, ITEMS) == [
        (
            "DEVICE_SILENT",
            (
                "Nothing has come from your watch or band for 3 days. Open the app on your phone and"
                " let it sync. This is not held against you."
            ),
            None,
        )
    ]
    assert await rows(db, "select silent_from, ended_at from device_silences") == [
        (NOON + DAY, None)
    ]

    await sync(db, member, NOON + 6 * DAY)

    assert await states(db) == ["CONNECTED"]
    assert [row[-1] for row in await rows(db, ITEMS)] == ["SETTLED"]
    assert await rows(db, "select silent_from, ended_at from device_silences") == [
        (NOON + DAY, NOON + 6 * DAY)
    ]
    assert await rows(db, "select closed_reason from alerts") == [("SYNCED",)]
    # And again: it opens an item of its own.
    assert await find_silent(db, now=NOON + 9 * DAY) == 1
    assert len(await rows(db, ITEMS)) == 2


@pytest.mark.parametrize(
    ("purpose", "answer"),
    [
        ("HEALTH_DATA", "WITHDRAWN"),
        ("DEVICE_DATA", "REFUSED"),
        ("DEVICE_DATA", "WITHDRAWN"),
    ],
)
async def test_who_does_not_let_us_have_the_data_has_no_silent_device(
    db: Database, member: UUID, purpose: str, answer: str
) -> None:
    async with db.transaction() as session:
        session.add(consent(member, purpose, answer, version=2, now=NOON))

    await find_silent(db, now=NOON + 9 * DAY)

    assert await states(db) == ["CONNECTED"]
    assert await rows(db, ITEMS) == []


async def test_who_was_never_asked_for_the_data_has_no_silent_device(
    db: Database, staff: UUID
) -> None:
    await lend(db, staff, await make_member(db))

    assert await find_silent(db, now=NOON + 9 * DAY) == 1

    assert await states(db) == ["CONNECTED"]
    assert await rows(db, ITEMS) == []
    assert await rows(db, "select silent_at from connections") == [(NOON + 10 * DAY,)]


async def test_a_pause_stops_the_clock_of_silence(db: Database, member: UUID) -> None:
    async with db.transaction() as session:
        await session.execute(
            text(
                "insert into pauses (member_id, id, reason, starts_on, ends_on, created_at)"
                " values (:member, :id, 'TRAVEL', :from, :to, :now)"
            ),
            {
                "member": member,
                "id": uuid4(),
                "from": date(2026, 3, 3),
                "to": date(2026, 3, 20),
                "now": NOON,
            },
        )

    await find_silent(db, now=datetime(2026, 3, 10, 4, tzinfo=UTC))
    await find_silent(db, now=datetime(2026, 3, 22, 4, tzinfo=UTC))
    assert await states(db) == ["CONNECTED"]

    # Three days after the last paused one.
    await find_silent(db, now=datetime(2026, 3, 24, 4, tzinfo=UTC))
    assert await states(db) == ["SILENT"]


async def test_nothing_is_expected_of_what_was_given_back_or_disconnected(
    db: Database, member: UUID, staff: UUID
) -> None:
    async with db.transaction() as session:
        await devices_connections.connect(
            session, member_id=member, source_id="gateway", kind=DeviceKind.GATEWAY, now=NOON
        )
    await find_silent(db, now=NOON + 9 * DAY)
    assert await states(db) == ["SILENT", "SILENT"]
    ((device,),) = await rows(db, "select id from devices")

    async with db.transaction() as session:
        await devices.end_loan(
            session,
            staff_id=staff,
            request_id=uuid4(),
            device_id=device,
            outcome=LoanEnd.RETURNED,
            note=None,
            now=NOON + 9 * DAY,
        )
        await devices_connections.deauthorise(
            session, member_id=member, source_id="gateway", now=NOON + 9 * DAY
        )

    assert await states(db) == ["DISCONNECTED", "DISCONNECTED"]
    assert [row[-1] for row in await rows(db, ITEMS)] == ["SETTLED", "SETTLED"]
    assert await rows(db, "select distinct closed_reason from alerts") == [("DISCONNECTED",)]
    assert await find_silent(db, now=NOON + 30 * DAY) == 0
    # What the band still sends does not bring it back; what the gateway sends does.
    await sync(db, member, NOON + 31 * DAY, BAND, "gateway")
    assert await states(db) == ["DISCONNECTED", "CONNECTED"]


async def test_a_source_of_one_day_is_never_missed_and_a_replaced_one_not_told_of(
    db: Database,
) -> None:
    member = await make_recorder(db)
    await sync(db, member, NOON, "imported-once")
    for day in range(3):
        await sync(db, member, NOON + day * DAY, "old-phone")
    for day in range(2, 9):
        await sync(db, member, NOON + day * DAY, "new-phone")

    assert await find_silent(db, now=NOON + 9 * DAY) == 1

    assert await rows(db, "select source_id, state from connections order by source_id") == [
        ("imported-once", "CONNECTED"),
        ("new-phone", "CONNECTED"),
        ("old-phone", "SILENT"),
    ]
    assert await rows(db, ITEMS) == []


async def test_batches_find_all_of_them(db: Database, staff: UUID) -> None:
    for number in range(7):
        await lend(db, staff, await make_recorder(db), f"band-{number}")

    assert await find_silent(db, now=NOON + 9 * DAY, limit=2) == 7

    assert len(await rows(db, ITEMS)) == 7
