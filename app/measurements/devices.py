"""The register: devices come in, are lent, come back or get lost. Lock the device, then look."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Uuid, bindparam, text
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import ErrorCode, NotFound, UserError
from app.ids import new_id
from app.measurements import devices_connections
from app.measurements.devices_models import Device, DeviceLoan
from app.measurements.devices_rules import (
    DeviceKind,
    DeviceOwner,
    DeviceState,
    LoanEnd,
)
from app.members import requests
from app.texts import Text

SERIAL_LENGTH_MAX = 64
MODEL_LENGTH_MAX = 80
NOTE_LENGTH_MAX = 500
OWN_DEVICES_MAX = 20


class TextInvalid(UserError):
    def __init__(self, *, field: str, length_max: int) -> None:
        super().__init__(
            ErrorCode.VALUE_OUT_OF_RANGE,
            Text(
                zh=f"请填写 1 至 {length_max} 个字符。",
                en=f"Write 1 to {length_max} characters.",
            ),
            field=field,
        )


class SerialTaken(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh="这个序列号已经登记过了。", en="A device with this serial number is registered."
            ),
            field="serial",
        )


class TooManyDevices(UserError):
    def __init__(self) -> None:
        super().__init__(
            ErrorCode.LIMIT_REACHED,
            Text(
                zh=f"最多可以登记 {OWN_DEVICES_MAX} 台设备。",
                en=f"You can register up to {OWN_DEVICES_MAX} devices.",
            ),
            field="serial",
        )


class DeviceUnavailable(UserError):
    """It is in the wrong state for what was asked."""

    def __init__(self, state: str) -> None:
        super().__init__(
            ErrorCode.STATE_INVALID,
            Text(
                zh=f"设备目前的状态是 {state}，不能这样做。",
                en=f"The device is {state}; this cannot be done.",
            ),
            field="deviceId",
        )


async def add(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    serial: str,
    kind: DeviceKind,
    model: str,
    now: datetime,
) -> tuple[Device, bool]:
    """A device of the programme; and whether this request was answered before.
    Raises TextInvalid, SerialTaken, RequestReused."""
    device_id = new_id(now)
    values = {"serial": serial, "kind": kind, "model": model}
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="addHealthDevice",
        values=values,
        result=device_id,
        now=now,
    )
    if earlier is not None:
        return await _lock(session, earlier), True
    device = Device(
        id=device_id,
        serial=serial,
        kind=kind,
        model=model,
        owner=DeviceOwner.PROGRAMME,
        state=DeviceState.IN_STOCK,
        registered_at=now,
        registered_by=staff_id,
    )
    await _keep(session, device)
    return device, False


async def add_own(
    session: AsyncSession,
    *,
    member_id: UUID,
    request_id: UUID,
    serial: str,
    kind: DeviceKind,
    model: str,
    now: datetime,
) -> tuple[Device, bool]:
    """A device of the member's own; and whether this request was answered before.
    Raises TextInvalid, SerialTaken, TooManyDevices, RequestReused."""
    device_id = new_id(now)
    earlier = await requests.claim(
        session,
        owner=member_id,
        request_id=request_id,
        operation="addOwnHealthDevice",
        values={"serial": serial, "kind": kind, "model": model},
        result=device_id,
        now=now,
    )
    if earlier is not None:
        return await _lock(session, earlier), True
    # Of eight at once, none counts past another.
    await session.execute(_LOCK_MEMBER, {"member_id": member_id})
    held = await session.exec(select(Device.id).where(Device.member_id == member_id))
    if len(held.all()) >= OWN_DEVICES_MAX:
        raise TooManyDevices
    loan_id = new_id(now)
    device = Device(
        id=device_id,
        serial=serial,
        kind=kind,
        model=model,
        owner=DeviceOwner.MEMBER,
        state=DeviceState.WITH_MEMBER,
        member_id=member_id,
        loan_id=loan_id,
        registered_at=now,
        registered_by=member_id,
    )
    await _keep(session, device)
    await _hand_out(session, device, member_id=member_id, loan_id=loan_id, by=member_id, now=now)
    return device, False


async def lend(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    device_id: UUID,
    member_id: UUID,
    now: datetime,
) -> tuple[Device, bool]:
    """To a member; of two employees at once, one lends it. The device, and whether this
    request was answered before. Raises NotFound, DeviceUnavailable, RequestReused."""
    device = await _lock(session, device_id)
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="lendHealthDevice",
        values={"deviceId": device_id, "memberId": member_id},
        result=device_id,
        now=now,
    )
    if earlier is not None:
        return device, True
    if device.state != DeviceState.IN_STOCK:
        raise DeviceUnavailable(device.state)
    device.state = DeviceState.WITH_MEMBER
    device.member_id = member_id
    device.loan_id = new_id(now)
    await _hand_out(
        session, device, member_id=member_id, loan_id=device.loan_id, by=staff_id, now=now
    )
    return device, False


async def end_loan(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    device_id: UUID,
    outcome: LoanEnd,
    note: str | None,
    now: datetime,
) -> tuple[Device, UUID, bool]:
    """It came back, or is lost: nothing is expected of it any more. The device, the member who
    had it, and whether this request was answered before.
    Raises NotFound, TextInvalid, DeviceUnavailable, RequestReused."""
    device = await _lock(session, device_id)
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="endHealthDeviceLoan",
        values={"deviceId": device_id, "outcome": outcome, "note": note},
        result=device.loan_id or device_id,
        now=now,
    )
    if earlier is not None:
        ended = (
            await session.exec(
                select(DeviceLoan).where(
                    DeviceLoan.device_id == device_id, DeviceLoan.id == earlier
                )
            )
        ).one()
        return device, ended.member_id, True
    if note is not None and not 1 <= len(note.strip()) <= NOTE_LENGTH_MAX:
        raise TextInvalid(field="note", length_max=NOTE_LENGTH_MAX)
    if device.state != DeviceState.WITH_MEMBER:
        raise DeviceUnavailable(device.state)
    assert device.member_id is not None
    loan = await session.get_one(DeviceLoan, (device.member_id, device.loan_id))
    loan.ended_at, loan.ended_by = now, staff_id
    loan.outcome, loan.note = outcome, note
    member_id, device.member_id, device.loan_id = device.member_id, None, None
    device.state = _after(device, outcome)
    await session.flush()
    await devices_connections.disconnect_device(
        session, member_id=member_id, device_id=device.id, now=now
    )
    return device, member_id, False


def _after(device: Device, outcome: LoanEnd) -> DeviceState:
    if outcome is LoanEnd.LOST:
        return DeviceState.LOST
    return DeviceState.IN_STOCK if device.owner == DeviceOwner.PROGRAMME else DeviceState.RETIRED


async def put_away(
    session: AsyncSession,
    *,
    staff_id: UUID,
    request_id: UUID,
    device_id: UUID,
    state: DeviceState,
    now: datetime,
) -> tuple[Device, bool]:
    """A device that nobody has is found again (IN_STOCK) or used no more (RETIRED). Raises
    NotFound, DeviceUnavailable, RequestReused."""
    device = await _lock(session, device_id)
    earlier = await requests.claim(
        session,
        owner=staff_id,
        request_id=request_id,
        operation="putAwayHealthDevice",
        values={"deviceId": device_id, "state": state},
        result=device_id,
        now=now,
    )
    if earlier is not None:
        return device, True
    if device.state == DeviceState.WITH_MEMBER or device.owner != DeviceOwner.PROGRAMME:
        raise DeviceUnavailable(device.state)
    device.state = state
    return device, False


async def held(session: AsyncSession, member_id: UUID) -> Sequence[str]:
    """Serial numbers of the programme's devices that the member has: what members register
    themselves nobody has looked at."""
    return (await session.execute(_HELD, {"member_id": member_id})).scalars().all()


async def _hand_out(
    session: AsyncSession,
    device: Device,
    *,
    member_id: UUID,
    loan_id: UUID,
    by: UUID,
    now: datetime,
) -> None:
    session.add(
        DeviceLoan(member_id=member_id, id=loan_id, device_id=device.id, lent_at=now, lent_by=by)
    )
    await session.flush()
    kind = DeviceKind(device.kind)
    await devices_connections.connect(
        session,
        member_id=member_id,
        source_id=device.serial,
        kind=kind,
        device_id=device.id,
        model=device.model,
        now=now,
    )


async def _keep(session: AsyncSession, device: Device) -> None:
    """Raises TextInvalid, SerialTaken."""
    for field, length_max in (("serial", SERIAL_LENGTH_MAX), ("model", MODEL_LENGTH_MAX)):
        value = getattr(device, field)
        if not 1 <= len(value.strip()) <= length_max or "\0" in value:
            raise TextInvalid(field=field, length_max=length_max)
    device.serial, device.model = device.serial.strip(), device.model.strip()
    known = await session.execute(_INSERT, device.model_dump())
    if known.one_or_none() is None:
        raise SerialTaken


HELD = "select serial from devices where member_id = :member_id and owner = 'PROGRAMME'"
"""For a statement that looks up more; see `held`."""
_HELD = text(HELD).bindparams(bindparam("member_id", type_=Uuid))
_LOCK_MEMBER = text(
    "select from members where member_id = :member_id for no key update"
).bindparams(bindparam("member_id", type_=Uuid))
_INSERT = text("""
insert into devices (id, serial, kind, model, owner, state, member_id, loan_id, registered_at,
  registered_by)
values (:id, :serial, :kind, :model, :owner, :state, :member_id, :loan_id, :registered_at,
  :registered_by)
on conflict do nothing returning id
""").bindparams(
    bindparam("member_id", type_=Uuid),
    bindparam("loan_id", type_=Uuid),
)


async def _lock(session: AsyncSession, device_id: UUID) -> Device:
    found = (
        await session.exec(select(Device).where(Device.id == device_id).with_for_update())
    ).one_or_none()
    if found is None:
        raise NotFound(field="deviceId")
    return found
