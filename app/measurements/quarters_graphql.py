"""What a sensor sent, by quarter of an hour: how a stream is kept."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Self

import strawberry

from app.graphql.facets import Profile
from app.graphql.node import Info
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.measurements import quarters
from app.measurements.enums import MeasurementCode, TrustGrade


@strawberry.type(description="What one source sent in a quarter of an hour.")
class MeasurementQuarter:
    code: MeasurementCode
    starts_at: datetime
    local_date: date = strawberry.field(
        description="The member's local day, fixed when the first value arrived."
    )
    source_id: str
    count: int = strawberry.field(description="How many values; one a second counts.")
    minimum: Decimal
    mean: Decimal = strawberry.field(description="To three decimals.")
    maximum: Decimal
    unit: str = strawberry.field(description="UCUM, the canonical one of the code.")
    trust: TrustGrade

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a row of `quarters`."""
        return cls(
            code=MeasurementCode(row.code),
            starts_at=row.starts_at,
            local_date=row.local_date,
            source_id=row.source_id,
            count=row.n,
            minimum=row.minimum,
            mean=row.mean,
            maximum=row.maximum,
            unit=row.unit,
            trust=TrustGrade(row.trust),
        )


@strawberry.type
class QuartersOfMember:
    """The fields of `Member` that are kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(
        description="One code's stream by quarter of an hour and source, newest first. An "
        "employee sees it while the member consents to the use of health data."
    )
    async def measurement_quarters(
        self,
        info: Info,
        code: MeasurementCode,
        since: datetime | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[MeasurementQuarter]:
        size = page_size(first)
        cursor: Any = read_cursor(after, _instant, _source)
        at, source_id = cursor or (None, None)
        wanted = quarters.Wanted(code.value, since, at, source_id, size + 1)
        rows = await quarters.of_member(info, self.profile.member_id, wanted)
        return connection(
            rows,
            size=size,
            after=after,
            node=MeasurementQuarter.of,
            key=lambda row: (row.starts_at.isoformat(), row.source_id.encode().hex()),
        )

    @strawberry.field(
        description="The newest quarter of an hour of each code that a sensor streams, in the "
        "catalogue's order. An employee sees them while the member consents to the use of "
        "health data."
    )
    async def latest_quarters(self, info: Info) -> list[MeasurementQuarter]:
        rows = await quarters.of_member(info, self.profile.member_id, quarters.LATEST)
        return [MeasurementQuarter.of(row) for row in rows]


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found.astimezone(UTC)


def _source(text: str) -> str:
    found = bytes.fromhex(text).decode()
    if "\0" in found:
        raise ValueError(text)
    return found
