"""A member's readings, newest first."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

import strawberry
from sqlalchemy import select, tuple_
from sqlmodel import col

from app.graphql import enums
from app.graphql.facets import Profile
from app.graphql.ids import GlobalId, Kind, encode
from app.graphql.node import Fetch, Info, Node
from app.graphql.paging import PAGE, Connection, connection, page_size, read_cursor
from app.measurements import rules
from app.measurements.catalogue import MeasurementCode, quantities
from app.measurements.models import Measurement as MeasurementRow

enums.register(
    MeasurementCode,
    {
        code: f"{it.name_en}: {', '.join(unit.ucum for unit in it.units)}."
        for code, it in quantities().items()
    },
    name="MeasurementCode",
    description="A quantity of the catalogue; the unit sent with a value decides the conversion.",
)
strawberry.enum(rules.Method, name="MeasurementMethod")
strawberry.enum(rules.Context, name="MeasurementContext")
strawberry.enum(
    rules.TrustGrade,
    description="How far a reading may be relied on; it decides what the reading may drive: "
    "points, tier, premium.",
)


@strawberry.type
class Measurement(Node):
    code: MeasurementCode
    value: Decimal = strawberry.field(description="In `unit`, the canonical one of this code.")
    unit: str
    measured_at: datetime
    local_date: date = strawberry.field(
        description="The member's local day, fixed when it arrived."
    )
    method: rules.Method
    context: rules.Context | None
    trust: rules.TrustGrade

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
            method=rules.Method(row.method),
            context=rules.Context(row.context) if row.context else None,
            trust=rules.TrustGrade(row.trust),
        )


@strawberry.type
class MeasurementsOfMember:
    """The fields of `Member` that are kept here."""

    profile: strawberry.Private[Profile]

    @strawberry.field(description="One code's readings, newest first.")
    async def measurements(
        self,
        info: Info,
        code: MeasurementCode,
        since: datetime | None = None,
        first: int | None = PAGE,
        after: str | None = None,
    ) -> Connection[Measurement]:
        size = page_size(first)
        statement = select(MeasurementRow).where(
            col(MeasurementRow.member_id) == self.profile.member_id,
            col(MeasurementRow.code) == code,
            col(MeasurementRow.superseded_at).is_(None),
        )
        if since is not None:
            statement = statement.where(col(MeasurementRow.measured_at) >= since)
        key = tuple_(col(MeasurementRow.measured_at), col(MeasurementRow.id))
        cursor = read_cursor(after, _instant, UUID)
        if cursor is not None:
            statement = statement.where(key < tuple_(*cursor))
        statement = statement.order_by(
            col(MeasurementRow.measured_at).desc(), col(MeasurementRow.id).desc()
        ).limit(size + 1)
        async with info.context.db.read() as reading:
            rows = (await reading.execute(statement)).all()
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
    return found


async def _fetch(info: Info, id: GlobalId) -> Measurement | None:
    statement = select(MeasurementRow).where(
        col(MeasurementRow.member_id) == id.owner_id, col(MeasurementRow.id) == id.key
    )
    async with info.context.db.read() as reading:
        row = (await reading.execute(statement)).one_or_none()
    return Measurement.from_row(row) if row else None


NODE_FETCHERS: dict[Kind, Fetch] = {Kind.MEASUREMENT: _fetch}
