"""The register of devices: lent, returned, lost; at most one member has one."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from app.errors import NotFound, UserError
from app.measurements import devices, devices_connections
from app.measurements.devices_rules import DeviceKind, DeviceState, LoanEnd
from tests.factories import NOON, make_member, make_staff

DAY = timedelta(days=1)


@pytest.fixture
async def member(db: Database) -> UUID:
    return await make_member(db)


@pytest.fixture
async def staff(db: Database) -> UUID:
    return await make_staff(db)


async def make_device(
    db: Database, staff: UUID, serial: str = "BP-1", kind: DeviceKind = DeviceKind.BP_MONITOR
) -> UUID:
    async with db.transaction() as session:
        device, _ = await devices.add(
            session,
            staff_id=staff,
            request_id=uuid4(),
            serial=serial,
            kind=kind,
            model="Omron 7",
            now=NOON,
        )
    return device.id


async def lend(db: Database, staff: UUID, device: UUID, member: UUID, now: Any = NOON) -> None:
    async with db.transaction() as session:
        await devices.lend(
            session,
            staff_id=staff,
            request_id=uuid4(),
            device_id=device,
            member_id=member,
            now=now,
        )


async def end(
    db: Database, staff: UUID, device: UUID, outcome: LoanEnd, now: Any, request: UUID | None = None
) -> bool:
    async with db.transaction() as session:
        _, _, replayed = await devices.end_loan(
            session,
            staff_id=staff,
            request_id=request or uuid4(),
            device_id=device,
            outcome=outcome,
            note=None,
            now=now,
        )
    return replayed


async def rows(db: Database, sql: str) -> list[tuple[Any, ...]]:
    async with db.read() as reading:
        return [tuple(row) for row in await reading.execute(text(sql))]


async def test_a_loan_has_a_history_and_connects_the_device(
    db: Database, staff: UUID, member: UUID
) -> None:
    device = await make_device(db, staff)
    other = await make_member(db)

    await lend(db, staff, device, member)
    await end(db, staff, device, LoanEnd.RETURNED, NOON + DAY)
    await lend(db, staff, device, other, NOON + 2 * DAY)
    await end(db, staff, device, LoanEnd.LOST, NOON + 3 * DAY)

    assert await rows(
        db, "select member_id, lent_at, ended_at, outcome from device_loans order by lent_at"
    ) == [
        (member, NOON, NOON + DAY, "RETURNED"),
        (other, NOON + 2 * DAY, NOON + 3 * DAY, "LOST"),
    ]
    assert await rows(db, "select state, member_id from devices") == [("LOST", None)]
    assert await rows(db, "select source_id, state from connections") == [
        ("BP-1", "DISCONNECTED"),
        ("BP-1", "DISCONNECTED"),
    ]


async def test_of_eight_rivals_one_lends_the_device(db: Database, staff: UUID) -> None:
    device = await make_device(db, staff)
    members = [await make_member(db) for _ in range(8)]

    answers = await asyncio.gather(
        *(lend(db, staff, device, member) for member in members), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, UserError)]
    assert [refusal.code for refusal in refused] == ["STATE_INVALID"] * 7
    assert len(await rows(db, "select 1 from device_loans")) == 1
    assert len(await rows(db, "select 1 from connections")) == 1


async def test_the_same_request_lends_once_and_ends_once(
    db: Database, staff: UUID, member: UUID
) -> None:
    device, request = await make_device(db, staff), uuid4()
    await lend(db, staff, device, member)

    assert await end(db, staff, device, LoanEnd.RETURNED, NOON + DAY, request) is False
    assert await end(db, staff, device, LoanEnd.RETURNED, NOON + 2 * DAY, request) is True

    assert await rows(db, "select ended_at from device_loans") == [(NOON + DAY,)]


async def test_a_serial_number_is_registered_once(db: Database, staff: UUID, member: UUID) -> None:
    await make_device(db, staff)

    with pytest.raises(devices.SerialTaken):
        await make_device(db, staff, " BP-1 ")
    async with db.transaction() as session:
        with pytest.raises(devices.SerialTaken):
            await devices.add_own(
                session,
                member_id=member,
                request_id=uuid4(),
                serial="BP-1",
                kind=DeviceKind.BP_MONITOR,
                model="Omron 7",
                now=NOON,
            )


async def test_what_is_lost_can_be_found_and_lent_again(
    db: Database, staff: UUID, member: UUID
) -> None:
    device = await make_device(db, staff)
    await lend(db, staff, device, member)
    with pytest.raises(devices.DeviceUnavailable):
        await put_away(db, staff, device, DeviceState.RETIRED)
    await end(db, staff, device, LoanEnd.LOST, NOON)

    await put_away(db, staff, device, DeviceState.IN_STOCK)
    await lend(db, staff, device, member, NOON + DAY)

    assert await rows(db, "select state, member_id from devices") == [("WITH_MEMBER", member)]
    assert await rows(db, "select state, disconnected_at from connections") == [("CONNECTED", None)]


async def put_away(db: Database, staff: UUID, device: UUID, state: DeviceState) -> None:
    async with db.transaction() as session:
        await devices.put_away(
            session,
            staff_id=staff,
            request_id=uuid4(),
            device_id=device,
            state=state,
            now=NOON,
        )


async def test_an_unknown_device_and_a_foreign_source_are_not_found(
    db: Database, staff: UUID, member: UUID
) -> None:
    device = await make_device(db, staff)
    await lend(db, staff, device, await make_member(db))
    ((connection,),) = await rows(db, "select id from connections")

    async with db.transaction() as session:
        with pytest.raises(NotFound):
            await devices_connections.disconnect(
                session, member_id=member, connection_id=connection, now=NOON
            )
    with pytest.raises(NotFound):
        await lend(db, staff, uuid4(), member)
    assert await rows(db, "select state from connections") == [("CONNECTED",)]
