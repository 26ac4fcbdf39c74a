"""The register for employees, and what members do with their own devices and sources."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import strawberry

from app.errors import NotFound
from app.graphql.errors import UserError
from app.graphql.ids import GlobalId, Kind, decode
from app.graphql.node import Fetch, Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.measurements import devices, devices_connections, devices_queries
from app.measurements import devices_rules as rules
from app.measurements.devices_types import DataSource, DeviceLoan, DevicesOfMember, HealthDevice
from app.members.graphql import LazyMember
from app.members.rules import SEES_EVERY_MEMBER, StaffRole
from app.members.sign_in import audit

__all__ = ["NODE_FETCHERS", "DevicesMutation", "DevicesOfMember", "DevicesQuery"]

KEEPING = (StaffRole.HEALTH_MANAGER, StaffRole.ADMIN)
LOOKING = (*KEEPING, StaffRole.AUDITOR)


@strawberry.input
class AddHealthDeviceInput:
    request_id: UUID
    serial: str = strawberry.field(
        description=f"At most {devices.SERIAL_LENGTH_MAX} characters, as its readings name it."
    )
    kind: rules.DeviceKind
    model: str = strawberry.field(description=f"At most {devices.MODEL_LENGTH_MAX} characters.")


@strawberry.input
class LendHealthDeviceInput:
    request_id: UUID
    device_id: strawberry.ID
    member_id: strawberry.ID


@strawberry.input
class EndDeviceLoanInput:
    request_id: UUID
    device_id: strawberry.ID
    outcome: rules.LoanEnd
    note: str | None = strawberry.field(
        default=None, description=f"At most {devices.NOTE_LENGTH_MAX} characters."
    )


@strawberry.enum
class PutAwayState(StrEnum):
    IN_STOCK = "IN_STOCK"
    RETIRED = "RETIRED"


@strawberry.input
class PutAwayHealthDeviceInput:
    request_id: UUID
    device_id: strawberry.ID
    state: PutAwayState


@strawberry.input
class DisconnectDataSourceInput:
    data_source_id: strawberry.ID


@strawberry.type
class HealthDevicePayload:
    replayed: bool
    device: HealthDevice


@strawberry.type
class DisconnectDataSourcePayload:
    data_source: DataSource
    member_id: strawberry.Private[UUID]

    @strawberry.field
    async def member(self, info: Info) -> LazyMember:
        return await info.context.members.load(info, self.member_id)  # type: ignore[no-any-return]


HealthDeviceResult = Annotated[
    HealthDevicePayload | UserError, strawberry.union("HealthDeviceResult")
]
DisconnectDataSourceResult = Annotated[
    DisconnectDataSourcePayload | UserError, strawberry.union("DisconnectDataSourceResult")
]


@strawberry.type
class DevicesQuery:
    @strawberry.field(description="The register of devices, newest first. Staff only.")
    async def health_devices(
        self,
        info: Info,
        states: list[rules.DeviceState] | None = None,
        kinds: list[rules.DeviceKind] | None = None,
        serial: str | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[HealthDevice]:
        context = info.context
        staff_id = context.require_role(*LOOKING)
        size = page_size(first)
        cursor = read_cursor(after, UUID)
        async with context.db.read() as reading:
            rows = await devices_queries.register(
                reading,
                staff_id=staff_id,
                sees_everybody=bool(context.viewer.roles & SEES_EVERY_MEMBER),
                states=states,
                kinds=kinds,
                serial=serial.replace("\0", "") if serial is not None else None,
                after=cursor[0] if cursor else None,
                limit=size + 1,
            )
        await context.grant(
            (row.member_id for row in rows[:size] if row.seen and row.member_id), audit
        )
        return connection(rows, size=size, after=after, node=_shown, key=lambda row: (row.id,))


def _shown(row: Any) -> HealthDevice:
    device = HealthDevice.of(row)
    device.holder_id = row.member_id if row.seen else None
    return device


def _device_id(id: str) -> UUID:
    return decode(id, Kind.HEALTH_DEVICE, field="deviceId").owner_id


@strawberry.type
class DevicesMutation:
    @strawberry.mutation(
        description="A device of the programme joins the register. Staff only. Codes: "
        "STATE_INVALID, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def add_health_device(
        self, info: Info, input: AddHealthDeviceInput
    ) -> HealthDeviceResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        async with context.db.transaction() as session:
            device, replayed = await devices.add(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                serial=input.serial,
                kind=input.kind,
                model=input.model,
                now=context.now,
            )
        return HealthDevicePayload(replayed=replayed, device=HealthDevice.of(device))

    @strawberry.mutation(
        description="A device of the member's own joins the register. Codes: STATE_INVALID, "
        "LIMIT_REACHED, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def add_own_health_device(
        self, info: Info, input: AddHealthDeviceInput
    ) -> HealthDeviceResult:
        context = info.context
        async with context.db.transaction() as session:
            device, replayed = await devices.add_own(
                session,
                member_id=context.member_id,
                request_id=input.request_id,
                serial=input.serial,
                kind=input.kind,
                model=input.model,
                now=context.now,
            )
        return HealthDevicePayload(replayed=replayed, device=HealthDevice.of(device))

    @strawberry.mutation(
        description="At most one member has a device. Staff only. Codes: NOT_FOUND, "
        "STATE_INVALID, REQUEST_REUSED."
    )
    async def lend_health_device(
        self, info: Info, input: LendHealthDeviceInput
    ) -> HealthDeviceResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        member = decode(input.member_id, Kind.MEMBER, field="memberId")
        if not await context.may_see(member.owner_id):
            raise NotFound(field="memberId")
        async with context.db.transaction() as session:
            device, replayed = await devices.lend(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                device_id=_device_id(input.device_id),
                member_id=member.owner_id,
                now=context.now,
            )
        return HealthDevicePayload(replayed=replayed, device=HealthDevice.of(device))

    @strawberry.mutation(
        description="It came back, or is lost; nothing is expected of it any more. Staff only. "
        "Codes: NOT_FOUND, STATE_INVALID, VALUE_OUT_OF_RANGE, REQUEST_REUSED."
    )
    async def end_device_loan(self, info: Info, input: EndDeviceLoanInput) -> HealthDeviceResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        device_id = _device_id(input.device_id)
        await _check_seen(info, device_id)
        async with context.db.transaction() as session:
            device, _, replayed = await devices.end_loan(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                device_id=device_id,
                outcome=input.outcome,
                note=input.note,
                now=context.now,
            )
        return HealthDevicePayload(replayed=replayed, device=HealthDevice.of(device))

    @strawberry.mutation(
        description="A device that nobody has is found again, or used no more. Staff only. "
        "Codes: NOT_FOUND, STATE_INVALID, REQUEST_REUSED."
    )
    async def put_away_health_device(
        self, info: Info, input: PutAwayHealthDeviceInput
    ) -> HealthDeviceResult:
        context = info.context
        staff_id = context.require_role(*KEEPING)
        async with context.db.transaction() as session:
            device, replayed = await devices.put_away(
                session,
                staff_id=staff_id,
                request_id=input.request_id,
                device_id=_device_id(input.device_id),
                state=rules.DeviceState(input.state),
                now=context.now,
            )
        return HealthDevicePayload(replayed=replayed, device=HealthDevice.of(device))

    @strawberry.mutation(
        description="Nothing is expected of this source any more, so that it is never silent. "
        "Doing it twice changes nothing. Codes: NOT_FOUND."
    )
    async def disconnect_data_source(
        self, info: Info, input: DisconnectDataSourceInput
    ) -> DisconnectDataSourceResult:
        context = info.context
        member_id = context.member_id
        named = decode(input.data_source_id, Kind.DATA_SOURCE, field="dataSourceId")
        if named.owner_id != member_id:
            raise NotFound(field="dataSourceId")
        async with context.db.transaction() as session:
            source = await devices_connections.disconnect(
                session, member_id=member_id, connection_id=named.key, now=context.now
            )
        return DisconnectDataSourcePayload(
            data_source=DataSource.of(source, context.locale), member_id=member_id
        )


async def _check_seen(info: Info, device_id: UUID) -> None:
    """Raises NotFound when it is with a member who is not the employee's to see."""
    async with info.context.db.read() as reading:
        row = await devices_queries.device(reading, device_id)
    if row is None or (row.member_id and not await info.context.may_see(row.member_id)):
        raise NotFound(field="deviceId")


async def _fetch_device(info: Info, id: GlobalId) -> HealthDevice | None:
    """Employees see what is the programme's, and what members have whom they may see; a member
    what they have."""
    viewer = info.context.viewer
    async with info.context.db.read() as reading:
        row = await devices_queries.device(reading, id.owner_id)
    if row is None:
        return None
    looks = viewer.staff_id is not None and viewer.roles & frozenset(LOOKING)
    if looks and row.owner == rules.DeviceOwner.PROGRAMME:
        return HealthDevice.of(row)
    is_seen = row.member_id is not None and await info.context.may_see(row.member_id)
    return HealthDevice.of(row) if is_seen else None


async def _fetch_loan(info: Info, id: GlobalId) -> DeviceLoan | None:
    async with info.context.db.read() as reading:
        row = await devices_queries.loan(reading, id.owner_id, id.key)
    return DeviceLoan.of(row) if row else None


async def _fetch_source(info: Info, id: GlobalId) -> DataSource | None:
    async with info.context.db.read() as reading:
        row = await devices_queries.source(
            reading, id.owner_id, id.key, consented_only=not info.context.is_own(id.owner_id)
        )
    return DataSource.of(row, info.context.locale) if row else None


NODE_FETCHERS: dict[Kind, Fetch] = {
    Kind.HEALTH_DEVICE: _fetch_device,
    Kind.DEVICE_LOAN: _fetch_loan,
    Kind.DATA_SOURCE: _fetch_source,
}
