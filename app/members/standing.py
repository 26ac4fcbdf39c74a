"""Where a member stands: market segment and stage of the lifecycle.

Nobody is assigned yet; the fields are null until the rules that assign them are in.
"""

from datetime import datetime
from enum import StrEnum

import strawberry

from app.graphql import enums
from app.graphql.facets import Facet
from app.members.rules import SegmentCode


class LifecycleStage(StrEnum):
    PROSPECT = "PROSPECT"
    NEW = "NEW"
    ACTIVE = "ACTIVE"
    DORMANT = "DORMANT"
    LAPSED = "LAPSED"


enums.register(
    SegmentCode,
    {
        "NEW_CITIZEN": "Riders, couriers, ride-hailing drivers.",
        "CHILD": "A guardian acts for them.",
    },
)
enums.register(LifecycleStage, {"DORMANT": "No use for one year."})


@strawberry.type
class SegmentAssignment:
    code: SegmentCode
    reason: str = strawberry.field(description="Why this member is in it, in words.")


@strawberry.type
class Lifecycle:
    stage: LifecycleStage
    since: datetime


@strawberry.type
class MemberStanding:
    """The part of `Member` that is kept here."""

    segment: SegmentAssignment | None
    lifecycle: Lifecycle | None


FACETS = tuple(
    Facet(field=name, attribute=name, sql=None, read=lambda _, reading: None)
    for name in ("segment", "lifecycle")
)
