"""Devices of the register, their loans, and the sources of a member's data, in the API."""

from collections import defaultdict
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.graphql import enums
from app.graphql.facets import Profile
from app.graphql.ids import Kind, encode
from app.graphql.node import Info, Node
from app.measurements import devices_data, devices_queries
from app.measurements import devices_rules as rules
from app.members.graphql import LazyMember

enums.register(
    rules.DeviceKind,
    {
        "APP": "A health app, or a phone that counts.",
        "GATEWAY": "A service that forwards what several devices send.",
    },
    name="HealthDeviceKind",
)
enums.register(rules.DeviceOwner, name="HealthDeviceOwner")
enums.register(rules.DeviceState, name="HealthDeviceState")
enums.register(rules.LoanEnd, name="DeviceLoanEnd")
enums.register(
    rules.ConnectionState,
    {
        "SILENT": "Nothing has arrived for as long as its kind allows. It does not say that "
        "nothing was done.",
        "DISCONNECTED": "Nothing is expected of it: deauthorised, given back or lost.",
    },
    name="DataSourceState",
)


@strawberry.type(description="A device of the register.")
class HealthDevice(Node):
    serial: str = strawberry.field(description="As its readings name their source.")
    kind: rules.DeviceKind
    model: str
    owner: rules.DeviceOwner
    state: rules.DeviceState
    registered_at: datetime
    holder_id: strawberry.Private[UUID | None]

    @strawberry.field(
        description="Who has it; null when nobody has, or who has it is not yours to see."
    )
    async def member(self, info: Info) -> LazyMember | None:
        if self.holder_id is None or not await info.context.may_see(self.holder_id):
            return None
        return await info.context.members.load(info, self.holder_id)  # type: ignore[no-any-return]

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a `Device` of the tables, or a row with its columns."""
        return cls(
            id=strawberry.ID(encode(Kind.HEALTH_DEVICE, row.id)),
            serial=row.serial,
            kind=rules.DeviceKind(row.kind),
            model=row.model,
            owner=rules.DeviceOwner(row.owner),
            state=rules.DeviceState(row.state),
            registered_at=row.registered_at,
            holder_id=row.member_id,
        )


@strawberry.type(description="A member has, or had, a device: lent by the programme or their own.")
class DeviceLoan(Node):
    lent_at: datetime
    ended_at: datetime | None = strawberry.field(description="Null while the member has it.")
    outcome: rules.LoanEnd | None
    serial: str
    kind: rules.DeviceKind
    model: str
    owner: rules.DeviceOwner

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a row of `devices_queries.loans`."""
        return cls(
            id=strawberry.ID(encode(Kind.DEVICE_LOAN, row[0], row[1])),
            lent_at=row.lent_at,
            ended_at=row.ended_at,
            outcome=rules.LoanEnd(row.outcome) if row.outcome else None,
            serial=row.serial,
            kind=rules.DeviceKind(row.kind),
            model=row.model,
            owner=rules.DeviceOwner(row.owner),
        )


@strawberry.type(description="A device, app or gateway from which a member's data arrives.")
class DataSource(Node):
    name: str = strawberry.field(description="What kind it is, in words.")
    source_id: str = strawberry.field(description="As readings name it.")
    kind: rules.DeviceKind
    state: rules.ConnectionState
    connected_at: datetime
    synced_at: datetime | None = strawberry.field(description="Null when it never has.")
    silent_after_days: int
    disconnected_at: datetime | None

    @classmethod
    def of(cls, row: Any, locale: str) -> Self:
        """From a row with the columns of `connections`."""
        kind = rules.DeviceKind(row.kind)
        return cls(
            id=strawberry.ID(encode(Kind.DATA_SOURCE, row.member_id, row.id)),
            name=devices_data.name(kind).to(locale),
            source_id=row.source_id,
            kind=kind,
            state=rules.ConnectionState(row.state),
            connected_at=row.connected_at,
            synced_at=row.synced_at,
            silent_after_days=row.silent_after_days,
            disconnected_at=row.disconnected_at,
        )


@strawberry.type
class DevicesOfMember:
    """The fields of `Member` that are kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(
        description="Devices that the member has or had, the newest "
        f"{devices_queries.LOANS_MAX}; seen by whoever may see the member."
    )
    async def device_loans(self, info: Info) -> list[DeviceLoan]:
        rows = await _load(info, "loans", self.profile.member_id)
        return [DeviceLoan.of(row) for row in rows]

    @strawberry.field(
        description="Where the member's data come from, the last heard first, at most "
        f"{devices_queries.SOURCES_MAX}. An employee sees them while the member consents to the "
        "use of health data."
    )
    async def data_sources(self, info: Info) -> list[DataSource]:
        rows = await _load(info, "sources", self.profile.member_id)
        return [DataSource.of(row, info.context.locale) for row in rows]


async def _load(info: Info, what: str, member_id: UUID) -> list[Any]:
    """Loads of one moment, as of a list of members, share one statement."""
    consented_only = not info.context.is_own(member_id)
    name = f"devices.{what}.{consented_only}"
    state = info.context.state
    if name not in state:

        async def load(member_ids: list[UUID]) -> list[list[Any]]:
            async with info.context.db.read() as reading:
                if what == "loans":
                    rows = await devices_queries.loans(reading, member_ids)
                else:
                    rows = await devices_queries.sources(
                        reading, member_ids, consented_only=consented_only
                    )
            found: dict[UUID, list[Any]] = defaultdict(list)
            for row in rows:
                found[row[0]].append(row)
            return [found[member_id] for member_id in member_ids]

        state[name] = DataLoader(load_fn=load)
    found: list[Any] = await state[name].load(member_id)
    return found
