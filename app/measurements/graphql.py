"""A member's readings, newest first."""

from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from app.graphql.facets import Profile
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.measurements import queries
from app.measurements.enums import Context, MeasurementCode, Method, TrustGrade


@strawberry.type
class Measurement(Node):
    code: MeasurementCode
    value: Decimal = strawberry.field(description="In `unit`, the canonical one of this code.")
    unit: str
    measured_at: datetime
    local_date: date = strawberry.field(
        description="The member's local day, fixed when it arrived."
    )
    method: Method
    context: Context | None
    trust: TrustGrade

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """From a row with the columns of `measurements`."""
        return cls(
            id=strawberry.ID(encode(Kind.MEASUREMENT, row.member_id, row.id)),
            code=MeasurementCode(row.code),
            value=row.value,
            unit=row.unit,
            measured_at=row.measured_at,
            local_date=row.local_date,
            method=Method(row.method),
            context=Context(row.context) if row.context else None,
            trust=TrustGrade(row.trust),
        )


@strawberry.type
class MeasurementsOfMember:
    """The fields of `Member` that are kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(
        description="One code's readings, newest first. An employee sees them while the member "
        "consents to the use of health data."
    )
    async def measurements(
        self,
        info: Info,
        code: MeasurementCode,
        since: datetime | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[Measurement]:
        size = page_size(first)
        rows = await _load(info, self.profile.member_id, queries.Wanted(code, since), size, after)
        return connection(
            rows,
            size=size,
            after=after,
            node=Measurement.from_row,
            key=lambda row: (row.measured_at.isoformat(), row.id),
        )


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found.astimezone(UTC)


async def _load(
    info: Info, member_id: UUID, wanted: queries.Wanted, size: int, after: str | None
) -> list[Any]:
    """A page of one member; loads of one moment, as of a list of members, share one
    statement."""
    consented_only = not info.context.is_own(member_id)
    name = f"measurements.{wanted}.{size}.{after}.{consented_only}"
    state = info.context.state
    if name not in state:
        cursor: Any = read_cursor(after, _instant, UUID)

        async def load(member_ids: list[UUID]) -> list[list[Any]]:
            async with info.context.db.read() as reading:
                rows = await queries.newest(
                    reading,
                    member_ids,
                    wanted,
                    after=cursor,
                    limit=size + 1,
                    consented_only=consented_only,
                )
            found: dict[UUID, list[Any]] = defaultdict(list)
            for row in rows:
                found[row.member_id].append(row)
            return [found[member_id] for member_id in member_ids]

        state[name] = DataLoader(load_fn=load)
    found: list[Any] = await state[name].load(member_id)
    return found


async def _fetch(info: Info, id: GlobalId) -> Measurement | None:
    async with info.context.db.read() as reading:
        row = await queries.measurement(
            reading, id.owner_id, id.key, consented_only=not info.context.is_own(id.owner_id)
        )
    return Measurement.from_row(row) if row else None


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.MEASUREMENT: _fetch}
