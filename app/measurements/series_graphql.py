"""What a member measured, by day and by week."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Self

import strawberry

from app.graphql import enums
from app.graphql.facets import Profile
from app.graphql.node import Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.measurements import reads
from app.measurements.catalogue import quantities
from app.measurements.enums import MeasurementCode

enums.register(reads.Period, {"WEEK": "From Monday on."}, name="SummaryPeriod")


@strawberry.type(description="Readings and streams of a local day or a week taken together.")
class MeasurementSummary:
    starts_on: date = strawberry.field(description="First local day.")
    ends_on: date = strawberry.field(description="Last local day.")
    count: int = strawberry.field(description="How many values; of a running total, how many days.")
    minimum: Decimal
    mean: Decimal = strawberry.field(description="To three decimals; each value weighs the same.")
    maximum: Decimal
    unit: str = strawberry.field(description="UCUM, the canonical one of the code.")

    @classmethod
    def of(cls, found: reads.Summary, code: str, period: reads.Period) -> Self:
        length = 1 if period is reads.Period.DAY else 7
        return cls(
            starts_on=found.starts_on,
            ends_on=found.starts_on + timedelta(days=length - 1),
            count=found.n,
            minimum=found.minimum,
            mean=found.mean,
            maximum=found.maximum,
            unit=quantities()[code].canonical.ucum,
        )


@strawberry.type
class SeriesOfMember:
    profile: strawberry.Private[Profile]

    @strawberry.field(
        description="One code by local day or week, newest first; days without a value are left "
        "out. An employee sees them while the member consents to the use of health data."
    )
    async def measurement_summaries(
        self,
        info: Info,
        code: MeasurementCode,
        per: reads.Period = reads.Period.DAY,
        since: date | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[MeasurementSummary]:
        size = page_size(first)
        cursor = read_cursor(after, date.fromisoformat)
        wanted = reads.Days(code.value, since, cursor[0] if cursor else None, size + 1, per)
        found = await reads.of_member(info, self.profile.member_id, wanted, reads.summaries)
        return connection(
            found,
            size=size,
            after=after,
            node=lambda row: MeasurementSummary.of(row, code.value, per),
            key=lambda row: (row.starts_on.isoformat(),),
        )
