"""What all of a member's sources counted on a local day."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Self
from uuid import UUID

import strawberry

from app.graphql.facets import Profile
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.measurements import reads, totals
from app.measurements.enums import MeasurementCode


@strawberry.type
class DailyTotalSource:
    source_id: str
    value: Decimal


@strawberry.type(description="A running total: a later value of a source replaces its earlier one.")
class DailyTotal(Node):
    code: MeasurementCode
    local_date: date
    value: Decimal = strawberry.field(
        description="Over all sources, overlaps counted once; so it may be less than the sum of "
        "`sources`."
    )
    unit: str
    sources: list[DailyTotalSource]

    @classmethod
    def of(cls, member_id: UUID, day: totals.Day) -> Self:
        return cls(
            id=strawberry.ID(encode(Kind.DAILY_TOTAL, member_id, day.id)),
            code=MeasurementCode(day.code),
            local_date=day.local_date,
            value=day.value,
            unit=day.unit,
            sources=[DailyTotalSource(source_id=name, value=value) for name, value in day.sources],
        )


@strawberry.type
class DailyTotalsOfMember:
    profile: strawberry.Private[Profile]

    @strawberry.field(
        description="One code's local days, newest first. An employee sees them while the member "
        "consents to the use of health data."
    )
    async def daily_totals(
        self,
        info: Info,
        code: MeasurementCode,
        since: date | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[DailyTotal]:
        member_id, size = self.profile.member_id, page_size(first)
        cursor = read_cursor(after, date.fromisoformat)
        wanted = reads.Days(code.value, since, cursor[0] if cursor else None, size + 1)
        found = await reads.of_member(info, member_id, wanted, reads.daily_totals)
        return connection(
            found,
            size=size,
            after=after,
            node=lambda day: DailyTotal.of(member_id, day),
            key=lambda day: (day.local_date.isoformat(),),
        )


async def load_days(info: Info, member_id: UUID, ids: Sequence[UUID]) -> dict[UUID, DailyTotal]:
    """By id; none of a member who does not consent to the viewer's seeing them."""
    async with info.context.db.read() as reading:
        own = info.context.is_own(member_id)
        if not own and not await reads.consents(reading, member_id):
            return {}
        found = await totals.days(reading, member_id, ids)
    return {day.id: DailyTotal.of(member_id, day) for day in found}


async def _fetch(info: Info, id: GlobalId) -> DailyTotal | None:
    return (await load_days(info, id.owner_id, [id.key])).get(id.key)


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.DAILY_TOTAL: _fetch}
