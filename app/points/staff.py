"""What actuaries and auditors ask about all members' points."""

from datetime import date, datetime
from decimal import Decimal
from typing import Self

import strawberry

from app.graphql.node import Info
from app.members.rules import StaffRole
from app.points import liability

LOOKING = (StaffRole.ACTUARY, StaffRole.AUDITOR, StaffRole.ADMIN)


@strawberry.type
class PointsLiabilityMonth:
    month: date = strawberry.field(description="Its first day.")
    points: Decimal = strawberry.field(description="Whose last day is in this month.")
    expected_breakage: Decimal = strawberry.field(description="Of them, expected to expire.")


@strawberry.type(
    description="What the programme owes its members. All amounts are whole points: "
    "text, because those of all members may exceed 32 bits."
)
class PointsLiability:
    as_of: datetime
    outstanding: Decimal = strawberry.field(
        description="`available + pending + held - owed`, of all members."
    )
    available: Decimal
    pending: Decimal
    held: Decimal
    owed: Decimal
    expected_breakage: Decimal = strawberry.field(
        description="How many of them are expected to expire, by what became of points before."
    )
    history: Decimal = strawberry.field(
        description="How many points whose time is over the estimate rests on."
    )
    by_expiry_month: list[PointsLiabilityMonth]

    @classmethod
    def of(cls, found: liability.Liability, as_of: datetime) -> Self:
        return cls(
            as_of=as_of,
            outstanding=Decimal(found.outstanding),
            available=Decimal(found.available),
            pending=Decimal(found.pending),
            held=Decimal(found.held),
            owed=Decimal(found.owed),
            expected_breakage=Decimal(found.expected_breakage),
            history=Decimal(found.history),
            by_expiry_month=[
                PointsLiabilityMonth(
                    month=it.month,
                    points=Decimal(it.points),
                    expected_breakage=Decimal(it.expected_breakage),
                )
                for it in found.by_month
            ],
        )


@strawberry.type
class PointsQuery:
    @strawberry.field(description="For actuaries, auditors and administrators.")
    async def points_liability(self, info: Info) -> PointsLiability:
        context = info.context
        context.require_role(*LOOKING)
        async with context.db.read() as connection:
            found = await liability.liability(connection, now=context.now)
        return PointsLiability.of(found, context.now)
